//! What the sequencer knows of streams and runs: all of what is not indexed yet, and of the rest
//! what it was asked for.
//!
//! A scope is loaded from the index when its first record comes. Records that the index does not
//! cover stay findable here, so that a resend is recognised at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use record::chain::{RunState, ScopeState, StreamState};
use record::kinds::{RunSealed, RunStarted};
use record::{Hash, Kind, PublicKey, Record, RunId, Scope, StreamName, Timestamp};
use store::{MetaStore, RunRow, StreamRow};

use crate::LedgerError;
use crate::entry::Entry;

/// Scopes kept in memory before those at rest are forgotten.
const MAX_SCOPES: usize = 4_096;

/// Everything known, by scope.
#[derive(Default)]
pub(crate) struct State {
    scopes: HashMap<Scope, ScopeEntry>,
}

/// One scope.
pub(crate) struct ScopeEntry {
    /// Its chains and rules.
    pub(crate) chain: ScopeState,
    streams: HashMap<StreamName, StreamNotes>,
    /// Its run, once `run.started` is there.
    pub(crate) run: Option<RunNotes>,
}

/// What is known of a stream beyond its chain.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamNotes {
    /// Who opened it; empty if that is not known any more.
    pub(crate) principal: Arc<str>,
    /// A finding about its clock was raised.
    pub(crate) skewed: bool,
    /// Leaf hash and index of its last records, by seq: those the index may not cover.
    recent: VecDeque<(Hash, u64)>,
}

/// What is known of a run beyond its rules.
#[derive(Clone, Debug)]
pub(crate) struct RunNotes {
    pub(crate) name: String,
    pub(crate) experiment: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) owner: PublicKey,
    pub(crate) principal: Arc<str>,
    pub(crate) started_index: u64,
    pub(crate) started_at: Timestamp,
    pub(crate) sealed_index: Option<u64>,
    pub(crate) status: Option<String>,
    pub(crate) records: u64,
}

impl State {
    /// The scope, loaded if need be.
    ///
    /// # Errors
    /// The index cannot be read.
    pub(crate) fn scope(
        &mut self,
        meta: &dyn MetaStore,
        scope: Scope,
    ) -> Result<&mut ScopeEntry, LedgerError> {
        use std::collections::hash_map::Entry::{Occupied, Vacant};
        match self.scopes.entry(scope) {
            Occupied(entry) => Ok(entry.into_mut()),
            Vacant(place) => loop {
                let before = meta.indexed_size()?;
                let loaded = ScopeEntry::load(meta, scope)?;
                // Streams and run are of one moment only if the index did not grow in between.
                if meta.indexed_size()? == before {
                    break Ok(place.insert(loaded));
                }
            },
        }
    }

    /// The scope, if it is loaded.
    pub(crate) fn loaded(&mut self, scope: Scope) -> Option<&mut ScopeEntry> {
        self.scopes.get_mut(&scope)
    }

    /// Runs that the index does not know yet.
    pub(crate) fn fresh_runs(&self, indexed: u64) -> Vec<RunRow> {
        self.scopes
            .values()
            .filter(|scope| {
                scope
                    .run
                    .as_ref()
                    .is_some_and(|run| run.started_index >= indexed)
            })
            .filter_map(|scope| scope.run_snapshot().map(|run| run.row()))
            .collect()
    }

    /// Forgets scopes that the index knows all of.
    pub(crate) fn shrink(&mut self, indexed: u64) {
        if self.scopes.len() > MAX_SCOPES {
            self.scopes.retain(|scope, entry| {
                entry
                    .streams
                    .values_mut()
                    .for_each(|notes| notes.trim(indexed));
                *scope == Scope::Ledger || entry.streams.values().any(|n| !n.recent.is_empty())
            });
        }
    }
}

