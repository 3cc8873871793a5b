//! A ledger as it stands, read beside whoever writes to it.
//!
//! The order is what makes it whole. Small things that may change come first, so that none is ahead of the log; then the
//! journal; then the checkpoint and the partial tiles at its edge; and last what only grows: subject keys, tokens, tiles, sealed
//! values, attachments. Journal segments are removed only once a checkpoint covers them, so the journal that was read and
//! the checkpoint that was read after it leave no gap between them: every record that was acknowledged before this began
//! is in one or the other. What a record names and seals was durable before it was acknowledged, and is found afterwards.
//!
//! Nothing of the ledger is changed, and no lock of it is taken.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use store::journal::inspect;
use store::{
    Group, Journal as _, MetaStore, ObjectStore, OpenObject, PgJournal, PgMeta, SqliteMeta,
    StoreError, StoredCheckpoint,
};
use tlog::tile::tiles_for_size;
use tlog::{Policy, TileLevel, TreeSize};

use crate::LedgerError;
use crate::kept::{self, Bytes, Kept, KeptEntry, Named};
use crate::location::{Location, MANIFEST, OBJECTS};
use crate::options::Manifest;
use crate::tree;

/// How often journal and edge are read anew, when somebody publishes in between.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(40);

/// A ledger's state at one moment, and the way to its objects.
pub struct Capture {
    /// What is not an object.
    pub kept: Kept,
    objects: Arc<dyn ObjectStore>,
    /// Partial tiles, which are removed once they are full.
    edge: HashMap<String, Vec<u8>>,
    names: Vec<ObjectName>,
}

/// An object of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// Its key.
    pub key: String,
    /// Another of this name would have the same bytes.
    pub fixed: bool,
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture")
            .field("kept", &self.kept.size)
            .field("objects", &self.names.len())
            .finish_non_exhaustive()
    }
}

impl Capture {
    /// Reads the state of the ledger at `location`, whether a server runs on it or not.
    ///
    /// # Errors
    /// There is no ledger; keys were changed meanwhile; what is there does not belong together.
    pub fn of(location: &Location) -> Result<Self, LedgerError> {
        let source = Source::open(location)?;
        let keys = key_files(&location.dir.join("keys"))?;
        let manifest = source.setting(location, MANIFEST)?;
        let policy = source.setting(location, "policy")?;
        let origin = Manifest::parse(&manifest)?.origin;
        let settings = settings(&*source.meta)?;
        let served = served(&*source.objects)?;
        let (stored, unpublished, edge) = source.moment(location)?;
        check(&policy, &stored)?;

        let subject_keys = kept::subject_keys(&*source.meta)?;
        let tokens = kept::tokens(&*source.meta)?;
        let (runs, streams) = kept::principals(&*source.meta)?;
        let jobs = kept::open_jobs(&*source.meta)?;
        let names = names(&*source.objects, stored.size, &edge)?;
        if key_files(&location.dir.join("keys"))? != keys {
            return Err(LedgerError::KeysChanged);
        }
        let kept = Kept {
            manifest: Bytes(manifest),
            policy: Bytes(policy),
            origin,
            size: stored.size,
            root: stored.root.to_string(),
            note: Bytes(stored.note),
            keys,
            settings,
            served,
            unpublished,
            subject_keys,
            tokens,
            runs,
            streams,
            jobs,
        };
        Ok(Self {
            kept,
            objects: source.objects,
            edge,
            names,
        })
    }

    /// The objects that belong to it.
    pub fn names(&self) -> &[ObjectName] {
        &self.names
    }

    /// One of them.
    ///
    /// # Errors
    /// It cannot be read, or is not there.
    pub fn open(&self, key: &str) -> Result<OpenObject, LedgerError> {
        if let Some(bytes) = self.edge.get(key) {
            return Ok(OpenObject {
                bytes: bytes.len() as u64,
                reader: Box::new(std::io::Cursor::new(bytes.clone())),
            });
        }
        self.objects
            .open_object(key)?
            .ok_or_else(|| LedgerError::corrupt(key, "it is missing"))
    }
}

/// Where it is read from.
struct Source {
    objects: Arc<dyn ObjectStore>,
    meta: Arc<dyn MetaStore>,
    database: Option<store::Postgres>,
}

