//! What wakes the sender.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Rung by whoever has something to be done. Ringing one that rings already costs an atomic exchange.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: AtomicBool,
    stop: AtomicBool,
    /// So many wait for everything to be sent: nothing is put off.
    urgent: AtomicUsize,
    /// Somebody has begun to wait: what failed is tried again at once.
    hurry: AtomicBool,
    mutex: Mutex<()>,
    condvar: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            let _held = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
            self.condvar.notify_all();
        }
    }

    /// Nothing is put off for as long as what comes back lives.
    pub(super) fn urge(&self) -> Urgency<'_> {
        self.urgent.fetch_add(1, Ordering::AcqRel);
        self.hurry.store(true, Ordering::Release);
        self.ring();
        Urgency(self)
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::Acquire) > 0
    }

    /// Whether somebody has begun to wait since this was last asked.
    pub(super) fn take_hurry(&self) -> bool {
        self.hurry.swap(false, Ordering::AcqRel)
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Sleeps until it is rung or the time has come. What rings from then on rings again.
    pub(super) fn wait_until(&self, time: Option<Instant>) {
        let mut held = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.rung.swap(false, Ordering::AcqRel) {
            let Some(time) = time else {
                held = self
                    .condvar
                    .wait(held)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now = Instant::now();
            if now >= time {
                return;
            }
            held = match self.condvar.wait_timeout(held, time - now) {
                Ok((held, _)) => held,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// Somebody waits.
#[derive(Debug)]
pub(super) struct Urgency<'a>(&'a Bell);

impl Drop for Urgency<'_> {
    fn drop(&mut self) {
        self.0.urgent.fetch_sub(1, Ordering::AcqRel);
    }
}
