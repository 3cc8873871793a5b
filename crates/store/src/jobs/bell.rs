//! What wakes a worker: a hint that a job is due, and which.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;

/// Hands ids of jobs to whoever is ready. Nothing depends on it but how soon a job is begun: ids may be lost, come twice,
/// or name what is done.
pub trait Bell: fmt::Debug + Send + Sync {
    /// Says that this job is due.
    ///
    /// # Errors
    /// Nobody was told; it will be found.
    fn ring(&self, id: &str) -> Result<()>;

    /// Waits for an id, at most so long.
    ///
    /// # Errors
    /// It cannot be waited for. Returns at once, so the caller rests before it asks again.
    fn wait(&self, patience: Duration) -> Result<Option<String>>;

    /// Ends the waits of this process, where that can be done.
    fn wake(&self) {}
}

/// The most ids that wait in a bell; what is beyond is found in the store.
pub(super) const MOST_IDS: usize = 10_000;

/// A bell for the workers of one process.
#[derive(Debug, Default)]
pub struct LocalBell {
    heard: Mutex<Heard>,
    rung: Condvar,
}

#[derive(Debug, Default)]
struct Heard {
    ids: VecDeque<String>,
    /// How often everybody was woken.
    wakes: u64,
}

impl LocalBell {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bell for LocalBell {
    fn ring(&self, id: &str) -> Result<()> {
        let mut heard = self.heard();
        if heard.ids.len() < MOST_IDS {
            heard.ids.push_back(id.to_owned());
        }
        drop(heard);
        self.rung.notify_one();
        Ok(())
    }

    fn wait(&self, patience: Duration) -> Result<Option<String>> {
        let heard = self.heard();
        let before = heard.wakes;
        let (mut heard, _) = self
            .rung
            .wait_timeout_while(heard, patience, |heard| {
                heard.ids.is_empty() && heard.wakes == before
            })
            .unwrap_or_else(PoisonError::into_inner);
        Ok(heard.ids.pop_front())
    }

    fn wake(&self) {
        self.heard().wakes += 1;
        self.rung.notify_all();
    }
}
