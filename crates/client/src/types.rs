//! What goes over the wire, as types. The names are those of the server's OpenAPI document.

use std::collections::BTreeMap;

use record::kinds::StreamEnd;
use record::{ProducerName, PublicKey, RecordHash, RunId, StreamName, Submission, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::ClientError;

/// Where records go. All of a request are recorded, or none; the same bytes again are no error
/// and get their first index.
pub trait Sink {
    /// Appends, in order, and returns once every record is durable.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the line at fault, [`ClientError::Unavailable`] where it
    /// could not be learned whether the records were recorded.
    fn append(&mut self, submissions: Vec<Submission>) -> Result<Vec<Receipt>, ClientError>;
}

/// What an append waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// The records are on the server's disk.
    #[default]
    Durable,
    /// And a published checkpoint covers them: the answer has their proofs.
    Published,
}

/// Where one record went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The record's index in the log, from 0.
    pub index: u64,
    /// The record's name.
    pub leaf_hash: RecordHash,
    /// The very same bytes were in the log before; `index` is where they first went.
    #[serde(default)]
    pub duplicate: bool,
    /// A C2SP tlog-proof, where it was waited for and came in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

/// The answer to an append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appended {
    /// One for each record, in the order sent.
    pub records: Vec<Receipt>,
    /// Whether a published checkpoint covers all of them; absent where nobody waited for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<bool>,
}

/// A run to be started by the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRun {
    /// What people call it.
    pub name: String,
    /// The experiment it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// The model that is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Settings: name to text, number or boolean.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, serde_json::Value>,
    /// The key that may seal the run; without it the server owns the run and seals it on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<PublicKey>,
}

/// A run in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Its id.
    pub run: RunId,
    /// What people call it.
    pub name: String,
    /// The experiment it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// The model that is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `open`, or how it was sealed: `completed`, `failed`, `aborted`.
    pub status: String,
    /// When it started, by its producer's clock.
    pub started: Timestamp,
    /// Its records so far.
    pub records: u64,
    /// The key that may seal it.
    pub owner: PublicKey,
}

/// One page of runs, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<RunSummary>,
    /// Ask for more with this as `after`; `None` at the end.
    pub next: Option<String>,
}

/// How far one stream of a run is: what its producer has to know to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSummary {
    /// Its name.
    pub stream: StreamName,
    /// The `seq` its next record has.
    pub next_seq: u64,
    /// The leaf hash of its last record: `prev` of the next.
    pub head: RecordHash,
    /// Who opened it.
    pub producer: ProducerName,
    /// The key that signs it.
    pub key: PublicKey,
    /// How many records at its end no signature covers.
    pub unsigned: u64,
    /// How many `stream.signed` it holds.
    pub signatures: u64,
}

impl StreamSummary {
    /// How many of its records a producer asked for: all but `stream.opened` and the signatures.
    pub fn drafts(&self) -> u64 {
        self.next_seq.saturating_sub(1 + self.signatures)
    }

    /// Where it ends, as a `run.sealed` lists it.
    pub fn end(&self) -> StreamEnd {
        StreamEnd::new(self.stream, self.next_seq.saturating_sub(1), self.head)
    }
}

/// One record of the log, with its place.
#[derive(Clone, Debug, Deserialize)]
pub struct LoggedRecord {
    /// Its index.
    pub index: u64,
    /// Its name.
    pub leaf_hash: RecordHash,
    /// Its canonical bytes, verbatim: the leaf hash is computed over exactly these.
    pub record: Box<RawValue>,
}

/// Which records to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordQuery {
    /// Only of this run (an id, or `ledger`).
    pub run: Option<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only with an index greater than this.
    pub after: Option<u64>,
    /// At most this many, up to 1,000.
    pub limit: Option<usize>,
}

/// One page of records, by index.
#[derive(Clone, Debug, Deserialize)]
pub struct RecordPage {
    /// The records.
    pub records: Vec<LoggedRecord>,
    /// Ask for more with this as `after`; `None` at the end.
    pub next: Option<u64>,
}

/// What a bundle is to hold besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleParts {
    /// The keys and values of what is sealed, in the clear; for admins.
    pub openings: bool,
    /// The attachments that its records name.
    pub attachments: bool,
}

impl Default for BundleParts {
    /// Everything but sealed values.
    fn default() -> Self {
        Self {
            openings: false,
            attachments: true,
        }
    }
}

