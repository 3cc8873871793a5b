//! What is known of the log, in a directory: written aside, synced and renamed into place, so that a
//! monitor that is killed at any moment goes on from one whole state or the other.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, Kind};
use crate::error::MonitorError;

const FORMAT: u32 = 1;
const FILE: &str = "state.json";
/// Alerts that wait for the webhook; beyond that the oldest are given up.
pub(crate) const MAX_OUTBOX: usize = 100;

/// The last checkpoint that was shown to be good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Last {
    /// The signed note.
    pub(crate) note: String,
    /// When it was first seen, in microseconds since 1970.
    pub(crate) seen: i64,
    /// The latest time a cosignature on it states, in seconds since 1970.
    pub(crate) signed: Option<u64>,
}

/// What survives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    format: u32,
    pub(crate) url: String,
    /// When watching began.
    pub(crate) begun: i64,
    /// When everything asked for was last shown.
    pub(crate) shown: i64,
    pub(crate) last: Option<Last>,
    /// What is wrong at present, and was said.
    pub(crate) standing: BTreeSet<Kind>,
    /// SHA-256 of each failure of a record that was said: entries are read anew after a restart.
    pub(crate) said: BTreeSet<String>,
    /// What the webhook has not taken yet.
    pub(crate) outbox: Vec<Alert>,
}

/// A state directory that no other monitor uses.
#[derive(Debug)]
pub(crate) struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    pub(crate) fn open(path: &Path) -> Result<Self, MonitorError> {
        let bad = |path: &Path, why: String| MonitorError::State {
            path: path.to_owned(),
            why,
        };
        fs::create_dir_all(path).map_err(|e| bad(path, e.to_string()))?;
        let at = path.join("lock");
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&at)
            .map_err(|e| bad(&at, e.to_string()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(MonitorError::Taken {
                path: path.to_owned(),
            }),
            Err(TryLockError::Error(e)) => Err(bad(&at, e.to_string())),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The state as it was left, or a new one.
    pub(crate) fn load(&self, url: &str, now: i64) -> Result<State, MonitorError> {
        let bad = |why: String| MonitorError::State {
            path: self.path.join(FILE),
            why,
        };
        match self.read(FILE)? {
            Some(bytes) => {
                let state: State = serde_json::from_slice(&bytes).map_err(|e| {
                    bad(format!(
                        "{e}; move the directory away to begin again, and keep it"
                    ))
                })?;
                if state.format != FORMAT {
                    return Err(bad(format!("format {} is not {FORMAT}", state.format)));
                }
                Ok(State {
                    url: url.to_owned(),
                    ..state
                })
            }
            None => Ok(State {
                format: FORMAT,
                url: url.to_owned(),
                begun: now,
                shown: now,
                last: None,
                standing: BTreeSet::new(),
                said: BTreeSet::new(),
                outbox: Vec::new(),
            }),
        }
    }

    pub(crate) fn save(&self, state: &State) -> Result<(), MonitorError> {
        let bytes = serde_json::to_vec_pretty(state).map_err(|e| MonitorError::State {
            path: self.path.join(FILE),
            why: e.to_string(),
        })?;
        self.write(FILE, &bytes)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, MonitorError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(MonitorError::State {
                path,
                why: e.to_string(),
            }),
        }
    }

    /// Replaces a file as a whole, durably.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), MonitorError> {
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(self.path.join(name)).map_err(|e| e.error)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|e| MonitorError::State {
            path: self.path.join(name),
            why: e.to_string(),
        })
    }
}
