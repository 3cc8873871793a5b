//! Whether what the server depends on answers, and how fast: asked when somebody wants to know, at most once a second,
//! and never twice at a time, so that a dependency that hangs holds one thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ledger::{Ledger, LedgerError};
use tokio::sync::Notify;

use crate::api::Part;

/// How long an answer is good for.
const FRESH: Duration = Duration::from_secs(1);
/// How long whoever asks waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a server depends on.
#[derive(Debug)]
pub(crate) struct Probes {
    index: Probe,
    objects: Probe,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            index: Probe::new(|ledger| ledger.latest_size().map(drop)),
            // One that is not there: it has to be looked for all the same.
            objects: Probe::new(|ledger| ledger.rotation_file(u64::MAX).map(drop)),
        }
    }
}

impl Probes {
    /// The index (SQLite or PostgreSQL), and the objects (a directory or an object store).
    pub(crate) async fn look(&self, ledger: &Arc<Ledger>) -> [(&'static str, Part); 2] {
        let (index, objects) = tokio::join!(self.index.look(ledger), self.objects.look(ledger));
        [("index", index), ("objects", objects)]
    }
}

#[derive(Debug)]
struct Probe {
    ask: fn(&Ledger) -> Result<(), LedgerError>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    last: Mutex<Last>,
    answered: Notify,
}

#[derive(Clone, Debug, Default)]
struct Last {
    /// A question is under way since then.
    asked: Option<Instant>,
    answer: Option<Answer>,
}

#[derive(Clone, Debug)]
struct Answer {
    at: Instant,
    took: Duration,
    error: Option<String>,
}

impl Probe {
    fn new(ask: fn(&Ledger) -> Result<(), LedgerError>) -> Self {
        Self {
            ask,
            seen: Arc::default(),
        }
    }

    async fn look(&self, ledger: &Arc<Ledger>) -> Part {
        let answered = self.seen.answered.notified();
        let mut answered = std::pin::pin!(answered);
        // From here on no answer is missed.
        answered.as_mut().enable();
        if self.begin(ledger) {
            let _ = tokio::time::timeout(PATIENCE, answered).await;
        }
        let last = self.seen.lock().clone();
        last.part()
    }

    /// Asks unless that is under way or was done a moment ago; whether there is an answer to wait for.
    fn begin(&self, ledger: &Arc<Ledger>) -> bool {
        let mut last = self.seen.lock();
        if last.asked.is_some() {
            return true;
        }
        if last
            .answer
            .as_ref()
            .is_some_and(|answer| answer.at.elapsed() < FRESH)
        {
            return false;
        }
        let began = Instant::now();
        last.asked = Some(began);
        drop(last);
        let (ask, ledger, seen) = (self.ask, Arc::clone(ledger), Arc::clone(&self.seen));
        tokio::task::spawn_blocking(move || {
            let error = ask(&ledger).err().map(|error| error.to_string());
            let (at, took) = (Instant::now(), began.elapsed());
            *seen.lock() = Last {
                asked: None,
                answer: Some(Answer { at, took, error }),
            };
            seen.answered.notify_waiters();
        });
        true
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    fn part(&self) -> Part {
        if let Some(asked) = self.asked {
            let seconds = asked.elapsed().as_secs_f64();
            return Part {
                status: "degraded",
                detail: format!("no answer for {seconds:.1} s"),
                latency_ms: None,
            };
        }
        let Some(answer) = &self.answer else {
            return Part::new("ok", "not asked yet");
        };
        let (status, detail) = match &answer.error {
            None => ("ok", "answers".to_owned()),
            Some(error) => ("failed", error.clone()),
        };
        Part {
            status,
            detail,
            latency_ms: Some(answer.took.as_secs_f64() * 1e3),
        }
    }
}
