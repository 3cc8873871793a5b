//! Where an export goes: a directory, or an object store.
//!
//! In an object store nothing is renamed, so a file is written in a directory of this machine and sent once it is whole. Nobody
//! sees a part of one either way.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use store::ObjectStore;

use crate::error::ExportError;
use crate::manifest::{ExportedFile, hex};

/// Held by whoever exports into a directory.
const LOCK: &str = "_lock";
/// The file that is being written, before it is sent.
const DRAFT: &str = "draft";

pub(crate) enum Out {
    Dir {
        dir: PathBuf,
        /// Keeps others out while it lives.
        _lock: Option<File>,
    },
    Store {
        objects: Arc<dyn ObjectStore>,
        name: String,
        drafts: tempfile::TempDir,
    },
}

impl Out {
    pub(crate) fn dir(dir: &Path) -> Result<Self, ExportError> {
        fs::create_dir_all(dir).map_err(|e| ExportError::io(dir, e))?;
        Ok(Self::Dir {
            dir: dir.to_path_buf(),
            _lock: None,
        })
    }

    pub(crate) fn store(objects: Arc<dyn ObjectStore>, name: &str) -> Result<Self, ExportError> {
        let drafts = tempfile::tempdir().map_err(|e| ExportError::io(&std::env::temp_dir(), e))?;
        Ok(Self::Store {
            objects,
            name: name.to_owned(),
            drafts,
        })
    }

    /// As users name it.
    pub(crate) fn name(&self) -> PathBuf {
        match self {
            Self::Dir { dir, .. } => dir.clone(),
            Self::Store { name, .. } => name.into(),
        }
    }

    /// As users name a file of it.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.name().join(file)
    }

    /// Whether it is somebody else's at the moment; if not, it is ours. Two exports into one object store write the same.
    pub(crate) fn lock(&mut self) -> Result<bool, ExportError> {
        if let Self::Dir { dir, _lock } = self {
            let path = dir.join(LOCK);
            let file = File::create(&path).map_err(|e| ExportError::io(&path, e))?;
            if file.try_lock().is_err() {
                return Ok(false);
            }
            *_lock = Some(file);
        }
        Ok(true)
    }

    pub(crate) fn read(&self, file: &str) -> Result<Option<Vec<u8>>, ExportError> {
        match self {
            Self::Dir { dir, .. } => {
                let path = dir.join(file);
                match fs::read(&path) {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(ExportError::io(&path, e)),
                }
            }
            Self::Store { objects, .. } => Ok(objects.get(file)?),
        }
    }

    /// Writes a file such that it is there whole or not at all.
    pub(crate) fn write(&self, file: &str, bytes: &[u8]) -> Result<(), ExportError> {
        match self {
            Self::Dir { dir, .. } => {
                let path = dir.join(file);
                let unfinished = unfinished(&path);
                let written = File::create(&unfinished).and_then(|mut file| file.write_all(bytes));
                written.map_err(|e| ExportError::io(&unfinished, e))?;
                persist(&path)
            }
            Self::Store { objects, .. } => Ok(objects.replace(file, bytes)?),
        }
    }

    /// Whether there is anything but files of these names, and what comes before them.
    pub(crate) fn holds_others(&self, first: &[&str]) -> Result<bool, ExportError> {
        match self {
            Self::Dir { dir, .. } => {
                let mut known = vec![dir.join(LOCK)];
                for name in first {
                    known.extend([dir.join(name), unfinished(&dir.join(name))]);
                }
                for entry in fs::read_dir(dir).map_err(|e| ExportError::io(dir, e))? {
                    let entry = entry.map_err(|e| ExportError::io(dir, e))?;
                    if !known.contains(&entry.path()) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Store { objects, .. } => {
                let keys = objects.list("")?;
                Ok(keys.iter().any(|key| !first.contains(&key.as_str())))
            }
        }
    }

    /// Where a file is written before it is whole.
    pub(crate) fn draft(&self, file: &str) -> Result<PathBuf, ExportError> {
        match self {
            Self::Dir { dir, .. } => {
                let path = dir.join(file);
                let folder = path.parent().unwrap_or(dir);
                fs::create_dir_all(folder).map_err(|e| ExportError::io(folder, e))?;
                Ok(unfinished(&path))
            }
            Self::Store { drafts, .. } => Ok(drafts.path().join(DRAFT)),
        }
    }

    /// Gives the draft of a file its name; its size and SHA-256.
    pub(crate) fn keep(&self, file: &str) -> Result<(u64, String), ExportError> {
        let draft = self.draft(file)?;
        let digest = digest(&draft)?.unwrap_or_default();
        match self {
            Self::Dir { dir, .. } => persist(&dir.join(file))?,
            Self::Store { objects, .. } => {
                let mut source = File::open(&draft).map_err(|e| ExportError::io(&draft, e))?;
                objects.put_from(file, &mut source)?;
                fs::remove_file(&draft).map_err(|e| ExportError::io(&draft, e))?;
            }
        }
        Ok(digest)
    }

    /// Whether a file is as it was noted: by its bytes in a directory, by its size in an object store, which shows no
    /// other than whole ones.
    pub(crate) fn holds(&self, file: &ExportedFile) -> Result<bool, ExportError> {
        Ok(match self {
            Self::Dir { dir, .. } => {
                digest(&dir.join(&file.path))? == Some((file.bytes, file.sha256.clone()))
            }
            Self::Store { objects, .. } => objects.confirm(&file.path)? == Some(file.bytes),
        })
    }

    /// Removes a file that says nothing any more; one that stays does no harm.
    pub(crate) fn forget(&self, file: &str) {
        match self {
            Self::Dir { dir, .. } => drop(fs::remove_file(dir.join(file))),
            Self::Store { objects, .. } => drop(objects.delete(file)),
        }
    }

    /// The last of it: others may come.
    pub(crate) fn release(&self) {
        if matches!(self, Self::Dir { .. }) {
            self.forget(LOCK);
        }
    }
}

/// The name of a file until it is whole: readers of a folder pass over names that begin with a dot.
fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str());
    path.with_file_name(format!(".{}.unfinished", name.unwrap_or_default()))
}

/// Gives a file that is written its name.
fn persist(path: &Path) -> Result<(), ExportError> {
    let unfinished = unfinished(path);
    let synced = File::open(&unfinished).and_then(|file| file.sync_all());
    synced.map_err(|e| ExportError::io(&unfinished, e))?;
    fs::rename(&unfinished, path).map_err(|e| ExportError::io(path, e))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|e| ExportError::io(folder, e))
}

/// Size and SHA-256 of a file; `None` where there is none.
fn digest(path: &Path) -> Result<Option<(u64, String)>, ExportError> {
    use std::io::Read as _;
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(ExportError::io(path, e)),
    };
    let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(|e| ExportError::io(path, e))?;
        if read == 0 {
            return Ok(Some((bytes, hex(&hasher.finalize()))));
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}
