//! One stream's way to the server: what is sent next, when, and what an answer means.

use std::sync::Arc;
use std::time::{Duration, Instant};

use record::{Hash, RecordHash};

use super::super::batch::{Batch, Cursor, Limits};
use super::super::core::Core;
use super::super::error::SpoolError;
use super::super::outgoing::{Outgoing, State};
use super::super::queue::Progress;
use super::super::receipts::{Promise, Receipts};
use super::Sender;
use super::connection::Backoff;
use crate::error::{ClientError, Problem};
use crate::recorder::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS};
use crate::types::{Receipt, Wait};

/// What comes so soon after the first is sent with it.
const GATHER: Duration = Duration::from_millis(5);
/// A stream that is written to all the time is sent so often, unless full batches wait.
const SEND_EVERY: Duration = Duration::from_millis(50);
/// So many bytes are worth a request.
const WORTH_SENDING_BYTES: u64 = 1 << 20;

pub(super) struct Lane {
    pub(super) stream: Arc<Outgoing>,
    cursor: Cursor,
    /// The next batch has at most so many records: a longer one was refused.
    limit: Option<u64>,
    backoff: Backoff,
    sent: Option<Instant>,
    /// Why this stream does not move, where that is its own affair.
    error: Option<String>,
    /// Nothing more of it can be read.
    pub(super) stuck: bool,
    /// What was acknowledged last, and when.
    pub(super) latest: Option<(Instant, Progress)>,
    /// As much was acknowledged when the next look at the log will have begun.
    pub(super) marked: Option<(Instant, Progress)>,
    pub(super) receipts: Receipts,
    /// How often in a row its streams were refused from the start.
    pub(super) refusals: u32,
}

impl Lane {
    pub(super) fn new(core: &Core, stream: Arc<Outgoing>) -> Self {
        let acked = stream.queue().acked;
        let receipts = Receipts::open(core, stream.scope, stream.name);
        Self {
            stream,
            cursor: Cursor::new(acked),
            limit: None,
            backoff: Backoff::default(),
            sent: None,
            error: None,
            stuck: false,
            latest: None,
            marked: None,
            receipts,
            refusals: 0,
        }
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub(super) fn hurry(&mut self) {
        self.backoff.hurry();
    }

    pub(super) fn is_resting(&self) -> bool {
        self.backoff.until().is_some()
    }

    /// Somebody else may have more luck with what a dead process left: this one's token is not let in, or the run is
    /// not there.
    pub(super) fn gives_up(&self) -> bool {
        self.stream.is_adopted() && self.stream.is_stuck() && !self.stuck && self.error.is_some()
    }

    /// Whether there is anything to ask the server for.
    pub(super) fn wants_server(&self) -> bool {
        // The one lock is let go before the other is taken.
        let waits = self.stream.queue().waiting() > 0;
        !self.stuck && (waits || self.stream.wants_seal())
    }

    /// When it is to be sent; `None` where nothing waits.
    pub(super) fn due(&self, urgent: bool) -> Option<Instant> {
        if self.stuck {
            return None;
        }
        let queue = self.stream.queue();
        if queue.waiting() == 0 {
            drop(queue);
            let until = self.backoff.until();
            return until.filter(|_| self.stream.wants_seal());
        }
        if let Some(until) = self.backoff.until() {
            return Some(until);
        }
        let since = queue.since.unwrap_or_else(Instant::now);
        let full = queue.waiting() >= MAX_BATCH_RECORDS as u64
            || queue.waiting_bytes >= WORTH_SENDING_BYTES;
        if urgent || full || self.limit.is_some() {
            return Some(since);
        }
        let next = self.sent.map_or(since, |sent| sent + SEND_EVERY);
        Some(next.max(since + GATHER))
    }

    fn limits(&self) -> Limits {
        let most = MAX_BATCH_RECORDS as u64;
        Limits {
            records: self.limit.unwrap_or(most).clamp(1, most),
            bytes: MAX_BATCH_BYTES,
        }
    }

    /// It is this stream's own affair that it does not move.
    pub(super) fn rest(&mut self, why: String, asked: Option<Duration>) {
        self.backoff.fail(asked);
        self.error = Some(why);
        self.stream.set_stuck(true);
        self.back();
    }

    /// It waits for something, and looks again so soon.
    pub(super) fn pause(&mut self, why: String, rest: Duration) {
        self.backoff.pause(rest);
        self.error = Some(why);
    }

    /// The next batch begins where the last acknowledged one ended.
    pub(super) fn back(&mut self) {
        self.cursor = Cursor::new(self.stream.queue().acked);
    }

    pub(super) fn halve(&mut self, records: u64) {
        self.limit = Some((records / 2).max(2));
        self.back();
    }

    pub(super) fn limit_to(&mut self, records: u64) {
        self.limit = Some(records);
        self.back();
    }

    fn succeed(&mut self) {
        self.backoff.succeed();
        self.error = None;
        self.limit = None;
        self.stream.set_stuck(false);
    }
}

impl Sender {
    /// Sends the next batch of a lane.
    pub(super) fn send_batch(&mut self, at: usize) {
        let lane = &mut self.lanes[at];
        let segments = lane.stream.queue().segments.clone();
        let limits = lane.limits();
        let title = lane.stream.title();
        let batch = match lane.cursor.batch(&lane.stream.dir, &segments, limits) {
            Ok(Some(batch)) => batch,
            Ok(None) => return lane.rest(format!("stream {title}: its segments are gone"), None),
            Err(error @ SpoolError::Damaged { .. }) => return self.damaged(at, &error),
            Err(error) => return lane.rest(format!("stream {title}: {error}"), None),
        };
        lane.sent = Some(Instant::now());
        if !self.run_is_there(at, &batch) || !self.send_attached(at, &batch) {
            return;
        }
        let Some(client) = self.connection.client() else {
            return;
        };
        match client.append_lines(&batch.lines, Wait::Durable) {
            Ok(appended) => self.acknowledged(at, &batch, &appended.records),
            Err(error) => self.failed(at, &batch, error),
        }
    }

