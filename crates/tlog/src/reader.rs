//! Roots and proofs of a published tree, computed from its tiles.
//!
//! [`HashReader`] is the only way in: a directory, an object store, a cache or a test gives tiles,
//! and the functions here compute. They do not check the tiles; whoever does not trust their
//! origin verifies the result against a signed root with [`crate::proof`].

mod memory;
mod tiles;

pub use memory::MemoryTree;
pub(crate) use tiles::Tiles;

use crate::hash::{Hash, empty_root};
use crate::proof::ProofError;
use crate::tile::{HashTile, TileId};
use crate::tree::{LeafIndex, TreeSize, is_subtree};

/// Gives the hash tiles of one tree.
pub trait HashReader {
    /// Why a tile could not be given.
    type Error;

    /// The hash tile `id`, with at least `id.width()` hashes.
    ///
    /// Where `id` is partial and the log has removed that tile, the full tile in its place
    /// ([`TileId::full`]) will do: its first hashes are the same.
    ///
    /// # Errors
    /// Whatever keeps the reader from giving the tile.
    fn read_tile(&self, id: TileId) -> Result<HashTile, Self::Error>;
}

impl<R: HashReader + ?Sized> HashReader for &R {
    type Error = R::Error;

    fn read_tile(&self, id: TileId) -> Result<HashTile, Self::Error> {
        (**self).read_tile(id)
    }
}

/// A proof or root could not be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError<E> {
    /// The reader failed.
    #[error("cannot read {id}: {cause}")]
    Reader {
        /// The tile asked for.
        id: TileId,
        /// The reader's error.
        cause: E,
    },
    /// The reader gave a tile with too few hashes.
    #[error("{id} has {seen} hashes, expected {}", id.width())]
    Narrow {
        /// The tile asked for; its width is the number of hashes expected.
        id: TileId,
        /// The number of hashes in the tile given.
        seen: u16,
    },
    /// The tree has no such leaf, subtree or older size.
    #[error(transparent)]
    Range(#[from] ProofError),
    /// The indices for a multiproof are not as they must be.
    #[error(transparent)]
    Indices(#[from] crate::multiproof::MultiproofError),
}

/// The root of the tree of `size` leaves.
///
/// # Errors
/// [`ReadError::Reader`] and [`ReadError::Narrow`], where a tile is missing.
pub fn root<R: HashReader>(reader: &R, size: TreeSize) -> Result<Hash, ReadError<R::Error>> {
    if size.0 == 0 {
        return Ok(empty_root());
    }
    Tiles::new(reader, size).range(0, size.0)
}

/// The inclusion proof (RFC 6962, section 2.1.1) of a leaf in the tree of `size` leaves, from the
/// leaf's sibling to the root's child.
///
/// Reads the tiles above the leaf and those on the right edge: at most two a level.
///
/// # Errors
/// [`ReadError::Range`], where the tree has no such leaf; the reader's errors.
pub fn inclusion_proof<R: HashReader>(
    reader: &R,
    index: LeafIndex,
    size: TreeSize,
) -> Result<Vec<Hash>, ReadError<R::Error>> {
    if !size.contains(index) {
        return Err(ProofError::IndexOutOfRange {
            index: index.0,
            size: size.0,
        }
        .into());
    }
    Tiles::new(reader, size).prove(index.0, index.0 + 1)
}

/// The consistency proof (RFC 6962, section 2.1.2) from the tree of `old` leaves to that of `new`;
/// empty if they are equal or `old` is 0.
///
/// # Errors
/// [`ReadError::Range`], where `old` is above `new`; the reader's errors.
pub fn consistency_proof<R: HashReader>(
    reader: &R,
    old: TreeSize,
    new: TreeSize,
) -> Result<Vec<Hash>, ReadError<R::Error>> {
    if old > new {
        return Err(ProofError::Shrunk {
            old: old.0,
            new: new.0,
        }
        .into());
    }
    if old.0 == 0 {
        return Ok(Vec::new());
    }
    Tiles::new(reader, new).prove(0, old.0)
}

/// The proof that the subtree `[start, end)` belongs to the tree of `size` leaves
/// (draft-ietf-plants-merkle-tree-certs, subtree consistency proofs).
///
/// # Errors
/// [`ReadError::Range`], where this is no subtree of the tree; the reader's errors.
pub fn subtree_consistency_proof<R: HashReader>(
    reader: &R,
    start: LeafIndex,
    end: LeafIndex,
    size: TreeSize,
) -> Result<Vec<Hash>, ReadError<R::Error>> {
    check_subtree(start, end, size)?;
    Tiles::new(reader, size).prove(start.0, end.0)
}

/// The hash of the subtree `[start, end)` of the tree of `size` leaves.
///
/// # Errors
/// As [`subtree_consistency_proof`].
pub fn subtree_root<R: HashReader>(
    reader: &R,
    start: LeafIndex,
    end: LeafIndex,
    size: TreeSize,
) -> Result<Hash, ReadError<R::Error>> {
    check_subtree(start, end, size)?;
    Tiles::new(reader, size).range(start.0, end.0)
}

fn check_subtree(start: LeafIndex, end: LeafIndex, size: TreeSize) -> Result<(), ProofError> {
    let (start, end, size) = (start.0, end.0, size.0);
    if is_subtree(start, end) && end <= size {
        Ok(())
    } else {
        Err(ProofError::NotASubtree { start, end, size })
    }
}
