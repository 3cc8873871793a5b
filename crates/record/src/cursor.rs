//! A cursor over JSON text that accepts nothing but the canonical form (RFC 8785): the tokens, each
//! looked at once. Knows no schema; `shape` walks one with it, `canonical` walks any value.

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::MAX_INTEGER;
use crate::error::{Fault, Step};

/// How deeply arrays and objects may lie in each other, in records and in sealed values.
pub(crate) const MAX_DEPTH: usize = 64;

/// Longer excerpts of the input tell no more in an error.
const EXCERPT_CHARS: usize = 48;

#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pub(crate) pos: usize,
}

/// A string as it stands between its quotes.
#[derive(Clone, Copy)]
pub(crate) struct Token<'a> {
    pub(crate) raw: &'a str,
    pub(crate) escaped: bool,
}

/// A number, already known to be in ECMAScript's form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    /// An integer within ±(2^53-1).
    Integer(i64),
    /// Any other finite double.
    Double(f64),
}

impl<'a> Token<'a> {
    /// The string itself.
    pub(crate) fn decode(self) -> Cow<'a, str> {
        if !self.escaped {
            return Cow::Borrowed(self.raw);
        }
        let mut decoded = String::with_capacity(self.raw.len());
        let mut rest = self.raw.chars();
        while let Some(char) = rest.next() {
            if char != '\\' {
                decoded.push(char);
                continue;
            }
            decoded.push(match rest.next() {
                Some('b') => '\u{8}',
                Some('t') => '\t',
                Some('n') => '\n',
                Some('f') => '\u{c}',
                Some('r') => '\r',
                Some('u') => {
                    // The cursor let only \u00 and two hexadecimal digits through.
                    let code = rest.as_str().get(..4).unwrap_or_default();
                    rest = rest.as_str().get(4..).unwrap_or_default().chars();
                    u8::from_str_radix(code.get(2..).unwrap_or_default(), 16)
                        .map_or('?', char::from)
                }
                Some(other) => other,
                None => break,
            });
        }
        Cow::Owned(decoded)
    }

    /// The order RFC 8785 §3.2.3 puts members in: by UTF-16 code units.
    pub(crate) fn cmp(&self, other: &Token<'_>) -> Ordering {
        if !self.escaped && !other.escaped {
            return cmp_utf16(self.raw, other.raw);
        }
        cmp_utf16(&self.decode(), &other.decode())
    }
}