    fn acknowledged(&mut self, at: usize, batch: &Batch, receipts: &[Receipt]) {
        let lane = &mut self.lanes[at];
        let record = batch.last_record().unwrap_or_default();
        let leaf: Hash = record::leaf_hash(&record);
        let last = receipts
            .last()
            .filter(|last| {
                receipts.len() as u64 == batch.records && last.leaf_hash == RecordHash::from(leaf)
            })
            .cloned();
        let Some(last) = last else {
            let why = "the server acknowledged other records than it was sent; is it a ledger of this version?";
            self.connection.fail(why.to_owned(), None);
            lane.back();
            return;
        };
        let mut queue = lane.stream.queue();
        let before = queue.last.filter(|last| last.next_seq == batch.first_seq);
        let before = before.map_or(0, |last| last.unsigned);
        let progress = Progress {
            next_seq: batch.end(),
            head: last.leaf_hash,
            index: last.index,
            unsigned: batch.unsigned + if batch.signed { 0 } else { before },
        };
        let (records, freed) = queue.acknowledge(progress, batch.lines.len() as u64);
        drop(queue);
        self.core.room.give_back(freed);
        let now = Instant::now();
        lane.latest = Some((now, progress));
        lane.marked.get_or_insert((now, progress));
        lane.refusals = 0;
        lane.succeed();
        self.connection.succeed();
        lane.receipts.acknowledged(Promise {
            seq: batch.end() - 1,
            index: last.index,
            leaf,
            record,
            acknowledged: now,
        });
        lane.stream.sealed_if(&last, batch.end());
        self.core.report().acknowledged += records;
        self.core.moved.tell();
    }

    fn failed(&mut self, at: usize, batch: &Batch, error: ClientError) {
        match error {
            ClientError::Contradiction { what, evidence } => {
                self.core.halt(super::contradiction(what, evidence));
            }
            ClientError::Refused(problem) => self.refused(at, batch, problem),
            ClientError::Unavailable { asked, .. } => {
                self.connection.fail(error.to_string(), asked);
                self.lanes[at].back();
            }
            error => {
                self.connection.fail(error.to_string(), None);
                self.lanes[at].back();
            }
        }
    }

    fn refused(&mut self, at: usize, batch: &Batch, problem: Problem) {
        let at_fault = problem.line.filter(|at| *at as u64 <= batch.records);
        let lane = &mut self.lanes[at];
        match (problem.status, problem.code.as_str()) {
            (403, _) => {
                let why = format!("stream {}: {problem}", lane.stream.title());
                lane.rest(why, None);
            }
            (413, _) if batch.records > 2 => lane.halve(batch.records),
            (413, "body-too-large") => {
                lane.rest(format!("stream {}: {problem}", lane.stream.title()), None);
            }
            (400 | 409 | 410 | 413 | 422, _) => match at_fault {
                // What stands before it is good; a run is opened and started at once or not at all.
                Some(number) if number > 2 || (number == 2 && batch.first_seq > 0) => {
                    lane.limit_to(number as u64 - 1);
                }
                None if batch.records > 2 => lane.halve(batch.records),
                _ => self.refused_first(at, batch, problem),
            },
            // Another token may do (401), or another moment; and no ledger says anything else to records.
            _ => {
                lane.back();
                self.connection.fail(problem.to_string(), None);
            }
        }
    }

    /// A stream cannot be read from here on.
    pub(super) fn damaged(&mut self, at: usize, error: &SpoolError) {
        let lane = &mut self.lanes[at];
        lane.stuck = true;
        lane.stream.set_stuck(true);
        lane.error = Some(format!("stream {}: {error}", lane.stream.title()));
        lane.back();
        self.core
            .incident(super::super::load::damaged(&lane.stream, error));
        self.core.moved.tell();
    }
}

impl Outgoing {
    /// Whether the server is to be asked for a seal.
    pub(super) fn wants_seal(&self) -> bool {
        matches!(self.writer().state, State::Sealing { written: None, .. })
    }

    /// Takes note that the seal is acknowledged, if what was acknowledged goes that far.
    fn sealed_if(&self, last: &Receipt, end: u64) {
        let sealed = match &self.writer().state {
            State::Sealing {
                written: Some(seal),
                ..
            } => end > seal.seq,
            _ => false,
        };
        if sealed {
            self.sealed(last.clone());
        }
    }

    /// When its end is to be signed.
    pub(super) fn sign_at(&self, after: Duration) -> Option<Instant> {
        let writer = self.writer();
        let open = matches!(writer.state, State::Open);
        writer
            .unsigned_since()
            .filter(|_| open)
            .map(|at| at + after)
    }
}
