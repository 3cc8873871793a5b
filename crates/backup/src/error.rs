//! Why there is no backup, or nothing came back from one.

use ledger::LedgerError;
use store::StoreError;

/// What went wrong, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The ledger cannot be read, or not be made.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The place, or the ledger's stores, failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A place that holds no backup.
    #[error(
        "{place} holds no backup of a ledger; give the place that `rlhf-audit backup --to` was given"
    )]
    NoBackup {
        /// The place.
        place: String,
    },
    /// A directory with other things in it.
    #[error("{place} holds `{found}`, which is no part of a backup; give a new or empty directory")]
    NotEmpty {
        /// The place.
        place: String,
        /// What is there.
        found: String,
    },
    /// The place keeps another ledger's backups.
    #[error(
        "{place} keeps the backups of {known}, and this ledger is {given}; give each ledger a place of its own"
    )]
    OtherLedger {
        /// The place.
        place: String,
        /// Whose backups are there.
        known: String,
        /// The ledger.
        given: String,
    },
    /// The key is another than the one the place was begun with.
    #[error(
        "the backups in {place} are encrypted under another key; give the key file they were begun with"
    )]
    WrongKey {
        /// The place.
        place: String,
    },
    /// There is no key for what is encrypted.
    #[error("the backups in {place} are encrypted; give their key with --key-file")]
    KeyNeeded {
        /// The place.
        place: String,
    },
    /// There is a key for what is not encrypted.
    #[error(
        "the backups in {place} are not encrypted, and no key is wanted; say --plain, or give another place"
    )]
    IsPlain {
        /// The place.
        place: String,
    },
    /// Written by another version.
    #[error(
        "the backups in {place} have format {found}, and this version knows {known}; use the newer rlhf-audit"
    )]
    Format {
        /// The place.
        place: String,
        /// Its format.
        found: u64,
        /// The newest that this version knows.
        known: u64,
    },
    /// A file beside the ledger.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Bytes that are not what was written.
    #[error(
        "{what} in the backup is damaged: {reason}; restore another point (`restore --list`), or copy the file from \
         where the backup is kept twice"
    )]
    Damaged {
        /// Which file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that was written and is not there.
    #[error(
        "{what} is missing from the backup; restore another point (`restore --list`), or copy the file from where the \
         backup is kept twice"
    )]
    Missing {
        /// Which file.
        what: String,
    },
    /// No such point.
    #[error("{place} holds no point {wanted}; `restore --list` shows those it has")]
    NoPoint {
        /// The place.
        place: String,
        /// What was asked for.
        wanted: String,
    },
    /// Somebody else writes to the directory.
    #[error("another backup into {place} is under way; wait for it")]
    UnderWay {
        /// The place.
        place: String,
    },
    /// It was told to stop.
    #[error("stopped; the next backup goes on from what was copied")]
    Stopped,
}

impl BackupError {
    /// Whether it lies in what was asked for, and not in what there is.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            Self::NoBackup { .. }
                | Self::NotEmpty { .. }
                | Self::OtherLedger { .. }
                | Self::WrongKey { .. }
                | Self::KeyNeeded { .. }
                | Self::IsPlain { .. }
                | Self::NoPoint { .. }
        )
    }

    /// Whether what was kept is not what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Missing { .. } => true,
            Self::Ledger(error) => error.is_damage(),
            _ => false,
        }
    }
}
