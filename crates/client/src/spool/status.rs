//! How a spool is doing, for whoever asks.

use std::path::PathBuf;

use record::{RecordHash, RunId, Scope, StreamName};

/// How a spool is doing. Counts are of this process and of the streams it has taken over from dead ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Records that are accepted and not acknowledged, the stream's own (`stream.opened`, `stream.signed`) among them.
    pub waiting_records: u64,
    /// Their bytes, sealed values included, and those of attachments that are not sent; of other processes with this
    /// directory too.
    pub waiting_bytes: u64,
    /// Records acknowledged since the spool was opened.
    pub acknowledged: u64,
    /// Why the server does not take what waits; `None` while it does.
    pub last_error: Option<String>,
    /// What went wrong for good, the oldest first; at most 100.
    pub incidents: Vec<Incident>,
    /// Why nothing is sent any more.
    pub contradiction: Option<String>,
}

/// Something that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// What sort of thing.
    pub what: IncidentKind,
    /// In words, with what to do.
    pub detail: String,
    /// Where its bytes or its evidence lie.
    pub kept: PathBuf,
}

/// The sorts of incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IncidentKind {
    /// A record was refused for good, and its stream abandoned.
    Refused,
    /// A file of the spool is damaged.
    Damaged,
    /// The log did not do what it promised.
    PromiseBroken,
}

/// The proof that the log gave for one of the spool's own records, kept in its directory.
///
/// A stream's records are chained by their hashes, so the proof of one is evidence for all before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptReceipt {
    /// Where its stream belongs.
    pub scope: Scope,
    /// Its stream.
    pub stream: StreamName,
    /// Its place in the stream.
    pub seq: u64,
    /// Its index in the log.
    pub index: u64,
    /// Its name.
    pub leaf_hash: RecordHash,
    /// The record's bytes.
    pub record: PathBuf,
    /// The C2SP tlog-proof: `rlhf-audit verify` takes both files.
    pub proof: PathBuf,
}

impl KeptReceipt {
    /// The run it is about, where it is about one.
    pub fn run(&self) -> Option<RunId> {
        self.scope.run()
    }
}
