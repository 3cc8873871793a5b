//! What trainers write down while they train, into records: verl's files, OpenRLHF's calls of a reward model.
//!
//! A line, or a call, becomes drafts ([`Entry`]); what cannot be recorded as it stands (a number that is none, a value
//! that is too long) becomes an `incident.reported` among them, so that nothing goes missing in silence. Prompts and
//! responses are sealed; other texts are left out, since nobody says what they hold.

mod numbers;
pub mod openrlhf;
mod python;
mod sealing;
pub mod verl;

use record::kinds::IncidentReported;
use record::{Draft, Subject};
use serde::{Deserialize, Serialize};

pub use python::parse as parse_python_json;

/// What became of one line or one call.
#[derive(Debug, Default, PartialEq)]
pub struct Entry {
    /// The records to be, in order.
    pub drafts: Vec<Draft>,
    /// How many of what there are.
    pub counts: Counts,
}

/// How many of what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Metrics in `metric.logged` and `evaluation.completed`, each number one.
    pub metrics: u64,
    /// `policy.updated`.
    pub updates: u64,
    /// Lines with validation metrics in them.
    pub evaluations: u64,
    /// `reward.scored`.
    pub rewards: u64,
    /// `incident.reported`.
    pub incidents: u64,
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.metrics += other.metrics;
        self.updates += other.updates;
        self.evaluations += other.evaluations;
        self.rewards += other.rewards;
        self.incidents += other.incidents;
    }
}

/// Why a line or a call makes no records. Says nothing of what people wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct Unreadable {
    /// What would have been right.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl Unreadable {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            found: found.into(),
        }
    }
}

impl From<crate::error::Misfit> for Unreadable {
    fn from(misfit: crate::error::Misfit) -> Self {
        let expected = match &misfit.field {
            Some(field) => format!("{} at `{field}`", misfit.expected),
            None => misfit.expected,
        };
        Self {
            expected,
            found: misfit.found,
        }
    }
}

impl Entry {
    /// Adds an incident, described to those who may open sealed values.
    pub fn incident(&mut self, incident: &str, detail: Option<&str>, description: &str) {
        let mut body = IncidentReported::new(incident.to_owned());
        body.detail = detail.map(str::to_owned);
        let draft = Draft::new(body).seal("description", &description.into(), Subject::Run);
        self.drafts.push(draft);
        self.counts.incidents += 1;
    }
}