type Moment = (StoredCheckpoint, Vec<KeptEntry>, HashMap<String, Vec<u8>>);

impl Source {
    fn open(location: &Location) -> Result<Self, LedgerError> {
        if !location.holds_ledger()? {
            return Err(LedgerError::Missing {
                dir: location.dir.clone(),
            });
        }
        let database = location.database()?;
        let meta: Arc<dyn MetaStore> = match &database {
            Some(database) => Arc::new(PgMeta::new(database)),
            None => Arc::new(SqliteMeta::open_beside(
                &location.dir.join("ledger.sqlite"),
            )?),
        };
        location.check_known_objects(&*meta)?;
        Ok(Self {
            objects: location.objects(&location.dir, &location.dir.join("tmp"))?,
            meta,
            database,
        })
    }

    fn setting(&self, location: &Location, name: &str) -> Result<Vec<u8>, LedgerError> {
        if self.database.is_some() {
            return Ok(self.meta.kv_get(name)?.unwrap_or_default());
        }
        let path = location.dir.join(name);
        fs::read(&path).map_err(|e| LedgerError::io(&path, e))
    }

    fn checkpoint(&self) -> Result<StoredCheckpoint, LedgerError> {
        self.meta
            .latest_checkpoint()?
            .ok_or_else(|| LedgerError::corrupt("the database", "it holds no checkpoint"))
    }

    /// Journal, checkpoint and edge that belong together.
    fn moment(&self, location: &Location) -> Result<Moment, LedgerError> {
        let mut bad = None;
        for _ in 0..TRIES {
            let from = self.checkpoint()?.size;
            match self.journal(location, from) {
                Ok((first, entries)) => {
                    let stored = self.checkpoint()?;
                    let next = first + entries.len() as u64;
                    if entries.is_empty() || first <= stored.size {
                        let covered = stored.size.saturating_sub(first) as usize;
                        let rest = if next > stored.size {
                            entries.into_iter().skip(covered).collect()
                        } else {
                            Vec::new()
                        };
                        if let Some(edge) = self.edge(stored.size)? {
                            return Ok((stored, rest, edge));
                        }
                    }
                }
                // Whoever writes is a step ahead of whoever reads: what is bad has to stay so.
                Err(error) => {
                    let group = bad_group(&error);
                    if !may_pass(&error) || (group.is_some() && group == bad) {
                        return Err(error);
                    }
                    bad = group;
                }
            }
            thread::sleep(PAUSE);
        }
        Err(LedgerError::Restless)
    }

    /// The journal's records from an index on, and the index of the first.
    fn journal(
        &self,
        location: &Location,
        from: u64,
    ) -> Result<(u64, Vec<KeptEntry>), LedgerError> {
        let mut entries = Vec::new();
        let mut first = None;
        let mut visit = |group: Group<'_>| {
            for (index, entry) in (group.first_index..).zip(group.entries()) {
                if index >= from {
                    first.get_or_insert(index);
                    entries.push(KeptEntry {
                        record: Bytes(entry.record.to_vec()),
                        sealed: Bytes(entry.sealed.to_vec()),
                        principal: Bytes(entry.principal.to_vec()),
                    });
                }
            }
            Ok(())
        };
        match &self.database {
            None => {
                inspect(&location.dir.join("journal"), &mut visit)?;
            }
            Some(database) => {
                let journal = PgJournal::open(database, from)?;
                if journal.next_index() > from {
                    journal.replay(from, &mut visit)?;
                }
            }
        }
        Ok((first.unwrap_or(from), entries))
    }

    /// The partial tiles of a log of this size with the sealed values beside them; `None` if they are gone by now.
    fn edge(&self, size: u64) -> Result<Option<HashMap<String, Vec<u8>>>, LedgerError> {
        let mut edge = HashMap::new();
        for id in tiles_for_size(TreeSize(size)).filter(|id| id.is_partial()) {
            let Some(bytes) = self.objects.get(&tree::key(id))? else {
                return Ok(None);
            };
            edge.insert(tree::key(id), bytes);
            if id.level() == TileLevel::Entries {
                let key = tree::sealed_key(id);
                match self.objects.get(&key)? {
                    Some(bytes) => {
                        edge.insert(key, bytes);
                    }
                    // Nothing is sealed here, or a full one has taken its place.
                    None if self.objects.get(&tree::sealed_key(id.full()))?.is_some() => {
                        return Ok(None);
                    }
                    None => {}
                }
            }
        }
        Ok(Some(edge))
    }
}

