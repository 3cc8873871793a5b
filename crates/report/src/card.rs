//! What a model card says, as data. Rendering is elsewhere; nothing here is computed.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::{
    ReportError,
    agreement::Agreement,
    evidence::{Cited, Evidence},
    histogram::Histogram,
    html, markdown,
    series::Series,
};

/// The card of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelCard {
    /// The form of this JSON: `rlhf-audit/model-card/v1`.
    pub schema: &'static str,
    /// The run itself.
    pub run: RunFacts,
    /// The log it was taken from.
    pub log: LogView,
    /// All records of the run.
    pub records: Cited<u64>,
    /// Records in the scope `ledger` that name the run: late ones, incidents, findings.
    pub ledger_records: Cited<u64>,
    /// Records by kind, both of the run and those that name it.
    pub kinds: BTreeMap<String, Cited<u64>>,
    /// The run's streams, by name.
    pub streams: Vec<StreamFacts>,
    /// Data sets that were registered.
    pub datasets: Vec<Dataset>,
    /// Guidelines for annotators that were registered.
    pub guidelines: Vec<Guideline>,
    /// What people said.
    pub annotations: Annotations,
    /// What training did.
    pub training: Training,
    /// Models that were saved.
    pub checkpoints: Vec<Checkpoint>,
    /// Evaluations.
    pub evaluations: Vec<Evaluation>,
    /// What people decided.
    pub oversight: Vec<Decision>,
    /// Findings about the run.
    pub findings: Vec<Note>,
    /// Incidents that touch the run.
    pub incidents: Vec<Note>,
    /// What a reader would look for and the log does not say.
    pub not_recorded: Vec<String>,
}

impl ModelCard {
    /// The card for a model hub: Markdown (GitHub-flavoured) after a block of YAML metadata.
    ///
    /// # Errors
    ///
    /// Only through a defect of the template.
    pub fn markdown(&self) -> Result<String, ReportError> {
        markdown::render(self)
    }

    /// The card as one HTML page that needs no network and no script.
    ///
    /// # Errors
    ///
    /// Only through a defect of the template.
    pub fn html(&self) -> Result<String, ReportError> {
        html::render(self)
    }

    /// The card as JSON (indented, a newline at the end), with all evidence written out.
    ///
    /// # Errors
    ///
    /// Only through a defect of this crate.
    pub fn json(&self) -> Result<String, ReportError> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }

    /// What to call it: the run's name, or its id where the log has none.
    pub fn title(&self) -> &str {
        self.run
            .name
            .as_ref()
            .map_or(&self.run.id, |name| &name.value)
    }
}

/// The log from which the records were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogView {
    /// Its origin ([C2SP tlog-checkpoint](https://c2sp.org/tlog-checkpoint)).
    pub origin: String,
    /// Its size in records.
    pub size: u64,
    /// The root of its tree at that size, base64.
    pub root: String,
    /// Its verifier keys ([C2SP signed-note](https://c2sp.org/signed-note)), where the caller has
    /// them.
    pub keys: Vec<String>,
}

/// What is known of the run as a whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunFacts {
    /// Its ULID.
    pub id: String,
    /// Its name.
    pub name: Option<Cited<String>>,
    /// The experiment it belongs to.
    pub experiment: Option<Cited<String>>,
    /// The model that is trained.
    pub model: Option<Cited<String>>,
    /// The Ed25519 public key of its owner, base64.
    pub owner: Option<Cited<String>>,
    /// Its configuration, by name.
    pub config: BTreeMap<String, Cited<Value>>,
    /// When it began, by its producer's clock.
    pub started: Option<Cited<String>>,
    /// When it was sealed, by its owner's clock.
    pub sealed: Option<Cited<String>>,
    /// How it ended.
    pub status: Status,
    /// When its last record says it was made.
    pub last_record: Option<Cited<String>>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is not sealed: records may follow, and none of those that are missing would be missed.
    Open,
    /// It did what it was to do.
    Completed,
    /// It failed.
    Failed,
    /// It was stopped.
    Aborted,
}

impl Status {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }
}

/// A stream and its producer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamFacts {
    /// Its name.
    pub stream: String,
    /// Who built it.
    pub producer: Option<Cited<String>>,
    /// The public key that signs it, base64.
    pub key: Option<Cited<String>>,
    /// The producer's software.
    pub software: Option<Cited<String>>,
    /// Who let the key in.
    pub enrolled_by: Option<Cited<String>>,
    /// Its records.
    pub records: Cited<u64>,
    /// The producer's signatures in it.
    pub signatures: Cited<u64>,
}

