//! Opening: from what is on the disk to a ledger that goes on, whatever the last process was doing
//! when it ended.
//!
//! The latest checkpoint is taken from the database and held against the tiles. What the journal
//! holds beyond it was acknowledged and is published next. The index is brought up from the
//! entry bundles where it is behind, and `log/checkpoint` is written again where it is.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use record::kinds::ProducerEnrolled;
use record::{Kind, Record};
use store::{Group, Journal, MetaStore, ObjectStore, StoredCheckpoint};
use tlog::{Checkpoint, EntryBundle, Policy};

use crate::LedgerError;
use crate::admit::Enrolment;
use crate::backlog::Sequenced;
use crate::entry::{Entry, Place};
use crate::publish::{apply_index, delete_partials};
use crate::read::{Published, Query, Reader};
use crate::sealing::file;
use crate::sequencer::snapshot;
use crate::state::State;
use crate::tree;

const BUNDLE: u64 = 256;
/// Records in one step of catching up.
const STEP_RECORDS: usize = 16_384;

/// Reads the latest checkpoint and makes sure that the log's keys signed it.
pub(crate) fn published(
    meta: &dyn MetaStore,
    policy: &Policy,
) -> Result<Option<(StoredCheckpoint, Published)>, LedgerError> {
    let Some(stored) = meta.latest_checkpoint()? else {
        return Ok(None);
    };
    let corrupt = |reason: &dyn std::fmt::Display| {
        LedgerError::corrupt("the latest checkpoint in ledger.sqlite", reason)
    };
    let checkpoint: Checkpoint = policy
        .check(&stored.note)
        .map_err(|e| corrupt(&e))?
        .checkpoint;
    if (checkpoint.size.0, checkpoint.root) != (stored.size, stored.root) {
        return Err(corrupt(&"its note is of another tree"));
    }
    let note: Arc<[u8]> = stored.note.as_slice().into();
    Ok(Some((stored, Published { checkpoint, note })))
}

/// Writes the latest checkpoint at `key` again if that is not what is there: the last process ended
/// between the two.
pub(crate) fn serve(
    objects: &dyn ObjectStore,
    meta: &dyn MetaStore,
    key: &str,
    published: &Published,
) -> Result<(), LedgerError> {
    if objects.get(key)?.as_deref() != Some(&*published.note) {
        replace_checkpoint(objects, meta, key, &published.note)?;
    }
    Ok(())
}

/// Writes the latest checkpoint at `key`. Whoever was overtaken meanwhile, by another server, puts right what it
/// may have turned back.
pub(crate) fn replace_checkpoint(
    objects: &dyn ObjectStore,
    meta: &dyn MetaStore,
    key: &str,
    note: &[u8],
) -> Result<(), LedgerError> {
    let mut note = note.to_vec();
    loop {
        objects.replace(key, &note)?;
        match meta.latest_checkpoint()? {
            Some(latest) if latest.note != note => note = latest.note,
            _ => return Ok(()),
        }
    }
}

/// The latest time that the log's own signatures on a checkpoint name, in seconds since 1970; 0 if they name none.
pub(crate) fn signed_at(policy: &Policy, note: &[u8]) -> u64 {
    let Ok(verified) = policy.check(note) else {
        return 0;
    };
    // To a policy, the log's second key is a cosigner.
    let signatures = verified
        .log_signatures
        .iter()
        .chain(&verified.witness_signatures);
    signatures
        .filter(|signature| signature.key.name() == verified.checkpoint.origin)
        .filter_map(|signature| signature.timestamp)
        .max()
        .unwrap_or(0)
}

