//! Reading the log back: records, pages of them by run and kind, proofs.
//!
//! What is answered is what the published checkpoint covers; the sequencer alone looks further, to
//! what is integrated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use record::{Filter, Kind, Scope};
use store::{MetaStore, ObjectStore};
use tlog::{
    Checkpoint, EntryBundle, Hash, HashReader, HashTile, LeafIndex, TileId, TileLevel, TlogProof,
    TreeSize,
};

use crate::LedgerError;
use crate::cosign::Cosigning;
use crate::tree::{locate, read_entries, read_tile};

/// Most records in a page.
pub const MAX_PAGE: usize = 10_000;
/// Most bytes of records in a page; a page has at least one record.
const MAX_PAGE_BYTES: usize = 16 << 20;
const BUNDLE: u64 = 256;
/// Spans and bundles asked of the index at a time.
const INDEX_PAGE: usize = 256;

/// The published checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Origin, size and root.
    pub checkpoint: Checkpoint,
    /// The signed note as it is served at `/log/checkpoint`.
    pub note: Arc<[u8]>,
}

/// Which records to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// Only those of this run, or of the scope `ledger`.
    pub scope: Option<Scope>,
    /// Only those of this kind.
    pub kind: Option<Kind>,
    /// Only those after this index: the `next` of the page before.
    pub after: Option<u64>,
    /// At most so many, at most [`MAX_PAGE`]; 0 for 100.
    pub limit: usize,
}

/// Some records, by ascending index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Index and canonical bytes of each.
    pub records: Vec<(u64, Vec<u8>)>,
    /// Where the next page goes on, if there may be more.
    pub next: Option<u64>,
}

/// Reads the log's files.
pub(crate) struct Reader {
    pub(crate) objects: Arc<dyn ObjectStore>,
    meta: Arc<dyn MetaStore>,
    /// How many records are in durable tiles and in the index.
    integrated: AtomicU64,
    published: RwLock<Option<Published>>,
    /// The full tile of leaf hashes asked for last: resends come in the order of the log.
    last_leaves: Mutex<Option<(u64, HashTile)>>,
    /// What witnesses have made of the published checkpoints.
    pub(crate) cosigning: Cosigning,
    /// Hash tiles read to make proofs.
    tile_reads: AtomicU64,
}

