//! The bundle's frame: what is written where, and nothing about what it means.
//!
//! All integers are big-endian.
//!
//! ```text
//! "rlhf-audit-bundle/v1\n"
//! run, 26 bytes, "\n"
//! u32 length, checkpoint note
//! in v2 alone: u16 count from 1, that many timestamps:
//!     u32 length, text of an earlier checkpoint or of this one
//!     u32 length, TimeStampResp
//!     u16 count, that many hashes of 32 bytes: the consistency proof
//! u64 count, that many proof hashes of 32 bytes
//! u64 count, that many entries, by ascending index:
//!     u64 index
//!     u16 length, record
//!     u32 length, openings (canonical JSON; 0: none)
//! end of file
//! ```

use std::io::{self, Read, Write};

/// What every bundle of this format begins with.
pub const MAGIC: &[u8; 21] = b"rlhf-audit-bundle/v1\n";
/// What a bundle with timestamps begins with.
pub const MAGIC_V2: &[u8; 21] = b"rlhf-audit-bundle/v2\n";
/// Timestamps in one bundle: a few authorities' word on one checkpoint each.
const MAX_TIMESTAMPS: usize = 16;
/// The most bytes of a stamped text, and of an answer.
const MAX_STAMP_BYTES: usize = crate::timestamp::MAX_RESPONSE_BYTES;
/// A consistency proof has at most two hashes a level.
const MAX_PROOF_HASHES: u16 = 128;
/// Bytes of a run's ULID.
const RUN_BYTES: usize = 26;
/// A record has at most 16 sealed fields of 1 MiB each; base64 and JSON escapes at most sextuple that.
const MAX_OPENINGS_BYTES: u32 = 128 << 20;

/// A timestamp as it stands in a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The text of the checkpoint that was stamped.
    pub text: Vec<u8>,
    /// The authority's answer: a `TimeStampResp`, DER.
    pub response: Vec<u8>,
    /// Shows that the bundle's checkpoint has grown from the stamped one (RFC 6962, section 2.1.2).
    pub proof: Vec<[u8; 32]>,
}

/// Writes a bundle to `W`, entry by entry. It keeps nothing but its place.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    left: u64,
    last: Option<u64>,
}

impl<W: Write> Writer<W> {
    /// Writes what stands before the entries: the run's ULID, the signed checkpoint note, the
    /// multi-proof of all the entries' indices (tlog's order, left to right) and how many follow.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `run` is not 26 bytes or the note is over 1 MiB, else those of `out`.
    pub fn new(
        out: W,
        run: &str,
        checkpoint: &[u8],
        proof: &[[u8; 32]],
        entries: u64,
    ) -> io::Result<Self> {
        Self::with_timestamps(out, run, checkpoint, &[], proof, entries)
    }

    /// As [`Writer::new`], with timestamps. Without any the bytes are the same.
    ///
    /// # Errors
    ///
    /// As [`Writer::new`], and `InvalidInput` if a timestamp's parts are too long, or too many.
    pub fn with_timestamps(
        mut out: W,
        run: &str,
        checkpoint: &[u8],
        timestamps: &[Stamp],
        proof: &[[u8; 32]],
        entries: u64,
    ) -> io::Result<Self> {
        if run.len() != RUN_BYTES {
            return Err(invalid(format!(
                "a run is named by 26 characters, {run:?} is not"
            )));
        }
        if checkpoint.len() > crate::source::MAX_CHECKPOINT_BYTES {
            return Err(invalid(format!(
                "a checkpoint note of {} bytes",
                checkpoint.len()
            )));
        }
        out.write_all(if timestamps.is_empty() {
            MAGIC
        } else {
            MAGIC_V2
        })?;
        out.write_all(run.as_bytes())?;
        out.write_all(b"\n")?;
        out.write_all(&(checkpoint.len() as u32).to_be_bytes())?;
        out.write_all(checkpoint)?;
        if !timestamps.is_empty() {
            write_timestamps(&mut out, timestamps)?;
        }
        out.write_all(&(proof.len() as u64).to_be_bytes())?;
        for hash in proof {
            out.write_all(hash)?;
        }
        out.write_all(&entries.to_be_bytes())?;
        Ok(Self {
            out,
            left: entries,
            last: None,
        })
    }

