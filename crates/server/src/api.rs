//! What goes over the wire, as types with their schemas. The client has its own; a test holds the
//! two against each other by using both.

use std::collections::BTreeMap;

use record::RecordHash;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

/// The most records, or runs, one page holds.
pub(crate) const MAX_PAGE: usize = 1_000;
/// How many where nobody says.
pub(crate) const DEFAULT_PAGE: usize = 100;

/// Where one record went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Receipt {
    /// The record's index in the log, from 0.
    pub(crate) index: u64,
    /// The record's name: SHA-256 of 0x00 and its bytes, in base64.
    pub(crate) leaf_hash: String,
    /// The very same bytes were in the log before; `index` is where they first went.
    pub(crate) duplicate: bool,
    /// A C2SP tlog-proof, with `wait=published`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) proof: Option<String>,
}

impl Receipt {
    pub(crate) fn new(receipt: &ledger::Receipt) -> Self {
        Self {
            index: receipt.index,
            leaf_hash: RecordHash::from(receipt.leaf_hash).to_string(),
            duplicate: receipt.duplicate,
            proof: None,
        }
    }
}

/// The answer to an append: all of the request's records are durable.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Appended {
    /// One for each record, in the order sent.
    pub(crate) records: Vec<Receipt>,
    /// With `wait=published`: whether a published checkpoint covers all of them. `false` where
    /// that took too long; the records are durable all the same, and `/v1/records/{index}/proof`
    /// has their proofs later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) published: Option<bool>,
}

/// An attachment that records may name from now on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeptAttachment {
    /// Its name: the SHA-256 of its bytes, in 64 hexadecimal digits.
    pub(crate) sha256: String,
    /// How many bytes it has.
    pub(crate) bytes: u64,
}

/// What an append waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wait {
    /// Until the records are on disk.
    Durable,
    /// And a published checkpoint covers them.
    Published,
}

/// How to append.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AppendParams {
    /// What to wait for: `durable` (the default), or `published`, which answers with proofs after
    /// at most ten seconds and takes at most 1,000 records.
    pub(crate) wait: Option<Wait>,
}

/// One record of the log, with its place.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoggedRecord {
    /// Its index.
    pub(crate) index: u64,
    /// Its name: SHA-256 of 0x00 and its bytes, in base64.
    pub(crate) leaf_hash: String,
    /// Its canonical bytes, verbatim.
    #[schema(value_type = Object)]
    pub(crate) record: Box<RawValue>,
}

/// One page of records, by index.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordPage {
    /// The records.
    pub(crate) records: Vec<LoggedRecord>,
    /// Ask for more with this as `after`; null at the end.
    pub(crate) next: Option<u64>,
}

/// Which records to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RecordParams {
    /// Only of this run: its id, or `ledger` for records that belong to no run.
    pub(crate) run: Option<String>,
    /// Only of this kind, such as `annotation.preference`.
    pub(crate) kind: Option<String>,
    /// Only with an index greater than this: the `next` of the page before.
    pub(crate) after: Option<u64>,
    /// At most this many, 1 to 1,000; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<usize>,
}

/// Something that looked odd.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Finding {
    /// The index of its record.
    pub(crate) index: u64,
    /// When it was recorded.
    pub(crate) time: String,
    /// The rule: `kl-drift`, `run-stalled`, `clock-skew`, ….
    pub(crate) rule: String,
    /// More precisely: `up` or `down`, `a` or `b`, ….
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// The run it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<String>,
    /// The stream it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<String>,
    /// `info`, `warning` or `critical`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) severity: Option<String>,
    /// The log indices of the records that show it.
    pub(crate) evidence: Vec<u64>,
}

/// One page of findings, by index.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FindingPage {
    /// The findings.
    pub(crate) findings: Vec<Finding>,
    /// Ask for more with this as `after`; null at the end. A page may hold fewer than asked for and not be the last.
    pub(crate) next: Option<u64>,
}

/// Which findings to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FindingParams {
    /// Only about this run: its id.
    pub(crate) run: Option<String>,
    /// Only of this rule.
    pub(crate) rule: Option<String>,
    /// Only with an index greater than this: the `next` of the page before.
    pub(crate) after: Option<u64>,
    /// At most this many, 1 to 1,000; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<usize>,
}

