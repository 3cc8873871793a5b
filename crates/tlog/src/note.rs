//! Signed notes: a text and signature lines (<https://c2sp.org/signed-note>).
//!
//! Parsing says nothing about trust: the text must be ignored until [`SignedNote::verify`] or a
//! [`crate::policy::Policy`] has accepted it.

use crate::encoding::{base64, from_base64};
use crate::key::{KeyError, KeyId, VerifierKey, check_name};
use std::fmt;
use std::str::FromStr;

/// The longest note that is read, in bytes. A hundred ML-DSA-44 signatures take a third of it.
pub const MAX_NOTE_BYTES: usize = 1_000_000;

/// The most signatures a note may have. The specification asks for at least 16.
pub const MAX_SIGNATURES: usize = 100;

/// A note is malformed, or its signatures do not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`MAX_NOTE_BYTES`].
    #[error("a note has at most {MAX_NOTE_BYTES} bytes, not {seen}")]
    TooLong {
        /// The number of bytes seen.
        seen: usize,
    },
    /// Not UTF-8.
    #[error("a note must be UTF-8, byte {offset} is not")]
    NotUtf8 {
        /// Offset of the first wrong byte.
        offset: usize,
    },
    /// A control character other than newline.
    #[error("a note must not contain control characters, byte {offset} is {seen:#04x}")]
    ControlCharacter {
        /// Offset of the character.
        offset: usize,
        /// The character.
        seen: u8,
    },
    /// No empty line between a text and signatures.
    #[error("a note is a text, an empty line and signature lines; the empty line is missing")]
    NoSeparator,
    /// A text that does not end in a newline.
    #[error("the text of a note must end in a newline")]
    TextUnterminated,
    /// No signature line.
    #[error("a note needs at least one signature")]
    Unsigned,
    /// More than [`MAX_SIGNATURES`].
    #[error("a note has at most {MAX_SIGNATURES} signatures, not {seen}")]
    TooManySignatures {
        /// The number of signatures seen.
        seen: usize,
    },
    /// A line below the text that is no signature.
    #[error("signature line {line} is not \"\u{2014} <key name> <base64>\" with a newline")]
    SignatureLine {
        /// Number of the line below the empty one, from 1.
        line: usize,
    },
    /// A key name that notes do not allow.
    #[error(transparent)]
    Name(#[from] KeyError),
    /// A signature of a known key is wrong.
    #[error("the signature of {name} ({id}) is wrong: text or signature has been altered")]
    BadSignature {
        /// The key's name.
        name: String,
        /// The key's id.
        id: KeyId,
    },
    /// None of the keys has signed.
    #[error("none of the known keys has signed; signatures are by {seen:?}")]
    NoKnownSignature {
        /// Names and ids on the signature lines.
        seen: Vec<String>,
    },
}

/// One signature line, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    id: KeyId,
    signature: Vec<u8>,
}

impl NoteSignature {
    pub(crate) fn by(key: &VerifierKey, signature: Vec<u8>) -> Self {
        Self {
            name: key.name().to_owned(),
            id: key.id(),
            signature,
        }
    }

    /// Reads one line without its newline, as a witness returns them.
    ///
    /// # Errors
    /// [`NoteError::SignatureLine`], [`NoteError::Name`].
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        Self::parse_line(line, 1)
    }

    fn parse_line(text: &str, line: usize) -> Result<Self, NoteError> {
        let malformed = || NoteError::SignatureLine { line };
        let rest = text.strip_prefix("\u{2014} ").ok_or_else(malformed)?;
        let (name, encoded) = rest.split_once(' ').ok_or_else(malformed)?;
        check_name(name)?;
        let decoded = from_base64(encoded.as_bytes()).ok_or_else(malformed)?;
        let (id, signature) = decoded.split_first_chunk().ok_or_else(malformed)?;
        if signature.is_empty() {
            return Err(malformed());
        }
        Ok(Self {
            name: name.to_owned(),
            id: KeyId(*id),
            signature: signature.to_vec(),
        })
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key's id.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The signature without the key id.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Whether this line claims to be by `key`.
    pub fn is_by(&self, key: &VerifierKey) -> bool {
        self.id == key.id() && self.name == key.name()
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id.0[..], &self.signature].concat();
        write!(f, "\u{2014} {} {}", self.name, base64(&bytes))
    }
}

