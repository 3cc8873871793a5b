//! The command line as a producer: drafts in, signed and batched records out.

use std::sync::Arc;
use std::time::Duration;

use client::{Client, ClientError, Receipt, Recorder, Sink, Wait};
use record::kinds::RunStatus;
use record::{
    Draft, ProducerName, PublicKey, RunId, Scope, SigningKey, StreamName, StreamWriter, Submission,
};

use crate::environment::{SystemClock, SystemEntropy};
use crate::outcome::Failure;
use crate::place::client_failure;

/// The stream in which the command line starts and seals a run.
pub(crate) const OWNER_STREAM: &str = "owner";
/// The name under which the command line writes streams.
pub(crate) const PRODUCER: &str = "rlhf-audit";
/// The software and its version, for `stream.opened`.
pub(crate) const SOFTWARE: &str = concat!("rlhf-audit ", env!("CARGO_PKG_VERSION"));
/// Publishing takes a quarter of a second; a server that needs longer than this is in trouble.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(30);

/// Appends through the client and keeps the first index.
struct HttpSink<'a> {
    client: &'a Client,
    first: Option<u64>,
}

impl Sink for HttpSink<'_> {
    fn append(&mut self, submissions: Vec<Submission>) -> Result<Vec<Receipt>, ClientError> {
        let records = self.client.append(&submissions, Wait::Durable)?.records;
        self.first = self
            .first
            .or_else(|| records.first().map(|receipt| receipt.index));
        Ok(records)
    }
}

/// One stream that this process writes.
pub(crate) struct Producer<'a> {
    recorder: Recorder<HttpSink<'a>>,
    client: &'a Client,
}

/// Which records a producer wrote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<u64>,
    pub(crate) records: u64,
}

impl<'a> Producer<'a> {
    /// A fresh run id.
    pub(crate) fn new_run_id() -> RunId {
        RunId::generate(&SystemClock, &SystemEntropy)
    }

    /// Opens a new stream.
    pub(crate) fn open(
        client: &'a Client,
        scope: Scope,
        stream: &str,
        key: SigningKey,
    ) -> Result<Self, Failure> {
        let producer = ProducerName::parse(PRODUCER)
            .ok_or_else(|| Failure::input(format!("`{PRODUCER}` is no producer's name")))?;
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let writer = StreamWriter::open(scope, stream_name(stream)?, producer, key, clock, entropy)
            .software(SOFTWARE);
        Ok(Self::over(client, writer))
    }

    /// Goes on with a stream of a run where the ledger says that it stands, or opens it. Also
    /// says how many drafts it holds.
    pub(crate) fn resume(
        client: &'a Client,
        run: RunId,
        stream: &str,
        key: SigningKey,
    ) -> Result<(Self, u64), Failure> {
        let (scope, name) = (Scope::Run(run), stream_name(stream)?);
        let Some(head) = client.stream_head(run, &name).map_err(client_failure)? else {
            return Ok((Self::open(client, scope, stream, key)?, 0));
        };
        if head.key != PublicKey::from(&key) {
            return Err(Failure::input(format!(
                "the stream `{stream}` of run {run} is signed with another key ({})",
                head.key
            ))
            .with_hint("give that key with --key, or write to another stream"));
        }
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let writer = StreamWriter::resume(
            scope,
            name,
            key,
            head.next_seq,
            head.head.into(),
            clock,
            entropy,
        )
        .with_unsigned(head.unsigned);
        Ok((Self::over(client, writer), head.drafts()))
    }

    fn over(client: &'a Client, writer: StreamWriter) -> Self {
        Self {
            recorder: Recorder::new(
                HttpSink {
                    client,
                    first: None,
                },
                writer,
            ),
            client,
        }
    }

    /// Takes a draft; it is on the ledger's disk after [`Producer::flush`] at the latest.
    pub(crate) fn record(&mut self, draft: Draft) -> Result<(), Failure> {
        self.recorder
            .record(draft)
            .map(drop)
            .map_err(client_failure)
    }

    /// Signs, and waits until everything taken is durable.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.recorder.flush().map_err(client_failure)
    }

    /// Flushes, and says what was written.
    pub(crate) fn close(mut self) -> Result<Written, Failure> {
        self.flush()?;
        let last = self.recorder.last().map(|receipt| receipt.index);
        let records = self.recorder.acknowledged();
        Ok(Written {
            first: self.recorder.sink().first,
            last,
            records,
        })
    }

    /// Seals the run, with every stream as the ledger says that it stands, and waits until that is published.
    pub(crate) fn seal(mut self, run: RunId, status: RunStatus) -> Result<u64, Failure> {
        self.flush()?;
        let own = self.recorder.writer().stream();
        let client = self.client;
        let others = client.other_ends(run, own).map_err(client_failure)?;
        let receipt = self.recorder.seal(status, others).map_err(client_failure)?;
        let index = receipt
            .map(|receipt| receipt.index)
            .ok_or_else(|| Failure::unavailable("the ledger acknowledged no seal"))?;
        wait_published(client, index)?;
        Ok(index)
    }
}

/// Waits until a published checkpoint covers the record at `index`.
fn wait_published(client: &Client, index: u64) -> Result<(), Failure> {
    match client.published(index, PUBLISH_DEADLINE) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Failure::unavailable(format!(
            "record #{index} is durable, but was not published within {} s",
            PUBLISH_DEADLINE.as_secs()
        ))
        .with_hint("see the server's log for why publishing is behind")),
        Err(error) => Err(client_failure(error)),
    }
}

/// A stream's name, from the command line.
pub(crate) fn stream_name(name: &str) -> Result<StreamName, Failure> {
    StreamName::parse(name).ok_or_else(|| {
        Failure::input(format!("`{name}` is no stream's name")).with_hint(
            "a name has 1 to 64 of a-z, 0-9, `.`, `_` and `-`, and begins with a letter or digit",
        )
    })
}
