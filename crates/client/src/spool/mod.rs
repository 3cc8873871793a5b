//! The spool: what a producer accepted is on disk, and leaves it only once the ledger acknowledged it.
//!
//! A record's bytes are final when the call that took it returns: chain, commitments, time and leaf hash are made in
//! the caller's thread, so that a resend is the same bytes and the name of a record is known at once. Sending, and
//! signing what nobody writes after, happens on a thread of the spool's own.
//!
//! Not here: what records mean (`record`), and how a server is spoken to ([`Client`](crate::Client)).

mod attachments;
mod batch;
mod bell;
mod core;
mod dir;
mod drafts;
mod error;
mod evidence;
mod flush;
mod frame;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod join;
mod key;
mod load;
mod names;
mod options;
mod outgoing;
mod per_process;
mod queue;
mod receipts;
mod room;
mod running;
mod sealing;
mod segments;
mod send;
mod status;
mod stream;
mod tail;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use record::{Attachment, PublicKey, RunId, Scope};

pub use error::SpoolError;
pub use options::{DEFAULT_LIMIT_BYTES, Durability, RunSpec, SpoolOptions, Target, WhenFull};
use per_process::PerProcess;
use running::Running;
pub use status::{Incident, IncidentKind, KeptReceipt, SpoolStatus};
pub use stream::SpooledStream;

/// A directory of records on their way to a ledger, and the thread that sends them.
///
/// A directory belongs to one ledger: a server with another log in place of the one that was there is refused. Clones are
/// the same spool. In a process that was forked from the one that opened it, it is a spool of its own over the same
/// directory, from its first use on. The last one that is dropped stops the thread; what is not acknowledged then stays
/// in the directory for the next process that opens it.
#[derive(Clone)]
pub struct Spool {
    running: Arc<PerProcess<Running>>,
}

impl Spool {
    /// Opens the directory, and sends what dead processes left in it. The server need not be there.
    ///
    /// # Errors
    /// [`SpoolError::Disk`], [`SpoolError::Key`], and [`SpoolError::Server`] for an address that is none.
    pub fn open(options: SpoolOptions) -> Result<Self, SpoolError> {
        Ok(Self {
            running: Arc::new(PerProcess::new(Running::start(options)?)),
        })
    }

    /// Starts a run, owned by this spool's key. The server is not asked.
    ///
    /// # Errors
    /// As [`SpooledStream::write`].
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a specification is used up by its run"
    )]
    pub fn start_run(&self, run: RunSpec) -> Result<SpooledStream, SpoolError> {
        let stream = join::start(&self.running()?.core, &run)?;
        Ok(SpooledStream::new(self.clone(), stream))
    }

    /// A stream of a run that was started here or elsewhere: another rank's, or the next after a preemption.
    ///
    /// Goes on with the stream of that name where this directory has it and no other process writes it. Else it is a new
    /// stream, of the name given or, where that is taken, of one made from it (`rank0.2`). Whether it is taken the server
    /// says; where it does not answer within seconds, the name gets a random end.
    ///
    /// # Errors
    /// [`SpoolError::Name`]; [`SpoolError::Closed`] where the run is known to be sealed; [`SpoolError::Disk`].
    pub fn join_run(&self, run: RunId, stream: &str) -> Result<SpooledStream, SpoolError> {
        self.join(run.into(), stream)
    }

    /// A stream of the scope `ledger`, for what belongs to no run. As [`Spool::join_run`] otherwise.
    ///
    /// # Errors
    /// As [`Spool::join_run`].
    pub fn ledger_stream(&self, stream: &str) -> Result<SpooledStream, SpoolError> {
        self.join(Scope::Ledger, stream)
    }

    fn join(&self, scope: Scope, stream: &str) -> Result<SpooledStream, SpoolError> {
        let stream = join::join(&self.running()?.core, scope, stream)?;
        Ok(SpooledStream::new(self.clone(), stream))
    }

    /// Takes an attachment: it is sent before the record that names it.
    ///
    /// # Errors
    /// [`SpoolError::TooLarge`], [`SpoolError::Full`], [`SpoolError::Closed`], [`SpoolError::Disk`]: it was not taken.
    pub fn attach(&self, bytes: &[u8]) -> Result<Attachment, SpoolError> {
        let core = &self.running()?.core;
        attachments::take(core, &mut Cursor::new(bytes), bytes.len() as u64)
    }

    /// Takes a copy of a file as an attachment.
    ///
    /// # Errors
    /// As [`Spool::attach`].
    pub fn attach_file(&self, path: &Path) -> Result<Attachment, SpoolError> {
        attachments::take_file(&self.running()?.core, path)
    }

    /// Returns once everything is durable at the ledger that was accepted before, signatures over it too: by this
    /// process, and by the dead ones whose streams it has taken over, where the server takes those.
    ///
    /// # Errors
    /// [`SpoolError::Timeout`]; [`SpoolError::Refused`] and [`SpoolError::Contradiction`] where something never will be.
    pub fn flush(&self, timeout: Duration) -> Result<(), SpoolError> {
        flush::flush(&self.running()?.core, timeout)
    }

    /// How it is doing.
    pub fn status(&self) -> SpoolStatus {
        match self.running.here() {
            Some(running) => running.core.status(),
            // Forked, and not used since.
            None => SpoolStatus::default(),
        }
    }

    /// The key that signs streams here and owns the runs that are started.
    pub fn public_key(&self) -> PublicKey {
        self.running.first().core.public_key()
    }

    /// Another token from now on: for one that has expired, or was revoked.
    ///
    /// A run can be written to with the token it was started with, or an admin's.
    pub fn set_token(&self, token: Option<&str>) {
        // What keeps a process that was forked from having a spool is said when it writes.
        if let Ok(running) = self.running() {
            running.core.set_token(token);
        }
    }

    /// Flushes and ends: nothing is taken any more, by any clone. What is not acknowledged in time stays in the directory for
    /// the next process that opens it.
    ///
    /// # Errors
    /// As [`Spool::flush`].
    pub fn close(self, timeout: Duration) -> Result<(), SpoolError> {
        match self.running.here() {
            Some(running) => running.close(timeout),
            None => Ok(()),
        }
    }

    /// This process's.
    fn running(&self) -> Result<&Arc<Running>, SpoolError> {
        self.running.get(Running::forked)
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = &self.running.first().core;
        f.debug_struct("Spool")
            .field("dir", &core.layout.root())
            .finish_non_exhaustive()
    }
}
