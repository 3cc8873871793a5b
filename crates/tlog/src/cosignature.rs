//! Cosignatures with a timestamp: Ed25519 (`0x04`) and ML-DSA-44 (`0x06`).
//!
//! See <https://c2sp.org/tlog-cosignature>. Witnesses make them, and a log here makes the second
//! kind for its own checkpoints, so that they convince when Ed25519 no longer does. Times come in as
//! arguments. Whether a timestamp is acceptable is for the caller to say: here is no clock.

use crate::checkpoint::Checkpoint;
use crate::hash::Hash;
use crate::key::{KeyError, SignatureType, VerifierKey};
use crate::note::NoteSignature;
use crate::tree::{LeafIndex, is_subtree};
use ml_dsa::{KeyExport as _, Keypair as _, MlDsa44, Signer as _};
use std::fmt;

/// The latest timestamp a cosignature may carry: 2^63 − 1 seconds.
pub const MAX_TIMESTAMP: u64 = i64::MAX as u64;

const LABEL: &[u8; 12] = b"subtree/v1\n\0";

/// A cosignature cannot be made, or does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// A timestamp above [`MAX_TIMESTAMP`].
    #[error("cosignature timestamp {seen} is above 2^63-1")]
    Timestamp {
        /// The timestamp given.
        seen: u64,
    },
    /// A subtree that does not start at 0 may not carry a timestamp.
    #[error("a subtree from leaf {start} cannot have timestamp {seen}, only 0")]
    SubtreeTimestamp {
        /// Index of the first leaf.
        start: u64,
        /// The timestamp given.
        seen: u64,
    },
    /// A range that is no subtree.
    #[error("leaves {start} to {end} are no subtree")]
    NotASubtree {
        /// Index of the first leaf.
        start: u64,
        /// Index after the last leaf.
        end: u64,
    },
    /// An origin or cosigner name that does not fit the signed structure.
    #[error("an origin or cosigner name has 1 to 255 bytes, not {seen}")]
    NameLength {
        /// The number of bytes seen.
        seen: usize,
    },
    /// The key is of another type.
    #[error("key {name:?} makes {seen} signatures, subtrees need ML-DSA-44 cosignatures")]
    KeyType {
        /// The key's name.
        name: String,
        /// Its type.
        seen: SignatureType,
    },
    /// The signature does not hold.
    #[error("the cosignature of {name:?} is wrong: subtree, time or signature has been altered")]
    BadSignature {
        /// The cosigner's name.
        name: String,
    },
}

/// A subtree of a log, as an ML-DSA-44 cosigner signs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subtree<'a> {
    /// The log's origin.
    pub origin: &'a str,
    /// Index of the first leaf; 0 for a checkpoint.
    pub start: LeafIndex,
    /// Index after the last leaf; the size, for a checkpoint.
    pub end: LeafIndex,
    /// The hash of the subtree; the root, for a checkpoint.
    pub hash: Hash,
}

impl<'a> From<&'a Checkpoint> for Subtree<'a> {
    fn from(checkpoint: &'a Checkpoint) -> Self {
        Self {
            origin: &checkpoint.origin,
            start: LeafIndex(0),
            end: LeafIndex(checkpoint.size.0),
            hash: checkpoint.root,
        }
    }
}

impl Subtree<'_> {
    /// The bytes that are signed: the structure `cosigned_message`.
    fn message(&self, cosigner: &str, timestamp: u64) -> Result<Vec<u8>, CosignatureError> {
        let (start, end) = (self.start.0, self.end.0);
        if timestamp > MAX_TIMESTAMP {
            return Err(CosignatureError::Timestamp { seen: timestamp });
        }
        if start > 0 && timestamp > 0 {
            return Err(CosignatureError::SubtreeTimestamp {
                start,
                seen: timestamp,
            });
        }
        // The empty tree is no subtree, but a checkpoint can have it.
        if end > 0 && !is_subtree(start, end) || end < start {
            return Err(CosignatureError::NotASubtree { start, end });
        }
        let mut message = Vec::with_capacity(12 + 2 * 256 + 3 * 8 + 32);
        message.extend_from_slice(LABEL);
        push_name(&mut message, cosigner)?;
        message.extend_from_slice(&timestamp.to_be_bytes());
        push_name(&mut message, self.origin)?;
        message.extend_from_slice(&start.to_be_bytes());
        message.extend_from_slice(&end.to_be_bytes());
        message.extend_from_slice(self.hash.as_bytes());
        Ok(message)
    }
}

