//! One stream that this process writes.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use record::kinds::RunStatus;
use record::{Draft, RecordHash, RunId, Scope, StreamName};

use super::Spool;
use super::core::{Core, lock};
use super::drafts::check_kinds;
use super::error::SpoolError;
use super::flush::halted;
use super::join;
use super::outgoing::{Ending, Outgoing, State, Written};
use super::per_process::PerProcess;
use super::receipts;
use super::status::KeptReceipt;
use crate::types::Receipt;

/// A stream of a [`Spool`]. May be shared between threads; clones are the same stream.
///
/// In a process that was forked from the one that opened it, it is another stream, opened at its first use: of the same
/// scope, named after this one.
#[derive(Clone)]
pub struct SpooledStream {
    spool: Spool,
    handle: Arc<PerProcess<Handle>>,
}

/// A stream and where it has gone since.
struct Handle {
    scope: Scope,
    /// As it was opened.
    name: StreamName,
    current: Mutex<Arc<Outgoing>>,
}

impl SpooledStream {
    pub(super) fn new(spool: Spool, stream: Arc<Outgoing>) -> Self {
        Self {
            spool,
            handle: Arc::new(PerProcess::new(Handle::new(stream))),
        }
    }

    /// The run, `None` in the scope `ledger`.
    pub fn run(&self) -> Option<RunId> {
        self.scope().run()
    }

    /// Where it belongs.
    pub fn scope(&self) -> Scope {
        self.handle.first().scope
    }

    /// Its name as things stand: after a fork, or where the server refused the stream for good, it is another.
    pub fn name(&self) -> StreamName {
        match self.handle.here() {
            Some(handle) => lock(&handle.current).name,
            None => self.handle.first().name,
        }
    }

    /// Takes a draft, and returns the leaf hash that names its record from now on.
    ///
    /// # Errors
    /// [`SpoolError::Record`], [`SpoolError::Kind`], [`SpoolError::TooLarge`], [`SpoolError::Full`], [`SpoolError::Closed`],
    /// [`SpoolError::Disk`]: nothing was taken.
    pub fn write(&self, draft: Draft) -> Result<RecordHash, SpoolError> {
        let names = self.write_all(vec![draft])?;
        Ok(names.first().copied().unwrap_or(RecordHash([0; 32])))
    }

    /// Takes all of the drafts, or none; their names in the order given. Also after a crash either all of them are there
    /// or none is.
    ///
    /// # Errors
    /// As [`SpooledStream::write`].
    pub fn write_all(&self, drafts: Vec<Draft>) -> Result<Vec<RecordHash>, SpoolError> {
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        check_kinds(&drafts)?;
        let (core, handle) = self.here()?;
        core.check_open()?;
        let mut drafts = drafts;
        loop {
            let stream = lock(&handle.current).clone();
            match stream.write(core, drafts)? {
                Written::Here(names) => return Ok(names),
                Written::Elsewhere(rest) => {
                    handle.follow();
                    drafts = rest;
                }
            }
        }
    }

    /// Seals the run: waits until everything of it in this directory is acknowledged, asks the server for the other
    /// streams' ends and records `run.sealed`. Only in a stream of the run's owner. Nothing can be written afterwards.
    ///
    /// The wish is kept: where the server does not answer in time, the run is sealed later, by this process or the next
    /// that opens the directory.
    ///
    /// # Errors
    /// [`SpoolError::Timeout`] (sealed later), [`SpoolError::Closed`], [`SpoolError::Refused`] where the server says no for
    /// good, [`SpoolError::Contradiction`], [`SpoolError::Disk`].
    pub fn seal(&self, status: RunStatus, timeout: Duration) -> Result<Receipt, SpoolError> {
        let began = Instant::now();
        let (core, handle) = self.here()?;
        let _urgent = core.bell.urge();
        sign_run(core, self.scope());
        handle.follow().wish_to_seal(core, status)?;
        let sealed = core.moved.wait_until(began + timeout, || {
            if let Some(error) = halted(core) {
                return Some(Err(error));
            }
            let stream = handle.follow();
            let writer = stream.writer();
            match (&writer.state, &writer.not_sealed) {
                (State::Ended(Ending::Sealed(receipt)), _) => Some(Ok(receipt.clone())),
                (State::Open, Some(problem)) => Some(Err(SpoolError::Refused {
                    stream: stream.title(),
                    problem: problem.clone(),
                    kept: stream.dir.clone(),
                })),
                (state @ State::Ended(Ending::Closed(_)), _) => Some(Err(stream.closed(state))),
                _ => None,
            }
        });
        sealed.unwrap_or_else(|| {
            Err(SpoolError::Timeout {
                waited: began.elapsed(),
                waiting_records: core.status().waiting_records,
                last_error: core.last_error(),
            })
        })
    }

    /// The proofs of this stream's records that were kept, the oldest first.
    ///
    /// # Errors
    /// [`SpoolError::Disk`].
    pub fn receipts(&self) -> Result<Vec<KeptReceipt>, SpoolError> {
        let (core, handle) = self.here()?;
        let name = lock(&handle.current).name;
        receipts::kept(core, self.scope(), name)
    }

    /// This process's.
    fn here(&self) -> Result<(&Core, &Arc<Handle>), SpoolError> {
        let core = &self.spool.running()?.core;
        let handle = self.handle.get(|parents| {
            let stream = join::forked(core, parents.scope, parents.name)?;
            Ok::<_, SpoolError>(Handle::new(stream))
        })?;
        Ok((core, handle))
    }
}

impl Handle {
    fn new(stream: Arc<Outgoing>) -> Arc<Self> {
        Arc::new(Self {
            scope: stream.scope,
            name: stream.name,
            current: Mutex::new(stream),
        })
    }

    /// The stream that is written to now.
    fn follow(&self) -> Arc<Outgoing> {
        let mut current = lock(&self.current);
        loop {
            let to = match &current.writer().state {
                State::Moved(to) => Arc::clone(to),
                _ => break,
            };
            *current = to;
        }
        Arc::clone(&current)
    }
}

/// What of the run is unsigned here is signed before it is sealed.
fn sign_run(core: &Core, scope: Scope) {
    let streams = core.streams().clone();
    for stream in streams.iter().filter(|stream| stream.scope == scope) {
        // The seal stands without it.
        let _ = stream.sign(core, Duration::ZERO);
    }
}

impl fmt::Debug for SpooledStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.handle.first();
        f.debug_struct("SpooledStream")
            .field("scope", &first.scope)
            .field("name", &first.name)
            .finish_non_exhaustive()
    }
}
