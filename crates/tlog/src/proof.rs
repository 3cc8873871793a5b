//! Verifying inclusion and consistency, of trees and of subtrees.
//!
//! Trees are those of RFC 6962, section 2.1; subtrees are those of
//! draft-ietf-plants-merkle-tree-certs. All four proofs are one: it leads from a subtree (a leaf,
//! an older tree) to the root. Verification is strict: a hash too many or too few is an error.
//! Proofs are made in [`crate::reader`].

use crate::hash::{Hash, empty_root, node_hash};
use crate::tree::{LeafIndex, TreeSize, is_subtree, split};

/// A proof does not prove what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The tree has no such leaf.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    IndexOutOfRange {
        /// The index asked for.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The newer tree is the smaller one.
    #[error("a tree of {old} leaves cannot be the beginning of one of {new}")]
    Shrunk {
        /// Size of the older tree.
        old: u64,
        /// Size of the newer tree.
        new: u64,
    },
    /// Every tree begins with the empty one, so there is nothing to prove.
    #[error("consistency with an empty tree proves nothing; check the old size first")]
    OldEmpty,
    /// The range is no subtree of the tree.
    #[error("leaves {start} to {end} are no subtree of a tree of {size} leaves")]
    NotASubtree {
        /// Index of the first leaf.
        start: u64,
        /// Index after the last leaf.
        end: u64,
        /// Size of the tree.
        size: u64,
    },
    /// Hashes are missing.
    #[error("the proof is too short with {seen} hashes")]
    TooShort {
        /// The number of hashes in the proof.
        seen: usize,
    },
    /// Hashes are left over.
    #[error("the proof is too long with {seen} hashes, expected {expected}")]
    TooLong {
        /// The number of hashes in the proof.
        seen: usize,
        /// The number of hashes used.
        expected: usize,
    },
    /// The proof leads to another root.
    #[error("the proof leads to root {seen}, expected {expected}")]
    RootMismatch {
        /// The root computed from the proof.
        seen: Hash,
        /// The root given.
        expected: Hash,
    },
    /// The proof starts from another subtree or older tree.
    #[error("the proof is about a subtree or older tree with root {seen}, expected {expected}")]
    SubtreeMismatch {
        /// The root computed from the proof.
        seen: Hash,
        /// The root given.
        expected: Hash,
    },
}

/// The root to which an inclusion proof (RFC 6962, section 2.1.1) leads.
///
/// # Errors
/// [`ProofError::IndexOutOfRange`], [`ProofError::TooShort`], [`ProofError::TooLong`].
pub fn inclusion_root(
    index: LeafIndex,
    size: TreeSize,
    leaf: &Hash,
    proof: &[Hash],
) -> Result<Hash, ProofError> {
    if !size.contains(index) {
        return Err(ProofError::IndexOutOfRange {
            index: index.0,
            size: size.0,
        });
    }
    lead(index.0, index.0 + 1, size.0, leaf, proof).map(|(_, root)| root)
}

/// Checks that `leaf` is the hash of the leaf at `index` in the tree of `size` leaves with `root`.
///
/// # Errors
/// As [`inclusion_root`], and [`ProofError::RootMismatch`].
pub fn verify_inclusion(
    index: LeafIndex,
    size: TreeSize,
    leaf: &Hash,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    expect_root(inclusion_root(index, size, leaf, proof)?, root)
}

/// Checks that the tree of `old` leaves is the beginning of the tree of `new` leaves (RFC 6962,
/// section 2.1.2).
///
/// # Errors
/// [`ProofError::OldEmpty`] for `old` 0, [`ProofError::Shrunk`], a proof of the wrong length,
/// [`ProofError::SubtreeMismatch`] for the old root and [`ProofError::RootMismatch`] for the new.
pub fn verify_consistency(
    old: TreeSize,
    new: TreeSize,
    old_root: &Hash,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Shrunk {
            old: old.0,
            new: new.0,
        });
    }
    if old.0 == 0 {
        return Err(ProofError::OldEmpty);
    }
    let (old_seen, new_seen) = lead(0, old.0, new.0, old_root, proof)?;
    expect_subtree(old_seen, old_root)?;
    expect_root(new_seen, new_root)
}

