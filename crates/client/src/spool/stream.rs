//! One stream that this process writes.

use std::time::Duration;

use record::kinds::RunStatus;
use record::{Draft, RecordHash, RunId, Scope, StreamName};

use super::error::SpoolError;
use super::status::KeptReceipt;
use crate::types::Receipt;

/// A stream of a [`Spool`](super::Spool). May be shared between threads; clones are the same stream.
///
/// In a process that was forked from the one that opened it, it is another stream, opened at its first use: of the same
/// scope, named after this one.
#[derive(Clone, Debug)]
pub struct SpooledStream {}

impl SpooledStream {
    /// The run, `None` in the scope `ledger`.
    pub fn run(&self) -> Option<RunId> {
        self.scope().run()
    }

    /// Where it belongs.
    pub fn scope(&self) -> Scope {
        todo!()
    }

    /// Its name as things stand: after a fork, or where the server refused the stream for good, it is another.
    pub fn name(&self) -> StreamName {
        todo!()
    }

    /// Takes a draft, and returns the leaf hash that names its record from now on.
    ///
    /// # Errors
    /// [`SpoolError::Record`], [`SpoolError::Kind`], [`SpoolError::TooLarge`], [`SpoolError::Full`], [`SpoolError::Closed`],
    /// [`SpoolError::Disk`]: nothing was taken.
    pub fn write(&self, draft: Draft) -> Result<RecordHash, SpoolError> {
        let _ = draft;
        todo!()
    }

    /// Takes all of the drafts, or none; their names in the order given. Also after a crash either all of them are there
    /// or none is.
    ///
    /// # Errors
    /// As [`SpooledStream::write`].
    pub fn write_all(&self, drafts: Vec<Draft>) -> Result<Vec<RecordHash>, SpoolError> {
        let _ = drafts;
        todo!()
    }

    /// Seals the run: waits until everything of it in this directory is acknowledged, asks the server for the other
    /// streams' ends and records `run.sealed`. Only in a stream of the run's owner. Nothing can be written afterwards.
    ///
    /// The wish is kept: where the server does not answer in time, the run is sealed later, by this process or the next
    /// that opens the directory.
    ///
    /// # Errors
    /// [`SpoolError::Timeout`] (sealed later), [`SpoolError::Closed`], [`SpoolError::Server`] where the server says no for
    /// good, [`SpoolError::Contradiction`], [`SpoolError::Disk`].
    pub fn seal(&self, status: RunStatus, timeout: Duration) -> Result<Receipt, SpoolError> {
        let _ = (status, timeout);
        todo!()
    }

    /// The proofs of this stream's records that were kept, the oldest first.
    ///
    /// # Errors
    /// [`SpoolError::Disk`].
    pub fn receipts(&self) -> Result<Vec<KeptReceipt>, SpoolError> {
        todo!()
    }
}
