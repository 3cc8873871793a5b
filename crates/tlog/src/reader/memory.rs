//! A tree held in memory.

use super::HashReader;
use crate::hash::{Hash, empty_root, tile_root};
use crate::tile::{HashTile, TileError, TileId, TileLevel};
use crate::tree::TreeSize;

/// A whole tree in memory, for tests, demonstrations and trees small enough.
///
/// Holds 32 bytes a leaf and one part in 255 more.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    /// The hashes of all tiles of a level, one after the other.
    levels: Vec<Vec<Hash>>,
}

impl MemoryTree {
    /// A tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let hashes = &mut self.levels[level];
            hashes.push(hash);
            if !hashes.len().is_multiple_of(256) {
                return;
            }
            hash = tile_root(&hashes[hashes.len() - 256..]);
        }
    }

    /// The number of leaves.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.levels.first().map_or(0, |leaves| leaves.len() as u64))
    }

    /// The root of the whole tree.
    pub fn root(&self) -> Hash {
        self.levels
            .first()
            .map_or_else(empty_root, |leaves| tile_root(leaves))
    }
}

impl FromIterator<Hash> for MemoryTree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut tree = Self::new();
        leaves.into_iter().for_each(|leaf| tree.push(leaf));
        tree
    }
}

impl HashReader for MemoryTree {
    type Error = TileError;

    fn read_tile(&self, id: TileId) -> Result<HashTile, TileError> {
        let find = || {
            let TileLevel::Hashes(level) = id.level() else {
                return None;
            };
            let first = usize::try_from(id.index()).ok()?.checked_mul(256)?;
            let end = first.checked_add(id.width().into())?;
            self.levels.get(usize::from(level))?.get(first..end)
        };
        HashTile::new(find().ok_or(TileError::Missing { id })?)
    }
}
