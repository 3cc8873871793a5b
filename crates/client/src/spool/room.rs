//! How much may wait, and who waits for that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that wait, against the limit.
#[derive(Debug)]
pub(super) struct Room {
    limit: u64,
    /// What this process holds.
    own: AtomicU64,
    /// What others held when it was last looked at.
    others: AtomicU64,
}

impl Room {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            own: AtomicU64::new(0),
            others: AtomicU64::new(0),
        }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn waiting(&self) -> u64 {
        let others = self.others.load(Ordering::Relaxed);
        self.own.load(Ordering::Relaxed).saturating_add(others)
    }

    /// Takes so many bytes, where they fit.
    pub(super) fn reserve(&self, bytes: u64) -> Option<Reserved<'_>> {
        let others = self.others.load(Ordering::Relaxed);
        let fits = |own: u64| {
            let after = own.saturating_add(bytes);
            (after.saturating_add(others) <= self.limit).then_some(after)
        };
        self.own
            .try_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .ok()?;
        Some(Reserved { room: self, bytes })
    }

    /// Takes so many bytes, whether they fit or not: for what has to be written to make room.
    pub(super) fn force(&self, bytes: u64) {
        self.own.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: u64) {
        let less = |own: u64| own.saturating_sub(bytes);
        self.own.update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(super) fn set_others(&self, bytes: u64) {
        self.others.store(bytes, Ordering::Relaxed);
    }
}

/// Room that is given back unless it is kept.
#[derive(Debug)]
pub(super) struct Reserved<'a> {
    room: &'a Room,
    bytes: u64,
}

impl Reserved<'_> {
    /// So much was really needed.
    pub(super) fn keep(mut self, bytes: u64) {
        if bytes > self.bytes {
            self.room.force(bytes - self.bytes);
        } else {
            self.room.give_back(self.bytes - bytes);
        }
        self.bytes = 0;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.room.give_back(self.bytes);
    }
}

/// Tells whoever waits that something has moved: acknowledged, refused, halted.
#[derive(Debug, Default)]
pub(super) struct Moved {
    count: Mutex<u64>,
    condvar: Condvar,
}

impl Moved {
    pub(super) fn tell(&self) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        self.condvar.notify_all();
    }

    /// Waits until there is an answer or the time is over; looks again now and then, since some of what counts moves in
    /// other processes.
    pub(super) fn wait_until<T>(
        &self,
        deadline: Instant,
        mut answer: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        const AGAIN: Duration = Duration::from_millis(100);
        loop {
            let before = *self.count.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(answer) = answer() {
                return Some(answer);
            }
            let now = Instant::now();
            if now >= deadline {
                return None;
            }
            let rest = AGAIN.min(deadline - now);
            let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
            let same = |count: &mut u64| *count == before;
            let _ = self.condvar.wait_timeout_while(count, rest, same);
        }
    }
}
