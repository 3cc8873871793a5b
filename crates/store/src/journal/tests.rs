//! What a crash, a full disk, a failing disk and a rotten bit leave behind, and what the journal makes of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::{TempDir, tempdir};

use super::segment::{SegmentFile, open_file};
use super::{FileJournal, Journal, JournalEntry, JournalOptions, Recovery};
use crate::error::{Result, StoreError};

const OPTIONS: JournalOptions = JournalOptions {
    segment_bytes: 64 << 20,
};

fn record(index: u64) -> Vec<u8> {
    format!("{{\"n\":{index}}}").into_bytes()
}

fn append(journal: &mut FileJournal, first_index: u64, count: u64) -> Result<()> {
    let records: Vec<_> = (first_index..first_index + count).map(record).collect();
    let entries: Vec<_> = records
        .iter()
        .map(|record| JournalEntry {
            record,
            sealed: b"\0\x01sealed",
            principal: b"me",
        })
        .collect();
    journal.append_group(first_index, &entries)
}

/// A journal of groups of these sizes, closed; its directory, and where each group ends in a single segment.
fn written(groups: &[u64], options: JournalOptions) -> (TempDir, Vec<u64>) {
    let dir = tempdir().unwrap();
    let mut journal = FileJournal::open(dir.path(), 0, options).unwrap().0;
    let mut ends = Vec::new();
    for count in groups {
        let next = journal.next_index();
        append(&mut journal, next, *count).unwrap();
        ends.push(journal.offset);
    }
    (dir, ends)
}

fn segment(dir: &Path, first_index: u64) -> PathBuf {
    dir.join(format!("{first_index:020}.journal"))
}

/// Opens, and checks that what is replayed are the right records.
fn reopen(dir: &Path, start: u64) -> Result<(FileJournal, Recovery)> {
    let (journal, recovery) = FileJournal::open(dir, start, OPTIONS)?;
    let mut next = start;
    journal.replay(start, &mut |group| {
        for (index, entry) in (group.first_index..).zip(group.entries()) {
            assert_eq!(entry.record, record(index));
            next = index + 1;
        }
        Ok(())
    })?;
    assert_eq!(next, journal.next_index());
    Ok((journal, recovery))
}

/// A segment's bytes without the zeros of reserved blocks at its end.
fn content(path: &Path) -> Vec<u8> {
    trimmed(&fs::read(path).unwrap()).to_vec()
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|byte| *byte != 0);
    &bytes[..last.map_or(0, |last| last + 1)]
}

#[track_caller]
fn corrupt<T>(outcome: Result<T>) -> (PathBuf, u64, u64, String) {
    match outcome.map(|_| ()) {
        Err(StoreError::CorruptJournal {
            segment,
            offset,
            first_index,
            reason,
        }) => (segment, offset, first_index, reason),
        other => panic!("a damaged journal was opened: {other:?}"),
    }
}

#[test]
fn a_torn_last_group_is_cut_off_wherever_it_tears() {
    let (dir, ends) = written(&[2, 3, 4], OPTIONS);
    let path = segment(dir.path(), 0);
    let whole = content(&path);
    for torn in ends[1]..ends[2] {
        fs::write(&path, &whole[..torn as usize]).unwrap();
        let (mut journal, recovery) = reopen(dir.path(), 0).unwrap();
        assert_eq!(
            recovery,
            Recovery {
                next_index: 5,
                groups: 2,
                cut_bytes: trimmed(&whole[ends[1] as usize..torn as usize]).len() as u64
            },
            "torn at {torn}"
        );
        assert_eq!(content(&path).len() as u64, ends[1]);
        append(&mut journal, 5, 4).unwrap();
        assert!(content(&path) == whole, "torn at {torn}, and written again");
        assert_eq!(
            reopen(dir.path(), 0).unwrap().1,
            Recovery {
                next_index: 9,
                groups: 3,
                cut_bytes: 0
            }
        );
    }
}