/// A run to be started on the server's own stream.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRun {
    /// What people call it, up to 128 bytes.
    #[schema(example = "safety alignment v2")]
    pub(crate) name: String,
    /// The experiment it belongs to.
    pub(crate) experiment: Option<String>,
    /// The model that is trained.
    pub(crate) model: Option<String>,
    /// Settings: name to text, number or boolean.
    #[schema(value_type = Option<Object>)]
    pub(crate) config: Option<BTreeMap<String, serde_json::Value>>,
    /// The Ed25519 public key, in base64, that may seal the run. Without it the server owns the
    /// run and seals it on request.
    pub(crate) owner: Option<String>,
}

/// A run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunSummary {
    /// Its id, a ULID.
    #[schema(example = "01K9ZX3V5B6C7D8E9F0G1H2J3K")]
    pub(crate) run: String,
    /// What people call it.
    pub(crate) name: String,
    /// The experiment it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) experiment: Option<String>,
    /// The model that is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// `open`, or how it was sealed: `completed`, `failed`, `aborted`.
    pub(crate) status: String,
    /// When it started, by its producer's clock.
    pub(crate) started: String,
    /// Its records so far.
    pub(crate) records: u64,
    /// The key that may seal it, in base64.
    pub(crate) owner: String,
}

/// One page of runs, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunPage {
    /// The runs.
    pub(crate) runs: Vec<RunSummary>,
    /// Ask for more with this as `after`; null at the end.
    pub(crate) next: Option<String>,
}

/// Which runs to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RunParams {
    /// Only runs after this one: the `next` of the page before.
    pub(crate) after: Option<String>,
    /// At most this many, 1 to 1,000; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<usize>,
}

/// How far one stream is: what its producer has to know to go on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StreamHead {
    /// Its name.
    pub(crate) stream: String,
    /// Who builds it.
    pub(crate) producer: String,
    /// The `seq` its next record has.
    pub(crate) next_seq: u64,
    /// The leaf hash of its last record, in base64: `prev` of the next.
    pub(crate) head: String,
    /// The key that signs it, in base64.
    pub(crate) key: String,
    /// How many records at its end no signature covers.
    pub(crate) unsigned: u64,
    /// How many `stream.signed` it holds: what a producer wrote are the others, without
    /// `stream.opened`.
    pub(crate) signatures: u64,
}

/// The streams of a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Streams {
    /// By name.
    pub(crate) streams: Vec<StreamHead>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SealStatus {
    /// It did what it was to do.
    Completed,
    /// It broke.
    Failed,
    /// Somebody stopped it.
    Aborted,
}

/// A run to be sealed by the server, its owner.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seal {
    /// How it ended.
    pub(crate) status: SealStatus,
}

/// What a bundle holds.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BundleParams {
    /// With the keys and values of the run's sealed values, in the clear: for admins only.
    pub(crate) openings: Option<bool>,
    /// Without the attachments where `false`; whoever verifies such a bundle learns which are missing.
    pub(crate) attachments: Option<bool>,
}

/// How a model card is to look.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CardFormat {
    /// Markdown with Hugging Face metadata.
    #[default]
    Markdown,
    /// One self-contained page with plots.
    Html,
    /// Every number with its evidence, for programs.
    Json,
}

/// How a model card is to look.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CardParams {
    /// `markdown` (the default), `html` or `json`.
    pub(crate) format: Option<CardFormat>,
}

/// A model card whose digests are in the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IssuedCard {
    /// Where `document.issued` went.
    pub(crate) index: u64,
    /// Its name: SHA-256 of 0x00 and its bytes, in base64.
    pub(crate) leaf_hash: String,
    /// The card in each of its forms.
    pub(crate) files: Vec<CardFile>,
}

/// One form of a model card.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CardFile {
    /// Such as `model-card.html`.
    pub(crate) name: &'static str,
    /// Such as `text/html`.
    pub(crate) media_type: &'static str,
    /// Exactly the text whose digest was recorded.
    pub(crate) content: String,
}

/// A token as it is listed: never its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Token {
    /// Names the token; not secret.
    pub(crate) id: String,
    /// What it is for.
    pub(crate) name: String,
    /// `admin`, `producer`, `reader`, `auditor` or `witness`.
    pub(crate) role: String,
    /// `valid`, `expired` or `revoked`.
    pub(crate) state: &'static str,
    /// When it was made.
    pub(crate) created: String,
    /// When it ends by itself, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<String>,
    /// When it was revoked, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) revoked: Option<String>,
    /// When it last let somebody in, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_used: Option<String>,
    /// Of an auditor: which parts it reads, of `documents`, `aggregates`, `records`, `sealed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parts: Option<Vec<String>>,
    /// Of an auditor: the runs that it reads, by id; without it, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runs: Option<Vec<String>>,
    /// Of a producer: how many records it appends a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) records_per_day: Option<u64>,
    /// Of a producer: how many bytes of requests it appends a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_day: Option<u64>,
    /// The token of the same role whose holder this one's is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) succeeds: Option<String>,
}

