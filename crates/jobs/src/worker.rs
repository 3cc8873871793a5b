//! Workers: threads that take jobs and do them, until told to stop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use record::Entropy;
use store::{Bell, Claim, JobEnd, JobRow, StoreError};

use crate::Tools;
use crate::attempt::{Attempt, Heart, millis};
use crate::error::Fault;
use crate::kinds::{self, Kind};
use crate::stop::Stop;

/// After the first failure a job rests about so long; twice as long after each further one.
const FIRST_PAUSE_MILLIS: u64 = 2_000;
/// And at most so long.
const LONGEST_PAUSE_MILLIS: u64 = 300_000;

/// How a worker goes about it.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// What it is called in a job's row.
    pub name: String,
    /// How many jobs it does at a time.
    pub threads: usize,
    /// How long it is believed to be there without a word; then another takes its job.
    pub lease: Duration,
    /// How often it looks for jobs of which no bell told it.
    pub poll: Duration,
}

impl WorkerOptions {
    /// The usual options.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            threads: 1,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
        }
    }
}

/// Takes jobs and does them. Dropped, it gives back what it has and ends.
#[derive(Debug)]
pub struct Worker {
    stop: Arc<Stop>,
    bell: Arc<dyn Bell>,
    threads: Vec<JoinHandle<()>>,
}

impl Worker {
    /// Starts its threads.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(tools: &Arc<Tools>, options: &WorkerOptions) -> std::io::Result<Self> {
        let mut worker = Self {
            stop: Arc::default(),
            bell: Arc::clone(&tools.queue.bell),
            threads: Vec::new(),
        };
        for number in 1..=options.threads.max(1) {
            let hand = Hand {
                tools: Arc::clone(tools),
                stop: Arc::clone(&worker.stop),
                options: options.clone(),
            };
            let thread = thread::Builder::new()
                .name(format!("jobs-{number}"))
                .spawn(move || hand.run())?;
            worker.threads.push(thread);
        }
        Ok(worker)
    }

    /// Does what is due, here and now, until this job has ended; gives its row then. For a process without a worker.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn do_until_ended(
        tools: &Arc<Tools>,
        options: &WorkerOptions,
        id: &str,
    ) -> Result<Option<JobRow>, StoreError> {
        let hand = Hand {
            tools: Arc::clone(tools),
            stop: Arc::default(),
            options: options.clone(),
        };
        loop {
            let row = tools.queue.store.job(id)?;
            if row.as_ref().is_none_or(|row| row.finished.is_some()) {
                return Ok(row);
            }
            if !hand.one(None) {
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.tell();
        self.bell.wake();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker's thread panicked");
            }
        }
    }
}

/// One thread of a worker.
struct Hand {
    tools: Arc<Tools>,
    stop: Arc<Stop>,
    options: WorkerOptions,
}

impl Hand {
    fn run(&self) {
        yield_to_requests();
        let mut deaf = false;
        while !self.stop.is_told() {
            let rung = match self.tools.queue.bell.wait(self.options.poll) {
                Ok(rung) => {
                    if std::mem::take(&mut deaf) {
                        tracing::info!("the bell for jobs is heard again");
                    }
                    rung
                }
                Err(error) => {
                    if !std::mem::replace(&mut deaf, true) {
                        tracing::warn!(%error, "the bell for jobs is not heard; jobs are looked for instead");
                    }
                    self.stop.rest(self.options.poll);
                    None
                }
            };
            if let Some(id) = rung {
                self.one(Some(&id));
            }
            while !self.stop.is_told() && self.one(None) {}
        }
    }

