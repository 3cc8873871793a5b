//! One backup.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::{Capture, Location};
use record::{Clock, Entropy};
use serde::Serialize;

use crate::blob::Blobs;
use crate::error::BackupError;
use crate::key::hex;
use crate::place::{Open, Place};
use crate::point::{Hex, Object, Point, PointInfo};
use crate::{Progress, files, work};

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct Made {
    /// What is in the backup.
    #[serde(flatten)]
    pub info: PointInfo,
    /// Objects that an earlier backup had copied.
    pub reused: u64,
    /// Blobs that were new, and written.
    pub written: u64,
    /// Their bytes, as written.
    pub written_bytes: u64,
}

/// What is backed up.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The ledger.
    pub location: &'a Location,
    /// Files beside it, and directories of such: its configuration.
    pub with: &'a [PathBuf],
}

/// Backs up a ledger, whether a server runs on it or not. Every record that was acknowledged before this was called is in it.
///
/// # Errors
/// The ledger cannot be read, or the place not be written: there is no new point then, and the next backup goes on from
/// what was copied.
pub fn make(
    source: Source<'_>,
    open: &Open<'_>,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    progress: Progress<'_>,
) -> Result<Made, BackupError> {
    let time = clock.now().to_string();
    // The ledger first: what is not one makes no place.
    let capture = Capture::of(source.location)?;
    let place = Place::to_write(open, &capture.kept.origin)?;
    let blobs = Blobs::of(&place)?;
    let files = files::keep(source.with, &blobs)?;
    let before = before(&place)?;
    let reused = AtomicU64::new(0);
    let objects = work::each(capture.names(), progress, |name| {
        let known = before
            .get(&name.key)
            .filter(|known| name.fixed && known.blobs.iter().all(|blob| blobs.has(&blob.0)));
        if let Some(known) = known {
            reused.fetch_add(1, Ordering::Relaxed);
            return Ok(known.clone());
        }
        let mut object = capture.open(&name.key)?;
        let (names, bytes) = blobs.put_all(&mut object.reader)?;
        if bytes != object.bytes {
            return Err(BackupError::Store(store::StoreError::Source(
                std::io::Error::other(format!(
                    "{}: {bytes} of {} bytes came",
                    name.key, object.bytes
                )),
            )));
        }
        Ok(Object {
            key: name.key.clone(),
            bytes,
            blobs: names.into_iter().map(Hex).collect(),
        })
    })?;
    let kept = &capture.kept;
    let info = PointInfo {
        point: point_name(&time, entropy),
        time,
        origin: kept.origin.clone(),
        size: kept.size,
        root: kept.root.clone(),
        unpublished: kept.records() - kept.size,
        objects: objects.len() as u64,
        bytes: objects.iter().map(|object| object.bytes).sum(),
        files: files.len() as u64,
    };
    let point = Point::prepare(info, kept, objects, &files, &blobs)?;
    point.write(&place)?;
    Ok(Made {
        info: point.info,
        reused: reused.into_inner(),
        written: blobs.written.into_inner(),
        written_bytes: blobs.written_bytes.into_inner(),
    })
}

/// The objects of the newest point that can be read, by their keys.
fn before(place: &Place) -> Result<HashMap<String, Object>, BackupError> {
    for name in place.points()?.iter().rev() {
        let objects = Point::read(place, name).and_then(|point| point.objects(place));
        match objects {
            Ok(objects) => {
                let by_key = objects.into_iter().map(|o| (o.key.clone(), o));
                return Ok(by_key.collect());
            }
            Err(error) if error.is_damage() => {
                tracing::warn!(%error, point = name, "an earlier backup cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(HashMap::new())
}

/// Names sort by their times.
fn point_name(time: &str, entropy: &dyn Entropy) -> String {
    let mut random = [0; 4];
    entropy.fill(&mut random);
    let time: String = time.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{time}-{}", hex(&random))
}
