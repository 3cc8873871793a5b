//! Which files a model is made of.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::error::WeightsError;
use crate::file::Laid;

/// More files and directories than this are no model. The largest published ones have some hundred.
const MAX_FILES: usize = 65_536;
/// Directories in each other.
const MAX_DEPTH: usize = 32;
/// What tools keep beside a model's files: not part of it. At the folder's top alone.
const NOT_OF_THE_MODEL: [&str; 2] = [".git", ".cache/huggingface"];

/// A model on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Every file in a folder and below it, named by its path from there. Symbolic links are followed, as a Hugging Face
    /// cache consists of them; `.git` and `.cache/huggingface` at its top are passed over.
    Folder(PathBuf),
    /// These files, by these names.
    Files(Vec<(String, PathBuf)>),
}

impl Source {
    /// A folder, or one file under its own name.
    ///
    /// # Errors
    ///
    /// It cannot be looked at, or has no name in UTF-8.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, WeightsError> {
        let path = path.into();
        let found = fs::metadata(&path).map_err(|e| WeightsError::io(&path, e))?;
        if found.is_dir() {
            return Ok(Self::Folder(path));
        }
        let name = path.file_name().and_then(|name| name.to_str());
        match name {
            Some(name) => Ok(Self::Files(vec![(name.to_owned(), path.clone())])),
            None => Err(WeightsError::Name { path }),
        }
    }

    /// Every file's path by its name.
    pub(crate) fn list(&self) -> Result<BTreeMap<String, PathBuf>, WeightsError> {
        let mut files = BTreeMap::new();
        match self {
            Self::Folder(root) => {
                let mut walk = Walk {
                    root,
                    files: &mut files,
                    seen: 0,
                };
                let found = fs::metadata(root).map_err(|e| WeightsError::io(root, e))?;
                walk.directory(root, "", &mut vec![identity(&found)])?;
                if files.is_empty() {
                    return Err(WeightsError::Empty { path: root.clone() });
                }
            }
            Self::Files(named) => {
                for (name, path) in named {
                    if files.insert(name.clone(), path.clone()).is_some() {
                        return Err(WeightsError::Twice { name: name.clone() });
                    }
                }
            }
        }
        Ok(files)
    }
}

impl Source {
    /// Whether the same files are there as before.
    ///
    /// # Errors
    ///
    /// One came or went.
    pub(crate) fn unchanged(&self, before: &[Laid]) -> Result<(), WeightsError> {
        let now = self.list()?;
        // Both are sorted by name.
        let known = |name: &String| before.binary_search_by(|file| file.name.cmp(name)).is_ok();
        let came = now.keys().find(|name| !known(name));
        if let Some(name) = came {
            return Err(WeightsError::changed(name, "it was not there before"));
        }
        match before.iter().find(|file| !now.contains_key(&file.name)) {
            Some(file) => Err(WeightsError::changed(
                &file.name,
                "it is not there any more",
            )),
            None => Ok(()),
        }
    }
}

/// What tells one directory or file from all others.
type Identity = (u64, u64);

fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino())
}

struct Walk<'a> {
    root: &'a Path,
    files: &'a mut BTreeMap<String, PathBuf>,
    seen: usize,
}

impl Walk<'_> {
    /// Looks through a directory; `above` are those it lies in, and itself.
    fn directory(
        &mut self,
        dir: &Path,
        prefix: &str,
        above: &mut Vec<Identity>,
    ) -> Result<(), WeightsError> {
        for entry in fs::read_dir(dir).map_err(|e| WeightsError::io(dir, e))? {
            let entry = entry.map_err(|e| WeightsError::io(dir, e))?;
            let path = entry.path();
            self.seen += 1;
            if self.seen > MAX_FILES {
                return Err(WeightsError::TooMany {
                    path: self.root.to_path_buf(),
                    limit: MAX_FILES,
                });
            }
            let Ok(own) = entry.file_name().into_string() else {
                return Err(WeightsError::Name { path });
            };
            let name = format!("{prefix}{own}");
            if NOT_OF_THE_MODEL.contains(&name.as_str()) {
                continue;
            }
            let found = follow(&path)?;
            if !found.is_dir() {
                regular(&path, &found)?;
                self.files.insert(name, path);
                continue;
            }
            if above.len() > MAX_DEPTH || above.contains(&identity(&found)) {
                return Err(WeightsError::Circle { path });
            }
            above.push(identity(&found));
            self.directory(&path, &format!("{name}/"), above)?;
            above.pop();
        }
        Ok(())
    }
}

/// What is at the end of a path, links followed.
pub(crate) fn follow(path: &Path) -> Result<Metadata, WeightsError> {
    fs::metadata(path).map_err(|error| {
        if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            return WeightsError::Circle {
                path: path.to_path_buf(),
            };
        }
        WeightsError::io(path, error)
    })
}

/// Refuses what is no file: reading it might never end.
pub(crate) fn regular(path: &Path, found: &Metadata) -> Result<(), WeightsError> {
    let kind = found.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(WeightsError::Special {
        path: path.to_path_buf(),
        what,
    })
}
