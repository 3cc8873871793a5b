//! What a rule has found.

use record::kinds::FindingRaised;
use record::{Draft, RunId};
use serde::{Deserialize, Serialize};

use crate::rule::Rule;

/// Something that looks odd, once for each cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The run it is about.
    pub run: RunId,
    /// More precisely: `up` or `down`, `a` or `b`, the kind of annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The log indices of the records that show it, ascending; the last is the one at which it was found.
    pub evidence: Vec<u64>,
}

impl Finding {
    /// The record of it.
    pub fn draft(&self) -> Draft {
        let mut body = FindingRaised::new(self.rule.name().to_owned());
        body.detail.clone_from(&self.detail);
        body.evidence = Some(self.evidence.clone()).filter(|evidence| !evidence.is_empty());
        body.run = Some(self.run);
        body.severity = Some(self.rule.severity());
        Draft::new(body)
    }

    /// Whether a record that is in the log already is of this finding.
    pub(crate) fn is_said_by(&self, body: &FindingRaised) -> bool {
        body.finding == self.rule.name()
            && body.run == Some(self.run)
            && body.detail == self.detail
            && body.evidence.as_deref().and_then(<[u64]>::last) == self.evidence.last()
    }
}

/// Which of a finding's kind it is, within its run: each is raised once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Cause {
    pub(crate) rule: Rule,
    /// A direction, a pseudonym, a kind of annotation; empty where there is one cause only.
    pub(crate) subject: String,
}

impl Cause {
    pub(crate) fn new(rule: Rule, subject: impl Into<String>) -> Self {
        Self {
            rule,
            subject: subject.into(),
        }
    }
}

/// What a rule says of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) cause: Cause,
    pub(crate) detail: Option<String>,
    pub(crate) evidence: Vec<u64>,
}
