//! What a hook has recorded so far: which annotations stand, which versions of them it has seen, and
//! under which pseudonyms people appear. Made from the log, and made again where it is lost.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ledger::{Hook, HookTarget, Ledger, LedgerError, MAX_PAGE, Query};
use record::kinds::{AnnotationSuperseded, AnnotationWithdrawn};
use record::{Kind, Pseudonym, PublicKey, Record, RecordHash, RunId, Scope, StreamName, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::own::{self, Opened, Own, opened, published};
use crate::problem::Problem;

/// The producer of a hook's streams.
pub(super) const PRODUCER: &str = "rlhf-audit-server/hook";

/// What a hook writes.
const KINDS: [Kind; 8] = [
    Kind::AnnotationPreference,
    Kind::AnnotationRating,
    Kind::AnnotationRanking,
    Kind::AnnotationCorrection,
    Kind::AnnotationCritique,
    Kind::AnnotationDemonstration,
    Kind::AnnotationSuperseded,
    Kind::AnnotationWithdrawn,
];

/// What is known of one hook.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) hook: Hook,
    base: StreamName,
    /// Its places, each with what was read of it: its runs, and the scope `ledger` for what is late.
    pub(super) places: BTreeMap<Scope, Place>,
    /// By item.
    known: BTreeMap<String, Annotated>,
    /// The item and the question of each record that is an annotation.
    records: HashMap<RecordHash, (String, String)>,
    people: HashMap<(RunId, String), Pseudonym>,
    /// Pseudonyms whose person is known, or can no longer be.
    met: HashSet<(RunId, Pseudonym)>,
}

/// One scope in which the hook writes.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) own: Own,
    /// How many records its streams have, as far as was read.
    pub(super) length: u64,
    after: Option<u64>,
}

/// One annotation.
#[derive(Debug, Clone)]
pub(super) struct Annotated {
    pub(super) run: RunId,
    pub(super) annotator: Option<Pseudonym>,
    /// The versions that were seen, by when they were made.
    pub(super) seen: BTreeSet<Timestamp>,
    /// The records that count, each with its question, in the order of the log.
    pub(super) standing: Vec<(String, RecordHash)>,
}

/// What all annotations have in their bodies.
#[derive(Deserialize)]
struct Shared {
    annotator: Option<Pseudonym>,
    at: Option<Timestamp>,
    criterion: Option<String>,
    item: Option<String>,
    run: Option<RunId>,
}

impl Memory {
    /// Nothing is known yet.
    pub(super) fn of(hook: Hook) -> Result<Self, Problem> {
        let base = Hook::stream_of(&hook.name).ok_or_else(|| {
            Problem::unprocessable("bad-stream", format!("`{}` is no hook's name", hook.name))
        })?;
        let mut memory = Self {
            hook,
            base,
            places: BTreeMap::new(),
            known: BTreeMap::new(),
            records: HashMap::new(),
            people: HashMap::new(),
            met: HashSet::new(),
        };
        memory.place(Scope::Ledger);
        if let HookTarget::Run(run) = memory.hook.target {
            memory.place(Scope::Run(run));
        }
        Ok(memory)
    }

    /// Brings everything up to date with the log.
    ///
    /// # Errors
    /// The ledger cannot be read now; everything is forgotten then.
    pub(super) fn refresh(&mut self, ledger: &Ledger) -> Result<(), Problem> {
        let refreshed = self.read_on(ledger);
        if refreshed.is_err() {
            *self = Self::of(self.hook.clone())?;
        }
        refreshed
    }

    fn read_on(&mut self, ledger: &Ledger) -> Result<(), Problem> {
        if let HookTarget::Experiment(experiment) = &self.hook.target
            && self.places.len() == 1
        {
            for run in runs_of(ledger, &self.hook, experiment, self.base)? {
                self.place(Scope::Run(run));
            }
        }
        // In the order of the log: what is late in one scope is about what is in another.
        let mut found = Vec::new();
        let scopes: Vec<Scope> = self.places.keys().copied().collect();
        for scope in scopes {
            let length = own::length(ledger, scope, self.base)?;
            let place = self.place(scope);
            if place.length == length {
                continue;
            }
            let new = read(ledger, scope, place.after)?;
            place.own.forget();
            place.after = new.last().map(|(index, _)| *index).or(place.after);
            place.length = length;
            found.extend(new);
        }
        found.sort_by_key(|(index, _)| *index);
        for (index, bytes) in &found {
            let record = Record::parse_envelope(bytes).map_err(LedgerError::from)?;
            if own::is_of(*record.stream(), self.base) {
                let hash = RecordHash::from(record.leaf_hash());
                self.take(&record, hash, || opened(ledger, *index))?;
            }
        }
        Ok(())
    }

    /// A place where the hook writes, added where it is new.
    pub(super) fn place(&mut self, scope: Scope) -> &mut Place {
        let base = self.base;
        self.places.entry(scope).or_insert_with(|| Place {
            own: Own::new(scope, base, PRODUCER),
            length: 0,
            after: None,
        })
    }

