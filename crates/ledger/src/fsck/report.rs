//! What was found, in words for people and names for programs.

use serde::Serialize;

/// What looking through a ledger came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FsckReport {
    /// Records that the latest checkpoint covers.
    pub size: u64,
    /// Entry bundles read.
    pub bundles: u64,
    /// Sealed values that have their record.
    pub sealed_values: u64,
    /// Attachments read.
    pub attachments: u64,
    /// Records that the journal holds and no checkpoint covers yet.
    pub unpublished: u64,
    /// What is wrong, or was before it was repaired.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and why. A report with any of it does not say that all is well.
    pub unchecked: Vec<String>,
    /// What is worth knowing and no fault.
    pub notes: Vec<String>,
    /// Where repair has put what it took away, relative to the data directory.
    pub lost_and_found: Option<String>,
}

impl FsckReport {
    /// Whether everything was looked at and nothing is wrong (any more).
    pub fn is_sound(&self) -> bool {
        self.unchecked.is_empty() && self.findings.iter().all(|finding| finding.repaired)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The kind of damage.
    pub fault: Fault,
    /// Which file, row or record.
    pub what: String,
    /// What was found and what was expected.
    pub detail: String,
    /// It can be made again from the rest of the ledger: `fsck --repair` does.
    pub derived: bool,
    /// What to do about it.
    pub advice: &'static str,
    /// Repair has seen to it.
    pub repaired: bool,
}

/// The kinds of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fault {
    /// A hash tile is not there.
    TileMissing,
    /// A hash tile has another length.
    TileShort,
    /// A hash tile holds other hashes than the entries have.
    TileFlipped,
    /// A file where the log has none.
    Surplus,
    /// An entry bundle is not there.
    EntriesMissing,
    /// An entry bundle is cut off, or holds other entries than were published.
    EntriesDamaged,
    /// An entry bundle beyond the log, or one that contradicts the bundle that replaced it.
    EntriesSurplus,
    /// Entries and tiles agree, and are not what the checkpoint says.
    Root,
    /// A record's sealed values are not there.
    SealedMissing,
    /// Sealed values of no record.
    SealedSurplus,
    /// A file of sealed values cannot be read.
    SealedDamaged,
    /// Sealed values are encrypted under a key that the database does not know.
    SubjectKeyMissing,
    /// An attachment that a record names is not there.
    AttachmentMissing,
    /// An attachment's bytes are not those of its name.
    AttachmentDamaged,
    /// The index disagrees with the log.
    Index,
    /// The journal cannot be read, or does not go on where the log ends.
    JournalDamaged,
    /// The journal holds other bytes than were published under the same index.
    JournalDisagrees,
    /// The database's checkpoint is missing or not signed by the log's keys.
    Checkpoint,
    /// `log/checkpoint` is missing, behind, or not a checkpoint of this log.
    CheckpointObject,
    /// `log/checkpoint` is ahead of the database or contradicts it.
    CheckpointFork,
    /// A key file is not there.
    KeyMissing,
}

impl Fault {
    /// Whether what is damaged follows from the rest.
    pub(super) const fn is_derived(self) -> bool {
        matches!(
            self,
            Self::TileMissing
                | Self::TileShort
                | Self::TileFlipped
                | Self::Surplus
                | Self::Index
                | Self::CheckpointObject
        )
    }

    /// What to do about it.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::TileMissing
            | Self::TileShort
            | Self::TileFlipped
            | Self::Surplus
            | Self::Index
            | Self::CheckpointObject => "`rlhf-audit fsck --repair` makes it again",
            Self::EntriesMissing | Self::EntriesDamaged => {
                "records cannot be made again: restore this file from a backup or a mirror of the log"
            }
            Self::EntriesSurplus => {
                "it may be all that is left of records: was an older database put back? Then restore the newer one; \
                 else keep the file as evidence and take it out of log/"
            }
            Self::Root => {
                "entries and tiles agree with each other but not with the signed checkpoint: restore \
                 log/tile and ledger.sqlite from one backup, and keep what is there as evidence"
            }
            Self::SealedMissing | Self::SealedDamaged => {
                "sealed values cannot be made again: restore this file from a backup"
            }
            Self::AttachmentMissing => {
                "restore this file from a backup, or have whoever has the bytes put them again: they are named by \
                 their SHA-256"
            }
            Self::AttachmentDamaged => {
                "keep the file as evidence, and restore it from a backup, or have whoever has the bytes put them \
                 again, which replaces it"
            }
            Self::SealedSurplus => {
                "no published record names these values: keep the file, and find out who wrote it"
            }
            Self::SubjectKeyMissing => {
                "without its key the value cannot be opened: restore ledger.sqlite from a backup that \
                 has the key"
            }
            Self::JournalDamaged => {
                "the journal holds acknowledged records that are published nowhere else: restore its \
                 segments from a backup, or keep them and call for help; do not start the server"
            }
            Self::JournalDisagrees => {
                "acknowledged and published bytes differ: keep both as evidence; the published ones are \
                 what the checkpoint covers"
            }
            Self::Checkpoint => "restore ledger.sqlite from a backup",
            Self::CheckpointFork => {
                "the database is older than what was served, or another log's: restore the newest \
                 ledger.sqlite; do not start the server on this one"
            }
            Self::KeyMissing => "restore the key file from its backup",
        }
    }
}
