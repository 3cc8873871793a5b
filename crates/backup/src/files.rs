//! Files beside the ledger: its configuration, certificates, whatever an installation is made again with.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use crate::blob::{Blobs, Joined};
use crate::error::BackupError;
use crate::place::Place;
use crate::point::{Hex, KeptFile, Object};

/// Who may read, write and execute: what is kept of a mode, and given back of one.
const PERMISSIONS: u32 = 0o777;

/// Copies these files, and those below these directories.
pub(crate) fn keep(paths: &[PathBuf], blobs: &Blobs<'_>) -> Result<Vec<KeptFile>, BackupError> {
    let mut found = BTreeSet::new();
    for path in paths {
        let path = std::path::absolute(path).map_err(|error| failed(path, error))?;
        find(&path, &mut found)?;
    }
    let kept = found.iter().map(|path| {
        let unreadable = |error| failed(path, error);
        let key = path
            .to_str()
            .ok_or_else(|| unreadable(io::Error::other("its path is not UTF-8")))?;
        let mut file = File::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.permissions().mode() & PERMISSIONS;
        let (names, bytes) = blobs.put_all(&mut file)?;
        Ok(KeptFile {
            content: Object {
                key: key.to_owned(),
                bytes,
                blobs: names.into_iter().map(Hex).collect(),
            },
            mode,
        })
    });
    kept.collect()
}

/// The files at and below `path`. A link is what it points to, unless that is a directory further down: Kubernetes has
/// everything it mounts twice that way.
fn find(path: &Path, found: &mut BTreeSet<PathBuf>) -> Result<(), BackupError> {
    let unreadable = |error| failed(path, error);
    let kind = fs::metadata(path).map_err(unreadable)?;
    if kind.is_file() {
        found.insert(path.to_owned());
        return Ok(());
    }
    if !kind.is_dir() {
        return Err(unreadable(io::Error::other(
            "it is no file and no directory",
        )));
    }
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        let target = fs::metadata(&path).map_err(|error| failed(&path, error))?;
        let is_link = entry.file_type().map_err(unreadable)?.is_symlink();
        if target.is_file() || (target.is_dir() && !is_link) {
            find(&path, found)?;
        }
    }
    Ok(())
}

/// Writes the files of a point, the newest unless one is named, below a directory that is new or empty: each at the path it
/// had, with the permissions it had. Gives their paths.
///
/// # Errors
/// The directory has something in it or cannot be written, a blob is damaged or missing.
pub fn restore_files(
    place: &Place,
    point: Option<&str>,
    dir: &Path,
) -> Result<Vec<PathBuf>, BackupError> {
    let files = place.point(point)?.files(place)?;
    let unwritable = |error| failed(dir, error);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(unwritable)?;
    if let Some(entry) = fs::read_dir(dir).map_err(unwritable)?.next() {
        return Err(BackupError::NotEmpty {
            place: dir.display().to_string(),
            found: entry.map_err(unwritable)?.file_name().display().to_string(),
        });
    }
    files.iter().map(|file| write(place, file, dir)).collect()
}

fn write(place: &Place, file: &KeptFile, dir: &Path) -> Result<PathBuf, BackupError> {
    let path = dir.join(below(&file.content.key)?);
    let unwritable = |error| failed(&path, error);
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(unwritable)?;
    }
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(unwritable)?;
    let names = file.content.names();
    let mut joined = Joined::new(place, &names);
    let copied = io::copy(&mut joined, &mut out);
    if let Some(error) = joined.failed {
        return Err(error);
    }
    copied.map_err(unwritable)?;
    out.set_permissions(Permissions::from_mode(file.mode & PERMISSIONS))
        .map_err(unwritable)?;
    out.sync_all().map_err(unwritable)?;
    Ok(path)
}

/// The path without its root. A backup in the clear may have been written by anybody: nothing of it leaves the directory.
fn below(key: &str) -> Result<PathBuf, BackupError> {
    let mut parts = Path::new(key).components();
    let rooted = parts.next() == Some(Component::RootDir);
    let rest: PathBuf = parts.clone().collect();
    if rooted && parts.all(|part| matches!(part, Component::Normal(_))) && rest != Path::new("") {
        return Ok(rest);
    }
    Err(BackupError::Damaged {
        what: "the list of files".to_owned(),
        reason: format!("`{key}` is no file's path"),
    })
}

fn failed(path: &Path, source: io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_the_directory() {
        assert_eq!(below("/etc/a.toml").unwrap(), Path::new("etc/a.toml"));
        for key in ["/", "", "etc/a.toml", "/etc/../../a", "/..", "../a"] {
            let refused = below(key).unwrap_err();
            assert!(refused.is_damage(), "{key}: {refused}");
        }
    }
}