    /// The annotation of an item.
    pub(super) fn annotated(&self, item: &str) -> Option<&Annotated> {
        self.known.get(item)
    }

    /// The items of these annotations, whatever they are of.
    pub(super) fn items_of(&self, ids: &[String]) -> Vec<String> {
        let named = |item: &&String| {
            let id = item.rsplit_once('/').map_or(item.as_str(), |(_, id)| id);
            ids.iter().any(|wanted| wanted == id)
        };
        self.known.keys().filter(named).cloned().collect()
    }

    /// The items of all annotations of this.
    pub(super) fn items_below(&self, of: &str) -> Vec<String> {
        let below = |item: &&String| item.rsplit_once('/').is_some_and(|(whole, _)| whole == of);
        self.known.keys().filter(below).cloned().collect()
    }

    /// The pseudonym of a person in a run, if they have one.
    pub(super) fn pseudonym(&self, run: RunId, person: &Value) -> Option<Pseudonym> {
        self.people.get(&(run, person.to_string())).copied()
    }

    /// Takes in a record of one of the hook's streams, with what it sealed.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn take(
        &mut self,
        record: &Record<'_>,
        hash: RecordHash,
        open: impl FnOnce() -> Result<Opened, LedgerError>,
    ) -> Result<(), LedgerError> {
        match record.kind() {
            Some(Kind::AnnotationSuperseded) => {
                let body: AnnotationSuperseded = record.decode()?;
                self.ended(body.record, body.at);
            }
            Some(Kind::AnnotationWithdrawn) => {
                let body: AnnotationWithdrawn = record.decode()?;
                self.ended(body.record, body.at);
            }
            Some(kind) if KINDS.contains(&kind) => {
                // The members that all annotations share; each kind has its own beside them.
                let shared: Shared =
                    serde_json::from_slice(record.body_bytes()).map_err(|error| {
                        LedgerError::Corrupt {
                            what: format!("record {hash}"),
                            reason: error.to_string(),
                        }
                    })?;
                let run = record.scope().run().or(shared.run);
                if let (Some(item), Some(run)) = (shared.item.clone(), run) {
                    self.stands(item, run, shared, hash, open)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn stands(
        &mut self,
        item: String,
        run: RunId,
        shared: Shared,
        hash: RecordHash,
        open: impl FnOnce() -> Result<Opened, LedgerError>,
    ) -> Result<(), LedgerError> {
        if let Some(pseudonym) = shared.annotator
            && !self.met.contains(&(run, pseudonym))
        {
            let opened = open()?;
            let id = opened.iter().find(|(field, _)| field == "annotator_id");
            // Whoever was erased gets a new pseudonym, should they come again.
            if let Some((_, id)) = id {
                self.people.insert((run, id.to_string()), pseudonym);
            }
            self.met.insert((run, pseudonym));
        }
        let question = shared.criterion.unwrap_or_default();
        self.records.insert(hash, (item.clone(), question.clone()));
        let annotated = self.known.entry(item).or_insert_with(|| Annotated {
            run,
            annotator: None,
            seen: BTreeSet::new(),
            standing: Vec::new(),
        });
        annotated.annotator = shared.annotator.or(annotated.annotator);
        annotated.seen.extend(shared.at);
        annotated.standing.push((question, hash));
        Ok(())
    }

    /// A record no longer counts.
    fn ended(&mut self, hash: RecordHash, at: Option<Timestamp>) {
        let Some((item, _)) = self.records.get(&hash) else {
            return;
        };
        if let Some(annotated) = self.known.get_mut(item) {
            annotated.standing.retain(|(_, standing)| *standing != hash);
            annotated.seen.extend(at);
        }
    }

    /// What was just written is known at once.
    pub(super) fn took(&mut self, scope: Scope, index: u64, records: u64) {
        let place = self.place(scope);
        place.after = Some(index);
        place.length += records;
    }
}

/// The records of a scope after an index that a hook may have written, with their indices.
fn read(ledger: &Ledger, scope: Scope, after: Option<u64>) -> Result<Vec<(u64, Vec<u8>)>, Problem> {
    published(ledger)?;
    let mut found = Vec::new();
    for kind in KINDS {
        let mut query = Query {
            scope: Some(scope),
            kind: Some(kind),
            after,
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
    Ok(found)
}

/// The runs that a hook has started in its experiment.
fn runs_of(
    ledger: &Ledger,
    hook: &Hook,
    experiment: &str,
    base: StreamName,
) -> Result<Vec<RunId>, Problem> {
    let owner = PublicKey::from(&ledger.operator_key());
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let runs = ledger.runs(after, 1_000)?;
        let Some(last) = runs.last() else {
            return Ok(found);
        };
        after = Some(last.id);
        for run in runs {
            let looks_so = run.experiment.as_deref() == Some(experiment) && run.name == hook.name;
            // One that is sealed may be of an older key; its stream is in any case.
            let is_own = run.owner == owner || run.status.is_some();
            if looks_so && is_own && ledger.stream_head(Scope::Run(run.id), base)?.is_some() {
                found.push(run.id);
            }
        }
    }
}
