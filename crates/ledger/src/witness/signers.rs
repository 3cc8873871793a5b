//! A witness's keys.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use record::Entropy;
use tlog::{Checkpoint, CosignatureError, Ed25519Cosigner, KeyError, MlDsa44Signer, VerifierKey};

use crate::LedgerError;
use crate::keys;

/// The Ed25519 key's file.
const ED25519: &str = "witness.ed25519";
/// The ML-DSA-44 key's file.
const ML_DSA_44: &str = "witness.ml-dsa-44";

/// What a witness signs with.
pub(super) struct Signers {
    ed25519: Ed25519Cosigner,
    ml_dsa_44: Option<MlDsa44Signer>,
}

impl Signers {
    /// Reads the keys, and makes those that are missing.
    pub(super) fn open(
        dir: &Path,
        name: &str,
        entropy: &dyn Entropy,
        ml_dsa_44: bool,
    ) -> Result<Self, LedgerError> {
        let keys = dir.join("keys");
        fs::create_dir_all(&keys).map_err(|e| LedgerError::io(&keys, e))?;
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o700))
            .map_err(|e| LedgerError::io(&keys, e))?;
        let seed = |file: &str| {
            let path = keys.join(file);
            if path.exists() {
                keys::read(&path)
            } else {
                let seed = keys::create(&path, entropy)?;
                // A key that is lost after its name was handed out would make all it signed worthless.
                fs::File::open(&keys)
                    .and_then(|keys| keys.sync_all())
                    .map_err(|e| LedgerError::io(&keys, e))?;
                Ok(seed)
            }
        };
        let bad = |error: KeyError| LedgerError::NoWitness {
            dir: dir.to_owned(),
            why: error.to_string(),
        };
        let first = Ed25519Cosigner::from_seed(name, *seed(ED25519)?).map_err(bad)?;
        let second = if ml_dsa_44 || keys.join(ML_DSA_44).exists() {
            Some(MlDsa44Signer::from_seed(name, *seed(ML_DSA_44)?).map_err(bad)?)
        } else {
            None
        };
        Ok(Self {
            ed25519: first,
            ml_dsa_44: second,
        })
    }

    pub(super) fn name(&self) -> &str {
        self.ed25519.verifier_key().name()
    }

    pub(super) fn vkeys(&self) -> Vec<VerifierKey> {
        let second = self.ml_dsa_44.as_ref().map(MlDsa44Signer::verifier_key);
        [self.ed25519.verifier_key()]
            .into_iter()
            .chain(second)
            .cloned()
            .collect()
    }

    /// One line for each key, each with its newline.
    pub(super) fn cosign(
        &self,
        checkpoint: &Checkpoint,
        time: u64,
    ) -> Result<String, CosignatureError> {
        let mut lines = format!("{}\n", self.ed25519.sign(checkpoint, time)?);
        if let Some(key) = &self.ml_dsa_44 {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{}", key.sign(checkpoint, time)?);
        }
        Ok(lines)
    }
}
