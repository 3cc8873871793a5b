//! The right edge of a growing tree: all that is needed to append and to know the root.
//!
//! A frontier holds one hash for each perfect subtree of the tree, at most 64. It cannot prove
//! anything; proofs come from tiles ([`crate::reader`]).

use crate::hash::{Hash, empty_root, node_hash};
use crate::reader::{HashReader, ReadError, Tiles};
use crate::tree::TreeSize;

/// Size and root of a tree, and how both change as it grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// One hash for each bit set in `size`, largest subtree first.
    peaks: Vec<Hash>,
}

/// A frontier cannot be built or cannot grow that way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// A subtree that does not start at a multiple of its own size.
    #[error("a subtree of 2^{height} leaves cannot be appended to a tree of {size}")]
    Unaligned {
        /// Height of the subtree.
        height: u8,
        /// Size of the tree.
        size: u64,
    },
    /// More leaves than can be counted.
    #[error("a tree of {size} leaves cannot grow by 2^{height}")]
    Full {
        /// Height of the subtree.
        height: u8,
        /// Size of the tree.
        size: u64,
    },
    /// Another number of hashes than the size calls for.
    #[error("the right edge of a tree of {size} leaves has {expected} hashes, not {seen}")]
    PeakCount {
        /// Size of the tree.
        size: u64,
        /// The number of bits set in the size.
        expected: u32,
        /// The number of hashes given.
        seen: usize,
    },
}

impl Frontier {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// A frontier as [`Frontier::peaks`] gave it.
    ///
    /// # Errors
    /// [`FrontierError::PeakCount`] unless there is one hash for each bit set in `size`.
    pub fn from_peaks(size: TreeSize, peaks: Vec<Hash>) -> Result<Self, FrontierError> {
        let expected = size.0.count_ones();
        if peaks.len() != expected as usize {
            return Err(FrontierError::PeakCount {
                size: size.0,
                expected,
                seen: peaks.len(),
            });
        }
        Ok(Self {
            size: size.0,
            peaks,
        })
    }

    /// The frontier of a published tree, from its tiles. Reads one tile a level.
    ///
    /// Compare [`Frontier::root`] with the signed root before trusting it.
    ///
    /// # Errors
    /// The reader's, and [`ReadError::Narrow`] for a tile too narrow.
    pub fn from_tiles<R: HashReader>(
        reader: &R,
        size: TreeSize,
    ) -> Result<Self, ReadError<R::Error>> {
        let mut tiles = Tiles::new(reader, size);
        let mut peaks = Vec::with_capacity(64);
        let mut start = 0;
        while start < size.0 {
            let end = start + (1 << (size.0 - start).ilog2());
            peaks.push(tiles.range(start, end)?);
            start = end;
        }
        Ok(Self {
            size: size.0,
            peaks,
        })
    }

    /// The number of leaves.
    pub const fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// The hashes of the perfect subtrees, largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// The root (RFC 6962, section 2.1).
    pub fn root(&self) -> Hash {
        let from_right = |right: Hash, left: &Hash| node_hash(left, &right);
        match self.peaks.split_last() {
            Some((last, rest)) => rest.iter().rev().fold(*last, from_right),
            None => empty_root(),
        }
    }

    /// Appends a leaf by its hash.
    ///
    /// # Errors
    /// [`FrontierError::Full`] at 2^64 − 1 leaves.
    pub fn push(&mut self, leaf: Hash) -> Result<(), FrontierError> {
        self.append_subtree(0, leaf)
    }

    /// Appends a full tile of `level` by its root: 256^(level + 1) leaves at once.
    ///
    /// # Errors
    /// As [`Frontier::append_subtree`].
    pub fn append_tile_root(&mut self, level: u8, root: Hash) -> Result<(), FrontierError> {
        self.append_subtree(level.saturating_add(1).saturating_mul(8), root)
    }

    /// Appends a perfect subtree of `2^height` leaves by its hash.
    ///
    /// # Errors
    /// [`FrontierError::Unaligned`], where the size is no multiple of the subtree's;
    /// [`FrontierError::Full`], where the size would pass 2^64 − 1. The frontier is then as before.
    pub fn append_subtree(&mut self, height: u8, hash: Hash) -> Result<(), FrontierError> {
        let full = FrontierError::Full {
            height,
            size: self.size,
        };
        let Some(added) = 1u64.checked_shl(height.into()) else {
            return Err(full);
        };
        if !self.size.is_multiple_of(added) {
            return Err(FrontierError::Unaligned {
                height,
                size: self.size,
            });
        }
        let size = self.size.checked_add(added).ok_or(full)?;
        let mut hash = hash;
        // Every bit the addition carries through is a pair of subtrees that has become one.
        for _ in 0..(self.size >> height).trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size = size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{leaf_hash, tile_root};
    use crate::reader::MemoryTree;

    fn leaves(n: u32) -> Vec<Hash> {
        (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    #[test]
    fn grows_leaf_by_leaf_to_the_tree_of_the_rfc() {
        let leaves = leaves(600);
        let mut frontier = Frontier::new();
        assert_eq!(frontier.root(), empty_root());
        for n in 1..=leaves.len() {
            frontier.push(leaves[n - 1]).unwrap();
            assert_eq!(frontier.root(), tile_root(&leaves[..n]), "{n} leaves");
            assert_eq!(frontier.size(), TreeSize(n as u64));
        }
    }

    #[test]
    fn takes_whole_tiles_and_is_recovered_from_tiles() {
        let leaves = leaves(256 * 256 + 256 * 3 + 17);
        let tree: MemoryTree = leaves.iter().copied().collect();
        let mut frontier = Frontier::new();
        for tile in leaves.chunks(256) {
            if tile.len() == 256 {
                frontier.append_tile_root(0, tile_root(tile)).unwrap();
            } else {
                for leaf in tile {
                    frontier.push(*leaf).unwrap();
                }
            }
        }
        assert_eq!(frontier.root(), tile_root(&leaves));
        assert_eq!(frontier.root(), tree.root());
        assert_eq!(
            Frontier::from_tiles(&tree, tree.size()),
            Ok(frontier.clone())
        );
        let again = Frontier::from_peaks(frontier.size(), frontier.peaks().to_vec());
        assert_eq!(again, Ok(frontier));
        for n in [0, 1, 255, 256, 257, 65_535, 65_536, 65_537] {
            let recovered = Frontier::from_tiles(&tree, TreeSize(n as u64)).unwrap();
            assert_eq!(recovered.root(), tile_root(&leaves[..n]), "{n} leaves");
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut frontier = Frontier::new();
        frontier.push(leaf_hash(b"a")).unwrap();
        let before = frontier.clone();
        let error = FrontierError::Unaligned { height: 8, size: 1 };
        assert_eq!(frontier.append_tile_root(0, leaf_hash(b"b")), Err(error));
        assert!(frontier.append_tile_root(7, leaf_hash(b"b")).is_err());
        assert!(frontier.append_subtree(255, leaf_hash(b"b")).is_err());
        assert_eq!(frontier, before);

        let full = Frontier::from_peaks(TreeSize(u64::MAX), vec![Hash::default(); 64]).unwrap();
        let error = FrontierError::Full {
            height: 0,
            size: u64::MAX,
        };
        assert_eq!(full.clone().push(leaf_hash(b"b")), Err(error));
        assert!(Frontier::from_peaks(TreeSize(3), vec![Hash::default()]).is_err());
    }
}
