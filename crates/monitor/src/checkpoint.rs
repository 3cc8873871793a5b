//! The newest checkpoint: signed as the policy asks, and grown from the last.

use std::cell::RefCell;
use std::thread;
use std::time::Duration;

use tlog::proof::verify_consistency;
use tlog::reader::subtree_root;
use tlog::{
    Checkpoint, HashReader, HashTile, LeafIndex, Policy, PolicyError, ReadError, TileId,
    VerifiedCheckpoint, consistency_proof,
};
use verify::{Source, SourceTiles, VerifyError};

use crate::alert::Kind;
use crate::evidence::Evidence;

/// Looks before something that a cache or a server lagging behind would explain is called false.
const TRIES: u32 = 3;
const REST: Duration = Duration::from_secs(1);

/// Something that does not hold.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) summary: String,
    pub(crate) evidence: Evidence,
}

/// What came of asking for the checkpoint.
#[derive(Debug)]
pub(crate) enum Seen {
    /// Good, and grown from the last.
    Good(Box<VerifiedCheckpoint>, Vec<u8>),
    False(Finding),
    /// Not to be had, or not shown to have grown: nothing is known.
    Unknown(String),
}

/// Asks for the checkpoint and holds it against `last`.
pub(crate) fn look(source: &Source, policy: &Policy, last: Option<&(Checkpoint, String)>) -> Seen {
    let mut tries = 0;
    loop {
        tries += 1;
        let seen = once(source, policy, last);
        let again = match &seen {
            Seen::False(finding) => matches!(finding.kind, Kind::Rollback | Kind::Tiles),
            _ => false,
        };
        if !again || tries == TRIES {
            return seen;
        }
        thread::sleep(REST);
    }
}

fn once(source: &Source, policy: &Policy, last: Option<&(Checkpoint, String)>) -> Seen {
    let note = match source.checkpoint() {
        Ok(Some(note)) => note,
        Ok(None) => return Seen::Unknown("no checkpoint is served there".into()),
        Err(error) => return Seen::Unknown(error.to_string()),
    };
    let mut evidence = Evidence::default();
    evidence.add("seen.checkpoint", &*note);
    if let Some((_, note)) = last {
        evidence.add("last-good.checkpoint", note.as_bytes());
    }
    let verified = match policy.check(&note) {
        Ok(verified) => verified,
        // Witnesses have a cadence of their own: who waits for them has shown nothing false.
        Err(error @ PolicyError::Quorum { .. }) => return Seen::Unknown(error.to_string()),
        Err(error) => {
            return Seen::False(Finding {
                kind: Kind::Checkpoint,
                summary: format!("the checkpoint is not as the policy asks: {error}"),
                evidence,
            });
        }
    };
    let good = |verified| Seen::Good(Box::new(verified), note.clone());
    let Some((last, _)) = last else {
        return good(verified);
    };
    let seen = &verified.checkpoint;
    if seen.origin != last.origin {
        return Seen::False(Finding {
            kind: Kind::Checkpoint,
            summary: format!("the log is {} now, and was {}", seen.origin, last.origin),
            evidence,
        });
    }
    if seen.size == last.size {
        if seen.root == last.root {
            return good(verified);
        }
        return Seen::False(Finding {
            kind: Kind::Fork,
            summary: format!(
                "two checkpoints of {} entries with different roots: {} and {}",
                seen.size, last.root, seen.root
            ),
            evidence,
        });
    }
    let shrunk = seen.size < last.size;
    let (old, new) = if shrunk { (seen, last) } else { (last, seen) };
    let rollback = |evidence, more: &str| {
        Seen::False(Finding {
            kind: Kind::Rollback,
            summary: format!(
                "the checkpoint has {} entries, and had {}{more}",
                seen.size, last.size
            ),
            evidence,
        })
    };
    match grown(source, old, new, &mut evidence) {
        Ok(Grown::Yes) if shrunk => rollback(evidence, ": an older one was put back"),
        Ok(Grown::Yes) => good(verified),
        Ok(Grown::OtherHistory) => Seen::False(Finding {
            kind: Kind::Fork,
            summary: format!(
                "the checkpoint of {} entries has not grown from that of {}: it is proven to have had \
                 another root at {} entries than was signed",
                new.size, old.size, old.size
            ),
            evidence,
        }),
        Ok(Grown::NotShown(_)) | Err(_) if shrunk => {
            rollback(evidence, ", and the tiles of those are not served any more")
        }
        Ok(Grown::NotShown(why)) => Seen::False(Finding {
            kind: Kind::Tiles,
            summary: format!(
                "the tiles do not show that {} entries have grown from {}: {why}",
                new.size, old.size
            ),
            evidence,
        }),
        Err(error) => Seen::Unknown(format!(
            "that {} entries have grown from {} cannot be shown: {error}",
            new.size, old.size
        )),
    }
}

enum Grown {
    Yes,
    /// The new tree began with another than the old one.
    OtherHistory,
    /// The tiles do not hold together.
    NotShown(String),
}

/// Whether the tree of `new` begins with that of `old`, shown from the served tiles.
fn grown(
    source: &Source,
    old: &Checkpoint,
    new: &Checkpoint,
    evidence: &mut Evidence,
) -> Result<Grown, VerifyError> {
    // Every tree has grown from the empty one, which has one root alone.
    if old.size.get() == 0 {
        return Ok(Grown::Yes);
    }
    let reader = Recorder {
        tiles: SourceTiles(source),
        evidence: RefCell::new(evidence),
    };
    let proof = match consistency_proof(&reader, old.size, new.size) {
        Ok(proof) => proof,
        Err(ReadError::Reader { cause, .. }) => return Err(cause),
        Err(error) => return Ok(Grown::NotShown(error.to_string())),
    };
    let Err(error) = verify_consistency(old.size, new.size, &old.root, &new.root, &proof) else {
        return Ok(Grown::Yes);
    };
    // Tiles can lie in part. Only where the same proof leads from another root to the signed one is it
    // the log's history that is another, and no file.
    let then = match subtree_root(&reader, LeafIndex(0), LeafIndex(old.size.get()), new.size) {
        Ok(root) => root,
        Err(ReadError::Reader { cause, .. }) => return Err(cause),
        Err(error) => return Ok(Grown::NotShown(error.to_string())),
    };
    let lines: Vec<String> = proof.iter().map(ToString::to_string).collect();
    evidence.add("proof.txt", lines.join("\n") + "\n");
    evidence.add("root-then.txt", format!("{then}\n"));
    Ok(
        if verify_consistency(old.size, new.size, &then, &new.root, &proof).is_ok() {
            Grown::OtherHistory
        } else {
            Grown::NotShown(error.to_string())
        },
    )
}

/// Keeps the tiles that were read.
struct Recorder<'a, 'e> {
    tiles: SourceTiles<'a>,
    evidence: RefCell<&'e mut Evidence>,
}

impl HashReader for Recorder<'_, '_> {
    type Error = VerifyError;

    fn read_tile(&self, id: TileId) -> Result<HashTile, VerifyError> {
        let tile = self.tiles.read_tile(id)?;
        let bytes: Vec<u8> = tile
            .hashes()
            .iter()
            .flat_map(|hash| *hash.as_bytes())
            .collect();
        self.evidence.borrow_mut().add(id.path(), bytes);
        Ok(tile)
    }
}
