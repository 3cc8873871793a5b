//! Where several servers append to one journal: taking in what the others appended, and starting over
//! from the stores where it is unknown what they hold.
//!
//! Every server keeps the state of all streams by following the journal, so any of them can give the
//! next index. The journal sees to it that only one does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use record::kinds::ProducerEnrolled;
use record::{Kind, Record, Scope, SigningKey, StreamName, StreamWriter};
use record::{ProducerName, PublicKey};
use store::{Group, Journal, StoreError};

use crate::LedgerError;
use crate::backlog::Sequenced;
use crate::recover::{self, Frames};
use crate::sequencer::{LatestOwn, Sequencer, Turns, snapshot};
use crate::shared::Shared;
use crate::state::State;

/// The name under which the server signs its own stream.
const PRODUCER: &str = "rlhf-audit-server";
/// Is shown the groups of a journal.
type Visit<'a> = &'a mut dyn FnMut(Group<'_>) -> Result<(), StoreError>;

/// How long requests are turned away after the stores did not answer, before they are asked again.
const RESPITE: Duration = Duration::from_millis(250);

/// Whether what the stores hold contradicts itself or what was acknowledged: then asking again cannot help.
pub(crate) fn contradicts(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::CorruptDatabase { .. }
            | StoreError::CorruptJournal { .. }
            | StoreError::CheckpointBackwards { .. }
            | StoreError::LostWrites { .. }
    )
}

