//! The shapes that members of a body can have: one table that the parser walks and the JSON
//! Schemas are printed from.

use crate::cursor::{Cursor, Number, Token};
use crate::encoding::{from_base64, from_hex32};
use crate::error::{Fault, Step};
use crate::ids::{self, Pseudonym, RunId};
use crate::time::Timestamp;

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// An integer within these bounds, both included.
    Integer { min: i64, max: i64 },
    /// Any finite double.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A text of 1 to `max` Unicode characters, none of them U+0000 to U+001F or U+007F.
    Text { max: usize },
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A text in a form of its own.
    Form(Form),
    /// A text (as `TEXT`), a number or a boolean.
    Scalar,
    /// An object with these members and no others.
    Object(&'static [Member]),
    /// An object with any names (as `TEXT`), all values of one shape.
    Map {
        value: &'static Shape,
        min: usize,
        max: usize,
    },
    /// An array.
    Array {
        item: &'static Shape,
        min: usize,
        max: usize,
    },
}

/// A member of an object; tables of them are sorted by name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
    pub(crate) doc: &'static str,
}

/// Texts with a grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    RunId,
    Stream,
    Pseudonym,
    Producer,
    Time,
    Base64x32,
    Base64x64,
    Sha256,
    Slug,
}

const TEXT_MAX: usize = 128;

pub(crate) const TEXT: Shape = Shape::Text { max: TEXT_MAX };
pub(crate) const LONG_TEXT: Shape = Shape::Text { max: 512 };
pub(crate) const COUNT: Shape = Shape::Integer {
    min: 0,
    max: crate::MAX_INTEGER.cast_signed(),
};
pub(crate) const INTEGER: Shape = Shape::Integer {
    min: -crate::MAX_INTEGER.cast_signed(),
    max: crate::MAX_INTEGER.cast_signed(),
};
pub(crate) const NUMBERS: Shape = Shape::Map {
    value: &Shape::Number,
    min: 1,
    max: 256,
};
pub(crate) const COUNTS: Shape = Shape::Map {
    value: &COUNT,
    min: 1,
    max: 256,
};
pub(crate) const SCALARS: Shape = Shape::Map {
    value: &Shape::Scalar,
    min: 1,
    max: 256,
};
pub(crate) const HASH: Shape = Shape::Form(Form::Base64x32);
pub(crate) const SLUG: Shape = Shape::Form(Form::Slug);

impl Form {
    pub(crate) fn check(self, text: &str) -> bool {
        match self {
            Self::RunId => RunId::parse(text).is_some(),
            Self::Stream => ids::is_stream_name(text),
            Self::Pseudonym => Pseudonym::parse(text).is_some(),
            Self::Producer => ids::is_producer_name(text),
            Self::Time => Timestamp::parse(text).is_some(),
            Self::Base64x32 => from_base64::<32>(text).is_some(),
            Self::Base64x64 => from_base64::<64>(text).is_some(),
            Self::Sha256 => from_hex32(text).is_some(),
            Self::Slug => is_slug(text),
        }
    }

    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::RunId => "a run: a ULID of 26 upper-case characters",
            Self::Stream => "a stream name: [a-z0-9][a-z0-9._-]{0,63}",
            Self::Pseudonym => "a pseudonym: p- and 26 lower-case Crockford characters",
            Self::Producer => "a producer name: [A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}",
            Self::Time => "a time like 2026-11-23T08:00:00.123456Z",
            Self::Base64x32 => "32 bytes in base64 (44 characters, padded)",
            Self::Base64x64 => "64 bytes in base64 (88 characters, padded)",
            Self::Sha256 => "a SHA-256 in 64 lower-case hexadecimal digits",
            Self::Slug => "a short word: [a-z0-9]+(-[a-z0-9]+)*, at most 64 characters",
        }
    }
}

