//! Where a ledger is kept: the journal, the objects (tiles, sealed values, attachments, documents), the latest
//! checkpoint, the index, subject keys and tokens.
//!
//! Each is a trait that says what a write promises once it returns, with its implementations beside it:
//!
//! | trait | embedded | several processes | holds |
//! |---|---|---|---|
//! | [`Journal`] | [`FileJournal`]: append-only segment files | [`PgJournal`] | what is acknowledged and not yet published |
//! | [`ObjectStore`] | [`DirObjects`]: a directory any static file server can serve | [`RemoteObjects`]: S3, Google Cloud Storage, Azure Blob | tiles, sealed values, attachments, documents |
//! | [`MetaStore`] | [`SqliteMeta`]: one SQLite file | [`PgMeta`] | latest checkpoint, index, subject keys, tokens, settings, jobs |
//!
//! For all of them: `Ok` means durable, whatever happens to process and machine short of losing the disk. After an
//! error it is *unknown* whether the write happened, unless the method says otherwise; whoever called reads before
//! concluding anything. One suite of tests per trait (feature `suite`) runs on every implementation.
//!
//! What this crate is not: it knows no records, no signatures and no Merkle trees beyond [`tlog::Hash`]; it does not
//! decide *when* anything is written. It deals in bytes that others have checked. Calls block; there is no async here.

mod dir;
mod error;
pub mod jobs;
pub mod journal;
pub mod meta;
mod net;
pub mod objects;
mod postgres;
mod rows;
mod schema;
mod spans;
mod sqlite;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use dir::DataDir;
pub use error::{Result, StoreError};
pub use jobs::{
    Bell, Claim, JobEnd, JobFilter, JobOutcome, JobRow, JobState, JobStore, LocalBell, NewJob,
    RedisBell, Requeued,
};
pub use journal::{FileJournal, Group, Journal, JournalEntry, JournalOptions, Recovery};
pub use meta::{
    CheckpointStore, IndexRow, IndexStore, IndexUpdate, KindRow, LeaseStore, MetaStore, RangeRow,
    RunRow, SettingStore, Span, StoredCheckpoint, StreamRow, SubjectKey, SubjectKeyRow,
    SubjectKeyStore, TokenRow, TokenStore, WorkStore,
};
pub use objects::{DirObjects, ObjectStore, OpenObject, RemoteObjects, is_object_store};
pub use postgres::{PgJournal, PgMeta, PgOptions, Postgres};
pub use sqlite::SqliteMeta;
