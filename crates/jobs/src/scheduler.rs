//! Adds jobs when their time has come. Of several schedulers the one with the lease acts; should two believe that they
//! have it, a schedule's time is still used once, which the store sees to.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use store::StoreError;

use crate::Tools;
use crate::error::JobError;
use crate::kinds;
use crate::queue::new_job;
use crate::schedule::Schedule;
use crate::stop::Stop;

/// The lease's name.
const LEASE: &str = "scheduler";
/// How long a scheduler is believed to be there; then another acts.
const LEASE_MILLIS: u64 = 10_000;
/// How often it asks for its turn.
const ASK: Duration = Duration::from_secs(3);
/// How often it looks at the clock.
const TICK: Duration = Duration::from_millis(500);
/// How often what is over is forgotten.
const PRUNE: Duration = Duration::from_hours(1);
/// How long jobs that are done are remembered, and those that are dead.
const REMEMBERED_MILLIS: (u64, u64) = (7 * DAY_MILLIS, 30 * DAY_MILLIS);
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1_000;

/// Adds what is due. Dropped, it gives up its lease and ends.
#[derive(Debug)]
pub struct Scheduler {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Scheduler {
    /// Starts its thread, which follows the schedules of the tools. `name` is who it is, unlike all others.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(tools: &Arc<Tools>, name: impl Into<String>) -> std::io::Result<Self> {
        let stop: Arc<Stop> = Arc::default();
        let mut clerk = Clerk {
            tools: Arc::clone(tools),
            name: name.into(),
            acts: false,
            asked: None,
            pruned: None,
        };
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("scheduler".to_owned())
            .spawn(move || {
                while !told.rest(TICK) {
                    if let Err(error) = clerk.look() {
                        tracing::warn!(%error, "schedules could not be followed; trying again");
                    }
                }
                clerk.leave();
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.stop.tell();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the scheduler's thread panicked");
        }
    }
}

struct Clerk {
    tools: Arc<Tools>,
    name: String,
    /// It had the lease when it last looked.
    acts: bool,
    /// When it asked for its turn.
    asked: Option<Instant>,
    pruned: Option<Instant>,
}

impl Clerk {
    fn look(&mut self) -> Result<(), JobError> {
        if self.asked.is_none_or(|at| at.elapsed() >= ASK) {
            self.ask()?;
        }
        if !self.acts {
            return Ok(());
        }
        let store = &*self.tools.queue.store;
        let now = store.now()?;
        for schedule in &self.tools.settings().schedules {
            self.follow(schedule, now)?;
        }
        if self.pruned.is_none_or(|at| at.elapsed() >= PRUNE) {
            let (done, dead) = REMEMBERED_MILLIS;
            let forgotten = store.prune_jobs(done, dead)?;
            if forgotten > 0 {
                tracing::info!(forgotten, "jobs of the past were forgotten");
            }
            self.pruned = Some(Instant::now());
        }
        Ok(())
    }

    /// Asks whether it is its turn. Whoever has the ledger to itself need not.
    fn ask(&mut self) -> Result<(), StoreError> {
        let ledger = &self.tools.ledger;
        let store = &*self.tools.queue.store;
        let asked = Instant::now();
        let acts = ledger.is_alone() || store.take_lease(LEASE, &self.name, LEASE_MILLIS)?;
        if acts != self.acts {
            let name = &self.name;
            tracing::info!(
                scheduler = name,
                acts,
                "whose turn it is to follow the schedules has changed"
            );
        }
        self.acts = acts;
        self.asked = Some(asked);
        Ok(())
    }

    fn follow(&self, schedule: &Schedule, now: i64) -> Result<(), JobError> {
        let queue = &self.tools.queue;
        let last = queue.store.last_tick(&schedule.name)?;
        let Some(at) = schedule.when.due(last, now) else {
            return Ok(());
        };
        let kind = kinds::find(&schedule.kind)
            .ok_or_else(|| JobError::UnknownKind(schedule.kind.clone()))?;
        let new = new_job(&self.tools.ledger, kind, schedule.payload.clone(), None)?;
        if queue.store.tick(&schedule.name, at, &new)? {
            tracing::debug!(schedule = schedule.name, job = new.id, "a job is due");
            queue.ring(&new.id);
        }
        Ok(())
    }

    fn leave(&self) {
        if self.tools.ledger.is_alone() || !self.acts {
            return;
        }
        let left: Result<(), StoreError> = self.tools.queue.store.release_lease(LEASE, &self.name);
        if let Err(error) = left {
            tracing::warn!(%error, "could not give up the scheduler's lease; it runs out");
        }
    }
}
