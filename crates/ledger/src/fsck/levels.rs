//! The hashes of a tree above its leaves, and the tiles they make.

use tlog::{Hash, TileId, TileLevel, tile_root};

const WIDTH: usize = 256;

/// A tree's hashes from level 1 up, and the leaves of its last, partial tile.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    tail: Vec<Hash>,
    /// `upper[0]` is level 1: the roots of full leaf tiles.
    upper: Vec<Vec<Hash>>,
}

impl Levels {
    /// From the roots of all full leaf tiles and the leaves that follow them, fewer than 256.
    pub(super) fn new(roots: Vec<Hash>, tail: Vec<Hash>) -> Self {
        let mut upper = Vec::new();
        let mut level = roots;
        while !level.is_empty() {
            let (full, _) = level.as_chunks::<WIDTH>();
            let next = full.iter().map(|tile| tile_root(tile)).collect();
            upper.push(std::mem::replace(&mut level, next));
        }
        Self { tail, upper }
    }

    /// The tree of these and `leaves` more.
    pub(super) fn extended(&self, leaves: impl IntoIterator<Item = Hash>) -> Self {
        let mut roots = self.upper.first().cloned().unwrap_or_default();
        let mut tail = self.tail.clone();
        for leaf in leaves {
            tail.push(leaf);
            if tail.len() == WIDTH {
                roots.push(tile_root(&tail));
                tail.clear();
            }
        }
        Self::new(roots, tail)
    }

    /// The root (RFC 6962, section 2.1).
    pub(super) fn root(&self) -> Hash {
        let mut below: Option<Hash> = None;
        let levels = std::iter::once(&self.tail).chain(&self.upper);
        for level in levels {
            let mut hashes = level.as_chunks::<WIDTH>().1.to_vec();
            hashes.extend(below);
            if !hashes.is_empty() {
                below = Some(tile_root(&hashes));
            }
        }
        below.unwrap_or_else(tlog::empty_root)
    }

    /// The bytes of a tile of level 1 or above, or of the partial leaf tile; `None` where the tree has none of this
    /// width. Full leaf tiles come from their entries.
    pub(super) fn tile(&self, id: TileId) -> Option<Vec<u8>> {
        let TileLevel::Hashes(level) = id.level() else {
            return None;
        };
        let first = usize::try_from(id.index()).ok()?.checked_mul(WIDTH)?;
        let hashes = match level.checked_sub(1) {
            Some(above) => self.upper.get(usize::from(above))?.get(first..)?,
            None if first == self.upper.first().map_or(0, Vec::len) * WIDTH => &self.tail,
            None => return None,
        };
        let hashes = hashes.get(..usize::from(id.width()))?;
        Some(hashes.iter().flat_map(|hash| *hash.as_bytes()).collect())
    }

    /// The hash above the full leaf tile `index`.
    pub(super) fn above(&self, index: u64) -> Option<Hash> {
        self.upper
            .first()?
            .get(usize::try_from(index).ok()?)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_those_of_the_other_implementation() {
        let leaf = |n: u32| tlog::leaf_hash(&n.to_be_bytes());
        for size in [0_u32, 1, 255, 256, 257, 700, 65_535, 65_536, 65_537, 70_000] {
            let mut oracle = tlog::Frontier::new();
            (0..size).for_each(|n| oracle.push(leaf(n)).unwrap());
            let half = Levels::new(Vec::new(), Vec::new()).extended((0..size / 2).map(leaf));
            let whole = half.extended((size / 2..size).map(leaf));
            assert_eq!(whole.root(), oracle.root(), "size {size}");
        }
    }
}
