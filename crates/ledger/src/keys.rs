//! The key files of a ledger: 32-byte seeds, plain or encrypted under a passphrase, readable by their
//! owner only.
//!
//! Not a key store: whoever keeps keys in an HSM or a KMS brings another signer.

mod file;
mod passphrase;
mod sealed;
mod show;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use record::Entropy;
use zeroize::Zeroizing;

pub use passphrase::{MIN_PASSPHRASE_CHARS, Passphrase};
pub use show::{KeyInfo, RetiredKeys, retired, show};

use crate::LedgerError;
use sealed::TextError;

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

/// What stands behind the name of a key that is to take another's place.
const NEXT: &str = ".next";

/// Makes every key of a new ledger that is not there yet, in `dir/keys` (mode 0700), and waits until
/// they are on disk; encrypted from the first byte where there is a passphrase to do it under. What
/// a creation that was interrupted left has signed nothing yet.
///
/// # Errors
/// The directory cannot be written; the passphrase is missing or too short.
pub(crate) fn create_missing(
    dir: &Path,
    entropy: &dyn Entropy,
    encrypt: Option<&Passphrase>,
) -> Result<(), LedgerError> {
    let keys = dir.join("keys");
    fs::create_dir_all(&keys).map_err(|e| LedgerError::io(&keys, e))?;
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o700))
        .map_err(|e| LedgerError::io(&keys, e))?;
    let under = encrypt
        .map(|phrase| Under::new(phrase, &keys, entropy))
        .transpose()?;
    for path in ALL.map(|name| keys.join(name)) {
        if !path.exists() {
            make(&path, entropy, under.as_ref())?;
        }
    }
    file::sync_dir(&keys)
}

/// Makes one plain key file with a fresh seed (mode 0600); an existing file is never overwritten.
///
/// # Errors
/// The file exists, or cannot be written.
pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Seed, LedgerError> {
    make(path, entropy, None)
}

/// As [`create`], but encrypted.
///
/// # Errors
/// As [`create`]; the passphrase is missing or too short.
pub fn create_encrypted(
    path: &Path,
    entropy: &dyn Entropy,
    passphrase: &Passphrase,
) -> Result<Seed, LedgerError> {
    let under = Under::new(passphrase, path, entropy)?;
    make(path, entropy, Some(&under))
}

/// A passphrase and the salt that the files of one go share.
struct Under<'p> {
    passphrase: &'p Passphrase,
    salt: [u8; 16],
}

impl<'p> Under<'p> {
    fn new(
        passphrase: &'p Passphrase,
        path: &Path,
        entropy: &dyn Entropy,
    ) -> Result<Self, LedgerError> {
        let text = passphrase
            .text()
            .map_err(|reason| failure(path, TextError::NoPassphrase(reason)))?;
        if text.chars().count() < MIN_PASSPHRASE_CHARS {
            return Err(LedgerError::PassphraseShort);
        }
        let mut salt = [0; 16];
        entropy.fill(&mut salt);
        Ok(Self { passphrase, salt })
    }
}

fn make(
    path: &Path,
    entropy: &dyn Entropy,
    under: Option<&Under<'_>>,
) -> Result<Seed, LedgerError> {
    let mut seed = Seed::default();
    entropy.fill(seed.as_mut_slice());
    let text = match under {
        None => sealed::plain(&seed),
        Some(under) => encrypted(path, &seed, under, entropy)?,
    };
    file::create(path, text.as_bytes())?;
    file::sync_dir(path.parent().unwrap_or(Path::new(".")))?;
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
        file::create(&copy, &bytes)?;
    }
    file::sync_dir(to)
}

fn encrypted(
    path: &Path,
    seed: &Seed,
    under: &Under<'_>,
    entropy: &dyn Entropy,
) -> Result<Zeroizing<String>, LedgerError> {
    sealed::encrypted(seed, under.passphrase, &under.salt, entropy)
        .map_err(|error| failure(path, error))
}

/// Reads the plain file `dir/keys/name`.
///
/// # Errors
/// As [`read`].
pub fn load(dir: &Path, name: &str) -> Result<Seed, LedgerError> {
    load_with(dir, name, &Passphrase::none())
}

/// Reads `dir/keys/name`.
///
/// # Errors
/// As [`read_with`].
pub fn load_with(dir: &Path, name: &str, passphrase: &Passphrase) -> Result<Seed, LedgerError> {
    read_with(&dir.join("keys").join(name), passphrase)
}

/// Reads one plain key file.
///
/// # Errors
/// The file is missing, readable by others than its owner, encrypted, or not 32 bytes in base64.
pub fn read(path: &Path) -> Result<Seed, LedgerError> {
    read_with(path, &Passphrase::none())
}

/// Reads one key file.
///
/// # Errors
/// The file is missing, readable by others than its owner, or no key; the passphrase that it needs
/// is missing or another.
pub fn read_with(path: &Path, passphrase: &Passphrase) -> Result<Seed, LedgerError> {
    let text = file::read(path)?;
    sealed::read(&text, passphrase).map_err(|error| failure(path, error))
}

