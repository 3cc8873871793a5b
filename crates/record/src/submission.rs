//! What a producer sends for one record: its bytes and the openings of its sealed values, one line.
//!
//! A line is a record's canonical bytes, or `{"openings":{field:opening,…},"record":<record>}`,
//! canonical as a whole, where fields are sealed. Every sealed field has exactly one opening, and
//! each opens its commitment.

use crate::cursor::Cursor;
use crate::error::{Fault, RecordError};
use crate::record::Record;
use crate::sealed::{Opening, open};

/// A record's bytes and the openings of its sealed values, by field. The bytes are its own, or lie in the line that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission<B = Vec<u8>> {
    /// The record's canonical bytes.
    pub record: B,
    /// Field and opening, sorted by field.
    pub openings: Vec<(String, Opening)>,
}

/// Why a line is no submission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionError {
    /// The record in it is none.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The line around the record is not as it should be.
    #[error("openings are not canonical JSON as in docs/spec/sealed-values.md: {0}")]
    Line(Box<Fault>),
    /// A sealed field came without its opening.
    #[error("the sealed field `{0}` has no opening; send key and value with the record")]
    NoOpening(String),
    /// An opening for a field that is not sealed.
    #[error("there is an opening for `{0}`, which the record does not seal")]
    NotSealed(String),
    /// Key and value do not make the commitment.
    #[error(
        "the opening of `{0}` does not make the record's commitment: expected \
         HMAC-SHA256(key, field || 0x00 || canonical value)"
    )]
    DoesNotOpen(String),
}

impl SubmissionError {
    /// A short name for machines, as in a problem document.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Record(error) => error.code(),
            Self::Line(_) => "invalid-openings",
            Self::NoOpening(_) | Self::NotSealed(_) | Self::DoesNotOpen(_) => "opening-mismatch",
        }
    }
}

const PREFIX: &str = "{\"openings\":";

impl Submission {
    /// A record without sealed values.
    pub fn new(record: Vec<u8>) -> Self {
        Self {
            record,
            openings: Vec::new(),
        }
    }
}

impl<'a> Submission<&'a [u8]> {
    /// Takes a line (without its newline) apart. Reads neither the record nor opens anything: see
    /// [`Submission::check`].
    ///
    /// # Errors
    ///
    /// [`SubmissionError::Line`].
    pub fn parse_line(line: &'a [u8]) -> Result<Self, SubmissionError> {
        if !line.starts_with(PREFIX.as_bytes()) {
            return Ok(Self {
                record: line,
                openings: Vec::new(),
            });
        }
        let mut openings = Vec::new();
        let mut cursor = Cursor::from_bytes(line).map_err(SubmissionError::Line)?;
        cursor.eat_literal(PREFIX);
        cursor
            .members(|cursor, field| {
                let opening =
                    Opening::read(cursor).map_err(|fault| fault.within(&field.decode()))?;
                openings.push((field.decode().into_owned(), opening));
                Ok(())
            })
            .map_err(|fault| SubmissionError::Line(fault.within("openings")))?;
        if !cursor.eat_literal(",\"record\":") {
            return Err(SubmissionError::Line(cursor.fault("`,\"record\":`")));
        }
        let record = line.get(cursor.pos..).unwrap_or_default();
        let Some(record) = record.strip_suffix(b"}") else {
            cursor.pos = line.len();
            return Err(SubmissionError::Line(cursor.fault_canonical("`}`")));
        };
        Ok(Self { record, openings })
    }

    /// With bytes of its own.
    pub fn into_owned(self) -> Submission {
        Submission {
            record: self.record.to_vec(),
            openings: self.openings,
        }
    }
}

impl<B: AsRef<[u8]>> Submission<B> {
    /// The line, without a newline.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(self.record.as_ref().len() + 512 * self.openings.len());
        self.write_line(&mut line);
        line
    }

    /// Writes the line to the end of `out`, without a newline.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        if self.openings.is_empty() {
            out.extend_from_slice(self.record.as_ref());
            return;
        }
        out.extend_from_slice(PREFIX.as_bytes());
        out.push(b'{');
        for (at, (field, opening)) in self.openings.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            crate::canonical::write_string(out, field);
            out.push(b':');
            opening.write(out);
        }
        out.extend_from_slice(b"},\"record\":");
        out.extend_from_slice(self.record.as_ref());
        out.push(b'}');
    }

    /// Reads the record and opens every sealed value: all that can be checked of a submission
    /// without its stream.
    ///
    /// # Errors
    ///
    /// Whatever [`Record::parse`] finds; a field without opening, an opening without field, and an
    /// opening that does not open.
    pub fn check(&self) -> Result<Record<'_>, SubmissionError> {
        let record = Record::parse(self.record.as_ref())?;
        let mut openings = self.openings.iter().peekable();
        for (field, commitment) in record.sealed() {
            // Both are sorted by field.
            let opening = match openings.next() {
                Some((name, opening)) if name == field => opening,
                Some((name, _)) if name.as_str() < field => {
                    return Err(SubmissionError::NotSealed(name.clone()));
                }
                _ => return Err(SubmissionError::NoOpening(field.to_owned())),
            };
            if !open(&commitment, &opening.key, field, opening.value.as_bytes()) {
                return Err(SubmissionError::DoesNotOpen(field.to_owned()));
            }
        }
        match openings.next() {
            None => Ok(record),
            Some((name, _)) => Err(SubmissionError::NotSealed(name.clone())),
        }
    }
}
