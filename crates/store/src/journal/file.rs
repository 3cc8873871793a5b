//! The journal as append-only segment files, `<index of the first record, 20 digits>.journal`.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::frame::encode;
use super::recovery::{Recovery, SegmentReader};
use super::segment::{Opener, Segment, SegmentFile, open_file};
use super::{Group, Journal, JournalEntry};
use crate::dir::sync_dir;
use crate::error::{Result, StoreError};

/// How a [`FileJournal`] lays out its files.
#[derive(Debug, Clone, Copy)]
pub struct JournalOptions {
    /// A segment that would grow beyond this many bytes is followed by a new one; one group is never split.
    pub segment_bytes: u64,
}

/// A segment's blocks are reserved in steps of this many bytes: a sync that has no new length to write down takes about
/// two thirds of the time. What is reserved and not written reads as zeros.
const RESERVED_BYTES: u64 = 1 << 20;

impl Default for JournalOptions {
    /// 64 MiB: a start reads at most one segment of what is published already, and a busy ledger makes one file every
    /// second or so.
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
        }
    }
}

/// A [`Journal`] in a directory of this machine: one write and one fdatasync a group.
///
/// Only one may be open on a directory; [`DataDir`](crate::DataDir) sees to it.
pub struct FileJournal {
    dir: PathBuf,
    options: JournalOptions,
    opener: Opener,
    /// Ascending and without gaps; the last is the one written to.
    segments: Vec<Segment>,
    file: Option<Box<dyn SegmentFile>>,
    /// Where the next group goes in the last segment.
    pub(super) offset: u64,
    /// Up to where the last segment has blocks; `None` where the file system does not give any ahead.
    reserved: Option<u64>,
    next_index: u64,
    buffer: Vec<u8>,
    poisoned: bool,
}

impl FileJournal {
    /// Opens the journal in `dir`, of which everything before `start_index` is published and may be forgotten.
    /// The directory is made if it is missing. Everything that [`replay`](Journal::replay) shows is durable.
    ///
    /// # Errors
    /// [`CorruptJournal`](StoreError::CorruptJournal) for a bad group anywhere but at the very end (`recovery.rs` has
    /// the rules), and for missing segments; otherwise as system calls fail. Nothing is cut off then.
    pub fn open(dir: &Path, start_index: u64, options: JournalOptions) -> Result<(Self, Recovery)> {
        Self::open_with(dir, start_index, options, Box::new(open_file))
    }

    pub(super) fn open_with(
        dir: &Path,
        start_index: u64,
        options: JournalOptions,
        opener: Opener,
    ) -> Result<(Self, Recovery)> {
        fs::create_dir_all(dir).map_err(|source| StoreError::io("create", dir, source))?;
        let mut journal = Self {
            dir: dir.to_path_buf(),
            options,
            opener,
            segments: Segment::list(dir).map_err(|source| StoreError::io("list", dir, source))?,
            file: None,
            offset: 0,
            reserved: Some(0),
            next_index: start_index,
            buffer: Vec::new(),
            poisoned: false,
        };
        journal.discard_before(start_index)?;
        let recovery = journal.recover(start_index)?;
        Ok((journal, recovery))
    }

    fn recover(&mut self, start_index: u64) -> Result<Recovery> {
        let mut recovery = Recovery {
            next_index: start_index,
            ..Recovery::default()
        };
        let Some(first) = self.segments.first() else {
            return Ok(recovery);
        };
        let mut next_index = first.first_index.min(start_index);
        let mut last_offset = None;
        for (position, segment) in self.segments.iter().enumerate() {
            let mut reader = SegmentReader::open(segment, None)?;
            if segment.first_index != next_index {
                reader.next_index = next_index;
                return Err(reader
                    .corrupt("the segment before this one is missing or cut short".to_owned()));
            }
            recovery.cut_bytes = reader.check(position + 1 == self.segments.len())?;
            recovery.groups += reader.groups;
            next_index = reader.next_index;
            self.offset = reader.offset;
            last_offset = reader.last_offset;
        }
        if next_index < start_index {
            // All that the journal had is published, and more: nothing of it is needed, and what comes next would
            // not be continuous with it.
            self.remove(self.segments.len())?;
            self.offset = 0;
            return Ok(recovery);
        }
        self.next_index = next_index;
        recovery.next_index = next_index;
        self.settle(last_offset, recovery.cut_bytes)?;
        Ok(recovery)
    }

    /// Cuts off a torn group, and makes sure that the last good one is on the disk and not only in memory.
    fn settle(&mut self, last_offset: Option<u64>, cut_bytes: u64) -> Result<()> {
        let Some(segment) = self.segments.last() else {
            return Ok(());
        };
        let path = &segment.path;
        let mut file =
            (self.opener)(path, false).map_err(|source| StoreError::io("open", path, source))?;
        if cut_bytes > 0 {
            tracing::warn!(segment = %path.display(), cut_bytes, next_index = self.next_index, "cut off a torn group");
            file.cut(self.offset)
                .map_err(|source| StoreError::io("cut", path, source))?;
        }
        if let Some(offset) = last_offset {
            self.buffer.resize((self.offset - offset) as usize, 0);
            fs::File::open(path)
                .and_then(|reader| reader.read_exact_at(&mut self.buffer, offset))
                .map_err(|source| StoreError::io("read", path, source))?;
            file.write_all_at(&self.buffer, offset)
                .map_err(|source| StoreError::io("write", path, source))?;
        }
        file.sync_data().map_err(|source| StoreError::SyncFailed {
            path: path.clone(),
            source,
        })?;
        // The segment's name may not have reached the disk either.
        sync_dir(&self.dir)?;
        self.file = Some(file);
        Ok(())
    }

