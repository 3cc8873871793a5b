//! What is found when a journal is opened: read group by group, and judge what is bad.
//!
//! Each group is synced before the next is written. So after a crash or a power loss
//!
//! - at most one group is torn, the last of the last segment, and it was never acknowledged: it is cut off, with
//!   everything behind its start, which is at most the rest of that one group;
//! - a bad group with a good later one behind it, or with more behind it than one group can have, was once good: it
//!   was acknowledged and has changed since. That is an error and nothing is cut, likewise anywhere in a segment that
//!   is not the last, and for a group that is intact but out of sequence or of another version;
//! - a group may be whole, yet not acknowledged (the process died between write and sync), or not on the disk although
//!   it reads well (a failed sync leaves clean pages behind). The last group is therefore written again, byte for byte,
//!   and synced before anybody is shown it.
//!
//! A segment may end in zeros: blocks reserved for groups that never came. Zeros up to the end of the file are no torn
//! group; zeros with anything behind them are.
//!
//! What no reader can tell apart is a torn last group and an acknowledged last group in which a bit has rotted before it
//! was published. It is cut too, and [`Recovery`] says that something was.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};

use super::Group;
use super::frame::{Bad, HEADER_BYTES, Header, MAX_PAYLOAD_BYTES, find_later};
use super::segment::Segment;
use crate::error::{Result, StoreError};

/// What opening a journal found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// The index the next group starts at.
    pub next_index: u64,
    /// How many good groups were read, those already published included.
    pub groups: u64,
    /// How many bytes of a torn last group were cut off.
    pub cut_bytes: u64,
}

/// Reads the groups of one segment.
pub(super) struct SegmentReader<'a> {
    segment: &'a Segment,
    file: BufReader<File>,
    file_bytes: u64,
    header: [u8; HEADER_BYTES],
    payload: Vec<u8>,
    /// Where the next group starts.
    pub(super) offset: u64,
    /// The index at which it has to start.
    pub(super) next_index: u64,
    /// Where the group before it starts.
    pub(super) last_offset: Option<u64>,
    pub(super) groups: u64,
}

impl<'a> SegmentReader<'a> {
    /// Opens a segment of which the first `limit` bytes count.
    pub(super) fn open(segment: &'a Segment, limit: Option<u64>) -> Result<Self> {
        let io = |source| StoreError::io("read", &segment.path, source);
        let file = File::open(&segment.path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        Ok(Self {
            segment,
            file: BufReader::with_capacity(256 << 10, file),
            file_bytes: limit.map_or(length, |limit| limit.min(length)),
            header: [0; HEADER_BYTES],
            payload: Vec::new(),
            offset: 0,
            next_index: segment.first_index,
            last_offset: None,
            groups: 0,
        })
    }

    /// The next group, `Ok(None)` at the end of the file, or why what comes next is none.
    pub(super) fn next(&mut self) -> Result<Result<Option<Group<'_>>, Bad>> {
        let left = self.file_bytes - self.offset;
        if left == 0 {
            return Ok(Ok(None));
        }
        let first = self
            .file
            .fill_buf()
            .map_err(|source| StoreError::io("read", &self.segment.path, source))?;
        if first.first() == Some(&0) && self.written_bytes()? == 0 {
            return Ok(Ok(None));
        }
        if left < HEADER_BYTES as u64 {
            return Ok(Err(Bad::Torn(format!(
                "the file ends after {left} of {HEADER_BYTES} bytes of its header"
            ))));
        }
        read(&mut self.file, &mut self.header, self.segment)?;
        let header = match Header::parse(&self.header) {
            Ok(header) => header,
            Err(bad) => return Ok(Err(bad)),
        };
        let left = left - HEADER_BYTES as u64;
        if left < header.payload_bytes as u64 {
            return Ok(Err(Bad::Torn(format!(
                "the file ends after {left} of its {} bytes",
                header.payload_bytes
            ))));
        }
        self.payload.resize(header.payload_bytes, 0);
        read(&mut self.file, &mut self.payload, self.segment)?;
        let group = match header.open(&self.header, &self.payload, self.next_index) {
            Ok(group) => group,
            Err(bad) => return Ok(Err(bad)),
        };
        self.last_offset = Some(self.offset);
        self.offset += (HEADER_BYTES + header.payload_bytes) as u64;
        self.next_index += u64::from(group.count);
        self.groups += 1;
        Ok(Ok(Some(group)))
    }

    /// Reads to the end of the segment; what is bad is an error, except a torn group at the end of the `last` one.
    /// Returns how many bytes of that there are.
    pub(super) fn check(&mut self, last: bool) -> Result<u64> {
        loop {
            match self.next()? {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(0),
                Err(Bad::Torn(reason)) if last => return self.judge(&reason),
                Err(Bad::Torn(reason) | Bad::Foreign(reason)) => return Err(self.corrupt(reason)),
            }
        }
    }

    /// How many of the bytes from `offset` on come before the zeros at the end. The file is then at `offset`.
    fn written_bytes(&mut self) -> Result<u64> {
        let io = |source| StoreError::io("read", &self.segment.path, source);
        self.file.seek(SeekFrom::Start(self.offset)).map_err(io)?;
        let (mut at, mut written) = (0, 0);
        let left = self.file_bytes - self.offset;
        while at < left {
            let bytes = self.file.fill_buf().map_err(io)?;
            if bytes.is_empty() {
                break;
            }
            let bytes = &bytes[..bytes.len().min((left - at) as usize)];
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                written = at + last as u64 + 1;
            }
            let read = bytes.len();
            at += read as u64;
            self.file.consume(read);
        }
        self.file.seek(SeekFrom::Start(self.offset)).map_err(io)?;
        Ok(written)
    }

    pub(super) fn judge(&mut self, reason: &str) -> Result<u64> {
        let rest = self.written_bytes()?;
        if rest > (HEADER_BYTES + MAX_PAYLOAD_BYTES) as u64 {
            return Err(self.corrupt(format!(
                "{reason}, and the {rest} bytes from here on are more than one group"
            )));
        }
        let mut tail = vec![0; rest as usize];
        read(&mut self.file, &mut tail, self.segment)?;
        match find_later(&tail, self.next_index) {
            Some((at, index)) => Err(self.corrupt(format!(
                "{reason}, and a good group that starts at index {index} follows at byte {}",
                self.offset + at as u64
            ))),
            None => Ok(rest),
        }
    }

    pub(super) fn corrupt(&self, reason: String) -> StoreError {
        StoreError::CorruptJournal {
            segment: self.segment.path.clone(),
            offset: self.offset,
            first_index: self.next_index,
            reason,
        }
    }
}

fn read(file: &mut BufReader<File>, bytes: &mut [u8], segment: &Segment) -> Result<()> {
    file.read_exact(bytes)
        .map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => {
                StoreError::io("read (it shrank meanwhile)", &segment.path, source)
            }
            _ => StoreError::io("read", &segment.path, source),
        })
}
