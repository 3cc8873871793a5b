//! What was kept becomes a ledger again, in a place that holds none.
//!
//! Objects, rows and journal come first. Then all of it is looked through, as `fsck` does: entries, tiles and checkpoint have to
//! hash to one root that the log's keys have signed. Only then is written what makes it a ledger, so that nothing
//! opens one that does not hold; what was interrupted is no ledger, and can be begun again.
//!
//! A restored ledger may be behind what its log has published. What it appends then lies at indices that others know
//! with other content: a fork, which every witness and client with a memory refuses. So the first opening records that the
//! ledger was restored (`incident.reported`), and whoever knows a later checkpoint is told what is missing.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use record::kinds::IncidentReported;
use record::{Draft, Subject};
use serde::{Deserialize, Serialize};
use store::{
    DataDir, IndexUpdate, Journal, JournalEntry, MetaStore, ObjectStore, StoredCheckpoint,
    StreamRow,
};
use tlog::{Checkpoint, Frontier, Policy, leaf_hash};

use crate::fsck::{self, FsckReport};
use crate::kept::{self, Bytes, Kept, KeptEntry};
use crate::ledger::{Ledger, Stores};
use crate::location::{Location, MANIFEST};
use crate::options::{Manifest, Options};
use crate::read::Reader;
use crate::state::opened_by;
use crate::{LedgerError, recover};

const CHECKPOINT: &str = "log/checkpoint";
const PUBLISHED: &str = "log/checkpoint.published";
/// The setting that says that the first opening has something to record.
const RESTORED: &str = "restored";
/// What the incident is called.
const INCIDENT: &str = "restored-from-backup";
const BUNDLE: u64 = 256;
/// Bytes of records in a group of the new journal.
const GROUP_BYTES: usize = 4 << 20;

/// A ledger that is being put back.
pub struct Restoration {
    location: Location,
    stores: Stores,
    data: Option<DataDir>,
}

impl std::fmt::Debug for Restoration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restoration")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

/// What is in a restored ledger.
#[derive(Clone, Debug, Serialize)]
pub struct Restored {
    /// The log's origin.
    pub origin: String,
    /// Records that its checkpoint covers: indices `0..size`.
    pub size: u64,
    /// That checkpoint's root, base64.
    pub root: String,
    /// Acknowledged records beyond it, from the journal: indices `size..size + unpublished`. The first opening
    /// publishes them.
    pub unpublished: u64,
    /// The index that the next record gets.
    pub next_index: u64,
    /// Subjects' keys, destroyed ones included.
    pub subject_keys: u64,
    /// Access tokens.
    pub tokens: u64,
    /// Jobs that were open, and begin anew.
    pub jobs: u64,
    /// What a checkpoint that somebody else holds says of it.
    pub expected: Option<Expected>,
    /// The runs, and the scope `ledger`, with their streams.
    pub runs: Vec<RestoredRun>,
    /// What looking through it came to.
    pub check: FsckReport,
    /// The place is a ledger now.
    pub made: bool,
}

impl Restored {
    /// Whether it holds together, and nothing is known to be missing or contradicted.
    pub fn is_good(&self) -> bool {
        self.check.is_sound() && self.expected.as_ref().is_none_or(Expected::is_met)
    }
}

/// A run, or the scope `ledger`.
#[derive(Clone, Debug, Serialize)]
pub struct RestoredRun {
    /// The run's id, or `ledger`.
    pub run: String,
    /// Its name.
    pub name: Option<String>,
    /// Its streams.
    pub streams: Vec<RestoredStream>,
}

/// A stream.
#[derive(Clone, Debug, Serialize)]
pub struct RestoredStream {
    /// Its name.
    pub stream: String,
    /// How many records it has: seqs `0..records`.
    pub records: u64,
    /// The leaf hash of the last of them, base64.
    pub head: String,
}

/// A checkpoint of the same log, held against what was restored.
#[derive(Clone, Debug, Serialize)]
pub struct Expected {
    /// How many records it covers.
    pub size: u64,
    /// How many of them are not there.
    pub missing: u64,
    /// The index of the first that is not.
    pub first_missing: Option<u64>,
    /// What is there hashes to its root; `None` where it covers more than that.
    pub agrees: Option<bool>,
}

