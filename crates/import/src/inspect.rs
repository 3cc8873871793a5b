//! Reads a whole file before anything of it is recorded.

use std::io::{self, Read};

use crate::{FileFacts, RowError, Source, rows};

/// How many errors an inspection keeps: enough to mend a file, and a bound on memory.
pub const MAX_KEPT_ERRORS: usize = 1_000;

/// What a file holds, and what is wrong with it.
#[derive(Debug)]
pub struct Inspection {
    /// Rows that were understood.
    pub rows: u64,
    /// The drafts of those rows.
    pub drafts: u64,
    /// The first [`MAX_KEPT_ERRORS`] errors, without the rows' texts.
    pub errors: Vec<RowError>,
    /// How many errors there are in all.
    pub error_count: u64,
    /// One of the errors ended the reading: not even the good rows are all known.
    pub fatal: bool,
    /// Length and SHA-256 of the file as it stands.
    pub file: FileFacts,
}

impl Inspection {
    /// Every row was understood.
    pub fn is_clean(&self) -> bool {
        self.error_count == 0
    }
}

/// Reads everything `reader` gives; `each` is told of each row, for a progress bar.
///
/// # Errors
///
/// Those of reading, where not even the file's digest can be had. What is wrong with its contents
/// (cut off gzip included) is in the result.
pub fn inspect<R: Read>(
    reader: R,
    source: Source,
    mut each: impl FnMut(u64),
) -> io::Result<Inspection> {
    let mut rows = rows(reader, source)?;
    let (mut good, mut drafts, mut error_count, mut fatal) = (0, 0, 0, false);
    let mut errors = Vec::new();
    for row in &mut rows {
        match row {
            Ok(row) => {
                good += 1;
                drafts += row.drafts.len() as u64;
            }
            Err(mut error) => {
                error_count += 1;
                fatal |= error.fatal;
                if errors.len() < MAX_KEPT_ERRORS {
                    error.text = None;
                    errors.push(error);
                }
            }
        }
        each(good + error_count);
    }
    let file = rows.finish()?;
    Ok(Inspection {
        rows: good,
        drafts,
        errors,
        error_count,
        fatal,
        file,
    })
}
