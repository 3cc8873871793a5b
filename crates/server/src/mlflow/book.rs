//! The runs that clients ask about: each with its view, kept up to date, and the stream `mlflow` that
//! this server writes in it. What comes after a run was sealed goes to the stream `mlflow` of the scope
//! `ledger`, naming the run.
//!
//! All of this can be forgotten at any time: it is made again from the log.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ledger::{Ledger, LedgerError, MAX_PAGE, Principal, Query, RunInfo};
use record::{Draft, Kind, Record, RunId, Scope, StreamName};

use super::error::Refusal;
use super::view::View;
use crate::own::{self, Opened, Own, OwnError, REST, Written, opened, published};
use crate::problem::Problem;

/// The producer of these streams.
pub(crate) const PRODUCER: &str = "rlhf-audit-server/mlflow";
/// Runs kept in memory; beyond it those that rest are forgotten.
const MAX_RUNS: usize = 1_024;
/// How often a write starts over because another server was first.
const TRIES: usize = 5;
/// What late records of a run may be.
const LATE_KINDS: [Kind; 4] = [
    Kind::RunDescribed,
    Kind::MetricLogged,
    Kind::MetricDiverged,
    Kind::ArtifactLogged,
];

/// The stream's name, in a run and in the scope `ledger`.
pub(crate) fn stream() -> Result<StreamName, Problem> {
    StreamName::parse("mlflow")
        .ok_or_else(|| Problem::unprocessable("bad-stream", "`mlflow` is no stream's name"))
}

/// All runs in memory.
#[derive(Debug, Default)]
pub(crate) struct Book {
    runs: Mutex<HashMap<RunId, Arc<Mutex<Entry>>>>,
    late: Mutex<Option<Own>>,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Entry {
    run: RunId,
    own: Own,
    pub(crate) view: View,
    /// How many records of the run the view has.
    records: u64,
    /// Up to here the view has all of them.
    after: Option<u64>,
    /// Those beyond that the view has all the same: this server wrote them.
    seen: HashSet<u64>,
    /// The same of late records, by the length of their stream.
    late_records: u64,
    late_after: Option<u64>,
    used: Instant,
}

impl Book {
    /// The run's entry, empty where it was not known.
    pub(crate) fn entry(&self, run: RunId) -> Result<Arc<Mutex<Entry>>, Problem> {
        let mut runs = lock(&self.runs);
        if runs.len() >= MAX_RUNS && !runs.contains_key(&run) {
            forget_half(&mut runs);
        }
        if let Some(entry) = runs.get(&run) {
            return Ok(Arc::clone(entry));
        }
        let entry = Arc::new(Mutex::new(Entry::new(run)?));
        runs.insert(run, Arc::clone(&entry));
        Ok(entry)
    }

    /// Signs streams that have rested for `rest`.
    pub(crate) fn sign(&self, ledger: &Ledger, rest: Duration) {
        let entries: Vec<_> = lock(&self.runs).values().cloned().collect();
        for entry in entries {
            // Whoever has it is writing.
            if let Ok(mut entry) = entry.try_lock() {
                entry.sign(ledger, rest);
            }
        }
        if let Some(late) = &mut *lock(&self.late) {
            late.sign(ledger, rest);
        }
    }

    /// Writes into the run what `build` makes of its view, as `principal`; of a run that was sealed,
    /// into the scope `ledger`.
    ///
    /// # Errors
    /// The run is another token's, `build` refuses, or the ledger does.
    pub(crate) fn write(
        &self,
        ledger: &Ledger,
        info: &RunInfo,
        principal: &Principal,
        build: impl Fn(&View, Option<RunId>) -> Result<Vec<Draft>, Refusal>,
    ) -> Result<(), Refusal> {
        let entry = self.entry(info.id)?;
        let mut entry = lock(&entry);
        for _ in 0..TRIES {
            let info = entry.refresh(ledger)?;
            let late = info.status.is_some().then_some(info.id);
            let drafts = build(&entry.view, late)?;
            if drafts.is_empty() {
                return Ok(());
            }
            let written = match late {
                None => entry
                    .own
                    .write(ledger, principal, |writer| own::all(writer, drafts)),
                Some(_) => self.write_late(ledger, drafts),
            };
            match written {
                Ok(written) => {
                    entry.took(ledger, &written, late.is_some())?;
                    return Ok(());
                }
                Err(OwnError::Moved) => entry.own.forget(),
                // The run was sealed between the look and the write.
                Err(OwnError::Refused(problem)) if problem.code() == "run-sealed" => {
                    entry.own.forget();
                }
                Err(OwnError::Refused(problem)) => return Err(problem.into()),
            }
        }
        Err(Problem::unavailable("overloaded", "the run is written to from elsewhere", 1).into())
    }

    /// Anybody's late records are in one stream, which the server holds itself.
    fn write_late(&self, ledger: &Ledger, drafts: Vec<Draft>) -> Result<Vec<Written>, OwnError> {
        let mut late = lock(&self.late);
        let own = match &mut *late {
            Some(own) => own,
            none => none.insert(Own::new(Scope::Ledger, stream()?, PRODUCER)),
        };
        own.write(ledger, &Principal::local(), |writer| {
            own::all(writer, drafts)
        })
        .inspect_err(|_| own.forget())
    }
}

impl Entry {
    fn new(run: RunId) -> Result<Self, Problem> {
        Ok(Self {
            run,
            own: Own::new(Scope::Run(run), stream()?, PRODUCER),
            view: View::default(),
            records: 0,
            after: None,
            seen: HashSet::new(),
            late_records: 0,
            late_after: None,
            used: Instant::now(),
        })
    }

