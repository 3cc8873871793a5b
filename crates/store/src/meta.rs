//! The small things that change: latest checkpoint, index, subject keys, tokens, settings.
//!
//! One trait a concern, so that each has its own suite; [`MetaStore`] is all of them. Everything but checkpoint, keys,
//! tokens and settings can be rebuilt from the log. All methods may be called from several threads at once, and see
//! every write that returned before they were called.
//!
//! Scopes, streams, kinds and runs are texts the caller has validated; a scope is a run's id or `ledger`.

use tlog::Hash;

use crate::error::Result;
use crate::jobs::JobStore;

/// All of what a ledger keeps in its database.
pub trait MetaStore:
    CheckpointStore + IndexStore + SubjectKeyStore + TokenStore + WorkStore
{
}

impl<T> MetaStore for T where
    T: CheckpointStore + IndexStore + SubjectKeyStore + TokenStore + WorkStore
{
}

/// What those need who do jobs: the jobs, whose turn it is, and a few named values.
pub trait WorkStore: JobStore + LeaseStore + SettingStore {}

impl<T> WorkStore for T where T: JobStore + LeaseStore + SettingStore {}

/// The latest checkpoint, as signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// The tree's size in records.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
    /// The signed note, whole.
    pub note: Vec<u8>,
}

/// The latest checkpoint, moved only by compare-and-swap: no fault anywhere else can fork the log.
pub trait CheckpointStore: Send + Sync {
    /// The latest checkpoint, or none before the first.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn latest_checkpoint(&self) -> Result<Option<StoredCheckpoint>>;

    /// Replaces the latest checkpoint by `new`, if size and root of what is stored are `expected` (`None`: nothing is
    /// stored). Calls are serialised, across processes too. Durable once it returns.
    ///
    /// # Errors
    /// [`CheckpointMoved`](crate::StoreError::CheckpointMoved) if another is stored, and
    /// [`CheckpointBackwards`](crate::StoreError::CheckpointBackwards) if `new` is smaller than `expected`, or of the
    /// same size with another root: nothing was written. Any other error: unknown, so read before going on.
    fn swap_checkpoint(&self, expected: Option<(u64, Hash)>, new: &StoredCheckpoint) -> Result<()>;
}

/// A stream as far as it is indexed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRow {
    /// The run's id, or `ledger`.
    pub scope: String,
    /// The stream's name.
    pub stream: String,
    /// The seq its next record has.
    pub next_seq: u64,
    /// The leaf hash of its last record.
    pub head: Hash,
    /// The producer's public key.
    pub key: Vec<u8>,
    /// What else the caller has to know to go on; opaque here.
    pub state: Vec<u8>,
}

/// `count` records of a stream that follow one another in the log as they do in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRow {
    /// The run's id, or `ledger`.
    pub scope: String,
    /// The stream's name.
    pub stream: String,
    /// The first record's seq.
    pub first_seq: u64,
    /// How many records, at least 1.
    pub count: u64,
    /// The first record's index in the log.
    pub first_index: u64,
}

/// Says that an entry bundle holds a record of this kind in this scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindRow {
    /// The run's id, or `ledger`.
    pub scope: String,
    /// The kind's name.
    pub kind: String,
    /// The entry bundle: index of the record / 256.
    pub bundle: u64,
}

/// A run as far as it is indexed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// The run's id.
    pub run: String,
    /// Its name; names need not be unique.
    pub name: String,
    /// The experiment it belongs to.
    pub experiment: Option<String>,
    /// The model that is trained.
    pub model: Option<String>,
    /// The public key that may seal it.
    pub owner_key: Vec<u8>,
    /// Who started it. Not in the log, hence kept when the index is cleared: the first non-empty value stays.
    pub principal: String,
    /// The index of its `run.started`.
    pub started_index: u64,
    /// When it started, in microseconds since 1970-01-01T00:00:00Z.
    pub started_at: i64,
    /// The index of its `run.sealed`, once sealed.
    pub sealed_index: Option<u64>,
    /// How it ended, once sealed.
    pub status: Option<String>,
    /// How many records it has.
    pub records: u64,
    /// What else the caller has to know to go on; opaque here.
    pub state: Vec<u8>,
}

