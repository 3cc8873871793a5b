//! *Sequenced*: what gives indices, one turn after the other.
//!
//! A turn takes all that waits, holds each request against the streams it is for, writes what is new
//! as one group with one sync, and only then answers. There is no timer in the way of an append.
//!
//! Who has a turn is a matter of [`Turns`]: a thread of the ledger's own, or a caller that comes while
//! nobody else has one. Waking a thread and being woken by it costs as much as half the sync.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use record::kinds::{FindingRaised, IncidentReported, ProducerEnrolled, Severity};
use record::{
    Draft, Kind, Record, RecordHash, Scope, SigningKey, StreamName, StreamWriter, Submission,
};
use store::{JournalEntry, StoreError};
use tokio::sync::oneshot;

use crate::accept::entry;
use crate::admit::{CLOSED, Conflict, Enrolment, Step, Surroundings, admit, enrolment};
use crate::backlog::Sequenced;
use crate::entry::{Entry, Place};
use crate::error::{AppendCode, AppendError, LedgerError};
use crate::principal::Principal;
use crate::queue::{Request, Waited};
use crate::shared::{Counters, Shared};
use crate::state::State;
use crate::ticket::{AppendResult, Receipt};

/// A record's time further than this from the server's is worth a finding: 5 minutes.
const CLOCK_SKEW_MICROS: i64 = 300_000_000;
/// The server's own stream is signed so long after its first unsigned record.
const SIGN_AFTER: Duration = Duration::from_millis(900);
/// Conflicting resends that are remembered, so that a client that repeats one does not fill the log.
const MAX_NOTED: usize = 1_024;

/// The sequencer: whoever has it has a turn.
pub(crate) struct Sequencer {
    pub(crate) shared: Arc<Shared>,
    /// The server's own stream.
    pub(crate) own: StreamWriter,
    /// Of what kinds its latest records are.
    pub(crate) latest_own: LatestOwn,
    /// The key that signs it.
    pub(crate) operator: SigningKey,
    /// Since when that has unsigned records.
    pub(crate) unsigned_since: Option<Instant>,
    /// Keys that are enrolled.
    pub(crate) enrolled: HashSet<Enrolment>,
    /// Refused records of which the log knows.
    pub(crate) noted: VecDeque<RecordHash>,
    /// The index the next record gets.
    pub(crate) next: u64,
    /// Other servers append to the same journal.
    pub(crate) is_shared: bool,
    /// It failed or was closed: there are no more turns.
    pub(crate) ended: bool,
    /// What is known may differ from what the stores hold: they did not answer at this time.
    pub(crate) stale: Option<Instant>,
}

/// Turns at the sequencer.
pub(crate) struct Turns {
    pub(crate) shared: Arc<Shared>,
    sequencer: Mutex<Sequencer>,
}

impl Turns {
    pub(crate) fn new(sequencer: Sequencer) -> Self {
        Self {
            shared: Arc::clone(&sequencer.shared),
            sequencer: Mutex::new(sequencer),
        }
    }

    /// Nobody has a turn.
    pub(crate) fn is_resting(&self) -> bool {
        self.try_lock().is_some()
    }

    /// Takes a turn in the caller's thread where nobody else has one; else calls the thread whose
    /// turns these are. What was pushed before this call is seen to in either case.
    pub(crate) fn lead(&self) {
        let Some(mut sequencer) = self.try_lock() else {
            // It may have been somebody who only asked.
            self.shared.queue.wake();
            return;
        };
        if self.shared.is_abandoned() {
            return;
        }
        let unsigned = sequencer.unsigned_since;
        sequencer.guarded_turn(false);
        let changed = sequencer.unsigned_since != unsigned;
        drop(sequencer);
        if changed || self.shared.queue.len() > 0 {
            self.shared.queue.wake();
        }
    }

    /// Takes a turn whenever something waits, until the queue is closed and empty; then signs the
    /// server's stream.
    pub(crate) fn run(&self) {
        loop {
            let deadline = self.lock().unsigned_since.map(|since| since + SIGN_AFTER);
            let closed = self.shared.queue.wait(deadline) == Waited::Closed;
            if closed && self.shared.is_abandoned() {
                break;
            }
            let mut sequencer = self.lock();
            sequencer.guarded_turn(closed);
            if closed || sequencer.ended {
                sequencer.ended = true;
                break;
            }
        }
        self.shared.backlog.close();
    }