    /// Takes out the file that `bytes` more go to, at `self.offset`: a new one where the last is full.
    fn take_file(&mut self, bytes: u64) -> Result<Box<dyn SegmentFile>> {
        let full = self.offset > 0 && self.offset + bytes > self.options.segment_bytes;
        if let Some(file) = self.file.take_if(|_| !full) {
            return Ok(file);
        }
        let segment = Segment::new(&self.dir, self.next_index);
        let file = (self.opener)(&segment.path, true)
            .map_err(|source| StoreError::io("create", &segment.path, source))?;
        self.segments.push(segment);
        self.offset = 0;
        self.reserved = self.reserved.and(Some(0));
        sync_dir(&self.dir).inspect_err(|_| self.poisoned = true)?;
        Ok(file)
    }

    fn path(&self) -> PathBuf {
        self.segments
            .last()
            .map_or_else(|| self.dir.clone(), |segment| segment.path.clone())
    }

    fn remove(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let path = &self.segments[0].path;
            match fs::remove_file(path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", path, source));
                }
                _ => self.segments.remove(0),
            };
        }
        Ok(())
    }
}

impl Journal for FileJournal {
    fn next_index(&self) -> u64 {
        self.next_index
    }

    fn append_group(&mut self, first_index: u64, entries: &[JournalEntry<'_>]) -> Result<()> {
        if self.poisoned {
            return Err(StoreError::Poisoned { path: self.path() });
        }
        if first_index != self.next_index {
            return Err(StoreError::NotNext {
                expected: self.next_index,
                found: first_index,
            });
        }
        if entries.is_empty() {
            return Ok(());
        }
        let mut frame = std::mem::take(&mut self.buffer);
        let appended =
            encode(&mut frame, first_index, entries).and_then(|()| self.append_frame(&frame));
        self.buffer = frame;
        appended?;
        self.next_index += entries.len() as u64;
        Ok(())
    }

    fn replay(&self, from: u64, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()> {
        let oldest = self
            .segments
            .first()
            .map_or(self.next_index, |segment| segment.first_index);
        if from < oldest || from > self.next_index {
            return Err(StoreError::NotNext {
                expected: self.next_index,
                found: from,
            });
        }
        let begin = self
            .segments
            .partition_point(|segment| segment.first_index <= from)
            .saturating_sub(1);
        for (position, segment) in self.segments.iter().enumerate().skip(begin) {
            let limit = (position + 1 == self.segments.len()).then_some(self.offset);
            let mut reader = SegmentReader::open(segment, limit)?;
            loop {
                let bad = match reader.next()? {
                    Ok(None) => break,
                    Ok(Some(group)) => {
                        if group.first_index + u64::from(group.count) > from {
                            visit(group)?;
                        }
                        continue;
                    }
                    Err(bad) => bad,
                };
                let (super::frame::Bad::Torn(reason) | super::frame::Bad::Foreign(reason)) = bad;
                return Err(reader.corrupt(reason));
            }
        }
        Ok(())
    }

    /// Deletes the segments that end at or before `index`, the oldest first.
    fn discard_before(&mut self, index: u64) -> Result<()> {
        let next = self.segments.iter().skip(1);
        self.remove(
            next.take_while(|segment| segment.first_index <= index)
                .count(),
        )
    }
}

impl FileJournal {
    fn append_frame(&mut self, frame: &[u8]) -> Result<()> {
        let mut file = self.take_file(frame.len() as u64)?;
        self.reserve(&mut *file, self.offset + frame.len() as u64);
        if let Err(source) = file.write_all_at(frame, self.offset) {
            let error = StoreError::io("write", &self.path(), source);
            // What was written of it must not be taken for a torn group in front of the next one.
            file.cut(self.offset)
                .map_err(|source| self.poison(source))?;
            self.reserved = self.reserved.and(Some(self.offset));
            self.file = Some(file);
            return Err(error);
        }
        file.sync_data().map_err(|source| self.poison(source))?;
        self.file = Some(file);
        self.offset += frame.len() as u64;
        Ok(())
    }

    /// Has blocks ready for what is written up to `end`, and some more. A disk too full for that may have room for what
    /// is written; a file system that cannot do it is not asked again.
    fn reserve(&mut self, file: &mut dyn SegmentFile, end: u64) {
        let Some(reserved) = self.reserved.filter(|reserved| *reserved < end) else {
            return;
        };
        let to = end
            .next_multiple_of(RESERVED_BYTES)
            .min(self.options.segment_bytes);
        if to <= end {
            return;
        }
        self.reserved = match file.reserve(reserved.max(self.offset), to) {
            Ok(()) => Some(to),
            Err(error) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::Interrupted => Some(reserved),
                _ => None,
            },
        };
    }

    fn poison(&mut self, source: io::Error) -> StoreError {
        self.poisoned = true;
        StoreError::SyncFailed {
            path: self.path(),
            source,
        }
    }
}
