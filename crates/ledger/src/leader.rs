//! Who publishes, where several servers could.
//!
//! Each of them follows the journal and the latest checkpoint, and holds every checkpoint of the others
//! against the leaves it knows itself. One at a time has the lease, and publishes what is not yet. The
//! lease only spares work: whoever goes on after it has run out writes the same tiles, and its checkpoint
//! is refused by the compare-and-swap.

use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{StoreError, StoredCheckpoint};
use tlog::{Hash, Policy};

use crate::LedgerError;
use crate::backlog::Sequenced;
use crate::follow::contradicts;
use crate::publish::Publisher;
use crate::read::Published;
use crate::recover;
use crate::sequencer::Turns;
use crate::tree::Edge;

/// The lease's name.
const LEASE: &str = "publisher";
/// How long a lease is good for, in milliseconds: a server that died is replaced as fast.
const LEASE_MILLIS: u64 = 4_000;
/// A lease is prolonged once less than this is left of it.
const PROLONG: Duration = Duration::from_millis(2_500);
/// How long what is acknowledged has to wait before whoever stands by publishes it.
const STANDBY: Duration = Duration::from_secs(2);
/// How long a server that closes waits for what it acknowledged to be published, by whoever.
const CLOSING: Duration = Duration::from_secs(10);
/// How long whoever published a checkpoint has to serve it before another server does.
const SERVING: Duration = Duration::from_secs(1);
const BUNDLE: u64 = 256;

/// One server's part in publishing.
pub(crate) struct Leader {
    pub(crate) turns: Arc<Turns>,
    pub(crate) policy: Policy,
    /// Who this is, among the servers of the ledger: random.
    pub(crate) holder: String,
    /// Others publish, as long as they do.
    pub(crate) standby: bool,
    /// Until when the lease is surely ours.
    pub(crate) until: Option<Instant>,
    /// Since when something waits for publication and none of it was published.
    pub(crate) waiting_since: Option<Instant>,
    /// Since when there is a latest checkpoint of which it is not known that it is served: whoever
    /// swapped it in may have ended before that.
    pub(crate) unserved: Option<Instant>,
}

/// What one look at the stores came to.
enum Step {
    Published,
    /// Nothing to do, or somebody else's turn.
    Rested,
}

impl Leader {
    /// Follows, and publishes where nobody else does, until the backlog is closed and empty.
    pub(crate) fn run(mut self, mut publisher: Publisher) {
        let shared = Arc::clone(&publisher.shared);
        let backlog = &shared.backlog;
        let mut pending: Vec<Sequenced> = Vec::new();
        let mut closing: Option<Instant> = None;
        loop {
            match backlog.take_until(Instant::now() + publisher.interval) {
                Some(groups) => pending.extend(groups),
                None if shared.is_abandoned() || shared.queue.failed() => return,
                // Closed and empty.
                None => {
                    let since = *closing.get_or_insert_with(Instant::now);
                    if pending.is_empty() || since.elapsed() > CLOSING {
                        break;
                    }
                    std::thread::sleep(publisher.interval.min(Duration::from_millis(50)));
                }
            }
            match self.step(&mut publisher, &mut pending) {
                Ok(Step::Published) => shared.status.publish_succeeded(shared.clock.now()),
                Ok(Step::Rested) => shared.status.publish_rested(),
                Err(error) if is_lasting(&error) => {
                    shared.status.publish_failed(&error);
                    shared.fail(format!("publishing failed: {error}"));
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "could not publish, trying again");
                    shared.status.publish_failed(&error);
                }
            }
        }
        if !pending.is_empty() {
            tracing::warn!("what is not published is left to the other servers");
        }
        if self.until.is_some()
            && let Err(error) = shared.meta.release_lease(LEASE, &self.holder)
        {
            tracing::warn!(%error, "could not give up the publisher's lease; it runs out");
        }
    }

    fn step(
        &mut self,
        publisher: &mut Publisher,
        pending: &mut Vec<Sequenced>,
    ) -> Result<Step, LedgerError> {
        self.turns.follow()?;
        self.observe(publisher, pending)?;
        self.serve(publisher)?;
        if pending.is_empty() {
            self.waiting_since = None;
            return Ok(Step::Rested);
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        if !self.has_lease(publisher, since)? {
            return Ok(Step::Rested);
        }
        match publisher.round(pending) {
            Ok(()) => {
                publisher.shared.backlog.release(pending);
                pending.clear();
                self.waiting_since = None;
                Ok(Step::Published)
            }
            // Somebody else was faster. Its checkpoint is looked at next time.
            Err(LedgerError::Store(StoreError::CheckpointMoved { .. })) => {
                self.until = None;
                Ok(Step::Rested)
            }
            Err(error) => Err(error),
        }
    }

    /// Serves the latest checkpoint, should its publisher not have come to it.
    fn serve(&mut self, publisher: &Publisher) -> Result<(), LedgerError> {
        let Some(since) = self.unserved else {
            return Ok(());
        };
        if self.until.is_none() && since.elapsed() < SERVING {
            return Ok(());
        }
        let reader = &publisher.shared.reader;
        if let Some(published) = reader.published() {
            let key = reader.published_key();
            recover::serve(&*reader.objects, &*publisher.shared.meta, key, &published)?;
        }
        self.unserved = None;
        Ok(())
    }

    /// Whether it is this server that publishes what has waited since then. Whoever stands by lets its lease run out, so that
    /// the others get it back.
    fn has_lease(&mut self, publisher: &Publisher, since: Instant) -> Result<bool, LedgerError> {
        let asked = Instant::now();
        let rest = if self.standby {
            Duration::ZERO
        } else {
            PROLONG
        };
        if self.until.is_some_and(|until| until > asked + rest) {
            return Ok(true);
        }
        self.until = None;
        if self.standby && since.elapsed() < STANDBY {
            return Ok(false);
        }
        let meta = &publisher.shared.meta;
        let taken = meta.take_lease(LEASE, &self.holder, LEASE_MILLIS)?;
        if taken {
            self.until = Some(asked + Duration::from_millis(LEASE_MILLIS));
        }
        Ok(taken)
    }

    /// Takes in the latest checkpoint, if another server made it.
    fn observe(
        &mut self,
        publisher: &mut Publisher,
        pending: &mut Vec<Sequenced>,
    ) -> Result<(), LedgerError> {
        let shared = Arc::clone(&publisher.shared);
        let Some((stored, served)) = recover::published(&*shared.meta, &self.policy)? else {
            return Err(LedgerError::corrupt(
                "the database",
                "its checkpoint is gone",
            ));
        };
        let (size, root) = (stored.size, stored.root);
        if size < publisher.edge.size() {
            let reason = format!("it has {size} records, it had {}", publisher.edge.size());
            return Err(LedgerError::corrupt("the latest checkpoint", reason));
        }
        let same = publisher.latest == Some((size, root));
        if same && shared.reader.published().as_ref() == Some(&served) {
            publisher.drop_published(pending, size);
            return Ok(());
        }
        if !same {
            self.waiting_since = None;
            publisher.step_to(pending, size, &root)?;
        }
        publisher.last_time = publisher
            .last_time
            .max(recover::signed_at(&self.policy, &stored.note));
        publisher.drop_published(pending, size);
        publisher.accept(&stored, served);
        self.unserved = Some(Instant::now());
        Ok(())
    }
}

