//! Making again what follows from the rest, and keeping what was there.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use record::Timestamp;
use tlog::{EntryBundle, TileId, TileLevel, leaf_hash, tile_root};

use super::survey::Survey;
use super::{FsckReport, Place, Plan};
use crate::LedgerError;
use crate::read::Reader;
use crate::recover::catch_up;
use crate::tree::{self, key};

/// `lost+found/<time>`: what repair took away.
pub(super) struct LostAndFound {
    path: PathBuf,
    name: String,
}

impl LostAndFound {
    pub(super) fn create(data_dir: &Path, now: Timestamp) -> Result<Self, LedgerError> {
        let name = format!("lost+found/{}", now.to_string().replace(':', ""));
        let path = data_dir.join(&name);
        fs::create_dir_all(&path).map_err(|e| LedgerError::io(&path, e))?;
        Ok(Self { path, name })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What was found before anything was changed: rows of the index are kept in words.
    pub(super) fn keep_report(&self, report: &FsckReport) -> Result<(), LedgerError> {
        let text = serde_json::to_vec_pretty(report).unwrap_or_default();
        self.keep("report.json", &text)
    }

    /// Keeps the bytes of an object under its name, durably.
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), LedgerError> {
        let path = self.path.join(name);
        let dir = path.parent().unwrap_or(&self.path);
        let written = fs::create_dir_all(dir).and_then(|()| {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            // Each directory that may have been made.
            dir.ancestors()
                .take_while(|dir| dir.starts_with(self.path.parent().unwrap_or(&self.path)))
                .try_for_each(|dir| File::open(dir)?.sync_all())
        });
        written.map_err(|e| LedgerError::io(&path, e))
    }
}

/// Does what `plan` says. Can be interrupted and done again.
pub(super) fn repair(
    place: &Place<'_>,
    plan: &Plan,
    survey: &Survey,
    lost: &LostAndFound,
) -> Result<(), LedgerError> {
    let objects = &*place.objects;
    let put_aside = |name: &str| -> Result<(), LedgerError> {
        if let Some(bytes) = objects.get(name)? {
            lost.keep(name, &bytes)?;
            objects.delete(name)?;
        }
        Ok(())
    };
    for name in plan.aside.iter().chain(&plan.superseded) {
        put_aside(name)?;
    }
    for id in &plan.tiles {
        let bytes = tile(place, survey, *id)?;
        let name = key(*id);
        if objects.get(&name)?.as_ref() != Some(&bytes) {
            put_aside(&name)?;
            objects.put(&name, &bytes)?;
        }
    }
    if plan.checkpoint
        && let Some(stored) = place.meta.latest_checkpoint()?
    {
        let name = "log/checkpoint";
        if let Some(bytes) = objects.get(name)? {
            lost.keep(name, &bytes)?;
        }
        objects.replace(name, &stored.note)?;
    }
    if plan.index && survey.is_whole() {
        place.meta.clear_index()?;
        let reader = Reader::new(Arc::clone(&place.objects), Arc::clone(&place.meta));
        catch_up(&*place.meta, &reader, survey.size)?;
    }
    Ok(())
}

/// The bytes of a tile, from proven entries or the tiles below.
fn tile(place: &Place<'_>, survey: &Survey, id: TileId) -> Result<Vec<u8>, LedgerError> {
    let unproven = || LedgerError::corrupt(id.path(), "it cannot be made again from the entries");
    let levels = survey.levels.as_ref().ok_or_else(unproven)?;
    if id.level() != TileLevel::Hashes(0) || id.is_partial() {
        return levels.tile(id).ok_or_else(unproven);
    }
    let (bytes, width) = tree::read_entries(&*place.objects, id.index(), survey.size)?;
    let entries = EntryBundle::parse(&bytes, width).map_err(|_| unproven())?;
    let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    // Read again, so held against the proven tree again.
    if levels.above(id.index()) != Some(tile_root(&leaves)) {
        return Err(unproven());
    }
    Ok(leaves.iter().flat_map(|leaf| *leaf.as_bytes()).collect())
}