/// How a model card is to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CardFormat {
    /// Markdown with Hugging Face metadata.
    #[default]
    Markdown,
    /// One self-contained page.
    Html,
    /// For programs.
    Json,
}

impl CardFormat {
    /// Its name in `?format=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Json => "json",
        }
    }
}

/// A token as it is listed: never its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSummary {
    /// Names the token; not secret.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// `admin`, `producer`, `reader`, `auditor` or `witness`.
    pub role: String,
    /// `valid`, `expired` or `revoked`; empty from a server of before there was this.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends by itself, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// When it last let somebody in, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Timestamp>,
    /// Which parts an auditor reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Which runs an auditor reads, by id; none named: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<String>,
    /// How many records a producer may append a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_per_day: Option<u64>,
    /// How many bytes of requests a producer may append a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<u64>,
    /// The token whose holder this one's is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeds: Option<String>,
}

/// A token to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WantedToken {
    /// What it is for.
    pub name: String,
    /// `admin`, `producer`, `reader`, `auditor` or `witness`.
    pub role: String,
    /// When it is to end by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// Which parts an auditor reads: `documents`, `aggregates`, `records`, `sealed`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Which runs an auditor reads, by id or name; none named: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<String>,
    /// How many records a producer may append a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records_per_day: Option<u64>,
    /// How many bytes of requests a producer may append a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<u64>,
    /// The token whose holder this one's is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeds: Option<String>,
    /// The request that another admin has approved, where that is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// What came of asking for a token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum IssuedToken {
    /// It was made.
    Made(NewToken),
    /// Another admin has to approve of it; then it is asked for again, naming the request.
    Asked(ApprovalSummary),
}

/// What an admin asked for, and another has to approve of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalSummary {
    /// Names the request.
    pub request: String,
    /// `admin-token` or `key-rotation`.
    pub wanted: String,
    /// The token's name, or which key.
    pub detail: String,
    /// `pending`, `approved`, `rejected`, `used` or `expired`.
    pub state: String,
    /// Who asks: a token's id.
    pub by: String,
    /// When.
    pub asked: Timestamp,
    /// Who decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
}

/// Something that is done behind the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// What is done.
    pub kind: String,
    /// What it is done to.
    pub key: String,
    /// The job that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// `queued`, `running`, `retrying`, `done` or `dead`.
    pub state: String,
    /// How often it was begun.
    pub attempt: u64,
    /// Up to which attempt it is begun again.
    pub tries: u64,
    /// How often it was dead and tried again.
    pub requeues: u64,
    /// Who has it, or had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// How much of it is done.
    pub done: u64,
    /// Of how much, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Why its last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
    /// What it came to, once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// When it was added.
    pub created: Timestamp,
    /// When it may be taken, where it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// When its last attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it was done, or died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
}

/// Some jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobPage {
    /// The newest first.
    pub jobs: Vec<Job>,
    /// Where older ones begin, for [`JobQuery::before`].
    pub next: Option<String>,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobQuery {
    /// Only in this state.
    pub state: Option<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only the parts of this job.
    pub parent: Option<String>,
    /// Only older ones than this.
    pub before: Option<String>,
    /// At most so many; 100 where nothing is said.
    pub limit: Option<usize>,
}

/// A fresh token. The secret is shown this once.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct NewToken {
    /// Names the token; not secret.
    pub id: String,
    /// The token itself: `rat_…`.
    pub token: String,
}

impl std::fmt::Debug for NewToken {
    /// Without the secret: what is printed ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A hook to be made: where an annotation platform delivers.
#[derive(Debug, Clone, Default, Serialize)]
pub struct NewHook {
    /// Its name, 1 to 48 of a-z, 0-9, `_` and `-`.
    pub name: String,
    /// `label-studio` or `argilla`.
    pub platform: String,
    /// The run its records go to, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// In place of `run`: an experiment, in which the hook starts a run of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// The secret, where the platform has made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// A fresh hook.
#[derive(Clone, Deserialize)]
pub struct FreshHook {
    /// Its name.
    pub name: String,
    /// Where the platform delivers, below the server's address.
    pub path: String,
    /// The secret, where the server has made it: shown this once.
    pub secret: Option<String>,
}

impl std::fmt::Debug for FreshHook {
    /// Without the secret: what is printed ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FreshHook")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A hook as it is listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HookSummary {
    /// Its name.
    pub name: String,
    /// `label-studio` or `argilla`.
    pub platform: String,
    /// The run its records go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The experiment in which it has a run of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    /// When it was made.
    pub created: String,
}
