//! Where backups are: a directory or an object store.
//!
//! ```text
//! backup.json            format, whose backups these are, which key they want; written first
//! data/ab/abcd…          blobs
//! points/20261127T…      one for each backup; written last
//! lock  tmp/             of a directory: who writes, and what is half-written
//! ```

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use store::{DirObjects, ObjectStore, RemoteObjects, is_object_store};

use crate::error::BackupError;
use crate::key::Key;

const HEADER: &str = "backup.json";
const LOCK: &str = "lock";
const TMP: &str = "tmp";
const FORMAT: u64 = 1;

/// A place of backups.
pub struct Place {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) key: Key,
    /// As the operator names it.
    pub(crate) name: String,
    /// Held while a directory is written to.
    _lock: Option<File>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("name", &self.name)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What to open.
#[derive(Clone, Debug)]
pub struct Open<'a> {
    /// A directory, or `s3://`, `gs://` or `az://` with bucket and prefix.
    pub place: &'a str,
    /// How to get at an object store, by the names that its own tools use.
    pub options: &'a [(String, String)],
    /// What the backups are encrypted under.
    pub key: Key,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    v: u64,
    /// The log whose backups these are.
    origin: String,
    /// `aes-256-gcm-siv` or `none`.
    encryption: String,
    /// What tells the key from others.
    key: Option<String>,
}

impl Place {
    /// Opens a place to back up the log `origin`, and begins it where there is nothing.
    ///
    /// # Errors
    /// It keeps another ledger's backups, or other things, or wants another key; somebody else writes to it.
    pub fn to_write(open: &Open<'_>, origin: &str) -> Result<Self, BackupError> {
        let mut lock = None;
        let objects: Arc<dyn ObjectStore> = if is_object_store(open.place) {
            Arc::new(RemoteObjects::open(open.place, open.options)?)
        } else {
            lock = Some(locked(open.place)?);
            let dir = Path::new(open.place);
            Arc::new(DirObjects::open(dir, &dir.join(TMP))?)
        };
        let place = Self {
            objects,
            key: open.key.clone(),
            name: open.place.to_owned(),
            _lock: lock,
        };
        let header = place.header(origin);
        if let Some(found) = place.found()? {
            place.accept(&found, Some(origin))?;
        } else {
            let mut bytes = serde_json::to_vec(&header).unwrap_or_default();
            bytes.push(b'\n');
            place.objects.put(HEADER, &bytes)?;
        }
        Ok(place)
    }

    /// Opens a place to read it. Nothing is written.
    ///
    /// # Errors
    /// It holds no backup, or wants another key.
    pub fn to_read(open: &Open<'_>) -> Result<Self, BackupError> {
        let none = || BackupError::NoBackup {
            place: open.place.to_owned(),
        };
        let objects: Arc<dyn ObjectStore> = if is_object_store(open.place) {
            Arc::new(RemoteObjects::open_to_read(open.place, open.options)?)
        } else {
            let dir = Path::new(open.place);
            if !dir.join(HEADER).is_file() {
                return Err(none());
            }
            Arc::new(DirObjects::open_to_read(dir))
        };
        let place = Self {
            objects,
            key: open.key.clone(),
            name: open.place.to_owned(),
            _lock: None,
        };
        let found = place.found()?.ok_or_else(none)?;
        place.accept(&found, None)?;
        Ok(place)
    }

    fn header(&self, origin: &str) -> Header {
        let encryption = if self.key.is_plain() {
            "none"
        } else {
            "aes-256-gcm-siv"
        };
        Header {
            v: FORMAT,
            origin: origin.to_owned(),
            encryption: encryption.to_owned(),
            key: self.key.check(),
        }
    }

    fn found(&self) -> Result<Option<Header>, BackupError> {
        let Some(bytes) = self.objects.get(HEADER)? else {
            return Ok(None);
        };
        let header = serde_json::from_slice(&bytes);
        header.map(Some).map_err(|error| BackupError::Damaged {
            what: HEADER.to_owned(),
            reason: error.to_string(),
        })
    }

    fn accept(&self, found: &Header, origin: Option<&str>) -> Result<(), BackupError> {
        let place = self.name.clone();
        if found.v != FORMAT {
            return Err(BackupError::Format {
                place,
                found: found.v,
                known: FORMAT,
            });
        }
        if let Some(given) = origin.filter(|origin| *origin != found.origin) {
            return Err(BackupError::OtherLedger {
                place,
                known: found.origin.clone(),
                given: given.to_owned(),
            });
        }
        match (&found.key, self.key.check()) {
            (None, None) => Ok(()),
            (Some(known), Some(given)) if *known == given => Ok(()),
            (Some(_), Some(_)) => Err(BackupError::WrongKey { place }),
            (Some(_), None) => Err(BackupError::KeyNeeded { place }),
            (None, Some(_)) => Err(BackupError::IsPlain { place }),
        }
    }
}

/// Makes the directory if it is missing, makes sure that it is one of backups, and locks it.
fn locked(place: &str) -> Result<File, BackupError> {
    let dir = Path::new(place);
    let io = |action, source| store::StoreError::io_of(action, dir, source);
    fs::create_dir_all(dir).map_err(|e| io("create", e))?;
    for entry in fs::read_dir(dir).map_err(|e| io("list", e))? {
        let name = entry.map_err(|e| io("list", e))?.file_name();
        let name = name.to_string_lossy();
        if ![HEADER, LOCK, TMP, "data", "points", "lost+found"].contains(&&*name) {
            return Err(BackupError::NotEmpty {
                place: place.to_owned(),
                found: name.into_owned(),
            });
        }
    }
    let lock = File::create(dir.join(LOCK)).map_err(|e| io("lock", e))?;
    if lock.try_lock().is_err() {
        return Err(BackupError::UnderWay {
            place: place.to_owned(),
        });
    }
    // What a backup that was killed left half-written.
    if let Ok(left) = fs::read_dir(dir.join(TMP)) {
        for entry in left.flatten() {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(lock)
}
