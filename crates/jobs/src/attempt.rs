//! One attempt at a job: what the kind is given, and the heart that beats meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use store::{JobRow, WorkStore};

use crate::Tools;
use crate::error::Fault;
use crate::stop::Stop;

/// How many beats there are to a lease.
const BEATS: u32 = 3;

/// A job as it is being done.
pub struct Attempt<'a> {
    /// The job.
    pub job: &'a JobRow,
    /// What it is done with.
    pub tools: &'a Tools,
    pub(crate) heart: &'a Heart,
    /// The worker is to stop.
    pub(crate) stopping: &'a Stop,
}

impl Attempt<'_> {
    /// Says how far it has come. To be called now and then: it ends what is not to go on.
    ///
    /// # Errors
    /// [`Fault::Lost`] and [`Fault::Stopping`].
    pub fn progress(&self, done: u64, total: u64) -> Result<(), Fault> {
        self.heart.done.store(done, Ordering::Relaxed);
        self.heart.total.store(total, Ordering::Relaxed);
        if self.heart.lost.load(Ordering::Acquire) {
            return Err(Fault::Lost);
        }
        if self.stopping.is_told() {
            return Err(Fault::Stopping);
        }
        Ok(())
    }

    /// What the job is about.
    ///
    /// # Errors
    /// [`Fault::Dead`]: it cannot be read.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_str(&self.job.payload)
            .map_err(|error| Fault::Dead(format!("its payload cannot be read: {error}")))
    }
}

/// Says that the attempt goes on, on a thread of its own.
#[derive(Debug, Default)]
pub(crate) struct Heart {
    pub(crate) done: AtomicU64,
    pub(crate) total: AtomicU64,
    /// The job is somebody else's.
    pub(crate) lost: AtomicBool,
    over: Stop,
}

impl Heart {
    /// As far as the job had come.
    pub(crate) fn of(job: &JobRow) -> Self {
        Self {
            done: job.done.into(),
            total: job.total.into(),
            ..Self::default()
        }
    }

    /// Beats until the attempt is over or lost.
    pub(crate) fn beat(&self, store: &dyn WorkStore, job: &JobRow, lease: Duration) {
        let millis = millis(lease);
        while !self.over.rest(lease / BEATS) {
            let (done, total) = self.progress();
            match store.beat_job(&job.id, job.attempt, millis, done, total) {
                Ok(true) => {}
                Ok(false) => {
                    self.lost.store(true, Ordering::Release);
                    return;
                }
                // The lease may hold until the store answers again.
                Err(error) => tracing::warn!(%error, job = job.id, "a job's heart was not heard"),
            }
        }
    }

    pub(crate) fn progress(&self) -> (u64, u64) {
        (
            self.done.load(Ordering::Relaxed),
            self.total.load(Ordering::Relaxed),
        )
    }

    pub(crate) fn stop(&self) {
        self.over.tell();
    }
}

/// A duration as the store takes it.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