impl Turns {
    /// Takes in what other servers appended, where nobody has a turn, who would do so anyway.
    ///
    /// # Errors
    /// The journal did not answer, or holds what the log cannot.
    pub(crate) fn follow(&self) -> Result<(), LedgerError> {
        let Some(mut sequencer) = self.try_lock().filter(|sequencer| !sequencer.ended) else {
            return Ok(());
        };
        if sequencer.refresh()?.is_some() {
            return Ok(());
        }
        match sequencer.follow() {
            // Whoever publishes calls this: it must not wait for room that only it can make.
            Ok(theirs) => self.shared.backlog.preload(theirs.into_iter().collect()),
            Err(error) => {
                if sequencer.passes(&error) {
                    sequencer.lose_touch(&error);
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Sequencer {
    /// Whether a failure may pass by itself: where others share the journal, it is over a network.
    pub(crate) fn passes(&self, error: &LedgerError) -> bool {
        let LedgerError::Store(error) = error else {
            return false;
        };
        self.is_shared && !contradicts(error)
    }

    /// Takes note that the stores may hold other than what is known.
    pub(crate) fn lose_touch(&mut self, error: &LedgerError) {
        if self.stale.is_none() {
            tracing::error!(%error, "the shared journal does not answer");
        }
        self.shared.status.set_unavailable(Some(error.to_string()));
        self.stale = Some(Instant::now());
    }

    /// Starts over if what is known is stale. Says why not, where it is too early to ask again.
    pub(crate) fn refresh(&mut self) -> Result<Option<String>, LedgerError> {
        let Some(since) = self.stale else {
            return Ok(None);
        };
        if since.elapsed() < RESPITE {
            let why = self.shared.status().unavailable;
            return Ok(Some(why.unwrap_or_else(|| {
                "the journal did not answer; send this again".to_owned()
            })));
        }
        let groups = match self.start_over_from_latest() {
            Ok((size, groups)) => {
                self.shared.reader.set_integrated(size);
                groups
            }
            Err(error) if self.passes(&error) => {
                self.lose_touch(&error);
                return Ok(Some(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        self.shared.backlog.replace(groups);
        self.stale = None;
        self.shared.status.set_unavailable(None);
        tracing::info!(size = self.next, "the shared journal answers again");
        Ok(None)
    }

    fn start_over_from_latest(&mut self) -> Result<(u64, Vec<Sequenced>), LedgerError> {
        let latest = self.shared.meta.latest_checkpoint()?;
        let size = latest.map_or(0, |stored| stored.size);
        Ok((size, self.start_over(size)?))
    }

    /// Forgets what is known and reads it back from index and journal. Gives what is not published.
    pub(crate) fn start_over(&mut self, published: u64) -> Result<Vec<Sequenced>, LedgerError> {
        let shared = Arc::clone(&self.shared);
        let (state, groups, next) = {
            let mut journal = shared.journal();
            recover::replay(&mut **journal, &*shared.meta, published)?
        };
        self.enrolled = recover::enrolled(&shared.reader, &groups)?;
        let mut known = shared.state();
        *known = state;
        self.set_next(next);
        self.resume_own(&mut known)?;
        self.latest_own = LatestOwn::after(self.own.next_seq());
        self.noted.clear();
        Ok(groups)
    }

    /// Takes the turn at the journal, and takes in what others have appended since the last one.
    pub(crate) fn catch_up(&mut self) -> Result<Option<Sequenced>, LedgerError> {
        if !self.is_shared {
            return Ok(None);
        }
        self.take_in(|journal, visit| journal.begin(visit))
    }

    /// Takes in what others have appended so far, without a turn.
    fn follow(&mut self) -> Result<Option<Sequenced>, LedgerError> {
        self.take_in(|journal, visit| journal.follow(visit))
    }

    /// Takes in what the journal shows.
    fn take_in(
        &mut self,
        show: impl FnOnce(&mut dyn Journal, Visit<'_>) -> Result<(), StoreError>,
    ) -> Result<Option<Sequenced>, LedgerError> {
        let first = self.next;
        let mut frames = Frames::from(first);
        show(&mut **self.shared.journal(), &mut |group| {
            frames.take(group);
            Ok(())
        })?;
        let entries = frames.entries()?;
        if entries.is_empty() {
            return Ok(None);
        }
        let shared = Arc::clone(&self.shared);
        let indexed = shared.reader.integrated_size();
        let mut state = shared.state();
        let mut own = false;
        for (index, entry) in (first..).zip(&entries) {
            recover::follow(&mut state, &*shared.meta, entry, index, indexed)?;
            if (entry.place.scope, entry.place.stream) == (Scope::Ledger, StreamName::SERVER) {
                self.latest_own.note(entry.place.kind, entry.place.seq);
                own = true;
            }
            if entry.place.kind == Kind::ProducerEnrolled {
                let body: ProducerEnrolled = Record::parse(&entry.bytes)?.decode()?;
                self.enrolled.insert((body.key, body.producer));
            }
        }
        self.set_next(first + entries.len() as u64);
        if own {
            self.resume_own(&mut state)?;
        }
        Ok(Some(snapshot(&mut state, first, entries)))
    }

    fn resume_own(&mut self, state: &mut State) -> Result<(), LedgerError> {
        let (own, unsigned) = own_stream(&self.shared, state, &self.operator)?;
        self.own = own;
        self.unsigned_since = unsigned.then(Instant::now);
        Ok(())
    }

    pub(crate) fn set_next(&mut self, next: u64) {
        self.next = next;
        let sequenced = &self.shared.status.sequenced;
        sequenced.store(next, std::sync::atomic::Ordering::Relaxed);
    }
}

/// The writer of the server's own stream, and whether records of it wait for a signature.
pub(crate) fn own_stream(
    shared: &Shared,
    state: &mut State,
    operator: &SigningKey,
) -> Result<(StreamWriter, bool), LedgerError> {
    let (clock, entropy) = (Arc::clone(&shared.clock), Arc::clone(&shared.entropy));
    let (scope, stream) = (Scope::Ledger, StreamName::SERVER);
    if let Some(own) = state.scope(&*shared.meta, scope)?.chain.stream(&stream) {
        if own.key != PublicKey::from(operator) {
            return Err(LedgerError::corrupt(
                "keys/operator.ed25519",
                format!("it is not the key {} that opened ledger/server", own.key),
            ));
        }
        let (next_seq, head) = (own.next_seq, own.head);
        let writer = StreamWriter::resume(
            scope,
            stream,
            operator.clone(),
            next_seq,
            head,
            clock,
            entropy,
        )
        .with_unsigned(own.unsigned);
        return Ok((writer, own.unsigned > 0));
    }
    let producer = ProducerName::parse(PRODUCER)
        .ok_or_else(|| LedgerError::corrupt("the server's name", PRODUCER))?;
    let writer = StreamWriter::open(scope, stream, producer, operator.clone(), clock, entropy)
        .software(concat!("rlhf-audit ", env!("CARGO_PKG_VERSION")));
    Ok((writer, false))
}