    /// Writes one entry: its log index, the record's bytes, and its openings as
    /// [`record::to_bundle_openings`] makes them, or nothing.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the index does not ascend, a length does not fit or an entry more is
    /// written than was announced, else those of the writer beneath.
    pub fn entry(&mut self, index: u64, record: &[u8], openings: &[u8]) -> io::Result<()> {
        if self.last.is_some_and(|last| last >= index) {
            return Err(invalid(format!("entry {index} after {:?}", self.last)));
        }
        let Some(left) = self.left.checked_sub(1) else {
            return Err(invalid(format!(
                "entry {index} is one more than was announced"
            )));
        };
        let record_length = u16::try_from(record.len())
            .map_err(|_| invalid(format!("a record of {} bytes", record.len())))?;
        let openings_length = u32::try_from(openings.len())
            .ok()
            .filter(|length| *length <= MAX_OPENINGS_BYTES)
            .ok_or_else(|| invalid(format!("openings of {} bytes", openings.len())))?;
        self.out.write_all(&index.to_be_bytes())?;
        self.out.write_all(&record_length.to_be_bytes())?;
        self.out.write_all(record)?;
        self.out.write_all(&openings_length.to_be_bytes())?;
        self.out.write_all(openings)?;
        self.last = Some(index);
        self.left = left;
        Ok(())
    }

    /// Flushes, and hands back what was written to.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if fewer entries were written than announced, else those of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        if self.left != 0 {
            return Err(invalid(format!(
                "{} entries fewer than were announced",
                self.left
            )));
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

fn write_timestamps(out: &mut impl Write, timestamps: &[Stamp]) -> io::Result<()> {
    if timestamps.len() > MAX_TIMESTAMPS {
        return Err(invalid(format!("{} timestamps", timestamps.len())));
    }
    out.write_all(&(timestamps.len() as u16).to_be_bytes())?;
    for stamp in timestamps {
        if stamp.text.len() > MAX_STAMP_BYTES
            || stamp.response.len() > MAX_STAMP_BYTES
            || stamp.proof.len() > usize::from(MAX_PROOF_HASHES)
        {
            return Err(invalid("a timestamp too long".into()));
        }
        out.write_all(&(stamp.text.len() as u32).to_be_bytes())?;
        out.write_all(&stamp.text)?;
        out.write_all(&(stamp.response.len() as u32).to_be_bytes())?;
        out.write_all(&stamp.response)?;
        out.write_all(&(stamp.proof.len() as u16).to_be_bytes())?;
        for hash in &stamp.proof {
            out.write_all(hash)?;
        }
    }
    Ok(())
}

fn read_timestamps(input: &mut impl Read) -> Result<Vec<Stamp>, FormatError> {
    let count = u16::from_be_bytes(array(input, "the count of timestamps")?);
    if count == 0 || usize::from(count) > MAX_TIMESTAMPS {
        return Err(FormatError::Broken {
            expected: "1 to 16 timestamps",
            found: count.to_string(),
        });
    }
    let mut timestamps = Vec::new();
    for _ in 0..count {
        let mut part = |expected| {
            let length = u32::from_be_bytes(array(input, expected)?);
            if length as usize > MAX_STAMP_BYTES {
                return Err(FormatError::Broken {
                    expected: "at most 64 KiB of a timestamp",
                    found: format!("a length of {length} bytes"),
                });
            }
            bytes(input, u64::from(length), expected)
        };
        let text = part("a stamped checkpoint")?;
        let response = part("a timestamp")?;
        let count = u16::from_be_bytes(array(input, "the count of a timestamp's hashes")?);
        if count > MAX_PROOF_HASHES {
            return Err(FormatError::Broken {
                expected: "at most 128 hashes of a timestamp",
                found: count.to_string(),
            });
        }
        let proof = (0..count)
            .map(|_| array(input, "a timestamp's hash"))
            .collect::<Result<_, _>>()?;
        timestamps.push(Stamp {
            text,
            response,
            proof,
        });
    }
    Ok(timestamps)
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// What stands before a bundle's entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The run's ULID as written; not yet known to be one.
    pub run: String,
    /// The signed checkpoint note.
    pub checkpoint: Vec<u8>,
    /// Timestamps, if it has any.
    pub timestamps: Vec<Stamp>,
    /// The multi-proof.
    pub proof: Vec<[u8; 32]>,
    /// How many entries follow.
    pub entries: u64,
}

/// One entry as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Index in the log.
    pub index: u64,
    /// The record's bytes.
    pub record: Vec<u8>,
    /// Canonical JSON, or empty.
    pub openings: Vec<u8>,
}

/// Why a file is not a bundle.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file could not be read on.
    #[error("the bundle cannot be read: {0}")]
    Io(io::Error),
    /// The bytes break the format.
    #[error("{found} where {expected} was expected")]
    Broken {
        /// What the format has there.
        expected: &'static str,
        /// What the file has.
        found: String,
    },
}

