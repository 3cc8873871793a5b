//! Reading a record: canonical form and its kind's schema in one pass over the bytes, nothing
//! copied.
//!
//! In canonical order `kind` comes after `body`, so the parser first looks for it from the end (a
//! record's end is short and without free text), checks the body under that kind's table as it
//! comes to it, and holds the guess against the true member later.

use crate::cursor::{Cursor, Number, Token};
use crate::encoding::from_base64;
use crate::error::{Fault, Step};
use crate::ids::{Scope, StreamName, is_stream_name};
use crate::kinds::{Kind, Spec};
use crate::record::{ATTACHMENT, MAX_ATTACHMENTS, Record};
use crate::shape::{self, Form, HASH};
use crate::time::Timestamp;
use crate::{Hash, MAX_INTEGER};

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

/// The whole object of a record.
pub(crate) fn envelope<'a>(cursor: &mut Cursor<'a>, bytes: &'a [u8]) -> Step<Record<'a>> {
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
    body(cursor, guess.as_ref().map(Guess::spec))?;
    let body_to = cursor.pos;

    member(cursor, ",\"kind\":", "kind")?;
    // Only where kind and version are what was guessed is it known which fields there may be.
    let guessed = guess.as_ref().filter(|guess| guess.at == cursor.pos);
    let kind_name = match guessed {
        Some(guess) => {
            // Read already, with its quotes.
            cursor.pos += guess.kind.name().len() + 2;
            guess.kind.name()
        }
        None => kind_name(cursor).map_err(|fault| fault.within("kind"))?,
    };
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
    if has_sealed {
        sealed(cursor, guessed.map(Guess::spec))?;
    }
    let sealed_text = cursor.slice(sealed_from, cursor.pos);

    member(cursor, ",\"seq\":", "seq")?;
    let seq = seq(cursor).map_err(|fault| fault.within("seq"))?;
    if (seq == 0) != prev.is_none() {
        cursor.pos = prev_at;
        cursor.eat(b',');
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

    let kind = guessed
        .map(|guess| guess.kind)
        .or_else(|| Kind::parse(kind_name))
        .filter(|kind| version <= kind.version());
    let spec = kind.map(|kind| kind.spec_of(version));
    let as_guessed = guessed.map(|guess| (guess.kind, guess.version));
    if guess.is_some() && guessed.is_none() || as_guessed != kind.map(|kind| (kind, version)) {
        // The end looked like that of another kind: what was checked was not what had to be.
        let end = std::mem::replace(&mut cursor.pos, body_from);
        body(cursor, spec)?;
        if has_sealed {
            cursor.pos = sealed_from;
            sealed(cursor, spec)?;
        }
        cursor.pos = end;
    }
    if let Some(spec) = spec.filter(|spec| !has_sealed && spec.must_seal()) {
        cursor.pos = sealed_at;
        cursor.eat(b',');
        return Err(missing_sealed(cursor, spec));
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
fn missing_sealed(cursor: &Cursor<'_>, spec: &Spec) -> Box<Fault> {
    let fields: Vec<_> = spec
        .sealed
        .iter()
        .filter(|(_, required)| *required)
        .map(|(name, _)| *name)
        .collect();
    cursor.fault(&format!("the member `sealed` with {}", fields.join(", ")))
}

/// What a body is walked under as it comes. One that is of another kind or version after all is walked again.
struct Guess {
    kind: Kind,
    version: u16,
    /// Where the first quote of the kind's name stands.
    at: usize,
}

impl Guess {
    fn spec(&self) -> &'static Spec {
        self.kind.spec_of(self.version)
    }
}

/// The kind and version that a canonical record with this end has. Only a guess: a sealed field might be called
/// `kind`.
#[inline]
fn guess_kind(bytes: &[u8]) -> Option<Guess> {
    const KIND: &[u8] = b"\"kind\":\"";
    let (digit, before) = bytes.strip_suffix(b"}")?.split_last()?;
    let version = u16::from(digit.checked_sub(b'0')?);
    let before = before.strip_suffix(b",\"v\":")?;
    let quote = memchr::memrchr_iter(b',', before)
        .take(6 + 64)
        .find(|at| bytes[at + 1..].starts_with(KIND))?
        + KIND.len();
    let name = bytes.get(quote + 1..)?;
    let name = name.get(..name.iter().position(|byte| *byte == b'"')?)?;
    let kind = Kind::parse(std::str::from_utf8(name).ok()?)?;
    (1..=kind.version()).contains(&version).then_some(Guess {
        kind,
        version,
        at: quote,
    })
}

#[inline]
fn body(cursor: &mut Cursor<'_>, spec: Option<&Spec>) -> Step<()> {
    match spec {
        Some(spec) => shape::object(cursor, spec.members),
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

fn sealed(cursor: &mut Cursor<'_>, spec: Option<&Spec>) -> Step<()> {
    let start = cursor.pos;
    if cursor.eat_literal("{}") {
        cursor.pos = start;
        let mut fault = cursor.fault("1 or more members, or no member `sealed`");
        fault.found = "0".into();
        return Err(fault.within("sealed"));
    }
    let walked = match spec {
        Some(spec) => shape::object(cursor, spec.sealed_members),
        None => cursor.members(any_sealed_field).map(drop),
    };
    walked.map_err(|fault| fault.within("sealed"))
}

fn any_sealed_field(cursor: &mut Cursor<'_>, name: Token<'_>) -> Step<()> {
    if !is_field_name(name) {
        return Err(cursor
            .fault("a field name [a-z][a-z0-9_]{0,63}")
            .within(&name.decode()));
    }
    shape::walk(cursor, &HASH).map_err(|fault| fault.within(name.raw))
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
    if cursor.peek() == Some(b'"')
        && let Some(value) = parse(cursor.string()?.raw)
    {
        return Ok(value);
    }
    cursor.pos = start;
    Err(cursor.fault(expected))
}

fn seq(cursor: &mut Cursor<'_>) -> Step<u64> {
    let start = cursor.pos;
    match cursor.number() {
        Ok(Number::Integer(seq @ 0..)) => Ok(seq.cast_unsigned()),
        Err(fault) if fault.canonical => Err(fault),
        _ => {
            cursor.pos = start;
            Err(cursor.fault(&format!("an integer from 0 to {MAX_INTEGER}")))
        }
    }
}

fn version(cursor: &mut Cursor<'_>) -> Step<u16> {
    let start = cursor.pos;
    if let Number::Integer(version) = cursor.number()?
        && let Some(version) = u16::try_from(version).ok().filter(|version| *version > 0)
    {
        return Ok(version);
    }
    cursor.pos = start;
    Err(cursor.fault("an integer from 1 to 65535"))
}
