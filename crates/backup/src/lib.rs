//! A ledger kept elsewhere: backups into a directory or an object store, and the way back.
//!
//! A *place* holds the backups of one ledger. What they have in common lies there once: every piece of content is a
//! *blob* under a name that follows from its bytes and the key, so a backup writes what is new and names the rest. A *point* is one
//! backup: it is written last, so what was interrupted is none, and the next backup finds its blobs.
//!
//! | part | what it does |
//! |---|---|
//! | [`Key`] | encrypts and names (AES-256-GCM-SIV, HMAC-SHA256), or does neither |
//! | [`Place`] | opens a directory or an object store, and lists its points |
//! | [`make`] | one backup of a ledger, whether a server runs on it or not |
//! | [`check`] | reads a point from end to end and holds it against its checkpoint |
//! | [`restore`] | puts a point back where there is no ledger |
//! | [`restore_files`] | writes the files beside the ledger that are in a point |
//!
//! Not here: what belongs to a ledger and in which order it is read (`ledger::Capture`, `ledger::Restoration`). The format is in
//! `docs/operations/backup.md`.

mod blob;
mod check;
mod error;
mod files;
mod key;
mod make;
mod place;
mod point;
mod restore;
mod work;

pub use check::{Checked, check};
pub use error::BackupError;
pub use files::restore_files;
pub use key::Key;
pub use make::{Made, Source, make};
pub use place::{Open, Place};
pub use point::PointInfo;
pub use restore::{Aim, restore};

/// Is told how many objects are done of how many; says whether to go on.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) -> bool + Sync);
