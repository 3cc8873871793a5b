//! The monitor itself: one look, what it means beside what was known, who is told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use record::{Clock, Timestamp};
use tlog::{Checkpoint, Policy, PolicyError, SignedNote, VerifiedCheckpoint, VerifierKey};
use verify::{Failure, Source, rotation};

use crate::alert::{Alert, Kind, Look, Status};
use crate::checkpoint::{self, Finding, Seen};
use crate::entries::Entries;
use crate::error::MonitorError;
use crate::evidence::Evidence;
use crate::metrics::{Metrics, Numbers};
use crate::state::{Last, MAX_OUTBOX, State, StateDir};
use crate::webhook::Webhook;

/// Failures of records that are remembered as said.
const MAX_SAID: usize = 10_000;
const POLICY: &str = "policy";
/// What is known of the entries.
const ENTRIES: &str = "entries";
/// How often that is kept: it grows with the number of runs.
const KEEP_ENTRIES_MICROS: i64 = 10 * 60 * 1_000_000;
const MAX_POLICY_BYTES: usize = 1 << 20;

/// What to watch, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The log: a URL prefix under which `checkpoint` and `tile/…` are served.
    pub url: String,
    /// A reader's token, where entries need one.
    pub token: Option<String>,
    /// Whether entries are read and checked too.
    pub entries: bool,
    /// The policy (c2sp.org/tlog-policy) or a verifier key; otherwise the one kept from the first time.
    pub policy: Option<Vec<u8>>,
    /// Where state and evidence are kept.
    pub state_dir: PathBuf,
    /// How old the newest checkpoint may be, and how long nothing may be shown.
    pub max_age: Duration,
    /// Where alerts are sent, by `POST`.
    pub webhook: Option<String>,
    /// What to check the entries with.
    pub verify: verify::Options<'static>,
}

/// Where the policy came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It was given.
    Given,
    /// It was kept from an earlier time.
    Kept,
    /// It is the log's own word, taken now for the first time.
    FirstUse,
}

/// Watches one log.
pub struct Monitor<'a> {
    options: &'a Options,
    clock: Arc<dyn Clock>,
    source: Source,
    policy: Policy,
    policy_text: Vec<u8>,
    trust: Trust,
    dir: StateDir,
    state: State,
    entries: Option<Entries<'a>>,
    /// When what is known of the entries was last kept.
    entries_kept: Option<i64>,
    webhook: Option<Webhook>,
    metrics: Arc<Metrics>,
}

/// What one look found, before it is held against what was known.
#[derive(Default)]
struct Found {
    findings: Vec<(Finding, Vec<Failure>)>,
    /// What is wrong now, found now or before.
    standing: BTreeSet<Kind>,
    unknown: Option<String>,
}

impl<'a> Monitor<'a> {
    /// Begins, or goes on where the last monitor with this state directory stopped.
    ///
    /// # Errors
    ///
    /// [`MonitorError`]: the directory, the policy or the URL cannot be used.
    pub fn open(options: &'a Options, clock: Arc<dyn Clock>) -> Result<Self, MonitorError> {
        let source = Source::url(&options.url, options.token.as_deref())?;
        let dir = StateDir::open(&options.state_dir)?;
        let state = dir.load(&options.url, clock.now().0)?;
        let (policy_text, trust) = match (&options.policy, dir.read(POLICY)?) {
            (Some(given), _) => (given.clone(), Trust::Given),
            (None, Some(kept)) => (kept, Trust::Kept),
            (None, None) => (ask_policy(&source, &options.url)?, Trust::FirstUse),
        };
        let policy = parse_policy(&policy_text).map_err(|source| MonitorError::Policy {
            what: match trust {
                Trust::Given => "what was given".into(),
                Trust::Kept => dir.path().join(POLICY).display().to_string(),
                Trust::FirstUse => format!("{}/{POLICY}", options.url),
            },
            source,
        })?;
        dir.write(POLICY, &policy_text)?;
        let kept = dir.read(ENTRIES)?;
        Ok(Self {
            entries: options
                .entries
                .then(|| Entries::new(&options.verify, kept.as_deref())),
            entries_kept: None,
            webhook: options.webhook.as_deref().map(Webhook::new),
            metrics: Arc::new(Metrics::new()),
            options,
            clock,
            source,
            policy,
            policy_text,
            trust,
            dir,
            state,
        })
    }