impl Expected {
    /// Everything that it covers is there as it says.
    pub fn is_met(&self) -> bool {
        self.missing == 0 && self.agrees == Some(true)
    }
}

/// What the first opening is to record.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    next_index: u64,
    at: String,
    /// A checkpoint that was published and covers more.
    behind: Option<u64>,
}

/// A checkpoint that is the word of the log that was kept.
///
/// # Errors
/// It is none, or another log's.
pub fn checked_checkpoint(kept: &Kept, note: &[u8]) -> Result<Checkpoint, LedgerError> {
    let bad =
        |reason: &dyn std::fmt::Display| LedgerError::corrupt("the expected checkpoint", reason);
    let checkpoint = kept.checked(note).map_err(|e| bad(&e))?;
    if checkpoint.origin == kept.origin {
        Ok(checkpoint)
    } else {
        let reason = format!(
            "it is of {}, the backup is of {}",
            checkpoint.origin, kept.origin
        );
        Err(bad(&reason))
    }
}

fn policy(kept: &Kept) -> Result<Policy, LedgerError> {
    Policy::parse(&kept.policy.0).map_err(|e| LedgerError::corrupt("the policy", e))
}

impl Restoration {
    /// Begins at a place that holds no ledger.
    ///
    /// # Errors
    /// It holds a ledger, or something else; or cannot be written.
    pub fn begin(location: &Location) -> Result<Self, LedgerError> {
        if location.holds_ledger()? {
            return Err(LedgerError::Exists {
                dir: location.dir.clone(),
            });
        }
        let (stores, data) = if location.database_url.is_none() {
            let data = DataDir::create(&location.dir)?;
            (location.stores_in(&data)?, Some(data))
        } else {
            fs::create_dir_all(&location.dir).map_err(|e| LedgerError::io(&location.dir, e))?;
            location.stores()?
        };
        Ok(Self {
            location: location.clone(),
            stores,
            data,
        })
    }

