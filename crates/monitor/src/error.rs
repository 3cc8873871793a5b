//! Why a monitor cannot go on. What it finds is no error: see [`crate::Alert`].

use std::path::PathBuf;

/// A monitor that cannot begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// The state directory cannot be used.
    #[error("{}: {why}", path.display())]
    State {
        /// The file or directory.
        path: PathBuf,
        /// What the system said, or what is wrong with its contents.
        why: String,
    },
    /// Another monitor has the directory.
    #[error("another monitor uses {}; give each its own --state-dir", path.display())]
    Taken {
        /// The state directory.
        path: PathBuf,
    },
    /// The policy is none.
    #[error("{what} is no policy: {source}")]
    Policy {
        /// Where it came from.
        what: String,
        /// What is wrong with it.
        source: tlog::PolicyError,
    },
    /// No policy was given, and the log has none to begin with.
    #[error(
        "no policy was given and {url} cannot be asked for its own ({why}); give the log's policy with --policy"
    )]
    NoPolicy {
        /// What was asked.
        url: String,
        /// What came back.
        why: String,
    },
    /// The log's address.
    #[error(transparent)]
    Source(#[from] verify::VerifyError),
}
