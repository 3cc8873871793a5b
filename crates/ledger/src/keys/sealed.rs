//! The text of a key file, plain or encrypted (`docs/spec/log.md`).
//!
//! Plain it is the seed in base64 and a newline. Encrypted it has three lines: what it is and what
//! deriving costs, the salt, and nonce and ciphertext (AES-256-GCM-SIV, whose associated data are the
//! first two lines).

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use record::Entropy;
use zeroize::Zeroizing;

use super::Seed;
use super::passphrase::{Cost, Passphrase};

const HEADER: &str = "rlhf-audit-key/v1 argon2id ";
const NONCE_BYTES: usize = 12;
/// An encrypted file has some 200 bytes; what is longer is none.
pub(super) const MAX_TEXT: u64 = 1_024;

/// Why a text gives no seed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TextError {
    /// It is no key.
    Form,
    /// It is encrypted, and there is no passphrase: why, and what to do.
    NoPassphrase(String),
    /// It does not decrypt.
    WrongPassphrase,
}

pub(super) fn is_encrypted(text: &str) -> bool {
    text.starts_with(HEADER)
}

/// The text of a plain file.
pub(super) fn plain(seed: &Seed) -> Zeroizing<String> {
    let mut text = Zeroizing::new(STANDARD.encode(seed.as_slice()));
    text.push('\n');
    text
}

/// The text of an encrypted file. Files that are encrypted together share a salt, so that opening a
/// ledger derives one key; the nonces are their own.
///
/// # Errors
/// [`TextError::NoPassphrase`].
pub(super) fn encrypted(
    seed: &Seed,
    passphrase: &Passphrase,
    salt: &[u8; 16],
    entropy: &dyn Entropy,
) -> Result<Zeroizing<String>, TextError> {
    let cost = Cost::USUAL;
    let key = passphrase
        .derive(cost, salt)
        .map_err(TextError::NoPassphrase)?;
    let mut text = format!(
        "{HEADER}m={} t={} p={}\n{}\n",
        cost.memory,
        cost.passes,
        cost.lanes,
        STANDARD.encode(salt)
    );
    let mut nonce = [0; NONCE_BYTES];
    entropy.fill(&mut nonce);
    let payload = Payload {
        msg: seed.as_slice(),
        aad: text.as_bytes(),
    };
    let mut sealed = nonce.to_vec();
    // 32 bytes are never too long.
    sealed.extend(
        cipher(&key)
            .encrypt(&Nonce::from(nonce), payload)
            .unwrap_or_default(),
    );
    text.push_str(&STANDARD.encode(sealed));
    text.push('\n');
    Ok(Zeroizing::new(text))
}

/// The seed in either.
///
/// # Errors
/// [`TextError`].
pub(super) fn read(text: &str, passphrase: &Passphrase) -> Result<Seed, TextError> {
    if is_encrypted(text) {
        return decrypt(text, passphrase);
    }
    let bytes = STANDARD.decode(text.trim_end_matches(['\n', '\r']));
    seed(&Zeroizing::new(bytes.map_err(|_| TextError::Form)?))
}

fn decrypt(text: &str, passphrase: &Passphrase) -> Result<Seed, TextError> {
    let (cost, salt, sealed) = parts(text).ok_or(TextError::Form)?;
    let head = text.len() - text.rsplit('\n').nth(1).map_or(0, str::len) - 1;
    let (nonce, ciphertext) = sealed
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or(TextError::Form)?;
    let key = passphrase
        .derive(cost, &salt)
        .map_err(TextError::NoPassphrase)?;
    let payload = Payload {
        msg: ciphertext,
        aad: &text.as_bytes()[..head],
    };
    let plain = cipher(&key)
        .decrypt(&Nonce::from(*nonce), payload)
        .map_err(|_| TextError::WrongPassphrase)?;
    seed(&Zeroizing::new(plain))
}

/// Cost, salt, and nonce with ciphertext. Exactly as [`encrypted`] writes them.
fn parts(text: &str) -> Option<(Cost, [u8; 16], Vec<u8>)> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let mut numbers = lines.next()?.strip_prefix(HEADER)?.split(' ');
    let mut number = |name: &str| numbers.next()?.strip_prefix(name)?.parse::<u32>().ok();
    let cost = Cost {
        memory: number("m=")?,
        passes: number("t=")?,
        lanes: number("p=")?,
    };
    let salt = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
    let sealed = STANDARD.decode(lines.next()?).ok()?;
    let whole = numbers.next().is_none() && lines.next().is_none();
    (whole && cost.is_bearable()).then_some((cost, salt, sealed))
}

fn seed(bytes: &[u8]) -> Result<Seed, TextError> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| TextError::Form)?;
    Ok(Seed::new(bytes))
}

fn cipher(key: &[u8; 32]) -> Aes256GcmSiv {
    Aes256GcmSiv::new(&(*key).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sevens;
    impl Entropy for Sevens {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    fn phrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn an_encrypted_seed_comes_back_under_its_passphrase_alone() {
        let (seed, right) = (Seed::new([5; 32]), phrase("correct horse battery"));
        let text = encrypted(&seed, &right, &[1; 16], &Sevens).unwrap();
        assert!(is_encrypted(&text) && !text.contains(plain(&seed).trim()));
        assert_eq!(read(&text, &right).unwrap(), seed);
        assert_eq!(read(&plain(&seed), &Passphrase::none()).unwrap(), seed);
        let wrong = read(&text, &phrase("correct horse"));
        assert_eq!(wrong.unwrap_err(), TextError::WrongPassphrase);
        let missing = read(&text, &Passphrase::none()).unwrap_err();
        assert!(matches!(missing, TextError::NoPassphrase(_)));
    }

    #[test]
    fn what_was_changed_is_never_a_seed() {
        let right = phrase("correct horse battery");
        let text = encrypted(&Seed::new([5; 32]), &right, &[1; 16], &Sevens).unwrap();
        for end in 0..text.len() {
            assert!(read(&text[..end], &right).is_err(), "cut at {end}");
        }
        for (from, to) in [
            ("m=65536", "m=65537"),
            ("t=3", "t=2"),
            ("p=4", "p=04"),
            ("AQEB", "AQEC"),
            ("\nBwcH", "\nBwcI"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, *text);
            assert!(read(&changed, &right).is_err(), "{from} -> {to}");
        }
        assert!(read(&format!("{}\n", *text), &right).is_err());
        // A file cannot make its reader work for ever.
        for cost in ["m=4294967295", "m=1", "m=65536 t=3 p=4294967295"] {
            let greedy = text.replacen("m=65536", cost, 1);
            assert_eq!(read(&greedy, &right).unwrap_err(), TextError::Form);
        }
    }
}
