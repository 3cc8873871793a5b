//! *Integrated*, then *published*: entry bundles, sealed values and tiles made durable, the index in
//! one transaction, the checkpoint signed and swapped in, then served.
//!
//! A round that fails is tried again as it was, with nothing added, until it succeeds: each of its
//! steps may have happened or not, and all of them can be repeated.

use std::sync::Arc;
use std::time::{Duration, Instant};

use record::{Clock, Kind};
use store::{IndexUpdate, Journal, KindRow, MetaStore, RangeRow, StoreError, StoredCheckpoint};
use tlog::{Checkpoint, Ed25519Signer, Hash, MlDsa44Signer, TileId, TreeSize};

use crate::LedgerError;
use crate::backlog::Sequenced;
use crate::entry::Entry;
use crate::keys::Seed;
use crate::leader::Leader;
use crate::read::{Published, Reader};
use crate::recover;
use crate::sealing::file;
use crate::shared::Shared;
use crate::state::{RunSnapshot, StreamSnapshot};
use crate::tree::{self, Edge, entries_id};

const BUNDLE: u64 = 256;
/// How many entry bundles are made and written at a time: a round may hold as many bytes as may wait for publication, and
/// needs no second copy of them all.
const BUNDLES_AT_ONCE: usize = 64;
/// Before a failed round is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often a failed round is tried while the ledger closes.
const CLOSING_TRIES: u32 = 3;

/// The log's two signing keys.
pub(crate) struct Signers {
    pub(crate) origin: String,
    pub(crate) ed25519: Ed25519Signer,
    pub(crate) ml_dsa_44: MlDsa44Signer,
}

impl Signers {
    /// From the seeds of both keys.
    pub(crate) fn new(origin: &str, ed25519: &Seed, ml_dsa_44: &Seed) -> Result<Self, LedgerError> {
        let bad = |e: tlog::KeyError| LedgerError::corrupt("the origin in ledger.json", e);
        Ok(Self {
            origin: origin.to_owned(),
            ed25519: Ed25519Signer::from_seed(origin, **ed25519).map_err(bad)?,
            ml_dsa_44: MlDsa44Signer::from_seed(origin, **ml_dsa_44).map_err(bad)?,
        })
    }
}

/// The publisher: one thread has it.
pub(crate) struct Publisher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) signers: Arc<Signers>,
    pub(crate) interval: Duration,
    pub(crate) latest: Option<(u64, Hash)>,
    pub(crate) edge: Edge,
    /// The records of the last, partial entry bundle.
    pub(crate) tail: Vec<Entry>,
    /// No checkpoint's time may be before that of the one before.
    pub(crate) last_time: u64,
    /// The next round's tiles may have partial versions that nobody here remembers writing.
    pub(crate) distrust: bool,
    /// Where other servers publish too.
    pub(crate) leader: Option<Leader>,
}

impl Publisher {
    /// Publishes until the backlog is closed and empty.
    pub(crate) fn run(mut self) {
        if let Some(leader) = self.leader.take() {
            return leader.run(self);
        }
        let shared = Arc::clone(&self.shared);
        let backlog = &shared.backlog;
        let mut earliest = Instant::now();
        while let Some(groups) = backlog.take(earliest) {
            earliest = Instant::now() + self.interval;
            let mut tries = 0;
            while let Err(error) = self.round(&groups) {
                tries += 1;
                tracing::error!(%error, tries, "could not publish, trying again");
                shared.status.publish_failed(&error);
                let over = backlog.is_closing() && tries >= CLOSING_TRIES;
                if over || is_fatal(&error) {
                    shared.fail(format!("publishing failed: {error}"));
                    return;
                }
                backlog.pause(RETRY);
            }
            shared.status.publish_succeeded(shared.clock.now());
            backlog.release(&groups);
        }
    }

