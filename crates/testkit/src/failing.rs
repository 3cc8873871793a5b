//! Stores that fail when a test says so: once *not kept*, once *kept but reported failed*.
//!
//! After Sunlight's `TestSequenceErrors`: every write a ledger makes has to be failed in both ways, since an error says
//! nothing about what is on the disk. [`Failing`] wraps any implementation of the traits of `store`; the [`Faults`] it
//! shares with the test say which call fails.

use std::io::Read;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::{
    CheckpointStore, Claim, Group, IndexRow, IndexStore, IndexUpdate, JobEnd, JobFilter,
    JobOutcome, JobRow, JobState, JobStore, Journal, JournalEntry, LeaseStore, NewJob, ObjectStore,
    OpenObject, Requeued, Result, RunRow, SettingStore, Span, StoreError, StoredCheckpoint,
    StreamRow, SubjectKey, SubjectKeyRow, SubjectKeyStore, TokenRow, TokenStore,
};
use tlog::Hash;

/// A write that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// [`Journal::append_group`].
    Append,
    /// [`Journal::discard_before`].
    Discard,
    /// [`ObjectStore::put`], [`ObjectStore::put_many`] and [`ObjectStore::put_from`].
    Put,
    /// [`ObjectStore::replace`].
    Replace,
    /// [`ObjectStore::delete`].
    Delete,
    /// [`CheckpointStore::swap_checkpoint`].
    Swap,
    /// [`IndexStore::apply`].
    Apply,
    /// [`IndexStore::clear_index`].
    Clear,
    /// [`SubjectKeyStore::insert_subject_keys`].
    InsertKeys,
    /// [`SubjectKeyStore::destroy_subject_key`].
    DestroyKey,
    /// [`TokenStore::insert_token`] and [`TokenStore::revoke_token`].
    Token,
    /// [`SettingStore::kv_put`].
    Setting,
    /// [`LeaseStore::take_lease`] and [`LeaseStore::release_lease`].
    Lease,
}

impl Step {
    /// All of them, for tables of tests.
    pub const ALL: [Self; 13] = [
        Self::Append,
        Self::Discard,
        Self::Put,
        Self::Replace,
        Self::Delete,
        Self::Swap,
        Self::Apply,
        Self::Clear,
        Self::InsertKeys,
        Self::DestroyKey,
        Self::Token,
        Self::Setting,
        Self::Lease,
    ];
}

/// What a failing call leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Left {
    /// Nothing. An append reports a full disk (a shared journal: a lost connection), after which the journal can be used.
    Nothing,
    /// Nothing, and it reports a failed sync: what is on the disk is unknown. An append poisons the journal.
    Unsynced,
    /// Every second object of [`ObjectStore::put_many`]; of any other call, which is all or nothing, nothing.
    Part,
    /// All of it, though it reports a failure. An append reports a failed sync, and the journal is poisoned, unless
    /// it is shared.
    All,
}

/// Which calls are going to fail. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    plan: Vec<Planned>,
    calls: Vec<Step>,
}

#[derive(Debug)]
struct Planned {
    step: Step,
    /// How many calls of this step still succeed before.
    after: usize,
    left: Left,
    for_good: bool,
}

impl Faults {
    /// Lets the next call of `step` fail that no other fault is planned for.
    pub fn next(&self, step: Step, left: Left) {
        self.after(step, 0, left);
    }

    /// Lets the call of `step` fail that comes after `calls` more; each fault strikes once.
    pub fn after(&self, step: Step, calls: usize, left: Left) {
        self.plan(step, calls, left, false);
    }

    /// Lets every call of `step` fail from now on, until [`heal`](Self::heal).
    pub fn from_now_on(&self, step: Step, left: Left) {
        self.plan(step, 0, left, true);
    }

    /// Lets nothing fail any more.
    pub fn heal(&self) {
        self.state().plan.clear();
    }

    fn plan(&self, step: Step, after: usize, left: Left, for_good: bool) {
        self.state().plan.push(Planned {
            step,
            after,
            left,
            for_good,
        });
    }

    /// How many faults have not struck yet: a test that ends with any has not tested what it meant to.
    pub fn pending(&self) -> usize {
        self.state().plan.len()
    }

