//! Names made of hashes and keys: the leaf hash that names a record, the digest of a file, public
//! keys and signatures, each as the text in which it stands in a body.

use std::fmt;

use tlog::Hash;

use crate::encoding::{base64, from_base64, from_hex32, hex, text_serde};

/// The leaf hash of a record's bytes: SHA-256(0x00 || bytes) ([RFC 6962 §2.1]).
///
/// [RFC 6962 §2.1]: https://www.rfc-editor.org/rfc/rfc6962#section-2.1
pub fn leaf_hash(record: &[u8]) -> Hash {
    tlog::leaf_hash(record)
}

macro_rules! bytes_newtype {
    ($(#[$meta:meta])* $name:ident, $len:literal, $encode:path, $decode:expr, $expected:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// From its text, `None` where that is not its one canonical form.
            pub fn parse(text: &str) -> Option<Self> {
                $decode(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&$encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        text_serde!($name, $expected);
    };
}

bytes_newtype!(
    /// A 32-byte tree hash as it stands in a body: base64, 44 characters. Names a record by its
    /// leaf hash, or is a root.
    RecordHash, 32, base64, from_base64::<32>, "32 bytes in base64"
);
bytes_newtype!(
    /// An Ed25519 public key (RFC 8032): 32 bytes, base64 in text.
    PublicKey, 32, base64, from_base64::<32>, "an Ed25519 public key in base64"
);
bytes_newtype!(
    /// An Ed25519 signature (RFC 8032): 64 bytes, base64 in text.
    SignatureBytes, 64, base64, from_base64::<64>, "an Ed25519 signature in base64"
);
bytes_newtype!(
    /// The SHA-256 of a file: 32 bytes, 64 lower-case hexadecimal digits in text.
    Sha256, 32, hex, from_hex32, "a SHA-256 in 64 lower-case hexadecimal digits"
);

impl From<Hash> for RecordHash {
    fn from(hash: Hash) -> Self {
        Self(hash.into())
    }
}

impl From<RecordHash> for Hash {
    fn from(hash: RecordHash) -> Self {
        Self::from(hash.0)
    }
}

impl PublicKey {
    /// Whether `signature` over `message` is this key's, by RFC 8032 in its strict reading: no key
    /// of small order, no second encoding of a signature.
    pub fn verifies(&self, message: &[u8], signature: &SignatureBytes) -> bool {
        ed25519_dalek::VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
            key.verify_strict(message, &signature).is_ok()
        })
    }
}

impl From<&ed25519_dalek::SigningKey> for PublicKey {
    fn from(key: &ed25519_dalek::SigningKey) -> Self {
        Self(key.verifying_key().to_bytes())
    }
}
