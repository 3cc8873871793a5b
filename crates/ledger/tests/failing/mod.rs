//! Stores whose steps fail on demand: not done, or done and reported failed.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use ledger::Stores;
use store::{
    CheckpointStore, Group, IndexRow, IndexStore, IndexUpdate, Journal, JournalEntry, LeaseStore,
    MetaStore, ObjectStore, Result, RunRow, SettingStore, Span, StoreError, StoredCheckpoint,
    StreamRow, SubjectKey, SubjectKeyRow, SubjectKeyStore, TokenRow, TokenStore,
};
use tlog::Hash;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Journal,
    PutTiles,
    ApplyIndex,
    SwapCheckpoint,
    Serve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NotDone,
    DoneButFailed,
    /// Not done, and known not to be: a full disk.
    Full,
}

/// Which steps fail, how, and how often still.
#[derive(Default)]
pub(crate) struct Faults(Mutex<HashMap<Step, (Fault, usize)>>);

impl Faults {
    pub(crate) fn set(&self, step: Step, fault: Fault, times: usize) {
        self.0.lock().unwrap().insert(step, (fault, times));
    }

    fn next(&self, step: Step) -> Option<Fault> {
        let mut faults = self.0.lock().unwrap();
        let (fault, left) = faults.get_mut(&step).filter(|(_, left)| *left > 0)?;
        *left -= 1;
        Some(*fault)
    }

    fn run(&self, step: Step, act: impl FnOnce() -> Result<()>) -> Result<()> {
        match self.next(step) {
            None => act(),
            Some(Fault::NotDone) => Err(failed(step)),
            Some(Fault::Full) => {
                let source = io::Error::from(io::ErrorKind::StorageFull);
                Err(StoreError::Full {
                    path: "journal".into(),
                    source,
                })
            }
            Some(Fault::DoneButFailed) => {
                act()?;
                Err(failed(step))
            }
        }
    }
}

fn failed(step: Step) -> StoreError {
    if step == Step::Journal {
        let source = io::Error::other("injected");
        return StoreError::SyncFailed {
            path: "journal".into(),
            source,
        };
    }
    StoreError::Injected {
        what: format!("{step:?}"),
    }
}

pub(crate) fn wrap(stores: Stores, faults: Arc<Faults>) -> Stores {
    Stores {
        objects: Arc::new(Objects(stores.objects, Arc::clone(&faults))),
        meta: Arc::new(Meta(stores.meta, Arc::clone(&faults))),
        journal: Box::new(FailingJournal(stores.journal, faults)),
    }
}

struct FailingJournal(Box<dyn Journal>, Arc<Faults>);

impl Journal for FailingJournal {
    fn next_index(&self) -> u64 {
        self.0.next_index()
    }

