//! Waiting for servers: one small runtime for all stores of a ledger that are reached over a network.
//!
//! The traits block, and are called from threads inside and outside somebody else's runtime. So the work runs on the
//! stores' own threads, and the caller waits on a channel: nothing is ever polled in the caller's thread.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Result, StoreError};

/// Enough to keep encryption of many objects from holding up the journal.
const THREADS: usize = 2;

/// The threads that talk to servers.
#[derive(Debug)]
pub(crate) struct Net {
    /// Taken when it is dropped.
    runtime: Option<Runtime>,
}

impl Net {
    pub(crate) fn new() -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("store-net")
            .enable_all()
            .build()
            .map_err(|source| StoreError::Io {
                action: "start threads for",
                path: "the stores".into(),
                source,
            })?;
        Ok(Self {
            runtime: Some(runtime),
        })
    }

    /// Runs `work` and waits for it; `None` if it panicked.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, result) = mpsc::sync_channel(1);
        self.spawn(async move {
            // Nobody else receives, and the one who does waits.
            let _ = done.send(work.await);
        });
        result.recv().ok()
    }

    /// Runs `work` and does not wait.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<JoinHandle<T>> {
        self.runtime.as_ref().map(|runtime| runtime.spawn(work))
    }
}

impl Drop for Net {
    /// A runtime may not wait for its threads where somebody else's is entered.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How long to wait before the attempt after `attempt` (from 0): doubled each time, and between half and all of it by
/// chance, so that processes that failed together do not come back together.
pub(crate) fn pause_after(attempt: u32) -> Duration {
    let longest = 50_u64 << attempt.min(5);
    let chance = RandomState::new().hash_one(attempt) % (longest / 2);
    Duration::from_millis(longest / 2 + chance)
}
