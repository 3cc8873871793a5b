//! Whether everything that was acknowledged is in the log where the answer said, under a signed root.
//!
//! The leaf hashes are read from the level-0 tiles, from the first record of the load on; what lies before comes from
//! the tiles above as it stands. All of it has to hash to the root that the policy's keys have signed, so nothing is
//! taken on trust.

use client::Client;
use tlog::{Frontier, Hash, HashReader, HashTile, TileId, TileLevel, TreeSize};

use super::drive::{Ack, digest};
use super::host::Host;
use super::reader::{Tiles, failed};
use crate::outcome::Failure;
use crate::place::client_failure;

const TILE: u64 = 256;

/// What was found.
#[derive(Debug, Default, Clone)]
pub(super) struct Placed {
    pub(super) size: u64,
    /// Acknowledged records that are where they were said to be.
    pub(super) found: u64,
    /// And those that are not.
    pub(super) missing: u64,
    /// Why nothing of the log is to be trusted: then nothing was found.
    pub(super) untrusted: Option<String>,
}

/// Looks up `acks`, which are sorted by index.
pub(super) fn check(host: &Host, client: &Client, acks: &[Ack]) -> Result<Placed, Failure> {
    let note = client.checkpoint().map_err(client_failure)?;
    let checkpoint = match host.policy.check(note.as_bytes()) {
        Ok(verified) => verified.checkpoint,
        Err(error) => {
            return Ok(Placed {
                missing: acks.iter().map(|ack| ack.count).sum(),
                untrusted: Some(error.to_string()),
                ..Placed::default()
            });
        }
    };
    let size = checkpoint.size;
    let tiles = Tiles::new(client.clone());
    let start = acks.first().map_or(0, |ack| ack.first).min(size.0) / TILE;
    let of_now = OfNow {
        tiles: &tiles,
        size,
    };
    let mut frontier =
        Frontier::from_tiles(&of_now, TreeSize(start * TILE)).map_err(|e| failed(&e))?;
    let mut placed = Placed {
        size: size.0,
        ..Placed::default()
    };
    let mut window = Window::default();
    let mut acks = acks.iter().peekable();
    for number in start..size.0.div_ceil(TILE) {
        let tile = leaves(&tiles, number, size)?;
        for hash in tile.hashes() {
            frontier
                .push(*hash)
                .map_err(|e| Failure::unavailable(format!("the log is too long: {e}")))?;
        }
        window.add(number * TILE, tile.hashes());
        while let Some(ack) = acks.next_if(|ack| ack.first + ack.count <= window.end()) {
            match window.get(ack.first, ack.count) {
                Some(hashes) if digest(hashes) == ack.digest => placed.found += ack.count,
                _ => placed.missing += ack.count,
            }
        }
        window.forget_before(acks.peek().map_or(window.end(), |ack| ack.first));
    }
    placed.missing += acks.map(|ack| ack.count).sum::<u64>();
    if frontier.root() != checkpoint.root {
        placed.missing += std::mem::take(&mut placed.found);
        placed.untrusted = Some("its tiles do not hash to the root that was signed".to_owned());
    }
    Ok(placed)
}

/// Tiles of a smaller tree, cut out of those of the tree that is there now: the log may never have been published at
/// the smaller size.
struct OfNow<'a> {
    tiles: &'a Tiles,
    size: TreeSize,
}

impl HashReader for OfNow<'_> {
    type Error = Failure;

    fn read_tile(&self, id: TileId) -> Result<HashTile, Failure> {
        let wider = TileId::in_tree(id.level(), id.index(), self.size).unwrap_or(id);
        self.tiles.read_tile(wider)
    }
}

fn leaves(tiles: &Tiles, number: u64, size: TreeSize) -> Result<HashTile, Failure> {
    let id = TileId::in_tree(TileLevel::Hashes(0), number, size)
        .ok_or_else(|| Failure::unavailable("the log has no such tile"))?;
    let tile = tiles.read_tile(id)?;
    // A full tile may stand in for a partial one.
    let width = usize::from(id.width());
    let hashes = tile.hashes().get(..width).unwrap_or_default();
    HashTile::new(hashes).map_err(|e| failed(&e))
}

/// Leaf hashes that follow one another, as far as they are still of use.
#[derive(Default)]
struct Window {
    first: u64,
    hashes: Vec<Hash>,
}

impl Window {
    fn add(&mut self, at: u64, hashes: &[Hash]) {
        if self.hashes.is_empty() {
            self.first = at;
        }
        self.hashes.extend_from_slice(hashes);
    }

    fn end(&self) -> u64 {
        self.first + self.hashes.len() as u64
    }

    fn get(&self, first: u64, count: u64) -> Option<&[Hash]> {
        let from = usize::try_from(first.checked_sub(self.first)?).ok()?;
        self.hashes.get(from..from + usize::try_from(count).ok()?)
    }

    fn forget_before(&mut self, index: u64) {
        let gone = index
            .saturating_sub(self.first)
            .min(self.hashes.len() as u64);
        self.hashes.drain(..gone as usize);
        self.first += gone;
    }
}