/// Brings the index from where it is to `size` from the entry bundles. Gives how many records it
/// read.
pub(crate) fn catch_up(
    meta: &dyn MetaStore,
    reader: &Reader,
    size: u64,
) -> Result<u64, LedgerError> {
    let start = meta.indexed_size()?;
    let mut from = start;
    let mut state = State::default();
    while from < size {
        // A step ends where a bundle does.
        let to = size.min((from / BUNDLE) * BUNDLE + STEP_RECORDS as u64);
        let mut entries = Vec::new();
        for bundle in from / BUNDLE..to.div_ceil(BUNDLE) {
            let mut failed = None;
            reader.bundle(bundle, to, |at, bytes| {
                if failed.is_none() && bundle * BUNDLE + at as u64 >= from {
                    match plain(bytes) {
                        Ok(entry) => entries.push(entry),
                        Err(error) => failed = Some(error),
                    }
                }
            })?;
            failed.map_or(Ok(()), Err)?;
        }
        for (index, entry) in (from..).zip(&entries) {
            follow(&mut state, meta, entry, index, from)?;
        }
        let group = snapshot(&mut state, from, entries);
        apply_index(meta, &[group], to)?;
        state.shrink(to);
        from = to;
    }
    Ok(size.saturating_sub(start))
}

/// What the journal holds from `size` on: groups for the publisher, the state after them, and the
/// index that comes next. A shared journal's turn is taken and given up.
pub(crate) fn replay(
    journal: &mut dyn Journal,
    meta: &dyn MetaStore,
    size: u64,
) -> Result<(State, Vec<Sequenced>, u64), LedgerError> {
    // Before the journal: what is indexed is in it.
    let indexed = meta.indexed_size()?;
    let mut frames = Frames::from(size);
    let mut visit = |group: Group<'_>| {
        frames.take(group);
        Ok(())
    };
    if journal.is_shared() {
        journal.restart(size);
        journal.begin(&mut visit)?;
        journal.release();
    } else if journal.next_index() > size {
        journal.replay(size, &mut visit)?;
    }
    let entries = frames.entries()?;
    let next = size + entries.len() as u64;
    if indexed > next {
        return Err(LedgerError::corrupt(
            "the journal",
            format!("the index knows {indexed} records, checkpoint and journal have {next}"),
        ));
    }
    let mut state = State::default();
    let mut groups = Vec::new();
    if !entries.is_empty() {
        for (index, entry) in (size..).zip(&entries) {
            follow(&mut state, meta, entry, index, size)?;
        }
        groups.push(snapshot(&mut state, size, entries));
    }
    Ok((state, groups, next))
}

/// The entries of a journal's groups from an index on.
pub(crate) struct Frames {
    from: u64,
    entries: Vec<Entry>,
    failed: Option<LedgerError>,
}

impl Frames {
    pub(crate) fn from(from: u64) -> Self {
        Self {
            from,
            entries: Vec::new(),
            failed: None,
        }
    }

    /// Takes what a group has of them.
    pub(crate) fn take(&mut self, group: Group<'_>) {
        for (index, frame) in (group.first_index..).zip(group.entries()) {
            if index < self.from || self.failed.is_some() {
                continue;
            }
            match plain(frame.record) {
                Ok(mut entry) => {
                    entry.sealed = Bytes::copy_from_slice(frame.sealed);
                    let by = String::from_utf8_lossy(frame.principal);
                    entry.by = (!by.is_empty()).then(|| by.as_ref().into());
                    self.entries.push(entry);
                }
                Err(error) => self.failed = Some(error),
            }
        }
    }

    pub(crate) fn entries(self) -> Result<Vec<Entry>, LedgerError> {
        self.failed.map_or(Ok(self.entries), Err)
    }
}

/// Takes a record that is in the log into the state. What the index told already is only remembered
/// as a recent one.
pub(crate) fn follow(
    state: &mut State,
    meta: &dyn MetaStore,
    entry: &Entry,
    index: u64,
    indexed: u64,
) -> Result<(), LedgerError> {
    let scope = state.scope(meta, entry.place.scope)?;
    let stream = scope.chain.stream(&entry.place.stream);
    if stream.is_some_and(|known| entry.place.seq < known.next_seq) {
        scope.remember(entry, index, indexed);
        return Ok(());
    }
    let record = Record::parse(&entry.bytes)?;
    scope
        .chain
        .admit(&record, &entry.leaf)
        .map_err(|e| LedgerError::corrupt(format!("record {index}"), e))?;
    scope.note(entry, index, indexed)
}

