//! Cuts a file into the texts of its rows, without understanding them.
//!
//! A file is a JSON array of rows or one row a line; the first byte that is not white space tells.
//! In an array an element ends where, outside strings and brackets, a comma or the closing bracket
//! stands. What lies between is *not* checked here: a broken element is found by the JSON parser,
//! and the next one is still found by this cutter.

use std::io::{self, BufRead};

/// What stands between rows, or instead of the end, that should not.
#[derive(Debug)]
pub(crate) enum SplitError {
    /// The reader failed; nothing more can be read.
    Io(io::Error),
    /// A row is longer than the limit. The next call gives the row after it.
    TooLong { line: u64 },
    /// The array ends without its closing bracket; nothing more can be read.
    NotClosed { line: u64 },
    /// There is no row between a comma and a closing bracket or comma; in an array only.
    Hole { line: u64 },
    /// Something follows the array's closing bracket; nothing more will be read.
    Trailing { line: u64 },
}

enum Shape {
    Unknown,
    Lines,
    /// Inside the brackets; `first` until an element has been seen.
    Array {
        first: bool,
    },
    Done,
}

/// Gives the texts of rows one after the other.
pub(crate) struct Splitter<R> {
    reader: R,
    shape: Shape,
    /// The line of the next byte, from 1.
    line: u64,
    limit: usize,
}

impl<R: BufRead> Splitter<R> {
    /// Cuts what `reader` gives into rows of at most `limit` bytes.
    pub(crate) fn new(reader: R, limit: usize) -> Self {
        Self {
            reader,
            shape: Shape::Unknown,
            line: 1,
            limit,
        }
    }

