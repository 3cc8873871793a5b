//! What the ledger's threads and its callers share, and how one learns that the other got on.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use record::{Clock, Entropy, Kind, Timestamp};
use store::{Journal, MetaStore};
use tokio::sync::watch;

use crate::attachments::Attachments;
use crate::backlog::Backlog;
use crate::error::{LedgerError, SubmitError};
use crate::publish::SharedJournal;
use crate::queue::Queue;
use crate::read::{Published, Reader};
use crate::sealing::Sealing;
use crate::state::State;

/// Everything that more than one thread uses.
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) meta: Arc<dyn MetaStore>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) reader: Reader,
    pub(crate) sealing: Sealing,
    pub(crate) attachments: Attachments,
    pub(crate) queue: Queue,
    pub(crate) backlog: Backlog,
    pub(crate) journal: SharedJournal,
    pub(crate) state: Mutex<State>,
    pub(crate) status: Counters,
    pub(crate) timestamps: crate::timestamps::Counters,
    indexing: Mutex<()>,
    abandoned: AtomicBool,
    progress: Progress,
}

impl Shared {
    #[expect(clippy::too_many_arguments, reason = "each is used once, and by name")]
    pub(crate) fn new(
        dir: PathBuf,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        meta: Arc<dyn MetaStore>,
        reader: Reader,
        sealing: Sealing,
        journal: Box<dyn Journal>,
        state: State,
    ) -> Self {
        Self {
            dir,
            clock,
            meta,
            entropy,
            reader,
            sealing,
            attachments: Attachments::default(),
            queue: Queue::default(),
            backlog: Backlog::default(),
            journal: Mutex::new(journal),
            state: Mutex::new(state),
            status: Counters::default(),
            timestamps: crate::timestamps::Counters::default(),
            indexing: Mutex::default(),
            abandoned: AtomicBool::new(false),
            progress: Progress::default(),
        }
    }

    /// Ends the threads where they are: what is not published is left to the next start.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.queue.stop(SubmitError::Closed);
        self.queue.clear();
        self.backlog.fail();
        self.end();
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Box<dyn Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while the index grows, and by whoever needs it to stand still.
    pub(crate) fn indexing(&self) -> MutexGuard<'_, ()> {
        self.indexing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a checkpoint from now on, and tells those who wait for it.
    pub(crate) fn publish(&self, published: Published) {
        self.reader.set_published(published);
        self.shown();
    }

    /// Tells those who wait how far the log is shown.
    pub(crate) fn shown(&self) {
        if let Some(shown) = self.reader.shown() {
            self.progress.reach(shown.checkpoint.size.0);
        }
    }

    /// Stops the ledger for good: what is on the disk is unknown.
    pub(crate) fn fail(&self, reason: String) {
        tracing::error!(reason, "the ledger has stopped");
        self.queue.stop(SubmitError::Failed { reason });
        self.queue.clear();
        self.backlog.fail();
        self.end();
    }

    /// Stops the ledger if a write of `what` has left the disk in an unknown state.
    pub(crate) fn judge<T>(&self, what: &str, written: store::Result<T>) -> store::Result<T> {
        written.inspect_err(|error| {
            if error.is_fatal() {
                self.fail(format!("{what} could not be written: {error}"));
            }
        })
    }

    /// Tells those who wait that nothing more will be published.
    pub(crate) fn end(&self) {
        self.progress.end();
    }

    /// Waits until so many records are published; false if that will not happen, or not in time.
    pub(crate) fn wait(&self, size: u64, deadline: Instant) -> bool {
        self.progress.wait(size, deadline)
    }

    /// Waits until so many records are published; false if that will not happen.
    pub(crate) async fn reached(&self, size: u64) -> bool {
        let mut watch = self.progress.watch.subscribe();
        let reached = watch.wait_for(|mark| mark.size >= size || mark.ended).await;
        reached.is_ok_and(|mark| mark.size >= size)
    }
}

#[derive(Clone, Copy, Default)]
struct Mark {
    size: u64,
    ended: bool,
}

/// How far publication has come, for threads and for tasks.
struct Progress {
    mark: Mutex<Mark>,
    moved: Condvar,
    watch: watch::Sender<Mark>,
}

impl Default for Progress {
    fn default() -> Self {
        let (watch, _) = watch::channel(Mark::default());
        Self {
            mark: Mutex::default(),
            moved: Condvar::new(),
            watch,
        }
    }
}

