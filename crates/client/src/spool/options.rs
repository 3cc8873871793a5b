//! What a spool is told when it is opened, and what a run is told when it is started.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use record::{Clock, Entropy, ProducerName, SigningKey, StreamName};
use serde_json::Value;
use tlog::Policy;

use crate::memory::Memory;

/// The most bytes that wait in a spool unless another limit is given: 4 GiB.
pub const DEFAULT_LIMIT_BYTES: u64 = 4 << 30;

/// How a [`Spool`](super::Spool) is opened.
#[derive(Clone)]
pub struct SpoolOptions {
    /// Where everything is kept. One directory serves many processes, runs and streams at a time; it is made, mode
    /// 0700, where there is none.
    pub dir: PathBuf,
    /// Where records go.
    pub server: Target,
    /// The most bytes of records, sealed values and attachments that may wait for the server, of all processes with
    /// this directory together.
    pub limit_bytes: u64,
    /// What a call does that would go beyond that.
    pub when_full: WhenFull,
    /// What records survive once a call returned.
    pub durability: Durability,
    /// How long after a record was acknowledged the log has to have published it; after that the promise counts as
    /// broken, and is written down as evidence.
    pub publish_within: Duration,
    /// The key that signs streams and owns runs; without one it is `producer.ed25519` in the directory, made at its
    /// first use.
    pub key: Option<SigningKey>,
    /// Under which name streams are opened.
    pub producer: ProducerName,
    /// The software and its version, for `stream.opened`.
    pub software: Option<String>,
    /// Tells the time of records.
    pub clock: Arc<dyn Clock>,
    /// Draws the keys of commitments, and names. Must not repeat itself in a process that was forked.
    pub entropy: Arc<dyn Entropy>,
}

/// The server behind a spool.
#[derive(Clone)]
pub struct Target {
    /// `http://host:port`, perhaps with a path.
    pub url: String,
    /// A producer's or an admin's token.
    pub token: Option<String>,
    /// The log's keys, if they are known; without them those that the server gives are trusted on first use.
    pub policy: Option<Policy>,
    /// Where the log's checkpoints are remembered, with a policy of its own; without it they are remembered in the
    /// spool's directory.
    pub memory: Option<Memory>,
}

/// What a call does that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Waits until there is some, so long at most; then it fails.
    Block {
        /// The longest wait.
        timeout: Duration,
    },
    /// Fails at once.
    Fail,
}

/// What an accepted record survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, `kill -9` included: the system has the bytes.
    #[default]
    Process,
    /// A loss of power too: the bytes are on the disk (fdatasync) before a call returns. Costs what the disk takes for
    /// that, a call.
    Machine,
}

/// A run to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSpec {
    /// What people call it.
    pub name: String,
    /// The experiment it belongs to.
    pub experiment: Option<String>,
    /// The model that is trained.
    pub model: Option<String>,
    /// Settings: name to text, number or boolean. Nothing personal: it stands in the log in the clear.
    pub config: BTreeMap<String, Value>,
    /// Free text, sealed.
    pub description: Option<String>,
    /// The run's first stream, in which it is sealed too.
    pub stream: StreamName,
}

impl SpoolOptions {
    /// The usual options: 4 GiB, a minute's wait when that is full, records that survive the process, a minute for the
    /// log to publish them.
    pub fn new(
        dir: impl Into<PathBuf>,
        server: Target,
        producer: ProducerName,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            dir: dir.into(),
            server,
            limit_bytes: DEFAULT_LIMIT_BYTES,
            when_full: WhenFull::Block {
                timeout: Duration::from_mins(1),
            },
            durability: Durability::Process,
            publish_within: Duration::from_mins(1),
            key: None,
            producer,
            software: None,
            clock,
            entropy,
        }
    }
}

impl Target {
    /// The server at `url`, with a token.
    pub fn new(url: impl Into<String>, token: Option<String>) -> Self {
        Self {
            url: url.into(),
            token,
            policy: None,
            memory: None,
        }
    }
}

impl RunSpec {
    /// A run of that name, whose first stream is `stream`.
    pub fn new(name: impl Into<String>, stream: StreamName) -> Self {
        Self {
            name: name.into(),
            experiment: None,
            model: None,
            config: BTreeMap::new(),
            description: None,
            stream,
        }
    }
}

impl fmt::Debug for SpoolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpoolOptions")
            .field("dir", &self.dir)
            .field("server", &self.server)
            .field("limit_bytes", &self.limit_bytes)
            .field("when_full", &self.when_full)
            .field("durability", &self.durability)
            .field("producer", &self.producer)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Target {
    /// Without the token: what is printed ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("url", &self.url)
            .field("policy", &self.policy.is_some())
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}
