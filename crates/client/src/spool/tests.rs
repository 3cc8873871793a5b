//! What is read back of a stream's files is what was written: whole frames, from the first on (I23).

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use record::Submission;

use super::batch::{Cursor, Limits};
use super::error::SpoolError;
use super::frame::Encoder;
use super::options::Durability;
use super::segments::{self, list, take_over};
use super::tail::Tail;

/// Lines that are none of a log's, but have their form: one byte, or many.
fn line(seq: u64, length: usize) -> Submission {
    Submission::new(format!("{seq}{}", "x".repeat(length)).into_bytes())
}

/// Where a frame ends: in which segment, at which byte, before which seq.
type End = (u64, u64, u64);

/// Writes frames of so many records each, and gives all lines, and where each frame ends.
fn write(dir: &Path, frames: &[Vec<usize>], segment_bytes: u64) -> (Vec<Vec<u8>>, Vec<End>) {
    let mut tail = Tail::new(dir.to_owned(), None, Durability::Process, segment_bytes).unwrap();
    let (mut lines, mut ends) = (Vec::new(), Vec::new());
    let mut encoder = Encoder::default();
    for frame in frames {
        let first = lines.len() as u64;
        encoder.begin(first);
        for length in frame {
            let submission = line(lines.len() as u64, *length);
            encoder.push(&submission);
            lines.push([submission.to_line(), b"\n".to_vec()].concat());
        }
        let segment = tail.append(encoder.finish(), first).unwrap();
        ends.push((segment.first_seq, segment.bytes, lines.len() as u64));
    }
    (lines, ends)
}

/// Everything from `seq` on, in batches of at most so many records and bytes.
fn read(dir: &Path, seq: u64, limits: Limits) -> Result<Vec<Vec<u8>>, SpoolError> {
    let segments = list(dir)?;
    let (mut cursor, mut lines) = (Cursor::new(seq), Vec::new());
    while let Some(batch) = cursor.batch(dir, &segments, limits)? {
        assert_eq!(batch.first_seq, seq + lines.len() as u64);
        let fits = batch.records <= limits.records && batch.lines.len() <= limits.bytes;
        assert!(fits || batch.records == 1);
        let more = batch.lines.split_inclusive(|byte| *byte == b'\n');
        lines.extend(more.map(<[u8]>::to_vec));
        assert_eq!(batch.end(), seq + lines.len() as u64);
        assert_eq!([batch.last_line(), b"\n"].concat(), *lines.last().unwrap());
    }
    Ok(lines)
}

const ALL: Limits = Limits {
    records: u64::MAX,
    bytes: usize::MAX,
};

