//! Keys of signed notes: names, ids, verifier keys (vkeys) and the plain Ed25519 signer.
//!
//! See <https://c2sp.org/signed-note>. Three signature types are known: Ed25519 (`0x01`) and the
//! two cosignatures of <https://c2sp.org/tlog-cosignature> (`0x04`, `0x06`). Secret keys come in as
//! 32-byte seeds; drawing and keeping them is somebody else's duty.

use crate::cosignature;
use crate::encoding::{base64, from_base64};
use crate::note::NoteSignature;
use crate::sha256::sha256;
use ed25519_dalek::Signer as _;
use std::fmt;
use std::str::FromStr;

/// Length of an ML-DSA-44 public key in bytes (FIPS 204).
pub const ML_DSA_44_PUBLIC_KEY_BYTES: usize = 1312;

/// Which algorithm signs what: the signature type byte of a signed note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureType {
    /// `0x01`: Ed25519 over the note text.
    Ed25519,
    /// `0x04`: Ed25519 checkpoint cosignature with a timestamp.
    Ed25519Cosignature,
    /// `0x06`: ML-DSA-44 (sub)tree cosignature with a timestamp.
    MlDsa44Cosignature,
}

impl SignatureType {
    /// The signature type identifier byte.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::Ed25519Cosignature => 0x04,
            Self::MlDsa44Cosignature => 0x06,
        }
    }

    /// Whether the signature carries a timestamp.
    pub const fn is_cosignature(self) -> bool {
        !matches!(self, Self::Ed25519)
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Ed25519),
            0x04 => Some(Self::Ed25519Cosignature),
            0x06 => Some(Self::MlDsa44Cosignature),
            _ => None,
        }
    }
}

impl fmt::Display for SignatureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ed25519 => "Ed25519",
            Self::Ed25519Cosignature => "Ed25519 cosignature",
            Self::MlDsa44Cosignature => "ML-DSA-44 cosignature",
        })
    }
}

/// The four bytes that, with the name, say which key made a signature. Written in lower-case hex.
///
/// It is an identifier, not a fingerprint: it is easily made to collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    /// `SHA-256(name || 0x0A || signature type || public key)[:4]`.
    pub fn compute(name: &str, signature_type: SignatureType, public_key: &[u8]) -> Self {
        let mut message = Vec::with_capacity(name.len() + 2 + public_key.len());
        message.extend_from_slice(name.as_bytes());
        message.extend_from_slice(&[b'\n', signature_type.byte()]);
        message.extend_from_slice(public_key);
        let [a, b, c, d, ..] = sha256(&message);
        Self([a, b, c, d])
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// A key cannot be read or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A name that signed notes do not allow.
    #[error("key name {seen:?} must be non-empty, without spaces, control characters and plus")]
    Name {
        /// The name as given.
        seen: String,
    },
    /// A cosigner name longer than the signed structure can hold.
    #[error("an ML-DSA-44 cosigner's name has at most 255 bytes, not {seen}")]
    NameTooLong {
        /// The number of bytes seen.
        seen: usize,
    },
    /// Not of the form `<name>+<hex id>+<base64 key>`.
    #[error("{seen:?} is no verifier key of the form <name>+<8 hex digits>+<base64>")]
    Form {
        /// What was given, shortened.
        seen: String,
    },
    /// A signature type this crate does not verify.
    #[error("key {name:?} has signature type {seen:#04x}, known are 0x01, 0x04 and 0x06")]
    UnknownType {
        /// The key's name.
        name: String,
        /// The signature type byte.
        seen: u8,
    },
    /// Public key bytes that are no key.
    #[error("key {name:?} holds no valid {signature_type} public key in its {seen} bytes")]
    PublicKey {
        /// The key's name.
        name: String,
        /// The signature type given.
        signature_type: SignatureType,
        /// The number of public key bytes.
        seen: usize,
    },
    /// The id does not belong to name and key.
    #[error("key {name:?} says its id is {seen}, but name and key give {expected}")]
    IdMismatch {
        /// The key's name.
        name: String,
        /// The id written in the verifier key.
        seen: String,
        /// The id computed.
        expected: KeyId,
    },
}

/// Checks a key name: not empty, no Unicode spaces, no control characters, no plus.
pub(crate) fn check_name(name: &str) -> Result<(), KeyError> {
    let forbidden = |c: char| c.is_whitespace() || c < ' ' || c == '+';
    if name.is_empty() || name.contains(forbidden) {
        return Err(KeyError::Name {
            seen: name.chars().take(256).collect(),
        });
    }
    Ok(())
}