/// Reads a bundle from `R`, entry by entry.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    left: u64,
    last: Option<u64>,
}

impl<R: Read> Reader<R> {
    /// Reads what stands before the entries. `input` should be buffered.
    ///
    /// # Errors
    ///
    /// [`FormatError`].
    pub fn new(mut input: R) -> Result<Self, FormatError> {
        let magic: [u8; 21] = array(&mut input, "the first line `rlhf-audit-bundle/v1`")?;
        let stamped = &magic == MAGIC_V2;
        if !stamped && &magic != MAGIC {
            return Err(FormatError::Broken {
                expected: "the first line `rlhf-audit-bundle/v1`",
                found: format!("{:?}", String::from_utf8_lossy(&magic)),
            });
        }
        let line: [u8; RUN_BYTES + 1] = array(&mut input, "the run and a newline")?;
        let run = line
            .strip_suffix(b"\n")
            .and_then(|run| std::str::from_utf8(run).ok())
            .ok_or_else(|| FormatError::Broken {
                expected: "the run and a newline",
                found: format!("{:?}", String::from_utf8_lossy(&line)),
            })?
            .to_owned();
        let length = u32::from_be_bytes(array(&mut input, "the checkpoint's length")?);
        if length as usize > crate::source::MAX_CHECKPOINT_BYTES {
            return Err(FormatError::Broken {
                expected: "a checkpoint note of at most 1 MiB",
                found: format!("a length of {length} bytes"),
            });
        }
        let checkpoint = bytes(&mut input, u64::from(length), "the checkpoint note")?;
        let timestamps = if stamped {
            read_timestamps(&mut input)?
        } else {
            Vec::new()
        };
        let count = u64::from_be_bytes(array(&mut input, "the count of proof hashes")?);
        // Grows with what is there, so that a forged count costs no memory.
        let mut proof = Vec::new();
        for _ in 0..count {
            proof.push(array(&mut input, "a proof hash")?);
        }
        let entries = u64::from_be_bytes(array(&mut input, "the count of entries")?);
        let header = Header {
            run,
            checkpoint,
            timestamps,
            proof,
            entries,
        };
        Ok(Self {
            input,
            header,
            left: entries,
            last: None,
        })
    }

    /// What stood before the entries.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Hands over the proof, which the header then no longer has: it may be large.
    pub(crate) fn take_proof(&mut self) -> Vec<[u8; 32]> {
        std::mem::take(&mut self.header.proof)
    }

    /// The next entry, or `None` once all that were announced are read and the file ends there.
    ///
    /// # Errors
    ///
    /// [`FormatError`], also if indices do not ascend or bytes follow the last entry.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, FormatError> {
        if self.left == 0 {
            let mut byte = [0];
            return match self.input.read(&mut byte).map_err(FormatError::Io)? {
                0 => Ok(None),
                _ => Err(FormatError::Broken {
                    expected: "the end of the file",
                    found: "more bytes".into(),
                }),
            };
        }
        let index = u64::from_be_bytes(array(&mut self.input, "an entry's index")?);
        if let Some(last) = self.last.filter(|last| *last >= index) {
            return Err(FormatError::Broken {
                expected: "an index above that of the entry before",
                found: format!("index {index} after {last}"),
            });
        }
        let length = u16::from_be_bytes(array(&mut self.input, "a record's length")?);
        let record = bytes(&mut self.input, u64::from(length), "a record")?;
        let length = u32::from_be_bytes(array(&mut self.input, "the openings' length")?);
        if length > MAX_OPENINGS_BYTES {
            return Err(FormatError::Broken {
                expected: "openings of at most 128 MiB",
                found: format!("a length of {length} bytes"),
            });
        }
        let openings = bytes(&mut self.input, u64::from(length), "openings")?;
        self.left -= 1;
        self.last = Some(index);
        Ok(Some(Entry {
            index,
            record,
            openings,
        }))
    }
}

fn array<const N: usize>(
    input: &mut impl Read,
    expected: &'static str,
) -> Result<[u8; N], FormatError> {
    let mut array = [0; N];
    input
        .read_exact(&mut array)
        .map_err(|e| ended(e, expected))?;
    Ok(array)
}

fn bytes(
    input: &mut impl Read,
    length: u64,
    expected: &'static str,
) -> Result<Vec<u8>, FormatError> {
    let mut bytes = Vec::with_capacity(length.min(1 << 16) as usize);
    let read = input
        .take(length)
        .read_to_end(&mut bytes)
        .map_err(FormatError::Io)?;
    if read as u64 == length {
        Ok(bytes)
    } else {
        Err(ended(io::ErrorKind::UnexpectedEof.into(), expected))
    }
}

