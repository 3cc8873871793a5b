//! What a check found, as data: the CLI prints it with [`Display`](std::fmt::Display) or as JSON.
//!
//! Not here: any checking. A report is built by [`crate::log`], [`crate::bundle`] and
//! [`crate::proof`]; [`Report::verdict`] is the one place where its parts become an answer.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::ModelReport;

/// How many failures, streams or runs a report keeps by name; all of them are counted.
pub const KEPT: usize = 100;

/// What was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A whole log: a directory or a URL.
    Log,
    /// One run's bundle.
    Bundle,
    /// A proof of one record.
    Proof,
}

/// Which rule a [`Failure`] broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Check {
    /// The checkpoint is a note of this log, signed as the policy asks.
    Checkpoint,
    /// The earlier checkpoint is one this log has grown from.
    Since,
    /// The log's keys were changed as the log says, and the old ones signed that.
    Rotation,
    /// An entry bundle holds as many well-framed entries as it must.
    EntryBundle,
    /// An entry hashes to the leaf that the tree holds for it.
    Leaf,
    /// A hash tile holds what its children hash to.
    Tile,
    /// The tree's root is the one that was signed.
    Root,
    /// A partial tile left behind is a prefix of the tile that replaced it.
    Partial,
    /// Every file under `tile/` belongs to the tree.
    UnexpectedFile,
    /// Every file the tree needs is there.
    MissingFile,
    /// A record is canonical and fits the schema of its kind and version.
    Record,
    /// A stream's records follow one another without a gap.
    Chain,
    /// A producer's signature over its stream, or an owner's over a seal.
    Signature,
    /// A stream's key is the one the auditor pinned for its producer.
    ProducerKey,
    /// The log says who let a producer in, before its first stream.
    Enrolment,
    /// The rules of a run: who opens it, and that nothing follows its seal.
    Run,
    /// Nothing follows the record that closed the ledger.
    Closed,
    /// A seal lists every stream of its run as it stood.
    Seal,
    /// A bundle is framed as `docs/spec` says and holds what it says it holds.
    Bundle,
    /// The entries are in the tree whose root the checkpoint signs.
    Inclusion,
    /// A sealed value opens its commitment.
    Sealed,
    /// A document is one that the log says was issued.
    Document,
    /// A timestamp stamps a checkpoint of this log, and who made it is trusted.
    Timestamp,
    /// An attachment is what the records that name it say.
    Attachment,
    /// A model is one that the log says was saved.
    Model,
}

impl Check {
    /// The name in JSON and on a terminal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Since => "since",
            Self::Rotation => "rotation",
            Self::EntryBundle => "entry-bundle",
            Self::Leaf => "leaf",
            Self::Tile => "tile",
            Self::Root => "root",
            Self::Partial => "partial",
            Self::UnexpectedFile => "unexpected-file",
            Self::MissingFile => "missing-file",
            Self::Record => "record",
            Self::Chain => "chain",
            Self::Signature => "signature",
            Self::ProducerKey => "producer-key",
            Self::Enrolment => "enrolment",
            Self::Run => "run",
            Self::Closed => "closed",
            Self::Seal => "seal",
            Self::Bundle => "bundle",
            Self::Inclusion => "inclusion",
            Self::Sealed => "sealed",
            Self::Document => "document",
            Self::Timestamp => "timestamp",
            Self::Attachment => "attachment",
            Self::Model => "model",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The rule that was broken.
    pub check: Check,
    /// The log index of the record concerned, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// The record's run (or `ledger`), where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The record's stream, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The record's place in its stream, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The file concerned, relative to the log, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What had to be there, and who says so.
    pub expected: String,
    /// What is there instead.
    pub found: String,
}

impl Failure {
    /// A failure that concerns no particular record or file yet.
    pub(crate) fn new(check: Check, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            check,
            index: None,
            run: None,
            stream: None,
            seq: None,
            path: None,
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(crate) fn at(mut self, index: u64) -> Self {
        self.index = Some(index);
        self
    }

    pub(crate) fn of(mut self, run: &str, stream: &str) -> Self {
        self.run = Some(run.to_owned());
        self.stream = Some(stream.to_owned());
        self
    }

    pub(crate) fn seq(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        self
    }

    pub(crate) fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }
}

