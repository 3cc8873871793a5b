//! Segments of a producer's spool: what a start makes of whatever a crash, a disk or a hand left there.

use std::fs;

use client::fuzzing::{append, take_over};

use crate::bytes::Bytes;

/// Magic, version, length of the payload, first seq, count, checksum.
const HEADER_BYTES: usize = 28;
const MAGIC: &[u8] = b"\xfespool\n\x01";

/// Flags, the seq of the first record, and a segment.
pub fn spool(data: &[u8]) {
    let mut bytes = Bytes(data);
    let flags = bytes.u8();
    let first = match flags & 1 {
        0 => 0,
        _ => u64::from(bytes.u8()),
    };
    let mut segment = bytes.0.to_vec();
    if flags & 2 != 0 {
        mend(&mut segment);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(format!("{first:020}.seg"));
    fs::write(&path, &segment).expect("a segment");

    let Ok(found) = take_over(dir.path()) else {
        assert_eq!(fs::read(&path).expect("the segment"), segment);
        return;
    };
    let records = found.next_seq
        - if found.lines.is_empty() {
            found.next_seq
        } else {
            first
        };
    assert_eq!(
        found.lines.len() as u64,
        records,
        "as many as were announced"
    );
    assert!(found.lines.iter().all(|line| line.ends_with(b"\n")));
    let after = fs::read(&path).expect("the segment");
    assert!(segment.starts_with(&after), "nothing is written anew");
    if found.damaged.is_some() {
        assert_eq!(after, segment, "what is damaged is left as it was");
        return;
    }
    // What was cut is gone, and what was found is found again.
    assert_eq!(take_over(dir.path()).as_ref(), Ok(&found));
    append(dir.path(), &found, &[b"{}", b"{\"a\":1}"]).expect("there is room");
    let more = take_over(dir.path()).expect("a spool that was written to");
    assert_eq!(more.next_seq, found.next_seq + 2);
    assert_eq!(more.lines[..found.lines.len()], found.lines);
}

/// Puts the checksum that belongs there into every frame, which chance would never find.
fn mend(segment: &mut [u8]) {
    let mut at = 0;
    while let Some(frame) = segment
        .get_mut(at..)
        .filter(|frame| frame.starts_with(MAGIC))
    {
        let Some(length) = frame.get(8..12).and_then(|length| length.try_into().ok()) else {
            return;
        };
        let length = HEADER_BYTES.saturating_add(u32::from_be_bytes(length) as usize);
        let Some(frame) = frame.get_mut(..length) else {
            return;
        };
        let mut sum = crc32fast::Hasher::new();
        sum.update(&frame[..24]);
        sum.update(&frame[HEADER_BYTES..]);
        frame[24..HEADER_BYTES].copy_from_slice(&sum.finalize().to_be_bytes());
        at += length;
    }
}
