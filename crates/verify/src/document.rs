//! A document (a model card) and the question whether the log says that it was issued.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::VerifyError;

/// A file to be looked for among those that `document.issued` records name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What to call it in the report.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

impl Document {
    /// Reads and hashes a file of any size.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Unavailable`] if it cannot be read.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, VerifyError> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let digest = hash(path).map_err(|e| VerifyError::Unavailable {
            what: name.clone(),
            why: e.to_string(),
        })?;
        Ok(Self {
            name,
            sha256: digest,
        })
    }
}

fn hash(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    let mut hasher = Sha256::new();
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            read => hasher.update(&buffer[..read]),
        }
    }
}
