//! Why a job is not done, for its row ([`Fault`]); and why there is none, for whoever wants one ([`JobError`]).

use ledger::{AppendError, AttachmentError, LedgerError, StampError, SubmitError};
use store::StoreError;

use crate::cards::CardError;

/// Why an attempt came to nothing. The words end up in the job's row, which admins and readers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It may go better another time.
    Retry(String),
    /// It will never do.
    Dead(String),
    /// The job is somebody else's by now.
    Lost,
    /// The worker is to stop; the job goes back unharmed.
    Stopping,
    /// It waits for something: in so many milliseconds it is looked at again.
    Wait {
        /// In how many milliseconds.
        delay: u64,
        /// How much of it is done.
        done: u64,
        /// Of how much.
        total: u64,
    },
}

macro_rules! passing {
    ($($error:ty),+) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::Retry(error.to_string())
            }
        }
    )+};
}

passing!(
    StoreError,
    LedgerError,
    SubmitError,
    AppendError,
    AttachmentError,
    StampError,
    CardError
);

/// Why no job was added.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Nobody knows what to do.
    #[error("no kind of job is called `{0}`; the kinds are {all}", all = crate::kinds::names().join(", "))]
    UnknownKind(String),
    /// It does not say what it is about.
    #[error("a job of the kind {kind} {wants}")]
    Payload {
        /// The kind.
        kind: &'static str,
        /// What it wants to be told.
        wants: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
