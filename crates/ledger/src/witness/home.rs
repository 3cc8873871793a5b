//! Where a witness keeps what it knows: one directory, one file for each log that decides.
//!
//! ```text
//! lock                          whoever has it locked has the witness
//! witness.json                  the format's version and the name
//! vkeys                         its public keys, to be handed out
//! keys/                         secret, mode 0700
//! logs/<origin hash>/checkpoint the latest checkpoint kept; the next one has to grow from it
//! logs/<origin hash>/cosigned   the latest with this witness's cosignatures
//! evidence/<origin hash>/…      what a log signed that does not go together
//! tmp/                          half-written files
//! ```

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;

use record::RunId;
use serde::{Deserialize, Serialize};
use store::{DirObjects, ObjectStore, StoreError};
use tlog::{Checkpoint, SignedNote, VerifierKey};

use super::Options;
use crate::LedgerError;

const FORMAT: u32 = 1;
const MANIFEST: &str = "witness.json";

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
    name: String,
}

/// The latest checkpoint of a log.
pub(super) struct Latest {
    pub(super) checkpoint: Checkpoint,
    /// The note with the log's signatures.
    pub(super) note: String,
}

/// The directory, held exclusively.
pub(super) struct Home {
    objects: Arc<dyn ObjectStore>,
    _lock: File,
}

/// SHA-256 of a log's origin in lower-case hex: its name in paths.
pub fn origin_hash(origin: &str) -> String {
    tlog::sha256(origin.as_bytes())
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

impl Home {
    /// Opens or makes it; gives the witness's name too.
    pub(super) fn open(
        dir: &Path,
        options: &Options,
        wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    ) -> Result<(Self, String), LedgerError> {
        fs::create_dir_all(dir).map_err(|e| LedgerError::io(dir, e))?;
        if dir.join("ledger.json").exists() {
            return Err(LedgerError::NoWitness {
                dir: dir.to_owned(),
                why: "it holds a ledger, and a witness must not be the one it watches".to_owned(),
            });
        }
        let lock = locked(dir)?;
        let tmp = dir.join("tmp");
        if tmp.exists() {
            fs::remove_dir_all(&tmp).map_err(|e| LedgerError::io(&tmp, e))?;
        }
        let objects = wrap(Arc::new(DirObjects::open(dir, &tmp)?));
        let home = Self {
            objects,
            _lock: lock,
        };
        let name = home.name(dir, options)?;
        Ok((home, name))
    }

    fn name(&self, dir: &Path, options: &Options) -> Result<String, LedgerError> {
        if let Some(bytes) = self.objects.get(MANIFEST)? {
            let manifest: Manifest =
                serde_json::from_slice(&bytes).map_err(|e| LedgerError::corrupt(MANIFEST, e))?;
            if manifest.format != FORMAT {
                let reason = format!(
                    "format {} is not {FORMAT}, use its program",
                    manifest.format
                );
                return Err(LedgerError::corrupt(MANIFEST, reason));
            }
            return match &options.name {
                Some(wanted) if *wanted != manifest.name => Err(LedgerError::NoWitness {
                    dir: dir.to_owned(),
                    why: format!(
                        "it is the witness {}, not {wanted}; a name is for ever, as the key's id hangs on it",
                        manifest.name
                    ),
                }),
                _ => Ok(manifest.name),
            };
        }
        let name = options.name.clone().unwrap_or_else(|| {
            let id = RunId::generate(&*options.clock, &*options.entropy);
            format!(
                "rlhf-audit.internal/witness/{}",
                id.as_str().to_ascii_lowercase()
            )
        });
        let manifest = Manifest {
            format: FORMAT,
            name: name.clone(),
        };
        let mut bytes =
            serde_json::to_vec_pretty(&manifest).map_err(|e| LedgerError::corrupt(MANIFEST, e))?;
        bytes.push(b'\n');
        self.objects.replace(MANIFEST, &bytes)?;
        Ok(name)
    }

    pub(super) fn write_vkeys(&self, vkeys: &[VerifierKey]) -> Result<(), LedgerError> {
        let mut text = String::new();
        for key in vkeys {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{key}");
        }
        if self.objects.get("vkeys")?.as_deref() != Some(text.as_bytes()) {
            self.objects.replace("vkeys", text.as_bytes())?;
        }
        Ok(())
    }

    /// Keeps the checkpoint from which the next has to grow. Durable once it returns.
    pub(super) fn keep(&self, origin: &str, note: &str) -> Result<(), StoreError> {
        self.objects.replace(&latest(origin), note.as_bytes())
    }

    pub(super) fn keep_cosigned(&self, origin: &str, note: &[u8]) -> Result<(), StoreError> {
        self.objects.replace(&cosigned(origin), note)
    }

    /// What is kept.
    pub(super) fn latest(&self, origin: &str) -> Result<Option<Latest>, LedgerError> {
        let key = latest(origin);
        let Some(bytes) = self.objects.get(&key)? else {
            return Ok(None);
        };
        let corrupt = |reason: &dyn std::fmt::Display| LedgerError::corrupt(&key, reason);
        let note = SignedNote::parse(&bytes).map_err(|e| corrupt(&e))?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(|e| corrupt(&e))?;
        if checkpoint.origin != origin {
            return Err(corrupt(&format!("it is of log {}", checkpoint.origin)));
        }
        let note = note.to_string();
        Ok(Some(Latest { checkpoint, note }))
    }

    /// The note that was cosigned last, its lines by `keys`, and their time.
    pub(super) fn cosigned(
        &self,
        origin: &str,
        keys: &[VerifierKey],
    ) -> Result<Option<(Arc<str>, String, u64)>, LedgerError> {
        let key = cosigned(origin);
        let Some(bytes) = self.objects.get(&key)? else {
            return Ok(None);
        };
        let corrupt = |reason: &dyn std::fmt::Display| LedgerError::corrupt(&key, reason);
        let note = SignedNote::parse(&bytes).map_err(|e| corrupt(&e))?;
        let (mut lines, mut time) = (String::new(), 0);
        for key in keys {
            let verified = note.verify_by(key).map_err(|e| corrupt(&e))?;
            time = time.max(verified.and_then(|v| v.timestamp).unwrap_or(0));
            for line in note.signatures().iter().filter(|line| line.is_by(key)) {
                let _ = writeln!(lines, "{line}");
            }
        }
        Ok(Some((note.to_string().into(), lines, time)))
    }

    /// Keeps a piece of evidence.
    pub(super) fn put_evidence(&self, key: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.objects.put(key, bytes)
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.objects.list(prefix)
    }
}

fn latest(origin: &str) -> String {
    format!("logs/{}/checkpoint", origin_hash(origin))
}

fn cosigned(origin: &str) -> String {
    format!("logs/{}/cosigned", origin_hash(origin))
}

fn locked(dir: &Path) -> Result<File, LedgerError> {
    let path = dir.join("lock");
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| LedgerError::io(&path, e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(LedgerError::NoWitness {
            dir: dir.to_owned(),
            why: "another process has it; two with one key could sign a fork".to_owned(),
        }),
        Err(TryLockError::Error(e)) => Err(LedgerError::io(&path, e)),
    }
}
