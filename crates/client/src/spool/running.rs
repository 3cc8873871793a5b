//! One process's spool: what its handles share, and the thread that sends.

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::core::{Core, lock};
use super::error::SpoolError;
use super::flush::flush;
use super::options::SpoolOptions;
use super::send::Sender;

/// How long the last handle waits for the thread, which may be waiting for the server.
const LET_GO_AFTER: Duration = Duration::from_secs(1);
/// What is done at the end beyond a flush may take so long: a last look at the log, a last proof.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Running {
    pub(super) core: Arc<Core>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Running {
    pub(super) fn start(options: SpoolOptions) -> Result<Arc<Self>, SpoolError> {
        Self::over(Core::open(options)?)
    }

    /// Of its own, in a process that was forked from the one that has this.
    pub(super) fn forked(&self) -> Result<Arc<Self>, SpoolError> {
        Self::over(self.core.forked()?)
    }

    fn over(core: Arc<Core>) -> Result<Arc<Self>, SpoolError> {
        let thread = Sender::start(&core)?;
        Ok(Arc::new(Self {
            core,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Flushes, finishes, and stops.
    pub(super) fn close(&self, timeout: Duration) -> Result<(), SpoolError> {
        let deadline = Instant::now() + timeout;
        if !self.core.close() {
            return Ok(());
        }
        let flushed = flush(&self.core, timeout);
        if flushed.is_ok() {
            let finish = deadline.min(Instant::now() + FINISH_WITHIN);
            self.core.finish(finish);
            let tidied = || self.core.report().tidied.then_some(());
            // What is not done is done by the next process.
            let _: Option<()> = self.core.moved.wait_until(finish, tidied);
        }
        if self.stop() {
            // Handles may live on.
            for stream in self.core.streams().drain(..) {
                stream.release();
            }
        }
        flushed
    }

    /// Whether the thread has ended.
    fn stop(&self) -> bool {
        self.core.bell.stop();
        let Some(thread) = lock(&self.thread).take() else {
            return false;
        };
        let deadline = Instant::now() + LET_GO_AFTER;
        let ended = || thread.is_finished().then_some(());
        let _: Option<()> = self.core.moved.wait_until(deadline, ended);
        // Else it ends once the server has answered it, or with the process.
        let ended = thread.is_finished();
        if ended {
            // It ends itself, or a defect ended it, which is no reason to end the caller.
            let _ = thread.join();
        }
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}
