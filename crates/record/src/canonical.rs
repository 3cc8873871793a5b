//! Canonical JSON ([RFC 8785], JCS): checking bytes for it and writing it.
//!
//! Numbers are IEEE 754 doubles, as the RFC says: an integer beyond ±(2^53-1) passes only where a
//! double holds it exactly in its shortest digits. Nesting is limited to 64 levels.
//!
//! Not a JSON parser: what is checked stays bytes, `serde_json` reads them.
//!
//! [RFC 8785]: https://www.rfc-editor.org/rfc/rfc8785

use std::cmp::Ordering;

use serde::Serialize;
use serde_json::Value;

use crate::cursor::{Cursor, cmp_utf16};
use crate::error::Fault;

/// Checks that `bytes` are one value in canonical form and nothing else.
///
/// # Errors
///
/// The first place where they are not.
pub fn check(bytes: &[u8]) -> Result<(), Box<Fault>> {
    let mut cursor = Cursor::from_bytes(bytes)?;
    cursor.value(0)?;
    cursor.end()
}

/// The canonical bytes of a value.
///
/// Integers a double cannot hold are rounded to the nearest that it can (RFC 8785 §3.2.2.3); use
/// [`is_exact`] where that must not happen.
pub fn to_canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_value(&mut out, value);
    out
}

/// The canonical bytes of anything serde can make a JSON value of.
///
/// # Errors
///
/// What `serde_json` refuses: maps whose keys are no strings. (`NaN` and infinities become `null`.)
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    Ok(to_canonical(&serde_json::to_value(value)?))
}

/// Whether every integer in `value` survives as a double.
pub fn is_exact(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            // A double has 53 bits; an integer fits where its odd part does.
            let magnitude = number.as_u64().or(number.as_i64().map(i64::unsigned_abs));
            magnitude.is_none_or(|magnitude| {
                magnitude == 0 || magnitude >> magnitude.trailing_zeros() < 1 << 53
            })
        }
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(members) => members.values().all(is_exact),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(out, number.as_f64().unwrap_or_default()),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_value(out, item);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            // serde_json's map is sorted by UTF-8 bytes already, so there is rarely work to do.
            if !members.is_sorted_by(|a, b| cmp_utf16(a.0, b.0) != Ordering::Greater) {
                members.sort_by(|a, b| cmp_utf16(a.0, b.0));
            }
            out.push(b'{');
            for (at, (name, value)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_string(out, name);
                out.push(b':');
                write_value(out, value);
            }
            out.push(b'}');
        }
    }
}

/// A double as ECMAScript writes it. Infinities and `NaN` have no JSON form and become `null`.
pub(crate) fn write_number(out: &mut Vec<u8>, number: f64) {
    if number.is_finite() {
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(number).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Where the first byte is that has to be escaped. Looked for in blocks, which a compiler makes vectors of.
fn first_escaped(text: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    let escaped = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let mut before = 0;
    for block in text.chunks(BLOCK) {
        if block.iter().fold(false, |any, &byte| any | escaped(byte)) {
            return (block.iter().position(|&byte| escaped(byte))).map(|at| before + at);
        }
        before += BLOCK;
    }
    None
}

/// A string with its quotes and the fewest escapes (RFC 8785 §3.2.2.2).
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = first_escaped(rest) {
        let (plain, from_stop) = rest.split_at(at);
        out.extend_from_slice(plain);
        match from_stop[0] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &from_stop[1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