    /// One round: everything in `groups`, from integration to clearing up.
    pub(crate) fn round(&mut self, groups: &[Sequenced]) -> Result<(), LedgerError> {
        let from = self.edge.size();
        contiguous(groups, from)?;
        let mut edge = self.edge.clone();
        let entries = || groups.iter().flat_map(|group| &group.entries);
        let tiles = edge.extend(entries().map(|entry| entry.leaf))?;
        let to = edge.size();
        let all: Vec<&Entry> = self.tail.iter().chain(entries()).collect();
        let first = (from - self.tail.len() as u64) / BUNDLE;
        let slices = all.chunks(BUNDLE as usize * BUNDLES_AT_ONCE);
        for (first, slice) in (first..).step_by(BUNDLES_AT_ONCE).zip(slices) {
            self.put(&bundles(slice, first, to)?)?;
        }
        let tiles: Objects = tiles
            .into_iter()
            .map(|(id, bytes)| (tree::key(id), bytes))
            .collect();
        self.put(&tiles)?;
        let kept = all.len() % BUNDLE as usize;
        let tail = all[all.len() - kept..]
            .iter()
            .map(|entry| entry.apart())
            .collect();

        {
            let _indexing = self.shared.indexing();
            apply_index(&*self.shared.meta, groups, to)?;
            self.shared.reader.set_integrated(to);
        }

        let published = self.swap(to, edge.root())?;
        let reader = &self.shared.reader;
        let key = reader.published_key();
        recover::replace_checkpoint(&*reader.objects, &*self.shared.meta, key, &published.note)?;
        self.latest = Some((to, edge.root()));
        self.edge = edge;
        self.tail = tail;
        self.shared.publish(published);
        self.clear_up(from, to);
        Ok(())
    }

    fn put(&self, objects: &Objects) -> Result<(), LedgerError> {
        let objects: Vec<(&str, &[u8])> = objects
            .iter()
            .map(|(key, bytes)| (key.as_str(), bytes.as_slice()))
            .collect();
        Ok(self.shared.reader.objects.put_many(&objects)?)
    }

    /// Signs the checkpoint and makes it the latest, or finds that an earlier try did.
    fn swap(&mut self, size: u64, root: Hash) -> Result<Published, LedgerError> {
        let meta = &*self.shared.meta;
        let checkpoint = Checkpoint::new(&self.signers.origin, TreeSize(size), root)
            .map_err(|e| LedgerError::corrupt("the new checkpoint", e))?;
        if let Some(stored) = meta.latest_checkpoint()?
            && (stored.size, stored.root) == (size, root)
        {
            return Ok(Published {
                checkpoint,
                note: stored.note.into(),
            });
        }
        let note = sign(
            &self.signers,
            &checkpoint,
            &*self.shared.clock,
            &mut self.last_time,
        )?;
        let stored = StoredCheckpoint {
            size,
            root,
            note: note.clone(),
        };
        meta.swap_checkpoint(self.latest, &stored)?;
        Ok(Published {
            checkpoint,
            note: note.into(),
        })
    }

    /// Forgets what publication has superseded. What fails here is left for later.
    fn clear_up(&mut self, from: u64, to: u64) {
        if let Err(error) = self.shared.journal().discard_before(to) {
            tracing::warn!(%error, "could not discard published journal segments");
        }
        for id in superseded(from, to, self.distrust) {
            if let Err(error) = delete_partials(&self.shared.reader, id) {
                tracing::warn!(%error, tile = id.path(), "could not delete partial tiles");
            }
        }
        self.distrust = false;
    }
}

/// What is published next has to be what comes next.
fn contiguous(groups: &[Sequenced], from: u64) -> Result<(), LedgerError> {
    let mut next = from;
    for group in groups {
        if group.first != next {
            let reason = format!("record {next} comes next, not {}", group.first);
            return Err(LedgerError::corrupt("what waits for publication", reason));
        }
        next += group.entries.len() as u64;
    }
    Ok(())
}

/// Whether trying again cannot help: the disk is in an unknown state, or somebody else publishes.
fn is_fatal(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Store(error) if error.is_fatal())
        || matches!(error, LedgerError::Corrupt { .. })
}

/// The note of a checkpoint with the log's signature and cosignature.
pub(crate) fn sign(
    signers: &Signers,
    checkpoint: &Checkpoint,
    clock: &dyn Clock,
    last_time: &mut u64,
) -> Result<Vec<u8>, LedgerError> {
    let now = u64::try_from(clock.now().0 / 1_000_000).unwrap_or(0);
    *last_time = now.max(*last_time);
    let note = checkpoint
        .sign(&signers.ed25519, &signers.ml_dsa_44, *last_time)
        .map_err(|e| LedgerError::corrupt("the new checkpoint", e))?;
    Ok(note.to_string().into_bytes())
}

/// Objects to write, by key.
type Objects = Vec<(String, Vec<u8>)>;

