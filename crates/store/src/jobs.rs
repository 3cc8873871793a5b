//! What is to be done behind everything else: the truth about each job, and what wakes those who do it.
//!
//! A [`JobStore`] says of each job how it stands, how often it was begun and how far it has come. Whoever takes a job has
//! it under the number of the attempt: what comes from an earlier attempt (of a process that was frozen, say) changes
//! nothing any more. A [`Bell`] only says that there is something; every id it loses is found in the store all the same.
//!
//! Times are milliseconds since 1970-01-01T00:00:00Z by the store's clock, so that workers need not agree on theirs.

mod bell;
mod redis;

use crate::error::Result;

pub use self::bell::{Bell, LocalBell};
pub use self::redis::RedisBell;

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobState {
    /// It waits to be taken.
    Queued,
    /// Somebody has it, or had it until now.
    Running,
    /// It failed, and is to be tried again.
    Retrying,
    /// It is done.
    Done,
    /// It failed for good.
    Dead,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Retrying,
        Self::Done,
        Self::Dead,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    /// The state of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A job that is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Its name; nobody else's.
    pub id: String,
    /// What is to be done.
    pub kind: String,
    /// What it is to be done to: of one kind and key, one job at most is open.
    pub key: String,
    /// And none is added as long as one of the past is remembered.
    pub once: bool,
    /// The job that it is a part of.
    pub parent: Option<String>,
    /// What the kind has to know; opaque here.
    pub payload: String,
    /// How often it may be begun, at least 1.
    pub tries: u64,
    /// In how many milliseconds it may be begun.
    pub delay: u64,
}

/// A job as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    /// Its name.
    pub id: String,
    /// What is to be done.
    pub kind: String,
    /// What it is done to.
    pub key: String,
    /// The job that it is a part of.
    pub parent: Option<String>,
    /// What the kind has to know.
    pub payload: String,
    /// How it stands.
    pub state: JobState,
    /// How often it was begun. What is said in an attempt's name counts only while this is its number.
    pub attempt: u64,
    /// Up to which attempt it may be begun.
    pub tries: u64,
    /// How often somebody had a dead one tried again.
    pub requeues: u64,
    /// Who has it, or had it last.
    pub holder: Option<String>,
    /// How much of it is done.
    pub done: u64,
    /// Of how much; 0 where that is not known.
    pub total: u64,
    /// Why its last attempt failed.
    pub reason: Option<String>,
    /// What it came to, once it is done.
    pub result: Option<String>,
    /// When it was added.
    pub created: i64,
    /// When it may be taken: a running one, when its holder's lease runs out.
    pub due: i64,
    /// When its last attempt began.
    pub started: Option<i64>,
    /// When it was done, or died.
    pub finished: Option<i64>,
}

/// Who would take a job.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Its name.
    pub holder: &'a str,
    /// What it can do.
    pub kinds: &'a [&'a str],
    /// For how many milliseconds it is believed to be there without a word.
    pub lease: u64,
    /// Only this job.
    pub id: Option<&'a str>,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// Done.
    Done {
        /// What it came to.
        result: String,
    },
    /// It failed; in so many milliseconds it may be tried again, unless this was its last try.
    Retry {
        /// Why.
        reason: String,
        /// In how many milliseconds.
        delay: u64,
    },
    /// It failed, and trying again will not help.
    Dead {
        /// Why.
        reason: String,
    },
    /// It waits for something; this try does not count.
    Again {
        /// In how many milliseconds it may be taken again.
        delay: u64,
        /// How much of it is done.
        done: u64,
        /// Of how much.
        total: u64,
    },
}

/// What became of the wish to have a dead job tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeued {
    /// It waits to be taken.
    Queued,
    /// It is not dead.
    NotDead(JobState),
    /// Another of its kind and key is open.
    Taken,
    /// There is none of this name.
    Missing,
}

