//! One pass over entry bundles, leaf tiles and sealed values; then the tiles above.
//!
//! Where a bundle and its leaf tile disagree, which of them was changed is not guessed: the one with which the whole
//! log hashes to the signed root is right.

use std::collections::BTreeMap;

use tlog::{EntryBundle, Hash, HashTile, TileId, TileLevel, TreeSize, leaf_hash, tile_root};

use super::levels::Levels;
use super::{BUNDLE, Check, Fault};
use crate::LedgerError;
use crate::tree::{self, entries_id};

/// With more bundles than this that differ from their tile, only "all entries are right" and "all tiles are" are tried.
const MAX_TRIED: usize = 10;

/// What is known of the published log.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) size: u64,
    pub(super) root: Hash,
    /// The tree that hashes to the root; `None` where none could be put together.
    pub(super) levels: Option<Levels>,
    /// Bundles whose entries are not those that were published, or are not known to be.
    pub(super) unsound: Vec<u64>,
}

impl Survey {
    /// Whether the entries of a bundle are those that were published.
    pub(super) fn is_sound(&self, bundle: u64) -> bool {
        self.levels.is_some() && !self.unsound.contains(&bundle)
    }

    /// Whether the whole log can be read.
    pub(super) fn is_whole(&self) -> bool {
        self.levels.is_some() && self.unsound.is_empty()
    }
}

/// The hashes of a bundle's leaves, twice: a full bundle's root, or a partial one's leaves.
type Leaves = Vec<Hash>;

/// A bundle that is not simply right.
#[derive(Debug, Default)]
struct Odd {
    /// From its entries.
    computed: Option<Leaves>,
    /// From its tile.
    stored: Option<Leaves>,
    entries: Option<(Fault, String)>,
    tile: Option<(Fault, String)>,
}

impl Check<'_> {
    pub(super) fn survey(&mut self, size: u64, root: &Hash) -> Result<Survey, LedgerError> {
        let bundles = size.div_ceil(BUNDLE);
        let mut right: Vec<Leaves> = Vec::new();
        let mut odd = BTreeMap::new();
        for bundle in 0..bundles {
            let id = entries_id(bundle, size)?;
            let mut found = Odd::default();
            match self.entries(id)? {
                Ok(bytes) => match EntryBundle::parse(&bytes, id.width()) {
                    Ok(entries) => {
                        let leaves: Vec<Hash> = entries.iter().map(|e| leaf_hash(e)).collect();
                        found.computed = Some(summed(leaves));
                        self.sealed(id, &entries)?;
                        for (index, entry) in (id.first_leaf()..).zip(&entries) {
                            self.names(index, entry);
                        }
                    }
                    Err(error) => found.entries = Some((Fault::EntriesDamaged, error.to_string())),
                },
                Err(missing) => found.entries = Some((Fault::EntriesMissing, missing)),
            }
            let tile = TileId::new(TileLevel::Hashes(0), bundle, id.width())
                .map_err(|e| LedgerError::corrupt("the tree", e))?;
            match self.tile(tile)? {
                Ok(hashes) => found.stored = Some(summed(hashes)),
                Err(wrong) => found.tile = Some(wrong),
            }
            self.report.bundles += u64::from(found.computed.is_some());
            right.push(
                found
                    .computed
                    .clone()
                    .or_else(|| found.stored.clone())
                    .unwrap_or_default(),
            );
            if found.computed.is_none() || found.computed != found.stored {
                odd.insert(bundle, found);
            }
        }
        let levels = prove(&mut right, &odd, size, root);
        let mut survey = Survey {
            size,
            root: *root,
            levels,
            unsound: Vec::new(),
        };
        self.judge(&mut survey, odd, &right);
        self.above(&survey)?;
        Ok(survey)
    }

    /// A bundle's bytes: those of the partial one, or the first entries of the full one that took its place.
    fn entries(&self, id: TileId) -> Result<Result<Vec<u8>, String>, LedgerError> {
        let objects = &*self.place.objects;
        if let Some(bytes) = objects.get(&tree::key(id))? {
            return Ok(Ok(bytes));
        }
        if id.is_partial()
            && let Some(bytes) = objects.get(&tree::key(id.full()))?
            && let Some(length) = prefix_length(&bytes, id.width())
        {
            return Ok(Ok(bytes[..length].to_vec()));
        }
        Ok(Err("it is not there".to_owned()))
    }

    /// A tile's hashes, or what is wrong with it; of a partial one, those of the full one that took its place.
    fn tile(&self, id: TileId) -> Result<Result<Vec<Hash>, (Fault, String)>, LedgerError> {
        let objects = &*self.place.objects;
        let width = usize::from(id.width());
        let bytes = match objects.get(&tree::key(id))? {
            Some(bytes) => bytes,
            None if id.is_partial() => match objects.get(&tree::key(id.full()))? {
                Some(mut bytes) if bytes.len() == 256 * 32 => {
                    bytes.truncate(width * 32);
                    bytes
                }
                _ => return Ok(Err((Fault::TileMissing, "it is not there".to_owned()))),
            },
            None => return Ok(Err((Fault::TileMissing, "it is not there".to_owned()))),
        };
        Ok(match HashTile::parse(&bytes, id.width()) {
            Ok(tile) => Ok(tile.hashes().to_vec()),
            Err(error) => Err((Fault::TileShort, error.to_string())),
        })
    }

    /// Says of each bundle that is not simply right whether its entries or its tile are wrong.
    fn judge(&mut self, survey: &mut Survey, odd: BTreeMap<u64, Odd>, right: &[Leaves]) {
        let proven = survey.levels.is_some();
        if !proven
            && odd
                .values()
                .all(|o| o.computed.is_some() || o.stored.is_some())
        {
            let computed = levels(right, survey.size).root();
            let detail = format!("the entries hash to {computed}, it says {}", survey.root);
            self.found(Fault::Root, "the signed root", detail);
        }
        if !proven {
            self.unchecked("hash tiles: entries and tiles do not hash to the signed root");
        }
        for (bundle, found) in odd {
            let (Ok(id), Some(right)) =
                (entries_id(bundle, survey.size), right.get(bundle as usize))
            else {
                continue;
            };
            let tile = TileId::new(TileLevel::Hashes(0), bundle, id.width()).unwrap_or(id);
            let entries_right = proven && found.computed.as_ref() == Some(right);
            if !entries_right {
                survey.unsound.push(bundle);
            }
            if let Some((fault, detail)) = found.entries {
                self.found(fault, tree::key(id), detail);
            } else if proven && !entries_right {
                let detail = "its entries are not those of the signed tree; its leaf tile is right";
                self.found(Fault::EntriesDamaged, tree::key(id), detail);
            } else if !proven && found.stored.is_some() {
                let detail = "its entries and its leaf tile differ, and neither is proven right";
                self.found(Fault::EntriesDamaged, tree::key(id), detail);
            }
            let wrong = match found.tile {
                Some(wrong) => Some(wrong),
                None if entries_right => {
                    let detail = "it holds other hashes than its entries have".to_owned();
                    Some((Fault::TileFlipped, detail))
                }
                None => None,
            };
            if let Some((fault, detail)) = wrong {
                self.found(fault, tree::key(tile), detail);
                if entries_right {
                    self.plan.tiles.insert(tile);
                }
            }
        }
    }

    /// Tiles of level 1 and up.
    fn above(&mut self, survey: &Survey) -> Result<(), LedgerError> {
        let Some(levels) = &survey.levels else {
            return Ok(());
        };
        let above = tlog::tile::tiles_for_size(TreeSize(survey.size))
            .filter(|id| matches!(id.level(), TileLevel::Hashes(1..)));
        for id in above {
            let wrong = match self.tile(id)? {
                Err(wrong) => wrong,
                Ok(hashes) => {
                    let bytes: Vec<u8> = hashes.iter().flat_map(|h| *h.as_bytes()).collect();
                    if levels.tile(id).as_deref() == Some(&*bytes) {
                        continue;
                    }
                    let detail = "it holds other hashes than the tiles below it have".to_owned();
                    (Fault::TileFlipped, detail)
                }
            };
            self.found(wrong.0, tree::key(id), wrong.1);
            self.plan.tiles.insert(id);
        }
        Ok(())
    }
}

