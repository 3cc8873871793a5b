//! The check of the log: what is new since the last one, or all of it. Ranges are jobs of their own, which any worker
//! takes; this one adds them, waits, looks at what is above them, and tells of what does not hold: an
//! `incident.reported` each, once for as long as it stands, and a notification.

use record::kinds::IncidentReported;
use record::{Draft, Kind as RecordKind, Record, Subject};
use serde::Deserialize;
use serde_json::{Value, json};
use store::{JobFilter, JobState};

use super::{INTEGRITY, IntegrityRange, Kind};
use crate::attempt::Attempt;
use crate::error::Fault;
use crate::integrity::{self, Broken, RANGE, RangeFound, Standing};
use crate::notify::{self, Event};
use crate::once;
use crate::queue::new_job;

/// What the incident is called.
const INCIDENT: &str = "integrity-failure";
/// How soon it looks again whether the ranges are done.
const LOOK_MILLIS: u64 = 300;
/// Incidents that one check records; what is left over is for the next.
const MOST_INCIDENTS: usize = 16;
/// Faults that a result lists.
const MOST_LISTED: usize = 100;
const PAGE: usize = 500;

pub(crate) struct Integrity;

#[derive(Deserialize)]
struct Payload {
    /// From the first entry on, whatever is known.
    #[serde(default)]
    whole: bool,
    since: u64,
}

impl Kind for Integrity {
    fn name(&self) -> &'static str {
        INTEGRITY
    }

    fn make(&self, attempt: &Attempt<'_>) -> Result<Value, Fault> {
        let payload: Payload = attempt.payload()?;
        // Only a wait tells how many parts there are.
        if attempt.job.total == 0 {
            let parts = split(attempt, payload.whole)?;
            if parts > 0 {
                return Err(Fault::Wait {
                    delay: LOOK_MILLIS,
                    done: 0,
                    total: parts,
                });
            }
        }
        let parts = parts(attempt)?;
        let open = parts.open();
        if open > 0 {
            return Err(Fault::Wait {
                delay: LOOK_MILLIS,
                done: parts.total - open,
                total: parts.total,
            });
        }
        conclude(attempt, &payload)
    }
}

/// Adds a job for each range to look at; gives how many.
fn split(attempt: &Attempt<'_>, whole: bool) -> Result<u64, Fault> {
    let tools = attempt.tools;
    let size = tools.ledger.latest().map_or(0, |at| at.checkpoint.size.0);
    let first = if whole {
        0
    } else {
        Standing::of(tools.queue.store())?.verified / RANGE
    };
    let ranges = first..size.div_ceil(RANGE);
    let total = ranges.end.saturating_sub(ranges.start);
    for range in ranges {
        let payload = IntegrityRange::payload(&attempt.job.id, range);
        let new = new_job(
            &tools.ledger,
            &IntegrityRange,
            payload,
            Some(&attempt.job.id),
        )
        .map_err(|error| Fault::Retry(error.to_string()))?;
        tools.queue.put(&new)?;
        attempt.progress(0, 0)?;
    }
    Ok(total)
}

#[derive(Default)]
struct Parts {
    total: u64,
    ended: u64,
}

impl Parts {
    fn open(&self) -> u64 {
        self.total - self.ended
    }
}

fn parts(attempt: &Attempt<'_>) -> Result<Parts, Fault> {
    let mut parts = Parts::default();
    let store = attempt.tools.queue.store();
    for (_, state, count) in store.count_jobs(Some(&attempt.job.id))? {
        parts.total += count;
        if matches!(state, JobState::Done | JobState::Dead) {
            parts.ended += count;
        }
    }
    Ok(parts)
}

/// What the ranges came to, in their order; and why some were not looked at.
fn found(attempt: &Attempt<'_>) -> Result<(Vec<RangeFound>, Vec<String>), Fault> {
    let store = attempt.tools.queue.store();
    let (mut ranges, mut unchecked) = (Vec::new(), Vec::new());
    let mut before: Option<String> = None;
    loop {
        let filter = JobFilter {
            parent: Some(&attempt.job.id),
            before: before.as_deref(),
            limit: PAGE,
            ..JobFilter::default()
        };
        let page = store.list_jobs(&filter)?;
        let Some(last) = page.last() else {
            ranges.sort_by_key(|found: &RangeFound| found.range);
            return Ok((ranges, unchecked));
        };
        before = Some(last.id.clone());
        for part in page {
            let result = part.result.as_deref().unwrap_or_default();
            match serde_json::from_str(result) {
                Ok(found) if part.state == JobState::Done => ranges.push(found),
                _ => unchecked.push(
                    part.reason
                        .unwrap_or_else(|| "no reason is known".to_owned()),
                ),
            }
        }
    }
}