/// Which jobs to list: the newest first.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobFilter<'a> {
    /// Only in this state.
    pub state: Option<JobState>,
    /// Only of this kind.
    pub kind: Option<&'a str>,
    /// Only the parts of this job.
    pub parent: Option<&'a str>,
    /// Only those older than this one, by their ids.
    pub before: Option<&'a str>,
    /// At most so many.
    pub limit: usize,
}

/// How often attempts of a kind ended in some way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOutcome {
    /// The kind.
    pub kind: String,
    /// `done`, `retried`, `dead`, `lost` (its worker was) or `requeued`.
    pub outcome: String,
    /// How often, since the ledger was made.
    pub count: u64,
}

/// The jobs of a ledger. Everything here may be done by several processes at once.
pub trait JobStore: Send + Sync {
    /// Adds a job, unless one of its kind and key is in the way. Says whether it was added. Durable once it returns.
    ///
    /// # Errors
    /// Unknown whether it was added: the same again is harmless.
    fn add_job(&self, job: &NewJob) -> Result<bool>;

    /// Takes a job that is due, or none. One whose holder's lease has run out comes first, or dies where that was its last
    /// try; then the one that has been due longest.
    ///
    /// # Errors
    /// Unknown whether one was taken: it will be due again.
    fn claim_job(&self, claim: &Claim<'_>) -> Result<Option<JobRow>>;

    /// Says that an attempt goes on, for so many milliseconds more, and how far it has come. False if it is not the job's
    /// any more: then whoever makes it has to stop.
    ///
    /// # Errors
    /// Unknown whether it was heard.
    fn beat_job(&self, id: &str, attempt: u64, lease: u64, done: u64, total: u64) -> Result<bool>;

    /// Ends an attempt. False if it is not the job's any more, or was ended before: nothing has changed then.
    ///
    /// # Errors
    /// Unknown whether it has ended: it may be made again.
    fn end_job(&self, id: &str, attempt: u64, end: &JobEnd) -> Result<bool>;

    /// Has a dead job tried again, up to so many times.
    ///
    /// # Errors
    /// Unknown whether it was.
    fn requeue_job(&self, id: &str, tries: u64) -> Result<Requeued>;

    /// A job.
    ///
    /// # Errors
    /// The store cannot be read; so for the next three.
    fn job(&self, id: &str) -> Result<Option<JobRow>>;

    /// Some jobs, the newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    fn list_jobs(&self, filter: &JobFilter<'_>) -> Result<Vec<JobRow>>;

    /// How many jobs there are of each kind in each state; of all, or of the parts of one.
    ///
    /// # Errors
    /// The store cannot be read.
    fn count_jobs(&self, parent: Option<&str>) -> Result<Vec<(String, JobState, u64)>>;

    /// How attempts have ended, by kind.
    ///
    /// # Errors
    /// The store cannot be read.
    fn job_outcomes(&self) -> Result<Vec<JobOutcome>>;

    /// Adds a job in the name of a schedule whose time `at` has come, unless that time or a later one has been used. Says
    /// whether this call used it: of several only one does. Where a job is in the way the time stays unused.
    ///
    /// # Errors
    /// Unknown whether it was: the same again is harmless.
    fn tick(&self, schedule: &str, at: i64, job: &NewJob) -> Result<bool>;

    /// The last time of a schedule that was used.
    ///
    /// # Errors
    /// The store cannot be read.
    fn last_tick(&self, schedule: &str) -> Result<Option<i64>>;

    /// The time by the store's clock.
    ///
    /// # Errors
    /// The store cannot be read.
    fn now(&self) -> Result<i64>;

    /// Forgets jobs that are done for so many milliseconds, and those dead for so many. Gives how many.
    ///
    /// # Errors
    /// The store cannot be written.
    fn prune_jobs(&self, done: u64, dead: u64) -> Result<u64>;
}

/// What was done to a job whose worker was lost.
pub(crate) const LOST: &str = "its worker was lost in its last try";
/// The columns, in the order in which they are read.
pub(crate) const COLUMNS: &str = "id, kind, key, parent, payload, state, attempt, tries, requeues, holder, done, total, reason, result, \
     created, due, started, finished";
