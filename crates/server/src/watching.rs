//! Watches over what is published, behind everything else: reads the log as it grows, shows it to the rules of
//! [`watch`], and has what they find recorded on the server's own stream.
//!
//! What is known is kept in the database now and then. It follows from the log, so whatever ends the server, the next one
//! goes on from what was kept, and sees in the log what was raised since. Nothing is raised before all that had an index when
//! this one began is looked at: a finding may be in there already. An append never waits for any of this.

mod metrics;

pub(crate) use metrics::FindingMetrics;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ledger::{AppendCode, Ledger, LedgerError, Query, SubmitError};
use record::kinds::FindingRaised;
use record::{Kind, Record, Scope, StreamName};
use tokio::time::MissedTickBehavior;
use watch::{Finding, Settings, Watch};

/// From one look to the next.
const EVERY: Duration = Duration::from_secs(1);
/// How long a turn among several servers lasts; it is prolonged at each look.
const TURN: Duration = Duration::from_secs(15);
/// What is known is kept so often, where the log has grown. What came after is looked at again after a crash.
const KEEP_EVERY: Duration = Duration::from_secs(30);
/// Records read at a time.
const PAGE: usize = 1_000;
/// So many times as long as a page took is rested after it, and at most so long: whoever records comes first.
const REST: u32 = 3;
const MOST_REST: Duration = Duration::from_millis(100);

/// The thresholds of the rules. Clones share them: what is replaced in one is replaced in all.
#[derive(Clone, Debug, Default)]
pub struct Thresholds(Arc<RwLock<Settings>>);

impl Thresholds {
    /// These, until others come in their place.
    pub fn new(settings: Settings) -> Self {
        Self(Arc::new(RwLock::new(settings)))
    }

    /// Puts others in their place, for what is looked at from now on.
    pub fn replace(&self, settings: Settings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    fn current(&self) -> Settings {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Watches over a ledger, on and on.
#[derive(Debug)]
pub(crate) struct Watcher {
    name: String,
    thresholds: Thresholds,
    metrics: FindingMetrics,
    stopped: AtomicBool,
    /// `None`: it is another server's turn, or nothing was read yet.
    turn: Mutex<Option<Turn>>,
}

/// What is known while it is this server's turn.
#[derive(Debug)]
struct Turn {
    watch: Watch,
    /// Nothing is raised before the log up to here was looked at.
    barrier: u64,
    /// Findings before this were recorded before the turn.
    counted_from: u64,
    kept: u64,
    kept_at: Instant,
}

impl Watcher {
    pub(crate) fn new(ledger: &Ledger, thresholds: Thresholds, metrics: FindingMetrics) -> Self {
        Self {
            name: ledger.watcher(),
            thresholds,
            metrics,
            stopped: AtomicBool::new(false),
            turn: Mutex::default(),
        }
    }

    /// Looks on and on; dropped when the server stops.
    pub(crate) async fn run(self: Arc<Self>, ledger: Arc<Ledger>) {
        // A process that serves a ledger to itself for a moment has no time for this.
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let (this, ledger) = (Arc::clone(&self), Arc::clone(&ledger));
            let looked = tokio::task::spawn_blocking(move || this.look(&ledger)).await;
            match looked {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "could not watch over the log, trying again");
                }
                Err(error) => {
                    tracing::error!(%error, "watching over the log has ended; please report it");
                    return;
                }
            }
        }
    }

    /// Ends a look that is under way, and keeps what is known.
    pub(crate) fn stop(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        self.stopped.store(true, Ordering::Relaxed);
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut turn) = turn.take() {
            if turn.watch.next() > turn.kept {
                turn.keep(ledger)?;
            }
            ledger.end_watch(&self.name)?;
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn look(&self, ledger: &Ledger) -> Result<(), LedgerError> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_stopped() {
            return Ok(());
        }
        if !ledger.may_watch(&self.name, TURN)? {
            *turn = None;
            return Ok(());
        }
        if turn.is_none() {
            *turn = Some(self.begin(ledger)?);
        }
        let Some(turn) = turn.as_mut() else {
            return Ok(());
        };
        turn.watch.adjust(self.thresholds.current());
        let mut began = Instant::now();
        while !self.is_stopped() && self.read(ledger, turn)? {
            std::thread::sleep((began.elapsed() * REST).min(MOST_REST));
            began = Instant::now();
            // A log that is caught up with takes longer than a turn lasts.
            if !ledger.may_watch(&self.name, TURN)? {
                return Ok(());
            }
        }
        self.metrics
            .watched(turn.watch.next(), turn.watch.open_runs());
        if !self.is_stopped() && turn.watch.next() >= turn.barrier {
            turn.watch.look(ledger.clock().now());
            raise(ledger, turn);
        }
        if turn.watch.next() > turn.kept && turn.kept_at.elapsed() >= KEEP_EVERY {
            turn.keep(ledger)?;
        }
        Ok(())
    }

