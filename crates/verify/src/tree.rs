//! Everything above the leaves: tiles of level 1 and up, the root, and the root of an earlier size.
//!
//! Fed in order with what each entry bundle hashed to. Where the level-0 tile differs from the
//! entries, both values are carried upwards, so that the first parent that holds one of them says
//! which of the two was changed, and nothing further up is reported a second time.

use tlog::{Hash, TileId, TileLevel, TreeSize, tile_root};

use crate::report::{Check, Failure};
use crate::source::{MAX_TILE_BYTES, Source};
use crate::{VerifyError, paths};

/// Sentences about where a difference lies; more would not be read.
const MAX_CONCLUSIONS: usize = 10;

/// A subtree's hash, as its parent tile should hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Recomputed from the entries; `None` where files are missing or broken.
    pub(crate) computed: Option<Hash>,
    /// Recomputed from the stored tile below, where that differs.
    pub(crate) stored: Option<Hash>,
}

/// The right edge of a growing tree: perfect subtrees of falling height. Unlike [`tlog::Frontier`] it
/// goes on where a hash is unknown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frontier {
    nodes: Vec<(u8, Option<Hash>)>,
}

impl Frontier {
    /// Appends a perfect subtree of 2^`height` leaves; all before it must be multiples of that.
    pub(crate) fn push(&mut self, height: u8, hash: Option<Hash>) {
        let (mut height, mut hash) = (height, hash);
        while let Some((_, left)) = self.nodes.pop_if(|(h, _)| *h == height) {
            hash = left
                .zip(hash)
                .map(|(left, right)| tlog::node_hash(&left, &right));
            height += 1;
        }
        self.nodes.push((height, hash));
    }

    /// The root; `None` if there is no leaf or some hash is unknown.
    pub(crate) fn root(&self) -> Option<Hash> {
        let mut nodes = self.nodes.iter().rev();
        let (_, mut root) = *nodes.next()?;
        for (_, left) in nodes {
            root = left
                .zip(root)
                .map(|(left, right)| tlog::node_hash(&left, &right));
        }
        root
    }
}

/// The hashes of one entry bundle.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    /// Hashed from the entries; shorter than the bundle's width where it is missing or broken.
    pub(crate) computed: Vec<Hash>,
    /// The root over `computed`, where the bundle is full and whole.
    pub(crate) root: Option<Hash>,
    /// What the level-0 tile holds, where that is not the same.
    pub(crate) stored: Option<Vec<Hash>>,
    /// Entries the bundle must have: 256, or fewer in the last one.
    pub(crate) width: usize,
}

impl Leaves {
    /// The hash at `at`: the entry's, or what the tile says where there is no entry.
    pub(crate) fn best(&self, at: usize) -> Option<Hash> {
        self.computed
            .get(at)
            .or_else(|| self.stored.as_ref()?.get(at))
            .copied()
    }

    /// The tile's hash at `at`, where it is not the entry's.
    pub(crate) fn other(&self, at: usize) -> Option<Hash> {
        let stored = *self.stored.as_ref()?.get(at)?;
        (self.computed.get(at) != Some(&stored)).then_some(stored)
    }
}

struct Level {
    index: u64,
    nodes: Vec<Node>,
}

/// The part of a check that needs the log's order and only its hashes.
pub(crate) struct Tree<'a> {
    source: &'a Source,
    size: u64,
    levels: Vec<Level>,
    /// The leaves of the last bundle, if it is not full.
    tail: Vec<Option<Hash>>,
    /// What root the level-0 tiles have as they are stored.
    stored: Frontier,
    differs: bool,
    seen: u64,
    /// Earlier sizes whose roots are wanted, with what came out.
    earlier: Vec<(u64, Option<Hash>)>,
    buffer: Vec<u8>,
    pub(crate) files: u64,
    pub(crate) failures: Vec<Failure>,
    pub(crate) conclusions: Vec<String>,
}

impl<'a> Tree<'a> {
    /// For a log of `size` entries, and the roots at earlier sizes that are wanted.
    pub(crate) fn new(
        source: &'a Source,
        size: u64,
        earlier: impl IntoIterator<Item = u64>,
    ) -> Self {
        let root = |at| (at == 0).then(tlog::empty_root);
        Self {
            source,
            size,
            levels: Vec::new(),
            tail: Vec::new(),
            stored: Frontier::default(),
            differs: false,
            seen: 0,
            earlier: earlier.into_iter().map(|at| (at, root(at))).collect(),
            buffer: Vec::new(),
            files: 0,
            failures: Vec::new(),
            conclusions: Vec::new(),
        }
    }

