//! Reading a record: canonical form and its kind's schema in one pass over the bytes, nothing
//! copied.
//!
//! In canonical order `kind` comes after `body`, so the parser first looks for it from the end (a
//! record's end is short and without free text), checks the body under that kind's table as it
//! comes to it, and holds the guess against the true member later.

use std::fmt;

use crate::cursor::{Cursor, Number, Token};
use crate::encoding::from_base64;
use crate::error::{Fault, RecordError, Step};
use crate::hash::Sha256;
use crate::ids::{RunId, Scope, StreamName, is_stream_name};
use crate::kinds::{Body, Kind};
use crate::sealed::Commitment;
use crate::shape::{self, COUNT, Form, HASH, Member, Shape};
use crate::time::Timestamp;
use crate::{Hash, MAX_INTEGER, MAX_RECORD_BYTES};

/// A record, checked, over the bytes it was read from.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    bytes: &'a [u8],
    body: &'a str,
    sealed: &'a str,
    attachments: &'a str,
    kind_name: &'a str,
    kind: Option<Kind>,
    version: u16,
    scope: Scope,
    stream: StreamName,
    seq: u64,
    prev: Option<Hash>,
    time: Timestamp,
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

    /// The member `seq`, at most [`MAX_INTEGER`].
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
        let members = self.kind?.spec().members;
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

/// Where a member's value could not be anything else.
#[inline]
fn member(cursor: &mut Cursor<'_>, literal: &'static str, name: &str) -> Step<()> {
    if cursor.eat_literal(literal) {
        Ok(())
    } else {
        Err(missing(cursor, name))
    }
}

/// What stands where a member of the envelope should.
#[cold]
fn missing(cursor: &mut Cursor<'_>, name: &str) -> Box<Fault> {
    const NAMES: [&str; 10] = [
        "attachments",
        "body",
        "kind",
        "prev",
        "run",
        "sealed",
        "seq",
        "stream",
        "time",
        "v",
    ];
    cursor.eat(b',');
    let after = cursor.clone().string().ok();
    match after {
        // A member of the envelope that has its place elsewhere.
        Some(token)
            if NAMES
                .iter()
                .any(|known| *known == token.raw && *known < name) =>
        {
            cursor.fault_canonical(&format!(
                "the member `{name}` (members stand in the order {}, each once)",
                NAMES.join(", ")
            ))
        }
        _ => cursor.fault(&format!("the member `{name}`")),
    }
}

fn envelope<'a>(cursor: &mut Cursor<'a>, bytes: &'a [u8]) -> Step<Record<'a>> {
    let guess = guess_kind(bytes);
    if !cursor.eat(b'{') {
        return Err(cursor.fault("an object"));
    }
    let mut attachments_text = "";
    if cursor.eat_literal("\"attachments\":") {
        let from = cursor.pos;
        attachments(cursor).map_err(|fault| fault.within("attachments"))?;
        attachments_text = cursor.slice(from, cursor.pos);
        cursor.expect(b',')?;
    }
    member(cursor, "\"body\":", "body")?;
    let body_from = cursor.pos;
    body(cursor, guess.map(|(kind, _)| kind))?;
    let body_to = cursor.pos;

    member(cursor, ",\"kind\":", "kind")?;
    let kind_at = cursor.pos;
    let kind_name = kind_name(cursor).map_err(|fault| fault.within("kind"))?;
    let prev_at = cursor.pos;
    let prev = if cursor.eat_literal(",\"prev\":") {
        Some(hash(cursor).map_err(|fault| fault.within("prev"))?)
    } else {
        None
    };
    member(cursor, ",\"run\":", "run")?;
    let scope = parsed(
        cursor,
        Scope::parse,
        "`ledger` or a ULID of 26 upper-case characters",
    )
    .map_err(|fault| fault.within("run"))?;
    let sealed_at = cursor.pos;
    let has_sealed = cursor.eat_literal(",\"sealed\":");
    let sealed_from = cursor.pos;
    let known = Kind::parse(kind_name);
    if has_sealed {
        sealed(cursor, known).map_err(|fault| fault.within("sealed"))?;
    }
    let sealed_text = cursor.slice(sealed_from, cursor.pos);

    member(cursor, ",\"seq\":", "seq")?;
    let seq_at = cursor.pos;
    let seq = match cursor.number() {
        Ok(Number::Integer(seq @ 0..)) => seq.cast_unsigned(),
        Err(fault) if fault.canonical => return Err(fault.within("seq")),
        _ => {
            cursor.pos = seq_at;
            return Err(cursor
                .fault(&format!("an integer from 0 to {MAX_INTEGER}"))
                .within("seq"));
        }
    };
    if (seq == 0) != prev.is_none() {
        cursor.pos = prev_at;
        return Err(if seq == 0 {
            cursor.fault("no member `prev` where seq is 0")
        } else {
            cursor.fault("the member `prev` where seq is not 0")
        });
    }
    member(cursor, ",\"stream\":", "stream")?;
    let stream = parsed(cursor, StreamName::parse, Form::Stream.expected())
        .map_err(|fault| fault.within("stream"))?;
    member(cursor, ",\"time\":", "time")?;
    let time = parsed(cursor, Timestamp::parse, Form::Time.expected())
        .map_err(|fault| fault.within("time"))?;
    member(cursor, ",\"v\":", "v")?;
    let version = version(cursor).map_err(|fault| fault.within("v"))?;
    cursor.expect(b'}')?;

    let kind = known.filter(|kind| kind.version() == version);
    if guess != kind.map(|kind| (kind, kind_at)) {
        // The end looked like that of another kind: what was checked was not what had to be.
        let end = std::mem::replace(&mut cursor.pos, body_from);
        body(cursor, kind)?;
        cursor.pos = end;
    }
    if let Some(kind) = kind {
        if !has_sealed && kind.spec().sealed.iter().any(|(_, required)| *required) {
            cursor.pos = sealed_at;
            return Err(missing_sealed(cursor, kind));
        }
    }
    Ok(Record {
        bytes,
        body: cursor.slice(body_from, body_to),
        sealed: sealed_text,
        attachments: attachments_text,
        kind_name,
        kind,
        version,
        scope,
        stream,
        seq,
        prev,
        time,
    })
}