/// How much was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Entries hashed and held against the tree.
    pub entries: u64,
    /// Bytes of those entries.
    pub bytes: u64,
    /// Entry bundles and hash tiles read.
    pub files: u64,
    /// Records parsed under their schema.
    pub records: u64,
    /// Runs started.
    pub runs: u64,
    /// Runs sealed, and so complete.
    pub sealed_runs: u64,
    /// Streams opened.
    pub streams: u64,
    /// Producers' and owners' signatures checked.
    pub signatures: u64,
    /// Records that no `stream.signed` or seal covers yet.
    pub unsigned_records: u64,
    /// Commitments in the records.
    pub commitments: u64,
    /// Commitments opened and found to hold.
    pub opened: u64,
    /// Commitments whose key was destroyed: the value is erased, the record stands.
    pub erased: u64,
    /// Attachments that records name, each once.
    #[serde(default)]
    pub attachments: u64,
    /// Those that were at hand, and were held against their SHA-256.
    #[serde(default)]
    pub attachments_checked: u64,
    /// Their bytes.
    #[serde(default)]
    pub attachment_bytes: u64,
    /// Records of each kind and version that this verifier does not know.
    pub unknown: BTreeMap<String, u64>,
}

/// The checkpoint everything was held against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// The log's name.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The tree's root, base64.
    pub root: String,
    /// The signed note itself, to be kept for a later [`crate::Options::since`].
    #[serde(skip)]
    pub note: Vec<u8>,
}

/// A name and how many more there are: at most [`KEPT`] are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Named {
    /// How many there are.
    pub total: u64,
    /// The first [`KEPT`] of them.
    pub names: Vec<String>,
}

impl Named {
    fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub(crate) fn push(&mut self, name: impl FnOnce() -> String) {
        self.total += 1;
        if self.names.len() < KEPT {
            self.names.push(name());
        }
    }
}

/// What the verdict rests on besides mathematics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trust {
    /// The names of the keys whose signatures on the checkpoint were good.
    pub log_keys: Vec<String>,
    /// The witnesses whose cosignatures were good.
    pub witnesses: Vec<String>,
    /// Changes of the log's keys that were followed from those of the policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rotations: Vec<FollowedKeys>,
    /// Size of the earlier checkpoint that was held against this log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// How many producer keys the auditor pinned.
    pub pinned_keys: u64,
    /// Streams opened under a pinned key.
    pub pinned_streams: u64,
    /// Producers with a stream whose key rests on the log's word alone.
    pub unpinned_producers: Named,
}

/// A change of the log's keys that was followed: the old ones signed a tree that names the new ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FollowedKeys {
    /// Log index of the `key.rotated` record.
    pub index: u64,
    /// Size of the tree that old and new keys have signed.
    pub size: u64,
    /// Verifier keys of the log from then on.
    pub new: Vec<String>,
}

/// A `key.rotated` of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// Its log index.
    pub index: u64,
    /// What the key is for.
    pub purpose: String,
    /// Whose it is, for a producer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    /// The key up to there.
    pub old: String,
    /// The key from there on.
    pub new: String,
}

/// The ledger has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// Log index of the `ledger.closed` record.
    pub index: u64,
    /// Why, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The origin of the log that goes on from here, if the record names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successor: Option<String>,
}

/// The log says that it goes on from another. That one is not looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Predecessor {
    /// Its origin.
    pub origin: String,
    /// The size of its final checkpoint.
    pub size: u64,
    /// The root of its final checkpoint, base64.
    pub root: String,
}

/// A document that the log says was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issued {
    /// Log index of the `document.issued` record.
    pub index: u64,
    /// The run it is about.
    pub run: String,
    /// The file's name in that record.
    pub name: String,
}

/// A time-stamping authority's word on when a checkpoint existed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stamped {
    /// The entries of the checkpoint: all of them existed then.
    pub size: u64,
    /// Before this time, the accuracy that the authority claims included.
    pub before: String,
    /// Whose certificate signed it.
    pub authority: String,
    /// Whether that certificate leads to a root the caller trusts. Without, it is anybody's claim.
    pub trusted: bool,
}

/// What became of the sealed values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SealedValues {
    /// None were given: the records' commitments were taken as they are.
    #[default]
    NotGiven,
    /// Those given were opened and held against their commitments.
    Checked,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything asked for was checked and holds.
    Verified,
    /// What was checked holds, but not everything could be: see the report.
    Incomplete,
    /// Something does not hold.
    Failed,
    /// There was nothing to check, which is no success.
    NothingToCheck,
}

