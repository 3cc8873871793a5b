//! The directory of a ledger: its layout, and the lock that lets one process at a time have it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Result, StoreError};

/// A ledger's directory, held exclusively until this value is dropped (or the process dies).
///
/// ```text
/// lock             whoever has it locked has the ledger; names the process
/// ledger.json      the format version; its presence says that there is a ledger
/// keys/            secret, mode 0700
/// journal/         acknowledged and not yet published
/// ledger.sqlite    latest checkpoint, index, subject keys, tokens
/// log/checkpoint   log/ can be served by any static file server
/// log/tile/…
/// sealed/…         encrypted values, parallel to the entry bundles
/// attachments/  documents/
/// tmp/             half-written files; emptied at each start
/// ```
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Unlocked by the system when closed.
    _lock: File,
}

/// Subdirectories with their modes. What is public or encrypted follows the umask.
const LAYOUT: [(&str, u32); 7] = [
    ("keys", 0o700),
    ("journal", 0o700),
    ("log", 0o777),
    ("sealed", 0o700),
    ("attachments", 0o777),
    ("documents", 0o777),
    ("tmp", 0o700),
];
const LOCK: &str = "lock";
const MANIFEST: &str = "ledger.json";

impl DataDir {
    /// Makes a directory for a new ledger, or goes on with one whose making was interrupted, and locks it. Whoever
    /// calls writes [`manifest`](Self::manifest) last; until then there is no ledger.
    ///
    /// # Errors
    /// [`LedgerExists`](StoreError::LedgerExists), [`NotEmpty`](StoreError::NotEmpty), [`Locked`](StoreError::Locked),
    /// or as system calls fail.
    pub fn create(path: &Path) -> Result<Self> {
        make_dir(path, 0o777)?;
        // Before the lock file is made, so that a directory chosen by mistake stays as it is.
        for entry in path
            .read_dir()
            .map_err(|source| StoreError::io("list", path, source))?
        {
            let found = entry
                .map_err(|source| StoreError::io("list", path, source))?
                .file_name();
            let found = found.to_string_lossy();
            if found == MANIFEST {
                return Err(StoreError::LedgerExists {
                    path: path.to_path_buf(),
                });
            }
            let ours = found == LOCK
                || found == "policy"
                || found == "lost+found"
                || found.starts_with("ledger.sqlite")
                || LAYOUT.iter().any(|(name, _)| *name == found);
            if !ours {
                return Err(StoreError::NotEmpty {
                    path: path.to_path_buf(),
                    found: found.into_owned(),
                });
            }
        }
        let dir = Self::locked(path)?;
        if dir.manifest().exists() {
            return Err(StoreError::LedgerExists {
                path: path.to_path_buf(),
            });
        }
        dir.lay_out()?;
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            sync_dir(parent)?;
        }
        Ok(dir)
    }

    /// Locks the directory of a ledger that exists, and removes what a dead process left half-written.
    ///
    /// # Errors
    /// [`NoLedger`](StoreError::NoLedger), [`Locked`](StoreError::Locked), or as system calls fail.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(MANIFEST).exists() {
            return Err(StoreError::NoLedger {
                path: path.to_path_buf(),
            });
        }
        let dir = Self::locked(path)?;
        dir.lay_out()?;
        let tmp = dir.tmp();
        for entry in tmp
            .read_dir()
            .map_err(|source| StoreError::io("list", &tmp, source))?
        {
            let left = entry
                .map_err(|source| StoreError::io("list", &tmp, source))?
                .path();
            fs::remove_file(&left).map_err(|source| StoreError::io("remove", &left, source))?;
        }
        Ok(dir)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `ledger.json`.
    pub fn manifest(&self) -> PathBuf {
        self.path.join(MANIFEST)
    }

    /// `keys/`.
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// `journal/`.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// `ledger.sqlite`.
    pub fn database(&self) -> PathBuf {
        self.path.join("ledger.sqlite")
    }

    /// `log/`, under which are `checkpoint` and `tile/`.
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// `sealed/`.
    pub fn sealed(&self) -> PathBuf {
        self.path.join("sealed")
    }

    /// `attachments/`.
    pub fn attachments(&self) -> PathBuf {
        self.path.join("attachments")
    }

    /// `documents/`.
    pub fn documents(&self) -> PathBuf {
        self.path.join("documents")
    }

    /// `tmp/`.
    pub fn tmp(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// Writes a file of this directory, named by a relative path, such that it has the old bytes or the new, never a
    /// part. Durable once it returns. Mode `0o600` for secrets.
    ///
    /// # Errors
    /// As system calls fail; the old file is still there, or the new one.
    pub fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.path.join(name);
        let tmp = write_temp(&self.tmp(), bytes, mode)?;
        fs::rename(&tmp, &path)
            .map_err(|source| StoreError::io("rename a finished file to", &path, source))?;
        sync_dir(path.parent().unwrap_or(&self.path))
    }

    fn lay_out(&self) -> Result<()> {
        for (name, mode) in LAYOUT {
            make_dir(&self.path.join(name), mode)?;
        }
        sync_dir(&self.path)
    }

    fn locked(path: &Path) -> Result<Self> {
        let lock_path = path.join(LOCK);
        let io = |source| StoreError::io("lock", &lock_path, source);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&lock_path)
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = lock
                    .read_to_string(&mut text)
                    .ok()
                    .and_then(|_| text.trim().parse().ok());
                return Err(StoreError::Locked {
                    path: path.to_path_buf(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        lock.set_len(0).map_err(io)?;
        lock.seek(SeekFrom::Start(0)).map_err(io)?;
        writeln!(lock, "{}", std::process::id()).map_err(io)?;
        Ok(Self {
            path: path.to_path_buf(),
            _lock: lock,
        })
    }
}

/// Makes a directory and what is missing above it; one that exists keeps its mode.
fn make_dir(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| StoreError::io("create", path, source))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    let dir = File::open(path).map_err(|source| StoreError::io("open", path, source))?;
    dir.sync_all().map_err(|source| sync_failed(path, source))
}