/// Checks that `leaf` is the hash of the leaf at `index` in the subtree `[start, end)` whose hash
/// is `root`.
///
/// # Errors
/// [`ProofError::NotASubtree`], and those of [`verify_inclusion`].
pub fn verify_subtree_inclusion(
    index: LeafIndex,
    start: LeafIndex,
    end: LeafIndex,
    leaf: &Hash,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    let (start, end) = (start.0, end.0);
    if !is_subtree(start, end) {
        return Err(ProofError::NotASubtree {
            start,
            end,
            size: end,
        });
    }
    if index.0 < start || index.0 >= end {
        return Err(ProofError::IndexOutOfRange {
            index: index.0,
            size: end,
        });
    }
    verify_inclusion(
        LeafIndex(index.0 - start),
        TreeSize(end - start),
        leaf,
        root,
        proof,
    )
}

/// Checks that the subtree `[start, end)` with hash `subtree_root` belongs to the tree of `size`
/// leaves with `root`.
///
/// An empty range (`start` = `end`) belongs to every tree that reaches it, whatever its root, if
/// its hash is [`empty_root`] and the proof is empty.
///
/// # Errors
/// [`ProofError::NotASubtree`], a proof of the wrong length, [`ProofError::SubtreeMismatch`],
/// [`ProofError::RootMismatch`].
pub fn verify_subtree_consistency(
    start: LeafIndex,
    end: LeafIndex,
    size: TreeSize,
    subtree_root: &Hash,
    root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    let (start, end, size) = (start.0, end.0, size.0);
    if start == end && end <= size {
        expect_subtree(empty_root(), subtree_root)?;
        return match proof.len() {
            0 => Ok(()),
            seen => Err(ProofError::TooLong { seen, expected: 0 }),
        };
    }
    if !is_subtree(start, end) || end > size {
        return Err(ProofError::NotASubtree { start, end, size });
    }
    let (subtree_seen, root_seen) = lead(start, end, size, subtree_root, proof)?;
    expect_subtree(subtree_seen, subtree_root)?;
    expect_root(root_seen, root)
}

fn expect_root(seen: Hash, expected: &Hash) -> Result<(), ProofError> {
    if seen == *expected {
        Ok(())
    } else {
        Err(ProofError::RootMismatch {
            seen,
            expected: *expected,
        })
    }
}

fn expect_subtree(seen: Hash, expected: &Hash) -> Result<(), ProofError> {
    if seen == *expected {
        Ok(())
    } else {
        Err(ProofError::SubtreeMismatch {
            seen,
            expected: *expected,
        })
    }
}

/// Leads from the subtree `[start, end)` up to the root of the tree of `size` leaves. Returns both
/// hashes as the proof has them.
fn lead(
    start: u64,
    end: u64,
    size: u64,
    subtree: &Hash,
    proof: &[Hash],
) -> Result<(Hash, Hash), ProofError> {
    let mut hashes = proof.iter();
    let result = climb(start, end, size, Some(*subtree), &mut hashes)
        .ok_or(ProofError::TooShort { seen: proof.len() })?;
    match hashes.len() {
        0 => Ok(result),
        left => Err(ProofError::TooLong {
            seen: proof.len(),
            expected: proof.len() - left,
        }),
    }
}

/// The mirror of `reader::Tiles::path`: the hashes of the subtree and of the tree of `size` leaves,
/// or `None` where the proof ends too early. At most 64 deep, since each step halves the tree.
fn climb<'a>(
    start: u64,
    end: u64,
    size: u64,
    known: Option<Hash>,
    proof: &mut impl Iterator<Item = &'a Hash>,
) -> Option<(Hash, Hash)> {
    if start == 0 && end == size {
        let hash = known.or_else(|| proof.next().copied())?;
        return Some((hash, hash));
    }
    let middle = split(size);
    if end <= middle {
        let (subtree, left) = climb(start, end, middle, known, proof)?;
        Some((subtree, node_hash(&left, proof.next()?)))
    } else if start >= middle {
        let (subtree, right) = climb(start - middle, end - middle, size - middle, known, proof)?;
        Some((subtree, node_hash(proof.next()?, &right)))
    } else {
        // The subtree is the whole left side and part of the right: its hash comes out of the
        // proof, and is compared with the one given at the end.
        let (subtree, right) = climb(0, end - middle, size - middle, None, proof)?;
        let left = proof.next()?;
        Some((node_hash(left, &subtree), node_hash(left, &right)))
    }
}
