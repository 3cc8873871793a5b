//! A whole log from one set of stores to another: embedded to PostgreSQL and S3, and back.
//!
//! Nothing of the old place is changed. What is copied to the new one is not a ledger before its last step, so that an
//! interrupted migration is begun again where it was.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use store::{DataDir, MetaStore, ObjectStore, StoredCheckpoint};

use crate::LedgerError;
use crate::attachments;
use crate::kept;
use crate::keys;
use crate::ledger::{Ledger, Stores};
use crate::location::{Location, MANIFEST, OBJECTS};
use crate::options::Options;
use crate::read::Reader;
use crate::recover;

/// Where objects lie.
const PREFIXES: [&str; 4] = ["log", "sealed", "attachments", "documents"];
/// Objects that never change lie below these.
const FIXED: [&str; 2] = ["log/tile/", "sealed/"];
const CHECKPOINT: &str = "log/checkpoint";
/// How many objects, keys and rows are copied at a time.
const BATCH: usize = 256;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Records of the log.
    pub records: u64,
    /// Tiles, sealed values, documents.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Subjects' keys, destroyed ones included.
    pub subject_keys: u64,
    /// Access tokens.
    pub tokens: u64,
    /// Jobs that were open; they begin anew. Those of the past are left behind.
    pub jobs: u64,
}

