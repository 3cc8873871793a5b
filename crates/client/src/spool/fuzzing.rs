//! See `crate::fuzzing`.

use std::path::Path;

use record::Submission;

use super::batch::{Cursor, Limits};
use super::frame::Encoder;
use super::options::Durability;
use super::segments::{list, take_over as take};
use super::tail::Tail;
use crate::fuzzing::Segments;

pub(crate) fn take_over(dir: &Path) -> Result<Segments, String> {
    let left = take(dir, 0).map_err(|error| error.to_string())?;
    let first = left.segments.front().map_or(0, |segment| segment.first_seq);
    let limits = Limits {
        records: 3,
        bytes: 100,
    };
    let (mut cursor, mut lines) = (Cursor::new(first), Vec::new());
    while let Some(batch) = cursor
        .batch(dir, &left.segments, limits)
        .map_err(|error| error.to_string())?
    {
        let more = batch.lines.split_inclusive(|byte| *byte == b'\n');
        lines.extend(more.map(<[u8]>::to_vec));
        // Whatever the lines are.
        let _ = (batch.last_record(), batch.record(1));
    }
    Ok(Segments {
        next_seq: left.next_seq,
        lines,
        damaged: left.damaged.map(|error| error.to_string()),
    })
}

pub(crate) fn append(dir: &Path, next_seq: u64, lines: &[&[u8]]) -> Result<(), String> {
    let append = || {
        let last = list(dir)?.pop_back();
        let mut tail = Tail::new(dir.to_owned(), last, Durability::Process, 1 << 20)?;
        let mut encoder = Encoder::default();
        encoder.begin(next_seq);
        for line in lines {
            encoder.push(&Submission::new(line.to_vec()));
        }
        tail.append(encoder.finish(), next_seq).map(drop)
    };
    append().map_err(|error: super::SpoolError| error.to_string())
}