/// Whether a name fits `opaque<1..2^8-1>`; the length, if it does not.
pub(crate) fn check_length(name: &str) -> Result<u8, usize> {
    match u8::try_from(name.len()) {
        Ok(length @ 1..) => Ok(length),
        _ => Err(name.len()),
    }
}

fn push_name(message: &mut Vec<u8>, name: &str) -> Result<(), CosignatureError> {
    let length = check_length(name).map_err(|seen| CosignatureError::NameLength { seen })?;
    message.push(length);
    message.extend_from_slice(name.as_bytes());
    Ok(())
}

fn ed25519_message(text: &str, timestamp: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {timestamp}\n{text}").into_bytes()
}

/// Splits a `timestamped_signature`.
fn timestamped(signature: &[u8]) -> Option<(u64, &[u8])> {
    let (timestamp, signature) = signature.split_first_chunk()?;
    let timestamp = u64::from_be_bytes(*timestamp);
    (timestamp <= MAX_TIMESTAMP).then_some((timestamp, signature))
}

fn with_timestamp(timestamp: u64, signature: &[u8]) -> Vec<u8> {
    [&timestamp.to_be_bytes()[..], signature].concat()
}

pub(crate) fn verify_ed25519(
    key: &ed25519_dalek::VerifyingKey,
    text: &str,
    signature: &[u8],
) -> Option<u64> {
    let (timestamp, signature) = timestamped(signature)?;
    let signature = signature.try_into().ok()?;
    key.verify_strict(&ed25519_message(text, timestamp), &signature)
        .ok()?;
    Some(timestamp)
}

/// Checks an ML-DSA-44 cosignature over the text of a note, which must be a checkpoint.
pub(crate) fn verify_checkpoint(
    key: &ml_dsa::VerifyingKey<MlDsa44>,
    name: &str,
    text: &str,
    signature: &[u8],
) -> Option<u64> {
    let checkpoint = Checkpoint::parse(text).ok()?;
    verify_ml_dsa_44(key, name, &Subtree::from(&checkpoint), signature)
}

fn verify_ml_dsa_44(
    key: &ml_dsa::VerifyingKey<MlDsa44>,
    name: &str,
    subtree: &Subtree<'_>,
    signature: &[u8],
) -> Option<u64> {
    let (timestamp, signature) = timestamped(signature)?;
    let message = subtree.message(name, timestamp).ok()?;
    let signature = ml_dsa::Signature::<MlDsa44>::try_from(signature).ok()?;
    key.verify_with_context(&message, &[], &signature)
        .then_some(timestamp)
}

/// Checks an ML-DSA-44 cosignature (without the key id) of a subtree. Gives its timestamp, 0 if the
/// cosigner made no statement about the time.
///
/// # Errors
/// [`CosignatureError::KeyType`] for a key of another type, [`CosignatureError::BadSignature`] if
/// the signature does not hold.
pub fn verify_subtree(
    key: &VerifierKey,
    subtree: &Subtree<'_>,
    signature: &[u8],
) -> Result<u64, CosignatureError> {
    let ml_dsa_44 = key.ml_dsa_44().ok_or_else(|| CosignatureError::KeyType {
        name: key.name().to_owned(),
        seen: key.signature_type(),
    })?;
    verify_ml_dsa_44(ml_dsa_44, key.name(), subtree, signature).ok_or_else(|| {
        CosignatureError::BadSignature {
            name: key.name().to_owned(),
        }
    })
}