    fn begin(&self, ledger: &Ledger) -> Result<Turn, LedgerError> {
        let size = ledger.status().sequenced;
        let kept = ledger.watch_kept()?;
        let restored = kept.as_deref().and_then(|kept| {
            let restored = Watch::restore(self.thresholds.current(), kept);
            if restored.is_none() {
                tracing::warn!(
                    "what the watch kept cannot be read; the log is, from its beginning"
                );
            }
            restored
        });
        let watch = restored
            // A ledger that was put back is shorter than what was kept of it.
            .filter(|watch| watch.next() <= size)
            .unwrap_or_else(|| Watch::new(self.thresholds.current()));
        Ok(Turn {
            kept: watch.next(),
            kept_at: Instant::now(),
            barrier: size,
            counted_from: size,
            watch,
        })
    }

    /// Reads on; whether there may be more.
    fn read(&self, ledger: &Ledger, turn: &mut Turn) -> Result<bool, LedgerError> {
        let query = Query {
            after: turn.watch.next().checked_sub(1),
            limit: PAGE,
            ..Query::default()
        };
        let page = ledger.query(&query)?;
        let now = ledger.clock().now();
        for (index, bytes) in &page.records {
            let Ok(record) = Record::parse_envelope(bytes) else {
                turn.watch.skip(*index);
                continue;
            };
            turn.watch.take(*index, &record, now);
            if *index >= turn.counted_from
                && let Some(finding) = own_finding(&record)
            {
                self.metrics.found(&finding.finding);
            }
        }
        Ok(page.next.is_some())
    }
}

impl Turn {
    fn keep(&mut self, ledger: &Ledger) -> Result<(), LedgerError> {
        ledger.keep_watch(&self.watch.save())?;
        self.kept = self.watch.next();
        self.kept_at = Instant::now();
        Ok(())
    }
}

/// The finding that this record is, where a server of this ledger has recorded it.
pub(crate) fn own_finding(record: &Record<'_>) -> Option<FindingRaised> {
    let own = record.scope() == Scope::Ledger && *record.stream() == StreamName::SERVER;
    if !own || !record.is(Kind::FindingRaised) {
        return None;
    }
    record.decode().ok()
}

/// Records what waits.
fn raise(ledger: &Ledger, turn: &mut Turn) {
    for finding in turn.watch.waiting().to_vec() {
        match record(ledger, &finding) {
            Raised::Recorded => {
                tracing::warn!(finding = finding.rule.name(), run = %finding.run, "something looks odd");
                turn.watch.settle(&finding);
            }
            Raised::Never(why) => {
                tracing::warn!(
                    finding = finding.rule.name(),
                    why,
                    "a finding could not be recorded"
                );
                turn.watch.settle(&finding);
            }
            // It may be in the log. That is looked at first.
            Raised::Unknown => {
                turn.barrier = ledger.status().sequenced;
                return;
            }
            Raised::Later => return,
        }
    }
}

enum Raised {
    Recorded,
    Later,
    Unknown,
    Never(String),
}

fn record(ledger: &Ledger, finding: &Finding) -> Raised {
    let ticket = match ledger.record_own(finding.draft()) {
        Ok(ticket) => ticket,
        Err(SubmitError::Overloaded { .. }) => return Raised::Later,
        Err(_) => return Raised::Unknown,
    };
    match ticket.wait() {
        Ok(_) => Raised::Recorded,
        Err(error) if error.code == AppendCode::Unavailable => Raised::Unknown,
        Err(error) => Raised::Never(error.to_string()),
    }
}
