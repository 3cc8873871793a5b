//! One proof for many leaves of one tree.
//!
//! A run's records are some thousands of leaves of a log of millions. One inclusion proof each
//! would repeat most hashes; a multiproof holds each at most once. It is the list of the hashes of
//! all maximal subtrees that contain none of the leaves, in left-to-right order, where subtrees are
//! those of RFC 6962, section 2.1: a tree of n leaves splits at the largest power of two below n.
//! Which subtrees these are follows from the size and the indices, so nothing else is stored.
//!
//! A proof of no leaves at all is the root itself (nothing, for the empty tree).

use crate::hash::{Hash, empty_root, node_hash};
use crate::reader::{HashReader, ReadError, Tiles};
use crate::tree::{LeafIndex, TreeSize, split};

/// Indices or hashes are not those of a multiproof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MultiproofError {
    /// Indices must rise strictly.
    #[error("leaf {seen} comes after leaf {before}: indices must rise")]
    Unsorted {
        /// The index before it.
        before: u64,
        /// The index that is not above it.
        seen: u64,
    },
    /// The tree has no such leaf.
    #[error("leaf {index} is not in a tree of {size} leaves")]
    IndexOutOfRange {
        /// The index seen.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The proof has a hash too few.
    #[error("the proof ends after {seen} hashes, more are needed")]
    TooShort {
        /// The number of hashes in the proof.
        seen: u64,
    },
    /// The proof has a hash too many.
    #[error("the proof goes on after the {expected} hashes needed")]
    TooLong {
        /// The number of hashes used.
        expected: u64,
    },
}

/// The multiproof for the leaves at `indices`, strictly rising, in the tree of `size` leaves.
///
/// # Errors
/// [`ReadError::Indices`] for indices unsorted or out of range; the reader's errors.
pub fn create<R: HashReader>(
    reader: &R,
    size: TreeSize,
    indices: impl IntoIterator<Item = LeafIndex>,
) -> Result<Vec<Hash>, ReadError<R::Error>> {
    let leaves = indices
        .into_iter()
        .map(|index| Ok::<_, ReadError<R::Error>>((index, ())));
    let mut leaves = Leaves::new(size, leaves)?;
    let mut tiles = Tiles::new(reader, size);
    let mut proof = Vec::new();
    if size.0 > 0 {
        collect(0, size.0, &mut tiles, &mut leaves, &mut proof)?;
    }
    Ok(proof)
}

fn collect<R, I>(
    start: u64,
    end: u64,
    tiles: &mut Tiles<'_, R>,
    leaves: &mut Leaves<I, ()>,
    proof: &mut Vec<Hash>,
) -> Result<(), ReadError<R::Error>>
where
    R: HashReader,
    I: Iterator<Item = Result<(LeafIndex, ()), ReadError<R::Error>>>,
{
    if !leaves.any_below(end) {
        proof.push(tiles.range(start, end)?);
        return Ok(());
    }
    if end - start == 1 {
        return leaves.take().map(|_| ());
    }
    let middle = start + split(end - start);
    collect(start, middle, tiles, leaves, proof)?;
    collect(middle, end, tiles, leaves, proof)
}

/// The root of the tree of `size` leaves that the leaves and the proof lead to. Compare it with a
/// signed root.
///
/// Leaves and hashes are taken one by one, in order; memory does not depend on how many there are.
///
/// # Errors
/// [`MultiproofError`]: indices that do not rise or are not in the tree, hashes missing or left
/// over.
pub fn root(
    size: TreeSize,
    leaves: impl IntoIterator<Item = (LeafIndex, Hash)>,
    proof: impl IntoIterator<Item = Hash>,
) -> Result<Hash, MultiproofError> {
    try_root(size, leaves.into_iter().map(Ok), proof.into_iter().map(Ok))
}

