//! One backup: what was in the ledger, and where its content lies.

use std::collections::BTreeMap;

use ledger::Kept;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::blob::{self, Blobs};
use crate::error::BackupError;
use crate::key::{Name, hex, unhex};
use crate::place::Place;

const PREFIX: &str = "points";

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PointInfo {
    /// Its name: when it was begun, and something random.
    pub point: String,
    /// When it was begun, RFC 3339.
    pub time: String,
    /// The log's origin.
    pub origin: String,
    /// Records that its checkpoint covers: indices `0..size`.
    pub size: u64,
    /// The checkpoint's root, base64.
    pub root: String,
    /// Acknowledged records beyond it: indices `size..size + unpublished`.
    pub unpublished: u64,
    /// Tiles, sealed values, attachments, documents.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files beside the ledger, such as its configuration.
    #[serde(default)]
    pub files: u64,
}

/// The whole of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    #[serde(flatten)]
    pub(crate) info: PointInfo,
    /// What is no object ([`Kept`]), as JSON.
    kept: Vec<Hex>,
    /// The objects, some hundreds at a time: lists of [`Object`], as JSON. A folder that has not changed is the same blob.
    folders: Vec<Vec<Hex>>,
    /// Files beside the ledger: a list of [`KeptFile`], as JSON.
    #[serde(default)]
    beside: Vec<Hex>,
}

/// An object and its blobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) bytes: u64,
    pub(crate) blobs: Vec<Hex>,
}

impl Object {
    pub(crate) fn names(&self) -> Vec<Name> {
        self.blobs.iter().map(|hex| hex.0).collect()
    }
}

/// A file beside the ledger, and the permissions it had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptFile {
    /// Its absolute path is the key.
    #[serde(flatten)]
    pub(crate) content: Object,
    pub(crate) mode: u32,
}

/// A name, which JSON has in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hex(pub(crate) Name);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let name = unhex(&text).ok_or_else(|| serde::de::Error::custom("no name of a blob"))?;
        Ok(Self(name))
    }
}

fn wrap(names: Vec<Name>) -> Vec<Hex> {
    names.into_iter().map(Hex).collect()
}

impl Point {
    /// Writes all but the point itself.
    pub(crate) fn prepare(
        info: PointInfo,
        kept: &Kept,
        objects: Vec<Object>,
        files: &[KeptFile],
        blobs: &Blobs<'_>,
    ) -> Result<Self, BackupError> {
        let unwritable = |error: serde_json::Error| BackupError::Damaged {
            what: "what was read".to_owned(),
            reason: error.to_string(),
        };
        let json = Zeroizing::new(serde_json::to_vec(kept).map_err(unwritable)?);
        let (kept, _) = blobs.put_all(&mut json.as_slice())?;
        let mut by_folder: BTreeMap<String, Vec<Object>> = BTreeMap::new();
        for object in objects {
            let folder = object.key.rsplit_once('/').map_or("", |(folder, _)| folder);
            by_folder.entry(folder.to_owned()).or_default().push(object);
        }
        let mut folders = Vec::new();
        for objects in by_folder.values() {
            let json = serde_json::to_vec(objects).map_err(unwritable)?;
            folders.push(wrap(blobs.put_all(&mut json.as_slice())?.0));
        }
        let beside = match files {
            [] => Vec::new(),
            files => {
                let json = serde_json::to_vec(files).map_err(unwritable)?;
                wrap(blobs.put_all(&mut json.as_slice())?.0)
            }
        };
        Ok(Self {
            info,
            kept: wrap(kept),
            folders,
            beside,
        })
    }

    /// Writes it: from here on there is a backup.
    pub(crate) fn write(&self, place: &Place) -> Result<(), BackupError> {
        let path = format!("{PREFIX}/{}", self.info.point);
        let content = serde_json::to_vec(self).map_err(|error| BackupError::Damaged {
            what: path.clone(),
            reason: error.to_string(),
        })?;
        let name = place.key.name(&content);
        let mut bytes = hex(&name).into_bytes();
        bytes.push(b'\n');
        bytes.extend(place.key.seal(&name, &path, &content));
        Ok(place.objects.put(&path, &bytes)?)
    }

    pub(crate) fn read(place: &Place, point: &str) -> Result<Self, BackupError> {
        let path = format!("{PREFIX}/{point}");
        let damaged = |reason: String| BackupError::Damaged {
            what: path.clone(),
            reason,
        };
        let missing = || BackupError::NoPoint {
            place: place.name.clone(),
            wanted: point.to_owned(),
        };
        if store::objects::check_key(&path).is_err() {
            return Err(missing());
        }
        let bytes = place.objects.get(&path)?.ok_or_else(missing)?;
        let name = bytes
            .get(..64)
            .and_then(|name| unhex(std::str::from_utf8(name).ok()?))
            .filter(|_| bytes.get(64) == Some(&b'\n'))
            .ok_or_else(|| damaged("it is cut off, or no point".to_owned()))?;
        let content = place
            .key
            .open(&name, &path, bytes[65..].to_vec())
            .ok_or_else(|| damaged("its bytes are not those that were written".to_owned()))?;
        serde_json::from_slice(&content).map_err(|error| damaged(error.to_string()))
    }

    pub(crate) fn kept(&self, place: &Place) -> Result<Kept, BackupError> {
        read_json(place, &self.kept)
    }

    pub(crate) fn objects(&self, place: &Place) -> Result<Vec<Object>, BackupError> {
        let mut objects = Vec::new();
        for folder in &self.folders {
            objects.extend(read_json::<Vec<Object>>(place, folder)?);
        }
        Ok(objects)
    }

    pub(crate) fn files(&self, place: &Place) -> Result<Vec<KeptFile>, BackupError> {
        match self.beside.as_slice() {
            [] => Ok(Vec::new()),
            blobs => read_json(place, blobs),
        }
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(place: &Place, blobs: &[Hex]) -> Result<T, BackupError> {
    let mut json = Zeroizing::new(Vec::new());
    for name in blobs {
        json.extend(blob::get(place, &name.0)?);
    }
    serde_json::from_slice(&json).map_err(|error| BackupError::Damaged {
        what: blobs.first().map_or_else(String::new, |name| hex(&name.0)),
        reason: error.to_string(),
    })
}

impl Place {
    /// The names of its points, the oldest first.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn points(&self) -> Result<Vec<String>, BackupError> {
        let below = format!("{PREFIX}/");
        let keys = self.objects.list(PREFIX)?.into_iter();
        Ok(keys
            .filter_map(|key| Some(key.strip_prefix(&below)?.to_owned()))
            .collect())
    }

    /// What a point says of itself.
    ///
    /// # Errors
    /// There is none of this name, or it cannot be read.
    pub fn info(&self, point: &str) -> Result<PointInfo, BackupError> {
        Ok(Point::read(self, point)?.info)
    }

    /// The point of this name, or the newest.
    pub(crate) fn point(&self, wanted: Option<&str>) -> Result<Point, BackupError> {
        let newest;
        let wanted = if let Some(wanted) = wanted {
            wanted
        } else {
            newest = self.points()?.pop().ok_or_else(|| BackupError::NoBackup {
                place: self.name.clone(),
            })?;
            &newest
        };
        Point::read(self, wanted)
    }
}