    fn append_group(&mut self, first: u64, entries: &[JournalEntry<'_>]) -> Result<()> {
        let Self(inner, faults) = self;
        faults.run(Step::Journal, || inner.append_group(first, entries))
    }

    fn replay(&self, from: u64, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()> {
        self.0.replay(from, visit)
    }

    fn discard_before(&mut self, index: u64) -> Result<()> {
        self.0.discard_before(index)
    }
}

struct Objects(Arc<dyn ObjectStore>, Arc<Faults>);

impl ObjectStore for Objects {
    fn put_many(&self, objects: &[(&str, &[u8])]) -> Result<()> {
        match self.1.next(Step::PutTiles) {
            None => self.0.put_many(objects),
            // Some are there and some are not.
            Some(Fault::NotDone | Fault::Full) => {
                self.0.put_many(&objects[..objects.len() / 2])?;
                Err(failed(Step::PutTiles))
            }
            Some(Fault::DoneButFailed) => {
                self.0.put_many(objects)?;
                Err(failed(Step::PutTiles))
            }
        }
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.1.run(Step::Serve, || self.0.replace(key, bytes))
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.0.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        self.0.list(prefix)
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.0.delete(key)
    }
}

struct Meta(Arc<dyn MetaStore>, Arc<Faults>);

impl CheckpointStore for Meta {
    fn latest_checkpoint(&self) -> Result<Option<StoredCheckpoint>> {
        self.0.latest_checkpoint()
    }

    fn swap_checkpoint(&self, expected: Option<(u64, Hash)>, new: &StoredCheckpoint) -> Result<()> {
        self.1.run(Step::SwapCheckpoint, || {
            self.0.swap_checkpoint(expected, new)
        })
    }
}

impl IndexStore for Meta {
    fn apply(&self, update: &IndexUpdate) -> Result<()> {
        self.1.run(Step::ApplyIndex, || self.0.apply(update))
    }

    fn indexed_size(&self) -> Result<u64> {
        self.0.indexed_size()
    }

    fn clear_index(&self) -> Result<()> {
        self.0.clear_index()
    }

    fn find(&self, scope: &str, stream: &str, seq: u64) -> Result<Option<u64>> {
        self.0.find(scope, stream, seq)
    }

    fn stream(&self, scope: &str, stream: &str) -> Result<Option<StreamRow>> {
        self.0.stream(scope, stream)
    }

    fn streams(&self, scope: &str) -> Result<Vec<StreamRow>> {
        self.0.streams(scope)
    }

    fn spans(&self, scope: &str, from: u64, limit: usize) -> Result<Vec<Span>> {
        self.0.spans(scope, from, limit)
    }

    fn bundles_with_kind(
        &self,
        scope: Option<&str>,
        kind: &str,
        from_bundle: u64,
        limit: usize,
    ) -> Result<Vec<u64>> {
        self.0.bundles_with_kind(scope, kind, from_bundle, limit)
    }

    fn run(&self, run: &str) -> Result<Option<RunRow>> {
        self.0.run(run)
    }

    fn runs_named(&self, name: &str) -> Result<Vec<RunRow>> {
        self.0.runs_named(name)
    }

    fn index_rows(&self, visit: &mut dyn FnMut(IndexRow) -> Result<()>) -> Result<()> {
        self.0.index_rows(visit)
    }

    fn list_runs(&self, after: Option<&str>, limit: usize) -> Result<Vec<RunRow>> {
        self.0.list_runs(after, limit)
    }
}

impl SubjectKeyStore for Meta {
    fn subject_key(&self, scope: &str, subject: &str) -> Result<Option<SubjectKey>> {
        self.0.subject_key(scope, subject)
    }

    fn subject_key_by_id(&self, id: &[u8; 16]) -> Result<Option<SubjectKeyRow>> {
        self.0.subject_key_by_id(id)
    }

    fn list_subject_keys(
        &self,
        after: Option<&[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<SubjectKeyRow>> {
        self.0.list_subject_keys(after, limit)
    }

    fn insert_subject_keys(&self, rows: &[SubjectKeyRow]) -> Result<()> {
        self.0.insert_subject_keys(rows)
    }

    fn destroy_subject_key(&self, id: &[u8; 16]) -> Result<bool> {
        self.0.destroy_subject_key(id)
    }
}

impl TokenStore for Meta {
    fn insert_token(&self, token: &TokenRow) -> Result<()> {
        self.0.insert_token(token)
    }

    fn token_by_hash(&self, hash: &[u8; 32]) -> Result<Option<TokenRow>> {
        self.0.token_by_hash(hash)
    }

    fn list_tokens(&self) -> Result<Vec<TokenRow>> {
        self.0.list_tokens()
    }

    fn revoke_token(&self, id: &str, at: i64) -> Result<bool> {
        self.0.revoke_token(id, at)
    }
}

impl SettingStore for Meta {
    fn kv_get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.0.kv_get(name)
    }

    fn kv_names(&self) -> Result<Vec<String>> {
        self.0.kv_names()
    }

    fn kv_put(&self, name: &str, value: &[u8]) -> Result<()> {
        self.0.kv_put(name, value)
    }
}

impl LeaseStore for Meta {
    fn take_lease(&self, name: &str, holder: &str, millis: u64) -> Result<bool> {
        self.0.take_lease(name, holder, millis)
    }

    fn release_lease(&self, name: &str, holder: &str) -> Result<()> {
        self.0.release_lease(name, holder)
    }
}