/// The index of the group that cannot be read.
fn bad_group(error: &LedgerError) -> Option<u64> {
    match error {
        LedgerError::Store(StoreError::CorruptJournal { first_index, .. }) => Some(*first_index),
        _ => None,
    }
}

/// Whether it may be that somebody wrote, or removed what is published, while it was read.
fn may_pass(error: &LedgerError) -> bool {
    match error {
        LedgerError::Store(StoreError::CorruptJournal { .. } | StoreError::NotNext { .. }) => true,
        LedgerError::Store(StoreError::Io { source, .. }) => {
            source.kind() == std::io::ErrorKind::NotFound
        }
        _ => false,
    }
}

/// The checkpoint is the log's own word, in the operator's policy.
fn check(policy: &[u8], stored: &StoredCheckpoint) -> Result<(), LedgerError> {
    let policy = Policy::parse(policy).map_err(|e| LedgerError::corrupt("the policy", e))?;
    let checked = policy
        .check_log(&stored.note)
        .map_err(|e| LedgerError::corrupt("the latest checkpoint", e))?
        .checkpoint;
    if (checked.size.0, checked.root) == (stored.size, stored.root) {
        return Ok(());
    }
    Err(LedgerError::corrupt(
        "the latest checkpoint",
        "its note is of another tree",
    ))
}

fn settings(meta: &dyn MetaStore) -> Result<Vec<Named>, LedgerError> {
    let mut settings = Vec::new();
    for name in meta.kv_names()? {
        if [OBJECTS, MANIFEST, "policy"].contains(&name.as_str()) {
            continue;
        }
        if let Some(value) = meta.kv_get(&name)? {
            settings.push(Named {
                name,
                bytes: Bytes(value),
            });
        }
    }
    Ok(settings)
}

/// What lies beside the tiles.
fn served(objects: &dyn ObjectStore) -> Result<Vec<Named>, LedgerError> {
    let mut served = Vec::new();
    let names = objects.list("log")?;
    for name in names
        .into_iter()
        .filter(|key| !key.starts_with("log/tile/"))
    {
        if let Some(bytes) = objects.get(&name)? {
            served.push(Named {
                name,
                bytes: Bytes(bytes),
            });
        }
    }
    Ok(served)
}

/// The tiles of a log of this size, its sealed values, and all attachments and documents.
fn names(
    objects: &dyn ObjectStore,
    size: u64,
    edge: &HashMap<String, Vec<u8>>,
) -> Result<Vec<ObjectName>, LedgerError> {
    let fixed = |key: String| ObjectName { key, fixed: true };
    let sealed: BTreeSet<String> = objects.list("sealed")?.into_iter().collect();
    let mut names = Vec::new();
    for id in tiles_for_size(TreeSize(size)) {
        names.push(fixed(tree::key(id)));
        if id.level() == TileLevel::Entries {
            let key = tree::sealed_key(id);
            if sealed.contains(&key) || edge.contains_key(&key) {
                names.push(fixed(key));
            }
        }
    }
    for prefix in ["attachments", "documents"] {
        let found = objects.list(prefix)?.into_iter();
        names.extend(found.map(|key| ObjectName {
            fixed: crate::attachments::parse_key(&key).is_some(),
            key,
        }));
    }
    Ok(names)
}

/// Every file below `keys/`, in the order of their names.
fn key_files(dir: &Path) -> Result<Vec<Named>, LedgerError> {
    let mut files = Vec::new();
    let mut open = vec![(dir.to_path_buf(), String::new())];
    while let Some((dir, below)) = open.pop() {
        let entries = fs::read_dir(&dir).map_err(|e| LedgerError::io(&dir, e))?;
        for entry in entries {
            let path = entry.map_err(|e| LedgerError::io(&dir, e))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            let name = format!("{below}{name}");
            if path.is_dir() {
                open.push((path, format!("{name}/")));
                continue;
            }
            let bytes = fs::read(&path).map_err(|e| LedgerError::io(&path, e))?;
            files.push(Named {
                name,
                bytes: Bytes(bytes),
            });
        }
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}