/// Writes a new file with a name of its own below `tmp`, and makes its bytes durable.
pub(crate) fn write_temp(tmp: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf> {
    synced_temp(tmp, mode, |file, path| {
        file.write_all(bytes)
            .map_err(|source| StoreError::io("write", path, source))
    })
}

/// As [`write_temp`], with what `source` has to its end; gives how much that was, too.
pub(crate) fn write_temp_from(
    tmp: &Path,
    source: &mut dyn Read,
    mode: u32,
) -> Result<(PathBuf, u64)> {
    let mut bytes = 0;
    let path = synced_temp(tmp, mode, |file, path| {
        bytes = copy(source, file, path)?;
        Ok(())
    })?;
    Ok((path, bytes))
}

/// How much is copied at a time.
const COPY_BYTES: usize = 256 << 10;
/// How much of a long file is synced at a time: all of it at once would hold up the journal's own sync.
const SYNC_BYTES: usize = 8 << 20;

fn copy(source: &mut dyn Read, file: &mut File, path: &Path) -> Result<u64> {
    let mut buffer = vec![0; COPY_BYTES];
    let (mut bytes, mut unsynced) = (0, 0);
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(StoreError::Source(error)),
        };
        file.write_all(&buffer[..read])
            .map_err(|source| StoreError::io("write", path, source))?;
        bytes += read as u64;
        unsynced += read;
        if unsynced >= SYNC_BYTES {
            file.sync_data()
                .map_err(|source| sync_failed(path, source))?;
            unsynced = 0;
        }
    }
}

fn synced_temp(
    tmp: &Path,
    mode: u32,
    write: impl FnOnce(&mut File, &Path) -> Result<()>,
) -> Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    // The process owns the directory, so a number makes a name unique in it.
    let path = tmp.join(format!(
        "{}-{}",
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    ));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&path)
        .map_err(|source| StoreError::io("write", &path, source))
        .and_then(|mut file| {
            write(&mut file, &path)?;
            file.sync_all().map_err(|source| sync_failed(&path, source))
        });
    if written.is_err() {
        // Best effort: the next start empties the directory.
        let _ = fs::remove_file(&path);
    }
    written.map(|()| path)
}

fn sync_failed(path: &Path, source: io::Error) -> StoreError {
    StoreError::SyncFailed {
        path: path.to_path_buf(),
        source,
    }
}
