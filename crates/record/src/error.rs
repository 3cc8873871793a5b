//! What can be wrong with a record's bytes, said so that its producer can mend it.

use std::fmt;

use crate::MAX_RECORD_BYTES;

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// More than [`MAX_RECORD_BYTES`].
    #[error(
        "the record has {len} bytes, at most {MAX_RECORD_BYTES} are allowed; \
         seal long values or attach them"
    )]
    TooLarge {
        /// Its length.
        len: usize,
    },
    /// Not canonical, or not of its kind's shape.
    #[error(transparent)]
    Invalid(Box<Fault>),
    /// The kind is not one this version knows; the bytes are canonical.
    #[error("unknown kind {kind:?}; see docs/spec/schemas for those there are")]
    UnknownKind {
        /// The kind's name.
        kind: String,
    },
    /// The kind is known, this version of its schema is not; the bytes are canonical.
    #[error("unknown version {version} of kind {kind}, known is {known}")]
    UnknownVersion {
        /// The kind's name.
        kind: &'static str,
        /// The version found.
        version: u16,
        /// The newest version known here.
        known: u16,
    },
}

impl RecordError {
    /// A short name for machines, as in a problem document.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "record-too-large",
            Self::Invalid(fault) if fault.canonical => "not-canonical",
            Self::Invalid(_) => "invalid-record",
            Self::UnknownKind { .. } => "unknown-kind",
            Self::UnknownVersion { .. } => "unknown-version",
        }
    }
}

/// One place in JSON that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The member, like `body.source.row` or `body.files[2].name`; empty for the whole.
    pub path: String,
    /// The byte at which it was noticed, counted from 0.
    pub offset: usize,
    /// What would have been right there.
    pub expected: String,
    /// What was there.
    pub found: String,
    /// Whether the canonical form (RFC 8785) was offended, and not the schema.
    pub canonical: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(
            f,
            "expected {}, found {} at byte {}",
            self.expected, self.found, self.offset
        )
    }
}

impl std::error::Error for Fault {}

/// The result of a step of the parser. Boxed, so that the usual path moves one word.
pub(crate) type Step<T> = Result<T, Box<Fault>>;

impl Fault {
    /// The same fault seen from the object whose member `name` it is in.
    #[cold]
    pub(crate) fn within(mut self: Box<Self>, name: &str) -> Box<Self> {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    /// The same fault seen from the array whose element `at` it is in.
    #[cold]
    pub(crate) fn within_element(mut self: Box<Self>, at: usize) -> Box<Self> {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("[{at}]{dot}{}", self.path);
        self
    }
}

impl From<Box<Fault>> for RecordError {
    fn from(fault: Box<Fault>) -> Self {
        Self::Invalid(fault)
    }
}
