//! The right edge of the log's tiles: what is needed to append and to know the next root.
//!
//! Kept level by level as the partial tiles are, so that every round can write them as they stand.

use store::ObjectStore;
use tlog::{Hash, HashTile, LeafIndex, TileId, TileLevel, TreeSize};

use crate::LedgerError;

const TILE_WIDTH: usize = 256;

/// The tiles' right edge at some size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edge {
    size: u64,
    /// The hashes of each level's partial tile, fewer than 256; level 0 holds leaf hashes.
    levels: Vec<Vec<Hash>>,
}

/// Full tiles that an append completed, and after it the partial ones.
pub(crate) type Tiles = Vec<(TileId, Vec<u8>)>;

impl Edge {
    /// The edge of a published tree, read from its tiles.
    ///
    /// # Errors
    /// A tile is missing or malformed, or the tiles do not hash to `root`.
    pub(crate) fn load(
        objects: &dyn ObjectStore,
        size: u64,
        root: &Hash,
    ) -> Result<Self, LedgerError> {
        let mut levels = Vec::new();
        let mut items = size;
        for level in 0_u8.. {
            if items == 0 {
                break;
            }
            let width = items % TILE_WIDTH as u64;
            levels.push(if width == 0 {
                Vec::new()
            } else {
                let id = TileId::new(
                    TileLevel::Hashes(level),
                    items / TILE_WIDTH as u64,
                    width as u16,
                )
                .map_err(|e| LedgerError::corrupt("the tree's edge", e))?;
                read_tile(objects, id)?
                    .hashes()
                    .get(..width as usize)
                    .unwrap_or_default()
                    .to_vec()
            });
            items /= TILE_WIDTH as u64;
        }
        let edge = Self { size, levels };
        if edge.root() != *root {
            return Err(LedgerError::corrupt(
                "the log",
                format!(
                    "its tiles hash to {}, its checkpoint says {root}",
                    edge.root()
                ),
            ));
        }
        Ok(edge)
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The root (RFC 6962, section 2.1): each level's tile hashed with what is below it on the right.
    pub(crate) fn root(&self) -> Hash {
        let mut below: Option<Hash> = None;
        for level in &self.levels {
            let mut hashes = level.clone();
            hashes.extend(below);
            if !hashes.is_empty() {
                below = Some(tlog::tile_root(&hashes));
            }
        }
        below.unwrap_or_else(tlog::empty_root)
    }

    /// Appends leaves, and gives the tiles that are full or partial at the new size and were not so
    /// before.
    pub(crate) fn extend(
        &mut self,
        leaves: impl Iterator<Item = Hash>,
    ) -> Result<Tiles, LedgerError> {
        let before = TreeSize(self.size);
        let mut tiles = Tiles::new();
        for leaf in leaves {
            self.push(leaf, &mut tiles)?;
        }
        for id in tlog::tile::tiles_between(before, TreeSize(self.size)) {
            if let (TileLevel::Hashes(level), true) = (id.level(), id.is_partial()) {
                let hashes = self
                    .levels
                    .get(usize::from(level))
                    .map_or(&[][..], Vec::as_slice);
                tiles.push((id, tile_bytes(hashes)));
            }
        }
        Ok(tiles)
    }

    fn push(&mut self, leaf: Hash, tiles: &mut Tiles) -> Result<(), LedgerError> {
        let index = self.size;
        self.size += 1;
        let mut hash = leaf;
        let mut item = index;
        for level in 0.. {
            if self.levels.len() <= level {
                self.levels.push(Vec::with_capacity(TILE_WIDTH));
            }
            self.levels[level].push(hash);
            if self.levels[level].len() < TILE_WIDTH {
                break;
            }
            item /= TILE_WIDTH as u64;
            let id = TileId::new(TileLevel::Hashes(level as u8), item, TILE_WIDTH as u16)
                .map_err(|e| LedgerError::corrupt("the tree", e))?;
            tiles.push((id, tile_bytes(&self.levels[level])));
            hash = tlog::tile_root(&self.levels[level]);
            self.levels[level].clear();
        }
        Ok(())
    }
}

fn tile_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Where a tile lies among the ledger's objects.
pub(crate) fn key(id: TileId) -> String {
    format!("log/{}", id.path())
}

/// Where the sealed values of an entry bundle lie.
pub(crate) fn sealed_key(id: TileId) -> String {
    id.path().replacen("tile/entries/", "sealed/", 1)
}

/// A tile, or the full one that took its place.
pub(crate) fn read_tile(objects: &dyn ObjectStore, id: TileId) -> Result<HashTile, LedgerError> {
    for id in [id, id.full()] {
        if let Some(bytes) = objects.get(&key(id))? {
            return HashTile::parse(&bytes, id.width())
                .map_err(|e| LedgerError::corrupt(id.path(), e));
        }
    }
    Err(LedgerError::corrupt(id.path(), "it is missing"))
}

/// An entry bundle, or the full one that took its place, and how many entries it has.
pub(crate) fn read_entries(
    objects: &dyn ObjectStore,
    bundle: u64,
    size: u64,
) -> Result<(Vec<u8>, u16), LedgerError> {
    let id = entries_id(bundle, size)?;
    for id in [id, id.full()] {
        if let Some(bytes) = objects.get(&key(id))? {
            return Ok((bytes, id.width()));
        }
    }
    Err(LedgerError::corrupt(id.path(), "it is missing"))
}

/// The sealed values beside an entry bundle; `None` where none of its records seals anything.
pub(crate) fn read_sealed(
    objects: &dyn ObjectStore,
    bundle: u64,
    size: u64,
) -> Result<Option<(Vec<u8>, u16)>, LedgerError> {
    let id = entries_id(bundle, size)?;
    for id in [id, id.full()] {
        if let Some(bytes) = objects.get(&sealed_key(id))? {
            return Ok(Some((bytes, id.width())));
        }
    }
    Ok(None)
}

pub(crate) fn entries_id(bundle: u64, size: u64) -> Result<TileId, LedgerError> {
    TileId::entries(bundle, TreeSize(size)).ok_or_else(|| {
        LedgerError::corrupt("the log", format!("{size} records, no bundle {bundle}"))
    })
}

/// The bundle that holds the record at `index`, and the record's place in it.
pub(crate) fn locate(index: LeafIndex) -> (u64, usize) {
    (
        index.0 / TILE_WIDTH as u64,
        (index.0 % TILE_WIDTH as u64) as usize,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_those_of_the_other_implementation() {
        let mut edge = Edge::default();
        let mut oracle = tlog::Frontier::new();
        assert_eq!(edge.root(), oracle.root());
        for n in 0_u32..70_000 {
            let leaf = tlog::leaf_hash(&n.to_be_bytes());
            edge.extend(std::iter::once(leaf)).unwrap();
            oracle.push(leaf).unwrap();
            // Around tile boundaries, and now and then.
            if n % 256 < 2 || n % 256 > 253 || n % 97 == 0 || n > 65_500 && n < 65_600 {
                assert_eq!(edge.root(), oracle.root(), "size {}", n + 1);
            }
        }
    }

    #[test]
    fn an_append_gives_the_tiles_that_the_specification_lists() {
        let leaves = |range: std::ops::Range<u32>| range.map(|n| tlog::leaf_hash(&n.to_be_bytes()));
        let mut edge = Edge::default();
        edge.extend(leaves(0..300)).unwrap();
        let tiles = edge.extend(leaves(300..70_000)).unwrap();
        let mut seen: Vec<String> = tiles.iter().map(|(id, _)| id.path()).collect();
        let mut expected: Vec<String> = tlog::tile::tiles_between(TreeSize(300), TreeSize(70_000))
            .filter(|id| matches!(id.level(), TileLevel::Hashes(_)))
            .map(TileId::path)
            .collect();
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected);
        for (id, bytes) in tiles {
            assert_eq!(bytes.len(), usize::from(id.width()) * 32, "{}", id.path());
        }
    }
}