#[test]
fn a_last_group_of_which_parts_never_reached_the_disk_is_cut_off() {
    // The length is on the disk before the bytes are: unwritten parts read as zeros.
    let (dir, ends) = written(&[2, 300], OPTIONS);
    let path = segment(dir.path(), 0);
    let whole = content(&path);
    for from in (ends[0]..ends[1]).step_by(512) {
        let mut bytes = whole.clone();
        bytes[from as usize..(from as usize + 512).min(whole.len())].fill(0);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(
            reopen(dir.path(), 0).unwrap().1.cut_bytes,
            trimmed(&bytes[ends[0] as usize..]).len() as u64,
            "zeros at {from}"
        );
        fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_changed_byte_before_a_good_group_is_an_error_that_names_it() {
    let (dir, ends) = written(&[2, 3, 4], OPTIONS);
    let path = segment(dir.path(), 0);
    let whole = content(&path);
    for at in 0..ends[1] {
        let mut bytes = whole.clone();
        bytes[at as usize] ^= 0x20;
        fs::write(&path, &bytes).unwrap();
        let (found, offset, first_index, reason) = corrupt(reopen(dir.path(), 0));
        let expected = if at < ends[0] { (0, 0) } else { (ends[0], 2) };
        assert_eq!(
            (found.as_path(), (offset, first_index)),
            (path.as_path(), expected),
            "byte {at}: {reason}"
        );
        assert!(
            fs::read(&path).unwrap() == bytes,
            "byte {at}: the damaged file was changed"
        );
    }
}

#[test]
fn a_torn_group_that_is_not_in_the_last_segment_is_an_error() {
    let (dir, _) = written(&[2, 3, 4], JournalOptions { segment_bytes: 1 });
    let path = segment(dir.path(), 2);
    let whole = content(&path);
    for torn in [0, 1, 27, 28, whole.len() - 1] {
        fs::write(&path, &whole[..torn]).unwrap();
        let (_, _, first_index, _) = corrupt(reopen(dir.path(), 0));
        assert_eq!(first_index, 2, "torn at {torn}");
    }
    fs::remove_file(&path).unwrap();
    corrupt(reopen(dir.path(), 0));
    // What is published already is not looked at.
    assert_eq!(reopen(dir.path(), 5).unwrap().1.next_index, 9);
}

#[test]
fn a_torn_first_group_of_a_new_segment_is_cut_off() {
    let (dir, _) = written(&[2, 3], JournalOptions { segment_bytes: 1 });
    let path = segment(dir.path(), 2);
    let whole = content(&path);
    for torn in 0..whole.len() {
        fs::write(&path, &whole[..torn]).unwrap();
        let (mut journal, recovery) = reopen(dir.path(), 0).unwrap();
        assert_eq!(
            recovery,
            Recovery {
                next_index: 2,
                groups: 1,
                cut_bytes: trimmed(&whole[..torn]).len() as u64
            }
        );
        append(&mut journal, 2, 3).unwrap();
        assert!(content(&path) == whole);
    }
}

#[test]
fn more_garbage_than_one_group_is_an_error() {
    let (dir, ends) = written(&[2], OPTIONS);
    let path = segment(dir.path(), 0);
    let whole = content(&path);
    let garbage = |bytes: usize| [&whole[..], &vec![7; bytes][..]].concat();
    fs::write(&path, garbage((16 << 20) + 29)).unwrap();
    assert_eq!(corrupt(reopen(dir.path(), 0)).1, ends[0]);
    fs::write(&path, garbage((16 << 20) + 28)).unwrap();
    assert_eq!(reopen(dir.path(), 0).unwrap().1.cut_bytes, (16 << 20) + 28);
}

#[test]
fn reserved_blocks_are_no_torn_group_and_hide_none() {
    let (dir, _) = written(&[2, 3], OPTIONS);
    let path = segment(dir.path(), 0);
    let whole = content(&path);
    let intact = Recovery {
        next_index: 5,
        groups: 2,
        cut_bytes: 0,
    };
    for zeros in [0, 1, 27, 28, 29, 3 << 20] {
        let reserved = [&whole[..], &vec![0; zeros][..]].concat();
        fs::write(&path, &reserved).unwrap();
        let (mut journal, recovery) = reopen(dir.path(), 0).unwrap();
        assert_eq!(recovery, intact, "{zeros} zeros");
        append(&mut journal, 5, 4).unwrap();
        drop(journal);
        assert_eq!(reopen(dir.path(), 0).unwrap().1.next_index, 9);
    }
    // A group behind zeros was acknowledged: so was what stood where they are.
    let (dir, ends) = written(&[2, 3, 4], OPTIONS);
    let path = segment(dir.path(), 0);
    let mut lost = content(&path);
    lost[ends[0] as usize..ends[1] as usize].fill(0);
    fs::write(&path, &lost).unwrap();
    assert_eq!(corrupt(reopen(dir.path(), 0)).1, ends[0]);
}

#[test]
fn a_group_out_of_sequence_or_of_another_version_is_an_error_even_at_the_end() {
    let (dir, ends) = written(&[2, 3], OPTIONS);
    let path = segment(dir.path(), 0);
    let whole = content(&path);
    let twice = [&whole[..], &whole[ends[0] as usize..]].concat();
    fs::write(&path, twice).unwrap();
    let (_, offset, first_index, reason) = corrupt(reopen(dir.path(), 0));
    assert_eq!((offset, first_index), (ends[1], 5), "{reason}");
    let mut newer = whole.clone();
    newer[ends[0] as usize + 7] = 2;
    fs::write(&path, newer).unwrap();
    assert!(corrupt(reopen(dir.path(), 0)).3.contains("version 2"));
}

/// What counts on past the last index would start at 0 again: it is neither written nor read.
#[test]
fn a_group_past_the_last_index_is_refused() {
    let dir = tempdir().unwrap();
    let last = u64::MAX - 1;
    let mut journal = FileJournal::open(dir.path(), last, OPTIONS).unwrap().0;
    append(&mut journal, last, 1).unwrap();
    let entry = JournalEntry {
        record: b"{}",
        sealed: b"",
        principal: b"me",
    };
    let refused = journal.append_group(u64::MAX, &[entry]);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    let (_, recovery) = FileJournal::open(dir.path(), last, OPTIONS).unwrap();
    assert_eq!(recovery.next_index, u64::MAX);

    // The same group, said to start one later, with the checksum that belongs there.
    let mut bytes = content(&segment(dir.path(), last));
    bytes[12..20].copy_from_slice(&u64::MAX.to_be_bytes());
    let mut sum = crc32fast::Hasher::new();
    sum.update(&bytes[..24]);
    sum.update(&bytes[28..]);
    bytes[24..28].copy_from_slice(&sum.finalize().to_be_bytes());
    let other = tempdir().unwrap();
    fs::write(segment(other.path(), u64::MAX), bytes).unwrap();
    let (_, offset, ..) = corrupt(FileJournal::open(other.path(), u64::MAX, OPTIONS));
    assert_eq!(offset, 0);
}

#[test]
fn missing_segments_are_an_error_unless_they_are_published() {
    let (dir, _) = written(&[2, 3, 4], JournalOptions { segment_bytes: 1 });
    fs::remove_file(segment(dir.path(), 0)).unwrap();
    assert_eq!(corrupt(reopen(dir.path(), 0)).2, 0);
    assert_eq!(
        reopen(dir.path(), 2).unwrap().1,
        Recovery {
            next_index: 9,
            groups: 2,
            cut_bytes: 0
        }
    );
}

#[test]
fn discarding_deletes_whole_segments_alone() {
    let (dir, _) = written(&[2, 3, 4], JournalOptions { segment_bytes: 1 });
    fs::write(dir.path().join("notes.txt"), "not the journal's").unwrap();
    let mut journal = FileJournal::open(dir.path(), 0, OPTIONS).unwrap().0;
    let names = || {
        let mut names: Vec<_> = dir
            .path()
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
            .iter()
            .map(|name| name.to_string_lossy().trim_start_matches('0').to_owned())
            .collect::<Vec<_>>()
    };
    journal.discard_before(1).unwrap();
    assert_eq!(names(), [".journal", "2.journal", "5.journal", "notes.txt"]);
    journal.discard_before(4).unwrap();
    assert_eq!(names(), ["2.journal", "5.journal", "notes.txt"]);
    journal.discard_before(9).unwrap();
    assert_eq!(names(), ["5.journal", "notes.txt"]);
    assert!(matches!(
        journal.replay(4, &mut |_| Ok(())),
        Err(StoreError::NotNext { .. })
    ));
    drop(journal);
    assert_eq!(reopen(dir.path(), 9).unwrap().1.next_index, 9);
}

/// Which call fails next, counted down from 1 by each call of its sort; 0 is never.
#[derive(Default)]
struct Faults {
    write: AtomicUsize,
    sync: AtomicUsize,
    cut: AtomicUsize,
}

fn due(countdown: &AtomicUsize) -> bool {
    countdown.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        left.checked_sub(1)
    }) == Ok(1)
}

