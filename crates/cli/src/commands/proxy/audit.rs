//! The thread that records calls, apart from those that pass them on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::spool::SpooledStream;
use import::trainers::openrlhf::{self, Body};
use import::trainers::{Counts, Entry};
use record::RunId;
use tokio::sync::oneshot;

use super::watch::{Call, Copied, Fate, MAX_COPIED_BYTES};
use crate::environment::{SystemClock, SystemEntropy};

/// The most bytes of calls that wait to be recorded; a call beyond that is not.
const MAX_WAITING_BYTES: usize = 256 << 20;
/// The same trouble is said again after so long.
const SAY_AGAIN: Duration = Duration::from_mins(1);

/// Takes calls to be recorded.
#[derive(Clone)]
pub(super) struct Auditor {
    jobs: Sender<Job>,
    waiting_bytes: Arc<AtomicUsize>,
    missed: Arc<AtomicU64>,
}

struct Job {
    call: Call,
    bytes: usize,
    done: Option<oneshot::Sender<Result<(), String>>>,
}

/// What was recorded.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Calls that left records.
    pub(super) calls: u64,
    pub(super) counts: Counts,
    /// Calls that were passed on and left none.
    pub(super) missed: u64,
}

impl Auditor {
    /// Starts the thread. It ends once every auditor is dropped and everything is recorded.
    pub(super) fn start(
        stream: SpooledStream,
        reward_model: Option<String>,
    ) -> (Self, JoinHandle<Tally>) {
        let (jobs, waiting) = channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let missed = Arc::new(AtomicU64::new(0));
        let clerk = Clerk {
            stream,
            reward_model,
            waiting_bytes: Arc::clone(&waiting_bytes),
            missed: Arc::clone(&missed),
            unreported: 0,
            tally: Tally::default(),
            said: None,
        };
        let thread = std::thread::spawn(move || clerk.work(&waiting));
        let auditor = Self {
            jobs,
            waiting_bytes,
            missed,
        };
        (auditor, thread)
    }

    /// Has a call recorded, some time.
    pub(super) fn note(&self, call: Call) {
        if self.submit(call, None).is_err() {
            self.missed.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Has a call recorded now.
    pub(super) async fn record(&self, call: Call) -> Result<(), String> {
        let (done, recorded) = oneshot::channel();
        self.submit(call, Some(done))?;
        recorded
            .await
            .unwrap_or_else(|_| Err("recording has ended".to_owned()))
    }

    fn submit(
        &self,
        call: Call,
        done: Option<oneshot::Sender<Result<(), String>>>,
    ) -> Result<(), String> {
        let answer = match &call.fate {
            Fate::Answered { answer, .. } => answer.bytes.len(),
            _ => 0,
        };
        let bytes = call.request.bytes.len() + answer;
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        let job = Job { call, bytes, done };
        if before + bytes > MAX_WAITING_BYTES || self.jobs.send(job).is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(format!(
                "{before} bytes of calls wait to be recorded already"
            ));
        }
        Ok(())
    }
}

struct Clerk {
    stream: SpooledStream,
    reward_model: Option<String>,
    waiting_bytes: Arc<AtomicUsize>,
    missed: Arc<AtomicU64>,
    /// Missed, and in no incident yet.
    unreported: u64,
    tally: Tally,
    said: Option<Instant>,
}

impl Clerk {
    fn work(mut self, waiting: &Receiver<Job>) -> Tally {
        for job in waiting {
            self.recount();
            let recorded = self.record(&job.call);
            self.waiting_bytes.fetch_sub(job.bytes, Ordering::AcqRel);
            match job.done {
                // A caller that has hung up is not told.
                Some(done) => drop(done.send(recorded)),
                None => {
                    if let Err(why) = recorded {
                        self.missed.fetch_add(1, Ordering::AcqRel);
                        self.say(&why);
                    }
                }
            }
        }
        self.recount();
        if self.unreported > 0 {
            // There is nobody left to be told but the caller of the command, who is.
            let _ = self.write(Entry::default());
        }
        self.tally
    }

    fn record(&mut self, call: &Call) -> Result<(), String> {
        self.write(entry(call, self.reward_model.as_deref()))?;
        self.tally.calls += 1;
        Ok(())
    }

    /// Writes down what a call made, and what was missed before it.
    fn write(&mut self, mut entry: Entry) -> Result<(), String> {
        if self.unreported > 0 {
            let what = format!("{} calls were passed on and not recorded", self.unreported);
            entry.incident("reward-not-recorded", None, &what);
        }
        self.stream
            .write_all(entry.drafts)
            .map_err(|error| error.to_string())?;
        self.unreported = 0;
        self.tally.counts.add(entry.counts);
        Ok(())
    }

    fn recount(&mut self) {
        let missed = self.missed.load(Ordering::Acquire);
        self.unreported += missed - self.tally.missed;
        self.tally.missed = missed;
    }

    fn say(&mut self, why: &str) {
        if self.said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
            self.said = Some(Instant::now());
            eprintln!("rlhf-audit: a call was passed on and not recorded: {why}");
        }
    }
}

/// What a call leaves.
fn entry(call: &Call, reward_model: Option<&str>) -> Entry {
    let name = RunId::generate(&SystemClock, &SystemEntropy);
    let mut entry = Entry::default();
    match &call.fate {
        Fate::Answered { status, answer } if (200..300).contains(status) => {
            match scores(call, answer, name.as_str(), reward_model) {
                Ok(scores) => entry = scores,
                Err((detail, why)) => {
                    let what = format!("call {name}: {why}");
                    entry.incident("reward-not-read", Some(detail), &what);
                }
            }
        }
        Fate::Answered { status, .. } => {
            let what = format!("call {name}: the reward model answered {status}");
            entry.incident("reward-model-error", Some(&format!("http-{status}")), &what);
        }
        other => {
            let (incident, detail, what) = match other {
                Fate::TimedOut => ("reward-model-error", "timeout", "took too long"),
                Fate::Broken => (
                    "reward-model-error",
                    "broke-off",
                    "broke off within its answer",
                ),
                Fate::Abandoned => (
                    "reward-not-read",
                    "caller-gone",
                    "was asked by a caller that hung up",
                ),
                _ => ("reward-model-error", "unreachable", "did not answer"),
            };
            let what = format!("call {name}: the reward model {what}");
            entry.incident(incident, Some(detail), &what);
        }
    }
    entry
}

fn scores(
    call: &Call,
    answer: &Copied,
    name: &str,
    reward_model: Option<&str>,
) -> Result<Entry, (&'static str, String)> {
    if call.request.too_long || answer.too_long {
        let why = format!("request or answer has more than {MAX_COPIED_BYTES} bytes");
        return Err(("too-long", why));
    }
    let request = Body {
        bytes: &call.request.bytes,
        encoding: call.request.encoding.as_deref(),
    };
    let answered = Body {
        bytes: &answer.bytes,
        encoding: answer.encoding.as_deref(),
    };
    openrlhf::call(request, answered, name, reward_model, MAX_COPIED_BYTES)
        .map_err(|error| ("unreadable", error.to_string()))
}
