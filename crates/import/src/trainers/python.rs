//! JSON as Python's `json` writes it: with `NaN`, `Infinity` and halves of surrogate pairs, which JSON has not.

use serde_json::Value;

/// What stands for `NaN`, `Infinity` and `-Infinity` in what was parsed.
pub(super) const NOT_FINITE: &str = "\0NaN";

/// Parses JSON. `NaN`, `Infinity` and `-Infinity` become the text U+0000 and `NaN`, which nobody writes; half a surrogate
/// pair becomes U+FFFD, since no UTF-8 has it.
///
/// # Errors
/// It is no JSON either way.
pub fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(error) => serde_json::from_slice(&as_json(bytes)).map_err(|_| error),
    }
}

/// The same, in JSON.
fn as_json(bytes: &[u8]) -> Vec<u8> {
    let mut json = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    let mut in_text = false;
    while let [first, ..] = rest {
        let taken = match first {
            b'"' => {
                in_text = !in_text;
                copy(&mut json, rest, 1)
            }
            b'\\' if in_text => escape(&mut json, rest),
            b'N' | b'I' | b'-' if !in_text => word(&mut json, rest),
            _ => copy(&mut json, rest, 1),
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    json
}

fn word(json: &mut Vec<u8>, rest: &[u8]) -> usize {
    let words: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];
    match words.iter().find(|word| rest.starts_with(word)) {
        Some(word) => {
            json.extend_from_slice(b"\"\\u0000NaN\"");
            word.len()
        }
        None => copy(json, rest, 1),
    }
}

/// One escape, or the two that are a pair.
fn escape(json: &mut Vec<u8>, rest: &[u8]) -> usize {
    match code_unit(rest) {
        Some(0xD800..=0xDBFF) => match rest.get(6..).and_then(code_unit) {
            Some(0xDC00..=0xDFFF) => copy(json, rest, 12),
            _ => replace(json),
        },
        Some(0xDC00..=0xDFFF) => replace(json),
        Some(_) => copy(json, rest, 6),
        None => copy(json, rest, 2),
    }
}

fn replace(json: &mut Vec<u8>) -> usize {
    json.extend_from_slice(b"\\ufffd");
    6
}

/// What `\uXXXX` at the beginning says.
fn code_unit(rest: &[u8]) -> Option<u16> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok()
}

fn copy(json: &mut Vec<u8>, rest: &[u8], count: usize) -> usize {
    let taken = rest.get(..count).unwrap_or(rest);
    json.extend_from_slice(taken);
    taken.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{NOT_FINITE as NAN, parse};

    #[test]
    fn what_python_adds_to_json_is_read() {
        let read = |text: &str| parse(text.as_bytes()).unwrap();
        assert_eq!(
            read(r#"{"a": NaN, "b": [-Infinity, Infinity, -1.5], "c": "NaN -Infinity \" NaN"}"#),
            json!({"a": NAN, "b": [NAN, NAN, -1.5], "c": "NaN -Infinity \" NaN"})
        );
        assert_eq!(
            read(r#"["\ud83d\ude00 \\ud83d \ud83d!", NaN, "\ude00\u00e9"]"#),
            json!(["😀 \\ud83d \u{fffd}!", NAN, "\u{fffd}é"])
        );
    }

    #[test]
    fn what_is_no_json_is_none() {
        for text in [
            "",
            "{",
            "Nan",
            "{\"a\": NaN",
            "nul",
            "\"\\ud8",
            "{\"a\": -}",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"[\"\xff\", NaN]").is_err());
    }
}