    /// Takes one job, if there is one, and does it.
    fn one(&self, id: Option<&str>) -> bool {
        let claim = Claim {
            holder: &self.options.name,
            kinds: &kinds::possible(&self.tools),
            lease: millis(self.options.lease),
            id,
        };
        match self.tools.queue.store.claim_job(&claim) {
            Ok(Some(job)) => {
                self.attempt(&job);
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, "could not look for jobs");
                self.stop.rest(self.options.poll);
                false
            }
        }
    }

    fn attempt(&self, job: &JobRow) {
        let heart = Heart::of(job);
        let store = &*self.tools.queue.store;
        let outcome = thread::scope(|scope| {
            scope.spawn(|| heart.beat(store, job, self.options.lease));
            let outcome = self.make(job, &heart);
            heart.stop();
            outcome
        });
        let (done, total) = heart.progress();
        let end = match outcome {
            Ok(result) => JobEnd::Done { result },
            Err(Fault::Lost) => {
                tracing::warn!(
                    job = job.id,
                    kind = job.kind,
                    "a job was taken over by another worker"
                );
                return;
            }
            Err(Fault::Stopping) => JobEnd::Again {
                delay: 0,
                done,
                total,
            },
            Err(Fault::Wait { delay, done, total }) => JobEnd::Again { delay, done, total },
            Err(Fault::Dead(reason)) => JobEnd::Dead { reason },
            Err(Fault::Retry(reason)) => {
                let entropy = self.tools.ledger.entropy();
                let delay = pause(failures(job), &*entropy);
                JobEnd::Retry { reason, delay }
            }
        };
        if let JobEnd::Retry { reason, .. } | JobEnd::Dead { reason } = &end {
            let (id, kind, attempt) = (&job.id, &job.kind, job.attempt);
            tracing::warn!(
                job = id,
                kind,
                attempt,
                reason,
                "an attempt at a job failed"
            );
        }
        self.end(job, &end);
    }

    fn make(&self, job: &JobRow, heart: &Heart) -> Result<String, Fault> {
        let kind = kinds::find(&job.kind)
            .ok_or_else(|| Fault::Dead(format!("nobody knows how to do `{}`", job.kind)))?;
        let attempt = Attempt {
            job,
            tools: &self.tools,
            heart,
            stopping: &self.stop,
        };
        let made = catch_unwind(AssertUnwindSafe(|| kind.make(&attempt)));
        let result = made.unwrap_or_else(|_| {
            Err(Fault::Retry(
                "it panicked, which is a defect; the log says where".to_owned(),
            ))
        })?;
        Ok(result.to_string())
    }

    /// Says how an attempt ended. Where nobody hears it for as long as the lease, the job is done once more, which is
    /// harmless.
    fn end(&self, job: &JobRow, end: &JobEnd) {
        let deadline = Instant::now() + self.options.lease;
        loop {
            match self.tools.queue.store.end_job(&job.id, job.attempt, end) {
                Ok(true) => return,
                Ok(false) => {
                    let (id, kind) = (&job.id, &job.kind);
                    tracing::warn!(job = id, kind, "a job had ended, or was taken over");
                    return;
                }
                Err(error) if Instant::now() < deadline => {
                    tracing::warn!(%error, job = job.id, "a job's end was not heard; trying again");
                    thread::sleep(Duration::from_millis(200));
                }
                Err(error) => {
                    tracing::error!(%error, job = job.id, "a job's end was not heard; it will be done again");
                    return;
                }
            }
        }
    }
}

/// Jobs can wait, whoever sends records cannot: where both want the same processor, this thread and those it starts get about
/// a tenth. Elsewhere than on Linux a whole process would be meant (nice(2)).
fn yield_to_requests() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(10) {
        tracing::debug!(%error, "jobs run at the usual priority");
    }
}

/// How often the job has failed since it was added or requeued, this time included.
fn failures(job: &JobRow) -> u64 {
    let tries = kinds::find(&job.kind).map_or(1, Kind::tries);
    let left = job.tries.saturating_sub(job.attempt);
    tries.saturating_sub(left).max(1)
}

/// How long to rest after so many failures: between half and the whole of what doubles each time.
fn pause(failures: u64, entropy: &dyn Entropy) -> u64 {
    let doubled = u32::try_from(failures.saturating_sub(1).min(16)).unwrap_or(16);
    let whole = (FIRST_PAUSE_MILLIS << doubled).min(LONGEST_PAUSE_MILLIS);
    let mut random = [0; 8];
    entropy.fill(&mut random);
    whole / 2 + u64::from_le_bytes(random) % (whole / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn its_threads_alone_yield() {
        // Field 19 of proc_pid_stat(5); the second is a name in parentheses.
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let after_name = stat.rsplit_once(')').unwrap().1;
            let field = after_name.split_whitespace().nth(16).unwrap();
            field.parse::<i32>().unwrap()
        };
        let before = nice();
        let heart = thread::spawn(move || {
            yield_to_requests();
            thread::spawn(nice).join().unwrap()
        });
        assert_eq!(heart.join().unwrap(), (before + 10).min(19));
        assert_eq!(nice(), before);
    }

    #[test]
    fn pauses_grow_within_bounds_and_differ() {
        for random in [0, 7, 255] {
            let pauses: Vec<u64> = (1..30).map(|n| pause(n, &Fixed(random))).collect();
            assert!((1_000..=2_000).contains(&pauses[0]), "{pauses:?}");
            assert!(pauses.iter().all(|p| *p <= LONGEST_PAUSE_MILLIS));
            assert!(pauses[28] >= LONGEST_PAUSE_MILLIS / 2);
        }
        assert_ne!(pause(3, &Fixed(1)), pause(3, &Fixed(2)));
    }
}
