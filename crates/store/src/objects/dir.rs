//! Objects as files below a directory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{ObjectStore, OpenObject, check_key};
use crate::dir::{sync_dir, write_temp, write_temp_from};
use crate::error::{Result, StoreError};

/// How many files are written and synced at once. Syncs that wait together share a commit of the file system's journal;
/// beside a busy sequencer, four to eight were two to three times as fast as one, and more only held its own sync up.
const WRITERS: usize = 8;

/// An [`ObjectStore`] in a directory of this machine; key = path. Each file is written aside, synced, renamed into
/// place, and its directory synced.
#[derive(Debug)]
pub struct DirObjects {
    root: PathBuf,
    tmp: PathBuf,
    /// Held from looking whether a key is taken until it is, and while empty directories are removed.
    placing: Mutex<()>,
}

/// What became of an object so far.
enum Staged {
    /// The same bytes are there.
    Present,
    /// Its bytes are durable under this name.
    Temp(PathBuf),
}

impl DirObjects {
    /// Objects below `root`, with `tmp` (on the same file system) for what is half-written. Both are made if missing.
    /// If `tmp` lies below `root`, no key may start with its name.
    ///
    /// # Errors
    /// If the directories cannot be made.
    pub fn open(root: &Path, tmp: &Path) -> Result<Self> {
        for dir in [root, tmp] {
            fs::create_dir_all(dir).map_err(|source| StoreError::io("create", dir, source))?;
        }
        Ok(Self {
            root: root.to_path_buf(),
            tmp: tmp.to_path_buf(),
            placing: Mutex::new(()),
        })
    }

    /// Objects below `root`, to be read: nothing is made.
    pub fn open_to_read(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            tmp: root.join("tmp"),
            placing: Mutex::new(()),
        }
    }

    fn stage(&self, (key, bytes): (&str, &[u8])) -> Result<Staged> {
        check_key(key)?;
        if let Some(present) = self.get(key)? {
            return same(key, &present, bytes).map(|()| Staged::Present);
        }
        write_temp(&self.tmp, bytes, 0o666).map(Staged::Temp)
    }

    fn stage_all(&self, objects: &[(&str, &[u8])]) -> Vec<Result<Staged>> {
        let workers = WRITERS.min(objects.len());
        if workers <= 1 {
            return objects.iter().map(|object| self.stage(*object)).collect();
        }
        let next = AtomicUsize::new(0);
        let work = || {
            let mut staged = Vec::new();
            loop {
                let position = next.fetch_add(1, Ordering::Relaxed);
                let Some(object) = objects.get(position) else {
                    return staged;
                };
                staged.push((position, self.stage(*object)));
            }
        };
        let mut staged: Vec<_> = thread::scope(|scope| {
            let helpers: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
            let mut staged = work();
            for helper in helpers {
                staged.extend(
                    helper
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                );
            }
            staged
        });
        staged.sort_unstable_by_key(|(position, _)| *position);
        staged.into_iter().map(|(_, staged)| staged).collect()
    }

    /// Gives a staged object its name, unless another has it by now.
    fn place(
        &self,
        (key, bytes): (&str, &[u8]),
        temp: &Path,
        dirs: &mut BTreeSet<PathBuf>,
    ) -> Result<()> {
        let path = self.root.join(key);
        let _placing = self.placing();
        self.make_parents(&path, dirs)?;
        if let Some(present) = self.get(key)? {
            let _ = fs::remove_file(temp);
            return same(key, &present, bytes);
        }
        rename(temp, &path)
    }

    fn placing(&self) -> MutexGuard<'_, ()> {
        self.placing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a finished file its name, whatever had it before, and makes that durable.
    fn swap_in(&self, temp: &Path, path: &Path) -> Result<()> {
        let mut dirs = BTreeSet::new();
        let placing = self.placing();
        if let Err(error) = self.make_parents(path, &mut dirs) {
            let _ = fs::remove_file(temp);
            return Err(error);
        }
        rename(temp, path)?;
        drop(placing);
        dirs.iter().try_for_each(|dir| sync_dir(dir))
    }

    /// Makes the directories above `path`; notes all of them to be synced, as another thread may have made one and
    /// not have synced it yet.
    fn make_parents(&self, path: &Path, dirs: &mut BTreeSet<PathBuf>) -> Result<()> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        fs::create_dir_all(parent).map_err(|source| StoreError::io("create", parent, source))?;
        if !dirs.contains(parent) {
            dirs.extend(
                parent
                    .ancestors()
                    .take_while(|dir| dir.starts_with(&self.root))
                    .map(Path::to_path_buf),
            );
        }
        Ok(())
    }
}

