//! One run: begun in one stream, with an owner, sealed by the owner with every stream listed.

use super::error::ChainError;
use super::stream::StreamState;
use super::{PendingSignature, seal_text};
use crate::hash::PublicKey;
use crate::ids::{RunId, StreamName};
use crate::kinds::{Kind, MAX_STREAMS, RunSealed, RunStarted};
use crate::record::Record;

/// How far a run has come. Its streams are kept beside it ([`StreamState`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunState {
    /// The run.
    pub run: RunId,
    /// The stream it began in.
    pub first_stream: StreamName,
    /// The owner's key, once `run.started` is there.
    pub owner: Option<PublicKey>,
    /// How many streams it has.
    pub streams: usize,
    /// Whether it is sealed.
    pub sealed: bool,
}

impl RunState {
    /// A run's first record: `stream.opened` at seq 0.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotStarted`] for any other record, and for one of the scope `ledger`.
    pub fn start(record: &Record<'_>) -> Result<Self, ChainError> {
        match record.scope().run() {
            Some(run) if record.seq() == 0 && record.is(Kind::StreamOpened) => Ok(Self {
                run,
                first_stream: *record.stream(),
                owner: None,
                streams: 1,
                sealed: false,
            }),
            Some(run) => Err(ChainError::NotStarted {
                run,
                expected: "stream.opened at seq 0".into(),
                found: place(record),
            }),
            None => Err(ChainError::NotInLedger {
                kind: "a run's first stream.opened",
            }),
        }
    }

    /// Admits a further record of the run, before its stream does. On an error the state is as it
    /// was. A `run.sealed` has to be held against the streams as well: [`RunState::check_seal`].
    ///
    /// # Errors
    ///
    /// [`ChainError`]: the run is sealed, has not started, starts again, or has too many streams.
    pub fn admit(&mut self, record: &Record<'_>) -> Result<(), ChainError> {
        let run = self.run;
        if self.sealed {
            return Err(ChainError::Sealed { run });
        }
        if self.owner.is_none() {
            let second = *record.stream() == self.first_stream && record.seq() == 1;
            if !second || !record.is(Kind::RunStarted) {
                return Err(ChainError::NotStarted {
                    run,
                    expected: format!("run.started at seq 1 of stream {}", self.first_stream),
                    found: place(record),
                });
            }
            let started: RunStarted = record.decode()?;
            self.owner = Some(started.owner);
            return Ok(());
        }
        match record.kind() {
            Some(Kind::RunStarted) => Err(ChainError::StartedAgain { run }),
            Some(Kind::StreamOpened) if record.seq() == 0 => {
                if self.streams >= MAX_STREAMS {
                    return Err(ChainError::TooManyStreams { run });
                }
                self.streams += 1;
                Ok(())
            }
            Some(Kind::RunSealed) => {
                self.sealed = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// It has begun and not ended: an ordinary record of a stream it knows changes nothing of it.
    pub(super) fn goes_on(&self) -> bool {
        self.owner.is_some() && !self.sealed
    }

    /// Holds a `run.sealed` against all streams of the run as they stand before it, its own among
    /// them. The signature is handed out to be checked.
    ///
    /// # Errors
    ///
    /// [`ChainError`]: not the owner's stream, a stream omitted, unknown, out of order or with
    /// another end, or the record is no `run.sealed`.
    pub fn check_seal<'s>(
        &self,
        record: &Record<'_>,
        streams: impl IntoIterator<Item = &'s StreamState>,
    ) -> Result<PendingSignature, ChainError> {
        let seal: RunSealed = record.decode()?;
        let mut streams: Vec<&StreamState> = streams.into_iter().collect();
        streams.sort_by_key(|stream| stream.stream);

        let own = streams
            .iter()
            .find(|stream| stream.stream == *record.stream());
        let own = own.ok_or(ChainError::StreamUnknown {
            stream: *record.stream(),
        })?;
        let owner = self.owner.ok_or_else(|| ChainError::NotStarted {
            run: self.run,
            expected: "run.started".into(),
            found: place(record),
        })?;
        if own.key != owner {
            return Err(ChainError::NotOwner {
                owner,
                found: own.key,
            });
        }
        if let Some([_, b]) = seal
            .streams
            .array_windows()
            .find(|[a, b]| a.stream >= b.stream)
        {
            return Err(ChainError::StreamOrder { stream: b.stream });
        }
        let mut listed = seal.streams.iter().peekable();
        for actual in streams.iter().map(|stream| stream.end()) {
            let end = listed.next_if(|end| end.stream <= actual.stream);
            let end = end.ok_or(ChainError::StreamOmitted {
                stream: actual.stream,
                seq: actual.seq,
            })?;
            if end.stream < actual.stream {
                return Err(ChainError::StreamUnknown { stream: end.stream });
            }
            if *end != actual {
                return Err(ChainError::StreamEnd {
                    listed: Box::new(end.clone()),
                    actual: Box::new(actual),
                });
            }
        }
        if let Some(end) = listed.next() {
            return Err(ChainError::StreamUnknown { stream: end.stream });
        }
        let text = seal_text(
            &record.scope(),
            record.stream(),
            record.seq(),
            &own.head,
            seal.status,
            &seal.streams,
        );
        Ok(PendingSignature {
            text,
            key: owner,
            signature: seal.signature,
        })
    }
}

fn place(record: &Record<'_>) -> String {
    format!(
        "{} at seq {} of stream {}",
        record.kind_name(),
        record.seq(),
        record.stream()
    )
}
