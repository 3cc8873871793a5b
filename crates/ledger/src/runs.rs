//! The runs of a ledger and their streams, as sequenced: also what is not published yet.

use record::{Hash, ProducerName, PublicKey, RunId, Scope, StreamName, Timestamp};
use store::RunRow;

use crate::LedgerError;
use crate::ledger::Ledger;
use crate::state::run_id;

/// Most runs in a page.
const MAX_RUNS: usize = 1_000;

/// A run, once its `run.started` is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunInfo {
    /// Its id.
    pub id: RunId,
    /// Its name; need not be unique.
    pub name: String,
    /// The experiment it belongs to.
    pub experiment: Option<String>,
    /// The model that is trained.
    pub model: Option<String>,
    /// When it started, as its producer's clock said.
    pub started: Timestamp,
    /// The key of the streams that may seal it.
    pub owner: PublicKey,
    /// How it ended: `completed`, `failed`, `aborted`; `None` while it is open.
    pub status: Option<String>,
    /// How many records it has.
    pub records: u64,
    /// The index of its `run.started`.
    pub started_index: u64,
    /// The index of its `run.sealed`.
    pub sealed_index: Option<u64>,
    /// The id of the token it was started with; empty if that is not known any more.
    pub principal: String,
}

/// A stream as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// Its name.
    pub stream: StreamName,
    /// Who builds it.
    pub producer: ProducerName,
    /// The key that signs it.
    pub key: PublicKey,
    /// The seq its next record has.
    pub next_seq: u64,
    /// The leaf hash of its last record.
    pub head: Hash,
    /// How many records at its end no signature covers.
    pub unsigned: u64,
    /// How many `stream.signed` it holds.
    pub signatures: u64,
}

impl Ledger {
    /// A stream as it stands, published or not; `None` if it is not open.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn stream_head(
        &self,
        scope: Scope,
        stream: StreamName,
    ) -> Result<Option<StreamHead>, LedgerError> {
        Ok(self
            .streams(scope)?
            .into_iter()
            .find(|head| head.stream == stream))
    }

    /// All streams of a run, or of the scope `ledger`, as they stand, by name: what a `run.sealed` has to list.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn streams(&self, scope: impl Into<Scope>) -> Result<Vec<StreamHead>, LedgerError> {
        let scope = scope.into();
        let shared = self.shared();
        let mut state = shared.state();
        let heads = state
            .scope(&*shared.meta, scope)?
            .chain
            .streams()
            .map(|stream| StreamHead {
                stream: stream.stream,
                producer: stream.producer.clone(),
                key: stream.key,
                next_seq: stream.next_seq,
                head: stream.head,
                unsigned: stream.unsigned,
                signatures: stream.signatures,
            });
        Ok(heads.collect())
    }

    /// Runs in the order of their ids (which is that of their making), those after `after`; at most
    /// 1,000.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn runs(&self, after: Option<RunId>, limit: usize) -> Result<Vec<RunInfo>, LedgerError> {
        let shared = self.shared();
        let limit = limit.clamp(1, MAX_RUNS);
        let mut rows = self.fresh_runs();
        rows.retain(|row| after.is_none_or(|after| row.run.as_str() > after.as_str()));
        rows.extend(
            shared
                .meta
                .list_runs(after.as_ref().map(RunId::as_str), limit)?,
        );
        rows.sort_by(|a, b| a.run.cmp(&b.run));
        rows.dedup_by(|a, b| a.run == b.run);
        rows.truncate(limit);
        rows.iter().map(info).collect()
    }

    /// A run.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], or the index cannot be read.
    pub fn run(&self, run: RunId) -> Result<RunInfo, LedgerError> {
        let shared = self.shared();
        let live = shared
            .state()
            .loaded(Scope::Run(run))
            .and_then(|scope| scope.run_snapshot());
        let row = match live {
            Some(live) => Some(live.row()),
            None => shared.meta.run(run.as_str())?,
        };
        let missing = || LedgerError::NotFound {
            what: "run",
            seen: run.to_string(),
        };
        info(&row.ok_or_else(missing)?)
    }

    /// The run of this id or, if it is none, the one run of this name.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::Ambiguous`] for a name of several runs, or the index
    /// cannot be read.
    pub fn find_run(&self, name: &str) -> Result<RunInfo, LedgerError> {
        if let Some(id) = RunId::parse(name) {
            match self.run(id) {
                Err(LedgerError::NotFound { .. }) => {}
                found => return found,
            }
        }
        let mut rows = self.fresh_runs();
        rows.retain(|row| row.name == name);
        rows.extend(self.shared().meta.runs_named(name)?);
        rows.sort_by(|a, b| a.run.cmp(&b.run));
        rows.dedup_by(|a, b| a.run == b.run);
        match rows.as_slice() {
            [] => Err(LedgerError::NotFound {
                what: "run",
                seen: name.to_owned(),
            }),
            // What is known of it now, not when it was last indexed.
            [row] => self.run(run_id(row)?),
            rows => Err(LedgerError::Ambiguous {
                name: name.to_owned(),
                ids: rows.iter().map(|row| row.run.clone()).collect(),
            }),
        }
    }

    fn fresh_runs(&self) -> Vec<RunRow> {
        let shared = self.shared();
        shared.state().fresh_runs(shared.reader.integrated_size())
    }
}

fn info(row: &RunRow) -> Result<RunInfo, LedgerError> {
    let owner: [u8; 32] = row.owner_key.as_slice().try_into().map_err(|_| {
        LedgerError::corrupt(format!("the index's run {}", row.run), "its owner's key")
    })?;
    Ok(RunInfo {
        id: run_id(row)?,
        name: row.name.clone(),
        experiment: row.experiment.clone(),
        model: row.model.clone(),
        started: Timestamp(row.started_at),
        owner: PublicKey(owner),
        status: row.status.clone(),
        records: row.records,
        started_index: row.started_index,
        sealed_index: row.sealed_index,
        principal: row.principal.clone(),
    })
}