/// Leaves as they are kept: a full bundle's come to one hash.
fn summed(leaves: Vec<Hash>) -> Leaves {
    if leaves.len() == BUNDLE as usize {
        vec![tile_root(&leaves)]
    } else {
        leaves
    }
}

fn levels(right: &[Leaves], size: u64) -> Levels {
    let full = (size / BUNDLE) as usize;
    let roots = right.iter().take(full).flatten().copied().collect();
    let tail = right.get(full).cloned().unwrap_or_default();
    Levels::new(roots, tail)
}

/// Takes of each bundle that differs from its tile the one or the other, until the log hashes to its root. Leaves in
/// `right` what it came to.
fn prove(right: &mut [Leaves], odd: &BTreeMap<u64, Odd>, size: u64, root: &Hash) -> Option<Levels> {
    if right.iter().any(Vec::is_empty) {
        return None;
    }
    let differ: Vec<(usize, [&Leaves; 2])> = odd
        .iter()
        .filter_map(|(bundle, odd)| {
            let both = [odd.computed.as_ref()?, odd.stored.as_ref()?];
            Some((*bundle as usize, both))
        })
        .collect();
    let tries: Vec<u64> = if differ.len() <= MAX_TRIED {
        (0..1 << differ.len()).collect()
    } else {
        vec![0, u64::MAX]
    };
    for mask in tries {
        for (n, (bundle, both)) in differ.iter().enumerate() {
            // Beyond bit 63 the mask is one of the two extremes.
            let stored = mask >> n.min(63) & 1;
            right[*bundle].clone_from(both[stored as usize]);
        }
        let levels = levels(right, size);
        if levels.root() == *root {
            return Some(levels);
        }
    }
    for (bundle, both) in &differ {
        right[*bundle].clone_from(both[0]);
    }
    None
}

/// How many bytes the first `width` entries of a bundle take.
pub(super) fn prefix_length(bytes: &[u8], width: u16) -> Option<usize> {
    let mut at = 0_usize;
    for _ in 0..width {
        let length = bytes.get(at..at + 2)?;
        at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
    }
    (at <= bytes.len()).then_some(at)
}
