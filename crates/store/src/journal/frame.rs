//! A group's bytes: one frame with one checksum.
//!
//! ```text
//! 8  magic fe "rataj" 0a, version 01
//! 4  length of the payload in bytes
//! 8  index of the first record
//! 4  number of records
//! 4  CRC-32 of the 24 bytes above and the payload
//! .. payload: for each record  2 + record, 4 + sealed values, 1 + principal  (length, then bytes)
//! ```
//!
//! All integers are big-endian. The checksum finds torn writes and rotten bits, not tampering: until a checkpoint is
//! published, whoever can write the journal can write the ledger. For that, CRC-32 (IEEE, as in gzip) is enough and
//! costs 16 MiB in a few milliseconds; the crate that computes it is in the tree already, and a hash such as SHA-256
//! would cost more than the write. The byte `fe` is in no UTF-8 text, so no record holds anything like a magic.

use super::{Group, JournalEntry};
use crate::error::{Result, StoreError};

/// The longest record, in bytes.
pub const MAX_RECORD_BYTES: usize = u16::MAX as usize;
/// The longest name of a principal, in bytes.
pub const MAX_PRINCIPAL_BYTES: usize = u8::MAX as usize;
/// The longest payload of a group, in bytes; what one request may bring is far below.
pub const MAX_PAYLOAD_BYTES: usize = 16 << 20;

pub(crate) const MAGIC: [u8; 7] = *b"\xferataj\n";
const VERSION: u8 = 1;
pub(crate) const HEADER_BYTES: usize = 28;
const CHECKED_HEADER_BYTES: usize = 24;

/// Writes the frame of a group into `buffer`, replacing what was there.
pub(crate) fn encode(
    buffer: &mut Vec<u8>,
    first_index: u64,
    entries: &[JournalEntry<'_>],
) -> Result<()> {
    let mut payload = 0;
    for entry in entries {
        within(
            "a record's length in bytes",
            entry.record.len(),
            MAX_RECORD_BYTES,
        )?;
        within(
            "a principal's length in bytes",
            entry.principal.len(),
            MAX_PRINCIPAL_BYTES,
        )?;
        payload += 7 + entry.record.len() + entry.sealed.len() + entry.principal.len();
    }
    within("a group's length in bytes", payload, MAX_PAYLOAD_BYTES)?;

    buffer.clear();
    buffer.reserve(HEADER_BYTES + payload);
    buffer.extend_from_slice(&MAGIC);
    buffer.push(VERSION);
    buffer.extend_from_slice(&(payload as u32).to_be_bytes());
    buffer.extend_from_slice(&first_index.to_be_bytes());
    buffer.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    buffer.extend_from_slice(&[0; 4]);
    for entry in entries {
        buffer.extend_from_slice(&(entry.record.len() as u16).to_be_bytes());
        buffer.extend_from_slice(entry.record);
        buffer.extend_from_slice(&(entry.sealed.len() as u32).to_be_bytes());
        buffer.extend_from_slice(entry.sealed);
        buffer.push(entry.principal.len() as u8);
        buffer.extend_from_slice(entry.principal);
    }
    let sum = checksum(&buffer[..CHECKED_HEADER_BYTES], &buffer[HEADER_BYTES..]);
    buffer[CHECKED_HEADER_BYTES..HEADER_BYTES].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<()> {
    if found > limit {
        return Err(StoreError::TooLarge {
            what,
            found: found as u64,
            limit: limit as u64,
        });
    }
    Ok(())
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

/// What a header says; nothing of it is to be believed before [`Header::open`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) payload_bytes: usize,
    first_index: u64,
    count: u32,
    checksum: u32,
}

/// Why bytes are no frame.
#[derive(Debug)]
pub(crate) enum Bad {
    /// They may be what is left of a group that was being written.
    Torn(String),
    /// They were written so, or changed later.
    Foreign(String),
}

impl Header {
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Bad> {
        if bytes[..7] != MAGIC {
            return Err(Bad::Torn("no group starts here".to_owned()));
        }
        if bytes[7] != VERSION {
            return Err(Bad::Foreign(format!(
                "its format has version {}, and this program knows {VERSION}",
                bytes[7]
            )));
        }
        let header = Self {
            payload_bytes: number(&bytes[8..12]) as usize,
            first_index: number(&bytes[12..20]),
            count: number(&bytes[20..24]) as u32,
            checksum: number(&bytes[24..28]) as u32,
        };
        if header.payload_bytes > MAX_PAYLOAD_BYTES {
            return Err(Bad::Torn(format!(
                "its length is {}, over the limit of {MAX_PAYLOAD_BYTES}",
                header.payload_bytes
            )));
        }
        Ok(header)
    }

    /// Checks the payload against the header, and both against the index at which the group has to start.
    pub(crate) fn open<'a>(
        &self,
        header: &[u8; HEADER_BYTES],
        payload: &'a [u8],
        expected_index: u64,
    ) -> Result<Group<'a>, Bad> {
        let group = self.open_any(header, payload)?;
        if group.first_index != expected_index {
            return Err(Bad::Foreign(format!(
                "it starts at index {}, not {expected_index}",
                group.first_index
            )));
        }
        Ok(group)
    }

    fn open_any<'a>(
        &self,
        header: &[u8; HEADER_BYTES],
        payload: &'a [u8],
    ) -> Result<Group<'a>, Bad> {
        let found = checksum(&header[..CHECKED_HEADER_BYTES], payload);
        if found != self.checksum {
            return Err(Bad::Torn(format!(
                "its checksum is {found:08x}, not {:08x}",
                self.checksum
            )));
        }
        let mut entries = Entries::new(payload);
        let count = entries.by_ref().count();
        if count != self.count as usize || !entries.rest.is_empty() || count == 0 {
            return Err(Bad::Foreign(format!(
                "it holds {count} records, not {}",
                self.count
            )));
        }
        Ok(Group {
            first_index: self.first_index,
            count: self.count,
            payload,
        })
    }
}

/// Where in `tail` the first good group that starts after `index` is, and its first index.
pub(crate) fn find_later(tail: &[u8], index: u64) -> Option<(usize, u64)> {
    let mut from = 0;
    while let Some(at) = tail[from..]
        .windows(MAGIC.len())
        .position(|window| window == MAGIC)
    {
        let at = from + at;
        from = at + 1;
        let header = tail[at..].first_chunk::<HEADER_BYTES>()?;
        let Ok(parsed) = Header::parse(header) else {
            continue;
        };
        let Some(payload) = tail.get(at + HEADER_BYTES..at + HEADER_BYTES + parsed.payload_bytes)
        else {
            continue;
        };
        match parsed.open_any(header, payload) {
            Ok(group) if group.first_index > index => return Some((at, group.first_index)),
            _ => {}
        }
    }
    None
}

/// The entries of a group, in order.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = JournalEntry<'a>;

    /// The next entry. Payloads are checked when they are read, so what cannot be split is the end.
    fn next(&mut self) -> Option<Self::Item> {
        let (record, rest) = take(self.rest, 2)?;
        let (sealed, rest) = take(rest, 4)?;
        let (principal, rest) = take(rest, 1)?;
        self.rest = rest;
        Some(JournalEntry {
            record,
            sealed,
            principal,
        })
    }
}

fn take(bytes: &[u8], length_bytes: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(length_bytes)?;
    rest.split_at_checked(number(length) as usize)
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