fn conclude(attempt: &Attempt<'_>, payload: &Payload) -> Result<Value, Fault> {
    let tools = attempt.tools;
    let (ranges, unchecked) = found(attempt)?;
    let (mut broken, size) = integrity::above(&tools.ledger)?;
    // Whole ranges that hold, one after the other.
    let before = Standing::of(tools.queue.store())?;
    let first = ranges
        .first()
        .map_or(before.verified / RANGE, |found| found.range);
    let mut next = first;
    for found in &ranges {
        if found.range == next && found.broken.is_empty() && found.to == (next + 1) * RANGE {
            next += 1;
        }
    }
    let more: u64 = ranges.iter().map(|found| found.more).sum();
    let looked_to = ranges.last().map_or(size, |found| found.to);
    let parts = ranges.len();
    broken.extend(ranges.into_iter().flat_map(|found| found.broken));

    // What lies before the first range was not looked at, and stands as it did.
    let unseen = |broken: &Broken| broken.range.is_some_and(|range| range < first);
    let mut standing = Standing {
        verified: next * RANGE,
        size: looked_to,
        found: before.found,
        broken: before
            .broken
            .iter()
            .filter(|(broken, _)| unseen(broken))
            .cloned()
            .collect(),
    };
    let mut recorded = 0;
    for fault in &broken {
        let known = before
            .broken
            .iter()
            .find(|(known, _)| known.what == fault.what);
        let index = match known {
            Some((_, index)) => *index,
            None if recorded < MOST_INCIDENTS => {
                recorded += 1;
                attempt.progress(attempt.job.done, attempt.job.total)?;
                let index = tell(attempt, payload.since, fault)?;
                standing.found += 1;
                index
            }
            // The next check tells of it.
            None => continue,
        };
        if !standing
            .broken
            .iter()
            .any(|(known, _)| known.what == fault.what)
        {
            standing.broken.push((fault.clone(), index));
        }
    }
    attempt.progress(attempt.job.total, attempt.job.total)?;
    standing.keep(tools.queue.store())?;
    if let Some(first) = unchecked.first() {
        let reason = format!("{} ranges could not be looked at: {first}", unchecked.len());
        return Err(Fault::Dead(reason));
    }
    let faults = broken.len() as u64 + more;
    let sound = faults == 0 && standing.broken.is_empty();
    let listed: Vec<_> = broken.iter().take(MOST_LISTED).collect();
    Ok(json!({
        "sound": sound,
        "from": first * RANGE,
        "to": looked_to,
        "size": size,
        "ranges": parts,
        "verified": standing.verified,
        "faults": faults,
        "standing": standing.broken.len(),
        "found": listed,
    }))
}

/// Records the incident and tells whoever is to know. Gives the incident's index.
fn tell(attempt: &Attempt<'_>, since: u64, fault: &Broken) -> Result<u64, Fault> {
    let tools = attempt.tools;
    let is_it = |record: &Record<'_>| {
        record.is(RecordKind::IncidentReported)
            && record.decode::<IncidentReported>().is_ok_and(|incident| {
                incident.incident == INCIDENT && incident.detail.as_deref() == Some(&fault.what)
            })
    };
    let index = once::record(&tools.ledger, since, is_it, || {
        let mut incident = IncidentReported::new(INCIDENT.to_owned());
        incident.detail = Some(fault.what.clone());
        let description = Value::from(fault.detail.as_str());
        Draft::new(incident).seal("description", &description, Subject::Run)
    })?;
    tracing::error!(
        what = fault.what,
        detail = fault.detail,
        "the log does not hold together"
    );
    notify::raise(
        tools,
        &Event {
            id: format!("integrity-{index}"),
            name: notify::INTEGRITY_FAILED,
            data: json!({ "what": fault.what, "detail": fault.detail, "incident": index }),
        },
    )?;
    Ok(index)
}