struct FailingFile(Box<dyn SegmentFile>, Arc<Faults>);

impl SegmentFile for FailingFile {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if due(&self.1.write) {
            // As a disk does that fills up on the way.
            self.0.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write_all_at(bytes, offset)
    }

    fn reserve(&mut self, from: u64, to: u64) -> io::Result<()> {
        self.0.reserve(from, to)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        if due(&self.1.sync) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.0.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        if due(&self.1.cut) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.0.cut(length)
    }
}

fn failing(dir: &Path, options: JournalOptions) -> (FileJournal, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let shared = Arc::clone(&faults);
    let opener = move |path: &Path, create: bool| -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(FailingFile(
            open_file(path, create)?,
            Arc::clone(&shared),
        )))
    };
    (
        FileJournal::open_with(dir, 0, options, Box::new(opener))
            .unwrap()
            .0,
        faults,
    )
}

#[test]
fn a_failed_write_leaves_the_journal_usable() {
    for segment_bytes in [1, 1 << 20] {
        let dir = tempdir().unwrap();
        let (mut journal, faults) = failing(dir.path(), JournalOptions { segment_bytes });
        for first_index in [0, 10, 20] {
            faults.write.store(1, Ordering::SeqCst);
            let refused = append(&mut journal, first_index, 10);
            assert!(
                matches!(refused, Err(StoreError::Full { .. })),
                "{refused:?}"
            );
            assert_eq!(journal.next_index(), first_index);
            append(&mut journal, first_index, 10).unwrap();
        }
        drop(journal);
        assert_eq!(
            reopen(dir.path(), 0).unwrap().1,
            Recovery {
                next_index: 30,
                groups: 3,
                cut_bytes: 0
            }
        );
    }
}