#[cold]
fn missing_sealed(cursor: &Cursor<'_>, kind: Kind) -> Box<Fault> {
    let fields: Vec<_> = kind
        .spec()
        .sealed
        .iter()
        .filter(|(_, required)| *required)
        .map(|(name, _)| *name)
        .collect();
    cursor.fault(&format!("the member `sealed` with {}", fields.join(", ")))
}

/// The kind that a canonical record with this end has, and where its name stands. Only a guess: a
/// sealed field might be called `kind`.
#[inline]
fn guess_kind(bytes: &[u8]) -> Option<(Kind, usize)> {
    const KIND: &[u8] = b"\"kind\":";
    let before = bytes.strip_suffix(b",\"v\":1}")?;
    let at = memchr::memrchr_iter(b',', before)
        .take(6 + 64)
        .find(|at| bytes[at + 1..].starts_with(KIND))?
        + 1
        + KIND.len();
    let name = bytes.get(at + 1..)?;
    let name = name.get(..name.iter().position(|byte| *byte == b'"')?)?;
    Some((Kind::parse(std::str::from_utf8(name).ok()?)?, at))
}

#[inline]
fn body(cursor: &mut Cursor<'_>, kind: Option<Kind>) -> Step<()> {
    match kind {
        Some(kind) => shape::object(cursor, kind.spec().members),
        None if cursor.peek() == Some(b'{') => cursor.value(1),
        None => Err(cursor.fault("an object")),
    }
    .map_err(|fault| fault.within("body"))
}

fn attachments(cursor: &mut Cursor<'_>) -> Step<()> {
    let start = cursor.pos;
    let count = cursor.members(|cursor, name| {
        if name.escaped || !is_stream_name(name.raw) {
            return Err(cursor
                .fault("a name [a-z0-9][a-z0-9._-]{0,63}")
                .within(&name.decode()));
        }
        shape::object(cursor, ATTACHMENT).map_err(|fault| fault.within(name.raw))
    })?;
    shape::count_within(cursor, start, count, 1, MAX_ATTACHMENTS, "members")
}

/// `[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+`, at most 64 characters.
fn kind_name<'a>(cursor: &mut Cursor<'a>) -> Step<&'a str> {
    let start = cursor.pos;
    let name = cursor.string()?;
    let word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    if name.raw.len() <= 64 && name.raw.contains('.') && name.raw.split('.').all(word) {
        return Ok(name.raw);
    }
    cursor.pos = start;
    Err(cursor.fault("a kind, like annotation.preference"))
}

fn sealed(cursor: &mut Cursor<'_>, kind: Option<Kind>) -> Step<()> {
    let start = cursor.pos;
    if cursor.eat_literal("{}") {
        cursor.pos = start;
        let mut fault = cursor.fault("1 or more members, or no member `sealed`");
        fault.found = "0".into();
        return Err(fault);
    }
    if let Some(kind) = kind {
        return shape::object(cursor, kind.spec().sealed_members);
    }
    cursor
        .members(|cursor, name| {
            if !is_field_name(name) {
                return Err(cursor
                    .fault("a field name [a-z][a-z0-9_]{0,63}")
                    .within(&name.decode()));
            }
            shape::walk(cursor, &HASH).map_err(|fault| fault.within(name.raw))
        })
        .map(drop)
}

fn is_field_name(name: Token<'_>) -> bool {
    name.raw.len() <= 64
        && name
            .raw
            .starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .raw
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn hash(cursor: &mut Cursor<'_>) -> Step<Hash> {
    parsed(
        cursor,
        |text| from_base64::<32>(text).map(Hash::from),
        Form::Base64x32.expected(),
    )
}

#[inline]
fn parsed<T>(
    cursor: &mut Cursor<'_>,
    parse: impl Fn(&str) -> Option<T>,
    expected: &str,
) -> Step<T> {
    let start = cursor.pos;
    if cursor.peek() == Some(b'"') {
        if let Some(value) = parse(cursor.string()?.raw) {
            return Ok(value);
        }
    }
    cursor.pos = start;
    Err(cursor.fault(expected))
}

fn version(cursor: &mut Cursor<'_>) -> Step<u16> {
    let start = cursor.pos;
    if let Number::Integer(version) = cursor.number()? {
        if let Some(version) = u16::try_from(version).ok().filter(|version| *version > 0) {
            return Ok(version);
        }
    }
    cursor.pos = start;
    Err(cursor.fault("an integer from 1 to 65535"))
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
