//! Reading a bundle: every byte has its place, and a file that ends early or goes on is refused.

use std::io::{self, Read};

use record::MAX_ATTACHMENT_BYTES;

use super::format::{
    Attached, Entry, FormatError, Header, MAGIC, MAGIC_V2, MAGIC_V3, MAX_OPENINGS_BYTES,
    MAX_PROOF_HASHES, MAX_STAMP_BYTES, MAX_TIMESTAMPS, RUN_BYTES, Stamp,
};

/// Reads a bundle from `R`, entry by entry.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    pub(super) header: Header,
    left: u64,
    last: Option<u64>,
    attachments_left: u32,
    last_attachment: Option<[u8; 32]>,
    /// Bytes of the attachment at hand that were not read yet.
    unread: u64,
}

impl<R: Read> Reader<R> {
    /// Reads what stands before the entries. `input` should be buffered.
    ///
    /// # Errors
    ///
    /// [`FormatError`].
    pub fn new(mut input: R) -> Result<Self, FormatError> {
        let magic: [u8; 21] = array(&mut input, "the first line `rlhf-audit-bundle/v1`")?;
        let attached = &magic == MAGIC_V3;
        let stamped = &magic == MAGIC_V2;
        if !attached && !stamped && &magic != MAGIC {
            return Err(FormatError::Broken {
                expected: "the first line `rlhf-audit-bundle/v1`, v2 or v3",
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
        let timestamps = match (stamped, attached) {
            (true, _) => read_timestamps(&mut input, 1)?,
            (_, true) => read_timestamps(&mut input, 0)?,
            _ => Vec::new(),
        };
        let attachments = if attached {
            u32::from_be_bytes(array(&mut input, "the count of attachments")?)
        } else {
            0
        };
        if attached && attachments == 0 {
            return Err(FormatError::Broken {
                expected: "at least one attachment",
                found: "a count of 0".into(),
            });
        }
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
            attachments,
            proof,
            entries,
        };
        Ok(Self {
            input,
            header,
            left: entries,
            last: None,
            attachments_left: attachments,
            last_attachment: None,
            unread: 0,
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

    /// The next entry, or `None` once all that were announced are read and the file ends there, or its attachments begin.
    ///
    /// # Errors
    ///
    /// [`FormatError`], also if indices do not ascend or bytes follow the last entry.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, FormatError> {
        if self.left == 0 {
            if self.header.attachments == 0 {
                self.end()?;
            }
            return Ok(None);
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

impl<R: Read> Reader<R> {
    /// The next attachment, to be asked for once all entries are read; `None` once all that were announced are read and
    /// the file ends there. Its bytes come by [`Reader::piece`]; those that were not asked for are passed over.
    ///
    /// # Errors
    ///
    /// [`FormatError`], also if names do not ascend or bytes follow the last.
    pub fn next_attachment(&mut self) -> Result<Option<Attached>, FormatError> {
        let mut passed = [0; 4096];
        while self.piece(&mut passed)? > 0 {}
        if self.attachments_left == 0 {
            self.end()?;
            return Ok(None);
        }
        let sha256: [u8; 32] = array(&mut self.input, "an attachment's SHA-256")?;
        if self.last_attachment.is_some_and(|last| last >= sha256) {
            return Err(FormatError::Broken {
                expected: "an attachment whose SHA-256 is above that of the one before",
                found: "one below, or the same".into(),
            });
        }
        let bytes = u64::from_be_bytes(array(&mut self.input, "an attachment's length")?);
        if bytes > MAX_ATTACHMENT_BYTES {
            return Err(FormatError::Broken {
                expected: "an attachment of at most 256 MiB",
                found: format!("a length of {bytes} bytes"),
            });
        }
        self.attachments_left -= 1;
        self.last_attachment = Some(sha256);
        self.unread = bytes;
        Ok(Some(Attached { sha256, bytes }))
    }

    /// Reads on in the attachment at hand; 0 at its end.
    ///
    /// # Errors
    ///
    /// [`FormatError`], also if the file ends before it.
    pub fn piece(&mut self, out: &mut [u8]) -> Result<usize, FormatError> {
        let room = usize::try_from(self.unread).map_or(out.len(), |unread| unread.min(out.len()));
        if room == 0 {
            return Ok(0);
        }
        let expected = "an attachment's bytes";
        loop {
            match self.input.read(&mut out[..room]) {
                Ok(0) => return Err(ended(io::ErrorKind::UnexpectedEof.into(), expected)),
                Ok(read) => {
                    self.unread -= read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ended(error, expected)),
            }
        }
    }

    fn end(&mut self) -> Result<(), FormatError> {
        let mut byte = [0];
        match self.input.read(&mut byte).map_err(FormatError::Io)? {
            0 => Ok(()),
            _ => Err(FormatError::Broken {
                expected: "the end of the file",
                found: "more bytes".into(),
            }),
        }
    }
}

fn read_timestamps(input: &mut impl Read, least: u16) -> Result<Vec<Stamp>, FormatError> {
    let count = u16::from_be_bytes(array(input, "the count of timestamps")?);
    if count < least || usize::from(count) > MAX_TIMESTAMPS {
        return Err(FormatError::Broken {
            expected: "1 to 16 timestamps, or none beside attachments",
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