impl Ledger {
    /// Copies a closed ledger to another place, which holds none, and opens it there once, so that its tiles are held
    /// against its checkpoint. Key files are copied too. `progress` is told how many objects are copied of how many.
    ///
    /// # Errors
    /// A server runs on the old place, or wrote to it meanwhile; the new place holds a ledger; or a store fails. Then
    /// the new place is no ledger yet, and this can be called again.
    pub fn migrate(
        from: &Location,
        to: &Location,
        options: &Options,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Migrated, LedgerError> {
        if to.holds_ledger()? {
            return Err(LedgerError::Exists {
                dir: to.dir.clone(),
            });
        }
        // Publishes what is not yet, and makes sure that it holds together.
        Self::open_at(from, options.clone())?.close()?;
        let (mut source, _lock) = from.stores()?;
        let latest = settled(&mut source)?;
        let (target, data) = new_stores(to)?;
        copy_keys(&from.dir, &to.dir)?;

        let mut migrated = Migrated {
            records: latest.size,
            ..Migrated::default()
        };
        copy_objects(&*source.objects, &*target.objects, &mut migrated, progress)?;
        copy_rows(&*source.meta, &*target.meta, &mut migrated)?;
        index(&source, &target, latest.size)?;
        to.remember_objects(&*target.meta)?;
        if settled(&mut source)? != latest {
            return Err(LedgerError::InUse);
        }
        if target.meta.latest_checkpoint()?.as_ref() != Some(&latest) {
            target.meta.swap_checkpoint(None, &latest)?;
        }
        target.objects.replace(CHECKPOINT, &latest.note)?;
        // Last: from here on there is a ledger.
        for name in ["policy", MANIFEST] {
            let value = setting(from, &source, name)?;
            match &data {
                Some(data) => data.write(name, &value, 0o644)?,
                None => target.meta.kv_put(name, &value)?,
            }
        }
        drop((target, data));
        Self::open_at(to, options.clone())?.close()?;
        Ok(migrated)
    }
}

/// The latest checkpoint, if it covers all that was acknowledged and nobody publishes.
fn settled(source: &mut Stores) -> Result<StoredCheckpoint, LedgerError> {
    let latest = source
        .meta
        .latest_checkpoint()?
        .ok_or_else(|| LedgerError::corrupt("the database", "it holds no checkpoint"))?;
    let (_, _, next) = recover::replay(&mut *source.journal, &*source.meta, latest.size)?;
    if next == latest.size {
        Ok(latest)
    } else {
        Err(LedgerError::InUse)
    }
}

fn new_stores(to: &Location) -> Result<(Stores, Option<DataDir>), LedgerError> {
    if to.database_url.is_none() {
        let data = DataDir::create(&to.dir)?;
        return Ok((to.stores_in(&data)?, Some(data)));
    }
    fs::create_dir_all(&to.dir).map_err(|e| LedgerError::io(&to.dir, e))?;
    to.stores()
}

/// What a manifest or a policy says: a file of a directory, a setting of a database.
fn setting(from: &Location, source: &Stores, name: &str) -> Result<Vec<u8>, LedgerError> {
    if from.database_url.is_some() {
        return Ok(source.meta.kv_get(name)?.unwrap_or_default());
    }
    let path = from.dir.join(name);
    fs::read(&path).map_err(|e| LedgerError::io(&path, e))
}

fn copy_keys(from: &Path, to: &Path) -> Result<(), LedgerError> {
    if from == to {
        return Ok(());
    }
    keys::copy(from, to)
}

fn copy_objects(
    from: &dyn ObjectStore,
    to: &dyn ObjectStore,
    migrated: &mut Migrated,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), LedgerError> {
    let mut names = Vec::new();
    for prefix in PREFIXES {
        names.extend(from.list(prefix)?);
    }
    names.retain(|name| name != CHECKPOINT);
    let all = names.len() as u64;
    for batch in names.chunks(BATCH) {
        let mut objects = Vec::with_capacity(batch.len());
        for name in batch {
            if attachments::parse_key(name).is_some() {
                migrated.bytes += copy_attachment(from, to, name)?;
                migrated.objects += 1;
                continue;
            }
            // A partial tile may be superseded between the two calls.
            if let Some(bytes) = from.get(name)? {
                migrated.bytes += bytes.len() as u64;
                objects.push((name.as_str(), bytes));
            }
        }
        let (fixed, others): (Vec<_>, Vec<_>) = objects
            .iter()
            .map(|(name, bytes)| (*name, bytes.as_slice()))
            .partition(|(name, _)| FIXED.iter().any(|prefix| name.starts_with(prefix)));
        to.put_many(&fixed)?;
        for (name, bytes) in others {
            to.replace(name, bytes)?;
        }
        migrated.objects += objects.len() as u64;
        progress(migrated.objects, all);
    }
    Ok(())
}

/// One object that may be too large to be held; gives its size.
fn copy_attachment(
    from: &dyn ObjectStore,
    to: &dyn ObjectStore,
    name: &str,
) -> Result<u64, LedgerError> {
    let Some(mut object) = from.open_object(name)? else {
        return Ok(0);
    };
    // A migration that was interrupted has it already.
    if to.confirm(name)? == Some(object.bytes) {
        return Ok(object.bytes);
    }
    let copied = to.put_from(name, &mut object.reader)?;
    if copied == object.bytes {
        return Ok(copied);
    }
    let reason = format!("{copied} of its {} bytes could be read", object.bytes);
    Err(LedgerError::corrupt(name, reason))
}

/// Copies what is in the database and not in the log.
fn copy_rows(
    from: &dyn MetaStore,
    to: &dyn MetaStore,
    migrated: &mut Migrated,
) -> Result<(), LedgerError> {
    let mut after = None;
    loop {
        let page = from.list_subject_keys(after.as_ref(), BATCH)?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.id);
        to.insert_subject_keys(&page)?;
        migrated.subject_keys += page.len() as u64;
    }
    for token in from.list_tokens()? {
        to.insert_token(&token)?;
        migrated.tokens += 1;
    }
    let jobs = kept::open_jobs(from)?;
    kept::put_jobs(to, &jobs)?;
    migrated.jobs = jobs.len() as u64;
    for name in from.kv_names()? {
        if ![OBJECTS, MANIFEST, "policy"].contains(&name.as_str())
            && let Some(value) = from.kv_get(&name)?
        {
            to.kv_put(&name, &value)?;
        }
    }
    Ok(())
}

/// Builds the index from the copied bundles, then takes over what is not in the log: who started what.
fn index(source: &Stores, target: &Stores, size: u64) -> Result<(), LedgerError> {
    let reader = Reader::new(Arc::clone(&target.objects), Arc::clone(&target.meta));
    recover::catch_up(&*target.meta, &reader, size)?;
    let (meta, mut after) = (&*source.meta, None);
    let mut scopes = vec![record::Scope::Ledger.to_string()];
    loop {
        let runs = meta.list_runs(after.as_deref(), BATCH)?;
        let Some(last) = runs.last() else { break };
        after = Some(last.run.clone());
        scopes.extend(runs.iter().map(|run| run.run.clone()));
        take_over(target, size, Vec::new(), runs)?;
    }
    for scope in scopes {
        take_over(target, size, meta.streams(&scope)?, Vec::new())?;
    }
    Ok(())
}

fn take_over(
    target: &Stores,
    size: u64,
    streams: Vec<store::StreamRow>,
    runs: Vec<store::RunRow>,
) -> Result<(), LedgerError> {
    let rows = store::IndexUpdate {
        from: size,
        to: size,
        streams,
        runs,
        ..store::IndexUpdate::default()
    };
    Ok(target.meta.apply(&rows)?)
}
