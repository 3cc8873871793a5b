//! What can go wrong when something is kept, each saying where and what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::meta::StoredCheckpoint;

/// The result of everything in this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why something could not be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process holds the lock of the data directory.
    #[error(
        "another process{} has the ledger in {} open; stop it, or talk to it with --server",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), .path.display()
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// The process that holds it, where its lock file says so.
        pid: Option<u32>,
    },
    /// The directory holds no ledger.
    #[error("{} holds no ledger (there is no ledger.json); create one with `rlhf-audit init`", .path.display())]
    NoLedger {
        /// The directory that was asked for.
        path: PathBuf,
    },
    /// The directory already holds a ledger.
    #[error("{} already holds a ledger; use it, or choose another directory", .path.display())]
    LedgerExists {
        /// The directory that was asked for.
        path: PathBuf,
    },
    /// The directory holds something that is no part of a ledger.
    #[error("{} is not empty (it holds `{found}`); choose an empty or new directory", .path.display())]
    NotEmpty {
        /// The directory that was asked for.
        path: PathBuf,
        /// One name found in it.
        found: String,
    },
    /// No space, no quota, or the largest file size is reached. Nothing was written.
    #[error("no space left for {}: {source}; free some space, then try again", .path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The operating system refused access.
    #[error("may not {action} {}: {source}; check its owner and mode, and whether it is mounted read-only", .path.display())]
    Denied {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Any other failure of a system call.
    #[error("could not {action} {}: {source}", .path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system could not say that bytes reached the disk; what is there is unknown.
    #[error(
        "could not make {} durable: {source}; what is on the disk is unknown, so stop the process, check the disk, \
         and start again",
        .path.display()
    )]
    SyncFailed {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier failure left the journal in an unknown state.
    #[error("the journal {} refuses to go on after an earlier failure; start the process again", .path.display())]
    Poisoned {
        /// The segment that failed.
        path: PathBuf,
    },
    /// A journal segment holds what was never written.
    #[error(
        "journal segment {} is damaged at byte {offset}, in the group that starts at index {first_index}: {reason}; \
         restore the file from a backup before starting",
        .segment.display()
    )]
    CorruptJournal {
        /// The segment file.
        segment: PathBuf,
        /// Where its bad group starts, in bytes.
        offset: u64,
        /// The index at which the bad group should start.
        first_index: u64,
        /// What was found and what was expected.
        reason: String,
    },
    /// A group that does not continue the journal. Nothing was written.
    #[error("the next index of the journal is {expected}, not {found}")]
    NotNext {
        /// The journal's next index.
        expected: u64,
        /// The index the group starts at, or the reader asks for.
        found: u64,
    },
    /// Something over its limit. Nothing was written.
    #[error("{what} of {found} is over the limit of {limit}")]
    TooLarge {
        /// What is too large, with its unit.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The largest allowed.
        limit: u64,
    },
    /// A key that names no object. Nothing was read or written.
    #[error("`{key}` is no object key: {reason}")]
    BadKey {
        /// The key, as given.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The name is taken by other bytes, and what has this name never changes.
    #[error("{what} exists with other content, and may not change")]
    Conflict {
        /// The object, subject or token.
        what: String,
    },
    /// The latest checkpoint is not the one expected: somebody else publishes to this ledger. Nothing was written.
    #[error(
        "the latest checkpoint has {}, another than expected; does a second process publish this ledger?",
        .found.as_ref().map_or_else(|| "not been written".to_owned(), |found| format!("size {}", found.size))
    )]
    CheckpointMoved {
        /// What is stored.
        found: Option<Box<StoredCheckpoint>>,
    },
    /// A checkpoint that would take back or contradict the latest one. Nothing was written.
    #[error(
        "a checkpoint of size {new} may not follow one of size {latest}: it is smaller, or has another root"
    )]
    CheckpointBackwards {
        /// The stored checkpoint's size.
        latest: u64,
        /// The refused checkpoint's size.
        new: u64,
    },
    /// An index update that does not start where the index ends. Nothing was written.
    #[error(
        "the index covers {found} records, and the update starts at {expected}; run `rlhf-audit reindex`"
    )]
    IndexMoved {
        /// Where the update starts.
        expected: u64,
        /// What the index covers.
        found: u64,
    },
    /// The database was changed by a newer version of this program, such that this one can no longer use it.
    #[error(
        "{} has schema {found}, made by {}, and programs that know schema {oldest} or newer can use it; this one ({}) \
         knows up to {known}: start the version that made it or a newer one, or restore a backup from before the upgrade",
        .path.display(), .program.as_deref().unwrap_or("a newer rlhf-audit"), crate::schema::PROGRAM
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
        /// The oldest version whose programs can use it.
        oldest: i64,
        /// Who made it, where the database says so.
        program: Option<String>,
    },
    /// A step of the schema that older programs could not live with, while some of them use the database. Nothing was
    /// changed.
    #[error(
        "{server} cannot be brought to schema {to} while older programs use it, which could not read what they would find \
         ({others}): stop every older server, worker and scheduler of this ledger, then start this one again"
    )]
    SchemaInUse {
        /// The database.
        server: String,
        /// The version of the step.
        to: i64,
        /// Their connections.
        others: String,
    },
    /// The database was written by an older version of this program, and is only to be read.
    #[error(
        "{} has schema {found}, and this version reads {known}; use the rlhf-audit that wrote it, or let this one open \
         the ledger once",
        .path.display()
    )]
    OlderSchema {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The schema this version reads.
        known: i64,
    },
    /// The database holds what was never written.
    #[error(
        "{} is damaged: {reason}; restore it from a backup, or rebuild the index with `rlhf-audit reindex`",
        .path.display()
    )]
    CorruptDatabase {
        /// The database file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// Any other failure of the database.
    #[error("could not {action} in {}: {source}", .path.display())]
    Database {
        /// What was tried, as a verb.
        action: &'static str,
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A server that keeps part of the ledger does not answer, or refuses. Unknown whether a write happened, unless
    /// the method says otherwise.
    #[error("could not {action} at {server}: {reason}")]
    Unavailable {
        /// What was tried, as a verb.
        action: &'static str,
        /// The database or object store, without secrets.
        server: String,
        /// What it said, and how often it was asked.
        reason: String,
    },
    /// A database or an object store that cannot be meant. Nothing was asked of it.
    #[error("{what} cannot be used: {reason}")]
    BadConfig {
        /// Which setting.
        what: &'static str,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A server that answers, and does not let us.
    #[error("{server} refuses to {action}: {reason}; check the credentials and what they permit")]
    Refused {
        /// What was tried, as a verb.
        action: &'static str,
        /// The database or object store, without secrets.
        server: String,
        /// What it said.
        reason: String,
    },
    /// An object store that overwrites where it was told to create. Nothing may be kept there.
    #[error(
        "{server} overwrites an object although it was told to write it only where there is none, so two processes could \
         overwrite each other's tiles; use a store that honours `If-None-Match: *` (Amazon S3, Google Cloud Storage, \
         Azure Blob, MinIO, Cloudflare R2), or a newer version of this one"
    )]
    ConditionIgnored {
        /// The object store.
        server: String,
    },
    /// The journal ends before what this process knows to be kept.
    #[error(
        "the journal at {server} ends at index {found}, but records up to {expected} were acknowledged: the database has \
         lost what it had committed (was a standby promoted that lagged behind, or a backup restored?); find the server \
         that has them before going on"
    )]
    LostWrites {
        /// The database.
        server: String,
        /// Where the journal ends at least.
        expected: u64,
        /// Where it says it ends.
        found: u64,
    },
    /// What was to be written could not be read. Nothing was written.
    #[error("could not read what was to be kept: {0}")]
    Source(#[source] io::Error),
    /// A failure that a test asked for.
    #[error("injected failure: {what}")]
    Injected {
        /// The step that failed.
        what: String,
    },
}

impl StoreError {
    /// A failed system call on `path`, for those who keep files beside this crate.
    pub fn io_of(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::io(action, path, source)
    }

    /// Sorts a failed system call on `path` into [`Full`](Self::Full), [`Denied`](Self::Denied) or [`Io`](Self::Io).
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full { path, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Denied {
                action,
                path,
                source,
            },
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// Whether it may pass by itself: something over a network did not answer.
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the process has to stop, since what is on the disk is unknown.
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::SyncFailed { .. }
                | Self::Poisoned { .. }
                | Self::CheckpointMoved { .. }
                | Self::LostWrites { .. }
        )
    }
}
