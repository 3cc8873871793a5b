//! The key files of a ledger: 32-byte seeds, base64 and a newline, readable by their owner only.
//!
//! Not a key store: whoever keeps keys in an HSM or a KMS brings another signer.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use record::Entropy;
use zeroize::{Zeroize, Zeroizing};

use crate::LedgerError;

/// The log's Ed25519 key, which signs checkpoints.
pub const LOG_ED25519: &str = "log.ed25519";
/// The log's ML-DSA-44 key, which cosigns checkpoints for the decade after the next.
pub const LOG_ML_DSA_44: &str = "log.ml-dsa-44";
/// The key of the server's own stream, and of runs the server owns.
pub const OPERATOR_ED25519: &str = "operator.ed25519";
/// The key that wraps subject keys. Losing it loses every sealed value.
pub const DEPLOYMENT: &str = "deployment";
/// The key with which the command line signs its streams.
pub const PRODUCER_ED25519: &str = "producer.ed25519";

/// All key files of a new ledger.
pub const ALL: [&str; 5] = [
    LOG_ED25519,
    LOG_ML_DSA_44,
    OPERATOR_ED25519,
    DEPLOYMENT,
    PRODUCER_ED25519,
];

/// A secret of 32 bytes, wiped when dropped.
pub type Seed = Zeroizing<[u8; 32]>;

/// Makes every key of a new ledger that is not there yet, in `dir/keys` (mode 0700), and waits until
/// they are on disk. What a creation that was interrupted left has signed nothing yet.
///
/// # Errors
/// The directory cannot be written.
pub(crate) fn create_missing(dir: &Path, entropy: &dyn Entropy) -> Result<(), LedgerError> {
    let keys = dir.join("keys");
    fs::create_dir_all(&keys).map_err(|e| LedgerError::io(&keys, e))?;
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700))
        .map_err(|e| LedgerError::io(&keys, e))?;
    for path in ALL.map(|name| keys.join(name)) {
        if !path.exists() {
            create(&path, entropy)?;
        }
    }
    File::open(&keys)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| LedgerError::io(&keys, e))
}

/// Makes one key file with a fresh seed (mode 0600); an existing file is never overwritten.
///
/// # Errors
/// The file exists, or cannot be written.
pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Seed, LedgerError> {
    let mut seed = Seed::default();
    entropy.fill(seed.as_mut_slice());
    let mut text = STANDARD.encode(seed.as_slice());
    text.push('\n');
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        });
    text.zeroize();
    written.map_err(|e| LedgerError::io(path, e))?;
    Ok(seed)
}

/// Copies the key files of a ledger into another directory's `keys`, whatever form they have; a file
/// that is there has to be the same.
///
/// # Errors
/// A file cannot be read or written, or is another there.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), LedgerError> {
    copy_dir(&from.join("keys"), &to.join("keys"))
}

fn copy_dir(from: &Path, to: &Path) -> Result<(), LedgerError> {
    fs::create_dir_all(to).map_err(|e| LedgerError::io(to, e))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700))
        .map_err(|e| LedgerError::io(to, e))?;
    for entry in fs::read_dir(from).map_err(|e| LedgerError::io(from, e))? {
        let path = entry.map_err(|e| LedgerError::io(from, e))?.path();
        let Some(name) = path.file_name() else {
            continue;
        };
        let copy = to.join(name);
        if path.is_dir() {
            copy_dir(&path, &copy)?;
            continue;
        }
        let bytes = Zeroizing::new(fs::read(&path).map_err(|e| LedgerError::io(&path, e))?);
        match fs::read(&copy).map(Zeroizing::new) {
            Ok(known) if known == bytes => continue,
            Ok(_) => {
                let dir = to.to_path_buf();
                return Err(LedgerError::Exists { dir });
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(LedgerError::io(&copy, e)),
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&copy)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .map_err(|e| LedgerError::io(&copy, e))?;
    }
    File::open(to)
        .and_then(|dir| dir.sync_all())
        .map_err(|e| LedgerError::io(to, e))
}

/// Reads `dir/keys/name`.
///
/// # Errors
/// The file is missing, readable by others than its owner, or not 32 bytes in base64.
pub fn load(dir: &Path, name: &str) -> Result<Seed, LedgerError> {
    read(&dir.join("keys").join(name))
}

/// Reads one key file.
///
/// # Errors
/// The file is missing, readable by others than its owner, or not 32 bytes in base64.
pub fn read(path: &Path) -> Result<Seed, LedgerError> {
    let mut file = File::open(path).map_err(|e| LedgerError::io(path, e))?;
    let mode = file
        .metadata()
        .map_err(|e| LedgerError::io(path, e))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(LedgerError::KeyMode {
            path: PathBuf::from(path),
            mode: mode & 0o777,
        });
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text)
        .map_err(|e| LedgerError::io(path, e))?;
    let bytes = Zeroizing::new(
        STANDARD
            .decode(text.trim_end_matches(['\n', '\r']))
            .map_err(|_| LedgerError::KeyFormat {
                path: PathBuf::from(path),
            })?,
    );
    let seed: [u8; 32] = bytes
        .as_slice()
        .try_into()
        .map_err(|_| LedgerError::KeyFormat {
            path: PathBuf::from(path),
        })?;
    Ok(Seed::new(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting;
    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    #[test]
    fn keys_come_back_and_only_their_owner_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        create_missing(dir.path(), &Counting).unwrap();
        for name in ALL {
            let path = dir.path().join("keys").join(name);
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
            assert_eq!(*load(dir.path(), name).unwrap(), [7; 32]);
        }
        let path = dir.path().join("keys").join(DEPLOYMENT);
        assert!(
            create(&path, &Counting).is_err(),
            "an existing key was overwritten"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            load(dir.path(), DEPLOYMENT),
            Err(LedgerError::KeyMode { mode: 0o640, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "c2hvcnQ=\n").unwrap();
        assert!(matches!(
            load(dir.path(), DEPLOYMENT),
            Err(LedgerError::KeyFormat { .. })
        ));
    }
}
