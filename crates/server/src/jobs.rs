//! Jobs as the API shows them, and their numbers for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use record::Timestamp;
use serde_json::value::RawValue;
use store::{JobOutcome, JobRow, JobState, StoreError};

use crate::api::Job;

/// A job's kind, of which there are few, and a word of a fixed list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    kind: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    kind: String,
    outcome: String,
}

/// Written at each scrape, from what all processes of the ledger share.
#[derive(Default)]
pub(crate) struct JobMetrics {
    jobs: Family<StateLabels, Gauge>,
    outcomes: Family<OutcomeLabels, Counter>,
    verified: Gauge,
    faults: Gauge,
}

/// What a scrape shows.
pub(crate) struct JobNumbers {
    counts: Vec<(String, JobState, u64)>,
    outcomes: Vec<JobOutcome>,
    standing: jobs::Standing,
}

impl JobNumbers {
    /// As they are now.
    pub(crate) fn of(queue: &jobs::Queue) -> Result<Self, StoreError> {
        let store = queue.store();
        Ok(Self {
            counts: store.count_jobs(None)?,
            outcomes: store.job_outcomes()?,
            standing: jobs::Standing::of(store)?,
        })
    }
}

impl JobNumbers {
    /// How much the check of the log has found, since the ledger was made.
    pub(crate) fn integrity_found(&self) -> u64 {
        self.standing.found
    }
}

impl JobMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "jobs",
            "Jobs by kind and state, as far as they are remembered",
            metrics.jobs.clone(),
        );
        registry.register(
            "job_outcomes",
            "How attempts at jobs ended, by kind, since the ledger was made",
            metrics.outcomes.clone(),
        );
        registry.register(
            "integrity_verified_size",
            "Records that the check of the log has found to hold, in whole ranges",
            metrics.verified.clone(),
        );
        registry.register(
            "integrity_faults",
            "Things that the check of the log has found not to hold",
            metrics.faults.clone(),
        );
        metrics
    }

    pub(crate) fn set(&self, numbers: &JobNumbers) {
        let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        for kind in jobs::KINDS {
            for state in JobState::ALL {
                let mut counts = numbers.counts.iter();
                let count = counts.find(|(of, at, _)| of == kind.name() && *at == state);
                let labels = StateLabels {
                    kind: kind.name().to_owned(),
                    state: state.as_str(),
                };
                let count = count.map_or(0, |(_, _, count)| *count);
                self.jobs.get_or_create(&labels).set(clamp(count));
            }
        }
        for outcome in &numbers.outcomes {
            let labels = OutcomeLabels {
                kind: outcome.kind.clone(),
                outcome: outcome.outcome.clone(),
            };
            let counter = self.outcomes.get_or_create(&labels);
            counter.inc_by(outcome.count.saturating_sub(counter.get()));
        }
        self.verified.set(clamp(numbers.standing.verified));
        self.faults.set(clamp(numbers.standing.faults()));
    }
}

/// A job's row, for whoever asks.
pub(crate) fn shown(row: JobRow) -> Job {
    let raw = |json: String| RawValue::from_string(json).ok();
    let time = |millis: i64| Timestamp(millis.saturating_mul(1_000)).to_string();
    let waits = matches!(row.state, JobState::Queued | JobState::Retrying);
    Job {
        id: row.id,
        kind: row.kind,
        key: row.key,
        parent: row.parent,
        state: row.state.as_str(),
        attempt: row.attempt,
        tries: row.tries,
        requeues: row.requeues,
        worker: row.holder,
        done: row.done,
        total: (row.total > 0).then_some(row.total),
        reason: row.reason,
        payload: raw(row.payload),
        result: row.result.and_then(raw),
        created: time(row.created),
        due: waits.then(|| time(row.due)),
        started: row.started.map(time),
        finished: row.finished.map(time),
    }
}
