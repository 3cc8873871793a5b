//! A backup held against itself: every blob is read, and the records hash to the root that the log signed.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Mutex;

use serde::Serialize;
use tlog::{EntryBundle, Frontier, TileId, TileLevel, leaf_hash};

use crate::blob::Joined;
use crate::error::BackupError;
use crate::place::Place;
use crate::point::{Object, PointInfo};
use crate::{Progress, work};

/// What a point was found to be.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// What it says of itself.
    #[serde(flatten)]
    pub info: PointInfo,
    /// The root that its records hash to, base64.
    pub computed_root: String,
    /// Whether every blob is as it was written, and the records hash to the root that the log signed.
    pub sound: bool,
}

/// Reads a point, the newest unless one is named, from end to end. Nothing is written.
///
/// # Errors
/// A blob is damaged or missing, or the place cannot be read.
pub fn check(
    place: &Place,
    point: Option<&str>,
    progress: Progress<'_>,
) -> Result<Checked, BackupError> {
    let point = place.point(point)?;
    let kept = point.kept(place)?;
    let signed = kept.signed()?;
    let mut objects = point.objects(place)?;
    let files = point.files(place)?.into_iter();
    objects.extend(files.map(|file| file.content));
    // Leaf hashes of each bundle: 32 bytes a record.
    let leaves = Mutex::new(BTreeMap::new());
    let read = |object: &Object| -> Result<(), BackupError> {
        let names = object.names();
        let mut joined = Joined::new(place, &names);
        let entries = object
            .key
            .strip_prefix("log/")
            .and_then(|path| TileId::parse_path(path).ok())
            .filter(|id| id.level() == TileLevel::Entries);
        let Some(id) = entries else {
            let mut sink = std::io::sink();
            let read = std::io::copy(&mut joined, &mut sink);
            return ended(joined.failed, read, object);
        };
        let mut bytes = Vec::new();
        let read = joined.read_to_end(&mut bytes).map(|read| read as u64);
        ended(joined.failed, read, object)?;
        let entries =
            EntryBundle::parse(&bytes, id.width()).map_err(|error| damaged(object, error))?;
        let hashes: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        if let Ok(mut leaves) = leaves.lock() {
            leaves.insert(id.index(), hashes);
        }
        Ok(())
    };
    work::each(&objects, progress, read)?;
    let mut tree = Frontier::new();
    let leaves = leaves.into_inner().unwrap_or_default();
    for leaf in leaves.into_values().flatten() {
        tree.push(leaf).map_err(|error| BackupError::Damaged {
            what: "the log".to_owned(),
            reason: error.to_string(),
        })?;
    }
    let root = tree.root();
    let sound = tree.size() == signed.size && root == signed.root;
    Ok(Checked {
        info: point.info,
        computed_root: root.to_string(),
        sound,
    })
}

fn ended(
    failed: Option<BackupError>,
    read: std::io::Result<u64>,
    object: &Object,
) -> Result<(), BackupError> {
    if let Some(error) = failed {
        return Err(error);
    }
    let read = read.map_err(store::StoreError::Source)?;
    if read == object.bytes {
        return Ok(());
    }
    let reason = format!("{read} of its {} bytes are there", object.bytes);
    Err(damaged(object, reason))
}

fn damaged(object: &Object, reason: impl std::fmt::Display) -> BackupError {
    BackupError::Damaged {
        what: object.key.clone(),
        reason: reason.to_string(),
    }
}