    /// Where the policy came from.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// The numbers, which go on as the monitor does.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// The policy and state directory.
    pub fn state_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Looks once: checkpoint, consistency, entries, age. What is new is kept as evidence and told.
    ///
    /// # Errors
    ///
    /// [`MonitorError::State`] if what was found cannot be kept.
    pub fn look(&mut self) -> Result<Look, MonitorError> {
        let now = self.clock.now();
        let mut found = Found::default();
        let last = self.last();
        let mut seen = checkpoint::look(&self.source, &self.policy, last.as_ref());
        if matches!(&seen, Seen::False(finding) if finding.kind == Kind::Checkpoint)
            && self.follow_keys()?
        {
            seen = checkpoint::look(&self.source, &self.policy, last.as_ref());
        }
        match seen {
            Seen::Good(verified, note) => {
                self.accept(&verified, &note, now);
                self.look_at_entries(&verified.checkpoint, now, &mut found);
            }
            Seen::False(finding) => {
                found.standing.insert(finding.kind);
                found
                    .standing
                    .extend(self.standing(&[Kind::Entries, Kind::Records]));
                found.findings.push((finding, Vec::new()));
            }
            Seen::Unknown(why) => {
                found.standing.extend(self.standing(&Kind::ALL));
                found.unknown = Some(why);
            }
        }
        let is_false = |kind: &Kind| !matches!(kind, Kind::Stale | Kind::Unavailable);
        let false_now = found.standing.iter().any(is_false);
        if found.unknown.is_none() && !false_now {
            self.state.shown = now.0;
        }
        self.look_at_age(now, &mut found);
        let status = if false_now {
            Status::False
        } else if found.unknown.is_some() {
            Status::Unavailable
        } else if found.standing.contains(&Kind::Stale) {
            Status::Stale
        } else {
            Status::True
        };
        let alerts = self.alerts(&found, now);
        self.state.standing = found.standing;
        for alert in &alerts {
            self.metrics.alert(alert.kind);
        }
        if self.webhook.is_some() {
            self.state.outbox.extend(alerts.iter().cloned());
            let over = self.state.outbox.len().saturating_sub(MAX_OUTBOX);
            self.state.outbox.drain(..over);
        }
        // Before anybody is told: what was told is known after a restart too.
        self.dir.save(&self.state)?;
        self.deliver()?;
        self.keep_entries(now)?;
        let look = self.summary(status, &found.findings, found.unknown, alerts, now);
        self.count(&look, now);
        Ok(look)
    }

    /// Goes on under the log's new keys, if the old ones vouch for a change to those that sign now. What
    /// cannot be asked for changes nothing.
    fn follow_keys(&mut self) -> Result<bool, MonitorError> {
        let Ok(Some(note)) = self.source.checkpoint() else {
            return Ok(false);
        };
        let strange = |policy: &Policy| rotation::signed_by_others(policy, &note);
        if !strange(&self.policy) {
            return Ok(false);
        }
        let known = |policy: &Policy| !strange(policy);
        let Ok(path) = rotation::forwards(&self.policy, &self.source, known) else {
            return Ok(false);
        };
        let Some(policy) = path.policies.last().filter(|policy| known(policy)) else {
            return Ok(false);
        };
        self.policy = policy.clone();
        let text = path.exchange(&String::from_utf8_lossy(&self.policy_text));
        self.policy_text = text.into_bytes();
        self.dir.write(POLICY, &self.policy_text)?;
        Ok(true)
    }

    fn standing(&self, kinds: &[Kind]) -> Vec<Kind> {
        let standing = |kind: &&Kind| self.state.standing.contains(kind);
        kinds.iter().filter(standing).copied().collect()
    }

    fn last(&self) -> Option<(Checkpoint, String)> {
        let last = self.state.last.as_ref()?;
        let note = SignedNote::parse(last.note.as_bytes()).ok()?;
        Some((Checkpoint::parse(note.text()).ok()?, last.note.clone()))
    }

    /// Keeps a good checkpoint as the last.
    fn accept(&mut self, verified: &VerifiedCheckpoint, note: &[u8], now: Timestamp) {
        let signatures = verified
            .log_signatures
            .iter()
            .chain(&verified.witness_signatures);
        let signed = signatures.filter_map(|signature| signature.timestamp).max();
        let before = self.last();
        let newer = before.is_none_or(|(last, _)| last.size != verified.checkpoint.size)
            || self
                .state
                .last
                .as_ref()
                .is_some_and(|last| last.signed < signed);
        let seen = match &self.state.last {
            Some(last) if !newer => last.seen,
            _ => now.0,
        };
        self.state.last = Some(Last {
            note: String::from_utf8_lossy(note).into_owned(),
            seen,
            signed,
        });
    }