/// A signature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSignature {
    /// The key that signed.
    pub key: VerifierKey,
    /// When a cosigner says it signed, in POSIX seconds; `None` for a plain signature.
    pub timestamp: Option<u64>,
}

/// A text and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl SignedNote {
    /// A note to be signed. The text must end in a newline.
    ///
    /// # Errors
    /// [`NoteError::TextUnterminated`], [`NoteError::ControlCharacter`], [`NoteError::TooLong`],
    /// [`NoteError::Unsigned`], [`NoteError::TooManySignatures`].
    pub fn new(text: String, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        check_text(text.as_bytes())?;
        if !text.ends_with('\n') {
            return Err(NoteError::TextUnterminated);
        }
        check_count(signatures.len())?;
        Ok(Self { text, signatures })
    }

    /// Reads a note.
    ///
    /// # Errors
    /// [`NoteError`] for whatever is not as the specification says.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        check_text(bytes)?;
        let note = std::str::from_utf8(bytes).map_err(|error| NoteError::NotUtf8 {
            offset: error.valid_up_to(),
        })?;
        let end = note.rfind("\n\n").ok_or(NoteError::NoSeparator)? + 1;
        let (text, lines) = (&note[..end], &note[end + 1..]);
        check_count(
            lines
                .matches('\n')
                .count()
                .max(usize::from(!lines.is_empty())),
        )?;
        let signatures = lines
            .split_inclusive('\n')
            .zip(1..)
            .map(|(line, number)| {
                let malformed = NoteError::SignatureLine { line: number };
                NoteSignature::parse_line(line.strip_suffix('\n').ok_or(malformed)?, number)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            text: text.to_owned(),
            signatures,
        })
    }

    /// The text, final newline included. To be ignored until it is verified.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines in their order, whether they hold or not.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds a signature, such as a witness's, behind the others.
    ///
    /// # Errors
    /// [`NoteError::TooManySignatures`]; the note is then as before.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        check_count(self.signatures.len() + 1)?;
        self.signatures.push(signature);
        Ok(())
    }

    /// Checks all signatures that claim to be by `key`. `None` if there is none.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`], if one of them does not hold.
    pub fn verify_by(&self, key: &VerifierKey) -> Result<Option<VerifiedSignature>, NoteError> {
        let mut verified = None;
        for signature in self
            .signatures
            .iter()
            .filter(|signature| signature.is_by(key))
        {
            let timestamp = key.verify(&self.text, &signature.signature).map_err(|_| {
                NoteError::BadSignature {
                    name: key.name().to_owned(),
                    id: key.id(),
                }
            })?;
            verified.get_or_insert_with(|| VerifiedSignature {
                key: key.clone(),
                timestamp,
            });
        }
        Ok(verified)
    }

    /// Checks the signatures of all known keys; those of unknown keys are ignored. Returns one
    /// entry for each key that has signed, in the order of `keys`.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`], if one signature by a known key does not hold;
    /// [`NoteError::NoKnownSignature`], if there is none.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Vec<VerifiedSignature>, NoteError> {
        let mut verified = Vec::new();
        for key in keys {
            verified.extend(self.verify_by(key)?);
        }
        if verified.is_empty() {
            return Err(NoteError::NoKnownSignature {
                seen: self.claimed(),
            });
        }
        Ok(verified)
    }

    /// Who the signature lines claim to be by, for messages.
    pub(crate) fn claimed(&self) -> Vec<String> {
        self.signatures
            .iter()
            .map(|s| format!("{} ({})", s.name, s.id))
            .collect()
    }
}

impl fmt::Display for SignedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures
            .iter()
            .try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl FromStr for SignedNote {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        Self::parse(note.as_bytes())
    }
}

fn check_text(bytes: &[u8]) -> Result<(), NoteError> {
    if bytes.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLong { seen: bytes.len() });
    }
    match bytes.iter().position(|byte| *byte < 0x20 && *byte != b'\n') {
        Some(offset) => Err(NoteError::ControlCharacter {
            offset,
            seen: bytes[offset],
        }),
        None => Ok(()),
    }
}

fn check_count(seen: usize) -> Result<(), NoteError> {
    match seen {
        0 => Err(NoteError::Unsigned),
        1..=MAX_SIGNATURES => Ok(()),
        _ => Err(NoteError::TooManySignatures { seen }),
    }
}
