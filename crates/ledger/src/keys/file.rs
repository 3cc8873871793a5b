//! Key files on the disk: made once, replaced as a whole, read by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::sealed::MAX_TEXT;
use crate::LedgerError;

/// Makes a file that is not there (mode 0600), durable but for its name.
pub(super) fn create(path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|e| LedgerError::io(path, e))
}

/// Puts a file in another's place: there is the old text or the new, also after a power loss, and
/// once this returns the new one.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), LedgerError> {
    let temporary = beside(path, ".tmp");
    // What an earlier try left behind.
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(LedgerError::io(&temporary, e));
        }
        _ => create(&temporary, text.as_bytes())?,
    }
    rename(&temporary, path)
}

/// Gives a file another's name, durably.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), LedgerError> {
    fs::rename(from, to).map_err(|e| LedgerError::io(to, e))?;
    sync_dir(to.parent().unwrap_or(Path::new(".")))
}

/// Removes what an interrupted [`replace`] left, which may be a plain text.
pub(super) fn sweep(path: &Path) -> Result<(), LedgerError> {
    let temporary = beside(path, ".tmp");
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(LedgerError::io(&temporary, e)),
        _ => Ok(()),
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), LedgerError> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(|e| LedgerError::io(dir, e))
}

/// The text of a file that only its owner can read.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, LedgerError> {
    let file = File::open(path).map_err(|e| LedgerError::io(path, e))?;
    let mode = file
        .metadata()
        .map_err(|e| LedgerError::io(path, e))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(LedgerError::KeyMode {
            path: path.to_owned(),
            mode: mode & 0o777,
        });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TEXT as usize));
    file.take(MAX_TEXT)
        .read_to_end(&mut bytes)
        .map_err(|e| LedgerError::io(path, e))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(LedgerError::KeyFormat {
            path: path.to_owned(),
        }),
    }
}

/// `path` with something behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
