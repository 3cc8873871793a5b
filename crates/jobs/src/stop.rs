//! The wish to end, for threads that rest in between.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Told once, heard by all.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    told: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// It is time to end.
    pub(crate) fn tell(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Whether it is.
    pub(crate) fn is_told(&self) -> bool {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rests so long, or until it is time to end; says whether it is.
    pub(crate) fn rest(&self, time: Duration) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, _) = self
            .changed
            .wait_timeout_while(told, time, |told| !*told)
            .unwrap_or_else(PoisonError::into_inner);
        *told
    }
}