/// A public key with the name under which it signs notes: a vkey.
#[derive(Clone, Debug)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    material: Material,
}

#[derive(Clone, Debug)]
enum Material {
    Ed25519(ed25519_dalek::VerifyingKey),
    Ed25519Cosignature(ed25519_dalek::VerifyingKey),
    MlDsa44Cosignature(Box<ml_dsa::VerifyingKey<ml_dsa::MlDsa44>>),
}

/// A signature that does not hold; the caller knows whose.
pub(crate) struct Wrong;

impl VerifierKey {
    /// The key with this name, type and encoded public key (32 bytes of RFC 8032 or 1312 bytes of
    /// FIPS 204).
    ///
    /// # Errors
    /// [`KeyError::Name`], [`KeyError::NameTooLong`]; [`KeyError::PublicKey`] for the wrong length,
    /// and for Ed25519 a point that is not on the curve or of small order.
    pub fn new(
        name: &str,
        signature_type: SignatureType,
        public_key: &[u8],
    ) -> Result<Self, KeyError> {
        check_name(name)?;
        let refuse = || KeyError::PublicKey {
            name: name.to_owned(),
            signature_type,
            seen: public_key.len(),
        };
        let ed25519 = || {
            let bytes = public_key.try_into().map_err(|_| refuse())?;
            let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| refuse())?;
            // Anyone can sign for a key of small order.
            if key.is_weak() {
                Err(refuse())
            } else {
                Ok(key)
            }
        };
        let material = match signature_type {
            SignatureType::Ed25519 => Material::Ed25519(ed25519()?),
            SignatureType::Ed25519Cosignature => Material::Ed25519Cosignature(ed25519()?),
            SignatureType::MlDsa44Cosignature => {
                cosignature::check_length(name).map_err(|seen| KeyError::NameTooLong { seen })?;
                let bytes = public_key.try_into().map_err(|_| refuse())?;
                Material::MlDsa44Cosignature(Box::new(ml_dsa::VerifyingKey::decode(bytes)))
            }
        };
        let id = KeyId::compute(name, signature_type, public_key);
        Ok(Self {
            name: name.to_owned(),
            id,
            material,
        })
    }

    /// Reads `<name>+<hex id>+<base64 of type and key>`.
    ///
    /// # Errors
    /// [`KeyError`]: the form, the name, an unknown type, the public key, or an id that does not
    /// belong to them.
    pub fn parse(vkey: &str) -> Result<Self, KeyError> {
        let form = || KeyError::Form {
            seen: vkey.chars().take(80).collect(),
        };
        let (name, rest) = vkey.split_once('+').ok_or_else(form)?;
        let (id, key) = rest.split_once('+').ok_or_else(form)?;
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if id.len() != 8 || !id.bytes().all(hex) {
            return Err(form());
        }
        check_name(name)?;
        let decoded = from_base64(key.as_bytes()).ok_or_else(form)?;
        let (byte, public_key) = decoded.split_first().ok_or_else(form)?;
        let signature_type =
            SignatureType::from_byte(*byte).ok_or_else(|| KeyError::UnknownType {
                name: name.to_owned(),
                seen: *byte,
            })?;
        let verifier = Self::new(name, signature_type, public_key)?;
        if verifier.id.to_string() != id {
            return Err(KeyError::IdMismatch {
                name: name.to_owned(),
                seen: id.to_owned(),
                expected: verifier.id,
            });
        }
        Ok(verifier)
    }

    /// The name under which the key signs; for a log's own key, the origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key id.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What kind of signatures this key verifies.
    pub const fn signature_type(&self) -> SignatureType {
        match self.material {
            Material::Ed25519(_) => SignatureType::Ed25519,
            Material::Ed25519Cosignature(_) => SignatureType::Ed25519Cosignature,
            Material::MlDsa44Cosignature(_) => SignatureType::MlDsa44Cosignature,
        }
    }

    /// The encoded public key: 32 or 1312 bytes.
    pub fn public_key(&self) -> Vec<u8> {
        match &self.material {
            Material::Ed25519(key) | Material::Ed25519Cosignature(key) => key.as_bytes().to_vec(),
            Material::MlDsa44Cosignature(key) => key.encode().to_vec(),
        }
    }

    /// Checks `signature` (without the key id) over the text of a note. Gives the timestamp of a
    /// cosignature, in POSIX seconds.
    pub(crate) fn verify(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, Wrong> {
        match &self.material {
            Material::Ed25519(key) => {
                let signature = signature.try_into().map_err(|_| Wrong)?;
                key.verify_strict(text.as_bytes(), &signature)
                    .map_err(|_| Wrong)?;
                Ok(None)
            }
            Material::Ed25519Cosignature(key) => cosignature::verify_ed25519(key, text, signature)
                .map(Some)
                .ok_or(Wrong),
            Material::MlDsa44Cosignature(key) => {
                cosignature::verify_checkpoint(key, &self.name, text, signature)
                    .map(Some)
                    .ok_or(Wrong)
            }
        }
    }

    pub(crate) fn ml_dsa_44(&self) -> Option<&ml_dsa::VerifyingKey<ml_dsa::MlDsa44>> {
        match &self.material {
            Material::MlDsa44Cosignature(key) => Some(key),
            _ => None,
        }
    }
}