impl ObjectStore for DirObjects {
    fn put_many(&self, objects: &[(&str, &[u8])]) -> Result<()> {
        let staged = self.stage_all(objects);
        let mut dirs = BTreeSet::new();
        let mut outcome = Ok(());
        for (object, staged) in objects.iter().zip(staged) {
            let placed = match staged {
                // It may be there since a moment ago, by a thread that has not synced its directory yet.
                Ok(Staged::Present) => self.make_parents(&self.root.join(object.0), &mut dirs),
                Ok(Staged::Temp(temp)) if outcome.is_ok() => self.place(*object, &temp, &mut dirs),
                Ok(Staged::Temp(temp)) => {
                    let _ = fs::remove_file(temp);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            outcome = outcome.and(placed);
        }
        dirs.iter()
            .try_fold((), |(), dir| sync_dir(dir))
            .and(outcome)
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        check_key(key)?;
        let temp = write_temp(&self.tmp, bytes, 0o666)?;
        self.swap_in(&temp, &self.root.join(key))
    }

    fn put_from(&self, key: &str, source: &mut dyn Read) -> Result<u64> {
        check_key(key)?;
        let (temp, bytes) = write_temp_from(&self.tmp, source, 0o666)?;
        self.swap_in(&temp, &self.root.join(key))?;
        Ok(bytes)
    }

    fn open_object(&self, key: &str) -> Result<Option<OpenObject>> {
        check_key(key)?;
        let path = self.root.join(key);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
        match opened {
            Ok((found, file)) if found.is_file() => Ok(Some(OpenObject {
                bytes: found.len(),
                reader: Box::new(file),
            })),
            Ok(_) => Ok(None),
            Err(source) if absent(&source) => Ok(None),
            Err(source) => Err(StoreError::io("open", &path, source)),
        }
    }

    fn confirm(&self, key: &str) -> Result<Option<u64>> {
        let Some(object) = self.open_object(key)? else {
            return Ok(None);
        };
        // Its bytes were synced before it got its name; whether the name was, is not known here.
        let path = self.root.join(key);
        path.ancestors()
            .skip(1)
            .take_while(|dir| dir.starts_with(&self.root))
            .try_for_each(sync_dir)?;
        Ok(Some(object.bytes))
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        let path = self.root.join(key);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(source) if absent(&source) => Ok(None),
            Err(source) => Err(StoreError::io("read", &path, source)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        if !prefix.is_empty() {
            check_key(prefix)?;
        }
        let mut open = vec![prefix.to_owned()];
        while let Some(key) = open.pop() {
            let dir = self.root.join(&key);
            let entries = match fs::read_dir(&dir) {
                Ok(entries) => entries,
                Err(source) if absent(&source) => continue,
                Err(source) => return Err(StoreError::io("list", &dir, source)),
            };
            for entry in entries {
                let io = |source| StoreError::io("list", &dir, source);
                let entry = entry.map_err(io)?;
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let below = if key.is_empty() {
                    name
                } else {
                    format!("{key}/{name}")
                };
                if entry.file_type().map_err(io)?.is_dir() {
                    open.push(below);
                } else {
                    keys.push(below);
                }
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }

    fn delete(&self, key: &str) -> Result<()> {
        check_key(key)?;
        let path = self.root.join(key);
        let _placing = self.placing();
        match fs::remove_file(&path) {
            Err(source) if !absent(&source) => return Err(StoreError::io("remove", &path, source)),
            _ => {}
        }
        // A directory of partial tiles goes with its last one; while it holds another it refuses, which is as well.
        if let Some(dir) = path.parent()
            && dir.extension().is_some_and(|extension| extension == "p")
        {
            let _ = fs::remove_dir(dir);
        }
        Ok(())
    }
}

fn same(key: &str, present: &[u8], bytes: &[u8]) -> Result<()> {
    if present == bytes {
        return Ok(());
    }
    Err(StoreError::Conflict {
        what: format!("object `{key}`"),
    })
}

fn rename(temp: &Path, path: &Path) -> Result<()> {
    fs::rename(temp, path).map_err(|source| {
        let _ = fs::remove_file(temp);
        StoreError::io("rename a finished file to", path, source)
    })
}

/// Whether there is no such file; a file where a directory would be counts.
fn absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}