    /// The line of the next byte, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    pub(crate) fn reader(&self) -> &R {
        &self.reader
    }

    pub(crate) fn into_reader(self) -> R {
        self.reader
    }

    /// Puts the next row's text into `row` and gives the line where it begins; none at the end.
    pub(crate) fn next(&mut self, row: &mut Vec<u8>) -> Result<Option<u64>, SplitError> {
        row.clear();
        let result = match self.shape {
            Shape::Unknown => self.begin(row),
            Shape::Lines => self.next_line(row),
            Shape::Array { first } => self.next_element(first, row),
            Shape::Done => Ok(None),
        };
        if let Err(SplitError::Io(_) | SplitError::NotClosed { .. } | SplitError::Trailing { .. }) =
            result
        {
            self.shape = Shape::Done;
        }
        result
    }

    fn begin(&mut self, row: &mut Vec<u8>) -> Result<Option<u64>, SplitError> {
        self.skip_byte_order_mark()?;
        match self.skip_space()? {
            None => {
                self.shape = Shape::Done;
                Ok(None)
            }
            Some(b'[') => {
                self.reader.consume(1);
                self.shape = Shape::Array { first: true };
                self.next_element(true, row)
            }
            Some(_) => {
                self.shape = Shape::Lines;
                self.next_line(row)
            }
        }
    }

    fn next_line(&mut self, row: &mut Vec<u8>) -> Result<Option<u64>, SplitError> {
        loop {
            row.clear();
            let line = self.line;
            let mut too_long = false;
            let ended = loop {
                let bytes = fill(&mut self.reader)?;
                if bytes.is_empty() {
                    break false;
                }
                let end = bytes.iter().position(|&b| b == b'\n');
                let part = &bytes[..end.unwrap_or(bytes.len())];
                if row.len() + part.len() > self.limit {
                    too_long = true;
                } else if !too_long {
                    row.extend_from_slice(part);
                }
                let used = end.map_or(bytes.len(), |end| end + 1);
                self.reader.consume(used);
                if end.is_some() {
                    self.line += 1;
                    break true;
                }
            };
            if too_long {
                return Err(SplitError::TooLong { line });
            }
            trim_end(row);
            if !row.is_empty() {
                return Ok(Some(line));
            }
            if !ended {
                self.shape = Shape::Done;
                return Ok(None);
            }
        }
    }

    fn next_element(&mut self, first: bool, row: &mut Vec<u8>) -> Result<Option<u64>, SplitError> {
        self.shape = Shape::Array { first: false };
        let opened = self.line;
        let mut next = self.skip_space()?;
        if next == Some(b']') {
            self.reader.consume(1);
            return self.after_array();
        }
        if !first {
            // The element before ended at a comma: nothing else stops it but a closing bracket.
            self.reader.consume(usize::from(next.is_some()));
            next = self.skip_space()?;
        }
        let line = self.line;
        match next {
            None => return Err(SplitError::NotClosed { line: opened }),
            Some(b',' | b']') => return Err(SplitError::Hole { line }),
            Some(_) => {}
        }
        self.scan_element(line, row)?;
        trim_end(row);
        Ok(Some(line))
    }

    /// Takes the bytes of an element, up to the comma or bracket behind it.
    fn scan_element(&mut self, line: u64, row: &mut Vec<u8>) -> Result<(), SplitError> {
        let (mut depth, mut in_string, mut escaped) = (0_u64, false, false);
        let mut too_long = false;
        loop {
            let bytes = fill(&mut self.reader)?;
            if bytes.is_empty() {
                return Err(SplitError::NotClosed { line });
            }
            let mut end = None;
            for (i, &byte) in bytes.iter().enumerate() {
                if byte == b'\n' {
                    self.line += 1;
                }
                if in_string {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => in_string = false,
                        _ => {}
                    }
                    continue;
                }
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b',' | b']' if depth == 0 => {
                        end = Some(i);
                        break;
                    }
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if row.len() + part.len() > self.limit {
                too_long = true;
                row.clear();
            } else if !too_long {
                row.extend_from_slice(part);
            }
            let used = part.len();
            self.reader.consume(used);
            if end.is_some() {
                return if too_long {
                    Err(SplitError::TooLong { line })
                } else {
                    Ok(())
                };
            }
        }
    }

    fn after_array(&mut self) -> Result<Option<u64>, SplitError> {
        if self.skip_space()?.is_some() {
            return Err(SplitError::Trailing { line: self.line });
        }
        self.shape = Shape::Done;
        Ok(None)
    }

    /// Skips white space and gives the byte after it, which stays; none at the end.
    fn skip_space(&mut self) -> Result<Option<u8>, SplitError> {
        loop {
            let bytes = fill(&mut self.reader)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let space = bytes.iter().take_while(|b| is_space(**b)).count();
            self.line += bytes[..space]
                .iter()
                .map(|b| u64::from(*b == b'\n'))
                .sum::<u64>();
            let next = bytes.get(space).copied();
            self.reader.consume(space);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// RFC 8259 §8.1 lets a parser ignore the mark that some editors put before UTF-8.
    fn skip_byte_order_mark(&mut self) -> Result<(), SplitError> {
        for expected in *b"\xef\xbb\xbf" {
            // Byte by byte, since a pipe may give them so; what is left of half a mark is not JSON
            // and is reported by the parser.
            if fill(&mut self.reader)?.first() != Some(&expected) {
                break;
            }
            self.reader.consume(1);
        }
        Ok(())
    }
}

fn fill<R: BufRead>(reader: &mut R) -> Result<&[u8], SplitError> {
    loop {
        match reader.fill_buf() {
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(SplitError::Io(e)),
        }
    }
    // The buffer is filled: this reads nothing. Returning the slice from inside the loop is what
    // the borrow checker does not yet accept.
    reader.fill_buf().map_err(SplitError::Io)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn trim_end(row: &mut Vec<u8>) {
    let kept = row
        .iter()
        .rposition(|b| !is_space(*b))
        .map_or(0, |last| last + 1);
    row.truncate(kept);
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// The rows of `text`, read `step` bytes at a time, as "line:row" or a word for the error.
    fn split(text: &str, step: usize) -> Vec<String> {
        let mut splitter = Splitter::new(BufReader::with_capacity(step, text.as_bytes()), 40);
        let mut row = Vec::new();
        let mut seen = Vec::new();
        loop {
            seen.push(match splitter.next(&mut row) {
                Ok(None) => return seen,
                Ok(Some(line)) => format!("{line}:{}", String::from_utf8_lossy(&row)),
                Err(SplitError::Io(e)) => format!("io {e}"),
                Err(SplitError::TooLong { line }) => format!("{line} too long"),
                Err(SplitError::NotClosed { line }) => format!("{line} not closed"),
                Err(SplitError::Hole { line }) => format!("{line} hole"),
                Err(SplitError::Trailing { line }) => format!("{line} trailing"),
            });
        }
    }

    #[test]
    fn rows_are_found_whatever_the_buffer() {
        let long = "x".repeat(50);
        let cases: &[(String, &[&str])] = &[
            (String::new(), &[]),
            (" \n\n ".into(), &[]),
            ("[]".into(), &[]),
            ("\u{feff}[\n]\n".into(), &[]),
            ("[1, 2]".into(), &["1:1", "1:2"]),
            (
                "[\n {\"a\": [1,\n2]} ,\n\"],[\\\"\"\n]\n".into(),
                &["2:{\"a\": [1,\n2]}", "4:\"],[\\\"\""],
            ),
            (
                "{\"a\":1}\r\n\n{\"b\":2}".into(),
                &["1:{\"a\":1}", "3:{\"b\":2}"],
            ),
            ("\u{feff}{}\n".into(), &["1:{}"]),
            ("[{}, ]".into(), &["1:{}", "1 hole"]),
            ("[{}, , {}]".into(), &["1:{}", "1 hole", "1:{}"]),
            ("[{},\n{\"a\": ".into(), &["1:{}", "2 not closed"]),
            ("[{}\n".into(), &["1 not closed"]),
            ("[{}] []".into(), &["1:{}", "1 trailing"]),
            (format!("[1,\"{long}\",\n2]"), &["1:1", "1 too long", "2:2"]),
            (format!("1\n{long}\n2"), &["1:1", "2 too long", "3:2"]),
        ];
        for (text, expected) in cases {
            for step in [1, 2, 3, 7, 4096] {
                assert_eq!(split(text, step), *expected, "{text:?} in steps of {step}");
            }
        }
    }
}
