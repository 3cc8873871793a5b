//! Looks at whether all is well, and tells whoever is to know: of findings, dead jobs, a checkpoint that does not come,
//! cosignatures that are missing. What is told has a name of its own, so that it is told once.

use ledger::Query;
use record::kinds::FindingRaised;
use record::{Kind as RecordKind, Record};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{JobFilter, JobState};

use super::notification::NAME as NOTIFICATION;
use super::{Kind, WATCH};
use crate::attempt::{Attempt, millis};
use crate::error::Fault;
use crate::notify::{self, Event};

/// The setting in which it is remembered what was seen.
const SETTING: &str = "jobs.watch";
/// Dead jobs of the past that are told of.
const DEAD_MILLIS: i64 = 24 * 60 * 60 * 1_000;
const MOST_DEAD: usize = 200;
const PAGE: usize = 1_000;

pub(crate) struct Watch;

/// What was seen.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Seen {
    /// Findings below this index were told of.
    findings: u64,
    /// A size at which the log was not all published, and since when.
    unpublished: Option<(u64, i64)>,
    /// A published size without a quorum, and since when.
    uncosigned: Option<(u64, i64)>,
}

impl Kind for Watch {
    fn name(&self) -> &'static str {
        WATCH
    }

    fn make(&self, attempt: &Attempt<'_>) -> Result<Value, Fault> {
        let store = attempt.tools.queue.store();
        let stored = store.kv_get(SETTING)?;
        let mut seen: Seen = stored
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let now = store.now()?;
        let mut told = findings(attempt, &mut seen)?;
        told += dead(attempt, now)?;
        told += checkpoint(attempt, &mut seen, now)?;
        told += cosignature(attempt, &mut seen, now)?;
        // After what was told: it is told again rather than forgotten, and its name keeps it from being sent twice.
        attempt.progress(1, 1)?;
        let bytes = serde_json::to_vec(&seen).map_err(|error| Fault::Dead(error.to_string()))?;
        store.kv_put(SETTING, &bytes)?;
        Ok(json!({ "told": told }))
    }
}

fn findings(attempt: &Attempt<'_>, seen: &mut Seen) -> Result<u64, Fault> {
    let tools = attempt.tools;
    let size = tools.ledger.latest().map_or(0, |at| at.checkpoint.size.0);
    let mut query = Query {
        kind: Some(RecordKind::FindingRaised),
        after: seen.findings.checked_sub(1),
        limit: PAGE,
        ..Query::default()
    };
    let mut told = 0;
    loop {
        let page = tools.ledger.query(&query)?;
        for (index, bytes) in &page.records {
            let record = Record::parse_envelope(bytes).map_err(ledger::LedgerError::from)?;
            let Ok(finding) = record.decode::<FindingRaised>() else {
                continue;
            };
            let event = Event {
                id: format!("finding-{index}"),
                name: notify::FINDING_RAISED,
                data: json!({
                    "index": index,
                    "finding": finding.finding,
                    "detail": finding.detail,
                    "run": finding.run.map(|run| run.as_str().to_owned()),
                    "severity": finding.severity,
                    "evidence": finding.evidence,
                }),
            };
            told += notify::raise(tools, &event)?;
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    seen.findings = seen.findings.max(size);
    Ok(told)
}

fn dead(attempt: &Attempt<'_>, now: i64) -> Result<u64, Fault> {
    let tools = attempt.tools;
    let filter = JobFilter {
        state: Some(JobState::Dead),
        limit: MOST_DEAD,
        ..JobFilter::default()
    };
    let mut told = 0;
    for job in tools.queue.store().list_jobs(&filter)? {
        let lately = job.finished.is_some_and(|at| now - at < DEAD_MILLIS);
        // Of what could not be told nobody can be told.
        if !lately || job.kind == NOTIFICATION {
            continue;
        }
        let event = Event {
            id: format!("dead-{}-{}", job.id, job.attempt),
            name: notify::JOB_DEAD,
            data: json!({ "job": job.id, "kind": job.kind, "attempts": job.attempt, "reason": job.reason }),
        };
        told += notify::raise(tools, &event)?;
    }
    Ok(told)
}

/// Whether something is as it was before for longer than it may be. Remembers since when it is so.
fn lasts(what: &mut Option<(u64, i64)>, size: u64, now: i64, patience: u64) -> bool {
    match what {
        Some((known, since)) if *known == size => {
            u64::try_from(now - *since).is_ok_and(|time| time >= patience)
        }
        _ => {
            *what = Some((size, now));
            false
        }
    }
}

fn checkpoint(attempt: &Attempt<'_>, seen: &mut Seen, now: i64) -> Result<u64, Fault> {
    let tools = attempt.tools;
    let status = tools.ledger.status();
    let published = tools.ledger.latest_size()?;
    if published >= status.sequenced {
        seen.unpublished = None;
        return Ok(0);
    }
    let patience = millis(tools.settings().patience.checkpoint);
    if !lasts(&mut seen.unpublished, published, now, patience) {
        return Ok(0);
    }
    let event = Event {
        id: format!("stale-{published}"),
        name: notify::CHECKPOINT_STALE,
        data: json!({
            "published": published,
            "durable": status.sequenced,
            "reason": status.publish_error.or(status.unavailable),
        }),
    };
    notify::raise(tools, &event)
}

fn cosignature(attempt: &Attempt<'_>, seen: &mut Seen, now: i64) -> Result<u64, Fault> {
    let tools = attempt.tools;
    if tools.ledger.witness_policy().is_none() {
        return Ok(0);
    }
    tools.ledger.follow_cosigned()?;
    let size_of = |at: Option<ledger::Published>| at.map_or(0, |at| at.checkpoint.size.0);
    let cosigned = size_of(tools.ledger.cosigned());
    let published = size_of(tools.ledger.latest());
    if cosigned >= published {
        seen.uncosigned = None;
        return Ok(0);
    }
    let patience = millis(tools.settings().patience.cosignature);
    if !lasts(&mut seen.uncosigned, cosigned, now, patience) {
        return Ok(0);
    }
    let event = Event {
        id: format!("uncosigned-{cosigned}"),
        name: notify::COSIGNATURE_MISSING,
        data: json!({ "cosigned": cosigned, "published": published }),
    };
    notify::raise(tools, &event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_does_not_last() {
        let mut what = None;
        assert!(!lasts(&mut what, 5, 1_000, 60), "seen for the first time");
        assert!(!lasts(&mut what, 5, 1_059, 60));
        assert!(lasts(&mut what, 5, 1_060, 60));
        assert!(!lasts(&mut what, 6, 1_070, 60), "it got on");
        assert!(!lasts(&mut what, 6, 1_000, 60), "clocks may go back");
    }
}
