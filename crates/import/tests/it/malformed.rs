//! Each way in which a file can be broken is an error that says where; what can still be read is.

use std::io::{self, Read};

use flate2::{Compression, read::GzEncoder};
use import::{Format, MAX_ROW_BYTES, Row, RowError, inspect, rows};

use serde_json::Value;

use crate::seen::{drafts, read, read_text, source, written};

const GOOD: &str = r#"{"chosen": "good", "rejected": "bad"}"#;

/// One word a row: `ok`, or the error as users see it.
fn shown(rows: &[Result<Row, RowError>]) -> Vec<String> {
    let show = |row: &Result<Row, RowError>| match row {
        Ok(row) => format!("ok {}:{}", row.number, row.line),
        Err(error) => error.to_string(),
    };
    rows.iter().map(show).collect()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    GzEncoder::new(text, Compression::default())
        .read_to_end(&mut packed)
        .unwrap();
    packed
}

#[test]
fn a_broken_line_does_not_hide_the_next() {
    let text = format!("{GOOD}\n{{\"chosen\": \"x\",,}}\n\n[1]\n{GOOD}");
    let rows = read_text(&text, Format::Trl);
    assert_eq!(
        shown(&rows),
        [
            "ok 0:1",
            "file.json:2: row 1: expected one JSON value in UTF-8, found a mistake in its text: key \
         must be a string at line 1 column 16",
            "file.json:4: row 2: expected a JSON object, found an array",
            "ok 3:5",
        ]
    );
    let error = rows[1].as_ref().unwrap_err();
    assert_eq!(error.text.as_deref(), Some(r#"{"chosen": "x",,}"#));
    assert_eq!(error.to_json()["line"], 2);
    assert!(!error.fatal);
}

#[test]
fn a_broken_element_does_not_hide_the_next() {
    let text = format!("[\n {GOOD},\n {{\"chosen\": }},\n\n {{}}\n,{GOOD}\n]");
    assert_eq!(
        shown(&read_text(&text, Format::Trl)),
        [
            "ok 0:2",
            "file.json:3: row 1: expected one JSON value in UTF-8, found a mistake in its text: \
         expected value at line 1 column 12",
            "file.json:5: row 2: expected chosen and rejected, or prompt, completion and label, found \
         none of them",
            "ok 3:6",
        ]
    );
}

#[test]
fn arrays_that_do_not_end_well() {
    for (text, expected) in [
        (
            format!("[{GOOD},\n{{\"chosen\": \"x"),
            "file.json:2: expected the end of the array that holds the rows, found the end of the \
             file in or after this row",
        ),
        (
            format!("[{GOOD}]\n{GOOD}"),
            "file.json:2: expected nothing after the array that holds the rows, found more text",
        ),
        (
            format!("[{GOOD},]"),
            "file.json:1: expected a row after the comma, found none",
        ),
    ] {
        let rows = read_text(&text, Format::Trl);
        assert_eq!(shown(&rows), ["ok 0:1", expected]);
        assert_eq!(rows[1].as_ref().unwrap_err().fatal, !text.ends_with(",]"));
    }
}

#[test]
fn a_file_without_rows_is_an_error() {
    for text in ["", "\n \n", "[]", "[\n]", "\u{feff}"] {
        let rows = read_text(text, Format::HhRlhf);
        assert_eq!(rows.len(), 1, "{text:?}");
        let error = rows[0].as_ref().unwrap_err();
        assert!(error.fatal);
        assert!(
            error
                .to_string()
                .ends_with("expected at least one row, found none")
        );
    }
}

#[test]
fn a_byte_order_mark_is_no_mistake() {
    for text in [format!("\u{feff}{GOOD}\r\n"), format!("\u{feff}[{GOOD}]")] {
        assert_eq!(shown(&read_text(&text, Format::Trl)), ["ok 0:1"]);
    }
    // UTF-16 is not understood, and said to be no UTF-8.
    let utf16: Vec<u8> = "\u{feff}{}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let rows = read(&utf16[..], Format::Trl);
    assert!(
        shown(&rows)[0].contains("bytes that are not UTF-8 after byte 0"),
        "{rows:?}"
    );
}

#[test]
fn bytes_that_are_not_utf8_are_said_and_passed() {
    let mut bytes = format!("{GOOD}\n{{\"chosen\": \"").into_bytes();
    bytes.extend_from_slice(b"\xff\xfe\", \"rejected\": \"x\"}\n");
    bytes.extend_from_slice(GOOD.as_bytes());
    let rows = read(&bytes[..], Format::Trl);
    assert_eq!(
        shown(&rows),
        [
            "ok 0:1",
            "file.json:2: row 1: expected one JSON value in UTF-8, found bytes that are not UTF-8 \
         after byte 12 of it",
            "ok 2:3",
        ]
    );
}

#[test]
fn a_row_beyond_the_limit_is_said_and_passed() {
    for (before, between, after) in [("", "\n", ""), ("[", ",\n", "]")] {
        let long = io::repeat(b'x').take(MAX_ROW_BYTES as u64);
        let head = format!("{before}{GOOD}{between}\"");
        let tail = format!("\"{between}{GOOD}{after}");
        let reader = head.as_bytes().chain(long).chain(tail.as_bytes());
        let shown = shown(&read(reader, Format::Trl));
        let expected =
            format!("file.json:2: row 1: expected at most {MAX_ROW_BYTES} bytes a row, found more");
        assert_eq!(shown, ["ok 0:1", &expected, "ok 2:3"]);
    }
}

#[test]
fn a_value_too_large_to_be_sealed_is_an_error_of_its_field() {
    let text = format!(
        r#"{{"chosen": "{}", "rejected": "y"}}"#,
        "x".repeat(1 << 20)
    );
    let error = read_text(&text, Format::Trl).remove(0).unwrap_err();
    assert_eq!(error.field.as_deref(), Some("response_a"));
    assert!(error.found.contains("1048578 bytes"), "{error}");
    assert_eq!(error.text, None, "long rows are not repeated");
}

#[test]
fn gzip_is_seen_by_its_bytes_and_its_end_is_checked() {
    let text = format!("{GOOD}\n").repeat(2_000);
    let packed = gzip(text.as_bytes());
    assert_eq!(drafts(read(&packed[..], Format::Trl)).len(), 2_000);

    for (keep, expected) in [
        (packed.len() - 30, "a gzip file that was cut off"),
        (packed.len() - 4, "a gzip file that was cut off"),
        (5, "a gzip file that was cut off"),
    ] {
        let rows = read(&packed[..keep], Format::Trl);
        let error = rows.last().unwrap().as_ref().unwrap_err();
        assert!(error.fatal);
        assert_eq!(error.expected, "a whole gzip file");
        assert_eq!(error.found, expected, "{keep} bytes kept");
    }
    let mut damaged = packed;
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    let rows = read(&damaged[..], Format::Trl);
    let error = rows.last().unwrap().as_ref().unwrap_err();
    assert!(
        error.fatal && error.found.starts_with("damaged gzip"),
        "{error}"
    );
}

#[test]
fn a_reader_that_fails_ends_the_rows() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let text = format!("{GOOD}\n");
    let rows = read(text.as_bytes().chain(Fails), Format::Trl);
    assert_eq!(
        shown(&rows),
        [
            "ok 0:1",
            "file.json:2: expected a readable file, found the disk is gone",
        ]
    );
}

#[test]
fn fields_are_named_by_their_path() {
    let row = include_str!("../data/fine_grained.json");
    let row = serde_json::from_str::<Value>(row).unwrap().to_string();
    for (from, to, field, expected, found) in [
        (
            "\"question\"",
            "\"query\"",
            "question",
            "a text",
            "no such field",
        ),
        (
            "\"prediction 3\"",
            "\"prediction_3\"",
            "prediction 3",
            "a text",
            "no such field",
        ),
        (
            "\"start\":18",
            "\"start\":\"18\"",
            "feedback.errors[1].start",
            "a whole number from 0",
            "a text",
        ),
        (
            "\"end\":41",
            "\"end\":4100",
            "feedback.errors[1].end",
            "an end between start and the answer's 41 characters",
            "18..4100",
        ),
        (
            "\"Irrelevant\"",
            "\"a name: Jo\"",
            "feedback.errors[1].error type",
            "1 to 64 letters, digits and hyphens, such as Wrong-Grounding",
            "another text",
        ),
        (
            "\"passage_id\":0",
            "\"passage_id\":-1",
            "feedback.missing-info[0].passage_id",
            "a whole number from 0",
            "-1",
        ),
        (
            "\"preference\":[2",
            "\"preference\":[3",
            "preference[0]",
            "0 (no preference), 1 (the first) or 2 (the second)",
            "3",
        ),
        (
            "\"preference\":[2,",
            "\"preference\":[",
            "preference",
            "six numbers, for pairs 1-2, 1-3, 1-4, 2-3, 2-4, 3-4",
            "5 values",
        ),
        (
            "\"feedback\":{",
            "\"feedback\":1, \"other\": {",
            "feedback",
            "an object",
            "a number",
        ),
    ] {
        let row = row.replacen(from, to, 1);
        let rows = read_text(&row, Format::FineGrainedRlhf);
        let error = rows[0].as_ref().unwrap_err();
        assert_eq!(error.field.as_deref(), Some(field), "{error}");
        assert_eq!(
            (error.expected.as_str(), error.found.as_str()),
            (expected, found)
        );
        assert!(rows[1].is_ok(), "the row after it is read");
    }
}

#[test]
fn an_inspection_says_all_that_is_wrong_and_what_the_file_is() {
    let text = format!("{GOOD}\n{{}}\n{GOOD}\n{{\"chosen\": 1, \"rejected\": \"\"}}\n");
    let packed = gzip(text.as_bytes());
    let mut last = 0;
    let seen = inspect(&packed[..], source(Format::Trl), |row| last = row).unwrap();
    assert_eq!(
        (seen.rows, seen.drafts, seen.error_count, last),
        (2, 2, 2, 4)
    );
    assert!(!seen.is_clean() && !seen.fatal);
    assert_eq!(
        seen.errors.iter().map(|e| e.line).collect::<Vec<_>>(),
        [2, 4]
    );
    assert!(seen.errors.iter().all(|e| e.text.is_none()));
    assert_eq!(seen.file.bytes, packed.len() as u64);

    let mut again = rows(&packed[..], source(Format::Trl)).unwrap();
    let good: Vec<_> = again
        .by_ref()
        .flatten()
        .flat_map(|row| row.drafts)
        .collect();
    assert_eq!(written(good).len(), 2);
    assert_eq!(again.finish().unwrap(), seen.file);
    assert_eq!(seen.file.sha256_hex().len(), 64);
}