impl ScopeEntry {
    fn load(meta: &dyn MetaStore, scope: Scope) -> Result<Self, LedgerError> {
        let mut states = Vec::new();
        let mut streams = HashMap::new();
        for row in meta.streams(scope.as_str())? {
            let (state, notes) = read_stream_row(&row)?;
            streams.insert(state.stream, notes);
            states.push(state);
        }
        let row = if scope == Scope::Ledger {
            None
        } else {
            meta.run(scope.as_str())?
        };
        let (rules, run) = match (&row, scope) {
            (Some(row), _) => {
                let rules = RunState::from_bytes(&row.state)
                    .map_err(|e| LedgerError::corrupt(format!("run {}", row.run), e))?;
                (Some(rules), Some(read_run_row(row)?))
            }
            // A run of which there is `stream.opened` and nothing more.
            (None, Scope::Run(run)) => (
                states.first().map(|first| RunState {
                    run,
                    first_stream: first.stream,
                    owner: None,
                    streams: 1,
                    sealed: false,
                }),
                None,
            ),
            (None, Scope::Ledger) => (None, None),
        };
        Ok(Self {
            chain: ScopeState::from_parts(scope, rules, states),
            streams,
            run,
        })
    }

    /// What is known of a stream beyond its chain.
    pub(crate) fn notes(&self, stream: &StreamName) -> Option<&StreamNotes> {
        self.streams.get(stream)
    }

    /// Who may append to this stream besides admins; `None` where it is new and anybody may.
    pub(crate) fn holder(&self, stream: &StreamName) -> Option<Arc<str>> {
        if self.chain.scope() == Scope::Ledger {
            return self
                .streams
                .get(stream)
                .map(|notes| Arc::clone(&notes.principal));
        }
        if let Some(run) = &self.run {
            return Some(Arc::clone(&run.principal));
        }
        let first = self.chain.run()?.first_stream;
        self.streams
            .get(&first)
            .map(|notes| Arc::clone(&notes.principal))
    }

    /// Takes note of a record that the chain has admitted, now that it has an index.
    ///
    /// # Errors
    /// Its body cannot be read, which parsing it has ruled out.
    pub(crate) fn note(
        &mut self,
        entry: &Entry,
        index: u64,
        indexed: u64,
    ) -> Result<(), LedgerError> {
        if entry.place.kind == Kind::StreamOpened {
            let notes = self.streams.entry(entry.place.stream).or_default();
            notes.principal = entry.by.clone().unwrap_or_default();
        }
        let principal = self.remember(entry, index, indexed);
        match entry.place.kind {
            Kind::RunStarted => {
                let body: RunStarted = Record::parse(&entry.bytes)?.decode()?;
                self.run = Some(RunNotes {
                    name: body.name,
                    experiment: body.experiment,
                    model: body.model,
                    owner: body.owner,
                    principal,
                    started_index: index,
                    started_at: entry.place.time,
                    sealed_index: None,
                    status: None,
                    // Its stream.opened came before.
                    records: 1,
                });
            }
            Kind::RunSealed => {
                let body: RunSealed = Record::parse(&entry.bytes)?.decode()?;
                if let Some(run) = &mut self.run {
                    run.sealed_index = Some(index);
                    run.status = Some(body.status.to_string());
                }
            }
            _ => {}
        }
        if let Some(run) = &mut self.run {
            run.records += 1;
        }
        Ok(())
    }

    /// Remembers where a stream's next record went, and gives its principal.
    pub(crate) fn remember(&mut self, entry: &Entry, index: u64, indexed: u64) -> Arc<str> {
        let notes = self.streams.entry(entry.place.stream).or_default();
        notes.trim(indexed);
        notes.recent.push_back((entry.leaf, index));
        Arc::clone(&notes.principal)
    }

    /// Marks the stream's clock as found wrong; false if it was marked before.
    pub(crate) fn mark_skewed(&mut self, stream: &StreamName) -> bool {
        self.streams
            .get_mut(stream)
            .is_some_and(|notes| !std::mem::replace(&mut notes.skewed, true))
    }

    /// The stream as it stands, for the index.
    pub(crate) fn stream_snapshot(&self, stream: &StreamName) -> Option<StreamSnapshot> {
        let notes = self.streams.get(stream)?;
        Some(StreamSnapshot {
            state: self.chain.stream(stream)?.clone(),
            principal: Arc::clone(&notes.principal),
            skewed: notes.skewed,
        })
    }

    /// The run as it stands, for the index; `None` before `run.started`.
    pub(crate) fn run_snapshot(&self) -> Option<RunSnapshot> {
        Some(RunSnapshot {
            rules: self.chain.run()?.clone(),
            notes: self.run.clone()?,
        })
    }
}

/// A stream after a group.
#[derive(Clone, Debug)]
pub(crate) struct StreamSnapshot {
    pub(crate) state: StreamState,
    principal: Arc<str>,
    skewed: bool,
}