#[test]
fn a_failed_sync_poisons_the_journal() {
    let dir = tempdir().unwrap();
    let (mut journal, faults) = failing(dir.path(), OPTIONS);
    append(&mut journal, 0, 2).unwrap();
    faults.sync.store(1, Ordering::SeqCst);
    let failed = append(&mut journal, 2, 1).unwrap_err();
    assert!(
        matches!(failed, StoreError::SyncFailed { .. }) && failed.is_fatal(),
        "{failed:?}"
    );
    for _ in 0..2 {
        let refused = append(&mut journal, 2, 1).unwrap_err();
        assert!(
            matches!(refused, StoreError::Poisoned { .. }) && refused.is_fatal(),
            "{refused:?}"
        );
    }
    drop(journal);
    // It may be there or not; here it is, and a start makes it durable.
    assert_eq!(reopen(dir.path(), 0).unwrap().1.next_index, 3);
}

#[test]
fn a_failed_cut_poisons_the_journal() {
    let dir = tempdir().unwrap();
    let (mut journal, faults) = failing(dir.path(), OPTIONS);
    append(&mut journal, 0, 2).unwrap();
    faults.write.store(1, Ordering::SeqCst);
    faults.cut.store(1, Ordering::SeqCst);
    assert!(append(&mut journal, 2, 5).unwrap_err().is_fatal());
    assert!(matches!(
        append(&mut journal, 2, 5),
        Err(StoreError::Poisoned { .. })
    ));
    drop(journal);
    assert!(reopen(dir.path(), 0).unwrap().1.cut_bytes > 0);
}

#[test]
fn a_start_that_cannot_sync_shows_nothing() {
    let (dir, _) = written(&[2], OPTIONS);
    let opener = |path: &Path, create: bool| -> io::Result<Box<dyn SegmentFile>> {
        let faults = Faults {
            sync: AtomicUsize::new(1),
            ..Faults::default()
        };
        Ok(Box::new(FailingFile(
            open_file(path, create)?,
            Arc::new(faults),
        )))
    };
    let outcome = FileJournal::open_with(dir.path(), 0, OPTIONS, Box::new(opener));
    assert!(matches!(outcome.err(), Some(StoreError::SyncFailed { .. })));
}

/// A file system of 1 MiB, if this process may mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(dir.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_groups_until_there_is_space() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!(
            "skipped: this process may not mount a tmpfs; the injected failure above covers the same path"
        );
        return;
    };
    let dir = disk.0.path().join("journal");
    let (mut journal, _) = FileJournal::open(
        &dir,
        0,
        JournalOptions {
            segment_bytes: 100 << 10,
        },
    )
    .unwrap();
    let mut count = 0;
    let refused = loop {
        match append(&mut journal, count, 1000) {
            Ok(()) => count += 1000,
            Err(error) => break error,
        }
        assert!(count < 1_000_000, "the disk is not small");
    };
    assert!(matches!(refused, StoreError::Full { .. }), "{refused:?}");
    assert!(count > 10_000);
    assert!(append(&mut journal, count, 1000).is_err());
    journal.discard_before(count / 2).unwrap();
    append(&mut journal, count, 1000).unwrap();
    drop(journal);
    let (journal, recovery) = reopen(&dir, count / 2).unwrap();
    assert_eq!(
        (journal.next_index(), recovery.cut_bytes),
        (count + 1000, 0)
    );
}
