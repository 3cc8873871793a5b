//! What is sequenced and not yet published: the records' bytes on their way from the sequencer to
//! the publisher. Bounded; when the publisher falls behind, the sequencer waits here, then the queue
//! fills, then callers are told to come again later.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::entry::Entry;
use crate::state::{RunSnapshot, StreamSnapshot};

/// Most bytes that wait here: some seconds of the largest load.
const MAX_BYTES: usize = 64 << 20;

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
    /// Somebody wants a checkpoint at once.
    hurry: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// The ledger closes: something may still come, but nobody waits for a broken disk.
    Closing,
    /// Nothing more comes.
    Closed,
    /// Nothing more is taken, not even what is there.
    Failed,
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
        while inner.bytes > 0 && inner.bytes + weight > MAX_BYTES && inner.phase != Phase::Failed {
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if inner.phase == Phase::Failed {
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

    /// Adds what the journal held at the start, without a limit: nobody takes from here yet, so
    /// waiting for room would be waiting for ever.
    pub(crate) fn preload(&self, groups: Vec<Sequenced>) {
        let mut inner = self.lock();
        inner.bytes += groups.iter().map(weight).sum::<usize>();
        inner.groups.extend(groups);
    }

    /// Forgets what is here for `groups`, which were read back from the journal.
    pub(crate) fn replace(&self, groups: Vec<Sequenced>) {
        let mut inner = self.lock();
        let before: usize = inner.groups.iter().map(weight).sum();
        inner.bytes = inner.bytes.saturating_sub(before) + groups.iter().map(weight).sum::<usize>();
        inner.groups = groups;
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits until `until` has come, or somebody is in a hurry, or the ledger closes; takes all there
    /// is, which may be nothing. `None` once it is closed and empty.
    pub(crate) fn take_until(&self, until: Instant) -> Option<Vec<Sequenced>> {
        let mut inner = self.lock();
        loop {
            if inner.phase == Phase::Failed {
                return None;
            }
            if inner.phase == Phase::Closed && inner.groups.is_empty() {
                return None;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || inner.hurry || inner.phase == Phase::Closed {
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

    /// Waits until there is something and `earliest` has come (or somebody is in a hurry, or the
    /// ledger closes); takes all there is. `None` once it is closed and empty.
    pub(crate) fn take(&self, earliest: Instant) -> Option<Vec<Sequenced>> {
        let mut inner = self.lock();
        loop {
            if inner.phase == Phase::Failed {
                return None;
            }
            if inner.groups.is_empty() {
                if inner.phase == Phase::Closed {
                    return None;
                }
                inner = self
                    .changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let left = earliest.saturating_duration_since(Instant::now());
            if left.is_zero() || inner.hurry || inner.phase != Phase::Open {
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
        let until = Instant::now() + time;
        let mut inner = self.lock();
        while inner.phase == Phase::Open {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            inner = self
                .changed
                .wait_timeout(inner, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
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

    /// The ledger closes: what fails now is not tried for ever.
    pub(crate) fn closing(&self) {
        self.enter(Phase::Closing);
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.enter(Phase::Closed);
    }

    /// Nothing more will be taken, not even what is there.
    pub(crate) fn fail(&self) {
        self.enter(Phase::Failed);
    }

    fn enter(&self, phase: Phase) {
        let mut inner = self.lock();
        // There is no way back from any of them.
        if phase as u8 > inner.phase as u8 {
            inner.phase = phase;
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// Whether the ledger closes, or publishing was given up.
    pub(crate) fn is_closing(&self) -> bool {
        self.lock().phase != Phase::Open
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Place;
    use record::{Kind, Scope, StreamName, Timestamp};

    fn group(first: u64, bytes: usize) -> Sequenced {
        let place = Place {
            scope: Scope::Ledger,
            stream: StreamName::SERVER,
            seq: first,
            prev: None,
            kind: Kind::FindingRaised,
            time: Timestamp(0),
        };
        let entry = Entry {
            bytes: vec![0; bytes].into(),
            leaf: tlog::Hash::default(),
            sealed: Vec::new().into(),
            place,
            by: None,
        };
        Sequenced {
            first,
            entries: vec![entry],
            ..Sequenced::default()
        }
    }

    #[test]
    fn what_a_start_finds_never_waits_for_a_publisher_that_does_not_run_yet() {
        let backlog = Backlog::default();
        let groups = (0..3).map(|n| group(n, MAX_BYTES)).collect();
        // With `push`, this would not return.
        backlog.preload(groups);
        let taken = backlog.take(Instant::now()).unwrap();
        assert_eq!(taken.len(), 3);
        backlog.release(&taken);
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn a_full_backlog_lets_go_of_who_waits_once_publishing_is_given_up() {
        let backlog = Backlog::default();
        assert!(backlog.push(group(0, MAX_BYTES)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| backlog.push(group(1, MAX_BYTES)));
            backlog.fail();
            assert!(!waiting.join().unwrap());
        });
        assert!(backlog.take(Instant::now()).is_none());
    }
}