impl StreamSnapshot {
    /// Its row in the index.
    pub(crate) fn row(&self) -> StreamRow {
        let state = &self.state;
        let mut bytes = vec![u8::from(self.skewed), self.principal.len() as u8];
        bytes.extend_from_slice(self.principal.as_bytes());
        bytes.extend(state.to_bytes());
        StreamRow {
            scope: state.scope.to_string(),
            stream: state.stream.to_string(),
            next_seq: state.next_seq,
            head: state.head,
            key: state.key.0.to_vec(),
            state: bytes,
        }
    }
}

/// A run after a group.
#[derive(Clone, Debug)]
pub(crate) struct RunSnapshot {
    pub(crate) rules: RunState,
    notes: RunNotes,
}

impl RunSnapshot {
    /// Its row in the index.
    pub(crate) fn row(&self) -> RunRow {
        let Self { rules, notes } = self;
        RunRow {
            run: rules.run.to_string(),
            name: notes.name.clone(),
            experiment: notes.experiment.clone(),
            model: notes.model.clone(),
            owner_key: notes.owner.0.to_vec(),
            principal: notes.principal.to_string(),
            started_index: notes.started_index,
            started_at: notes.started_at.0,
            sealed_index: notes.sealed_index,
            status: notes.status.clone(),
            records: notes.records,
            state: rules.to_bytes(),
        }
    }
}

impl StreamNotes {
    /// Leaf hash and index of the record at `seq` of the stream that stands at `next_seq`, if it is
    /// a recent one.
    pub(crate) fn recent(&self, seq: u64, next_seq: u64) -> Option<(Hash, u64)> {
        let back = usize::try_from(next_seq.checked_sub(seq)?).ok()?;
        self.recent
            .get(self.recent.len().checked_sub(back)?)
            .copied()
    }

    fn trim(&mut self, indexed: u64) {
        while self
            .recent
            .front()
            .is_some_and(|(_, index)| *index < indexed)
        {
            self.recent.pop_front();
        }
    }
}

/// The chain and the notes in a row of the index.
pub(crate) fn read_stream_row(row: &StreamRow) -> Result<(StreamState, StreamNotes), LedgerError> {
    let corrupt = |reason: &str| {
        LedgerError::corrupt(
            format!("the index's stream {}/{}", row.scope, row.stream),
            reason,
        )
    };
    let (&[skewed, length], rest) = row
        .state
        .split_first_chunk()
        .ok_or_else(|| corrupt("its state is cut off"))?;
    let (principal, state) = rest
        .split_at_checked(usize::from(length))
        .ok_or_else(|| corrupt("its state is cut off"))?;
    let principal = std::str::from_utf8(principal)
        .map_err(|_| corrupt("its principal"))?
        .into();
    let state = StreamState::from_bytes(state).map_err(|e| corrupt(&e.to_string()))?;
    Ok((
        state,
        StreamNotes {
            principal,
            skewed: skewed != 0,
            recent: VecDeque::new(),
        },
    ))
}

/// The same row with whoever opened the stream.
pub(crate) fn opened_by(mut row: StreamRow, principal: &str) -> Result<StreamRow, LedgerError> {
    let (state, notes) = read_stream_row(&row)?;
    row.state = StreamSnapshot {
        state,
        principal: principal.into(),
        skewed: notes.skewed,
    }
    .row()
    .state;
    Ok(row)
}

fn read_run_row(row: &RunRow) -> Result<RunNotes, LedgerError> {
    let owner: [u8; 32] = row.owner_key.as_slice().try_into().map_err(|_| {
        LedgerError::corrupt(format!("the index's run {}", row.run), "its owner's key")
    })?;
    Ok(RunNotes {
        name: row.name.clone(),
        experiment: row.experiment.clone(),
        model: row.model.clone(),
        owner: PublicKey(owner),
        principal: row.principal.as_str().into(),
        started_index: row.started_index,
        started_at: Timestamp(row.started_at),
        sealed_index: row.sealed_index,
        status: row.status.clone(),
        records: row.records,
    })
}

/// The run's id in a row, which was one when it was written.
pub(crate) fn run_id(row: &RunRow) -> Result<RunId, LedgerError> {
    RunId::parse(&row.run)
        .ok_or_else(|| LedgerError::corrupt("the index", format!("a run is named {:?}", row.run)))
}