    fn look_at_entries(&mut self, checkpoint: &Checkpoint, now: Timestamp, found: &mut Found) {
        let Some(entries) = &mut self.entries else {
            return;
        };
        match entries.look(&self.source, checkpoint, now.0) {
            Ok(looked) => {
                if looked.bad_root {
                    found.standing.insert(Kind::Entries);
                }
                if looked.bad_records {
                    found.standing.insert(Kind::Records);
                }
                found.findings.extend(looked.finding);
            }
            Err(error) => {
                found
                    .standing
                    .extend(self.standing(&[Kind::Entries, Kind::Records]));
                found.unknown = Some(format!("the entries: {error}"));
            }
        }
    }

    fn look_at_age(&self, now: Timestamp, found: &mut Found) {
        let micros = i64::try_from(self.options.max_age.as_micros()).unwrap_or(i64::MAX);
        found.standing.remove(&Kind::Stale);
        found.standing.remove(&Kind::Unavailable);
        if self.age(now) > micros {
            found.standing.insert(Kind::Stale);
        }
        if found.unknown.is_some() && now.0.saturating_sub(self.state.shown) > micros {
            found.standing.insert(Kind::Unavailable);
        }
    }

    /// Since the last good checkpoint was signed, or first seen where that was earlier: a time in the
    /// future makes nothing fresher. In microseconds.
    fn age(&self, now: Timestamp) -> i64 {
        let Some(last) = &self.state.last else {
            return 0;
        };
        let signed = last
            .signed
            .and_then(|seconds| i64::try_from(seconds).ok()?.checked_mul(1_000_000));
        let signed = signed.map_or(last.seen, |signed| signed.min(last.seen));
        now.0.saturating_sub(signed).max(0)
    }

    /// What has to be said: what is wrong and was not, and what was and is not.
    fn alerts(&mut self, found: &Found, now: Timestamp) -> Vec<Alert> {
        let before = self.state.standing.clone();
        let mut alerts = Vec::new();
        for (finding, failures) in &found.findings {
            let news = self.news(failures);
            if !before.contains(&finding.kind) || (finding.kind == Kind::Records && news) {
                alerts.push(self.keep(finding, now));
            }
        }
        for kind in found.standing.difference(&before) {
            let summary = match kind {
                Kind::Stale => format!(
                    "the newest checkpoint is {} old, {} are allowed: the log is idle, or frozen",
                    in_words(self.age(now)),
                    in_words(i64::try_from(self.options.max_age.as_micros()).unwrap_or(i64::MAX))
                ),
                Kind::Unavailable => format!(
                    "nothing could be shown for {}: {}",
                    in_words(now.0.saturating_sub(self.state.shown)),
                    found.unknown.as_deref().unwrap_or_default()
                ),
                _ => continue,
            };
            alerts.push(self.alert(*kind, false, summary, None, now));
        }
        for kind in before.difference(&found.standing) {
            let summary = match kind {
                Kind::Fork => {
                    "what is shown now has grown from the last good checkpoint; that another \
                               history was signed stays proven"
                        .to_owned()
                }
                kind => format!("{kind} is no longer so"),
            };
            alerts.push(self.alert(*kind, true, summary, None, now));
        }
        alerts
    }

    /// Whether some of these failures were not said before.
    fn news(&mut self, failures: &[Failure]) -> bool {
        let mut news = false;
        for failure in failures {
            let digest = tlog::sha256(failure.to_string().as_bytes());
            let digest = tlog::Hash::from(digest).to_string();
            if self.state.said.len() < MAX_SAID {
                news |= self.state.said.insert(digest);
            } else {
                news |= !self.state.said.contains(&digest);
            }
        }
        news
    }

    fn keep(&self, finding: &Finding, now: Timestamp) -> Alert {
        let mut evidence: Evidence = finding.evidence.clone();
        evidence.add(POLICY, &*self.policy_text);
        if let Some(last) = &self.state.last {
            evidence.add("last-good.checkpoint", last.note.as_bytes());
        }
        let kept = evidence.keep(
            self.dir.path(),
            &now.to_string(),
            finding.kind,
            &self.options.url,
            &finding.summary,
        );
        // Whoever is to be told is told, whether there is room for the evidence or not.
        let (summary, place) = match kept {
            Ok(place) => (finding.summary.clone(), Some(place)),
            Err(error) => (
                format!(
                    "{} (the evidence could not be kept: {error})",
                    finding.summary
                ),
                None,
            ),
        };
        self.alert(finding.kind, false, summary, place, now)
    }