    /// The next entry bundle's hashes.
    pub(crate) fn push(&mut self, leaves: &Leaves) -> Result<(), VerifyError> {
        self.earlier_roots(leaves);
        self.seen += leaves.width as u64;
        self.differs |= leaves.stored.is_some();
        if leaves.width < 256 {
            for at in 0..leaves.width {
                let best = leaves.best(at);
                self.tail.push(best);
                self.stored.push(0, leaves.other(at).or(best));
            }
            return Ok(());
        }
        let stored = leaves.stored.as_deref().map(tile_root);
        let computed = leaves.root.or_else(|| {
            let all: Option<Vec<_>> = (0..leaves.width).map(|at| leaves.best(at)).collect();
            Some(tile_root(&all?))
        });
        let stored = stored.filter(|stored| computed != Some(*stored));
        self.up(1, Node { computed, stored })
    }

    fn earlier_roots(&mut self, leaves: &Leaves) {
        let mut earlier = std::mem::take(&mut self.earlier);
        for (size, root) in &mut earlier {
            let here = size.checked_sub(self.seen);
            let Some(at) = here.filter(|at| (1..=leaves.width as u64).contains(at)) else {
                continue;
            };
            let mut frontier = self.frontier();
            for at in 0..at as usize {
                frontier.push(0, leaves.best(at));
            }
            *root = frontier.root();
        }
        self.earlier = earlier;
    }

    /// The root at one of the earlier sizes, as it was recomputed.
    pub(crate) fn root_at(&self, size: u64) -> Option<Hash> {
        let found = self.earlier.iter().find(|(at, _)| *at == size)?;
        found.1
    }

    /// Adds a node to the tile of `level` that is being filled; a full one is checked at once.
    fn up(&mut self, level: u8, node: Node) -> Result<(), VerifyError> {
        if level == 1 {
            self.stored.push(8, node.stored.or(node.computed));
        }
        let at = usize::from(level) - 1;
        if self.levels.len() <= at {
            self.levels.push(Level {
                index: 0,
                nodes: Vec::with_capacity(256),
            });
        }
        self.levels[at].nodes.push(node);
        if self.levels[at].nodes.len() == 256 {
            let parent = self.tile(level)?;
            let full = &mut self.levels[at];
            full.nodes.clear();
            full.index += 1;
            self.up(level + 1, parent)?;
        }
        Ok(())
    }

    /// The right edge as recomputed so far.
    fn frontier(&self) -> Frontier {
        let mut frontier = Frontier::default();
        for (below, level) in self.levels.iter().enumerate().rev() {
            for node in &level.nodes {
                frontier.push(8 * (below as u8 + 1), node.computed);
            }
        }
        for leaf in &self.tail {
            frontier.push(0, *leaf);
        }
        frontier
    }

    /// Holds the stored tile at `level` against what was recomputed. Where nothing could be, the
    /// stored hash stands in: its absence below is a failure already, and the root is still checked.
    fn tile(&mut self, level: u8) -> Result<Node, VerifyError> {
        let at = usize::from(level) - 1;
        let index = self.levels[at].index;
        let mut nodes = std::mem::take(&mut self.levels[at].nodes);
        let Some(tile) = TileId::in_tree(TileLevel::Hashes(level), index, TreeSize(self.size))
        else {
            return Ok(Node {
                computed: None,
                stored: None,
            });
        };
        let path = tile.path();
        let found = paths::read(self.source, tile, MAX_TILE_BYTES, &mut self.buffer)?;
        self.files += u64::from(found);
        let held = self.held(found, &path, nodes.len());
        for (at, (node, held)) in nodes.iter_mut().zip(held.iter().flatten()).enumerate() {
            self.node(level, &path, index * 256 + at as u64, *node, *held);
            node.computed = node.computed.or(Some(*held));
        }
        let computed: Option<Vec<Hash>> = nodes.iter().map(|node| node.computed).collect();
        let computed = computed.as_deref().map(tile_root);
        let stored = held
            .as_deref()
            .map(tile_root)
            .filter(|stored| computed != Some(*stored));
        self.levels[at].nodes = nodes;
        Ok(Node { computed, stored })
    }

