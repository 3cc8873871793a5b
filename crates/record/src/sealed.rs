//! Sealed values: what is too personal for the log. The record holds a commitment, whoever may know
//! the value gets an opening.
//!
//! commitment = HMAC-SHA256(key, field name || 0x00 || canonical JSON of the value), the key 32
//! random bytes used once ([RFC 2104]). How values are kept encrypted is not here (see `ledger`).
//!
//! [RFC 2104]: https://www.rfc-editor.org/rfc/rfc2104

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use zeroize::Zeroize;

use crate::cursor::{Cursor, Token};
use crate::encoding::{base64, from_base64, text_serde};
use crate::error::{Fault, Step};
use crate::ids::Pseudonym;
use crate::time::Entropy;
use crate::{MAX_SEALED_BYTES, canonical};

/// What a record holds of a sealed value: 32 bytes, base64 in text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitment(pub [u8; 32]);

impl Commitment {
    /// From 44 characters of canonical base64.
    pub fn parse(text: &str) -> Option<Self> {
        from_base64(text).map(Self)
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64(&self.0))
    }
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commitment({self})")
    }
}

text_serde!(Commitment, "a commitment: 32 bytes in base64");

/// The random key of one commitment. Wiped when dropped, not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct CommitmentKey(pub [u8; 32]);

impl CommitmentKey {
    /// A new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Self(key)
    }
}

impl Drop for CommitmentKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for CommitmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommitmentKey(…)")
    }
}

/// Whose a sealed value is; under whose key it is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Nobody's: the run's. The text `run`.
    Run,
    /// An annotator's.
    Person(Pseudonym),
}

impl Subject {
    /// From `run` or a pseudonym.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "run" {
            Some(Self::Run)
        } else {
            Pseudonym::parse(text).map(Self::Person)
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => f.write_str("run"),
            Self::Person(pseudonym) => pseudonym.fmt(f),
        }
    }
}

text_serde!(Subject, "`run` or a pseudonym");

/// A sealed value: any JSON value, as its canonical JSON of at most [`MAX_SEALED_BYTES`]. Not shown
/// by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedValue(String);

impl SealedValue {
    /// From any JSON value.
    ///
    /// # Errors
    ///
    /// [`OpeningError::TooLarge`], and [`OpeningError::Inexact`] for integers a double cannot hold.
    pub fn from_json(value: &Value) -> Result<Self, OpeningError> {
        // Most are texts, which are canonical as they are written.
        if let Value::String(text) = value {
            let mut out = Vec::with_capacity(text.len() + text.len() / 16 + 2);
            canonical::write_string(&mut out, text);
            return match String::from_utf8(out) {
                Ok(text) if text.len() <= MAX_SEALED_BYTES => Ok(Self(text)),
                Ok(text) => Err(OpeningError::TooLarge { len: text.len() }),
                // Escaping ASCII characters leaves UTF-8 behind.
                Err(error) => Self::from_canonical(error.as_bytes()),
            };
        }
        if !canonical::is_exact(value) {
            return Err(OpeningError::Inexact);
        }
        Self::from_canonical(&canonical::to_canonical(value))
    }

    /// From bytes that must be canonical already.
    ///
    /// # Errors
    ///
    /// [`OpeningError::TooLarge`] and [`OpeningError::NotCanonical`].
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, OpeningError> {
        if bytes.len() > MAX_SEALED_BYTES {
            return Err(OpeningError::TooLarge { len: bytes.len() });
        }
        canonical::check(bytes).map_err(OpeningError::NotCanonical)?;
        Ok(Self(String::from_utf8_lossy(bytes).into_owned()))
    }

    /// The canonical JSON: what is committed to.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The value.
    pub fn to_json(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or(Value::Null)
    }

    /// The text, where the value is one.
    pub fn to_text(&self) -> Option<String> {
        serde_json::from_str(&self.0).ok()
    }
}

impl fmt::Debug for SealedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedValue({} bytes)", self.0.len())
    }
}

/// What opens a commitment, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The commitment's key.
    pub key: CommitmentKey,
    /// Whose the value is. Not part of the commitment.
    pub subject: Subject,
    /// The value.
    pub value: SealedValue,
}

/// Why an opening is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// The value has too many bytes.
    #[error("the value has {len} bytes of canonical JSON, at most {MAX_SEALED_BYTES} are allowed")]
    TooLarge {
        /// How many.
        len: usize,
    },
    /// An integer in the value would not survive.
    #[error("an integer in the value cannot be held by a double; write it as a string")]
    Inexact,
    /// The value's bytes are not canonical JSON.
    #[error("the value is not canonical JSON: {0}")]
    NotCanonical(Box<Fault>),
    /// The bytes are no list of openings.
    #[error("not a list of openings: {0}")]
    Malformed(Box<Fault>),
}

/// The commitment to a value: HMAC-SHA256(key, field || 0x00 || value).
pub fn commit(key: &CommitmentKey, field: &str, value: &SealedValue) -> Commitment {
    Commitment(mac(key, field, value.as_bytes()))
}