    /// Where its objects go, from several threads if one likes.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.stores.objects)
    }

    /// Puts an object back; one that is there has to be the same.
    ///
    /// # Errors
    /// There is another, or it cannot be written.
    pub fn put(
        objects: &dyn ObjectStore,
        key: &str,
        bytes: u64,
        source: &mut dyn Read,
    ) -> Result<(), LedgerError> {
        if crate::attachments::parse_key(key).is_some() {
            if objects.confirm(key)? == Some(bytes) {
                return Ok(());
            }
            objects.put_from(key, source)?;
            return Ok(());
        }
        let mut content = Vec::new();
        source
            .read_to_end(&mut content)
            .map_err(store::StoreError::Source)?;
        Ok(objects.put(key, &content)?)
    }

    /// Puts back what is no object, looks through all of it, and makes it a ledger if it holds and nothing that `expected`
    /// covers is missing, or `accept_loss` says that this is known. Otherwise it is left as it is, and is no ledger.
    ///
    /// # Errors
    /// Something of it cannot be written, or is no part of a ledger.
    pub fn finish(
        mut self,
        kept: &Kept,
        options: &Options,
        expected: Option<&Checkpoint>,
        accept_loss: bool,
    ) -> Result<Restored, LedgerError> {
        let manifest = Manifest::parse(&kept.manifest.0)?;
        let policy = policy(kept)?;
        let signed = kept.signed()?;
        let latest = StoredCheckpoint {
            size: signed.size.0,
            root: signed.root,
            note: kept.note.0.clone(),
        };
        let objects = Arc::clone(&self.stores.objects);
        let meta = Arc::clone(&self.stores.meta);
        serve(&*objects, kept)?;
        rows(&*meta, kept)?;
        put_keys(&self.location.dir, kept)?;
        let reader = Reader::new(Arc::clone(&objects), Arc::clone(&meta));
        recover::catch_up(&*meta, &reader, kept.size)?;
        take_over(&*meta, kept)?;
        self.location.remember_objects(&*meta)?;
        if meta.latest_checkpoint()?.as_ref() != Some(&latest) {
            meta.swap_checkpoint(None, &latest)?;
        }
        // Only now does a journal begin where the checkpoint ends.
        self.stores = match &self.data {
            Some(data) => self.location.stores_in(data)?,
            None => self.location.stores()?.0,
        };
        put_journal(&mut *self.stores.journal, kept)?;
        let check = fsck::examine(
            &mut self.stores,
            self.data.as_ref(),
            &self.location,
            &policy,
            options,
        )?;
        let expected = match expected {
            Some(checkpoint) if check.is_sound() => Some(compare(&reader, kept, checkpoint)?),
            _ => None,
        };
        let mut restored = Restored {
            origin: manifest.origin,
            size: kept.size,
            root: kept.root.clone(),
            unpublished: kept.unpublished.len() as u64,
            next_index: kept.records(),
            subject_keys: kept.subject_keys.len() as u64,
            tokens: kept.tokens.len() as u64,
            jobs: kept.jobs.len() as u64,
            runs: if check.is_sound() {
                heads(&mut self.stores, kept.size)?
            } else {
                Vec::new()
            },
            expected,
            check,
            made: false,
        };
        let contradicted = restored
            .expected
            .as_ref()
            .is_some_and(|expected| expected.agrees == Some(false));
        let opens = restored.is_good() || (accept_loss && !contradicted);
        if restored.check.is_sound() && opens {
            self.make_ledger(kept, options, &restored)?;
            restored.made = true;
        }
        Ok(restored)
    }

    /// The last step: from here on there is a ledger.
    fn make_ledger(
        &self,
        kept: &Kept,
        options: &Options,
        restored: &Restored,
    ) -> Result<(), LedgerError> {
        let behind = restored.expected.as_ref();
        let told = Told {
            next_index: restored.next_index,
            at: options.clock.now().to_string(),
            behind: behind.filter(|e| e.missing > 0).map(|e| e.size),
        };
        let told = serde_json::to_vec(&told).map_err(|e| LedgerError::corrupt("a note", e))?;
        let meta = &*self.stores.meta;
        meta.kv_put(RESTORED, &told)?;
        for (name, value) in [("policy", &kept.policy), (MANIFEST, &kept.manifest)] {
            match &self.data {
                Some(data) => data.write(name, &value.0, 0o644)?,
                None => meta.kv_put(name, &value.0)?,
            }
        }
        if self.data.is_none() {
            // For whoever is to verify: what the database has, as a file.
            let path = self.location.dir.join("policy");
            fs::write(&path, &kept.policy.0).map_err(|e| LedgerError::io(&path, e))?;
        }
        Ok(())
    }
}

/// Puts back what is shown beside the tiles. Where nothing waits for witnesses, the latest checkpoint is shown.
fn serve(objects: &dyn ObjectStore, kept: &Kept) -> Result<(), LedgerError> {
    let waits = kept.served.iter().any(|object| object.name == PUBLISHED);
    let latest = if waits { PUBLISHED } else { CHECKPOINT };
    for object in kept.served.iter().filter(|object| object.name != latest) {
        objects.replace(&object.name, &object.bytes.0)?;
    }
    Ok(objects.replace(latest, &kept.note.0)?)
}

fn rows(meta: &dyn MetaStore, kept: &Kept) -> Result<(), LedgerError> {
    kept::put_subject_keys(meta, &kept.subject_keys)?;
    kept::put_tokens(meta, &kept.tokens)?;
    for setting in kept.settings.iter().filter(|one| one.name != RESTORED) {
        meta.kv_put(&setting.name, &setting.bytes.0)?;
    }
    kept::put_jobs(meta, &kept.jobs)?;
    Ok(())
}

