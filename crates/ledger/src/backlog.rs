//! What is sequenced and not yet published: the records' bytes on their way from the sequencer to
//! the publisher. Bounded; when the publisher falls behind, the sequencer waits here, then the queue
//! fills, then callers are told to come again later.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::entry::Entry;
use crate::state::{RunSnapshot, StreamSnapshot};

/// Most bytes that wait here: some seconds of the largest load.
const MAX_BYTES: usize = 96 << 20;

/// One group, with its streams and runs as they stand after it.
#[derive(Debug, Default)]
pub(crate) struct Sequenced {
    /// The index of its first record.
    pub(crate) first: u64,
    pub(crate) entries: Vec<Entry>,
    pub(crate) streams: Vec<StreamSnapshot>,
    pub(crate) runs: Vec<RunSnapshot>,
}

#[derive(Default)]
struct Inner {
    groups: Vec<Sequenced>,
    bytes: usize,
    /// Whoever wants a checkpoint at once.
    hurry: bool,
    closed: bool,
    failed: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Backlog {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Backlog {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a group; waits while there is no room. False once the publisher has given up.
    pub(crate) fn push(&self, group: Sequenced) -> bool {
        let weight = weight(&group);
        let mut inner = self.lock();
        while inner.bytes > 0 && inner.bytes + weight > MAX_BYTES && !inner.failed {
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if inner.failed {
            return false;
        }
        inner.bytes += weight;
        let first = inner.groups.is_empty();
        inner.groups.push(group);
        drop(inner);
        if first {
            self.changed.notify_all();
        }
        true
    }

    /// Waits until there is something and `earliest` has come (or somebody is in a hurry, or the
    /// ledger closes); takes all there is. `None` once it is closed and empty.
    pub(crate) fn take(&self, earliest: Instant) -> Option<Vec<Sequenced>> {
        let mut inner = self.lock();
        loop {
            if inner.failed {
                return None;
            }
            if inner.groups.is_empty() {
                inner.hurry = false;
                if inner.closed {
                    return None;
                }
                inner = self
                    .changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let left = earliest.saturating_duration_since(Instant::now());
            if left.is_zero() || inner.hurry || inner.closed {
                inner.hurry = false;
                return Some(std::mem::take(&mut inner.groups));
            }
            inner = self
                .changed
                .wait_timeout(inner, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits before a round is tried again; less long if the ledger closes.
    pub(crate) fn pause(&self, time: Duration) {
        let inner = self.lock();
        if !inner.closed && !inner.failed {
            drop(
                self.changed
                    .wait_timeout(inner, time)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }

    /// Gives back the room of groups that are published.
    pub(crate) fn release(&self, groups: &[Sequenced]) {
        let weight: usize = groups.iter().map(weight).sum();
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(weight);
        drop(inner);
        self.changed.notify_all();
    }

    /// Asks for a checkpoint without waiting for the interval.
    pub(crate) fn hurry(&self) {
        self.lock().hurry = true;
        self.changed.notify_all();
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Nothing more will be taken, not even what is there.
    pub(crate) fn fail(&self) {
        self.lock().failed = true;
        self.changed.notify_all();
    }

    /// Whether it was closed, or given up.
    pub(crate) fn is_closed(&self) -> bool {
        let inner = self.lock();
        inner.closed || inner.failed
    }

    /// Bytes that wait here.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }
}

fn weight(group: &Sequenced) -> usize {
    // A record's entry, and a row of the index each.
    group.entries.iter().map(Entry::weight).sum::<usize>()
        + 512 * (group.streams.len() + group.runs.len())
}
