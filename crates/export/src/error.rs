//! Why nothing, or not everything, was exported.

use std::path::{Path, PathBuf};

/// What went wrong, and with which file.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The directory holds something else.
    #[error("{} holds {found}; choose an empty directory, or that of an export that was interrupted", dir.display())]
    Occupied {
        /// The directory.
        dir: PathBuf,
        /// What is there.
        found: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A table cannot be written.
    #[error("{}: {reason}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A record that is none, or not of the table's kind.
    #[error("record {index}: {reason}")]
    Record {
        /// Its index in the log.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl ExportError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(crate) fn table(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Table {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }
}
