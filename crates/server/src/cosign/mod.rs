//! The log's side of <https://c2sp.org/tlog-witness>: asks witnesses to cosign what is published.
//!
//! A round every so often: the latest checkpoint goes to each witness that is free, all at once.
//! Nothing waits for a round, and a round waits for nobody: a witness that is slow misses rounds, one
//! that is down is asked less often. What comes back is held against the policy's keys, and brought
//! to the ledger, which decides what it is worth.
//!
//! Not here: the protocol with one witness ([`ask`]), and what becomes of a note ([`ledger`]).

mod ask;
mod metrics;
mod witness;

pub(crate) use metrics::WitnessMetrics;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ledger::{Ledger, Published};
use tlog::{NoteSignature, Policy, SignedNote};
use tokio::time::MissedTickBehavior;

use crate::api::Part;
use ask::Asked;
use witness::Witness;

/// Checkpoints for which late answers are still taken.
const TRACKED: usize = 16;

/// The witnesses of a ledger, and how each is doing.
#[derive(Debug)]
pub(crate) struct Witnesses {
    all: Vec<Witness>,
    /// Checkpoints that witnesses were asked about, with what they have signed so far.
    tracked: Mutex<VecDeque<(Published, SignedNote)>>,
    /// The last note that was brought in had a quorum.
    reached: AtomicBool,
    interval: Duration,
}

impl Witnesses {
    /// Those of the policy that can be reached. The log's own second key, which cosigns under the
    /// log's name, is none.
    pub(crate) fn of(policy: &Policy, origin: &str, interval: Duration) -> Self {
        Self {
            all: witness::of(policy, origin),
            tracked: Mutex::default(),
            reached: AtomicBool::new(false),
            interval,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Witness> {
        self.all.iter()
    }

    /// Asks on and on; dropped when the server stops.
    pub(crate) async fn run(self: Arc<Self>, ledger: Arc<Ledger>) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let following = Arc::clone(&ledger);
            let followed = tokio::task::spawn_blocking(move || following.follow_cosigned()).await;
            if let Ok(Err(error)) = followed {
                tracing::warn!(%error, "could not look for cosignatures of other servers");
            }
            self.round(&ledger);
        }
    }

    fn round(self: &Arc<Self>, ledger: &Arc<Ledger>) {
        let Some(latest) = ledger.latest() else {
            return;
        };
        let size = latest.checkpoint.size.0;
        for at in 0..self.all.len() {
            if !self.all[at].is_due(size, Instant::now()) {
                continue;
            }
            let (this, ledger, latest) = (Arc::clone(self), Arc::clone(ledger), latest.clone());
            tokio::task::spawn_blocking(move || this.ask(at, &ledger, &latest));
        }
    }

    /// One witness, from the question to what the ledger makes of its answer.
    fn ask(&self, at: usize, ledger: &Ledger, latest: &Published) {
        let witness = &self.all[at];
        let size = latest.checkpoint.size.0;
        self.track(latest);
        let outcome = match ask::cosignatures(witness, ledger, latest) {
            Ok(Asked::Cosigned(lines)) => self.bring(ledger, latest, &lines).map(|()| Some(size)),
            // It has cosigned a later one meanwhile, for another server of this log.
            Ok(Asked::Ahead) => Ok(None),
            Err(why) => Err(why),
        };
        witness.answered(outcome, ledger.clock().now(), self.interval);
    }

    fn track(&self, latest: &Published) {
        let mut tracked = self.tracked.lock().unwrap_or_else(PoisonError::into_inner);
        if tracked
            .iter()
            .any(|(published, _)| published.checkpoint == latest.checkpoint)
        {
            return;
        }
        let Ok(note) = SignedNote::parse(&latest.note) else {
            return;
        };
        if tracked.len() == TRACKED {
            tracked.pop_front();
        }
        tracked.push_back((latest.clone(), note));
    }

    /// Adds lines to the note they are of, and brings that to the ledger.
    fn bring(
        &self,
        ledger: &Ledger,
        latest: &Published,
        lines: &[NoteSignature],
    ) -> Result<(), String> {
        // Held until the ledger has it, so that no earlier state of a note comes after a later one.
        let mut tracked = self.tracked.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, note)) = tracked
            .iter_mut()
            .find(|(published, _)| published.checkpoint == latest.checkpoint)
        else {
            return Err(
                "the answer came when many later checkpoints had been published".to_owned(),
            );
        };
        let others = note
            .signatures()
            .iter()
            .filter(|known| {
                !lines
                    .iter()
                    .any(|line| line.name() == known.name() && line.id() == known.id())
            })
            .cloned();
        let all = others.chain(lines.iter().cloned()).collect();
        *note = SignedNote::new(note.text().to_owned(), all).map_err(|e| e.to_string())?;
        let text = note.to_string();
        let reached = ledger
            .add_cosigned(text.as_bytes())
            .map_err(|e| format!("its cosignature could not be kept: {e}"))?;
        self.reached.store(reached, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until a quorum has cosigned the first `size` records, where that is to be expected
    /// soon; what is asked for does not wait for witnesses that are down.
    pub(crate) async fn settle(&self, ledger: &Ledger, size: u64) {
        let deadline = Instant::now() + self.interval.saturating_mul(2) + Duration::from_secs(2);
        let covered = || {
            ledger
                .cosigned()
                .is_some_and(|cosigned| cosigned.checkpoint.size.0 >= size)
        };
        // One that has just started has asked nobody yet.
        let hopeful =
            || self.reached.load(Ordering::Relaxed) || self.iter().all(|w| w.report().is_untried());
        while !covered() && hopeful() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How they are, in words. Never a failure of the server.
    pub(crate) fn part(&self, ledger: &Ledger) -> Part {
        let published = ledger.latest().map_or(0, |at| at.checkpoint.size.0);
        let cosigned = match ledger.cosigned() {
            Some(at) => format!(
                "a quorum has cosigned {} of {published} records",
                at.checkpoint.size
            ),
            None => format!("no quorum has cosigned any of {published} records"),
        };
        let mut troubled = self.iter().filter_map(|witness| {
            let report = witness.report();
            Some(format!("{}: {}", witness.name(), report.error?))
        });
        let detail = match troubled.next() {
            None => cosigned,
            Some(first) => troubled.fold(format!("{cosigned}; {first}"), |all, next| {
                format!("{all}; {next}")
            }),
        };
        let well = self.iter().all(|witness| witness.report().error.is_none());
        Part::new(if well { "ok" } else { "degraded" }, detail)
    }
}