fn ended(error: io::Error, expected: &'static str) -> FormatError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        FormatError::Broken {
            expected,
            found: "the end of the file".into(),
        }
    } else {
        FormatError::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "01JD0000000000000000000000";

    fn small() -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), RUN, b"note\n", &[[7; 32], [8; 32]], 2).unwrap();
        writer.entry(3, b"{}", b"").unwrap();
        writer.entry(9, b"[1]", b"{\"a\":1}").unwrap();
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<(Header, Vec<Entry>), FormatError> {
        let mut reader = Reader::new(bytes)?;
        let mut entries = Vec::new();
        while let Some(entry) = reader.next_entry()? {
            entries.push(entry);
        }
        Ok((reader.header, entries))
    }

    #[test]
    fn what_is_written_is_read() {
        let (header, entries) = read(&small()).unwrap();
        assert_eq!(header.run, RUN);
        assert_eq!(header.checkpoint, b"note\n");
        assert_eq!(header.proof, vec![[7; 32], [8; 32]]);
        assert_eq!(
            entries[0],
            Entry {
                index: 3,
                record: b"{}".into(),
                openings: vec![]
            }
        );
        assert_eq!(entries[1].openings, b"{\"a\":1}");
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let mut expected = b"rlhf-audit-bundle/v1\n".to_vec();
        expected.extend(RUN.as_bytes());
        expected.extend(b"\n\0\0\0\x05note\n");
        expected.extend([0, 0, 0, 0, 0, 0, 0, 2]);
        expected.extend([7; 32]);
        expected.extend([8; 32]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 2]);
        expected.extend(b"\0\0\0\0\0\0\0\x03\0\x02{}\0\0\0\0");
        expected.extend(b"\0\0\0\0\0\0\0\x09\0\x03[1]\0\0\0\x07{\"a\":1}");
        assert_eq!(small(), expected);
    }

    fn stamped() -> Vec<u8> {
        let stamp = Stamp {
            text: b"text\n".into(),
            response: vec![0x30, 0],
            proof: vec![[9; 32]],
        };
        let mut writer =
            Writer::with_timestamps(Vec::new(), RUN, b"note\n", &[stamp], &[], 1).unwrap();
        writer.entry(3, b"{}", b"").unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn timestamps_stand_behind_the_note_and_make_it_v2() {
        let mut expected = b"rlhf-audit-bundle/v2\n".to_vec();
        expected.extend(RUN.as_bytes());
        expected.extend(b"\n\0\0\0\x05note\n");
        expected.extend(b"\0\x01\0\0\0\x05text\n\0\0\0\x02\x30\0\0\x01");
        expected.extend([9; 32]);
        expected.extend([0; 8]);
        expected.extend(b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x03\0\x02{}\0\0\0\0");
        assert_eq!(stamped(), expected);
        let (header, entries) = read(&expected).unwrap();
        assert_eq!((header.timestamps.len(), entries.len()), (1, 1));
        assert_eq!(header.timestamps[0].proof, vec![[9; 32]]);
        // v2 is for bundles with timestamps: there are not two spellings of one bundle.
        let mut none = small();
        none[19] = b'2';
        none.splice(57..57, [0, 0]);
        assert!(read(&none).is_err());
    }

    #[test]
    fn every_truncation_and_every_byte_more_is_refused() {
        let whole = stamped();
        for length in 0..whole.len() {
            assert!(
                read(&whole[..length]).is_err(),
                "{length} of {}",
                whole.len()
            );
        }
        let whole = small();
        assert!(read(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(
                read(&whole[..length]).is_err(),
                "{length} of {} bytes",
                whole.len()
            );
        }
        let mut longer = whole;
        longer.push(0);
        assert!(read(&longer).is_err());
    }

    #[test]
    fn the_writer_keeps_the_format() {
        assert!(Writer::new(Vec::new(), "short", b"", &[], 0).is_err());
        let mut writer = Writer::new(Vec::new(), RUN, b"", &[], 2).unwrap();
        writer.entry(5, b"{}", b"").unwrap();
        assert!(writer.entry(5, b"{}", b"").is_err(), "the same index again");
        assert!(
            writer.entry(6, &vec![b' '; 65_536], b"").is_err(),
            "too long a record"
        );
        writer.entry(6, b"{}", b"").unwrap();
        assert!(
            writer.entry(7, b"{}", b"").is_err(),
            "one more than announced"
        );
        let writer = Writer::new(Vec::new(), RUN, b"", &[], 1).unwrap();
        assert!(writer.finish().is_err(), "one fewer than announced");
    }
}