    /// The writes so far, in the order they began.
    pub fn calls(&self) -> Vec<Step> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strike(&self, step: Step) -> Option<Left> {
        let mut state = self.state();
        state.calls.push(step);
        let due = state
            .plan
            .iter()
            .position(|planned| planned.step == step && planned.after == 0);
        for planned in &mut state.plan {
            if planned.step == step {
                planned.after = planned.after.saturating_sub(1);
            }
        }
        let position = due?;
        let planned = &state.plan[position];
        let left = planned.left;
        if !planned.for_good {
            state.plan.remove(position);
        }
        Some(left)
    }

    /// Runs a write that is all or nothing.
    fn run<T>(&self, step: Step, write: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.strike(step) {
            None => return write(),
            Some(Left::All) => {
                write()?;
            }
            Some(Left::Nothing | Left::Part) => {}
            Some(Left::Unsynced) => return Err(unsynced()),
        }
        Err(injected(step))
    }
}

fn unsynced() -> StoreError {
    StoreError::SyncFailed {
        path: "injected".into(),
        source: std::io::Error::other("injected"),
    }
}

fn injected(step: Step) -> StoreError {
    StoreError::Injected {
        what: format!("{step:?}"),
    }
}

/// A store, behind a `Box` or an `Arc`, whose writes fail as its [`Faults`] say; reads never do.
pub struct Failing<S> {
    inner: S,
    faults: Faults,
    poisoned: bool,
}

impl<S> Failing<S> {
    /// Wraps a store; several may share their faults.
    pub fn new(inner: S, faults: &Faults) -> Self {
        Self {
            inner,
            faults: faults.clone(),
            poisoned: false,
        }
    }
}