fn frames() -> impl Strategy<Value = Vec<Vec<usize>>> {
    prop::collection::vec(prop::collection::vec(0..400_usize, 1..6), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_from_anywhere_in_any_batches(
        frames in frames(),
        segment_bytes in 1..3_000_u64,
        from in any::<prop::sample::Index>(),
        records in 1..8_u64,
        bytes in 1..2_000_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (lines, _) = write(dir.path(), &frames, segment_bytes);
        let from = from.index(lines.len() + 1);
        let found = read(dir.path(), from as u64, Limits { records, bytes }).unwrap();
        prop_assert_eq!(&found, &lines[from..]);
    }

    /// A process can die at any byte of its last write.
    #[test]
    fn cut_anywhere_in_the_last_segment_it_is_a_prefix_of_whole_frames(
        frames in frames(),
        segment_bytes in 1..3_000_u64,
        cut in any::<prop::sample::Index>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (lines, ends) = write(dir.path(), &frames, segment_bytes);
        let last = *list(dir.path()).unwrap().back().unwrap();
        let path = segments::path(dir.path(), last.first_seq);
        let cut = cut.index(last.bytes as usize + 1) as u64;
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..cut as usize]).unwrap();

        let whole = |end: &&End| end.0 < last.first_seq || end.1 <= cut;
        let expected = ends.iter().rfind(whole).map_or(0, |end| end.2);
        let left = take_over(dir.path(), 0).unwrap();
        prop_assert!(left.damaged.is_none());
        prop_assert_eq!(left.next_seq, expected);
        let found = read(dir.path(), 0, ALL).unwrap();
        prop_assert_eq!(&found, &lines[..expected as usize]);

        // It goes on from there, and is read whole.
        let end = left.segments.back().copied();
        let mut tail =
            Tail::new(dir.path().to_owned(), end, Durability::Machine, segment_bytes).unwrap();
        let mut encoder = Encoder::default();
        encoder.begin(expected);
        encoder.push(&line(expected, 3));
        tail.append(encoder.finish(), expected).unwrap();
        let again = take_over(dir.path(), 0).unwrap();
        prop_assert_eq!(again.next_seq, expected + 1);
        prop_assert_eq!(read(dir.path(), 0, ALL).unwrap().len() as u64, expected + 1);
    }

    /// What was good and has changed since is never read as something else.
    #[test]
    fn a_byte_that_changed_is_found(
        frames in frames(),
        segment_bytes in 1..3_000_u64,
        segment in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (lines, ends) = write(dir.path(), &frames, segment_bytes);
        let segments = list(dir.path()).unwrap();
        let segment = segments[segment.index(segments.len())];
        let path = segments::path(dir.path(), segment.first_seq);
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();

        let hit = |end: &&End| end.0 == segment.first_seq && end.1 > at as u64;
        let frame = ends.iter().find(hit).unwrap();
        let before = ends.iter().take_while(|end| *end != frame).last();
        let before = before.map_or(0, |end| end.2);
        let left = take_over(dir.path(), 0).unwrap();
        // Another version is not a torn write.
        let start = ends.iter().rev().find(|end| end.0 == frame.0 && end.1 < frame.1);
        let in_frame = at as u64 - start.map_or(0, |end| end.1);
        let torn = Some(frame) == ends.last() && in_frame != 7;
        if torn {
            // Nobody can tell it from a write that was broken off.
            prop_assert!(left.damaged.is_none());
            prop_assert_eq!(left.next_seq, before);
        } else if segment == *segments.back().unwrap() {
            let named = matches!(&left.damaged, Some(SpoolError::Damaged { path: named, .. }) if *named == path);
            prop_assert!(named, "{:?}", left.damaged);
            prop_assert_eq!(&fs::read(&path).unwrap(), &bytes, "what is damaged is left as it was");
        }
        let mut cursor = Cursor::new(0);
        let mut found = Vec::new();
        let error = loop {
            match cursor.batch(dir.path(), &left.segments, ALL) {
                Ok(Some(batch)) => {
                    let more = batch.lines.split_inclusive(|byte| *byte == b'\n');
                    found.extend(more.map(<[u8]>::to_vec));
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        prop_assert_eq!(&found, &lines[..before as usize]);
        let in_the_last = segment == *segments.back().unwrap();
        prop_assert_eq!(error.is_some(), !in_the_last, "{:?}", error);
    }
}

#[test]
fn a_write_that_failed_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (lines, _) = write(dir.path(), &[vec![5], vec![9, 2]], 1 << 20);
    let end = list(dir.path()).unwrap().back().copied();
    let mut tail = Tail::new(dir.path().to_owned(), end, Durability::Process, 1 << 20).unwrap();
    let mut encoder = Encoder::default();
    encoder.begin(3);
    encoder.push(&line(3, 7));
    let before = tail.segment().unwrap();
    tail.append(encoder.finish(), 3).unwrap();
    tail.take_back(before.bytes).unwrap();
    assert_eq!(read(dir.path(), 0, ALL).unwrap(), lines);
    // Others take its place, shorter ones too.
    encoder.begin(3);
    encoder.push(&line(3, 1));
    tail.append(encoder.finish(), 3).unwrap();
    assert_eq!(read(dir.path(), 3, ALL).unwrap(), [b"3x\n".to_vec()]);
    assert_eq!(take_over(dir.path(), 0).unwrap().next_seq, 4);
}

#[test]
fn a_segment_that_is_gone_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let (lines, _) = write(dir.path(), &[vec![5], vec![9, 2], vec![1], vec![1]], 1);
    fs::remove_file(segments::path(dir.path(), 1)).unwrap();
    let segments = list(dir.path()).unwrap();
    let mut cursor = Cursor::new(0);
    let first = cursor.batch(dir.path(), &segments, ALL).unwrap().unwrap();
    assert_eq!(first.lines, lines[0]);
    match cursor.batch(dir.path(), &segments, ALL) {
        Err(SpoolError::Damaged { why, .. }) => {
            assert!(why.contains("ends before seq 1"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_acknowledged_already_is_not_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing is there, and the stream stands where it is said to.
    let left = take_over(dir.path(), 17).unwrap();
    assert_eq!((left.next_seq, left.segments.len()), (17, 0));
    // A segment's name says where it stands, if nothing else does.
    fs::write(segments::path(dir.path(), 17), b"").unwrap();
    let left = take_over(dir.path(), 0).unwrap();
    assert_eq!((left.next_seq, left.segments.len()), (17, 1));
}

#[test]
fn what_a_later_version_has_written_is_not_cut() {
    let dir = tempfile::tempdir().unwrap();
    let (_, ends) = write(dir.path(), &[vec![5], vec![9, 2]], 1 << 20);
    let path = segments::path(dir.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[ends[0].1 as usize + 7] = 2;
    fs::write(&path, &bytes).unwrap();
    let left = take_over(dir.path(), 0).unwrap();
    assert!(left.damaged.unwrap().to_string().contains("version 2"));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}