/// A data set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// Its format.
    pub format: String,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its rows.
    pub rows: Option<u64>,
    /// Its licence.
    pub license: Option<String>,
    /// Where it is from.
    pub source: Option<String>,
    /// Annotations that say they were read from it.
    pub annotations: Cited<u64>,
    /// The record that registers it.
    pub evidence: Evidence,
}

/// Guidelines for annotators.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guideline {
    /// Their name.
    pub name: String,
    /// Their edition.
    pub revision: Option<String>,
    /// Their SHA-256 in hexadecimal.
    pub sha256: String,
    /// The record that registers them.
    pub evidence: Evidence,
}

/// What people said, in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Annotations {
    /// All annotations, those that were withdrawn or superseded later included.
    pub total: Cited<u64>,
    /// By kind.
    pub kinds: BTreeMap<String, Cited<u64>>,
    /// Those that were withdrawn later. They count in the two numbers above and nowhere below.
    pub withdrawn: Cited<u64>,
    /// Those that others replaced. They count as withdrawn ones do.
    pub superseded: Cited<u64>,
    /// How many pseudonyms annotated, and the annotations that name one.
    pub annotators: Cited<u64>,
    /// Annotations that name no annotator.
    pub anonymous: Cited<u64>,
    /// Preferences by choice: `a`, `b`, `no_preference`.
    pub choices: BTreeMap<String, Cited<u64>>,
    /// Critiques by category.
    pub categories: BTreeMap<String, Cited<u64>>,
    /// When annotations were made: as they say it, else when they were recorded.
    pub over_time: Histogram,
    /// The annotations in it.
    pub over_time_evidence: Evidence,
    /// Agreement by kind and criterion, only where two annotators judged the same item.
    pub agreement: Vec<Agreement>,
    /// Statements of consent that were recorded.
    pub consents: Cited<u64>,
}

/// What training did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Training {
    /// Updates of the policy.
    pub updates: Cited<u64>,
    /// Mean reward of each update's batch.
    pub reward: Series,
    /// Kullback–Leibler divergence from the reference policy, in nats.
    pub kl: Series,
    /// Loss.
    pub loss: Series,
    /// Responses that a reward model scored.
    pub scored: Cited<u64>,
    /// The mean of these scores.
    pub mean_score: Option<f64>,
    /// The reward models that scored, each with its scores.
    pub reward_models: BTreeMap<String, Cited<u64>>,
    /// The last value of each metric that was logged.
    pub metrics: BTreeMap<String, Cited<f64>>,
}

/// A saved model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Checkpoint {
    /// Its name.
    pub name: String,
    /// The step of training.
    pub step: Option<u64>,
    /// How many parameters it has.
    pub parameters: Option<u64>,
    /// The model checkpoint it was trained from.
    pub parent: Option<String>,
    /// Its files.
    pub files: Vec<CheckpointFile>,
    /// The record.
    pub evidence: Evidence,
}

/// A file of a saved model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckpointFile {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

/// An evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Its name.
    pub name: String,
    /// The data set it was made on.
    pub dataset: Option<String>,
    /// The model checkpoint that was evaluated.
    pub model: Option<String>,
    /// The step of training.
    pub step: Option<u64>,
    /// On how many samples.
    pub samples: Option<u64>,
    /// The results.
    pub metrics: BTreeMap<String, f64>,
    /// The record.
    pub evidence: Evidence,
}

/// What a person decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// `approved`, `rejected` or `stopped`.
    pub decision: &'static str,
    /// What was decided on.
    pub subject: String,
    /// The pseudonym of who decided.
    pub reviewer: Option<String>,
    /// The step of training.
    pub step: Option<u64>,
    /// When: as the record says it, else when it was recorded.
    pub at: String,
    /// The record.
    pub evidence: Evidence,
}

/// A finding or an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What: `clock-skew`, ….
    pub what: String,
    /// More precisely.
    pub detail: Option<String>,
    /// The stream it is about.
    pub stream: Option<String>,
    /// How much it matters.
    pub severity: Option<String>,
    /// The record, then those it names.
    pub evidence: Evidence,
}