/// All tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// Oldest first.
    pub(crate) tokens: Vec<Token>,
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// What it is for, up to 128 bytes.
    #[schema(example = "trainer on gpu-7")]
    pub(crate) name: String,
    /// `admin`, `producer`, `reader`, `auditor` or `witness`.
    #[schema(example = "producer")]
    pub(crate) role: String,
    /// When it is to end by itself, such as `2027-01-01T00:00:00.000000Z`.
    pub(crate) expires: Option<String>,
    /// The request that another admin has approved, where that is needed.
    pub(crate) request: Option<String>,
    /// Of an auditor: which parts it reads, one or more of `documents`, `aggregates`, `records`, `sealed`.
    #[schema(example = json!(["documents", "records"]))]
    pub(crate) parts: Option<Vec<String>>,
    /// Of an auditor: the runs that it reads, by id or name; without it, all.
    pub(crate) runs: Option<Vec<String>>,
    /// Of a producer: how many records it may append a day.
    #[schema(minimum = 1)]
    pub(crate) records_per_day: Option<u64>,
    /// Of a producer: how many bytes of requests it may append a day.
    #[schema(minimum = 1)]
    pub(crate) bytes_per_day: Option<u64>,
    /// The token of the same role whose holder this one's is: the log knows both by that id, and runs that were started
    /// with one are gone on with the other.
    pub(crate) succeeds: Option<String>,
}

/// A fresh token. The secret is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FreshToken {
    /// Names the token; not secret.
    pub(crate) id: String,
    /// The token itself: `rat_` and 43 characters.
    pub(crate) token: String,
}

/// Something that another admin has to approve of.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewApproval {
    /// Which key is to be changed: `log`, `operator`, `producer` or `deployment`.
    #[schema(example = "log")]
    pub(crate) rotate: String,
}

/// What an admin asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Approval {
    /// Names the request.
    pub(crate) request: String,
    /// What is asked for: `admin-token` or `key-rotation`.
    pub(crate) wanted: &'static str,
    /// The token's name, or which key.
    pub(crate) detail: String,
    /// `pending`, `approved`, `rejected`, `used` or `expired`.
    pub(crate) state: &'static str,
    /// Who asks: a token's id.
    pub(crate) by: String,
    /// When.
    pub(crate) asked: String,
    /// Who decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) decided_by: Option<String>,
}

/// All requests.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Approvals {
    /// Oldest first.
    pub(crate) requests: Vec<Approval>,
}

/// What another admin says to a request.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decision {
    /// Whether it may be done.
    pub(crate) approve: bool,
}

/// A hook to be made: where an annotation platform delivers what it has to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewHook {
    /// Its name, 1 to 48 of a-z, 0-9, `_` and `-`: the end of its address.
    #[schema(example = "helpfulness-studio")]
    pub(crate) name: String,
    /// `label-studio` or `argilla`.
    #[schema(example = "label-studio")]
    pub(crate) platform: String,
    /// The run its records go to: an id, or a name.
    pub(crate) run: Option<String>,
    /// In place of `run`: an experiment, in which the hook starts a run of its own.
    pub(crate) experiment: Option<String>,
    /// The secret, where the platform has made it, as Argilla does. Label Studio is given the one in
    /// the answer.
    pub(crate) secret: Option<String>,
}

/// A fresh hook. A secret that was made here is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FreshHook {
    /// Its name.
    pub(crate) name: String,
    /// Where the platform delivers, below this server's address.
    #[schema(example = "/v1/hooks/helpfulness-studio")]
    pub(crate) path: String,
    /// The secret, unless it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
}

/// A hook as it is listed: never its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Hook {
    /// Its name.
    pub(crate) name: String,
    /// `label-studio` or `argilla`.
    pub(crate) platform: String,
    /// The run its records go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<String>,
    /// The experiment in which it has a run of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) experiment: Option<String>,
    /// When it was made.
    pub(crate) created: String,
}

/// All hooks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Hooks {
    /// By name.
    pub(crate) hooks: Vec<Hook>,
}

