//! A record that was read: its members, over the bytes it was read from. How it is read is in
//! `parse`.

use std::fmt;

use crate::cursor::Cursor;
use crate::encoding::from_base64;
use crate::error::{Fault, RecordError};
use crate::hash::Sha256;
use crate::ids::{RunId, Scope, StreamName};
use crate::kinds::{Body, Kind};
use crate::parse::envelope;
use crate::sealed::Commitment;
use crate::shape::{COUNT, Form, Member, Shape};
use crate::time::Timestamp;
use crate::{Hash, MAX_RECORD_BYTES};

/// A record, checked, over the bytes it was read from.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) body: &'a str,
    pub(crate) sealed: &'a str,
    pub(crate) attachments: &'a str,
    pub(crate) kind_name: &'a str,
    pub(crate) kind: Option<Kind>,
    pub(crate) version: u16,
    pub(crate) scope: Scope,
    pub(crate) stream: StreamName,
    pub(crate) seq: u64,
    pub(crate) prev: Option<Hash>,
    pub(crate) time: Timestamp,
}

/// The most attachments a record may name.
pub(crate) const MAX_ATTACHMENTS: usize = 64;

/// What stands under the name of an attachment.
pub(crate) const ATTACHMENT: &[Member] = &[
    Member {
        name: "bytes",
        required: true,
        shape: COUNT,
        doc: " How many bytes it has.",
    },
    Member {
        name: "sha256",
        required: true,
        shape: Shape::Form(Form::Sha256),
        doc: " The SHA-256 of its bytes.",
    },
];

impl<'a> Record<'a> {
    /// Reads a record of a kind and version known here.
    ///
    /// # Errors
    ///
    /// [`RecordError`] with the first place where the bytes are not canonical or not of the kind's
    /// shape; [`RecordError::UnknownKind`] and [`RecordError::UnknownVersion`] only for bytes that
    /// are canonical with a right envelope.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let record = Self::parse_envelope(bytes)?;
        if record.kind.is_some() {
            Ok(record)
        } else {
            Err(record.unknown())
        }
    }

    /// Reads a record of any kind: as [`Record::parse`], but where kind or version is unknown the
    /// body may be any canonical object, and [`Record::kind`] is `None`.
    ///
    /// # Errors
    ///
    /// As [`Record::parse`], without the last two.
    #[inline]
    pub fn parse_envelope(bytes: &'a [u8]) -> Result<Self, RecordError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLarge { len: bytes.len() });
        }
        let mut cursor = Cursor::from_bytes(bytes)?;
        let record = envelope(&mut cursor, bytes)?;
        cursor.end()?;
        Ok(record)
    }

    #[cold]
    fn unknown(&self) -> RecordError {
        match Kind::parse(self.kind_name) {
            Some(kind) => RecordError::UnknownVersion {
                kind: kind.name(),
                version: self.version,
                known: kind.version(),
            },
            None => RecordError::UnknownKind {
                kind: self.kind_name.to_owned(),
            },
        }
    }

    /// The bytes it was read from: what is hashed and stored.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its leaf hash, computed anew at each call.
    pub fn leaf_hash(&self) -> Hash {
        tlog::leaf_hash(self.bytes)
    }

    /// The member `run`: where its stream belongs.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The member `stream`.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// The member `seq`, at most [`crate::MAX_INTEGER`].
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The member `prev`: the leaf hash of the stream's record before, `None` exactly where seq is 0.
    pub fn prev(&self) -> Option<Hash> {
        self.prev
    }

    /// The member `time`, as the producer's clock said.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The kind, `None` where the kind or this version of it is not known here; always there after
    /// [`Record::parse`].
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Whether this is a record of that kind, in a version known here.
    pub fn is(&self, kind: Kind) -> bool {
        self.kind == Some(kind)
    }

    /// The member `kind`.
    pub fn kind_name(&self) -> &'a str {
        self.kind_name
    }

    /// The member `v`.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The canonical JSON of the body.
    pub fn body_bytes(&self) -> &'a [u8] {
        self.body.as_bytes()
    }

    /// The sealed fields, by name.
    pub fn sealed(&self) -> Sealed<'a> {
        Sealed(Entries::new(self.sealed))
    }

    /// Whether it names attachments: cheaper than to begin with them.
    pub fn has_attachments(&self) -> bool {
        !self.attachments.is_empty()
    }

    /// The attachments, by name.
    pub fn attachments(&self) -> Attachments<'a> {
        Attachments(Entries::new(self.attachments))
    }

    /// The typed body.
    ///
    /// # Errors
    ///
    /// [`RecordError::Invalid`] where the record is of another kind (path `kind`).
    pub fn decode<T: Body>(&self) -> Result<T, RecordError> {
        let fault = |path: &str, expected: String, found: String| {
            RecordError::Invalid(Box::new(Fault {
                path: path.into(),
                offset: 0,
                expected,
                found,
                canonical: false,
            }))
        };
        if !self.is(T::KIND) {
            let expected = format!("{} version {}", T::KIND, T::KIND.version());
            let found = format!("{} version {}", self.kind_name, self.version);
            return Err(fault("kind", expected, found));
        }
        serde_json::from_str(self.body)
            .map_err(|error| fault("body", format!("a body of {}", T::KIND), error.to_string()))
    }

    /// The run that a body names in its member `run`: what a record of the scope `ledger` is about.
    pub fn named_run(&self) -> Option<RunId> {
        let members = self.kind?.spec_of(self.version).members;
        members.iter().find(|member| member.name == "run")?;
        let mut named = None;
        let mut cursor = Cursor::new(self.body);
        let walked = cursor.members(|cursor, name| {
            if name.raw == "run" {
                named = RunId::parse(cursor.string()?.raw);
                return Ok(());
            }
            cursor.value(0)
        });
        walked.ok().and(named)
    }
}

/// The entries of an object that was checked before.
#[derive(Clone)]
struct Entries<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Entries<'a> {
    fn new(object: &'a str) -> Self {
        Self {
            cursor: Cursor::new(object),
        }
    }

    /// The next name and its value's text.
    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        // The brace before the first, the comma before the others.
        self.cursor.pos += 1;
        // Where there is no other, no fault has to be put into words.
        if self.cursor.peek() != Some(b'"') {
            return None;
        }
        let name = self.cursor.string().ok()?.raw;
        self.cursor.expect(b':').ok()?;
        let from = self.cursor.pos;
        self.cursor.value(0).ok()?;
        Some((name, self.cursor.slice(from, self.cursor.pos)))
    }
}

/// The sealed fields of a record with their commitments, by name.
#[derive(Clone)]
pub struct Sealed<'a>(Entries<'a>);

impl<'a> Iterator for Sealed<'a> {
    type Item = (&'a str, Commitment);

    fn next(&mut self) -> Option<Self::Item> {
        let (field, text) = self.0.next()?;
        let text = text.strip_prefix('"')?.strip_suffix('"')?;
        Some((field, Commitment(from_base64(text)?)))
    }
}

/// The attachments of a record, by name: size in bytes and SHA-256.
#[derive(Clone)]
pub struct Attachments<'a>(Entries<'a>);

impl<'a> Iterator for Attachments<'a> {
    type Item = (&'a str, u64, Sha256);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, text) = self.0.next()?;
        let attachment: crate::draft::Attachment = serde_json::from_str(text).ok()?;
        Some((name, attachment.bytes, attachment.sha256))
    }
}

impl fmt::Debug for Sealed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.clone()).finish()
    }
}

impl fmt::Debug for Attachments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}
