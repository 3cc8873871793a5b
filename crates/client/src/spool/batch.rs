//! What is sent in one request: lines as they are on disk, in order.

use std::collections::VecDeque;
use std::path::Path;

use record::{Record, Sha256, Submission, SubmissionError};

use super::error::SpoolError;
use super::segments::{self, Frames, Segment};

/// What a request is kept below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) records: u64,
    pub(super) bytes: usize,
}

/// Lines of one stream that follow each other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// With their newlines.
    pub(super) lines: Vec<u8>,
    /// The first line's.
    pub(super) first_seq: u64,
    pub(super) records: u64,
    /// Where the last line begins.
    last: usize,
    /// Records after the last signature in it, and whether there is one.
    pub(super) unsigned: u64,
    pub(super) signed: bool,
    /// What the records attach.
    pub(super) attachments: Vec<Sha256>,
}

impl Batch {
    /// The seq after the last line's.
    pub(super) fn end(&self) -> u64 {
        self.first_seq + self.records
    }

    /// The last line, without its newline.
    pub(super) fn last_line(&self) -> &[u8] {
        let line = &self.lines[self.last..];
        line.strip_suffix(b"\n").unwrap_or(line)
    }

    /// The record in the last line.
    pub(super) fn last_record(&self) -> Result<Vec<u8>, SubmissionError> {
        Submission::parse_line(self.last_line()).map(|submission| submission.record.to_vec())
    }

    /// A line by its number from 1, without its newline; empty where there is none.
    pub(super) fn line(&self, number: usize) -> &[u8] {
        let mut lines = self.lines.split(|byte| *byte == b'\n');
        lines.nth(number.saturating_sub(1)).unwrap_or_default()
    }

    /// The record in a line by its number from 1.
    pub(super) fn record(&self, number: usize) -> Option<Vec<u8>> {
        let submission = Submission::parse_line(self.line(number)).ok()?;
        Some(submission.record.to_vec())
    }

    fn push(&mut self, line: &[u8]) {
        self.last = self.lines.len();
        self.lines.extend_from_slice(line);
        self.records += 1;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        match Sort::of(line) {
            Sort::Signs => (self.unsigned, self.signed) = (0, true),
            Sort::Other => self.unsigned += 1,
        }
        for sha256 in attached(line) {
            if !self.attachments.contains(&sha256) {
                self.attachments.push(sha256);
            }
        }
    }
}

/// What a line is to its stream's signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// It covers what was before it, and itself counts as covered.
    Signs,
    Other,
}

impl Sort {
    pub(super) fn of(line: &[u8]) -> Self {
        // Quotes inside of a text are escaped, so only a member can look like this.
        let kinds = [
            &b",\"kind\":\"stream.signed\","[..],
            b",\"kind\":\"run.sealed\",",
        ];
        let signs = kinds
            .iter()
            .any(|kind| memchr::memmem::find(line, kind).is_some());
        if signs { Self::Signs } else { Self::Other }
    }
}

/// Whether a line is the seal of a run.
pub(super) fn is_seal(line: &[u8]) -> bool {
    memchr::memmem::find(line, b",\"kind\":\"run.sealed\",").is_some()
}

fn attached(line: &[u8]) -> Vec<Sha256> {
    // The first member of a record that has it.
    const MEMBER: &[u8] = b"{\"attachments\":";
    let bare = line.starts_with(MEMBER);
    if !bare && memchr::memmem::find(line, b",\"record\":{\"attachments\":").is_none() {
        return Vec::new();
    }
    let Ok(submission) = Submission::parse_line(line) else {
        return Vec::new();
    };
    let record = Record::parse(submission.record);
    record.map_or_else(
        |_| Vec::new(),
        |record| record.attachments().map(|(_, _, sha)| sha).collect(),
    )
}

/// Where the next batch begins.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The next line's.
    next_seq: u64,
    /// That of the next frame to be read, or of a line in it.
    read_seq: u64,
    open: Option<(u64, Frames)>,
    /// What is left of a frame that did not fit into one request.
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    payload: Vec<u8>,
    at: usize,
}

impl Cursor {
    pub(super) fn new(next_seq: u64) -> Self {
        Self {
            next_seq,
            read_seq: next_seq,
            open: None,
            rest: None,
        }
    }

    /// The next lines of a stream's segments, as many as the limits allow; `None` where there are none.
    ///
    /// # Errors
    /// [`SpoolError::Damaged`] where the very next line cannot be read, [`SpoolError::Disk`].
    pub(super) fn batch(
        &mut self,
        dir: &Path,
        segments: &VecDeque<Segment>,
        limits: Limits,
    ) -> Result<Option<Batch>, SpoolError> {
        let mut batch = Batch {
            first_seq: self.next_seq,
            ..Batch::default()
        };
        loop {
            if let Some(rest) = &mut self.rest {
                if !rest.take(&mut batch, limits) {
                    break;
                }
                self.rest = None;
            }
            match self.frame(dir, segments) {
                Ok(Some(rest)) => self.rest = Some(rest),
                Ok(None) => break,
                // What was good before it is sent first.
                Err(_) if batch.records > 0 => break,
                Err(error) => return Err(error),
            }
        }
        self.next_seq = batch.end();
        Ok((batch.records > 0).then_some(batch))
    }

    /// The next frame; `None` where there is none yet.
    fn frame(
        &mut self,
        dir: &Path,
        segments: &VecDeque<Segment>,
    ) -> Result<Option<Rest>, SpoolError> {
        let after = segments.partition_point(|segment| segment.first_seq <= self.read_seq);
        let Some(segment) = after.checked_sub(1).and_then(|at| segments.get(at)) else {
            return Ok(None);
        };
        let open = match self.open.take() {
            Some((first_seq, frames)) if first_seq == segment.first_seq => frames,
            _ => {
                let path = segments::path(dir, segment.first_seq);
                let mut frames = Frames::open(&path, segment.first_seq, segment.bytes)?;
                frames.skip_to(self.read_seq)?;
                frames
            }
        };
        let (_, frames) = self.open.insert((segment.first_seq, open));
        frames.extend(segment.bytes)?;
        if let Some(frame) = frames.next()? {
            let mut at = 0;
            for _ in frame.first_seq..self.read_seq {
                at += line_len(&frame.payload[at..]);
            }
            self.read_seq = frame.first_seq + u64::from(frame.count);
            let payload = frame.payload.to_vec();
            return Ok(Some(Rest { payload, at }));
        }
        match (frames.damage(), segments.get(after)) {
            (Some(error), _) => {
                self.open = None;
                Err(error)
            }
            (None, Some(next)) => Err(frames.missing(next.first_seq)),
            (None, None) => Ok(None),
        }
    }
}

impl Rest {
    /// Moves lines into the batch; `false` where something is left that does not fit.
    fn take(&mut self, batch: &mut Batch, limits: Limits) -> bool {
        while self.at < self.payload.len() {
            let length = line_len(&self.payload[self.at..]);
            let full = batch.records >= limits.records || batch.lines.len() + length > limits.bytes;
            if full && batch.records > 0 {
                return false;
            }
            batch.push(&self.payload[self.at..self.at + length]);
            self.at += length;
        }
        true
    }
}

/// With its newline.
fn line_len(lines: &[u8]) -> usize {
    memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1)
}