    /// Brings the view up to date, and gives the run as it stands.
    ///
    /// # Errors
    /// There is no such run, or it cannot be read now.
    pub(crate) fn refresh(&mut self, ledger: &Ledger) -> Result<RunInfo, Problem> {
        self.used = Instant::now();
        let info = ledger.run(self.run)?;
        if info.records != self.records {
            self.read(ledger)?;
        }
        if info.status.is_some() {
            self.read_late(ledger)?;
        }
        Ok(info)
    }

    /// Opens the run with its first records.
    ///
    /// # Errors
    /// As of [`Own::write`].
    pub(crate) fn start(
        &mut self,
        ledger: &Ledger,
        principal: &Principal,
        drafts: Vec<Draft>,
    ) -> Result<(), Problem> {
        let written = self
            .own
            .write(ledger, principal, |writer| own::all(writer, drafts));
        match written {
            Ok(written) => self.took(ledger, &written, false),
            Err(OwnError::Refused(problem)) => Err(problem),
            Err(OwnError::Moved) => Err(Problem::unavailable(
                "overloaded",
                "the run's id is taken",
                1,
            )),
        }
    }

    /// The stream is no longer where it was left.
    pub(crate) fn forget(&mut self) {
        self.own.forget();
    }

    fn sign(&mut self, ledger: &Ledger, rest: Duration) {
        let signed = self.own.sign(ledger, rest);
        if !signed.is_empty()
            && let Err(problem) = self.took(ledger, &signed, false)
        {
            tracing::debug!(
                code = problem.code(),
                "a run's view was not brought up to date"
            );
        }
    }

    /// What was just written is part of the view at once.
    fn took(&mut self, ledger: &Ledger, written: &[Written], late: bool) -> Result<(), Problem> {
        let mut last = None;
        for one in written {
            let record = Record::parse(&one.submission.record).map_err(LedgerError::from)?;
            let openings = one.submission.openings.iter();
            let opened: Opened = openings
                .map(|(field, opening)| (field.clone(), opening.value.to_json()))
                .collect();
            self.view.take(&record, || Ok(opened))?;
            last = Some(one.receipt.index);
            if late {
                self.late_records += 1;
            } else {
                self.records += 1;
                self.seen.insert(one.receipt.index);
            }
        }
        if late {
            self.late_after = last;
        } else if ledger.run(self.run)?.records == self.records {
            // Nobody else wrote in between.
            self.after = last;
            self.seen.clear();
        }
        Ok(())
    }

    /// Reads what the run has beyond what the view knows.
    fn read(&mut self, ledger: &Ledger) -> Result<(), Problem> {
        published(ledger)?;
        let mut query = Query {
            scope: Some(Scope::Run(self.run)),
            after: self.after,
            limit: MAX_PAGE,
            ..Query::default()
        };
        loop {
            let page = ledger.query(&query)?;
            for (index, bytes) in &page.records {
                let record = Record::parse_envelope(bytes).map_err(LedgerError::from)?;
                if !self.seen.remove(index) {
                    self.view.take(&record, || opened(ledger, *index))?;
                    self.records += 1;
                }
                self.after = Some(*index);
            }
            query.after = page.next;
            if query.after.is_none() {
                return Ok(());
            }
        }
    }

    /// Reads what came after the run's end.
    fn read_late(&mut self, ledger: &Ledger) -> Result<(), Problem> {
        let length = own::length(ledger, Scope::Ledger, stream()?)?;
        if length == self.late_records {
            return Ok(());
        }
        published(ledger)?;
        let mut found = Vec::new();
        for kind in LATE_KINDS {
            let mut query = Query {
                scope: Some(Scope::Ledger),
                kind: Some(kind),
                after: self.late_after,
                limit: MAX_PAGE,
            };
            loop {
                let page = ledger.query(&query)?;
                found.extend(page.records);
                query.after = page.next;
                if query.after.is_none() {
                    break;
                }
            }
        }
        found.sort_by_key(|(index, _)| *index);
        for (index, bytes) in &found {
            let record = Record::parse_envelope(bytes).map_err(LedgerError::from)?;
            if record.named_run() == Some(self.run) {
                self.view.take(&record, || opened(ledger, *index))?;
            }
            self.late_after = Some(*index);
        }
        self.late_records = length;
        Ok(())
    }
}

/// Those used least lately are forgotten, but for those in use and those whose end is unsigned.
fn forget_half(runs: &mut HashMap<RunId, Arc<Mutex<Entry>>>) {
    let mut used: Vec<Instant> = runs
        .values()
        .filter_map(|entry| entry.try_lock().ok().map(|entry| entry.used))
        .collect();
    used.sort_unstable();
    let Some(middle) = used.get(used.len() / 2).copied() else {
        return;
    };
    runs.retain(|_, entry| {
        Arc::strong_count(entry) > 1
            || entry.try_lock().map_or(true, |entry| {
                entry.used > middle || entry.used.elapsed() < 2 * REST
            })
    });
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
