//! Sealed values, opened for whoever may see them: the verifier, a bundle, a reader.

use std::sync::Arc;

use store::{ObjectStore, StoreError};
use tlog::{Hash, LeafIndex, TileId, TileLevel, TreeSize};
use verify::{OpenSealed, SealedField};

use crate::LedgerError;
use crate::sealing::{Sealing, file};
use crate::shared::Shared;
use crate::tree::{locate, sealed_key};

/// Opens the sealed values of a ledger with its deployment's key.
#[derive(Clone)]
pub struct Opener(pub(crate) Arc<Shared>);

impl OpenSealed for Opener {
    fn open(&self, bundle: u64, leaves: &[Hash]) -> Result<Vec<Vec<SealedField>>, String> {
        open_bundle(&*self.0.reader.objects, &self.0.sealing, bundle, leaves)
    }
}

impl Opener {
    /// The sealed values of one published record.
    pub(crate) fn one(&self, index: u64, record: &[u8]) -> Result<Vec<SealedField>, LedgerError> {
        let sealed = |reason| LedgerError::Sealed { index, reason };
        let (bundle, at) = locate(LeafIndex(index));
        let size = self.0.reader.covered(index)?;
        let id = TileId::entries(bundle, TreeSize(size))
            .ok_or_else(|| sealed("there is no such record".to_owned()))?;
        let Some((bytes, width)) =
            read(&*self.0.reader.objects, id).map_err(|e| sealed(e.to_string()))?
        else {
            return Ok(Vec::new());
        };
        let entries = file::split(&bytes, width).map_err(sealed)?;
        let entry = entries
            .get(at)
            .ok_or_else(|| sealed("the file is cut off".to_owned()))?;
        self.0
            .sealing
            .open(&tlog::leaf_hash(record), entry)
            .map_err(sealed)
    }
}

fn open_bundle(
    objects: &dyn ObjectStore,
    sealing: &Sealing,
    bundle: u64,
    leaves: &[Hash],
) -> Result<Vec<Vec<SealedField>>, String> {
    let width = u16::try_from(leaves.len()).map_err(|e| e.to_string())?;
    let id = TileId::new(TileLevel::Entries, bundle, width).map_err(|e| e.to_string())?;
    let Some((bytes, width)) = read(objects, id).map_err(|e| e.to_string())? else {
        return Ok(vec![Vec::new(); leaves.len()]);
    };
    let entries = file::split(&bytes, width)?;
    leaves
        .iter()
        .zip(entries)
        .map(|(leaf, entry)| sealing.open(leaf, entry))
        .collect()
}

/// The file and how many entries it has: the partial one, or the full one in its place.
pub(crate) fn read(
    objects: &dyn ObjectStore,
    id: TileId,
) -> Result<Option<(Vec<u8>, usize)>, StoreError> {
    for id in [id, id.full()] {
        if let Some(bytes) = objects.get(&sealed_key(id))? {
            return Ok(Some((bytes, usize::from(id.width()))));
        }
    }
    Ok(None)
}