impl PartialEq for VerifierKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.name == other.name
            && self.signature_type() == other.signature_type()
            && self.public_key() == other.public_key()
    }
}

impl Eq for VerifierKey {}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.signature_type().byte()];
        key.extend(self.public_key());
        write!(f, "{}+{}+{}", self.name, self.id, base64(&key))
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<Self, KeyError> {
        Self::parse(vkey)
    }
}

/// Signs note texts with Ed25519 (`0x01`): the log's first key.
#[derive(Clone)]
pub struct Ed25519Signer {
    secret: ed25519_dalek::SigningKey,
    verifier: VerifierKey,
}

impl Ed25519Signer {
    /// The signer with this name and RFC 8032 secret key.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self, KeyError> {
        let secret = ed25519_dalek::SigningKey::from_bytes(&seed);
        let public = secret.verifying_key();
        let verifier = VerifierKey::new(name, SignatureType::Ed25519, public.as_bytes())?;
        Ok(Self { secret, verifier })
    }

    /// The public half.
    pub const fn verifier_key(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs the text of a note, final newline included.
    pub fn sign(&self, text: &str) -> NoteSignature {
        let signature = self.secret.sign(text.as_bytes()).to_bytes().to_vec();
        NoteSignature::by(&self.verifier, signature)
    }
}

impl fmt::Debug for Ed25519Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519Signer({})", self.verifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn reads_the_verifier_key_of_the_specification() {
        let key = VerifierKey::parse(EXAMPLE).unwrap();
        assert_eq!(key.name(), "example.com/foo");
        assert_eq!(key.id(), KeyId([0x53, 0x0d, 0x90, 0x3a]));
        assert_eq!(key.signature_type(), SignatureType::Ed25519);
        assert_eq!(key.to_string(), EXAMPLE);
    }

    #[test]
    fn refuses_keys_that_are_not_exactly_right() {
        let form = [
            "",
            "a",
            "a+b",
            "a+530D903A+AQ==",
            "a+530d903+AQ==",
            "a+530d903a+",
            "+",
        ];
        for vkey in form {
            assert!(
                matches!(VerifierKey::parse(vkey), Err(KeyError::Form { .. })),
                "{vkey:?}"
            );
        }
        let id = EXAMPLE.replace("530d903a", "530d903b");
        assert!(matches!(
            VerifierKey::parse(&id),
            Err(KeyError::IdMismatch { .. })
        ));
        let name = EXAMPLE.replace("example.com/foo", "example.com/fo");
        assert!(matches!(
            VerifierKey::parse(&name),
            Err(KeyError::IdMismatch { .. })
        ));
        let unknown = EXAMPLE.replace("+Aek", "+Auk");
        assert!(matches!(
            VerifierKey::parse(&unknown),
            Err(KeyError::UnknownType { seen: 2, .. })
        ));
        let short = EXAMPLE.replace("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", "Aeky");
        assert!(matches!(
            VerifierKey::parse(&short),
            Err(KeyError::PublicKey { seen: 2, .. })
        ));
    }

    #[test]
    fn refuses_names_with_spaces_controls_or_plus() {
        for name in [
            "",
            " ",
            "a b",
            "a\u{a0}b",
            "a\u{2003}b",
            "a+b",
            "a\nb",
            "\u{1}",
        ] {
            let signer = Ed25519Signer::from_seed(name, [1; 32]);
            assert!(matches!(signer, Err(KeyError::Name { .. })), "{name:?}");
        }
        assert!(Ed25519Signer::from_seed("è/größe\u{7f}", [1; 32]).is_ok());
    }

    #[test]
    fn refuses_weak_ed25519_keys() {
        let mut identity = [0; 32];
        identity[0] = 1;
        for key_type in [SignatureType::Ed25519, SignatureType::Ed25519Cosignature] {
            assert!(matches!(
                VerifierKey::new("a", key_type, &identity),
                Err(KeyError::PublicKey { .. })
            ));
        }
    }
}