/// Puts back the files below `keys/`; one that is there has to be the same.
fn put_keys(dir: &Path, kept: &Kept) -> Result<(), LedgerError> {
    let keys = dir.join("keys");
    let make = |dir: &Path| {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| LedgerError::io(dir, e))
    };
    make(&keys)?;
    for file in &kept.keys {
        // A backup comes from elsewhere: its names go nowhere but below `keys/`.
        if store::objects::check_key(&file.name).is_err() {
            return Err(LedgerError::corrupt("a key file's name", &file.name));
        }
        let path = keys.join(&file.name);
        make(path.parent().unwrap_or(&keys))?;
        match fs::read(&path).map(Bytes) {
            Ok(known) if known == file.bytes => continue,
            Ok(_) => {
                let what = path.display().to_string();
                return Err(LedgerError::Occupied { what });
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(LedgerError::io(&path, e)),
        }
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut new| {
                use std::io::Write as _;
                new.write_all(&file.bytes.0)?;
                new.sync_all()
            })
            .map_err(|e| LedgerError::io(&path, e))?;
    }
    let synced = fs::File::open(&keys).and_then(|keys| keys.sync_all());
    synced.map_err(|e| LedgerError::io(&keys, e))
}

/// Appends what no checkpoint covers. What is there of it, from a restoration that was interrupted, has to be the same.
fn put_journal(journal: &mut dyn Journal, kept: &Kept) -> Result<(), LedgerError> {
    let mut there = Vec::new();
    let mut visit = |group: store::Group<'_>| {
        for (index, entry) in (group.first_index..).zip(group.entries()) {
            if index >= kept.size {
                there.push(KeptEntry {
                    record: Bytes(entry.record.to_vec()),
                    sealed: Bytes(entry.sealed.to_vec()),
                    principal: Bytes(entry.principal.to_vec()),
                });
            }
        }
        Ok(())
    };
    if journal.is_shared() {
        journal.restart(kept.size);
        journal.begin(&mut visit)?;
        journal.release();
    } else if journal.next_index() > kept.size {
        journal.replay(kept.size, &mut visit)?;
    } else if journal.next_index() < kept.size {
        return Err(LedgerError::NotAnew);
    }
    if !kept.unpublished.starts_with(&there) {
        let what = "the journal".to_owned();
        return Err(LedgerError::Occupied { what });
    }
    let mut rest = &kept.unpublished[there.len()..];
    let mut next = kept.size + there.len() as u64;
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|entry| {
            bytes += entry.record.0.len() + entry.sealed.0.len();
            bytes <= GROUP_BYTES
        });
        let (group, later) = rest.split_at(fits.count().max(1));
        let entries: Vec<_> = group
            .iter()
            .map(|entry| JournalEntry {
                record: &entry.record.0,
                sealed: &entry.sealed.0,
                principal: &entry.principal.0,
            })
            .collect();
        journal.append_group(next, &entries)?;
        next += group.len() as u64;
        rest = later;
    }
    Ok(())
}

/// Puts into the index what is not in the log: who started and opened what.
fn take_over(meta: &dyn MetaStore, kept: &Kept) -> Result<(), LedgerError> {
    let mut update = IndexUpdate {
        from: kept.size,
        to: kept.size,
        ..IndexUpdate::default()
    };
    for run in kept.runs.iter().filter(|run| !run.principal.is_empty()) {
        if let Some(mut row) = meta.run(&run.run)? {
            row.principal.clone_from(&run.principal);
            update.runs.push(row);
        }
    }
    for stream in &kept.streams {
        if let Some(row) = meta.stream(&stream.scope, &stream.stream)? {
            update.streams.push(opened_by(row, &stream.principal)?);
        }
    }
    Ok(meta.apply(&update)?)
}

