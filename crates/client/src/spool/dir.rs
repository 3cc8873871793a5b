//! The spool's directory: its layout, locks, and files that are written whole.
//!
//! ```text
//! spool.json                   the format's version
//! producer.ed25519             the key, mode 0600
//! streams/<scope>+<stream>/    a stream on its way
//!     lock                     whoever has it locked writes and sends the stream; names the process and what it does
//!     stream.json              whose key it has
//!     <seq>.seg                frames of submission lines, from that seq on
//!     progress.json            how far the server has acknowledged it
//!     seal.json                the run is to be sealed once the rest is acknowledged
//! attachments/<sha256>         on their way
//! receipts/<scope>/<stream>/   proofs of the log for records of ours
//! refused/                     streams that the server refused for good
//! evidence/                    promises of the log that were not kept
//! checkpoints/                 what the client remembers of the log
//! tmp/                         half-written files
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use record::{Scope, StreamName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::SpoolError;

const FORMAT: u32 = 1;
const MANIFEST: &str = "spool.json";
const LOCK: &str = "lock";
const BELOW: [&str; 6] = [
    "streams",
    "attachments",
    "receipts",
    "refused",
    "evidence",
    "tmp",
];

/// The directory of a spool.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    format: u32,
}

impl Layout {
    /// Makes what is missing.
    pub(super) fn open(root: &Path) -> Result<Self, SpoolError> {
        make_dir(root)?;
        let layout = Self {
            root: root.to_owned(),
        };
        for name in BELOW {
            make_dir(&root.join(name))?;
        }
        let path = root.join(MANIFEST);
        match read_json::<Manifest>(&path)? {
            Some(manifest) if manifest.format == FORMAT => {}
            Some(manifest) => {
                return Err(SpoolError::Damaged {
                    path,
                    offset: 0,
                    why: format!(
                        "it has format {}, and this version knows {FORMAT}",
                        manifest.format
                    ),
                });
            }
            None => layout.write_json(&path, &Manifest { format: FORMAT }, true)?,
        }
        Ok(layout)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn key(&self) -> PathBuf {
        self.root.join("producer.ed25519")
    }

    pub(super) fn streams(&self) -> PathBuf {
        self.root.join("streams")
    }

    pub(super) fn stream(&self, scope: Scope, stream: StreamName) -> PathBuf {
        self.streams().join(dir_name(scope, stream))
    }

    pub(super) fn attachments(&self) -> PathBuf {
        self.root.join("attachments")
    }

    pub(super) fn all_receipts(&self) -> PathBuf {
        self.root.join("receipts")
    }

    pub(super) fn receipts(&self, scope: Scope, stream: StreamName) -> PathBuf {
        let receipts = self.all_receipts();
        receipts.join(scope.as_str()).join(stream.as_str())
    }

    pub(super) fn refused(&self) -> PathBuf {
        self.root.join("refused")
    }

    pub(super) fn evidence(&self) -> PathBuf {
        self.root.join("evidence")
    }

    pub(super) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// A path in `tmp` that nobody else has.
    pub(super) fn temporary(&self) -> PathBuf {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        self.root
            .join("tmp")
            .join(format!("{}-{number}", std::process::id()))
    }

    /// Writes a file such that it has the old bytes or the new, whatever happens to the process; with `durable`, to the
    /// machine.
    pub(super) fn write(&self, path: &Path, bytes: &[u8], durable: bool) -> Result<(), SpoolError> {
        let temporary = self.temporary();
        let written = create(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            if durable { file.sync_all() } else { Ok(()) }
        });
        let renamed = written.and_then(|()| fs::rename(&temporary, path));
        if renamed.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        renamed.map_err(SpoolError::disk("write", path))?;
        match path.parent() {
            Some(parent) if durable => sync_dir(parent),
            _ => Ok(()),
        }
    }

    pub(super) fn write_json(
        &self,
        path: &Path,
        value: &impl Serialize,
        durable: bool,
    ) -> Result<(), SpoolError> {
        let mut bytes = serde_json::to_vec(value)
            .map_err(|error| SpoolError::disk("write", path)(error.into()))?;
        bytes.push(b'\n');
        self.write(path, &bytes, durable)
    }

    /// Removes what dead processes left half-written.
    pub(super) fn sweep(&self, is_old: impl Fn(&fs::Metadata) -> bool) {
        for path in names(&self.root.join("tmp")).unwrap_or_default() {
            if fs::metadata(&path).is_ok_and(|metadata| is_old(&metadata)) {
                // Best effort: it takes room and nothing else.
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
    }
}

/// `<scope>+<stream>`: neither has a `+`.
fn dir_name(scope: Scope, stream: StreamName) -> String {
    format!("{scope}+{stream}")
}

/// The stream that a directory below `streams/` is named after.
pub(super) fn stream_of(dir: &Path) -> Option<(Scope, StreamName)> {
    let (scope, stream) = dir.file_name()?.to_str()?.split_once('+')?;
    Some((Scope::parse(scope)?, StreamName::parse(stream)?))
}

/// A lock that ends with this value or with the process. What was forked from the process holds it too.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// What a process has a stream for, as the lock says for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It writes it.
    Writes,
    /// It sends what a dead process left, and lets it go then.
    Sends,
}

impl Purpose {
    const fn word(self) -> &'static str {
        match self {
            Self::Writes => "writes",
            Self::Sends => "sends",
        }
    }
}

impl Lock {
    /// Whether who has the stream locked will let it go soon.
    pub(super) fn is_passing(dir: &Path) -> bool {
        let text = fs::read_to_string(dir.join(LOCK)).unwrap_or_default();
        text.trim_end().ends_with(Purpose::Sends.word())
    }

    /// Locks a stream's directory; `None` where another process has it.
    pub(super) fn take(dir: &Path, purpose: Purpose) -> Result<Option<Self>, SpoolError> {
        let path = dir.join(LOCK);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let mut file = match file {
            // The directory is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(SpoolError::disk("open", &path))?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => {
                return Err(SpoolError::disk("lock", &path)(source));
            }
        }
        // Another may have had it until now, and moved the directory away.
        if !path.exists() {
            return Ok(None);
        }
        // What counts is the lock.
        let _ = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{} {}", std::process::id(), purpose.word()));
        Ok(Some(Self { _file: file }))
    }
}

pub(super) fn make_dir(path: &Path) -> Result<(), SpoolError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(SpoolError::disk("create", path))
}

/// A new file for its owner only.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(path: &Path) -> Result<(), SpoolError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(SpoolError::disk("sync", path))
}

/// The paths in a directory, sorted.
pub(super) fn names(dir: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect()
    };
    let mut paths = match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(SpoolError::disk("list", dir))?,
    };
    paths.sort();
    Ok(paths)
}

/// Reads a file whole; `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, SpoolError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if io::Error::kind(&error) == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SpoolError::disk("read", path)(error)),
    }
}

/// Reads a file of JSON; `None` where there is none.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SpoolError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let value = serde_json::from_slice(&bytes).map_err(|error| SpoolError::Damaged {
        path: path.to_owned(),
        offset: 0,
        why: error.to_string(),
    })?;
    Ok(Some(value))
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), SpoolError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SpoolError::disk("remove", path)(error))
        }
        _ => Ok(()),
    }
}
