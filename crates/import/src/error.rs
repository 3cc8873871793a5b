//! What is wrong with a row, said such that its author finds the place.

use std::fmt;

use serde_json::{Value, json};

/// One thing wrong with a data set: where, what was expected there, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct RowError {
    /// The file as the caller calls it ([`Source::file`](crate::Source::file)).
    pub file: String,
    /// The line on which the row begins, from 1; in gzip, the line of the unpacked text.
    pub line: u64,
    /// Which row of the file, from 0 as in Python and on the Hugging Face hub; none where the
    /// trouble is with the file rather than with a row of it.
    pub row: Option<u64>,
    /// The path of the field, as in `feedback.errors[2].start`; none where it is the whole row.
    pub field: Option<String>,
    /// What belongs there.
    pub expected: String,
    /// What is there instead.
    pub found: String,
    /// Nothing after this place could be read: the rows after it are missing, not merely this one.
    pub fatal: bool,
    /// The row as it stands in the file, if it was short enough to be kept. Bytes that are not
    /// UTF-8 are replaced by U+FFFD.
    pub text: Option<String>,
}

impl RowError {
    /// The error as one JSON object, for a file of rejected rows: `file`, `line`, `row`, `field`,
    /// `expected`, `found`, and the row itself as `text` (each absent value is null).
    pub fn to_json(&self) -> Value {
        json!({
            "file": self.file,
            "line": self.line,
            "row": self.row,
            "field": self.field,
            "expected": self.expected,
            "found": self.found,
            "text": self.text,
        })
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if let Some(row) = self.row {
            write!(f, "row {row}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "field `{field}`: ")?;
        }
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

/// The same without the place, which only the reader of rows knows, or of a payload that is no row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}expected {expected}, found {found}", Named(field.as_deref()))]
pub struct Misfit {
    /// The path of the field, as in `annotation.result[2].value`; none where it is the whole.
    pub field: Option<String>,
    /// What belongs there.
    pub expected: String,
    /// What is there instead, never quoted: it may be personal.
    pub found: String,
}

struct Named<'a>(Option<&'a str>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .map_or(Ok(()), |field| write!(f, "field `{field}`: "))
    }
}

impl Misfit {
    pub(crate) fn at(
        field: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            field: Some(field.into()),
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(crate) fn row(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            field: None,
            expected: expected.into(),
            found: found.into(),
        }
    }
}