/// Holds a checkpoint that others know against all records, those of the journal too.
fn compare(reader: &Reader, kept: &Kept, checkpoint: &Checkpoint) -> Result<Expected, LedgerError> {
    let (size, there) = (checkpoint.size.0, kept.records());
    if size > there {
        return Ok(Expected {
            size,
            missing: size - there,
            first_missing: Some(there),
            agrees: None,
        });
    }
    let mut tree = Frontier::new();
    let mut failed = None;
    let mut push = |record: &[u8]| {
        if let Err(error) = tree.push(leaf_hash(record)) {
            failed = Some(LedgerError::corrupt("the tree", error));
        }
    };
    let published = size.min(kept.size);
    for bundle in 0..published.div_ceil(BUNDLE) {
        let first = bundle * BUNDLE;
        reader.bundle(bundle, kept.size, |at, entry| {
            if first + (at as u64) < published {
                push(entry);
            }
        })?;
    }
    let beyond = (size - published) as usize;
    for entry in kept.unpublished.iter().take(beyond) {
        push(&entry.record.0);
    }
    failed.map_or(Ok(()), Err)?;
    Ok(Expected {
        size,
        missing: 0,
        first_missing: None,
        agrees: Some(tree.root() == checkpoint.root),
    })
}

/// Every stream as it stands, with what the journal adds.
fn heads(stores: &mut Stores, size: u64) -> Result<Vec<RestoredRun>, LedgerError> {
    let meta = &*stores.meta;
    let (_, groups, _) = recover::replay(&mut *stores.journal, meta, size)?;
    let ledger = record::Scope::Ledger.to_string();
    let mut names: BTreeMap<String, Option<String>> = [(ledger, None)].into();
    let mut streams: BTreeMap<(String, String), StreamRow> = BTreeMap::new();
    let mut add = |row: StreamRow| {
        streams.insert((row.scope.clone(), row.stream.clone()), row);
    };
    let mut after = None::<String>;
    loop {
        let page = meta.list_runs(after.as_deref(), 1_000)?;
        let Some(last) = page.last() else { break };
        after = Some(last.run.clone());
        names.extend(page.into_iter().map(|row| (row.run, Some(row.name))));
    }
    for scope in names.keys() {
        meta.streams(scope)?.into_iter().for_each(&mut add);
    }
    for group in &groups {
        let runs = group.runs.iter().map(crate::state::RunSnapshot::row);
        names.extend(runs.map(|row| (row.run, Some(row.name))));
        let rows = group.streams.iter();
        rows.map(crate::state::StreamSnapshot::row)
            .for_each(&mut add);
    }
    let mut runs: BTreeMap<String, RestoredRun> = BTreeMap::new();
    for ((scope, stream), row) in streams {
        let name = names.get(&scope).cloned().flatten();
        let run = runs.entry(scope.clone()).or_insert_with(|| RestoredRun {
            run: scope,
            name,
            streams: Vec::new(),
        });
        run.streams.push(RestoredStream {
            stream,
            records: row.next_seq,
            head: row.head.to_string(),
        });
    }
    Ok(runs.into_values().collect())
}

impl Ledger {
    /// Records that it was restored, where that was not recorded yet.
    pub(crate) fn tell_of_restoration(&self) -> Result<(), LedgerError> {
        let meta = &*self.shared().meta;
        let told = match meta.kv_get(RESTORED)? {
            Some(told) if !told.is_empty() => told,
            _ => return Ok(()),
        };
        let told: Told = serde_json::from_slice(&told)
            .map_err(|e| LedgerError::corrupt("the setting `restored`", e))?;
        if self.ended()?.is_none() {
            let mut incident = IncidentReported::new(INCIDENT.to_owned());
            incident.detail = Some(match told.behind {
                Some(size) => format!("at-{}-of-{size}", told.next_index),
                None => format!("at-{}", told.next_index),
            });
            let loss = match told.behind {
                Some(size) => format!(
                    "a checkpoint of {size} records is known, so those from {} on are lost, and what follows here \
                     contradicts it",
                    told.next_index
                ),
                None => "what was acknowledged after that backup is not here, if anything was"
                    .to_owned(),
            };
            let text = format!(
                "the ledger was restored from a backup of {} records at {}: {loss}",
                told.next_index, told.at
            );
            let text = serde_json::Value::from(text);
            let draft = Draft::new(incident).seal("description", &text, Subject::Run);
            self.record_own(draft)?.wait()?;
        }
        Ok(meta.kv_put(RESTORED, b"")?)
    }
}
