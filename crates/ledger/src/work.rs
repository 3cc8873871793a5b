//! The work that is done behind the log: jobs, whose turn it is, a few named values. What it is, others know; here it is
//! seen to that a write that leaves the disk in an unknown state stops the ledger, as everywhere.

use std::sync::Arc;

use store::{
    Claim, JobEnd, JobFilter, JobOutcome, JobRow, JobState, JobStore, LeaseStore, NewJob, Requeued,
    Result, SettingStore, WorkStore,
};

use crate::ledger::Ledger;
use crate::shared::Shared;

impl Ledger {
    /// What is known of the work that is done behind the log.
    pub fn work(&self) -> Arc<dyn WorkStore> {
        Arc::new(Work(Arc::clone(self.shared())))
    }

    /// Whether no other process can have this ledger open.
    pub fn is_alone(&self) -> bool {
        self.0.dir.is_some()
    }
}

struct Work(Arc<Shared>);

impl Work {
    fn judge<T>(&self, written: Result<T>) -> Result<T> {
        self.0.judge("a job", written)
    }
}

impl JobStore for Work {
    fn add_job(&self, job: &NewJob) -> Result<bool> {
        self.judge(self.0.meta.add_job(job))
    }

    fn claim_job(&self, claim: &Claim<'_>) -> Result<Option<JobRow>> {
        self.judge(self.0.meta.claim_job(claim))
    }

    fn beat_job(&self, id: &str, attempt: u64, lease: u64, done: u64, total: u64) -> Result<bool> {
        self.judge(self.0.meta.beat_job(id, attempt, lease, done, total))
    }

    fn end_job(&self, id: &str, attempt: u64, end: &JobEnd) -> Result<bool> {
        self.judge(self.0.meta.end_job(id, attempt, end))
    }

    fn requeue_job(&self, id: &str, tries: u64) -> Result<Requeued> {
        self.judge(self.0.meta.requeue_job(id, tries))
    }

    fn job(&self, id: &str) -> Result<Option<JobRow>> {
        self.0.meta.job(id)
    }

    fn list_jobs(&self, filter: &JobFilter<'_>) -> Result<Vec<JobRow>> {
        self.0.meta.list_jobs(filter)
    }

    fn count_jobs(&self, parent: Option<&str>) -> Result<Vec<(String, JobState, u64)>> {
        self.0.meta.count_jobs(parent)
    }

    fn job_outcomes(&self) -> Result<Vec<JobOutcome>> {
        self.0.meta.job_outcomes()
    }

    fn tick(&self, schedule: &str, at: i64, job: &NewJob) -> Result<bool> {
        self.judge(self.0.meta.tick(schedule, at, job))
    }

    fn last_tick(&self, schedule: &str) -> Result<Option<i64>> {
        self.0.meta.last_tick(schedule)
    }

    fn now(&self) -> Result<i64> {
        self.0.meta.now()
    }

    fn prune_jobs(&self, done: u64, dead: u64) -> Result<u64> {
        self.judge(self.0.meta.prune_jobs(done, dead))
    }
}

impl LeaseStore for Work {
    fn take_lease(&self, name: &str, holder: &str, millis: u64) -> Result<bool> {
        self.judge(self.0.meta.take_lease(name, holder, millis))
    }

    fn release_lease(&self, name: &str, holder: &str) -> Result<()> {
        self.judge(self.0.meta.release_lease(name, holder))
    }
}

impl SettingStore for Work {
    fn kv_get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.0.meta.kv_get(name)
    }

    fn kv_names(&self) -> Result<Vec<String>> {
        self.0.meta.kv_names()
    }

    fn kv_put(&self, name: &str, value: &[u8]) -> Result<()> {
        self.judge(self.0.meta.kv_put(name, value))
    }
}