/// What came of a delivery; it is durable.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Delivered {
    /// Annotations that were recorded.
    pub(crate) recorded: u64,
    /// Annotations that others have taken the place of.
    pub(crate) superseded: u64,
    /// Annotations that were taken back.
    pub(crate) withdrawn: u64,
    /// Why there was nothing to record, where the event is of no concern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ignored: Option<String>,
}

/// The server's account of itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, or `degraded` where a part below is not.
    pub(crate) status: &'static str,
    /// The same in a sentence, for people.
    #[schema(example = "1234 records, 1234 of them published 2 s ago; up for 3600 s; all is well")]
    pub(crate) summary: String,
    /// This software.
    pub(crate) version: &'static str,
    /// The log's name (C2SP tlog-checkpoint's origin).
    pub(crate) origin: String,
    /// Records that have an index.
    pub(crate) log_size: u64,
    /// Records the latest checkpoint covers.
    pub(crate) published_size: u64,
    /// Seconds since a checkpoint was last published; null where none was since the start.
    pub(crate) checkpoint_age_seconds: Option<f64>,
    /// Seconds since the server started.
    pub(crate) uptime_seconds: u64,
    /// What the server needs, and how it is.
    pub(crate) parts: BTreeMap<&'static str, Part>,
}

/// One thing the server needs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Part {
    /// `ok`, `failed`, or `degraded`: it does not do all it should, and the server does without.
    pub(crate) status: &'static str,
    /// More about it.
    pub(crate) detail: String,
    /// How long it took to answer, in milliseconds, where it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_ms: Option<f64>,
}

impl Part {
    /// A part that was not asked anything.
    pub(crate) fn new(status: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            latency_ms: None,
        }
    }
}

/// Whether the server is up, or can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ok`, or `unavailable`.
    pub(crate) status: &'static str,
    /// What the server needs, and how it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) parts: BTreeMap<&'static str, Part>,
}

/// A file's bytes, in the form the path says.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(
    dead_code,
    reason = "only its schema is used: the bytes themselves are streamed"
)]
pub(crate) struct File(Vec<u8>);

/// Something that is done behind the log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Job {
    /// Its name: a ULID.
    pub(crate) id: String,
    /// What is done, such as `integrity`.
    pub(crate) kind: String,
    /// What it is done to; of one kind and key one job at most is open.
    pub(crate) key: String,
    /// The job that it is a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<String>,
    /// `queued`, `running`, `retrying`, `done` or `dead`.
    pub(crate) state: &'static str,
    /// How often it was begun.
    pub(crate) attempt: u64,
    /// Up to which attempt it is begun again.
    pub(crate) tries: u64,
    /// How often it was dead and tried again.
    pub(crate) requeues: u64,
    /// Who has it, or had it last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<String>,
    /// How much of it is done.
    pub(crate) done: u64,
    /// Of how much, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
    /// Why its last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// What it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) payload: Option<Box<RawValue>>,
    /// What it came to, once it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub(crate) result: Option<Box<RawValue>>,
    /// When it was added.
    pub(crate) created: String,
    /// When it may be taken, where it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<String>,
    /// When its last attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started: Option<String>,
    /// When it was done, or died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) finished: Option<String>,
}

/// One page of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Jobs {
    /// The newest first.
    pub(crate) jobs: Vec<Job>,
    /// Ask for older ones with this as `before`; null at the end.
    pub(crate) next: Option<String>,
}

/// Which jobs to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct JobParams {
    /// Only in this state: `queued`, `running`, `retrying`, `done` or `dead`.
    pub(crate) state: Option<String>,
    /// Only of this kind.
    pub(crate) kind: Option<String>,
    /// Only the parts of this job.
    pub(crate) parent: Option<String>,
    /// Only those older than this one: the `next` of the page before.
    pub(crate) before: Option<String>,
    /// At most this many, 1 to 1,000; 100 where nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<usize>,
}

/// A job to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WantedJob {
    /// The kind: `integrity`, `model-card`, `model-cards`, `timestamp` or `watch`.
    #[schema(example = "integrity")]
    pub(crate) kind: String,
    /// What it is to be told: `{"whole": true}` has `integrity` look at the whole log, `{"run": "…"}` says whose card.
    #[schema(value_type = Option<Object>)]
    pub(crate) payload: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A job that was added.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AskedJob {
    /// Its id, under which it is seen.
    pub(crate) id: String,
}
