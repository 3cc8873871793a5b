//! How far one stream has come: what is written, what the server has acknowledged, what is deleted.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

use record::RecordHash;
use serde::{Deserialize, Serialize};

use super::dir::{Layout, read_json};
use super::error::SpoolError;
use super::segments::Segment;

const FILE: &str = "progress.json";

/// How far the server has acknowledged a stream, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    /// The seq after the last record acknowledged.
    pub(super) next_seq: u64,
    /// The leaf hash of that record.
    pub(super) head: RecordHash,
    /// Its index in the log.
    pub(super) index: u64,
    /// How many records up to there no signature covers.
    pub(super) unsigned: u64,
}

impl Progress {
    /// What is kept in a stream's directory. What cannot be read is as good as nothing: then more is sent again.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, SpoolError> {
        match read_json(&dir.join(FILE)) {
            Err(SpoolError::Damaged { .. }) => Ok(None),
            read => read,
        }
    }

    pub(super) fn keep(
        &self,
        layout: &Layout,
        dir: &Path,
        durable: bool,
    ) -> Result<(), SpoolError> {
        layout.write_json(&dir.join(FILE), self, durable)
    }
}

/// Held for moments only, never while something is read or sent.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) segments: VecDeque<Segment>,
    /// The seq after the last record accepted.
    pub(super) next_seq: u64,
    /// The seq after the last record acknowledged.
    pub(super) acked: u64,
    /// What was acknowledged last, where that was in this process or is kept.
    pub(super) last: Option<Progress>,
    /// Bytes of lines that are not acknowledged; where the stream was taken over, a little more.
    pub(super) waiting_bytes: u64,
    /// Since when something waits.
    pub(super) since: Option<Instant>,
    /// When the last record came.
    pub(super) written: Instant,
}

impl Queue {
    /// A stream that stands at `next_seq`, of which everything before `acked` is acknowledged.
    pub(super) fn new(
        segments: VecDeque<Segment>,
        next_seq: u64,
        acked: u64,
        last: Option<Progress>,
    ) -> Self {
        let now = Instant::now();
        let waiting_bytes = if acked < next_seq {
            segments.iter().map(|segment| segment.bytes).sum()
        } else {
            0
        };
        Self {
            segments,
            next_seq,
            acked,
            last,
            waiting_bytes,
            since: (acked < next_seq).then_some(now),
            written: now,
        }
    }

    pub(super) fn waiting(&self) -> u64 {
        self.next_seq.saturating_sub(self.acked)
    }

    /// Takes note of records that were appended.
    pub(super) fn push(&mut self, segment: Segment, records: u64, bytes: u64) {
        match self.segments.back_mut() {
            Some(last) if last.first_seq == segment.first_seq => *last = segment,
            _ => self.segments.push_back(segment),
        }
        self.written = Instant::now();
        self.since.get_or_insert(self.written);
        self.next_seq += records;
        self.waiting_bytes += bytes;
    }

    /// Takes note that everything before `progress` is acknowledged, and says how many records and bytes are no longer
    /// waited for.
    pub(super) fn acknowledge(&mut self, progress: Progress, bytes: u64) -> (u64, u64) {
        let records = progress.next_seq.saturating_sub(self.acked);
        self.acked = self.acked.max(progress.next_seq);
        self.last = Some(progress);
        let freed = if self.waiting() == 0 {
            self.since = None;
            self.waiting_bytes
        } else {
            self.since = Some(Instant::now());
            bytes.min(self.waiting_bytes)
        };
        self.waiting_bytes -= freed;
        (records, freed)
    }

    /// Forgets the segments all of whose records are before `seq`, but the last, and gives them.
    pub(super) fn forget_before(&mut self, seq: u64) -> Vec<Segment> {
        let mut gone = Vec::new();
        while self
            .segments
            .get(1)
            .is_some_and(|next| next.first_seq <= seq)
        {
            gone.extend(self.segments.pop_front());
        }
        gone
    }
}