/// What a publish round adds to the index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexUpdate {
    /// What the index covers before: [`IndexStore::indexed_size`].
    pub from: u64,
    /// What it covers afterwards.
    pub to: u64,
    /// Streams that grew, with their new state; each replaces what was known.
    pub streams: Vec<StreamRow>,
    /// Where the records of `from..to` are. Ranges of one stream are in the order of their seqs.
    pub ranges: Vec<RangeRow>,
    /// Which kinds are in which bundles; what is known already is ignored.
    pub kinds: Vec<KindRow>,
    /// Runs that started, grew or ended; each replaces what was known.
    pub runs: Vec<RunRow>,
}

/// A row of the index, as [`IndexStore::index_rows`] shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexRow {
    /// A stream.
    Stream(StreamRow),
    /// Some of a stream's records.
    Range(RangeRow),
    /// A kind in an entry bundle.
    Kind(KindRow),
    /// A run.
    Run(RunRow),
}

/// Consecutive indices of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first index.
    pub first_index: u64,
    /// How many, at least 1.
    pub count: u64,
}

/// What finds a record in the log. Rebuilt from the log at any time.
///
/// Nothing here grows by a row a record: a round's records of one stream are one row.
pub trait IndexStore: Send + Sync {
    /// Adds a round, all or nothing. Durable once it returns.
    ///
    /// # Errors
    /// [`IndexMoved`](crate::StoreError::IndexMoved) if the index does not cover exactly `update.from`: nothing was
    /// written. Any other error: unknown, so read [`indexed_size`](Self::indexed_size) before going on.
    fn apply(&self, update: &IndexUpdate) -> Result<()>;

    /// How many records are indexed.
    ///
    /// # Errors
    /// If the database cannot be read; so for all below.
    fn indexed_size(&self) -> Result<u64>;

    /// Forgets the whole index, but not who started which run.
    ///
    /// # Errors
    /// If the database cannot be written.
    fn clear_index(&self) -> Result<()>;

    /// The index of a record in the log.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn find(&self, scope: &str, stream: &str, seq: u64) -> Result<Option<u64>>;

    /// A stream.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn stream(&self, scope: &str, stream: &str) -> Result<Option<StreamRow>>;

    /// All streams of a scope, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn streams(&self, scope: &str) -> Result<Vec<StreamRow>>;

    /// Where the records of a scope are, ascending, from the index `from` on: at most `limit` spans, neighbours merged.
    /// The next page starts at the end of the last span; an empty page is the end.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn spans(&self, scope: &str, from: u64, limit: usize) -> Result<Vec<Span>>;

    /// The entry bundles that hold records of any of these kinds, in one scope or any, each once and ascending from
    /// `from_bundle` on.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn bundles_with_kinds(
        &self,
        scope: Option<&str>,
        kinds: &[&str],
        from_bundle: u64,
        limit: usize,
    ) -> Result<Vec<u64>>;

    /// A run.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn run(&self, run: &str) -> Result<Option<RunRow>>;

    /// All runs of a name, the latest started first.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn runs_named(&self, name: &str) -> Result<Vec<RunRow>>;

    /// Runs in the order of their ids, those after `after`.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn list_runs(&self, after: Option<&str>, limit: usize) -> Result<Vec<RunRow>>;

    /// Shows the whole index as it stands at one moment, for whoever compares it with another: streams by scope and
    /// name, then ranges by scope, name and seq (neighbours merged or not), then kinds by scope, name and bundle, then
    /// runs by id. Texts are in the order of their bytes.
    ///
    /// # Errors
    /// If the database cannot be read; the visitor's own errors end it.
    fn index_rows(&self, visit: &mut dyn FnMut(IndexRow) -> Result<()>) -> Result<()>;
}

/// A subject's key, wrapped by the deployment's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectKey {
    /// Its random name, which sealed values carry.
    pub id: [u8; 16],
    /// The wrapped key; `None` once destroyed.
    pub wrapped: Option<Vec<u8>>,
}

/// A subject's key and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectKeyRow {
    /// The run's id, or `ledger`.
    pub scope: String,
    /// A pseudonym, or `run`.
    pub subject: String,
    /// The key.
    pub key: SubjectKey,
}