/// The entry bundles of these records and their sealed values, from bundle number `first` on, in a log of `to` records.
fn bundles(entries: &[&Entry], first: u64, to: u64) -> Result<Objects, LedgerError> {
    let mut objects = Vec::new();
    for (number, chunk) in (first..).zip(entries.chunks(BUNDLE as usize)) {
        let id = entries_id(number, to)?;
        let bytes: Vec<&[u8]> = chunk.iter().map(|entry| &*entry.bytes).collect();
        let bundle = tlog::tile::encode_entry_bundle(&bytes)
            .map_err(|e| LedgerError::corrupt("an entry bundle", e))?;
        objects.push((tree::key(id), bundle));
        if chunk.iter().any(|entry| !entry.sealed.is_empty()) {
            objects.push((tree::sealed_key(id), sealed_bundle(chunk)));
        }
    }
    Ok(objects)
}

fn sealed_bundle(chunk: &[&Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in chunk {
        match &*entry.sealed {
            [] => bytes.extend_from_slice(&file::NONE),
            sealed => bytes.extend_from_slice(sealed),
        }
    }
    bytes
}

/// Brings the index to `to`, unless an earlier try has.
pub(crate) fn apply_index(
    meta: &dyn MetaStore,
    groups: &[Sequenced],
    to: u64,
) -> Result<(), LedgerError> {
    loop {
        let from = meta.indexed_size()?;
        if from >= to {
            return Ok(());
        }
        match meta.apply(&index_update(groups, from, to)) {
            // Another server was faster.
            Err(StoreError::IndexMoved { .. }) => {}
            // Done and reported failed: whether that is so is asked next time.
            applied => return Ok(applied?),
        }
    }
}

fn index_update(groups: &[Sequenced], from: u64, to: u64) -> IndexUpdate {
    use std::collections::{BTreeMap, BTreeSet, HashMap};
    let mut update = IndexUpdate {
        from,
        to,
        ..IndexUpdate::default()
    };
    let mut ranges: BTreeMap<(record::Scope, record::StreamName), Vec<RangeRow>> = BTreeMap::new();
    let mut kinds: BTreeSet<(record::Scope, &'static str, u64)> = BTreeSet::new();
    let (mut streams, mut runs) = (HashMap::new(), HashMap::new());
    for group in groups {
        for (index, entry) in (group.first..).zip(&group.entries) {
            if index < from {
                continue;
            }
            let place = entry.place;
            kinds.insert((place.scope, Kind::name(place.kind), index / BUNDLE));
            let rows = ranges.entry((place.scope, place.stream)).or_default();
            match rows.last_mut() {
                Some(row) if row.first_index + row.count == index => row.count += 1,
                _ => rows.push(RangeRow {
                    scope: place.scope.to_string(),
                    stream: place.stream.to_string(),
                    first_seq: place.seq,
                    count: 1,
                    first_index: index,
                }),
            }
        }
        if group.first + group.entries.len() as u64 > from {
            for stream in &group.streams {
                streams.insert((stream.state.scope, stream.state.stream), stream);
            }
            for run in &group.runs {
                runs.insert(run.rules.run, run);
            }
        }
    }
    update.ranges = ranges.into_values().flatten().collect();
    update.kinds = kinds
        .into_iter()
        .map(|(scope, kind, bundle)| KindRow {
            scope: scope.to_string(),
            kind: kind.to_owned(),
            bundle,
        })
        .collect();
    update.streams = streams.into_values().map(StreamSnapshot::row).collect();
    update.runs = runs.into_values().map(RunSnapshot::row).collect();
    update
}

/// Full tiles of the tree of `to` leaves that were partial at `from`; all that were completed in
/// between, where nobody knows which partial versions were written.
fn superseded(from: u64, to: u64, distrust: bool) -> Vec<TileId> {
    tlog::tile::tiles_between(TreeSize(from), TreeSize(to))
        .filter(|id| !id.is_partial())
        .filter(|id| {
            distrust
                || TileId::in_tree(id.level(), id.index(), TreeSize(from))
                    .is_some_and(TileId::is_partial)
        })
        .collect()
}

/// Deletes the partial versions of a full tile, and of the sealed values beside it.
pub(crate) fn delete_partials(reader: &Reader, id: TileId) -> Result<(), StoreError> {
    let mut prefixes = vec![format!("{}.p", tree::key(id))];
    if id.level() == tlog::TileLevel::Entries {
        prefixes.push(format!("{}.p", tree::sealed_key(id)));
    }
    for prefix in prefixes {
        for key in reader.objects.list(&prefix)? {
            reader.objects.delete(&key)?;
        }
    }
    Ok(())
}

/// The journal behind a lock: the sequencer appends, the publisher discards.
pub(crate) type SharedJournal = std::sync::Mutex<Box<dyn Journal>>;
