//! Why a spool did not do what it was asked, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use record::{Kind, WriteError};

use crate::error::{ClientError, Problem};
use crate::memory::is_full;

/// Why a call of a spool failed. Whatever it says, what was accepted before is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// A draft makes no record. Nothing of the call was taken.
    #[error("draft {}: {source}", .at + 1)]
    Record {
        /// Which draft of the call, from 0.
        at: usize,
        /// What is wrong with it.
        source: WriteError,
    },
    /// A kind that a producer does not write as a draft. Nothing of the call was taken.
    #[error("draft {}: {kind} {instead}", .at + 1)]
    Kind {
        /// Which draft of the call, from 0.
        at: usize,
        /// The kind.
        kind: Kind,
        /// Whose it is, and what to do instead.
        instead: &'static str,
    },
    /// More than one request can carry, or more than the spool can ever hold. Nothing of the call was taken.
    #[error("{what} has {bytes} bytes, at most {limit_bytes} are taken; {instead}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// How large it is.
        bytes: u64,
        /// How large it may be.
        limit_bytes: u64,
        /// What to do instead.
        instead: &'static str,
    },
    /// So much waits for the server that no more is taken, and it stayed so for as long as the call waits. Nothing of
    /// the call was taken.
    #[error(
        "the spool {} is full: {waiting_bytes} of {limit_bytes} bytes wait for the server ({}); \
         bring the server back, or raise the limit", dir.display(), .last_error.as_deref().unwrap_or("it is slow")
    )]
    Full {
        /// The spool's directory.
        dir: PathBuf,
        /// How much waits.
        waiting_bytes: u64,
        /// How much may.
        limit_bytes: u64,
        /// Why the server does not take it, where it is known.
        last_error: Option<String>,
    },
    /// The stream, or the spool, has ended. Nothing of the call was taken.
    #[error("{what} is closed: {why}")]
    Closed {
        /// Which.
        what: String,
        /// By what, and what to do.
        why: String,
    },
    /// The directory could not be read or written. Nothing of the call was taken.
    #[error("cannot {action} {}: {source}{}", path.display(), hint(source))]
    Disk {
        /// What was to be done.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the spool holds what was never written to it. It is left as it is; what stands before is sent.
    #[error(
        "{} is damaged at byte {offset}: {why}; restore the file from a copy, or move its directory out of the spool to \
         give up what stands from there on", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, from 0.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The key cannot be used.
    #[error("the key {}: {why}", path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A text that is not the name it should be.
    #[error("`{found}` is no name of a stream; expected [a-z0-9][a-z0-9._-]{{0,63}}")]
    Name {
        /// What was given.
        found: String,
    },
    /// The server refused a record for good: it and what follows it in its stream is kept aside, and is not in the log.
    #[error("the server refused a record of {stream} for good: {problem}; it is kept in {}", kept.display())]
    Refused {
        /// Scope and stream, like `ledger/hooks`.
        stream: String,
        /// What the server said.
        problem: Problem,
        /// The directory with the bytes.
        kept: PathBuf,
    },
    /// The server has shown what cannot both be true. Nothing more is sent to it.
    #[error("{what}; nothing more is sent; the evidence is in {}", evidence.display())]
    Contradiction {
        /// Who, and what does not go together.
        what: String,
        /// The directory with the evidence.
        evidence: PathBuf,
    },
    /// It took too long. What was accepted is kept and sent later, by this process or the next that opens the directory.
    #[error(
        "{waiting_records} records still wait in the spool after {} ms ({})",
        waited.as_millis(), .last_error.as_deref().unwrap_or("the server is slow")
    )]
    Timeout {
        /// How long it was waited for.
        waited: Duration,
        /// How many records are not acknowledged.
        waiting_records: u64,
        /// Why not, where it is known.
        last_error: Option<String>,
    },
    /// The server had to be asked, and did not answer.
    #[error("{0}")]
    Unavailable(Box<ClientError>),
    /// The server was asked, and said no.
    #[error("{0}")]
    Server(Box<ClientError>),
}

impl SpoolError {
    pub(crate) fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the disk has no room.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if is_full(source))
    }
}

impl From<ClientError> for SpoolError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Contradiction { what, evidence } => Self::Contradiction { what, evidence },
            ClientError::Unavailable { .. } => Self::Unavailable(Box::new(error)),
            error => Self::Server(Box::new(error)),
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    if is_full(error) {
        "; what was accepted before is kept, make room and try again"
    } else {
        ""
    }
}
