//! A reader that verifies what it reads, against checkpoints that it has checked for consistency.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use client::{Client, ClientError};
use tlog::reader::subtree_consistency_proof;
use tlog::{
    Checkpoint, EntryBundle, Hash, HashReader, HashTile, LeafIndex, Policy, ReadError, TileId,
    TileLevel, TlogProof,
};

use crate::outcome::Failure;
use crate::place::client_failure;

const BUNDLE: u64 = 256;

/// A log's tiles over HTTP. Full tiles above the leaves are kept: they never change, and each is in every proof of
/// 65,536 leaves and more. That they are true shows in the proofs made of them.
#[derive(Clone)]
pub(super) struct Tiles {
    client: Client,
    kept: Arc<Mutex<HashMap<TileId, HashTile>>>,
}

impl Tiles {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            kept: Arc::default(),
        }
    }

    /// The bytes of a tile, or of the full one that took its place.
    fn bytes(&self, id: TileId) -> Result<(Vec<u8>, TileId), Failure> {
        for id in [id, id.full()] {
            match self.client.tile(id) {
                Ok(bytes) => return Ok((bytes, id)),
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(client_failure(error)),
            }
        }
        Err(Failure::unavailable(format!("the log has no {id}")))
    }
}

fn is_missing(error: &ClientError) -> bool {
    error.problem().is_some_and(|problem| problem.status == 404)
}

impl HashReader for Tiles {
    type Error = Failure;

    fn read_tile(&self, id: TileId) -> Result<HashTile, Failure> {
        let keeps = !id.is_partial() && id.level() != TileLevel::Hashes(0);
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tile) = keeps.then(|| kept().get(&id).cloned()).flatten() {
            return Ok(tile);
        }
        let (bytes, found) = self.bytes(id)?;
        let tile = HashTile::parse(&bytes, found.width()).map_err(|e| failed(&e))?;
        if keeps {
            kept().insert(id, tile.clone());
        }
        Ok(tile)
    }
}

/// Something that could not be read, or not be read as what it should be.
pub(super) fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::unavailable(error)
}

/// What one read was found to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Verified {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// Why a read was not what the log has signed.
#[derive(Debug)]
pub(super) enum Bad {
    /// It is false.
    False(String),
    /// It could not be had.
    Unread(Failure),
}

impl From<Failure> for Bad {
    fn from(failure: Failure) -> Self {
        Self::Unread(failure)
    }
}

impl From<ReadError<Failure>> for Bad {
    fn from(error: ReadError<Failure>) -> Self {
        match error {
            ReadError::Reader { cause, .. } => Self::Unread(cause),
            other => Self::False(other.to_string()),
        }
    }
}

fn false_<E: std::fmt::Display>(error: E) -> Bad {
    Bad::False(error.to_string())
}

/// One reader.
pub(super) struct Reader {
    client: Client,
    tiles: Tiles,
    policy: Policy,
    latest: Checkpoint,
    /// As it was signed.
    note: String,
    /// How often the log had grown, and was shown to have done nothing else.
    pub(super) grown: u64,
}

impl Reader {
    /// A reader that trusts the checkpoint that is there now, if the policy does.
    pub(super) fn new(client: Client, tiles: Tiles, policy: Policy) -> Result<Self, Bad> {
        let note = client.checkpoint().map_err(client_failure)?;
        Ok(Self {
            client,
            tiles,
            latest: check(&note, &policy)?,
            note,
            policy,
            grown: 0,
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.latest.size.0
    }

    /// Looks whether there is a newer checkpoint, and takes it up.
    pub(super) fn refresh(&mut self) -> Result<(), Bad> {
        let note = self.client.checkpoint().map_err(client_failure)?;
        if note == self.note {
            return Ok(());
        }
        let newer = check(&note, &self.policy)?;
        self.advance(newer, note)
    }

    /// Takes up a checkpoint once it is shown that the log has only grown since the one before.
    fn advance(&mut self, new: Checkpoint, note: String) -> Result<(), Bad> {
        let old = &self.latest;
        if (new.size, new.root) != (old.size, old.root) {
            // A server may not go back, not even to something it has signed before.
            if new.size <= old.size {
                return Err(Bad::False(format!(
                    "the log had {} records and now has {} with another root",
                    old.size, new.size
                )));
            }
            if old.size.0 > 0 {
                let proof = tlog::consistency_proof(&self.tiles, old.size, new.size)?;
                tlog::proof::verify_consistency(old.size, new.size, &old.root, &new.root, &proof)
                    .map_err(false_)?;
            }
            self.grown += 1;
        }
        self.latest = new;
        self.note = note;
        Ok(())
    }

    /// Reads an entry bundle, and shows that the tree holds exactly its entries there.
    pub(super) fn bundle(&self, number: u64) -> Result<Verified, Bad> {
        let size = self.latest.size;
        let id = TileId::entries(number, size)
            .ok_or_else(|| Bad::False(format!("no bundle {number} in a log of {size}")))?;
        let (bytes, found) = self.tiles.bytes(id)?;
        let entries = EntryBundle::parse(&bytes, found.width()).map_err(false_)?;
        let entries = entries.get(..usize::from(id.width())).unwrap_or_default();
        let leaves: Vec<Hash> = entries.iter().map(|entry| tlog::leaf_hash(entry)).collect();
        let start = LeafIndex(number * BUNDLE);
        let end = LeafIndex(start.0 + leaves.len() as u64);
        let proof = subtree_consistency_proof(&self.tiles, start, end, size)?;
        tlog::proof::verify_subtree_consistency(
            start,
            end,
            size,
            &tlog::tile_root(&leaves),
            &self.latest.root,
            &proof,
        )
        .map_err(false_)?;
        Ok(Verified {
            records: leaves.len() as u64,
            bytes: bytes.len() as u64,
        })
    }

    /// Reads a record and the server's own proof of it, and checks that.
    pub(super) fn record(&mut self, index: u64) -> Result<Verified, Bad> {
        let record = self.client.record(index).map_err(client_failure)?;
        let proof = self.client.proof(index).map_err(client_failure)?;
        let bytes = record.record.get().as_bytes();
        let proof = TlogProof::parse(proof.as_bytes()).map_err(false_)?;
        if proof.index != LeafIndex(index) {
            return Err(Bad::False(format!(
                "the proof of record {index} is about record {}",
                proof.index
            )));
        }
        if proof.checkpoint != self.note {
            let newer = check(&proof.checkpoint, &self.policy)?;
            self.advance(newer, proof.checkpoint)?;
        }
        let leaf = tlog::leaf_hash(bytes);
        let (size, root) = (self.latest.size, &self.latest.root);
        tlog::proof::verify_inclusion(proof.index, size, &leaf, root, &proof.hashes)
            .map_err(false_)?;
        Ok(Verified {
            records: 1,
            bytes: bytes.len() as u64,
        })
    }
}

/// The checkpoint of a note that the policy accepts.
fn check(note: &str, policy: &Policy) -> Result<Checkpoint, Bad> {
    policy
        .check(note.as_bytes())
        .map(|verified| verified.checkpoint)
        .map_err(false_)
}
