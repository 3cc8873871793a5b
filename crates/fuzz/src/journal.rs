//! Segments of the journal: what a start makes of whatever a crash, a disk or a hand left there.

use std::fs;
use std::path::Path;

use store::journal::{Inspection, MAX_PAYLOAD_BYTES, inspect};
use store::{FileJournal, Journal, JournalEntry, JournalOptions, Recovery};

use crate::bytes::Bytes;

/// Magic, version, length of the payload, first index, count, checksum.
const HEADER_BYTES: usize = 28;
const MAGIC: &[u8] = b"\xferataj\n\x01";

/// An entry as it was read: record, sealed values, principal.
type Entry = (Vec<u8>, Vec<u8>, Vec<u8>);
/// A group as it was read: its first index and its entries.
type Group = (u64, Vec<Entry>);

/// Flags, the index of the first record, and one segment or two.
pub fn journal(data: &[u8]) {
    let mut bytes = Bytes(data);
    let flags = bytes.u8();
    let first = match flags & 3 {
        0 => 0,
        1 => u64::from(bytes.u8()),
        2 => u64::MAX - u64::from(bytes.u8()),
        _ => bytes.u64(),
    };
    let mut segment = bytes.0.to_vec();
    if flags & 4 != 0 {
        mend(&mut segment);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = |first: u64| dir.path().join(format!("{first:020}.journal"));
    fs::write(path(first), &segment).expect("a segment");
    check(dir.path(), first, &segment);
}

/// Nothing reserved ahead: that would be a million zeros to read each time.
fn options(segment: &[u8]) -> JournalOptions {
    JournalOptions {
        segment_bytes: segment.len() as u64,
    }
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

fn check(dir: &Path, first: u64, segment: &[u8]) {
    let mut groups: Vec<Group> = Vec::new();
    let found = inspect(dir, &mut |group| {
        groups.push(owned(group));
        Ok(())
    });
    let opened = FileJournal::open(dir, first, options(segment));
    let (Ok(found), Ok((mut journal, recovery))) = (&found, opened) else {
        assert!(found.is_err(), "good to inspect, and refused at a start");
        let after = fs::read(dir.join(format!("{first:020}.journal"))).expect("the segment");
        assert!(
            after == segment,
            "a journal that is refused is left as it was"
        );
        return;
    };
    assert_eq!(
        recovery,
        Recovery {
            next_index: found.next_index,
            groups: found.groups,
            cut_bytes: found.torn_bytes,
        }
    );
    assert_eq!(journal.next_index(), found.next_index);
    let mut replayed = Vec::new();
    let replay = journal.replay(first, &mut |group| {
        replayed.push(owned(group));
        Ok(())
    });
    replay.expect("a journal that was opened");
    assert!(replayed == groups, "a replay shows what was found");
    again(first, &groups, segment, *found);

    // It goes on from there.
    let entry = JournalEntry {
        record: b"{}",
        sealed: b"",
        principal: b"p",
    };
    let next = journal.next_index();
    if journal.append_group(next, &[entry]).is_ok() {
        drop(journal);
        let (_, reopened) =
            FileJournal::open(dir, first, options(segment)).expect("a journal that was written to");
        assert_eq!((reopened.next_index, reopened.cut_bytes), (next + 1, 0));
    }
}

/// Groups written into a new journal give the bytes that they were read from.
fn again(first: u64, groups: &[Group], segment: &[u8], found: Inspection) {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut journal, _) =
        FileJournal::open(dir.path(), first, options(segment)).expect("an empty journal");
    for (first, entries) in groups {
        let entries: Vec<_> = entries
            .iter()
            .map(|(record, sealed, principal)| JournalEntry {
                record,
                sealed,
                principal,
            })
            .collect();
        journal
            .append_group(*first, &entries)
            .expect("a group as it was read");
    }
    assert_eq!(journal.next_index(), found.next_index);
    let path = dir.path().join(format!("{first:020}.journal"));
    if groups.is_empty() {
        assert!(!path.exists());
        return;
    }
    let written = fs::read(path).expect("the segment");
    let end = written
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let good = segment.len().min(written.len());
    assert!(
        end <= good && written[..end] == segment[..end],
        "groups are written as read"
    );
    assert!(segment.len() - end <= HEADER_BYTES + MAX_PAYLOAD_BYTES + written.len());
}

fn owned(group: store::Group<'_>) -> Group {
    let entries: Vec<Entry> = group
        .entries()
        .map(|entry| {
            (
                entry.record.into(),
                entry.sealed.into(),
                entry.principal.into(),
            )
        })
        .collect();
    assert_eq!(
        entries.len(),
        group.count as usize,
        "as many as were announced"
    );
    (group.first_index, entries)
}
