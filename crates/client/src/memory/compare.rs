//! Two checkpoints of one log: whether the later has grown from the earlier.

use tlog::proof::verify_consistency;
use tlog::{AddCheckpoint, Checkpoint, HashReader, HashTile, Policy, ReadError, TileId};
use ureq::http::Method;

use super::evidence::Case;
use crate::error::ClientError;
use crate::transport::Transport;

/// A checkpoint that the log has signed.
pub(super) struct Shown {
    pub(super) checkpoint: Checkpoint,
    pub(super) note: String,
}

impl Shown {
    /// Reads a note that one of the policies accepts: the first is today's.
    pub(super) fn read(note: &str, policies: &[Policy]) -> Result<Self, String> {
        let mut why = String::new();
        let mut check = |policy: &Policy| match policy.check_log(note.as_bytes()) {
            Ok(verified) => Some(verified),
            Err(error) => {
                if why.is_empty() {
                    why = error.to_string();
                }
                None
            }
        };
        let verified = policies.iter().find_map(&mut check).ok_or(why)?;
        Ok(Self {
            checkpoint: verified.checkpoint,
            note: note.to_owned(),
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.checkpoint.size.0
    }
}

/// Whether `shown` has grown from `before`, which is not the larger: by the log's own tiles, which
/// are public. The inner error is what does not go together.
pub(super) fn compare(
    transport: &Transport,
    before: &Shown,
    shown: &Shown,
) -> Result<Result<(), Case>, ClientError> {
    let (old, new) = (before.checkpoint.size, shown.checkpoint.size);
    let roots = (&before.checkpoint.root, &shown.checkpoint.root);
    if old == new {
        return Ok(if roots.0 == roots.1 {
            Ok(())
        } else {
            Err(Case::forked(before, shown, None))
        });
    }
    if old.0 == 0 {
        return Ok(Ok(()));
    }
    let proof = match tlog::consistency_proof(&Tiles(transport), old, new) {
        Ok(proof) => proof,
        Err(ReadError::Reader { cause, .. }) => return Err(cause),
        Err(error) => return Err(transport.unexpected("/log/tile", error.to_string())),
    };
    if verify_consistency(old, new, roots.0, roots.1, &proof).is_ok() {
        return Ok(Ok(()));
    }
    let request = AddCheckpoint {
        old,
        proof,
        checkpoint: shown.note.clone(),
    };
    Ok(Err(Case::forked(before, shown, Some(&request))))
}

struct Tiles<'a>(&'a Transport);

impl HashReader for Tiles<'_> {
    type Error = ClientError;

    fn read_tile(&self, id: TileId) -> Result<HashTile, ClientError> {
        // The full tile takes the place of a partial one once the log has grown.
        let mut missing = None;
        for id in [id, id.full()] {
            let path = format!("/log/{}", id.path());
            match self.0.bytes(&Method::GET, &path, None, true) {
                Ok(bytes) => {
                    return HashTile::parse(&bytes, id.width())
                        .map_err(|error| self.0.unexpected(&path, error.to_string()));
                }
                Err(ClientError::Refused(problem)) if problem.status == 404 => {
                    let why = "it shows a checkpoint, and not the tiles under it".to_owned();
                    missing.get_or_insert_with(|| self.0.unexpected(&path, why));
                }
                Err(error) => return Err(error),
            }
        }
        Err(missing.unwrap_or_else(|| self.0.unexpected("/log/tile", "no tile".to_owned())))
    }
}
