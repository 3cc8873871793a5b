//! The queue: jobs are added here, and seen.

use std::sync::Arc;

use ledger::Ledger;
use record::RunId;
use serde_json::{Value, json};
use store::{Bell, LocalBell, NewJob, RedisBell, StoreError, WorkStore};

use crate::error::JobError;
use crate::kinds::{self, Kind};

/// The store of jobs and the bell beside it. Clones share both.
#[derive(Clone)]
pub struct Queue {
    pub(crate) store: Arc<dyn WorkStore>,
    pub(crate) bell: Arc<dyn Bell>,
}

impl Queue {
    /// The queue of a ledger, whose workers are in this process or find their jobs in the store.
    pub fn of(ledger: &Ledger) -> Self {
        Self::with_bell(ledger, Arc::new(LocalBell::default()))
    }

    /// The queue of a ledger whose workers a Redis wakes.
    ///
    /// # Errors
    /// The URL is none. Nothing is asked of the server yet.
    pub fn with_redis(ledger: &Ledger, url: &str) -> Result<Self, StoreError> {
        let bell = RedisBell::new(url, ledger.origin())?;
        Ok(Self::with_bell(ledger, Arc::new(bell)))
    }

    /// The queue of a ledger with another bell.
    pub fn with_bell(ledger: &Ledger, bell: Arc<dyn Bell>) -> Self {
        Self {
            store: ledger.work(),
            bell,
        }
    }

    /// What is known of the jobs.
    pub fn store(&self) -> &dyn WorkStore {
        &*self.store
    }

    /// Adds a job of this kind, which may be one that somebody asked for. Gives its id; `None`: one such is open
    /// already.
    ///
    /// # Errors
    /// [`JobError`].
    pub fn add(
        &self,
        ledger: &Ledger,
        kind: &str,
        payload: Value,
    ) -> Result<Option<String>, JobError> {
        let kind = kinds::find(kind)
            .filter(|kind| kind.may_be_asked_for())
            .ok_or_else(|| JobError::UnknownKind(kind.to_owned()))?;
        let new = new_job(ledger, kind, payload, None)?;
        Ok(self.put(&new)?.then_some(new.id))
    }

    /// Adds a job and wakes a worker. Says whether it was added.
    pub(crate) fn put(&self, new: &NewJob) -> Result<bool, StoreError> {
        let added = self.store.add_job(new)?;
        if added && new.delay == 0 {
            self.ring(&new.id);
        }
        Ok(added)
    }

    /// Wakes a worker. Where that does not do, the job is found a little later.
    pub fn ring(&self, id: &str) {
        if let Err(error) = self.bell.ring(id) {
            tracing::debug!(%error, job = id, "no worker was woken; the job will be found");
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue")
            .field("bell", &self.bell)
            .finish_non_exhaustive()
    }
}

/// A new job. Its payload says, as `since`, how long the log was: what the job records comes after that.
pub(crate) fn new_job(
    ledger: &Ledger,
    kind: &dyn Kind,
    mut payload: Value,
    parent: Option<&str>,
) -> Result<NewJob, JobError> {
    if payload.is_null() {
        payload = json!({});
    }
    let wants = |wants: String| JobError::Payload {
        kind: kind.name(),
        wants,
    };
    if !payload.is_object() {
        return Err(wants("takes an object".to_owned()));
    }
    let key = kind.key(&payload).map_err(wants)?;
    payload["since"] = ledger.latest().map_or(0, |at| at.checkpoint.size.0).into();
    Ok(NewJob {
        // A ULID: jobs are listed in the order of their ids.
        id: RunId::generate(&*ledger.clock(), &*ledger.entropy()).to_string(),
        kind: kind.name().to_owned(),
        key,
        once: kind.once(),
        parent: parent.map(str::to_owned),
        payload: payload.to_string(),
        tries: kind.tries(),
        delay: 0,
    })
}