/// Compares by UTF-16 code units.
pub(crate) fn cmp_utf16(a: &str, b: &str) -> Ordering {
    // The orders differ only where surrogates meet U+E000 to U+FFFF, whose first bytes are 0xEE up.
    if a.is_ascii() || b.is_ascii() {
        return a.as_bytes().cmp(b.as_bytes());
    }
    a.encode_utf16().cmp(b.encode_utf16())
}

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Marks (in their top bits) the bytes that end a plain run within a string: quote, backslash and
/// control characters. Marks above the lowest one can be false, the lowest never is.
const fn string_stops(word: u64) -> u64 {
    const LOW: u64 = repeat(0x01);
    const HIGH: u64 = repeat(0x80);
    let quote = word ^ repeat(b'"');
    let backslash = word ^ repeat(b'\\');
    let is_quote = quote.wrapping_sub(LOW) & !quote;
    let is_backslash = backslash.wrapping_sub(LOW) & !backslash;
    let is_control = word.wrapping_sub(repeat(0x20)) & !word;
    (is_quote | is_backslash | is_control) & HIGH
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            pos: 0,
        }
    }

    /// Checks that these bytes are UTF-8 first.
    pub(crate) fn from_bytes(bytes: &'a [u8]) -> Step<Self> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(text)),
            Err(error) => {
                let offset = error.valid_up_to();
                Err(Box::new(Fault {
                    path: String::new(),
                    offset,
                    expected: "UTF-8".into(),
                    found: format!(
                        "byte 0x{:02x}",
                        bytes.get(offset).copied().unwrap_or_default()
                    ),
                    canonical: true,
                }))
            }
        }
    }

    pub(crate) fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.pos += usize::from(found);
        found
    }

    /// Goes past `literal` if it stands here.
    #[inline]
    pub(crate) fn eat_literal(&mut self, literal: &str) -> bool {
        let found = self
            .bytes
            .get(self.pos..)
            .is_some_and(|rest| rest.starts_with(literal.as_bytes()));
        if found {
            self.pos += literal.len();
        }
        found
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Step<()> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(self.fault_canonical(&format!("`{}`", char::from(byte))))
        }
    }

    pub(crate) fn end(&self) -> Step<()> {
        if self.pos == self.bytes.len() {
            Ok(())
        } else {
            Err(self.fault_canonical("the end"))
        }
    }

    /// A string, its quotes included.
    #[inline]
    pub(crate) fn string(&mut self) -> Step<Token<'a>> {
        if !self.eat(b'"') {
            return Err(self.fault("a string"));
        }
        let start = self.pos;
        let mut escaped = false;
        loop {
            self.pos += self.plain_run();
            match self.peek() {
                Some(b'"') => {
                    let raw = self.slice(start, self.pos);
                    self.pos += 1;
                    return Ok(Token { raw, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.fault_canonical("`\"` or an escape")),
            }
        }
    }

    /// How many bytes from here on need no second look.
    #[inline]
    fn plain_run(&self) -> usize {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        let (words, tail) = rest.as_chunks::<8>();
        for (at, word) in words.iter().enumerate() {
            let stops = string_stops(u64::from_le_bytes(*word));
            if stops != 0 {
                return at * 8 + (stops.trailing_zeros() / 8) as usize;
            }
        }
        let stop = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
        words.len() * 8 + tail.iter().position(stop).unwrap_or(tail.len())
    }

    /// RFC 8785 §3.2.2.2: the short form where there is one, else `\u00` and lower-case digits, and
    /// only where an escape is needed at all.
    #[cold]
    fn escape(&mut self) -> Step<()> {
        let rest = self.bytes.get(self.pos + 1..).unwrap_or_default();
        let len = match rest {
            [b'"' | b'\\' | b'b' | b't' | b'n' | b'f' | b'r', ..] => 2,
            [b'u', b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f', ..]
            | [b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => 6,
            _ => {
                return Err(self.fault_canonical(
                    "an escape that is needed and in its shortest form (RFC 8785 §3.2.2.2)",
                ));
            }
        };
        self.pos += len;
        Ok(())
    }

    /// A number in ECMAScript's form (RFC 8785 §3.2.2.3).
    #[inline]
    pub(crate) fn number(&mut self) -> Step<Number> {
        let start = self.pos;
        let negative = self.eat(b'-');
        let digits = self.pos;
        let mut value = 0_u64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.pos += 1;
        }
        let len = self.pos - digits;
        let first = self.bytes.get(digits);
        let more = matches!(self.peek(), Some(b'.' | b'e' | b'E' | b'+' | b'-'));
        // No leading zero but zero itself, and no minus before that.
        let leading = first == Some(&b'0') && (len > 1 || negative);
        if !more && (1..=16).contains(&len) && !leading && value <= MAX_INTEGER {
            let value = value.cast_signed();
            return Ok(Number::Integer(if negative { -value } else { value }));
        }
        self.pos = start;
        self.double()
    }

    /// Fractions, exponents and what is beyond 2^53: read as a double and written again, the text
    /// must be the same.
    #[inline(never)]
    fn double(&mut self) -> Step<Number> {
        let start = self.pos;
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let rest = self.bytes.get(start..).unwrap_or_default();
        let end = start
            + rest
                .iter()
                .position(|byte| !is_part(byte))
                .unwrap_or(rest.len());
        let literal = self.slice(start, end);
        if literal.is_empty() {
            return Err(self.fault("a number"));
        }
        let Ok(double) = literal.parse::<f64>() else {
            return Err(self.fault_canonical("a JSON number"));
        };
        if !double.is_finite() {
            return Err(self.fault_canonical("a number that a double can hold"));
        }
        if !is_short(literal.as_bytes()) {
            let mut buffer = ryu_js::Buffer::new();
            let canonical = buffer.format_finite(double);
            if canonical != literal {
                return Err(self.fault_canonical(&format!("the number written as {canonical}")));
            }
        }
        self.pos = end;
        Ok(Number::Double(double))
    }

    /// The members of an object in canonical order; `member` is given each name, stands behind the
    /// colon and has to go past the value.
    pub(crate) fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, Token<'a>) -> Step<()>,
    ) -> Step<usize> {
        if !self.eat(b'{') {
            return Err(self.fault("an object"));
        }
        if self.eat(b'}') {
            return Ok(0);
        }
        let mut last: Option<Token<'a>> = None;
        for count in 1.. {
            let at = self.pos;
            let name = self.string()?;
            if let Some(last) = last {
                self.in_order(&last, &name, at)?;
            }
            last = Some(name);
            self.expect(b':')?;
            member(self, name)?;
            if !self.eat(b',') {
                self.expect(b'}')?;
                return Ok(count);
            }
        }
        Ok(0)
    }

    fn in_order(&mut self, last: &Token<'_>, name: &Token<'_>, at: usize) -> Step<()> {
        let order = last.cmp(name);
        if order == Ordering::Less {
            return Ok(());
        }
        self.pos = at;
        Err(self.fault_canonical(&if order == Ordering::Equal {
            "each member once".to_owned()
        } else {
            format!(
                "members in the order of their UTF-16 code units, {:?} before {:?}",
                name.raw, last.raw
            )
        }))
    }

    /// Any canonical value.
    pub(crate) fn value(&mut self, depth: usize) -> Step<()> {
        if depth > MAX_DEPTH {
            return Err(self.fault_canonical(&format!("at most {MAX_DEPTH} levels of nesting")));
        }
        match self.peek() {
            Some(b'{') => self
                .members(|cursor, name| {
                    cursor
                        .value(depth + 1)
                        .map_err(|fault| fault.within(&name.decode()))
                })
                .map(drop),
            Some(b'[') => {
                self.pos += 1;
                if self.eat(b']') {
                    return Ok(());
                }
                for at in 0.. {
                    self.value(depth + 1)
                        .map_err(|fault| fault.within_element(at))?;
                    if !self.eat(b',') {
                        return self.expect(b']');
                    }
                }
                Ok(())
            }
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            _ if self.eat_literal("true")
                || self.eat_literal("false")
                || self.eat_literal("null") =>
            {
                Ok(())
            }
            _ => Err(self.fault_canonical("a JSON value")),
        }
    }

    /// The schema is offended at this place.
    #[cold]
    pub(crate) fn fault(&self, expected: &str) -> Box<Fault> {
        // White space is never what a schema could object to.
        let canonical = matches!(self.peek(), None | Some(b' ' | b'\t' | b'\n' | b'\r'));
        Box::new(Fault {
            path: String::new(),
            offset: self.pos,
            expected: expected.to_owned(),
            found: self.excerpt(),
            canonical,
        })
    }

    /// The canonical form is offended at this place.
    #[cold]
    pub(crate) fn fault_canonical(&self, expected: &str) -> Box<Fault> {
        let mut fault = self.fault(expected);
        fault.canonical = true;
        fault
    }

    /// The token that begins here, as far as an error wants it.
    fn excerpt(&self) -> String {
        let rest = self.text.get(self.pos..).unwrap_or("(within a character)");
        let len = match rest.as_bytes() {
            [] => return "the end".to_owned(),
            [b'"', ..] => {
                let closing = rest.get(1..).and_then(|rest| rest.find('"'));
                closing.map_or(rest.len(), |at| at + 2)
            }
            [b' ' | b'\t' | b'\n' | b'\r', ..] => return "white space".to_owned(),
            [b'{', ..] => return "an object".to_owned(),
            [b'[', ..] => return "an array".to_owned(),
            [
                b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z',
                ..,
            ] => rest
                .find(|char: char| !char.is_ascii_alphanumeric() && !"+-.".contains(char))
                .unwrap_or(rest.len()),
            _ => rest.chars().next().map_or(0, char::len_utf8),
        };
        let token = rest.get(..len).unwrap_or_default();
        let mut excerpt: String = token.chars().take(EXCERPT_CHARS).collect();
        if excerpt.len() < token.len() {
            excerpt.push('…');
        }
        excerpt
            .escape_debug()
            .to_string()
            .replace("\\\"", "\"")
            .replace("\\\\", "\\")
    }
}