    fn alert(
        &self,
        kind: Kind,
        resolved: bool,
        summary: String,
        evidence: Option<PathBuf>,
        now: Timestamp,
    ) -> Alert {
        let last = self.last().map(|(checkpoint, _)| checkpoint);
        Alert {
            kind,
            resolved,
            time: now.to_string(),
            url: self.options.url.clone(),
            origin: last.as_ref().map(|checkpoint| checkpoint.origin.clone()),
            size: last.map(|checkpoint| checkpoint.size.get()),
            summary,
            evidence,
        }
    }

    /// Hands the webhook what it has not taken yet, in order.
    fn deliver(&mut self) -> Result<(), MonitorError> {
        let Some(webhook) = &self.webhook else {
            return Ok(());
        };
        let waiting = self.state.outbox.len();
        while let Some(alert) = self.state.outbox.first() {
            if webhook.send(alert).is_err() {
                self.metrics.webhook_failed();
                break;
            }
            self.state.outbox.remove(0);
        }
        if self.state.outbox.len() == waiting {
            return Ok(());
        }
        self.dir.save(&self.state)
    }

    /// Keeps what is known of the entries, now and then: a monitor that is started again reads the rest.
    fn keep_entries(&mut self, now: Timestamp) -> Result<(), MonitorError> {
        let due = self
            .entries_kept
            .is_none_or(|kept| now.0.saturating_sub(kept) >= KEEP_ENTRIES_MICROS);
        let saved = self
            .entries
            .as_ref()
            .filter(|_| due)
            .and_then(Entries::save);
        if let Some(saved) = saved {
            self.dir.write(ENTRIES, &saved)?;
            self.entries_kept = Some(now.0);
        }
        Ok(())
    }

    fn summary(
        &self,
        status: Status,
        findings: &[(Finding, Vec<Failure>)],
        unknown: Option<String>,
        alerts: Vec<Alert>,
        now: Timestamp,
    ) -> Look {
        let standing = || {
            let names: Vec<_> = self.state.standing.iter().map(|kind| kind.name()).collect();
            format!("still: {}", names.join(", "))
        };
        let first = || findings.first().map(|(finding, _)| finding.summary.clone());
        Look {
            time: now.to_string(),
            status,
            size: self.last().map(|(checkpoint, _)| checkpoint.size.get()),
            entries: self.entries.as_ref().map(Entries::size),
            unknown: self.entries.as_ref().map(Entries::unknown),
            why: match status {
                Status::True => None,
                Status::Stale => Some(format!(
                    "the newest checkpoint is {} old",
                    in_words(self.age(now))
                )),
                Status::False => Some(first().unwrap_or_else(standing)),
                Status::Unavailable => unknown,
            },
            alerts,
        }
    }

    fn count(&self, look: &Look, now: Timestamp) {
        let seconds = |micros: i64| micros.max(0) as f64 / 1e6;
        self.metrics.look(
            &Numbers {
                status: look.status,
                size: look.size.unwrap_or(0),
                entries: look.entries.unwrap_or(0),
                unknown: look.unknown.unwrap_or(0),
                age_seconds: seconds(self.age(now)),
                shown_seconds: seconds(now.0.saturating_sub(self.state.shown)),
                waiting: self.state.outbox.len(),
            },
            |kind| self.state.standing.contains(&kind),
        );
    }
}

/// Asks the log for its own policy: trust on first use.
fn ask_policy(source: &Source, url: &str) -> Result<Vec<u8>, MonitorError> {
    let none = |why: String| MonitorError::NoPolicy {
        url: format!("{url}/{POLICY}"),
        why,
    };
    let policy = source.file(POLICY, MAX_POLICY_BYTES);
    let policy = policy.map_err(|e| none(e.to_string()))?;
    policy.ok_or_else(|| none("it serves none".into()))
}

fn parse_policy(bytes: &[u8]) -> Result<Policy, PolicyError> {
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
    match text.parse::<VerifierKey>() {
        Ok(key) => Policy::from_vkeys(&[key]),
        Err(_) => Policy::parse(bytes),
    }
}

fn in_words(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
