//! The segment files of one stream: listed, taken over from a dead process, read frame by frame.
//!
//! A segment is named by the seq of its first record, so that the names say how many records each but the last holds.
//! Only the last one is ever appended to. What its writer left half-written there was never accepted: it is cut off. A
//! bad frame anywhere else was good once; it is an error, and nothing behind it is sent.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::dir::names;
use super::error::SpoolError;
use super::frame::{Bad, HEADER_BYTES, Header, MAX_PAYLOAD_BYTES, find_later};

const EXTENSION: &str = "seg";

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) first_seq: u64,
    /// So many of its bytes are good frames.
    pub(super) bytes: u64,
}

pub(super) fn path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}.{EXTENSION}"))
}

/// The segments of a stream's directory in order, with the lengths of their files.
pub(super) fn list(dir: &Path) -> Result<VecDeque<Segment>, SpoolError> {
    let mut segments = VecDeque::new();
    for path in names(dir)? {
        let is_segment = path.extension().is_some_and(|e| e == EXTENSION);
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let (true, Some(first_seq)) = (is_segment, stem.and_then(|stem| stem.parse().ok())) else {
            continue;
        };
        match fs::metadata(&path) {
            Ok(metadata) => segments.push_back(Segment {
                first_seq,
                bytes: metadata.len(),
            }),
            // Its writer deletes what is acknowledged.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(SpoolError::disk("read", &path)(error)),
        }
    }
    Ok(segments)
}

/// What a dead process left of a stream.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) segments: VecDeque<Segment>,
    /// The seq after the last record.
    pub(super) next_seq: u64,
    /// Why nothing can be written to the end of it.
    pub(super) damaged: Option<SpoolError>,
}

/// Takes the segments of a directory over, whose lock is held, and cuts a torn end off. `next_seq` is where the stream
/// stands if there is no segment.
pub(super) fn take_over(dir: &Path, next_seq: u64) -> Result<Left, SpoolError> {
    let mut left = Left {
        segments: list(dir)?,
        next_seq,
        damaged: None,
    };
    let Some(last) = left.segments.back_mut() else {
        return Ok(left);
    };
    let path = path(dir, last.first_seq);
    let mut reader = Frames::open(&path, last.first_seq, last.bytes)?;
    while reader.next()?.is_some() {}
    left.damaged = match reader.bad.take() {
        None => None,
        Some(Bad::Torn(why)) => reader.judge(&why)?,
        Some(Bad::Foreign(why)) => Some(reader.damaged(why)),
    };
    left.next_seq = reader.next_seq;
    if left.damaged.is_none() && reader.offset < last.bytes {
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|file| {
                file.set_len(reader.offset)?;
                file.sync_data()
            })
            .map_err(SpoolError::disk("cut", &path))?;
    }
    last.bytes = reader.offset;
    Ok(left)
}

/// The frames of one segment.
#[derive(Debug)]
pub(super) struct Frames {
    path: PathBuf,
    file: BufReader<File>,
    file_bytes: u64,
    header: [u8; HEADER_BYTES],
    payload: Vec<u8>,
    /// Where the next frame starts.
    pub(super) offset: u64,
    /// Where the one before it starts.
    pub(super) last_offset: u64,
    /// The seq at which it has to start.
    pub(super) next_seq: u64,
    /// Why what comes next is no frame.
    bad: Option<Bad>,
}

/// A good frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) first_seq: u64,
    pub(super) count: u32,
    /// Lines with their newlines.
    pub(super) payload: &'a [u8],
}