/// Whether `key` and `value` (canonical JSON bytes) open a commitment made for `field`.
pub fn open(commitment: &Commitment, key: &CommitmentKey, field: &str, value: &[u8]) -> bool {
    // Nothing here is secret to whoever holds the opening, so the comparison need not be blind.
    mac(key, field, value) == commitment.0
}

fn mac(key: &CommitmentKey, field: &str, value: &[u8]) -> [u8; 32] {
    let mut mac = <Hmac<sha2::Sha256> as KeyInit>::new(&{
        let mut block = hmac::digest::Key::<Hmac<sha2::Sha256>>::default();
        block[..32].copy_from_slice(&key.0);
        block
    });
    mac.update(field.as_bytes());
    mac.update(&[0]);
    mac.update(value);
    mac.finalize().into_bytes().into()
}

/// The openings of one record as a bundle holds them: canonical JSON `{field:{"key","value"}}`,
/// whose they are left out.
pub fn to_bundle_openings<'a>(
    openings: impl IntoIterator<Item = (&'a str, &'a CommitmentKey, &'a [u8])>,
) -> Vec<u8> {
    let mut openings: Vec<_> = openings.into_iter().collect();
    // Field names are ASCII, so the order of bytes is that of UTF-16 code units.
    openings.sort_by_key(|(field, ..)| *field);
    let mut out = vec![b'{'];
    for (at, (field, key, value)) in openings.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        canonical::write_string(&mut out, field);
        out.extend_from_slice(b":{\"key\":\"");
        out.extend_from_slice(base64(&key.0).as_bytes());
        out.extend_from_slice(b"\",\"value\":");
        out.extend_from_slice(value);
        out.push(b'}');
    }
    out.push(b'}');
    out
}

/// Reads what [`to_bundle_openings`] writes: field, key and value of each, by field.
///
/// # Errors
///
/// [`OpeningError::Malformed`] for anything but its canonical form, [`OpeningError::TooLarge`].
pub fn parse_bundle_openings(
    bytes: &[u8],
) -> Result<Vec<(String, CommitmentKey, SealedValue)>, OpeningError> {
    let mut openings = Vec::new();
    let mut cursor = Cursor::from_bytes(bytes).map_err(OpeningError::Malformed)?;
    let walked = cursor.members(|cursor, field| {
        let start = cursor.pos;
        let (key, _, value) =
            read_opening(cursor, false).map_err(|fault| fault.within(&field.decode()))?;
        if value.len() > MAX_SEALED_BYTES {
            cursor.pos = start;
            return Err(cursor.fault("a value of at most 1 MiB"));
        }
        openings.push((
            field.decode().into_owned(),
            key,
            SealedValue(value.to_owned()),
        ));
        Ok(())
    });
    walked
        .and_then(|_| cursor.end())
        .map_err(OpeningError::Malformed)?;
    Ok(openings)
}

/// `{"key":…,"subject":…,"value":…}`, the subject only where it is wanted.
pub(crate) fn read_opening<'a>(
    cursor: &mut Cursor<'a>,
    with_subject: bool,
) -> Step<(CommitmentKey, Option<Subject>, &'a str)> {
    let text = |cursor: &mut Cursor<'a>, literal: &str| -> Step<Token<'a>> {
        if !cursor.eat_literal(literal) {
            return Err(cursor.fault(&format!("`{literal}`")));
        }
        cursor.string()
    };
    let start = cursor.pos;
    let key = text(cursor, "{\"key\":")?;
    let Some(key) = from_base64(key.raw).map(CommitmentKey) else {
        cursor.pos = start;
        return Err(cursor.fault("a key of 32 bytes in base64").within("key"));
    };
    let mut subject = None;
    if with_subject {
        let start = cursor.pos;
        subject = Subject::parse(text(cursor, ",\"subject\":")?.raw);
        if subject.is_none() {
            cursor.pos = start;
            return Err(cursor.fault("`run` or a pseudonym").within("subject"));
        }
    }
    if !cursor.eat_literal(",\"value\":") {
        return Err(cursor.fault("the member `value`"));
    }
    let from = cursor.pos;
    cursor.value(1).map_err(|fault| fault.within("value"))?;
    let value = cursor.slice(from, cursor.pos);
    cursor.expect(b'}')?;
    Ok((key, subject, value))
}

impl Opening {
    /// Its canonical JSON, as in a submission.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"key\":\"");
        out.extend_from_slice(base64(&self.key.0).as_bytes());
        out.extend_from_slice(b"\",\"subject\":\"");
        out.extend_from_slice(self.subject.to_string().as_bytes());
        out.extend_from_slice(b"\",\"value\":");
        out.extend_from_slice(self.value.as_bytes());
        out.push(b'}');
    }

    /// Reads what [`Opening::write`] writes.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Step<Self> {
        let start = cursor.pos;
        let (key, subject, value) = read_opening(cursor, true)?;
        if value.len() > MAX_SEALED_BYTES {
            cursor.pos = start;
            return Err(cursor.fault("a value of at most 1 MiB of canonical JSON"));
        }
        let subject = subject.unwrap_or(Subject::Run);
        Ok(Self {
            key,
            subject,
            value: SealedValue(value.to_owned()),
        })
    }
}
