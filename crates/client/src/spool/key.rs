//! The key of a spool's streams, in the form of every other key file (`docs/spec/log.md`): 32 bytes in base64.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use record::{Entropy, SigningKey};
use zeroize::Zeroizing;

use super::dir::{Layout, create, read, sync_dir};
use super::error::SpoolError;

/// The key in the spool's directory, made where there is none.
pub(super) fn load(layout: &Layout, entropy: &dyn Entropy) -> Result<SigningKey, SpoolError> {
    let path = layout.key();
    if !path.exists() {
        make(layout, &path, entropy)?;
    }
    let bad = |why: &str| SpoolError::Key {
        path: path.clone(),
        why: why.to_owned(),
    };
    let metadata = fs::metadata(&path).map_err(SpoolError::disk("read", &path))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(bad(
            "others than its owner can read it; run `chmod 600` on it",
        ));
    }
    let text = Zeroizing::new(read(&path)?.unwrap_or_default());
    let mut seed = Zeroizing::new([0; 32]);
    let length = STANDARD.decode_slice(text.trim_ascii_end(), seed.as_mut_slice());
    if length != Ok(seed.len()) {
        return Err(bad(
            "expected 32 bytes in base64 and a newline; restore it from a copy, or give a key with the options if this \
             one is encrypted",
        ));
    }
    Ok(SigningKey::from_bytes(&seed))
}

/// Makes the file whole or not at all, and leaves one that another process made meanwhile.
fn make(layout: &Layout, path: &Path, entropy: &dyn Entropy) -> Result<(), SpoolError> {
    let mut seed = Zeroizing::new([0; 32]);
    entropy.fill(seed.as_mut_slice());
    let mut text = Zeroizing::new(STANDARD.encode(seed.as_slice()));
    text.push('\n');
    let temporary = layout.temporary();
    let made = create(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::hard_link(&temporary, path));
    let _ = fs::remove_file(&temporary);
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(SpoolError::disk("create", path)(error))
        }
        _ => sync_dir(layout.root()),
    }
}