impl Verdict {
    /// 0 for [`Verified`](Verdict::Verified), 1 for everything else.
    pub fn exit_code(self) -> u8 {
        u8::from(self != Self::Verified)
    }
}

/// Everything a check has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What kind of thing was checked.
    pub subject: Subject,
    /// Where it was found.
    pub source: String,
    /// True when only leaves, tiles, root and checkpoint signatures were asked for.
    pub hashes_only: bool,
    /// The checkpoint, if its signatures are good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Signed>,
    /// The run of a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// How much was looked at.
    pub counts: Counts,
    /// How many failures there are.
    pub failures_total: u64,
    /// The first [`KEPT`] of them, by index.
    pub failures: Vec<Failure>,
    /// What a comparison of entries, tiles and root says about where a difference lies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conclusions: Vec<String>,
    /// Runs without a seal: that none of their records is missing is not shown.
    pub unsealed_runs: Named,
    /// Streams of sealed runs that the seal does not list, as `run/stream`.
    pub unlisted_streams: Named,
    /// Streams that went on after another had taken them up as abandoned, as `run/stream`.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub resumed_streams: Named,
    /// Attachments that records name and that were not at hand, by their SHA-256.
    #[serde(skip_serializing_if = "Named::is_empty")]
    pub absent_attachments: Named,
    /// Changes of keys, the first [`KEPT`] of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub key_changes: Vec<KeyChange>,
    /// That the ledger was closed for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// The log that this one says it goes on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Predecessor>,
    /// What became of the sealed values.
    pub sealed_values: SealedValues,
    /// The record that issued the document asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Issued>,
    /// What was found out about the model asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelReport>,
    /// How many timestamps were looked at.
    pub timestamps_total: u64,
    /// The last [`KEPT`] of them, by size.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timestamps: Vec<Stamped>,
    /// What the verdict rests on.
    pub trust: Trust,
    /// What was asked for and could not be checked, and why: the verdict is then incomplete.
    pub unchecked: Vec<String>,
    /// What a reader should know besides; no reason for another verdict.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The verdict, as in [`Report::verdict`].
    pub verdict: Verdict,
}

impl Report {
    pub(crate) fn new(subject: Subject, source: impl Into<String>) -> Self {
        Self {
            subject,
            source: source.into(),
            hashes_only: false,
            checkpoint: None,
            run: None,
            counts: Counts::default(),
            failures_total: 0,
            failures: Vec::new(),
            conclusions: Vec::new(),
            unsealed_runs: Named::default(),
            unlisted_streams: Named::default(),
            resumed_streams: Named::default(),
            absent_attachments: Named::default(),
            key_changes: Vec::new(),
            closed: None,
            predecessor: None,
            sealed_values: SealedValues::NotGiven,
            document: None,
            model: None,
            timestamps_total: 0,
            timestamps: Vec::new(),
            trust: Trust::default(),
            unchecked: Vec::new(),
            notes: Vec::new(),
            verdict: Verdict::NothingToCheck,
        }
    }

    /// Counts a failure and keeps it if there is room. Those kept are the first found, and the
    /// checks run in the log's order but for signatures, so an early cause is not crowded out.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failures_total += 1;
        if self.failures.len() < KEPT {
            self.failures.push(failure);
        }
    }

    /// Says what could not be checked; the verdict is then no longer full success.
    pub(crate) fn leave_unchecked(&mut self, what: impl Into<String>) {
        self.unchecked.push(what.into());
    }

    /// Orders the failures and settles the verdict; the last step of every check.
    pub(crate) fn finish(mut self) -> Self {
        self.failures
            .sort_by_key(|f| (f.index.is_none(), f.index, f.check));
        self.verdict = self.verdict();
        self
    }

    /// The answer. Failures outweigh everything; an empty log is never a success; a record of
    /// unknown kind, or a bundle whose run is not sealed, makes it [`Verdict::Incomplete`].
    pub fn verdict(&self) -> Verdict {
        if self.failures_total > 0 {
            Verdict::Failed
        } else if self.counts.entries == 0 {
            Verdict::NothingToCheck
        } else if !self.counts.unknown.is_empty() || !self.unchecked.is_empty() {
            Verdict::Incomplete
        } else {
            Verdict::Verified
        }
    }
}
