//! A producer's end of a stream: drafts in, signed and batched records out.
//!
//! Not durable by itself: what [`Recorder::record`] took is on the ledger's disk once
//! [`Recorder::flush`] returned. After a crash, resume from the stream's head.

use std::time::{Duration, Instant};

use record::kinds::{RunStatus, StreamEnd};
use record::{Draft, RecordHash, StreamWriter, Submission, leaf_hash};

use crate::error::ClientError;
use crate::types::{Receipt, Sink};

/// A batch is sent once it holds this many records.
pub const MAX_BATCH_RECORDS: usize = 1_000;
/// A batch is sent once it holds this many bytes of records and sealed values: 4 MiB.
pub const MAX_BATCH_BYTES: usize = 4 << 20;
/// A batch that is older than this is sent when a record is added to it.
const MAX_BATCH_AGE: Duration = Duration::from_secs(1);

/// Builds a stream's records and sends them in batches to a [`Sink`].
///
/// After [`ClientError::Unavailable`] the batch is kept, and the next call sends it again; after
/// [`ClientError::Refused`] it is kept too, and the stream is at its end.
#[derive(Debug)]
pub struct Recorder<S> {
    sink: S,
    writer: StreamWriter,
    batch: Vec<Submission>,
    bytes: usize,
    began: Option<Instant>,
    acknowledged: u64,
    last: Option<Receipt>,
}

impl<S: Sink> Recorder<S> {
    /// A recorder that writes with `writer` and sends to `sink`. Nothing is sent yet.
    pub fn new(sink: S, writer: StreamWriter) -> Self {
        Self {
            sink,
            writer,
            batch: Vec::new(),
            bytes: 0,
            began: None,
            acknowledged: 0,
            last: None,
        }
    }

    /// Takes a draft, and returns the leaf hash that names its record from now on. Sends the
    /// batch where that is full or old; the draft itself is taken in either case.
    ///
    /// # Errors
    /// [`ClientError::Record`], and then nothing was taken; else what sending ended in.
    pub fn record(&mut self, draft: Draft) -> Result<RecordHash, ClientError> {
        // `stream.opened` comes before the first record, `stream.signed` after one.
        let at = usize::from(self.writer.head().is_none());
        let written = self.writer.write(draft)?;
        let name = written
            .get(at)
            .map(|submission| leaf_hash(&submission.record));
        for submission in written {
            self.push(submission);
        }
        let old = self
            .began
            .is_some_and(|began| began.elapsed() >= MAX_BATCH_AGE);
        if old || self.batch.len() >= MAX_BATCH_RECORDS || self.bytes >= MAX_BATCH_BYTES {
            self.send()?;
        }
        Ok(name.unwrap_or(record::Hash::from([0; 32])).into())
    }

    /// Signs the stream up to here, sends what waits, and returns once all of it is durable.
    ///
    /// # Errors
    /// What sending ended in.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        if let Some(signed) = self.writer.sign() {
            self.push(signed);
        }
        self.send()
    }

    /// Flushes, and gives back the last record's receipt, where anything was ever sent.
    ///
    /// # Errors
    /// What sending ended in.
    pub fn close(mut self) -> Result<Option<Receipt>, ClientError> {
        self.flush()?;
        Ok(self.last)
    }

    /// Flushes, then seals the run: `others` are the ends of its other streams. Only with the key
    /// of the run's owner.
    ///
    /// # Errors
    /// [`ClientError::Record`] where there is nothing to seal, else what sending ended in.
    pub fn seal(
        mut self,
        status: RunStatus,
        others: Vec<StreamEnd>,
    ) -> Result<Option<Receipt>, ClientError> {
        self.flush()?;
        let sealed = self.writer.seal(status, others)?;
        self.push(sealed);
        self.send()?;
        Ok(self.last)
    }

    /// The stream as it is written so far, sent or not.
    pub fn writer(&self) -> &StreamWriter {
        &self.writer
    }

    /// Where records go.
    pub fn sink(&mut self) -> &mut S {
        &mut self.sink
    }

    /// How many records were acknowledged, the stream's own among them.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The receipt of the last record acknowledged.
    pub fn last(&self) -> Option<&Receipt> {
        self.last.as_ref()
    }

    fn push(&mut self, submission: Submission) {
        self.bytes += weight(&submission);
        self.began.get_or_insert_with(Instant::now);
        self.batch.push(submission);
    }

    /// Sends what waits in requests within the limits: after a failure more may wait than one
    /// request holds.
    fn send(&mut self) -> Result<(), ClientError> {
        while !self.batch.is_empty() {
            let mut bytes = 0;
            let fits = |submission: &&Submission| {
                let first = bytes == 0;
                bytes += weight(submission);
                // A server takes 12 MiB, counted a little differently.
                first || bytes <= MAX_BATCH_BYTES / 2 * 3
            };
            let batch = self.batch.iter().take(MAX_BATCH_RECORDS + 2);
            let count = batch.take_while(fits).count();
            let receipts = self.sink.append(self.batch[..count].to_vec())?;
            self.batch.drain(..count);
            self.acknowledged += count as u64;
            self.last = receipts.into_iter().next_back().or(self.last.take());
        }
        self.bytes = 0;
        self.began = None;
        Ok(())
    }
}

/// About how many bytes a submission takes in a request.
fn weight(submission: &Submission) -> usize {
    // Key, subject and names around a value take less than this in a line.
    let openings = submission
        .openings
        .iter()
        .map(|(_, o)| o.value.as_bytes().len() + 256);
    submission.record.len() + openings.sum::<usize>()
}
