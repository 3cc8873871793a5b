//! A file as a sequence of rows, each with its drafts or with what is wrong with it.

use std::io::{self, Read};

use record::Draft;
use serde_json::Value;

use crate::{
    FileFacts, Format, MAX_ROW_BYTES, Pseudonyms, RowError, Settings,
    error::Misfit,
    formats::Place,
    input::Input,
    split::{SplitError, Splitter},
};

/// Rows longer than this are not repeated in their errors: 64 KiB.
const MAX_QUOTED_BYTES: usize = 64 * 1024;

/// What is read, and what it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// How its rows are understood.
    pub format: Format,
    /// The data set's name, which becomes `source.dataset` in each record: as in
    /// `dataset.registered`.
    pub dataset: String,
    /// What errors call the file: its path as the user gave it, or `-`.
    pub file: String,
    /// What the platform knows of its questions, where the file is a platform's.
    pub settings: Settings,
    /// Draws the annotators' pseudonyms, where the file says who annotated.
    pub pseudonyms: Pseudonyms,
}

/// One row that was understood.
#[derive(Debug)]
pub struct Row {
    /// Which row of the file, from 0; rejected rows count too.
    pub number: u64,
    /// The line on which it begins, from 1.
    pub line: u64,
    /// What its records will say, always in the same order.
    pub drafts: Vec<Draft>,
}

/// The rows of what `reader` gives: a JSON array or one JSON object a line, plain or gzip.
///
/// # Errors
///
/// Those of reading the first two bytes, which tell gzip from JSON.
pub fn rows<R: Read>(reader: R, source: Source) -> io::Result<Rows<R>> {
    let input = Input::new(reader)?;
    Ok(Rows {
        split: Splitter::new(input, MAX_ROW_BYTES),
        source,
        text: Vec::new(),
        next: 0,
        done: false,
    })
}

/// The iterator that [`rows`] gives. After an error the next row follows, unless the error is
/// [fatal](RowError::fatal); a file without any row is an error.
pub struct Rows<R: Read> {
    split: Splitter<Input<R>>,
    source: Source,
    text: Vec<u8>,
    next: u64,
    done: bool,
}

impl<R: Read> Iterator for Rows<R> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        match self.split.next(&mut self.text) {
            Ok(Some(line)) => {
                let number = self.next;
                self.next += 1;
                let drafts = self.understand(number);
                Some(match drafts {
                    Ok(drafts) => Ok(Row {
                        number,
                        line,
                        drafts,
                    }),
                    Err(misfit) => Err(self.row_error(number, line, misfit)),
                })
            }
            Ok(None) => {
                self.done = true;
                let line = self.split.line();
                let empty = self.next == 0;
                empty
                    .then_some(self.file_error(line, "at least one row", "none", true))
                    .map(Err)
            }
            Err(error) => Some(Err(self.split_error(error))),
        }
    }
}

impl<R: Read> Rows<R> {
    /// Reads the file to its end, without understanding what was not asked for, and says what it
    /// was. Whoever reads a file twice compares this with the first time.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn finish(self) -> io::Result<FileFacts> {
        self.split.into_reader().finish()
    }

    fn understand(&self, number: u64) -> Result<Vec<Draft>, Misfit> {
        const EXPECTED: &str = "one JSON value in UTF-8";
        if let Err(e) = std::str::from_utf8(&self.text) {
            let found = format!(
                "bytes that are not UTF-8 after byte {} of it",
                e.valid_up_to()
            );
            return Err(Misfit::row(EXPECTED, found));
        }
        let row: Value = serde_json::from_slice(&self.text)
            .map_err(|e| Misfit::row(EXPECTED, format!("a mistake in its text: {e}")))?;
        let place = Place {
            dataset: &self.source.dataset,
            settings: &self.source.settings,
            pseudonyms: &self.source.pseudonyms,
            row: number,
        };
        self.source.format.drafts(&row, &place)
    }

    fn row_error(&self, number: u64, line: u64, misfit: Misfit) -> RowError {
        let quotable = self.text.len() <= MAX_QUOTED_BYTES;
        RowError {
            file: self.source.file.clone(),
            line,
            row: Some(number),
            field: misfit.field,
            expected: misfit.expected,
            found: misfit.found,
            fatal: false,
            text: quotable.then(|| String::from_utf8_lossy(&self.text).into_owned()),
        }
    }

    fn file_error(&self, line: u64, expected: &str, found: &str, fatal: bool) -> RowError {
        RowError {
            file: self.source.file.clone(),
            line,
            row: None,
            field: None,
            expected: expected.to_owned(),
            found: found.to_owned(),
            fatal,
            text: None,
        }
    }

    fn split_error(&mut self, error: SplitError) -> RowError {
        match error {
            SplitError::Io(e) => {
                self.done = true;
                let (expected, found) = self.reading_failed(&e);
                self.file_error(self.split.line(), expected, &found, true)
            }
            SplitError::TooLong { line } => {
                let number = self.next;
                self.next += 1;
                let expected = format!("at most {MAX_ROW_BYTES} bytes a row");
                let mut error = self.file_error(line, &expected, "more", false);
                error.row = Some(number);
                error
            }
            SplitError::Hole { line } => {
                self.file_error(line, "a row after the comma", "none", false)
            }
            SplitError::NotClosed { line } => {
                self.done = true;
                let expected = "the end of the array that holds the rows";
                self.file_error(
                    line,
                    expected,
                    "the end of the file in or after this row",
                    true,
                )
            }
            SplitError::Trailing { line } => {
                self.done = true;
                let expected = "nothing after the array that holds the rows";
                self.file_error(line, expected, "more text", true)
            }
        }
    }

    fn reading_failed(&self, error: &io::Error) -> (&'static str, String) {
        if !self.split.reader().is_gzip() {
            return ("a readable file", error.to_string());
        }
        let found = match error.kind() {
            io::ErrorKind::UnexpectedEof => "a gzip file that was cut off".to_owned(),
            _ => format!("damaged gzip: {error}"),
        };
        ("a whole gzip file", found)
    }
}
