//! What encrypts a backup and names its blobs.
//!
//! From the operator's 32 bytes follow two keys. A blob's name is an HMAC-SHA256 of its content under the one, so nobody
//! without it can tell whether a file they know is in the backup. The other encrypts it with AES-256-GCM-SIV; the nonce is the
//! beginning of the name. So the same content has the same bytes whoever writes it, two backups at once do not
//! disturb each other, and no nonce is used for two contents: the cipher would bear even that.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use hmac::{Hmac, Mac};
use sha2::Digest as _;
use zeroize::Zeroizing;

const NAMES: &[u8] = b"rlhf-audit-backup/v1 names";
const CONTENT: &[u8] = b"rlhf-audit-backup/v1 content";
const CHECK: &[u8] = b"rlhf-audit-backup/v1 check";
const NONCE_BYTES: usize = 12;

/// The name of a blob.
pub(crate) type Name = [u8; 32];

/// What a backup is encrypted under.
#[derive(Clone)]
pub struct Key(Option<Keys>);

#[derive(Clone)]
struct Keys {
    names: Zeroizing<[u8; 32]>,
    content: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() {
            "Key"
        } else {
            "Key(plain)"
        })
    }
}

impl Key {
    /// Encrypts under these bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Some(Keys {
            names: Zeroizing::new(mac(secret, NAMES)),
            content: Zeroizing::new(mac(secret, CONTENT)),
        }))
    }

    /// Encrypts nothing: private keys are in the clear.
    pub fn plain() -> Self {
        Self(None)
    }

    /// Whether nothing is encrypted.
    pub fn is_plain(&self) -> bool {
        self.0.is_none()
    }

    /// What tells this key from others, and nothing of it.
    pub(crate) fn check(&self) -> Option<String> {
        let keys = self.0.as_ref()?;
        Some(hex(&mac(&keys.names, CHECK)[..16]))
    }

    /// The name of this content.
    pub(crate) fn name(&self, content: &[u8]) -> Name {
        match &self.0 {
            Some(keys) => mac(&keys.names, content),
            None => sha2::Sha256::digest(content).into(),
        }
    }

    /// The bytes that are written for it. `place` is where: the same bytes elsewhere are refused.
    pub(crate) fn seal(&self, name: &Name, place: &str, content: &[u8]) -> Vec<u8> {
        let Some(keys) = &self.0 else {
            return content.to_vec();
        };
        let payload = Payload {
            msg: content,
            aad: place.as_bytes(),
        };
        // Contents here are far below the cipher's 64 GiB.
        cipher(keys)
            .encrypt(&nonce(name), payload)
            .unwrap_or_default()
    }

    /// The content, if the bytes are those that were written.
    pub(crate) fn open(&self, name: &Name, place: &str, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let content = match &self.0 {
            None => bytes,
            Some(keys) => {
                let payload = Payload {
                    msg: &bytes,
                    aad: place.as_bytes(),
                };
                cipher(keys).decrypt(&nonce(name), payload).ok()?
            }
        };
        (self.name(&content) == *name).then_some(content)
    }
}

fn cipher(keys: &Keys) -> Aes256GcmSiv {
    Aes256GcmSiv::new(&(*keys.content).into())
}

fn nonce(name: &Name) -> Nonce {
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&name[..NONCE_BYTES]);
    Nonce::from(nonce)
}

fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    // HMAC fills a short key up with zeros to a block.
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<sha2::Sha256> as hmac::KeyInit>::new(&(*block).into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn unhex(text: &str) -> Option<Name> {
    let mut name = Name::default();
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in name.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_under_its_key_at_its_place_alone() {
        for key in [Key::new(&[7; 32]), Key::plain()] {
            let content = b"a record".to_vec();
            let name = key.name(&content);
            let bytes = key.seal(&name, "data/x", &content);
            assert_eq!(key.open(&name, "data/x", bytes.clone()).unwrap(), content);
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1;
                assert_eq!(key.open(&name, "data/x", flipped), None);
                assert_eq!(key.open(&name, "data/x", bytes[..at].to_vec()), None);
            }
            let other = Key::new(&[8; 32]);
            assert_eq!(other.open(&name, "data/x", bytes.clone()), None);
            if !key.is_plain() {
                assert_eq!(key.open(&name, "data/y", bytes.clone()), None);
                assert_ne!(bytes, content);
                assert_eq!(bytes, key.seal(&name, "data/x", &content));
            }
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let name = Key::plain().name(b"x");
        assert_eq!(unhex(&hex(&name)), Some(name));
        for other in ["", "0", &"g".repeat(64), &"é".repeat(32), &"0".repeat(66)] {
            assert_eq!(unhex(other), None, "{other}");
        }
    }
}