impl Progress {
    fn change(&self, change: impl FnOnce(&mut Mark)) {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut mark);
        self.watch.send_replace(*mark);
        drop(mark);
        self.moved.notify_all();
    }

    fn reach(&self, size: u64) {
        self.change(|mark| mark.size = size);
    }

    fn end(&self) {
        self.change(|mark| mark.ended = true);
    }

    fn wait(&self, size: u64, deadline: Instant) -> bool {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        while mark.size < size {
            let left = deadline.saturating_duration_since(Instant::now());
            if mark.ended || left == Duration::ZERO {
                return false;
            }
            mark = self
                .moved
                .wait_timeout(mark, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

/// How many records of each kind were given an index.
pub(crate) struct Kinds([AtomicU64; Kind::ALL.len()]);

impl Default for Kinds {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Kind::ALL.len()])
    }
}

impl Kinds {
    /// One more.
    pub(crate) fn add(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Kind, u64)> {
        let count = |kind: &Kind| (*kind, self.0[*kind as usize].load(Ordering::Relaxed));
        Kind::ALL.iter().map(count)
    }
}

/// What is counted, for `status()`.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) sequenced: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) overloaded: AtomicU64,
    pub(crate) kinds: Kinds,
    publish_failures: AtomicU64,
    unavailable: Mutex<Option<String>>,
    write_error: Mutex<Option<String>>,
    last: Mutex<(Option<Timestamp>, Option<String>)>,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Why nothing is accepted at present; `None` once it is again.
    pub(crate) fn set_unavailable(&self, reason: Option<String>) {
        *lock(&self.unavailable) = reason;
    }

    /// Why the last records could not be kept; `None` where they were.
    pub(crate) fn set_write_error(&self, reason: Option<String>) {
        *lock(&self.write_error) = reason;
    }

    pub(crate) fn publish_failed(&self, error: &LedgerError) {
        self.publish_failures.fetch_add(1, Ordering::Relaxed);
        lock(&self.last).1 = Some(error.to_string());
    }

    pub(crate) fn publish_succeeded(&self, at: Timestamp) {
        *lock(&self.last) = (Some(at), None);
    }

    /// There was nothing to publish, or it is somebody else's turn: what failed before passed.
    pub(crate) fn publish_rested(&self) {
        lock(&self.last).1 = None;
    }

    fn last(&self) -> (Option<Timestamp>, Option<String>) {
        lock(&self.last).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the ledger is doing; for health checks and metrics. Sizes are in records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Records that are durable.
    pub sequenced: u64,
    /// Records in tiles and index.
    pub integrated: u64,
    /// Records that the published checkpoint covers.
    pub published: u64,
    /// When the last checkpoint was published since the ledger was opened.
    pub last_published: Option<Timestamp>,
    /// Requests that wait for the sequencer.
    pub waiting: usize,
    /// Bytes that wait for the publisher.
    pub backlog_bytes: usize,
    /// Groups written since the ledger was opened: durable writes.
    pub groups: u64,
    /// Requests refused since then.
    pub refused: u64,
    /// Records received again since then.
    pub duplicates: u64,
    /// Requests turned away since then for want of room.
    pub overloaded: u64,
    /// Publishing rounds that failed since then.
    pub publish_failures: u64,
    /// Hash tiles read since then to make proofs.
    pub tile_reads: u64,
    /// Why publishing does not get on at present.
    pub publish_error: Option<String>,
    /// Why nothing is accepted at present: a database does not answer. It is asked again and again.
    pub unavailable: Option<String>,
    /// Why the last records could not be kept, or the keys they needed: a full disk, most likely. The next are tried all the same.
    pub write_error: Option<String>,
    /// Why nothing more is accepted; the process should exit.
    pub failed: Option<String>,
}

impl Shared {
    /// How the ledger is doing.
    pub(crate) fn status(&self) -> Status {
        let counters = &self.status;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (last_published, publish_error) = counters.last();
        Status {
            sequenced: get(&counters.sequenced),
            integrated: self.reader.integrated_size(),
            published: self.reader.size(),
            last_published,
            waiting: self.queue.len(),
            backlog_bytes: self.backlog.bytes(),
            groups: get(&counters.groups),
            refused: get(&counters.refused),
            duplicates: get(&counters.duplicates),
            overloaded: get(&counters.overloaded),
            publish_failures: get(&counters.publish_failures),
            tile_reads: self.reader.tile_reads(),
            publish_error,
            unavailable: lock(&counters.unavailable).clone(),
            write_error: lock(&counters.write_error).clone(),
            failed: match self.queue.stopped() {
                Some(SubmitError::Failed { reason }) => Some(reason),
                _ => None,
            },
        }
    }
}