impl Frames {
    /// Of a segment whose first record has `first_seq`; the first `bytes` of the file count.
    pub(super) fn open(path: &Path, first_seq: u64, bytes: u64) -> Result<Self, SpoolError> {
        let file = File::open(path).map_err(SpoolError::disk("open", path))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(128 << 10, file),
            file_bytes: bytes,
            header: [0; HEADER_BYTES],
            payload: Vec::new(),
            offset: 0,
            last_offset: 0,
            next_seq: first_seq,
            bad: None,
        })
    }

    /// So many bytes of the file count from now on.
    pub(super) fn extend(&mut self, bytes: u64) -> Result<(), SpoolError> {
        if bytes == self.file_bytes {
            return Ok(());
        }
        self.file_bytes = bytes;
        // What was read ahead may have been written anew.
        self.seek(self.offset)
    }

    /// Passes over the frames whose records are all before `seq`, without looking into them.
    pub(super) fn skip_to(&mut self, seq: u64) -> Result<(), SpoolError> {
        while self.next_seq < seq && self.bad.is_none() {
            let start = self.offset;
            let Some(header) = self.header()? else { break };
            if header.first_seq == self.next_seq
                && header.first_seq + u64::from(header.count) <= seq
            {
                self.seek(start + (HEADER_BYTES + header.payload_bytes) as u64)?;
                self.next_seq += u64::from(header.count);
            } else {
                return self.seek(start);
            }
        }
        Ok(())
    }

    /// The next frame; `None` at the end, or where what comes next is none (see [`Frames::judge`]).
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, SpoolError> {
        let start = self.offset;
        let Some(header) = self.header()? else {
            return Ok(None);
        };
        self.payload.resize(header.payload_bytes, 0);
        read(&mut self.file, &mut self.payload, &self.path)?;
        if let Err(why) = header.check(&self.header, &self.payload, self.next_seq) {
            self.bad = Some(why);
            self.seek(start)?;
            return Ok(None);
        }
        self.last_offset = start;
        self.offset = start + (HEADER_BYTES + header.payload_bytes) as u64;
        self.next_seq += u64::from(header.count);
        Ok(Some(Frame {
            first_seq: header.first_seq,
            count: header.count,
            payload: &self.payload,
        }))
    }

    /// The frame that stands where it ended is an error wherever it stands.
    pub(super) fn damage(&mut self) -> Option<SpoolError> {
        let (Bad::Torn(why) | Bad::Foreign(why)) = self.bad.take()?;
        Some(self.damaged(why))
    }

    /// The file has no more frames, and the next segment begins later.
    pub(super) fn missing(&self, next: u64) -> SpoolError {
        self.damaged(format!(
            "the file ends before seq {}, and the next begins with seq {next}",
            self.next_seq
        ))
    }

    /// Reads a header; the payload is in the file.
    fn header(&mut self) -> Result<Option<Header>, SpoolError> {
        let left = self.file_bytes.saturating_sub(self.offset);
        if left == 0 || self.bad.is_some() {
            return Ok(None);
        }
        if left < HEADER_BYTES as u64 {
            self.bad = Some(Bad::Torn(format!(
                "the file ends after {left} of {HEADER_BYTES} bytes of a frame's header"
            )));
            return Ok(None);
        }
        read(&mut self.file, &mut self.header, &self.path)?;
        let left = left - HEADER_BYTES as u64;
        let found = Header::parse(&self.header).and_then(|header| {
            if header.payload_bytes as u64 > left {
                Err(Bad::Torn(format!(
                    "the file ends after {left} of a frame's {} bytes",
                    header.payload_bytes
                )))
            } else {
                Ok(header)
            }
        });
        match found {
            Ok(header) => Ok(Some(header)),
            Err(why) => {
                self.bad = Some(why);
                self.seek(self.offset)?;
                Ok(None)
            }
        }
    }

    fn seek(&mut self, offset: u64) -> Result<(), SpoolError> {
        self.offset = offset;
        self.file
            .seek(SeekFrom::Start(offset))
            .map(drop)
            .map_err(SpoolError::disk("read", &self.path))
    }

    /// Whether what stands from the bad frame on is more than a torn end: the error then.
    fn judge(&mut self, why: &str) -> Result<Option<SpoolError>, SpoolError> {
        let rest = self.file_bytes - self.offset;
        if rest > (HEADER_BYTES + MAX_PAYLOAD_BYTES) as u64 {
            let why = format!("{why}, and the {rest} bytes from here on are more than one frame");
            return Ok(Some(self.damaged(why)));
        }
        let mut tail = vec![0; rest as usize];
        read(&mut self.file, &mut tail, &self.path)?;
        Ok(find_later(&tail, self.next_seq).map(|(at, seq)| {
            let at = self.offset + at as u64;
            self.damaged(format!(
                "{why}, and a good frame that starts at seq {seq} follows at byte {at}"
            ))
        }))
    }

    fn damaged(&self, why: String) -> SpoolError {
        SpoolError::Damaged {
            path: self.path.clone(),
            offset: self.offset,
            why,
        }
    }
}

fn read(file: &mut BufReader<File>, bytes: &mut [u8], path: &Path) -> Result<(), SpoolError> {
    file.read_exact(bytes)
        .map_err(SpoolError::disk("read", path))
}