pub(crate) fn plain(bytes: &[u8]) -> Result<Entry, LedgerError> {
    let record = Record::parse(bytes)?;
    let place = Place::of(&record).ok_or_else(|| LedgerError::corrupt("a record", "its kind"))?;
    Ok(Entry {
        bytes: Bytes::copy_from_slice(bytes),
        leaf: record.leaf_hash(),
        sealed: Bytes::new(),
        place,
        by: None,
    })
}

/// The records of the published log's last entry bundle, if that is partial: the publisher writes
/// them again with what follows.
pub(crate) fn tail(objects: &dyn ObjectStore, size: u64) -> Result<Vec<Entry>, LedgerError> {
    let count = (size % BUNDLE) as usize;
    if count == 0 {
        return Ok(Vec::new());
    }
    let bundle = size / BUNDLE;
    let (bytes, width) = tree::read_entries(objects, bundle, size)?;
    let corrupt = |e: tlog::TileError| LedgerError::corrupt(format!("entry bundle {bundle}"), e);
    let mut entries = Vec::with_capacity(count);
    for bytes in EntryBundle::parse(&bytes, width)
        .map_err(corrupt)?
        .into_iter()
        .take(count)
    {
        entries.push(plain(bytes)?);
    }
    if let Some((bytes, width)) = tree::read_sealed(objects, bundle, size)? {
        let sealed = file::split(&bytes, usize::from(width))
            .map_err(|e| LedgerError::corrupt(format!("sealed values of bundle {bundle}"), e))?;
        for (entry, sealed) in entries.iter_mut().zip(sealed) {
            if sealed != file::NONE {
                entry.sealed = Bytes::copy_from_slice(sealed);
            }
        }
    }
    Ok(entries)
}

/// Deletes the partial versions of the last full tile of each level: the last process may have ended
/// before it did.
pub(crate) fn sweep(reader: &Reader, size: u64) -> Result<(), LedgerError> {
    let mut items = size;
    for level in 0_u8.. {
        let full = items / BUNDLE;
        let Some(last) = full.checked_sub(1) else {
            break;
        };
        let mut levels = vec![tlog::TileLevel::Hashes(level)];
        if level == 0 {
            levels.push(tlog::TileLevel::Entries);
        }
        for level in levels {
            let id = tlog::TileId::new(level, last, BUNDLE as u16)
                .map_err(|e| LedgerError::corrupt("the log", e))?;
            delete_partials(reader, id)?;
        }
        items = full;
    }
    Ok(())
}

/// Every key the log enrols: those that are published, and those in `groups`.
pub(crate) fn enrolled(
    reader: &Reader,
    groups: &[Sequenced],
) -> Result<HashSet<Enrolment>, LedgerError> {
    let mut keys = HashSet::new();
    let mut take = |bytes: &[u8]| -> Result<(), LedgerError> {
        let body: ProducerEnrolled = Record::parse(bytes)?.decode()?;
        keys.insert((body.key, body.producer));
        Ok(())
    };
    let kind = Some(Kind::ProducerEnrolled);
    let mut query = Query {
        kind,
        limit: crate::read::MAX_PAGE,
        ..Query::default()
    };
    loop {
        let page = reader.query(&query)?;
        for (_, bytes) in &page.records {
            take(bytes)?;
        }
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    for entry in groups.iter().flat_map(|group| &group.entries) {
        if entry.place.kind == Kind::ProducerEnrolled {
            take(&entry.bytes)?;
        }
    }
    Ok(keys)
}
