//! One call's records on disk: a frame with one checksum, so that all of them are there or none.
//!
//! ```text
//! 8  magic fe "spool" 0a, version 01
//! 4  length of the payload in bytes
//! 8  seq of the first record
//! 4  number of records
//! 4  CRC-32 of the 24 bytes above and the payload
//! .. payload: submission lines (docs/spec/submission.md), each with its newline
//! ```
//!
//! All integers are big-endian. The checksum finds torn writes and rotten bits. The byte `fe` is in no UTF-8 text, so no
//! line holds anything like a magic. A line is what is sent, byte for byte.

use record::Submission;

const MAGIC: [u8; 8] = *b"\xfespool\n\x01";
/// What stands before a frame's payload.
pub(super) const HEADER_BYTES: usize = 28;
const CHECKED_HEADER_BYTES: usize = 24;

/// The most bytes of lines in one frame: 64 MiB.
pub(super) const MAX_PAYLOAD_BYTES: usize = 64 << 20;

/// Writes one frame after another into the same buffer.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    buffer: Vec<u8>,
    count: u32,
}

impl Encoder {
    /// Begins a frame, and forgets the one before.
    pub(super) fn begin(&mut self, first_seq: u64) {
        self.buffer.clear();
        self.count = 0;
        self.buffer.extend_from_slice(&MAGIC);
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&first_seq.to_be_bytes());
        self.buffer.extend_from_slice(&[0; 8]);
    }

    pub(super) fn push(&mut self, submission: &Submission) {
        submission.write_line(&mut self.buffer);
        self.buffer.push(b'\n');
        self.count += 1;
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.buffer.len().saturating_sub(HEADER_BYTES)
    }

    /// The frame. Its payload must be within [`MAX_PAYLOAD_BYTES`].
    pub(super) fn finish(&mut self) -> &[u8] {
        let length = self.payload_bytes() as u32;
        self.buffer[8..12].copy_from_slice(&length.to_be_bytes());
        self.buffer[20..24].copy_from_slice(&self.count.to_be_bytes());
        let (header, payload) = self.buffer.split_at(HEADER_BYTES);
        let sum = checksum(&header[..CHECKED_HEADER_BYTES], payload);
        self.buffer[CHECKED_HEADER_BYTES..HEADER_BYTES].copy_from_slice(&sum.to_be_bytes());
        // A call of thousands of records should not hold its memory for ever.
        &self.buffer
    }

    /// Gives back memory that only an unusually large frame needed.
    pub(super) fn shrink(&mut self) {
        const USUAL: usize = 1 << 20;
        if self.buffer.capacity() > USUAL {
            self.buffer = Vec::new();
        }
    }
}

/// Why bytes are no frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// They may be what is left of a frame that was being written.
    Torn(String),
    /// They were written so, or changed later.
    Foreign(String),
}

/// What a header says; nothing of it is to be believed before [`Header::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) payload_bytes: usize,
    pub(super) first_seq: u64,
    pub(super) count: u32,
    checksum: u32,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Bad> {
        if bytes[..7] != MAGIC[..7] {
            return Err(Bad::Torn("no frame starts here".to_owned()));
        }
        if bytes[7] != MAGIC[7] {
            return Err(Bad::Foreign(format!(
                "the frame has version {}, and this program knows {}",
                bytes[7], MAGIC[7]
            )));
        }
        let header = Self {
            payload_bytes: number(&bytes[8..12]) as usize,
            first_seq: number(&bytes[12..20]),
            count: number(&bytes[20..24]) as u32,
            checksum: number(&bytes[24..28]) as u32,
        };
        if header.payload_bytes > MAX_PAYLOAD_BYTES {
            return Err(Bad::Torn(format!(
                "the frame's length is {}, over the limit of {MAX_PAYLOAD_BYTES}",
                header.payload_bytes
            )));
        }
        if header.count == 0 || header.first_seq.checked_add(header.count.into()).is_none() {
            return Err(Bad::Torn(format!(
                "the frame holds {} records from seq {}",
                header.count, header.first_seq
            )));
        }
        Ok(header)
    }

    /// Whether the payload is what was written, for the stream as it stands at `next_seq`.
    pub(super) fn check(
        &self,
        header: &[u8; HEADER_BYTES],
        payload: &[u8],
        next_seq: u64,
    ) -> Result<(), Bad> {
        let found = checksum(&header[..CHECKED_HEADER_BYTES], payload);
        if found != self.checksum {
            return Err(Bad::Torn(format!(
                "the frame's checksum is {found:08x}, not {:08x}",
                self.checksum
            )));
        }
        if self.first_seq != next_seq {
            return Err(Bad::Foreign(format!(
                "the frame starts at seq {}, not {next_seq}",
                self.first_seq
            )));
        }
        let lines = memchr::memchr_iter(b'\n', payload).count();
        if lines != self.count as usize || payload.last() != Some(&b'\n') {
            return Err(Bad::Foreign(format!(
                "the frame holds {lines} lines, not {}",
                self.count
            )));
        }
        Ok(())
    }
}

/// Where in `tail` a good frame is that starts after `seq`, and its seq.
pub(super) fn find_later(tail: &[u8], seq: u64) -> Option<(usize, u64)> {
    let mut from = 0;
    while let Some(at) = tail
        .get(from..)?
        .windows(MAGIC.len())
        .position(|window| window == MAGIC)
    {
        let at = from + at;
        from = at + 1;
        let bytes = tail[at..].first_chunk::<HEADER_BYTES>()?;
        let Ok(header) = Header::parse(bytes) else {
            continue;
        };
        let start = at + HEADER_BYTES;
        let Some(payload) = tail.get(start..start + header.payload_bytes) else {
            continue;
        };
        let good = header.check(bytes, payload, header.first_seq).is_ok();
        if good && header.first_seq > seq {
            return Some((at, header.first_seq));
        }
    }
    None
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