/// Whether a key file is encrypted.
///
/// # Errors
/// The file is missing or readable by others than its owner.
pub fn is_encrypted(path: &Path) -> Result<bool, LedgerError> {
    Ok(sealed::is_encrypted(&file::read(path)?))
}

/// Encrypts key files under the passphrase, each in one step: whatever interrupts this leaves each
/// plain or encrypted, and doing it again finishes. Those that are encrypted already stay as they
/// are. Gives the files that were changed.
///
/// # Errors
/// As [`read_with`], before any file is changed; a file cannot be replaced.
pub fn encrypt(
    paths: &[PathBuf],
    passphrase: &Passphrase,
    entropy: &dyn Entropy,
) -> Result<Vec<PathBuf>, LedgerError> {
    let plain = sort_out(paths, passphrase, false)?;
    let Some((first, _)) = plain.first() else {
        return Ok(Vec::new());
    };
    let under = Under::new(passphrase, first, entropy)?;
    for (path, seed) in &plain {
        file::replace(path, &encrypted(path, seed, &under, entropy)?)?;
    }
    Ok(plain.into_iter().map(|(path, _)| path).collect())
}

/// Undoes [`encrypt`].
///
/// # Errors
/// As [`encrypt`].
pub fn decrypt(paths: &[PathBuf], passphrase: &Passphrase) -> Result<Vec<PathBuf>, LedgerError> {
    let encrypted = sort_out(paths, passphrase, true)?;
    for (path, seed) in &encrypted {
        file::replace(path, &sealed::plain(seed))?;
    }
    Ok(encrypted.into_iter().map(|(path, _)| path).collect())
}

/// Reads all files, so that nothing is changed where one cannot be read; gives those that are
/// encrypted, or those that are not.
fn sort_out(
    paths: &[PathBuf],
    passphrase: &Passphrase,
    encrypted: bool,
) -> Result<Vec<(PathBuf, Seed)>, LedgerError> {
    let mut found = Vec::new();
    for path in paths {
        file::sweep(path)?;
        let seed = read_with(path, passphrase)?;
        if is_encrypted(path)? == encrypted {
            found.push((path.clone(), seed));
        }
    }
    Ok(found)
}

/// The key files of a ledger that are there, those to come included.
///
/// # Errors
/// The directory cannot be read.
pub fn paths(dir: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    let mut paths = Vec::new();
    for path in ALL.map(|name| dir.join("keys").join(name)) {
        for path in [path.clone(), file::beside(&path, NEXT)] {
            let there = path.try_exists().map_err(|e| LedgerError::io(&path, e))?;
            paths.extend(there.then_some(path));
        }
    }
    Ok(paths)
}

/// A key that is to take the place of `dir/keys/name`: made where a rotation has not made it yet,
/// encrypted as the other is.
///
/// # Errors
/// As [`read_with`]; the file cannot be written.
pub(crate) fn next(
    dir: &Path,
    name: &str,
    passphrase: &Passphrase,
    entropy: &dyn Entropy,
) -> Result<Seed, LedgerError> {
    let path = dir.join("keys").join(name);
    let next = file::beside(&path, NEXT);
    if next.exists() {
        return read_with(&next, passphrase);
    }
    let under = if is_encrypted(&path)? {
        Some(Under::new(passphrase, &path, entropy)?)
    } else {
        None
    };
    let mut seed = Seed::default();
    entropy.fill(seed.as_mut_slice());
    let text = match &under {
        None => sealed::plain(&seed),
        Some(under) => encrypted(&path, &seed, under, entropy)?,
    };
    // A file that was cut off would be no key: it is there as a whole, or not.
    file::replace(&next, &text)?;
    Ok(seed)
}

/// The names of keys that wait to take their place: a rotation was interrupted.
pub(crate) fn waiting(dir: &Path) -> Vec<&'static str> {
    let waits = |name: &&str| file::beside(&dir.join("keys").join(name), NEXT).exists();
    ALL.into_iter().filter(waits).collect()
}

/// Puts the key that waits into its place; the old one is gone. Where none waits that was done.
///
/// # Errors
/// The file cannot be renamed.
pub(crate) fn take_place(dir: &Path, name: &str) -> Result<(), LedgerError> {
    let path = dir.join("keys").join(name);
    let next = file::beside(&path, NEXT);
    if next.exists() {
        file::rename(&next, &path)?;
    }
    Ok(())
}

/// Names a secret key without saying anything else of it.
pub(crate) fn fingerprint(key: &Seed) -> record::PublicKey {
    let named = [b"rlhf-audit-trail/deployment-key/v1\n", key.as_slice()].concat();
    record::PublicKey(tlog::sha256(&Zeroizing::new(named)))
}

fn failure(path: &Path, error: TextError) -> LedgerError {
    let path = path.to_owned();
    match error {
        TextError::Form => LedgerError::KeyFormat { path },
        TextError::NoPassphrase(reason) => LedgerError::PassphraseMissing { path, reason },
        TextError::WrongPassphrase => LedgerError::PassphraseWrong { path },
    }
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
        create_missing(dir.path(), &Counting, None).unwrap();
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