/// [`root`] for leaves and hashes whose reading can fail, as from a file.
///
/// # Errors
/// The first error of either iterator, or [`MultiproofError`] as in [`root`].
pub fn try_root<E: From<MultiproofError>>(
    size: TreeSize,
    leaves: impl IntoIterator<Item = Result<(LeafIndex, Hash), E>>,
    proof: impl IntoIterator<Item = Result<Hash, E>>,
) -> Result<Hash, E> {
    let mut leaves = Leaves::new(size, leaves.into_iter())?;
    let mut proof = Proof {
        hashes: proof.into_iter(),
        taken: 0,
    };
    // Every leaf is below the size, so the walk over the whole tree uses all of them.
    let root = match size.0 {
        0 => empty_root(),
        n => fold(0, n, &mut leaves, &mut proof)?,
    };
    proof.finish()?;
    Ok(root)
}

/// The hash of `[start, end)`. At most 64 deep, since each step halves the range.
fn fold<E, I, P>(
    start: u64,
    end: u64,
    leaves: &mut Leaves<I, Hash>,
    proof: &mut Proof<P>,
) -> Result<Hash, E>
where
    E: From<MultiproofError>,
    I: Iterator<Item = Result<(LeafIndex, Hash), E>>,
    P: Iterator<Item = Result<Hash, E>>,
{
    if !leaves.any_below(end) {
        return proof.take();
    }
    if end - start == 1 {
        return leaves.take()?.map_or_else(|| proof.take(), Ok);
    }
    let middle = start + split(end - start);
    let left = fold(start, middle, leaves, proof)?;
    let right = fold(middle, end, leaves, proof)?;
    Ok(node_hash(&left, &right))
}

/// Leaves in order, with a look at the next one.
struct Leaves<I, T> {
    size: u64,
    next: Option<(LeafIndex, T)>,
    rest: I,
}

impl<I, T> Leaves<I, T> {
    fn new<E>(size: TreeSize, rest: I) -> Result<Self, E>
    where
        E: From<MultiproofError>,
        I: Iterator<Item = Result<(LeafIndex, T), E>>,
    {
        let mut leaves = Self {
            size: size.0,
            next: None,
            rest,
        };
        leaves.take()?;
        Ok(leaves)
    }

    /// Whether the next leaf lies before `end`.
    fn any_below(&self, end: u64) -> bool {
        self.next.as_ref().is_some_and(|(index, _)| index.0 < end)
    }

    /// Takes the next leaf, and reads the one after it.
    fn take<E>(&mut self) -> Result<Option<T>, E>
    where
        E: From<MultiproofError>,
        I: Iterator<Item = Result<(LeafIndex, T), E>>,
    {
        let following = self.rest.next().transpose()?;
        if let Some((LeafIndex(seen), _)) = following {
            if let Some((LeafIndex(before), _)) = self.next
                && seen <= before
            {
                return Err(MultiproofError::Unsorted { before, seen }.into());
            }
            if seen >= self.size {
                let size = self.size;
                return Err(MultiproofError::IndexOutOfRange { index: seen, size }.into());
            }
        }
        Ok(std::mem::replace(&mut self.next, following).map(|(_, leaf)| leaf))
    }
}

/// The proof's hashes, counted.
struct Proof<P> {
    hashes: P,
    taken: u64,
}

impl<P> Proof<P> {
    fn take<E>(&mut self) -> Result<Hash, E>
    where
        E: From<MultiproofError>,
        P: Iterator<Item = Result<Hash, E>>,
    {
        let hash = self.hashes.next().transpose()?;
        let hash = hash.ok_or(MultiproofError::TooShort { seen: self.taken })?;
        self.taken += 1;
        Ok(hash)
    }

    fn finish<E>(&mut self) -> Result<(), E>
    where
        E: From<MultiproofError>,
        P: Iterator<Item = Result<Hash, E>>,
    {
        match self.hashes.next().transpose()? {
            None => Ok(()),
            Some(_) => Err(MultiproofError::TooLong {
                expected: self.taken,
            }
            .into()),
        }
    }
}
