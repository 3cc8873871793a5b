//! Why a check could not be made. What a check *finds* is no error: see [`crate::Report`].

/// A check that could not be begun or finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// There is no log here.
    #[error(
        "no checkpoint in {source_name}: name a data directory, a log directory, or the URL of one"
    )]
    NoCheckpoint {
        /// What was named.
        source_name: String,
    },
    /// Something is there and cannot be read. Whether it is right is unknown.
    #[error("{what} cannot be read: {why}")]
    Unavailable {
        /// The file or URL.
        what: String,
        /// What the system or the server said.
        why: String,
    },
    /// The caller asked for something that makes no sense.
    #[error("{0}")]
    Usage(String),
}