    fn lock(&self) -> MutexGuard<'_, Sequencer> {
        // A turn that panicked may have left anything behind; `guarded_turn` sees to it.
        self.sequencer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Sequencer>> {
        match self.sequencer.try_lock() {
            Ok(sequencer) => Some(sequencer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// The latest record of each kind in the server's own stream, as far as they are known.
pub(crate) struct LatestOwn {
    /// Of what is before this place nothing is known.
    from: u64,
    seqs: HashMap<Kind, u64>,
}

impl LatestOwn {
    /// Nothing is known of the first `length`.
    pub(crate) fn after(length: u64) -> Self {
        Self {
            from: length,
            seqs: HashMap::new(),
        }
    }

    pub(crate) fn note(&mut self, kind: Kind, seq: u64) {
        let latest = self.seqs.entry(kind).or_insert(seq);
        *latest = seq.max(*latest);
    }

    /// Whether there may be one of this kind at `length` or after it.
    fn has_since(&self, kind: Kind, length: u64) -> bool {
        length < self.from || self.seqs.get(&kind).is_some_and(|seq| *seq >= length)
    }
}

type Answers = Vec<(oneshot::Sender<AppendResult>, AppendResult)>;

/// What one turn writes and whom it answers.
#[derive(Default)]
struct Group {
    entries: Vec<Entry>,
    answers: Answers,
}

impl Sequencer {
    /// A turn over what waits. Where it fails it was the last: what is on the disk is unknown.
    fn guarded_turn(&mut self, closing: bool) {
        if self.ended {
            if self.shared.queue.stopped().is_none() {
                self.shared.fail("the sequencer panicked".to_owned());
            }
            return;
        }
        // Until the turn has come to its end: a panic in it must not be followed by another turn.
        self.ended = true;
        let requests = self.shared.queue.take();
        match self.turn(requests, closing) {
            Ok(()) => self.ended = false,
            // Whoever waits learns that the outcome is unknown, and may send the same bytes again.
            Err(error) if self.passes(&error) => {
                self.lose_touch(&error);
                self.ended = false;
            }
            Err(error) => {
                // Where the publisher stopped before, its reason is the one to tell.
                if !self.shared.queue.failed() {
                    let reason = format!("the journal could not be written: {error}");
                    self.shared.fail(reason);
                }
                self.shared.queue.wake();
            }
        }
    }

    /// One group: all of `requests`, and the server's own signature where that is due.
    fn turn(&mut self, requests: Vec<Request>, closing: bool) -> Result<(), LedgerError> {
        let shared = Arc::clone(&self.shared);
        let mut group = Group::default();
        if let Some(why) = self.refresh()? {
            for request in requests {
                let error = AppendError::whole(AppendCode::Unavailable, &why);
                let _ = request.reply().send(Err(error));
            }
            return Ok(());
        }
        // Before the state is taken: others read it while this waits.
        let theirs = self.catch_up()?;
        let mut state = shared.state();
        for request in requests {
            match request {
                Request::Append {
                    entries,
                    principal,
                    contested,
                    reply,
                } => {
                    let from = (&principal, contested);
                    let answer = self.append(&mut state, &mut group, entries, from)?;
                    group.answers.push((reply, answer));
                }
                Request::Own {
                    draft,
                    since,
                    reply,
                } => {
                    let answer = self.own(&mut state, &mut group, *draft, since)?;
                    group.answers.push((reply, answer));
                }
            }
        }
        let due = self
            .unsigned_since
            .is_some_and(|since| closing || since.elapsed() >= SIGN_AFTER);
        if due && let Some(signed) = self.own.sign() {
            self.push_own(&mut state, &mut group, signed)?;
        }
        self.finish(group, state, theirs)
    }

    /// Makes the group durable, answers, hands it on. The state is not let go before: what anybody
    /// sees of a stream is durable.
    fn finish(
        &mut self,
        group: Group,
        mut state: MutexGuard<'_, State>,
        theirs: Option<Sequenced>,
    ) -> Result<(), LedgerError> {
        let Group { entries, answers } = group;
        let first = self.next;
        if entries.is_empty() {
            self.shared.journal().release();
        } else {
            let frames: Vec<JournalEntry<'_>> = entries
                .iter()
                .map(|entry| JournalEntry {
                    record: &entry.bytes,
                    sealed: &entry.sealed,
                    principal: entry.by.as_deref().unwrap_or_default().as_bytes(),
                })
                .collect();
            let written = self.shared.journal().append_group(first, &frames);
            match written {
                Ok(()) => self.shared.status.set_write_error(None),
                // Nothing was kept, and the journal can be used as before: a full disk, most likely.
                Err(error) if !error.is_fatal() && !self.is_shared => {
                    drop(state);
                    return self.go_back(answers, &error);
                }
                Err(error) => return Err(error.into()),
            }
            self.next += entries.len() as u64;
            self.shared
                .status
                .sequenced
                .store(self.next, Ordering::Relaxed);
            Counters::add(&self.shared.status.groups, 1);
            for entry in &entries {
                self.shared.status.kinds.add(entry.place.kind);
            }
        }
        for (reply, answer) in answers {
            // Whoever asked may have gone; the records stay.
            let _ = reply.send(answer);
        }
        let ours = (!entries.is_empty()).then(|| snapshot(&mut state, first, entries));
        state.shrink(self.shared.reader.integrated_size());
        drop(state);
        for sequenced in theirs.into_iter().chain(ours) {
            if !self.shared.backlog.push(sequenced) {
                return Err(LedgerError::corrupt("the publisher", "it has stopped"));
            }
        }
        Ok(())
    }

    /// Forgets a group that was not written: what is known is read back from index and journal.
    fn go_back(&mut self, answers: Answers, error: &StoreError) -> Result<(), LedgerError> {
        tracing::error!(%error, "a group could not be written, nothing of it was recorded");
        self.shared.status.set_write_error(Some(error.to_string()));
        {
            let shared = Arc::clone(&self.shared);
            // The index must not grow meanwhile, nor the journal shrink.
            let _indexing = shared.indexing();
            self.start_over(shared.reader.size())?;
        }
        for (reply, _) in answers {
            let reason = format!("nothing of the request was recorded: {error}");
            let _ = reply.send(Err(AppendError::whole(AppendCode::Unavailable, reason)));
        }
        Ok(())
    }

    fn append(
        &mut self,
        state: &mut State,
        group: &mut Group,
        mut entries: Vec<Entry>,
        (principal, contested): (&Principal, bool),
    ) -> Result<AppendResult, LedgerError> {
        let shared = Arc::clone(&self.shared);
        let around = Surroundings {
            meta: &*shared.meta,
            reader: &shared.reader,
        };
        let steps = match admit(state, &around, &mut entries, principal) {
            Ok(steps) => steps,
            Err(refusal) => {
                Counters::add(&shared.status.refused, 1);
                if let Some(conflict) = refusal.conflict
                    && !contested
                {
                    self.report(state, group, &conflict)?;
                }
                return Ok(Err(refusal.error));
            }
        };
        let mut receipts: Vec<Receipt> = Vec::with_capacity(entries.len());
        for (entry, step) in entries.into_iter().zip(steps) {
            let leaf_hash = entry.leaf;
            let (index, duplicate) = match step {
                Step::New => (self.push(state, group, entry, principal)?, false),
                Step::Known(index) => (index, true),
                Step::Repeated(at) => (receipts.get(at).map_or(0, |first| first.index), true),
            };
            Counters::add(&shared.status.duplicates, usize::from(duplicate));
            receipts.push(Receipt {
                index,
                leaf_hash,
                duplicate,
            });
        }
        Ok(Ok(receipts))
    }

    /// Gives an admitted record its index, with what the server has to say before and after it.
    fn push(
        &mut self,
        state: &mut State,
        group: &mut Group,
        entry: Entry,
        principal: &Principal,
    ) -> Result<u64, LedgerError> {
        let place = entry.place;
        if place.kind == Kind::StreamOpened
            && let Some(enrolled) = enrolment(&Record::parse(&entry.bytes)?)
            && !self.enrolled.contains(&enrolled)
        {
            let (key, producer) = enrolled.clone();
            let draft = Draft::new(ProducerEnrolled::new(principal.id.clone(), key, producer));
            self.write_own(state, group, draft)?;
            self.enrolled.insert(enrolled);
        }
        let index = self.place(state, group, entry)?;
        let ahead = place.time.0.saturating_sub(self.shared.clock.now().0);
        if ahead.saturating_abs() > CLOCK_SKEW_MICROS {
            let scope = state.scope(&*self.shared.meta, place.scope)?;
            if scope.mark_skewed(&place.stream) {
                let mut finding = FindingRaised::new("clock-skew".to_owned());
                finding.detail = Some(if ahead > 0 { "ahead" } else { "behind" }.to_owned());
                finding.evidence = Some(vec![index]);
                finding.run = place.scope.run();
                finding.severity = Some(Severity::Warning);
                finding.stream = Some(place.stream);
                self.write_own(state, group, Draft::new(finding))?;
            }
        }
        Ok(index)
    }

    /// Puts a record into the group.
    fn place(
        &mut self,
        state: &mut State,
        group: &mut Group,
        entry: Entry,
    ) -> Result<u64, LedgerError> {
        let index = self.next + group.entries.len() as u64;
        let indexed = self.shared.reader.integrated_size();
        let scope = state.scope(&*self.shared.meta, entry.place.scope)?;
        scope.note(&entry, index, indexed)?;
        group.entries.push(entry);
        Ok(index)
    }

    /// A draft for the server's own stream, from a caller.
    fn own(
        &mut self,
        state: &mut State,
        group: &mut Group,
        draft: Draft,
        since: Option<u64>,
    ) -> Result<AppendResult, LedgerError> {
        let kind = draft.kind();
        if since.is_some_and(|length| self.latest_own.has_since(kind, length)) {
            let refusal = format!(
                "the stream ledger/server has another `{}` by now",
                kind.name()
            );
            return Ok(Err(AppendError::whole(AppendCode::SeqGap, refusal)));
        }
        if state
            .scope(&*self.shared.meta, Scope::Ledger)?
            .chain
            .closed()
        {
            let refusal = AppendError::whole(AppendCode::LedgerClosed, CLOSED);
            return Ok(Err(refusal));
        }
        match self.own.write(draft) {
            Ok(written) => self.place_own(state, group, kind, written).map(Ok),
            Err(error) => {
                Counters::add(&self.shared.status.refused, 1);
                Ok(Err(AppendError::at(1, AppendCode::Malformed, error)))
            }
        }
    }

    /// A draft for the server's own stream, from the server: it is always right.
    fn write_own(
        &mut self,
        state: &mut State,
        group: &mut Group,
        draft: Draft,
    ) -> Result<(), LedgerError> {
        let kind = draft.kind();
        let written = self
            .own
            .write(draft)
            .map_err(|e| LedgerError::corrupt("a record of the server's own", e))?;
        self.place_own(state, group, kind, written).map(drop)
    }

    /// The receipt of the one record of `kind` among what the writer made of a draft.
    fn place_own(
        &mut self,
        state: &mut State,
        group: &mut Group,
        kind: Kind,
        written: Vec<Submission>,
    ) -> Result<Vec<Receipt>, LedgerError> {
        let mut receipts = Vec::new();
        for submission in written {
            let (placed, receipt) = self.push_own(state, group, submission)?;
            if placed == kind {
                receipts.push(receipt);
            }
        }
        Ok(receipts)
    }

    /// Admits a record that the server's own writer has made. Once made it has to be logged: the
    /// writer goes on from it.
    fn push_own(
        &mut self,
        state: &mut State,
        group: &mut Group,
        submission: Submission,
    ) -> Result<(Kind, Receipt), LedgerError> {
        let bytes = submission.record.clone();
        let record = Record::parse(&bytes)?;
        let place = Place::of(&record)
            .ok_or_else(|| LedgerError::corrupt("a record of the server's own", "its kind"))?;
        let mut entry = entry(&self.shared.sealing, submission, place)?;
        let scope = state.scope(&*self.shared.meta, Scope::Ledger)?;
        scope
            .chain
            .admit(&record, &entry.leaf)
            .map_err(|e| LedgerError::corrupt("the server's own stream", e))?;
        if place.kind == Kind::StreamOpened {
            entry.by = Some("server".into());
        }
        self.latest_own.note(place.kind, place.seq);
        let signed = place.kind == Kind::StreamSigned;
        self.unsigned_since = if signed {
            None
        } else {
            self.unsigned_since.or_else(|| Some(Instant::now()))
        };
        let leaf_hash = entry.leaf;
        let index = self.place(state, group, entry)?;
        Ok((
            place.kind,
            Receipt {
                index,
                leaf_hash,
                duplicate: false,
            },
        ))
    }

    /// Records that somebody tried to put another record in a record's place.
    fn report(
        &mut self,
        state: &mut State,
        group: &mut Group,
        conflict: &Conflict,
    ) -> Result<(), LedgerError> {
        let closed = state
            .scope(&*self.shared.meta, Scope::Ledger)?
            .chain
            .closed();
        if closed || self.noted.contains(&conflict.refused) {
            return Ok(());
        }
        self.noted.push_back(conflict.refused);
        if self.noted.len() > MAX_NOTED {
            self.noted.pop_front();
        }
        let mut incident = IncidentReported::new("conflicting-resend".to_owned());
        incident.logged = Some(conflict.logged);
        incident.refused = Some(conflict.refused);
        incident.run = conflict.scope.run();
        incident.seq = Some(conflict.seq);
        incident.stream = Some(conflict.stream);
        self.write_own(state, group, Draft::new(incident))
    }
}

/// The group with its streams and runs as they stand after it.
pub(crate) fn snapshot(state: &mut State, first: u64, entries: Vec<Entry>) -> Sequenced {
    let touched: HashSet<(Scope, StreamName)> = entries
        .iter()
        .map(|entry| (entry.place.scope, entry.place.stream))
        .collect();
    let mut scopes: HashSet<Scope> = HashSet::new();
    let mut sequenced = Sequenced {
        first,
        entries,
        ..Sequenced::default()
    };
    for (scope, stream) in touched {
        if let Some(entry) = state.loaded(scope) {
            sequenced.streams.extend(entry.stream_snapshot(&stream));
            if scopes.insert(scope) {
                sequenced.runs.extend(entry.run_snapshot());
            }
        }
    }
    sequenced
}