/// Keys under which people's values are encrypted. Not in the log: lost keys are lost values.
pub trait SubjectKeyStore: Send + Sync {
    /// The key of a subject.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn subject_key(&self, scope: &str, subject: &str) -> Result<Option<SubjectKey>>;

    /// The key of this id, and whose it is.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn subject_key_by_id(&self, id: &[u8; 16]) -> Result<Option<SubjectKeyRow>>;

    /// Keys in the order of their ids, those after `after`; destroyed ones too.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn list_subject_keys(
        &self,
        after: Option<&[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<SubjectKeyRow>>;

    /// Adds keys, all or none; a row that is stored exactly so is passed over. Durable once it returns, hence before
    /// anything encrypted under them is.
    ///
    /// # Errors
    /// [`Conflict`](crate::StoreError::Conflict) if a subject has another key (a destroyed one included) or an id is
    /// taken: nothing was written.
    fn insert_subject_keys(&self, rows: &[SubjectKeyRow]) -> Result<()>;

    /// Puts other wrappings in the place of those that are stored, by id, all or none: the deployment's key is another.
    /// A key that was destroyed stays destroyed. Durable once it returns.
    ///
    /// # Errors
    /// Unknown whether they were replaced: try again.
    fn rewrap_subject_keys(&self, keys: &[SubjectKey]) -> Result<()>;

    /// Destroys a key and keeps its id as a tombstone. Once it returns, no file of the store holds the wrapped key;
    /// blocks that the file system or the disk freed, and backups, are beyond its reach. Says whether there was a key.
    ///
    /// # Errors
    /// Unknown whether the key is gone: try again.
    fn destroy_subject_key(&self, id: &[u8; 16]) -> Result<bool>;
}

/// A bearer token, by the hash of its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its public name in listings.
    pub id: String,
    /// What it is for, in the operator's words.
    pub name: String,
    /// What it may do; opaque here.
    pub role: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// When it was made, in microseconds since 1970-01-01T00:00:00Z; so the next two.
    pub created: i64,
    /// When it stops being valid.
    pub expires: Option<i64>,
    /// When it was revoked.
    pub revoked: Option<i64>,
}

/// Who may talk to the ledger.
pub trait TokenStore: Send + Sync {
    /// Adds a token. Durable once it returns.
    ///
    /// # Errors
    /// [`Conflict`](crate::StoreError::Conflict) if id or hash are taken by another token.
    fn insert_token(&self, token: &TokenRow) -> Result<()>;

    /// The token with this hash, valid or not.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>>;

    /// All tokens, in the order of creation.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn list_tokens(&self) -> Result<Vec<TokenRow>>;

    /// Revokes a token as of `at`; one that is revoked keeps its time. Says whether there is such a token.
    ///
    /// # Errors
    /// If the database cannot be written.
    fn revoke_token(&self, id: &str, at: i64) -> Result<bool>;
}

/// A few named values.
pub trait SettingStore: Send + Sync {
    /// The value of a name.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn kv_get(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// All names that have a value, sorted by their bytes.
    ///
    /// # Errors
    /// If the database cannot be read.
    fn kv_names(&self) -> Result<Vec<String>>;

    /// Sets the value of a name. Durable once it returns.
    ///
    /// # Errors
    /// If the database cannot be written.
    fn kv_put(&self, name: &str, value: &[u8]) -> Result<()>;
}

/// Who does what only one process should. A lease spares work; it guards nothing: a process that was frozen may
/// believe in one that has run out.
pub trait LeaseStore: Send + Sync {
    /// Takes the lease `name` for `holder`, or prolongs it, for `millis` milliseconds by the database's clock, unless
    /// somebody else's has not run out. Says whether `holder` has it now.
    ///
    /// # Errors
    /// Unknown whether it was taken: ask again.
    fn take_lease(&self, name: &str, holder: &str, millis: u64) -> Result<bool>;

    /// Gives up the lease `name` if `holder` has it, so that others need not wait for it to run out.
    ///
    /// # Errors
    /// It will run out by itself.
    fn release_lease(&self, name: &str, holder: &str) -> Result<()>;
}
