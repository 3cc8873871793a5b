//! All runs that are open, and what was found and does not stand in the log yet.

use std::collections::BTreeMap;

use record::kinds::FindingRaised;
use record::{Kind, Record, RunId, Scope, StreamName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::finding::Finding;
use crate::rule::Rule;
use crate::run::Run;
use crate::settings::Settings;

/// The form of what is kept. Another one is not read: then the log is, from its beginning.
const FORMAT: u32 = 1;
/// Findings that wait to be recorded; more are let go.
const MOST_WAITING: usize = 10_000;

/// Watches over the runs of one log.
#[derive(Clone, Debug)]
pub struct Watch {
    settings: Settings,
    kept: Kept,
    /// From when on the time was told.
    since: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    format: u32,
    /// The index of the next record.
    next: u64,
    runs: BTreeMap<RunId, Run>,
    waiting: Vec<Finding>,
}

impl Watch {
    /// One that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            kept: Kept {
                format: FORMAT,
                ..Kept::default()
            },
            since: None,
        }
    }

    /// One that goes on from what another has saved; `None` where that cannot be read. Other settings hold from here on.
    pub fn restore(settings: Settings, saved: &[u8]) -> Option<Self> {
        let kept: Kept = serde_json::from_slice(saved).ok()?;
        (kept.format == FORMAT).then_some(Self {
            settings,
            kept,
            since: None,
        })
    }

    /// Other settings hold from here on.
    pub fn adjust(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// What is known of the log so far.
    pub fn save(&self) -> Vec<u8> {
        // Maps with text keys, numbers and texts always serialise.
        serde_json::to_vec(&self.kept).unwrap_or_default()
    }

    /// The index of the record that is to be shown next.
    pub fn next(&self) -> u64 {
        self.kept.next
    }

    /// How many runs are open.
    pub fn open_runs(&self) -> usize {
        self.kept.runs.len()
    }

    /// Looks at the record at `index`, which is [`Watch::next`]; any other has been seen, or comes too soon, and is
    /// passed over. `now` is when it is seen.
    pub fn take(&mut self, index: u64, record: &Record<'_>, now: Timestamp) {
        if index != self.kept.next {
            return;
        }
        self.kept.next += 1;
        match record.scope() {
            Scope::Run(run) if record.is(Kind::RunSealed) => {
                self.kept.runs.remove(&run);
            }
            Scope::Run(run) => {
                self.make_room(run);
                let open = self.kept.runs.entry(run).or_default();
                for hit in open.take(index, record, now, &self.settings) {
                    let (rule, detail) = (hit.cause.rule, hit.detail);
                    let evidence = hit.evidence;
                    self.found(Finding {
                        rule,
                        run,
                        detail,
                        evidence,
                    });
                }
            }
            Scope::Ledger if *record.stream() == StreamName::SERVER => self.said(record),
            Scope::Ledger => {}
        }
    }

    /// Passes over a record that cannot be read.
    pub fn skip(&mut self, index: u64) {
        if index == self.kept.next {
            self.kept.next += 1;
        }
    }

    /// Looks at the time: runs that have stalled. To be called once all there is has been shown.
    pub fn look(&mut self, now: Timestamp) {
        let since = *self.since.get_or_insert(now);
        let mut stalled = Vec::new();
        for (run, open) in &mut self.kept.runs {
            if let Some(last) = open.stall.look(now, since, &self.settings.stall) {
                stalled.push((*run, last));
            }
        }
        for (run, last) in stalled {
            self.found(Finding {
                rule: Rule::RunStalled,
                run,
                detail: None,
                evidence: vec![last],
            });
        }
    }

    /// What was found and is not known to be recorded, in the order in which it was.
    pub fn waiting(&self) -> &[Finding] {
        &self.kept.waiting
    }

    /// A finding was recorded, or never will be.
    pub fn settle(&mut self, finding: &Finding) {
        self.kept.waiting.retain(|waiting| waiting != finding);
    }

    fn found(&mut self, finding: Finding) {
        let off = self
            .settings
            .off
            .iter()
            .any(|name| name == finding.rule.name());
        if !off && self.kept.waiting.len() < MOST_WAITING {
            self.kept.waiting.push(finding);
        }
    }

    /// What the server has recorded of its own: a finding may be one that waits, or one that would be found again.
    fn said(&mut self, record: &Record<'_>) {
        if !record.is(Kind::FindingRaised) {
            return;
        }
        let Ok(body) = record.decode::<FindingRaised>() else {
            return;
        };
        self.kept
            .waiting
            .retain(|waiting| !waiting.is_said_by(&body));
        let open = body.run.and_then(|run| self.kept.runs.get_mut(&run));
        if let (Some(open), Some(rule)) = (open, Rule::parse(&body.finding)) {
            open.said(rule, &body);
        }
    }

    /// Forgets the run that has been quiet longest, where there would be too many.
    fn make_room(&mut self, coming: RunId) {
        let runs = &mut self.kept.runs;
        if runs.len() < self.settings.runs || runs.contains_key(&coming) {
            return;
        }
        let quiet = runs.iter().min_by_key(|(_, open)| open.stall.seen());
        if let Some(run) = quiet.map(|(run, _)| *run) {
            runs.remove(&run);
        }
    }
}
