//! Writing a bundle: everything in its place, and nothing that a reader would refuse.

use std::io::{self, Read, Write};

use record::MAX_ATTACHMENT_BYTES;

use super::format::{
    Header, MAGIC, MAGIC_V2, MAGIC_V3, MAX_OPENINGS_BYTES, MAX_PROOF_HASHES, MAX_STAMP_BYTES,
    MAX_TIMESTAMPS, RUN_BYTES, Stamp,
};

/// Writes a bundle to `W`, entry by entry. It keeps nothing but its place.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    left: u64,
    last: Option<u64>,
    attachments_left: u32,
    last_attachment: Option<[u8; 32]>,
}

impl<W: Write> Writer<W> {
    /// Writes what stands before the entries of a bundle without timestamps and attachments: the run's ULID, the signed
    /// checkpoint note, the multi-proof of all the entries' indices (tlog's order, left to right) and how many follow.
    ///
    /// # Errors
    ///
    /// As [`Writer::begin`].
    pub fn new(
        out: W,
        run: &str,
        checkpoint: &[u8],
        proof: &[[u8; 32]],
        entries: u64,
    ) -> io::Result<Self> {
        let header = Header {
            run: run.to_owned(),
            checkpoint: checkpoint.to_vec(),
            timestamps: Vec::new(),
            attachments: 0,
            proof: proof.to_vec(),
            entries,
        };
        Self::begin(out, &header)
    }

    /// Writes what stands before the entries, in the oldest version of the format that can say it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the run is not 26 bytes, the note over 1 MiB, a timestamp's parts too long or too many, else
    /// those of `out`.
    pub fn begin(mut out: W, header: &Header) -> io::Result<Self> {
        let Header {
            run,
            checkpoint,
            timestamps,
            attachments,
            proof,
            entries,
        } = header;
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
        out.write_all(match (attachments, timestamps.as_slice()) {
            (1.., _) => MAGIC_V3,
            (0, [_, ..]) => MAGIC_V2,
            (0, []) => MAGIC,
        })?;
        out.write_all(run.as_bytes())?;
        out.write_all(b"\n")?;
        out.write_all(&(checkpoint.len() as u32).to_be_bytes())?;
        out.write_all(checkpoint)?;
        if *attachments > 0 || !timestamps.is_empty() {
            write_timestamps(&mut out, timestamps)?;
        }
        if *attachments > 0 {
            out.write_all(&attachments.to_be_bytes())?;
        }
        out.write_all(&(proof.len() as u64).to_be_bytes())?;
        for hash in proof {
            out.write_all(hash)?;
        }
        out.write_all(&entries.to_be_bytes())?;
        Ok(Self {
            out,
            left: *entries,
            last: None,
            attachments_left: *attachments,
            last_attachment: None,
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

    /// Writes an attachment, after all entries: its name, and its `bytes` bytes from `source`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if entries are missing, names do not ascend, it is too long or one more than was announced;
    /// `UnexpectedEof` if `source` ends early; else those of `source` and of the writer beneath.
    pub fn attachment(
        &mut self,
        sha256: [u8; 32],
        bytes: u64,
        source: &mut dyn Read,
    ) -> io::Result<()> {
        self.all_entries()?;
        if self.last_attachment.is_some_and(|last| last >= sha256) {
            return Err(invalid("attachments out of order".to_owned()));
        }
        if bytes > MAX_ATTACHMENT_BYTES {
            return Err(invalid(format!("an attachment of {bytes} bytes")));
        }
        let Some(left) = self.attachments_left.checked_sub(1) else {
            return Err(invalid("one attachment more than was announced".to_owned()));
        };
        self.out.write_all(&sha256)?;
        self.out.write_all(&bytes.to_be_bytes())?;
        let written = io::copy(&mut source.take(bytes), &mut self.out)?;
        if written < bytes {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("an attachment of {bytes} bytes ended after {written}"),
            ));
        }
        self.last_attachment = Some(sha256);
        self.attachments_left = left;
        Ok(())
    }

    fn all_entries(&self) -> io::Result<()> {
        match self.left {
            0 => Ok(()),
            left => Err(invalid(format!("{left} entries fewer than were announced"))),
        }
    }

    /// Flushes, and hands back what was written to.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if fewer entries or attachments were written than announced, else those of the writer.
    pub fn finish(mut self) -> io::Result<W> {
        self.all_entries()?;
        if self.attachments_left != 0 {
            return Err(invalid(format!(
                "{} attachments fewer than were announced",
                self.attachments_left
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

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
