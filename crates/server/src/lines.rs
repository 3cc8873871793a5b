//! A request's records: one submission, or NDJSON with one on each line.
//!
//! Only the outer shape is read here. What a record may say is checked where it is submitted.

use ledger::MAX_REQUEST_RECORDS;
use record::Submission;

use crate::problem::Problem;

/// Reads a body that is one submission.
///
/// # Errors
/// The body is none.
pub(crate) fn one(body: &[u8]) -> Result<Vec<Submission<&[u8]>>, Problem> {
    // A file that holds one line has a newline at its end; it is not part of the record.
    let line = trim_end(body);
    if line.is_empty() {
        return Err(empty());
    }
    if line.contains(&b'\n') {
        return Err(Problem::bad_request(
            "several-lines",
            "application/json is one record on one line; send several, or one that is printed \
             over several lines, as application/x-ndjson of canonical JSON",
        ));
    }
    Ok(vec![submission(line, 1)?])
}

/// Reads a body that is NDJSON. Lines count from 1; the last may lack its newline.
///
/// # Errors
/// Nothing in it, too many lines, or the first line that is no submission.
pub(crate) fn many(body: &[u8]) -> Result<Vec<Submission<&[u8]>>, Problem> {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    if body.is_empty() {
        return Err(empty());
    }
    let count = memchr::memchr_iter(b'\n', body).count() + 1;
    if count > MAX_REQUEST_RECORDS {
        return Err(Problem::too_large(
            "too-many-records",
            format!(
                "the request holds {count} records; at most {MAX_REQUEST_RECORDS} go in one, 1,000 is a good size; \
                 nothing was recorded"
            ),
        ));
    }
    let lines = body.split(|byte| *byte == b'\n');
    lines
        .enumerate()
        .map(|(at, line)| submission(line.strip_suffix(b"\r").unwrap_or(line), at + 1))
        .collect()
}

fn submission(line: &[u8], number: usize) -> Result<Submission<&[u8]>, Problem> {
    if line.is_empty() {
        return Err(Problem::bad_request(
            "empty-line",
            format!("line {number} is empty; every line is one record; nothing was recorded"),
        )
        .at_line(Some(number)));
    }
    Submission::parse_line(line).map_err(|error| {
        // Only the openings around a record are read here.
        Problem::unprocessable(
            error.code(),
            format!("line {number}: {error}; nothing was recorded"),
        )
        .at_line(Some(number))
    })
}

fn trim_end(body: &[u8]) -> &[u8] {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    body.strip_suffix(b"\r").unwrap_or(body)
}

fn empty() -> Problem {
    Problem::bad_request(
        "no-records",
        "the request holds no record; send at least one line",
    )
}