impl Publisher {
    /// Goes on from another server's checkpoint, and serves it.
    fn accept(&mut self, stored: &StoredCheckpoint, served: Published) {
        self.latest = Some((stored.size, stored.root));
        // What others wrote and did not clear up is nobody's to remember.
        self.distrust = true;
        self.shared.reader.set_integrated(stored.size);
        self.shared.publish(served);
    }

    /// Comes to the tree that another server published: by what is known of its leaves, or, where that
    /// has a gap, from the tiles. Either way its root has to be the checkpoint's.
    fn step_to(
        &mut self,
        pending: &[Sequenced],
        size: u64,
        root: &Hash,
    ) -> Result<(), LedgerError> {
        let mut next = self.edge.size();
        let mut known = Vec::new();
        for group in pending {
            for (index, entry) in (group.first..).zip(&group.entries) {
                if index == next && index < size {
                    known.push(entry);
                    next += 1;
                }
            }
        }
        if next < size {
            let objects = &*self.shared.reader.objects;
            self.edge = Edge::load(objects, size, root)?;
            self.tail = recover::tail(objects, size)?;
            return Ok(());
        }
        let mut edge = self.edge.clone();
        edge.extend(known.iter().map(|entry| entry.leaf))?;
        if edge.root() != *root {
            let reason = format!(
                "another server published the root {root} at size {size}, the journal's records \
                 have {}",
                edge.root()
            );
            return Err(LedgerError::corrupt("the log", reason));
        }
        let all = self.tail.iter().chain(known);
        let all: Vec<_> = all.collect();
        let kept = (size % BUNDLE) as usize;
        self.tail = all[all.len() - kept..]
            .iter()
            .map(|entry| (*entry).clone())
            .collect();
        self.edge = edge;
        Ok(())
    }

    /// Forgets what is published of `pending`, and what is there twice.
    fn drop_published(&self, pending: &mut Vec<Sequenced>, size: u64) {
        let mut next = size;
        let mut done = Vec::new();
        for mut group in std::mem::take(pending) {
            let end = group.first + group.entries.len() as u64;
            if end <= next {
                done.push(group);
                continue;
            }
            if group.first < next {
                let known = (next - group.first) as usize;
                let entries = group.entries.drain(..known).collect();
                done.push(Sequenced {
                    first: group.first,
                    entries,
                    ..Sequenced::default()
                });
                group.first = next;
            }
            next = end;
            pending.push(group);
        }
        if !done.is_empty() {
            self.shared.backlog.release(&done);
        }
    }
}

/// Whether trying again cannot help: what the stores hold contradicts itself.
fn is_lasting(error: &LedgerError) -> bool {
    match error {
        LedgerError::Corrupt { .. } => true,
        LedgerError::Store(error) => contradicts(error),
        _ => false,
    }
}
