//! Why nothing, or not everything, was exported.

use std::path::{Path, PathBuf};

/// What a place holds whose manifest is there.
pub(crate) const WHOLE: &str = "a whole export";

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
    /// The object store failed.
    #[error(transparent)]
    Store(#[from] store::StoreError),
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
    /// Whether the place holds a whole export.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Occupied { found, .. } if found == WHOLE)
    }

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