/// Makes ML-DSA-44 cosignatures (`0x06`): a log's second key, or a witness.
#[derive(Clone)]
pub struct MlDsa44Signer {
    secret: Box<ml_dsa::SigningKey<MlDsa44>>,
    verifier: VerifierKey,
}

impl MlDsa44Signer {
    /// The cosigner with this name and FIPS 204 seed.
    ///
    /// # Errors
    /// [`KeyError::Name`], [`KeyError::NameTooLong`].
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self, KeyError> {
        let secret = Box::new(ml_dsa::SigningKey::<MlDsa44>::from_seed(&seed.into()));
        let public = secret.verifying_key().to_bytes();
        let verifier = VerifierKey::new(name, SignatureType::MlDsa44Cosignature, &public)?;
        Ok(Self { secret, verifier })
    }

    /// The public half.
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Cosigns a checkpoint at `timestamp`, in POSIX seconds. Extension lines are not signed.
    ///
    /// # Errors
    /// [`CosignatureError::Timestamp`], [`CosignatureError::NameLength`].
    pub fn sign(
        &self,
        checkpoint: &Checkpoint,
        timestamp: u64,
    ) -> Result<NoteSignature, CosignatureError> {
        let signature = self.sign_subtree(&checkpoint.into(), timestamp)?;
        Ok(NoteSignature::by(&self.verifier, signature))
    }

    /// Cosigns a subtree; gives the `timestamped_signature`. The timestamp is 0 unless the subtree
    /// starts at 0 and is the largest tree seen.
    ///
    /// # Errors
    /// [`CosignatureError`] for a range, a time or a name out of range.
    pub fn sign_subtree(
        &self,
        subtree: &Subtree<'_>,
        timestamp: u64,
    ) -> Result<Vec<u8>, CosignatureError> {
        let message = subtree.message(self.verifier.name(), timestamp)?;
        // The deterministic variant, so that no randomness is needed here.
        Ok(with_timestamp(
            timestamp,
            &self.secret.sign(&message).encode(),
        ))
    }
}

impl fmt::Debug for MlDsa44Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "MlDsa44Signer({}+{})",
            self.verifier.name(),
            self.verifier.id()
        )
    }
}

/// Makes Ed25519 cosignatures (`0x04`), as most of today's witnesses do.
#[derive(Clone)]
pub struct Ed25519Cosigner {
    secret: ed25519_dalek::SigningKey,
    verifier: VerifierKey,
}

impl Ed25519Cosigner {
    /// The cosigner with this name and RFC 8032 secret key.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self, KeyError> {
        let secret = ed25519_dalek::SigningKey::from_bytes(&seed);
        let public = secret.verifying_key();
        let kind = SignatureType::Ed25519Cosignature;
        let verifier = VerifierKey::new(name, kind, public.as_bytes())?;
        Ok(Self { secret, verifier })
    }

    /// The public half.
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Cosigns a checkpoint at `timestamp`, in POSIX seconds, extension lines included.
    ///
    /// # Errors
    /// [`CosignatureError::Timestamp`].
    pub fn sign(
        &self,
        checkpoint: &Checkpoint,
        timestamp: u64,
    ) -> Result<NoteSignature, CosignatureError> {
        if timestamp > MAX_TIMESTAMP {
            return Err(CosignatureError::Timestamp { seen: timestamp });
        }
        let message = ed25519_message(&checkpoint.to_string(), timestamp);
        let signature = self.secret.sign(&message).to_bytes();
        Ok(NoteSignature::by(
            &self.verifier,
            with_timestamp(timestamp, &signature),
        ))
    }
}

impl fmt::Debug for Ed25519Cosigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519Cosigner({})", self.verifier)
    }
}