impl<J> Journal for Failing<J>
where
    J: DerefMut<Target: Journal> + Send,
{
    fn next_index(&self) -> u64 {
        self.inner.next_index()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    fn begin(&mut self, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()> {
        self.inner.begin(visit)
    }

    fn release(&mut self) {
        self.inner.release();
    }

    fn restart(&mut self, index: u64) {
        self.inner.restart(index);
    }

    fn append_group(&mut self, first_index: u64, entries: &[JournalEntry<'_>]) -> Result<()> {
        if self.inner.is_shared() {
            return self.append_shared(first_index, entries);
        }
        let path = "injected".into();
        if self.poisoned {
            return Err(StoreError::Poisoned { path });
        }
        match self.faults.strike(Step::Append) {
            None => self.inner.append_group(first_index, entries),
            Some(Left::Nothing | Left::Part) => Err(StoreError::Full {
                path,
                source: std::io::ErrorKind::StorageFull.into(),
            }),
            Some(Left::All) => {
                self.inner.append_group(first_index, entries)?;
                self.poisoned = true;
                Err(unsynced())
            }
            Some(Left::Unsynced) => {
                self.poisoned = true;
                Err(unsynced())
            }
        }
    }

    fn replay(&self, from: u64, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()> {
        self.inner.replay(from, visit)
    }

    fn discard_before(&mut self, index: u64) -> Result<()> {
        let Self { inner, faults, .. } = self;
        faults.run(Step::Discard, || inner.discard_before(index))
    }
}

impl<J> Failing<J>
where
    J: Deref<Target: Journal> + DerefMut + Send,
{
    /// A shared journal is never poisoned: whoever failed does not know, and looks.
    fn append_shared(&mut self, first_index: u64, entries: &[JournalEntry<'_>]) -> Result<()> {
        match self.faults.strike(Step::Append) {
            None => return self.inner.append_group(first_index, entries),
            Some(Left::Nothing | Left::Part | Left::Unsynced) => self.inner.release(),
            Some(Left::All) => {
                let before = self.inner.next_index();
                self.inner.append_group(first_index, entries)?;
                self.inner.restart(before);
            }
        }
        Err(StoreError::Unavailable {
            action: "append to the journal",
            server: "injected".to_owned(),
            reason: "injected".to_owned(),
        })
    }
}

impl<O> ObjectStore for Failing<O>
where
    O: Deref<Target: ObjectStore> + Send + Sync,
{
    fn put_many(&self, objects: &[(&str, &[u8])]) -> Result<()> {
        match self.faults.strike(Step::Put) {
            None => return self.inner.put_many(objects),
            Some(Left::Nothing) => {}
            Some(Left::Unsynced) => return Err(unsynced()),
            Some(Left::Part) => {
                let part: Vec<_> = objects.iter().step_by(2).copied().collect();
                self.inner.put_many(&part)?;
            }
            Some(Left::All) => self.inner.put_many(objects)?,
        }
        Err(injected(Step::Put))
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.faults
            .run(Step::Replace, || self.inner.replace(key, bytes))
    }

    fn put_from(&self, key: &str, source: &mut dyn Read) -> Result<u64> {
        self.faults
            .run(Step::Put, || self.inner.put_from(key, source))
    }

    fn open_object(&self, key: &str) -> Result<Option<OpenObject>> {
        self.inner.open_object(key)
    }

    fn confirm(&self, key: &str) -> Result<Option<u64>> {
        self.inner.confirm(key)
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.list(prefix)
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.faults.run(Step::Delete, || self.inner.delete(key))
    }
}

impl<S> CheckpointStore for Failing<S>
where
    S: Deref<Target: CheckpointStore> + Send + Sync,
{
    fn latest_checkpoint(&self) -> Result<Option<StoredCheckpoint>> {
        self.inner.latest_checkpoint()
    }

    fn swap_checkpoint(&self, expected: Option<(u64, Hash)>, new: &StoredCheckpoint) -> Result<()> {
        self.faults
            .run(Step::Swap, || self.inner.swap_checkpoint(expected, new))
    }
}

impl<S> IndexStore for Failing<S>
where
    S: Deref<Target: IndexStore> + Send + Sync,
{
    fn apply(&self, update: &IndexUpdate) -> Result<()> {
        self.faults.run(Step::Apply, || self.inner.apply(update))
    }

    fn indexed_size(&self) -> Result<u64> {
        self.inner.indexed_size()
    }

    fn clear_index(&self) -> Result<()> {
        self.faults.run(Step::Clear, || self.inner.clear_index())
    }

    fn find(&self, scope: &str, stream: &str, seq: u64) -> Result<Option<u64>> {
        self.inner.find(scope, stream, seq)
    }

    fn stream(&self, scope: &str, stream: &str) -> Result<Option<StreamRow>> {
        self.inner.stream(scope, stream)
    }

    fn streams(&self, scope: &str) -> Result<Vec<StreamRow>> {
        self.inner.streams(scope)
    }

    fn spans(&self, scope: &str, from: u64, limit: usize) -> Result<Vec<Span>> {
        self.inner.spans(scope, from, limit)
    }

    fn bundles_with_kinds(
        &self,
        scope: Option<&str>,
        kinds: &[&str],
        from_bundle: u64,
        limit: usize,
    ) -> Result<Vec<u64>> {
        self.inner
            .bundles_with_kinds(scope, kinds, from_bundle, limit)
    }

    fn run(&self, run: &str) -> Result<Option<RunRow>> {
        self.inner.run(run)
    }

    fn runs_named(&self, name: &str) -> Result<Vec<RunRow>> {
        self.inner.runs_named(name)
    }

    fn list_runs(&self, after: Option<&str>, limit: usize) -> Result<Vec<RunRow>> {
        self.inner.list_runs(after, limit)
    }

    fn index_rows(&self, visit: &mut dyn FnMut(IndexRow) -> Result<()>) -> Result<()> {
        self.inner.index_rows(visit)
    }
}

impl<S> SubjectKeyStore for Failing<S>
where
    S: Deref<Target: SubjectKeyStore> + Send + Sync,
{
    fn subject_key(&self, scope: &str, subject: &str) -> Result<Option<SubjectKey>> {
        self.inner.subject_key(scope, subject)
    }

    fn subject_key_by_id(&self, id: &[u8; 16]) -> Result<Option<SubjectKeyRow>> {
        self.inner.subject_key_by_id(id)
    }

    fn list_subject_keys(
        &self,
        after: Option<&[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<SubjectKeyRow>> {
        self.inner.list_subject_keys(after, limit)
    }

    fn insert_subject_keys(&self, rows: &[SubjectKeyRow]) -> Result<()> {
        self.faults
            .run(Step::InsertKeys, || self.inner.insert_subject_keys(rows))
    }

    fn rewrap_subject_keys(&self, keys: &[SubjectKey]) -> Result<()> {
        self.faults
            .run(Step::InsertKeys, || self.inner.rewrap_subject_keys(keys))
    }

    fn destroy_subject_key(&self, id: &[u8; 16]) -> Result<bool> {
        self.faults
            .run(Step::DestroyKey, || self.inner.destroy_subject_key(id))
    }
}

impl<S> TokenStore for Failing<S>
where
    S: Deref<Target: TokenStore> + Send + Sync,
{
    fn insert_token(&self, token: &TokenRow) -> Result<()> {
        self.faults
            .run(Step::Token, || self.inner.insert_token(token))
    }

    fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>> {
        self.inner.token_by_hash(hash)
    }

    fn list_tokens(&self) -> Result<Vec<TokenRow>> {
        self.inner.list_tokens()
    }

    fn revoke_token(&self, id: &str, at: i64) -> Result<bool> {
        self.faults
            .run(Step::Token, || self.inner.revoke_token(id, at))
    }
}

impl<S> SettingStore for Failing<S>
where
    S: Deref<Target: SettingStore> + Send + Sync,
{
    fn kv_get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.inner.kv_get(name)
    }

    fn kv_names(&self) -> Result<Vec<String>> {
        self.inner.kv_names()
    }

    fn kv_put(&self, name: &str, value: &[u8]) -> Result<()> {
        self.faults
            .run(Step::Setting, || self.inner.kv_put(name, value))
    }
}

/// Jobs never fail here: no record depends on one.
impl<S> JobStore for Failing<S>
where
    S: Deref<Target: JobStore> + Send + Sync,
{
    fn add_job(&self, job: &NewJob) -> Result<bool> {
        self.inner.add_job(job)
    }

    fn claim_job(&self, claim: &Claim<'_>) -> Result<Option<JobRow>> {
        self.inner.claim_job(claim)
    }

    fn beat_job(&self, id: &str, attempt: u64, lease: u64, done: u64, total: u64) -> Result<bool> {
        self.inner.beat_job(id, attempt, lease, done, total)
    }

    fn end_job(&self, id: &str, attempt: u64, end: &JobEnd) -> Result<bool> {
        self.inner.end_job(id, attempt, end)
    }

    fn requeue_job(&self, id: &str, tries: u64) -> Result<Requeued> {
        self.inner.requeue_job(id, tries)
    }

    fn job(&self, id: &str) -> Result<Option<JobRow>> {
        self.inner.job(id)
    }

    fn list_jobs(&self, filter: &JobFilter<'_>) -> Result<Vec<JobRow>> {
        self.inner.list_jobs(filter)
    }

    fn count_jobs(&self, parent: Option<&str>) -> Result<Vec<(String, JobState, u64)>> {
        self.inner.count_jobs(parent)
    }

    fn job_outcomes(&self) -> Result<Vec<JobOutcome>> {
        self.inner.job_outcomes()
    }

    fn tick(&self, schedule: &str, at: i64, job: &NewJob) -> Result<bool> {
        self.inner.tick(schedule, at, job)
    }

    fn last_tick(&self, schedule: &str) -> Result<Option<i64>> {
        self.inner.last_tick(schedule)
    }

    fn now(&self) -> Result<i64> {
        self.inner.now()
    }

    fn prune_jobs(&self, done: u64, dead: u64) -> Result<u64> {
        self.inner.prune_jobs(done, dead)
    }
}

impl<S> LeaseStore for Failing<S>
where
    S: Deref<Target: LeaseStore> + Send + Sync,
{
    fn take_lease(&self, name: &str, holder: &str, millis: u64) -> Result<bool> {
        self.faults
            .run(Step::Lease, || self.inner.take_lease(name, holder, millis))
    }

    fn release_lease(&self, name: &str, holder: &str) -> Result<()> {
        self.faults
            .run(Step::Lease, || self.inner.release_lease(name, holder))
    }
}
