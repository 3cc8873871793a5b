//! The hash tiles of a source, for roots and proofs computed from them. Nothing is checked here: a
//! proof is worth what it is held against.

use tlog::{HashReader, HashTile, TileId};

use crate::paths;
use crate::source::MAX_TILE_BYTES;
use crate::{Source, VerifyError};

/// Gives a source's hash tiles.
#[derive(Clone, Copy, Debug)]
pub struct SourceTiles<'a>(pub &'a Source);

impl HashReader for SourceTiles<'_> {
    type Error = VerifyError;

    fn read_tile(&self, id: TileId) -> Result<HashTile, VerifyError> {
        let unavailable = |why: String| VerifyError::Unavailable {
            what: id.path(),
            why,
        };
        let mut bytes = Vec::new();
        if !paths::read(self.0, id, MAX_TILE_BYTES, &mut bytes)? {
            return Err(unavailable("there is no such tile".into()));
        }
        HashTile::parse(&bytes, id.width()).map_err(|error| unavailable(error.to_string()))
    }
}