    /// The hashes in the buffer, if it has as many as the tile must have.
    fn held(&mut self, found: bool, path: &str, width: usize) -> Option<Vec<Hash>> {
        if !found {
            self.failures.push(missing(path));
            return None;
        }
        if self.buffer.len() != width * 32 {
            self.failures
                .push(wrong_length(path, width, self.buffer.len()));
            return None;
        }
        Some(hashes(&self.buffer).collect())
    }

    fn node(&mut self, level: u8, path: &str, index: u64, node: Node, held: Hash) {
        let at = index % 256;
        let child = TileId::in_tree(TileLevel::Hashes(level - 1), index, TreeSize(self.size))
            .map(TileId::path)
            .unwrap_or_default();
        if node.computed == Some(held) {
            if node.stored.is_some() {
                self.conclude(format!(
                    "{path} agrees with what lies below {child}: the file {child} was changed"
                ));
            }
        } else if node.stored == Some(held) {
            self.conclude(format!(
                "{path} agrees with {child}: what lies below it was changed"
            ));
        } else if let Some(computed) = node.computed {
            let span = 1_u64 << (8 * u32::from(level));
            let first = index * span;
            self.failures.push(
                Failure::new(
                    Check::Tile,
                    format!(
                        "hash {computed} at position {at}: what entries {first} to {} hash to",
                        first + span - 1
                    ),
                    held.to_string(),
                )
                .path(path),
            );
        }
    }

    fn conclude(&mut self, sentence: String) {
        if self.conclusions.len() < MAX_CONCLUSIONS {
            self.conclusions.push(sentence);
        }
    }

    /// Checks the partial tiles at the right edge and the root.
    pub(crate) fn finish(&mut self, signed: Hash) -> Result<(), VerifyError> {
        for level in 1..=self.levels.len() as u8 {
            if !self.levels[usize::from(level) - 1].nodes.is_empty() {
                self.tile(level)?;
            }
        }
        let computed = if self.size == 0 {
            Some(tlog::empty_root())
        } else {
            self.frontier().root()
        };
        if computed != Some(signed) {
            self.failures.push(Failure::new(
                Check::Root,
                format!("{signed}, the signed root of {} entries", self.size),
                match computed {
                    Some(root) => format!("{root}, what the entries hash to"),
                    None => "no root: entries and tiles that it needs are missing".to_owned(),
                },
            ));
        }
        if self.differs || computed != Some(signed) {
            self.conclude_on_root(computed, signed);
        }
        Ok(())
    }

    fn conclude_on_root(&mut self, computed: Option<Hash>, signed: Hash) {
        let stored = self.stored.root();
        self.conclude(
            match (computed == Some(signed), stored == Some(signed)) {
                (true, true) => {
                    "what can be read of entries and level-0 tiles gives the signed root: only the \
                     files named here were changed"
                }
                (true, false) => {
                    "the entries give the signed root, the level-0 tiles do not: tiles were changed"
                }
                (false, true) => {
                    "the level-0 tiles give the signed root, the entries do not: entries were changed"
                }
                (false, false) if self.differs => {
                    "neither the entries nor the level-0 tiles give the signed root: both were changed"
                }
                (false, false) => {
                    "entries and level-0 tiles agree, and neither give the signed root: both were \
                     changed alike, or the checkpoint is another log's; which records, only an older \
                     copy or a stream's chain can tell"
                }
            }
            .to_owned(),
        );
    }
}

/// The hashes of a tile file.
pub(crate) fn hashes(bytes: &[u8]) -> impl Iterator<Item = Hash> {
    bytes
        .as_chunks::<32>()
        .0
        .iter()
        .map(|hash| Hash::from(*hash))
}

pub(crate) fn missing(path: &str) -> Failure {
    Failure::new(Check::MissingFile, "a file", "none").path(path)
}

pub(crate) fn wrong_length(path: &str, width: usize, found: usize) -> Failure {
    let found = if found > MAX_TILE_BYTES {
        "more bytes".to_owned()
    } else {
        format!("{found} bytes")
    };
    Failure::new(
        Check::Tile,
        format!("{} bytes: {width} hashes", width * 32),
        found,
    )
    .path(path)
}
