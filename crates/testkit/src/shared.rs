//! A journal that several ledgers of one process share, with the outages of a network.
//!
//! It stands in for a database where a test has to strike at one moment. That the real one keeps the same contract is
//! for the suite in `store` to show.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::{FileJournal, Group, Journal, JournalEntry, JournalOptions, Result, StoreError};

/// How long a handle waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// The journal's place; [`handle`](Self::handle) gives each ledger its own.
#[derive(Clone)]
pub struct SharedPlace(Arc<Place>);

struct Place {
    inner: Mutex<Inner>,
    freed: Condvar,
}

struct Inner {
    journal: FileJournal,
    /// Whose turn it is.
    turn: Option<usize>,
    handles: usize,
    outage: Option<Outage>,
    discarded: u64,
    /// Whether discarding takes effect.
    discards: bool,
}

/// What does not work at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Nothing answers.
    Everything,
    /// The next append is kept and reported failed; then nothing answers.
    AppendAnswer,
}

/// One ledger's way to the journal.
pub struct SharedJournal {
    place: SharedPlace,
    id: usize,
    next: u64,
}

impl SharedPlace {
    /// An empty journal in a directory.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn new(dir: &Path) -> Result<Self> {
        let (journal, _) = FileJournal::open(dir, 0, JournalOptions::default())?;
        let inner = Inner {
            journal,
            turn: None,
            handles: 0,
            outage: None,
            discarded: 0,
            discards: false,
        };
        Ok(Self(Arc::new(Place {
            inner: Mutex::new(inner),
            freed: Condvar::new(),
        })))
    }

    /// A handle that has seen nothing yet.
    pub fn handle(&self) -> SharedJournal {
        let mut inner = self.lock();
        inner.handles += 1;
        SharedJournal {
            place: self.clone(),
            id: inner.handles,
            next: 0,
        }
    }

    /// Breaks something, or mends everything.
    pub fn set_outage(&self, outage: Option<Outage>) {
        self.lock().outage = outage;
    }

    /// Lets the journal forget at once what is published, as a database does after a while.
    pub fn forget_at_once(&self) {
        self.lock().discards = true;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(action: &'static str) -> StoreError {
    StoreError::Unavailable {
        action,
        server: "the shared journal of a test".to_owned(),
        reason: "an outage".to_owned(),
    }
}

impl Inner {
    /// Shows what there is from `next` on; gives the end.
    fn shown(&self, next: u64, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<u64> {
        if next < self.discarded {
            return Err(StoreError::NotNext {
                expected: self.discarded,
                found: next,
            });
        }
        let end = self.journal.next_index();
        if next < end {
            self.journal.replay(next, visit)?;
        }
        Ok(end)
    }
}

impl SharedJournal {
    fn end_turn(&self) {
        let mut inner = self.place.lock();
        if inner.turn == Some(self.id) {
            inner.turn = None;
            self.place.0.freed.notify_all();
        }
    }
}

impl Journal for SharedJournal {
    fn next_index(&self) -> u64 {
        self.next
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn begin(&mut self, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()> {
        let place = &self.place.0;
        let inner = self.place.lock();
        let (mut inner, waited) = place
            .freed
            .wait_timeout_while(inner, PATIENCE, |inner| {
                inner.turn.is_some_and(|turn| turn != self.id)
            })
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() || inner.outage == Some(Outage::Everything) {
            return Err(unavailable("take the turn"));
        }
        self.next = inner.shown(self.next, visit)?;
        inner.turn = Some(self.id);
        Ok(())
    }

    fn follow(&mut self, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()> {
        let inner = self.place.lock();
        if inner.outage == Some(Outage::Everything) {
            return Err(unavailable("read the journal"));
        }
        self.next = inner.shown(self.next, visit)?;
        Ok(())
    }

    fn release(&mut self) {
        self.end_turn();
    }

    fn restart(&mut self, index: u64) {
        self.end_turn();
        self.next = index;
    }

    fn append_group(&mut self, first_index: u64, entries: &[JournalEntry<'_>]) -> Result<()> {
        let kept = {
            let mut inner = self.place.lock();
            match inner.outage {
                Some(Outage::Everything) => Err(unavailable("append")),
                Some(Outage::AppendAnswer) => {
                    inner.journal.append_group(first_index, entries)?;
                    inner.outage = Some(Outage::Everything);
                    Err(unavailable("append"))
                }
                None => inner.journal.append_group(first_index, entries),
            }
        };
        self.end_turn();
        if kept.is_ok() {
            self.next = first_index + entries.len() as u64;
        }
        kept
    }

    fn replay(&self, from: u64, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()> {
        self.place.lock().journal.replay(from, visit)
    }

    fn discard_before(&mut self, index: u64) -> Result<()> {
        let mut inner = self.place.lock();
        if inner.discards {
            inner.discarded = inner.discarded.max(index);
        }
        Ok(())
    }
}

impl Drop for SharedJournal {
    fn drop(&mut self) {
        self.end_turn();
    }
}
