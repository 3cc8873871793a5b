//! What may be said of a ledger's keys: public halves, fingerprints, whether they are encrypted.

use std::fs;
use std::path::Path;

use record::kinds::KeyPurpose;
use record::{PublicKey, SigningKey};
use tlog::{Policy, SignatureType, VerifierKey};
use verify::rotation::Rotation;

use super::{ALL, DEPLOYMENT, LOG_ED25519, LOG_ML_DSA_44, NEXT, Passphrase, file, fingerprint};
use crate::LedgerError;

/// One key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// The file's name in `keys/`.
    pub file: String,
    /// What it is for.
    pub purpose: KeyPurpose,
    /// `ed25519`, `ml-dsa-44` or `aes-256`.
    pub kind: &'static str,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// Whether it waits to take its place: a rotation was interrupted.
    pub waits: bool,
    /// The public key, or the deployment key's fingerprint; a verifier key of the log. `None` where
    /// the file is encrypted and no passphrase was given.
    pub public: Option<String>,
}

/// Verifier keys that the log signed with once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiredKeys {
    /// The file `log/rotations/<number>` that says so.
    pub number: u64,
    /// They are.
    pub vkeys: Vec<String>,
    /// The size of the last tree that they have signed.
    pub signed_up_to: u64,
}

/// The keys in `dir/keys`. Never a secret.
///
/// # Errors
/// A file is readable by others than its owner, is no key, or the passphrase is another.
pub fn show(dir: &Path, passphrase: Option<&Passphrase>) -> Result<Vec<KeyInfo>, LedgerError> {
    let policy = fs::read(dir.join("policy")).ok();
    let policy = policy.and_then(|bytes| Policy::parse(&bytes).ok());
    let mut keys = Vec::new();
    for name in ALL {
        let path = dir.join("keys").join(name);
        for (path, waits) in [(path.clone(), false), (file::beside(&path, NEXT), true)] {
            if !path.exists() {
                continue;
            }
            let encrypted = super::is_encrypted(&path)?;
            let public = match name {
                // Said beside the log already. Of one that waits the name is not looked up.
                LOG_ED25519 | LOG_ML_DSA_44 if !waits => log_key(policy.as_ref(), name),
                LOG_ED25519 | LOG_ML_DSA_44 => None,
                _ if encrypted && passphrase.is_none() => None,
                _ => Some(public(&path, name, passphrase)?),
            };
            let file = path.file_name().unwrap_or_default();
            keys.push(KeyInfo {
                file: file.to_string_lossy().into_owned(),
                purpose: crate::rotate::purpose_of(name),
                kind: match name {
                    LOG_ML_DSA_44 => "ml-dsa-44",
                    DEPLOYMENT => "aes-256",
                    _ => "ed25519",
                },
                encrypted,
                waits,
                public,
            });
        }
    }
    Ok(keys)
}

/// The log's keys of earlier times, the first ones first.
///
/// # Errors
/// A file of `dir/log/rotations` cannot be read, or does not hold.
pub fn retired(dir: &Path) -> Result<Vec<RetiredKeys>, LedgerError> {
    let mut retired = Vec::new();
    for number in 1_u64.. {
        let path = dir.join(format!("log/rotations/{number}"));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => break,
            Err(e) => return Err(LedgerError::io(&path, e)),
        };
        let step = Rotation::parse(&bytes)
            .and_then(|rotation| rotation.check(number))
            .map_err(|e| LedgerError::corrupt(path.display().to_string(), e))?;
        retired.push(RetiredKeys {
            number,
            vkeys: step.old.iter().map(ToString::to_string).collect(),
            signed_up_to: step.size,
        });
    }
    Ok(retired)
}

fn log_key(policy: Option<&Policy>, name: &str) -> Option<String> {
    let policy = policy?;
    let origin = policy.logs().first()?.key.name();
    let wanted = match name {
        LOG_ED25519 => SignatureType::Ed25519,
        _ => SignatureType::MlDsa44Cosignature,
    };
    let of_type = |key: &&VerifierKey| key.signature_type() == wanted;
    policy
        .keys_named(origin)
        .find(of_type)
        .map(ToString::to_string)
}

fn public(path: &Path, name: &str, passphrase: Option<&Passphrase>) -> Result<String, LedgerError> {
    let seed = match passphrase {
        Some(passphrase) => super::read_with(path, passphrase)?,
        None => super::read(path)?,
    };
    Ok(match name {
        DEPLOYMENT => fingerprint(&seed).to_string(),
        _ => PublicKey::from(&SigningKey::from_bytes(&seed)).to_string(),
    })
}
