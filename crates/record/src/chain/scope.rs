//! A whole scope: a run with all its streams, or the streams of the scope `ledger`.

use std::collections::BTreeMap;

use super::error::ChainError;
use super::run::RunState;
use super::stream::{Link, StreamState};
use super::{PendingSignature, full_name, own};
use crate::Hash;
use crate::ids::{Scope, StreamName};
use crate::kinds::Kind;
use crate::record::Record;

/// The streams of one scope, and the run they make up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeState {
    scope: Scope,
    run: Option<RunState>,
    streams: BTreeMap<StreamName, StreamState>,
}

impl ScopeState {
    /// A scope without records.
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            run: None,
            streams: BTreeMap::new(),
        }
    }

    /// A scope as it was kept: its run, where it is one that has records, and all its streams.
    pub fn from_parts(
        scope: Scope,
        run: Option<RunState>,
        streams: impl IntoIterator<Item = StreamState>,
    ) -> Self {
        let streams = streams
            .into_iter()
            .map(|stream| (stream.stream, stream))
            .collect();
        Self {
            scope,
            run,
            streams,
        }
    }

    /// The scope.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The run, once it has a record; never in the scope `ledger`.
    pub fn run(&self) -> Option<&RunState> {
        self.run.as_ref()
    }

    /// A stream.
    pub fn stream(&self, name: &StreamName) -> Option<&StreamState> {
        self.streams.get(name)
    }

    /// Whether the ledger has ended; ever only of the scope `ledger`.
    pub fn closed(&self) -> bool {
        self.stream(&StreamName::SERVER)
            .is_some_and(|server| server.closed)
    }

    /// All streams, by name.
    pub fn streams(&self) -> impl Iterator<Item = &StreamState> {
        self.streams.values()
    }

    /// Admits the next record of one of the scope's streams, signatures checked. On an error the
    /// state is as it was.
    ///
    /// # Errors
    ///
    /// Any [`ChainError`].
    pub fn admit(&mut self, record: &Record<'_>, leaf: &Hash) -> Result<(), ChainError> {
        self.admit_if(record, leaf, |pending| {
            if pending.is_valid() {
                return Ok(());
            }
            let kind = record.kind().map_or("", Kind::name);
            Err(ChainError::Signature {
                kind,
                seq: record.seq(),
                key: pending.key,
            })
        })
        .map(drop)
    }

    /// As [`ScopeState::admit`], but hands a signature out to be checked elsewhere; the state goes
    /// on as if it were good.
    ///
    /// # Errors
    ///
    /// Any [`ChainError`] but [`ChainError::Signature`].
    pub fn admit_unverified(
        &mut self,
        record: &Record<'_>,
        leaf: &Hash,
    ) -> Result<Option<PendingSignature>, ChainError> {
        self.admit_if(record, leaf, |_| Ok(()))
    }

    /// Admits a record of which no more is known than its place in the chain, where that is all that there is to
    /// check: an ordinary record, next in a stream that goes on. `false`: it is not so, the state is as it was, and
    /// [`ScopeState::admit`] says what is wrong, if anything is.
    ///
    /// For whoever has parsed the record before and would have to do it again.
    pub fn admit_next(&mut self, next: &Link, leaf: &Hash) -> bool {
        let goes_on = match (self.scope, &self.run) {
            (Scope::Ledger, _) => !self.closed(),
            (Scope::Run(_), Some(run)) => run.goes_on(),
            (Scope::Run(_), None) => false,
        };
        goes_on
            && self
                .streams
                .get_mut(&next.stream)
                .is_some_and(|stream| stream.admit_next(next, leaf))
    }

    fn admit_if(
        &mut self,
        record: &Record<'_>,
        leaf: &Hash,
        verify: impl Fn(&PendingSignature) -> Result<(), ChainError>,
    ) -> Result<Option<PendingSignature>, ChainError> {
        let run = self.run_after(record)?;
        let Some(stream) = self.streams.get(record.stream()) else {
            let stream = StreamState::start(record, leaf)?;
            self.check_scope(record, &stream)?;
            StreamState::check_continues(record, |name| self.streams.get(name))?;
            self.streams.insert(stream.stream, stream);
            self.run = run;
            return Ok(None);
        };
        let mut pending = stream.check(record)?;
        if let (Some(run), Some(Kind::RunSealed)) = (&run, record.kind()) {
            pending = Some(run.check_seal(record, self.streams.values())?);
        }
        if let Some(pending) = &pending {
            verify(pending)?;
        }
        if let Some(stream) = self.streams.get_mut(record.stream()) {
            stream.advance(record, leaf);
        }
        self.run = run;
        Ok(pending)
    }

    fn check_scope(&self, record: &Record<'_>, stream: &StreamState) -> Result<(), ChainError> {
        if record.scope() == self.scope {
            return Ok(());
        }
        Err(ChainError::WrongStream {
            expected: full_name(&self.scope, &stream.stream),
            found: full_name(&record.scope(), record.stream()),
        })
    }

    /// The run as it will be with this record.
    fn run_after(&self, record: &Record<'_>) -> Result<Option<RunState>, ChainError> {
        match (self.scope, &self.run) {
            (Scope::Ledger, _) if self.closed() && *record.stream() != StreamName::SERVER => {
                Err(own::closed(record))
            }
            (Scope::Ledger, _) => match record.kind() {
                Some(kind @ (Kind::RunStarted | Kind::RunSealed)) => {
                    Err(ChainError::NotInLedger { kind: kind.name() })
                }
                _ => Ok(None),
            },
            (Scope::Run(_), None) => RunState::start(record).map(Some),
            (Scope::Run(_), Some(run)) => {
                let mut run = run.clone();
                run.admit(record)?;
                Ok(Some(run))
            }
        }
    }
}