/// Whether this is a fraction that a double is surely written as, without writing it: at most 15 significant digits,
/// the last of them not 0, between 10^-6 and 10^15, where JavaScript uses no exponent.
///
/// Every decimal of at most 15 digits comes back from the nearest double (`DBL_DIG`). So no two of them share one, no
/// shorter one stands for the same double, and the shortest text, which is the canonical one, is this.
fn is_short(literal: &[u8]) -> bool {
    const DIGITS: usize = 15;
    /// 0.000001 has so many between the point and its digit.
    const ZEROS: usize = 5;
    let unsigned = literal.strip_prefix(b"-").unwrap_or(literal);
    let Some(point) = unsigned.iter().position(|byte| *byte == b'.') else {
        return false;
    };
    let (whole, fraction) = (&unsigned[..point], &unsigned[point + 1..]);
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    if !digits(whole) || !digits(fraction) || matches!(fraction.last(), None | Some(b'0')) {
        return false;
    }
    match whole {
        [b'0'] => {
            let zeros = fraction.iter().take_while(|byte| **byte == b'0').count();
            zeros <= ZEROS && fraction.len() - zeros <= DIGITS
        }
        [b'1'..=b'9', ..] => whole.len() + fraction.len() <= DIGITS,
        _ => false,
    }
}