fn is_slug(text: &str) -> bool {
    text.len() <= 64
        && text.split('-').all(|word| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

/// Goes past one value of this shape.
pub(crate) fn walk(cursor: &mut Cursor<'_>, shape: &Shape) -> Step<()> {
    match shape {
        Shape::Integer { min, max } => integer(cursor, *min, *max),
        Shape::Number => cursor.number().map(drop),
        Shape::Boolean => {
            if cursor.eat_literal("true") || cursor.eat_literal("false") {
                Ok(())
            } else {
                Err(cursor.fault("true or false"))
            }
        }
        Shape::Text { max } => string(
            cursor,
            |token| is_text(token, *max),
            || format!("a text of 1 to {max} characters, none of them a control character"),
        ),
        Shape::OneOf(texts) => string(
            cursor,
            |token| texts.contains(&token.raw),
            || format!("one of {}", texts.join(", ")),
        ),
        Shape::Form(form) => string(
            cursor,
            |token| form.check(token.raw),
            || form.expected().to_owned(),
        ),
        Shape::Scalar => match cursor.peek() {
            Some(b'"') => walk(cursor, &TEXT),
            Some(b't' | b'f') => walk(cursor, &Shape::Boolean),
            Some(b'-' | b'0'..=b'9') => cursor.number().map(drop),
            _ => Err(cursor.fault("a text, a number or a boolean")),
        },
        Shape::Object(members) => object(cursor, members),
        Shape::Map { value, min, max } => {
            let start = cursor.pos;
            let count = cursor.members(|cursor, name| {
                if !is_text(name, TEXT_MAX) {
                    return Err(cursor.fault(&format!(
                        "a name of 1 to {TEXT_MAX} characters, none of them a control character"
                    )));
                }
                walk(cursor, value).map_err(|fault| fault.within(&name.decode()))
            })?;
            count_within(cursor, start, count, *min, *max, "members")
        }
        Shape::Array { item, min, max } => {
            let start = cursor.pos;
            if !cursor.eat(b'[') {
                return Err(cursor.fault("an array"));
            }
            let mut count = 0;
            if !cursor.eat(b']') {
                loop {
                    walk(cursor, item).map_err(|fault| fault.within_element(count))?;
                    count += 1;
                    if !cursor.eat(b',') {
                        cursor.expect(b']')?;
                        break;
                    }
                }
            }
            count_within(cursor, start, count, *min, *max, "elements")
        }
    }
}

#[inline]
pub(crate) fn integer(cursor: &mut Cursor<'_>, min: i64, max: i64) -> Step<()> {
    let start = cursor.pos;
    match cursor.number()? {
        Number::Integer(value) if (min..=max).contains(&value) => Ok(()),
        _ => {
            cursor.pos = start;
            Err(cursor.fault(&format!("an integer from {min} to {max}")))
        }
    }
}

#[inline]
fn string<'a>(
    cursor: &mut Cursor<'a>,
    good: impl Fn(Token<'a>) -> bool,
    expected: impl Fn() -> String,
) -> Step<()> {
    let start = cursor.pos;
    if cursor.peek() == Some(b'"') && good(cursor.string()?) {
        return Ok(());
    }
    cursor.pos = start;
    Err(cursor.fault(&expected()))
}

fn is_text(token: Token<'_>, max: usize) -> bool {
    if token.raw.is_empty() {
        return false;
    }
    if token.escaped || token.raw.len() > max {
        let decoded = token.decode();
        return decoded.chars().count() <= max && !decoded.bytes().any(is_control);
    }
    // Control characters below U+0020 would have been escaped.
    !token.raw.as_bytes().contains(&0x7f)
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

pub(crate) fn count_within(
    cursor: &mut Cursor<'_>,
    start: usize,
    count: usize,
    min: usize,
    max: usize,
    of: &str,
) -> Step<()> {
    if (min..=max).contains(&count) {
        return Ok(());
    }
    cursor.pos = start;
    let mut fault = cursor.fault(&format!("{min} to {max} {of}"));
    fault.found = count.to_string();
    Err(fault)
}

/// An object with exactly the members of a table. Both are sorted, so this is one merge: a name
/// that the table has no place for is unknown, out of order or a duplicate.
pub(crate) fn object(cursor: &mut Cursor<'_>, table: &'static [Member]) -> Step<()> {
    if !cursor.eat(b'{') {
        return Err(cursor.fault("an object"));
    }
    let mut rest = table.iter();
    if !cursor.eat(b'}') {
        loop {
            let at = cursor.pos;
            let name = cursor.string()?;
            let member = loop {
                match rest.next() {
                    Some(member) if member.name == name.raw => break member,
                    Some(member) if !member.required && member.name < name.raw => {}
                    passed => {
                        cursor.pos = at;
                        return Err(misplaced(cursor, table, passed, name));
                    }
                }
            };
            cursor.expect(b':')?;
            walk(cursor, &member.shape).map_err(|fault| fault.within(member.name))?;
            if !cursor.eat(b',') {
                cursor.expect(b'}')?;
                break;
            }
        }
    }
    match rest.find(|member| member.required) {
        None => Ok(()),
        Some(missing) => {
            // The brace that closed the object too early.
            cursor.pos -= 1;
            Err(cursor.fault(&format!("the member `{}`", missing.name)))
        }
    }
}

#[cold]
fn misplaced(
    cursor: &Cursor<'_>,
    table: &'static [Member],
    passed: Option<&Member>,
    name: Token<'_>,
) -> Box<Fault> {
    let known = table.iter().any(|member| member.name == name.raw);
    let next = passed.filter(|member| member.required && (member.name < name.raw || !known));
    match next {
        _ if known && passed.is_none_or(|member| member.name > name.raw) => {
            cursor.fault_canonical("each member once, in the order of their UTF-16 code units")
        }
        Some(member) if known || member.name < name.raw => {
            cursor.fault(&format!("the member `{}`", member.name))
        }
        _ if table.is_empty() => cursor.fault("no members"),
        _ => {
            let names: Vec<_> = table.iter().map(|member| member.name).collect();
            cursor.fault(&format!("one of the members {}", names.join(", ")))
        }
    }
}

/// Sorts a table at compile time, so that kinds can be written down in the order they read best in.
pub(crate) const fn sorted<const N: usize>(mut members: [Member; N]) -> [Member; N] {
    let mut end = N;
    while end > 1 {
        let mut at = 1;
        while at < end {
            if less(members[at].name, members[at - 1].name) {
                let member = members[at];
                members[at] = members[at - 1];
                members[at - 1] = member;
            }
            at += 1;
        }
        end -= 1;
    }
    members
}

/// A table without what a later version added: the older version's.
pub(crate) const fn without<const N: usize>(members: &[Member], added: &[&str]) -> [Member; N] {
    assert!(members.len() == N + added.len());
    let mut older = [members[0]; N];
    let (mut from, mut to) = (0, 0);
    while from < members.len() {
        if !contains(added, members[from].name) {
            older[to] = members[from];
            to += 1;
        }
        from += 1;
    }
    assert!(to == N);
    older
}

/// A table with one of its members as it was in an older version.
pub(crate) const fn with<const N: usize>(mut members: [Member; N], older: Member) -> [Member; N] {
    let mut at = 0;
    while !equal(members[at].name, older.name) {
        at += 1;
    }
    members[at] = older;
    members
}

const fn contains(names: &[&str], name: &str) -> bool {
    let mut at = 0;
    while at < names.len() {
        if equal(names[at], name) {
            return true;
        }
        at += 1;
    }
    false
}

const fn equal(a: &str, b: &str) -> bool {
    !less(a, b) && !less(b, a)
}

const fn less(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return a[at] < b[at];
        }
        at += 1;
    }
    a.len() < b.len()
}