impl Reader {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, meta: Arc<dyn MetaStore>) -> Self {
        Self {
            objects,
            meta,
            integrated: AtomicU64::new(0),
            published: RwLock::new(None),
            last_leaves: Mutex::default(),
            cosigning: Cosigning::default(),
            tile_reads: AtomicU64::new(0),
        }
    }

    /// How many hash tiles were read so far to make proofs.
    pub(crate) fn tile_reads(&self) -> u64 {
        self.tile_reads.load(Ordering::Relaxed)
    }

    pub(crate) fn integrated_size(&self) -> u64 {
        self.integrated.load(Ordering::Acquire)
    }

    /// Takes note that tiles and index have come so far. They never go back.
    pub(crate) fn set_integrated(&self, size: u64) {
        self.integrated.fetch_max(size, Ordering::Release);
    }

    pub(crate) fn published(&self) -> Option<Published> {
        self.published
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_published(&self, published: Published) {
        *self
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(published);
    }

    /// The same tree with another note: signatures were added. False where another is published by
    /// now.
    pub(crate) fn note_published(&self, published: &Published) -> bool {
        let mut current = self
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let same = current
            .as_ref()
            .is_some_and(|current| current.checkpoint == published.checkpoint);
        if same {
            *current = Some(published.clone());
        }
        same
    }

    /// The size of the published log.
    pub(crate) fn size(&self) -> u64 {
        let published = self
            .published
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        published.as_ref().map_or(0, |p| p.checkpoint.size.0)
    }

    /// The leaf hash of a record that is integrated, published or not.
    pub(crate) fn leaf(&self, index: u64) -> Result<Hash, LedgerError> {
        let (tile, at) = locate(LeafIndex(index));
        let mut last = self
            .last_leaves
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let leaves = match last.take() {
            Some((known, leaves)) if known == tile => leaves,
            _ => {
                let size = TreeSize(self.integrated_size());
                let id = TileId::in_tree(TileLevel::Hashes(0), tile, size)
                    .ok_or_else(|| LedgerError::corrupt("the index", "it is ahead of the log"))?;
                read_tile(&*self.objects, id)?
            }
        };
        let leaf = leaves.hashes().get(at).copied();
        // A partial tile is soon another one.
        if leaves.width() == BUNDLE as u16 {
            *last = Some((tile, leaves));
        }
        leaf.ok_or_else(|| LedgerError::corrupt(format!("leaf tile {tile}"), "too short"))
    }

    /// A published record.
    pub(crate) fn read(&self, index: u64) -> Result<Vec<u8>, LedgerError> {
        self.record(index, self.covered(index)?)
    }

    /// The published size, if it covers `index`.
    pub(crate) fn covered(&self, index: u64) -> Result<u64, LedgerError> {
        match self.size() {
            size if index < size => Ok(size),
            published => Err(LedgerError::NotPublished { index, published }),
        }
    }

    fn record(&self, index: u64, size: u64) -> Result<Vec<u8>, LedgerError> {
        let (bundle, at) = locate(LeafIndex(index));
        let mut found = None;
        self.bundle(bundle, size, |i, bytes| {
            if i == at {
                found = Some(bytes.to_vec());
            }
        })?;
        found.ok_or_else(|| LedgerError::corrupt(format!("entry bundle {bundle}"), "too short"))
    }

    /// Shows every entry of a bundle that a log of `size` records has, with its place.
    pub(crate) fn bundle(
        &self,
        bundle: u64,
        size: u64,
        mut visit: impl FnMut(usize, &[u8]),
    ) -> Result<(), LedgerError> {
        let (bytes, width) = read_entries(&*self.objects, bundle, size)?;
        let corrupt =
            |e: tlog::TileError| LedgerError::corrupt(format!("entry bundle {bundle}"), e);
        let wanted = usize::try_from((size - bundle * BUNDLE).min(BUNDLE)).unwrap_or(256);
        for (at, entry) in EntryBundle::new(&bytes, width)
            .map_err(corrupt)?
            .enumerate()
        {
            let entry = entry.map_err(corrupt)?;
            if at < wanted {
                visit(at, entry);
            }
        }
        Ok(())
    }

    /// A page of records.
    pub(crate) fn query(&self, query: &Query) -> Result<Page, LedgerError> {
        let limit = if query.limit == 0 {
            100
        } else {
            query.limit.min(MAX_PAGE)
        };
        let size = self.size();
        let from = query.after.map_or(0, |after| after.saturating_add(1));
        let mut page = Page::default();
        let mut bytes = 0;
        let mut full = false;
        let filter = Filter::new(query.scope, query.kind);
        let take = |index: u64, entry: &[u8], page: &mut Page| -> Result<bool, LedgerError> {
            if index < from {
                return Ok(false);
            }
            if !filter.is_empty() && filter.pick(entry)?.is_none() {
                return Ok(false);
            }
            if page.records.len() >= limit || bytes >= MAX_PAGE_BYTES {
                return Ok(true);
            }
            bytes += entry.len();
            page.records.push((index, entry.to_vec()));
            Ok(false)
        };
        self.walk(query, from, size, take, &mut page, &mut full)?;
        if full {
            page.next = page.records.last().map(|(index, _)| *index);
        }
        Ok(page)
    }

    /// Visits the bundles that may hold what is asked for, until the page is full.
    fn walk(
        &self,
        query: &Query,
        from: u64,
        size: u64,
        mut take: impl FnMut(u64, &[u8], &mut Page) -> Result<bool, LedgerError>,
        page: &mut Page,
        full: &mut bool,
    ) -> Result<(), LedgerError> {
        let mut next = Some(from / BUNDLE);
        while let Some(start) = next.filter(|start| start * BUNDLE < size && !*full) {
            let (bundles, more) = self.candidates(query, start, size)?;
            for bundle in bundles {
                if *full || bundle * BUNDLE >= size {
                    return Ok(());
                }
                let mut failed = None;
                self.bundle(bundle, size, |at, entry| {
                    if *full || failed.is_some() {
                        return;
                    }
                    match take(bundle * BUNDLE + at as u64, entry, page) {
                        Ok(stop) => *full = stop,
                        Err(error) => failed = Some(error),
                    }
                })?;
                failed.map_or(Ok(()), Err)?;
            }
            next = more;
        }
        Ok(())
    }

    /// Bundles from `start` on that may hold what is asked for, ascending, and where to go on.
    fn candidates(
        &self,
        query: &Query,
        start: u64,
        size: u64,
    ) -> Result<(Vec<u64>, Option<u64>), LedgerError> {
        let scope = query.scope.map(|scope| scope.to_string());
        let bundles = match (&scope, query.kind) {
            (scope, Some(kind)) => {
                self.meta
                    .bundles_with_kinds(scope.as_deref(), &[kind.name()], start, INDEX_PAGE)?
            }
            (Some(scope), None) => {
                let mut bundles = Vec::new();
                for span in self.meta.spans(scope, start * BUNDLE, INDEX_PAGE)? {
                    let last = (span.first_index + span.count - 1) / BUNDLE;
                    let first = bundles
                        .last()
                        .map_or(0, |b| b + 1)
                        .max(span.first_index / BUNDLE);
                    bundles.extend(first..=last);
                }
                bundles
            }
            (None, None) => (start..size.div_ceil(BUNDLE)).take(INDEX_PAGE).collect(),
        };
        let more = bundles.last().map(|last| last + 1);
        Ok((bundles, more))
    }

    /// The inclusion of a record in the published log, as a C2SP tlog-proof.
    pub(crate) fn proof(&self, index: u64) -> Result<TlogProof, LedgerError> {
        let shown = self.shown();
        let published = shown
            .clone()
            .and_then(|shown| self.best_for(index + 1, shown))
            .ok_or_else(|| LedgerError::NotPublished {
                index,
                published: shown.map_or(0, |shown| shown.checkpoint.size.0),
            })?;
        let size = published.checkpoint.size;
        let hashes = tlog::inclusion_proof(&TileReader(self), LeafIndex(index), size)
            .map_err(|e| LedgerError::corrupt("the log's tiles", e))?;
        Ok(TlogProof {
            extra: None,
            index: LeafIndex(index),
            hashes,
            checkpoint: String::from_utf8_lossy(&published.note).into_owned(),
        })
    }

    /// The consistency of two sizes of the published log.
    pub(crate) fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, LedgerError> {
        tlog::consistency_proof(&TileReader(self), TreeSize(old), TreeSize(new))
            .map_err(|e| LedgerError::corrupt("the log's tiles", e))
    }

    /// The tree hashes that prove all of `indices` (ascending) at once.
    pub(crate) fn multiproof(
        &self,
        size: TreeSize,
        indices: &[u64],
    ) -> Result<Vec<[u8; 32]>, LedgerError> {
        let indices = indices.iter().map(|index| LeafIndex(*index));
        let hashes = tlog::multiproof::create(&TileReader(self), size, indices)
            .map_err(|e| LedgerError::corrupt("the log's tiles", e))?;
        Ok(hashes.iter().map(|hash| *hash.as_bytes()).collect())
    }
}

/// The ledger's tiles for `tlog`.
struct TileReader<'a>(&'a Reader);

impl HashReader for TileReader<'_> {
    type Error = LedgerError;

    fn read_tile(&self, id: TileId) -> Result<HashTile, LedgerError> {
        self.0.tile_reads.fetch_add(1, Ordering::Relaxed);
        read_tile(&*self.0.objects, id)
    }
}
