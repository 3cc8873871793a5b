//! The tiles of one tree, held while one proof is computed.

use super::{HashReader, ReadError};
use crate::hash::{Hash, node_hash, tile_root};
use crate::proof::ProofError;
use crate::tile::{HashTile, TileId, TileLevel};
use crate::tree::{TreeSize, split};
use std::ops::Range;

/// Hashes of subtrees of one tree, computed from its tiles.
///
/// Two tiles a level are kept: a proof needs the one above its leaf and the one on the right edge,
/// a multiproof goes from left to right. So memory is bounded whatever the size of the tree.
pub(crate) struct Tiles<'a, R> {
    reader: &'a R,
    size: TreeSize,
    kept: [[Option<(u64, HashTile)>; 2]; 8],
}

impl<'a, R: HashReader> Tiles<'a, R> {
    pub(crate) fn new(reader: &'a R, size: TreeSize) -> Self {
        Self {
            reader,
            size,
            kept: Default::default(),
        }
    }

    /// The hash of `[start, end)`, which must be a subtree of the tree.
    pub(crate) fn range(&mut self, start: u64, end: u64) -> Result<Hash, ReadError<R::Error>> {
        let length = end - start;
        if length.is_power_of_two() {
            return self.perfect(start, length.trailing_zeros());
        }
        let middle = start + split(length);
        let left = self.range(start, middle)?;
        Ok(node_hash(&left, &self.range(middle, end)?))
    }

    /// The hashes that lead from the subtree `[start, end)` to the root.
    pub(super) fn prove(&mut self, start: u64, end: u64) -> Result<Vec<Hash>, ReadError<R::Error>> {
        let mut proof = Vec::new();
        self.path(0..self.size.0, start, end, true, &mut proof)?;
        Ok(proof)
    }

    /// The hashes that lead from the subtree `[start, end)` to the root of `tree`; the subtree's
    /// own hash among them, unless the verifier has it (`known`).
    fn path(
        &mut self,
        tree: Range<u64>,
        start: u64,
        end: u64,
        known: bool,
        proof: &mut Vec<Hash>,
    ) -> Result<(), ReadError<R::Error>> {
        if start == tree.start && end == tree.end {
            if !known {
                proof.push(self.range(start, end)?);
            }
            return Ok(());
        }
        let middle = tree.start + split(tree.end - tree.start);
        if end <= middle {
            self.path(tree.start..middle, start, end, known, proof)?;
            proof.push(self.range(middle, tree.end)?);
        } else {
            // A subtree that crosses the middle starts where the tree does, so all that is left of
            // the middle is one hash, and the rest has to be led up. The verifier lacks that rest.
            let crosses = start < middle;
            let (from, known) = if crosses {
                (middle, false)
            } else {
                (start, known)
            };
            self.path(middle..tree.end, from, end, known, proof)?;
            proof.push(self.range(tree.start, middle)?);
        }
        Ok(())
    }

    /// The hash of the `2^height` leaves from `start`, a multiple of that.
    fn perfect(&mut self, start: u64, height: u32) -> Result<Hash, ReadError<R::Error>> {
        let level = height / 8;
        let first = start >> (8 * level);
        let from = (first % 256) as usize;
        let tile = self.tile(level as usize, first / 256)?;
        Ok(tile_root(&tile.hashes()[from..from + (1 << (height % 8))]))
    }

    fn tile(&mut self, level: usize, index: u64) -> Result<HashTile, ReadError<R::Error>> {
        let [recent, older] = &mut self.kept[level];
        if older.as_ref().is_some_and(|(at, _)| *at == index) {
            std::mem::swap(recent, older);
        }
        if let Some((at, tile)) = recent
            && *at == index
        {
            return Ok(tile.clone());
        }
        let id = TileId::in_tree(TileLevel::Hashes(level as u8), index, self.size).ok_or(
            ProofError::IndexOutOfRange {
                index,
                size: self.size.0,
            },
        )?;
        let tile = self
            .reader
            .read_tile(id)
            .map_err(|cause| ReadError::Reader { id, cause })?;
        if tile.width() < id.width() {
            return Err(ReadError::Narrow {
                id,
                seen: tile.width(),
            });
        }
        *older = recent.replace((index, tile.clone()));
        Ok(tile)
    }
}
