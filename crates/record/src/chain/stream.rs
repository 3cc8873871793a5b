//! One stream: opened, each record chained to the one before, signed from time to time.

use super::error::ChainError;
use super::{PendingSignature, full_name, own, stream_text};
use crate::hash::PublicKey;
use crate::ids::{ProducerName, Scope, StreamName};
use crate::kinds::{Kind, StreamEnd, StreamOpened, StreamSigned};
use crate::record::Record;
use crate::{Hash, RecordHash};

/// How far a stream has come: all that is needed to say whether a record comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// The scope.
    pub scope: Scope,
    /// The name.
    pub stream: StreamName,
    /// Who builds it, from `stream.opened`.
    pub producer: ProducerName,
    /// The key that signs it, from `stream.opened`.
    pub key: PublicKey,
    /// The seq that comes next, at least 1.
    pub next_seq: u64,
    /// The leaf hash of the last record.
    pub head: Hash,
    /// How many records at the end no signature covers.
    pub unsigned: u64,
    /// How many `stream.signed` it holds.
    pub signatures: u64,
    /// Whether `ledger.closed` stands in it, which only the server's own stream can have.
    pub closed: bool,
}

/// A record's place in its chain, read from it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its stream.
    pub stream: StreamName,
    /// Its seq.
    pub seq: u64,
    /// The leaf hash of the stream's record before; `None` exactly at seq 0.
    pub prev: Option<Hash>,
    /// Its kind.
    pub kind: Kind,
}

impl StreamState {
    /// A stream begins.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotOpened`] for anything but `stream.opened` at seq 0.
    pub fn start(record: &Record<'_>, leaf: &Hash) -> Result<Self, ChainError> {
        if record.seq() != 0 || !record.is(Kind::StreamOpened) {
            return Err(ChainError::NotOpened {
                stream: full_name(&record.scope(), record.stream()),
                kind: record.kind_name().to_owned(),
                seq: record.seq(),
            });
        }
        let opened: StreamOpened = record.decode()?;
        Ok(Self {
            scope: record.scope(),
            stream: *record.stream(),
            producer: opened.producer,
            key: opened.key,
            next_seq: 1,
            head: *leaf,
            unsigned: 1,
            signatures: 0,
            closed: false,
        })
    }

    /// Holds what a `stream.opened` says that it goes on from against that stream as it stands;
    /// `stream` finds one by name within the scope.
    ///
    /// # Errors
    ///
    /// [`ChainError::NotContinued`] where there is no such stream, or it ends elsewhere.
    pub fn check_continues<'s>(
        opened: &Record<'_>,
        stream: impl FnOnce(&StreamName) -> Option<&'s Self>,
    ) -> Result<(), ChainError> {
        let opened: StreamOpened = opened.decode()?;
        let Some(continues) = opened.continues else {
            return Ok(());
        };
        let found = match stream(&continues.stream).map(Self::end) {
            Some(end) if end.seq == continues.seq && end.head == continues.head => return Ok(()),
            Some(end) => format!("that ends at seq {}, leaf hash {}", end.seq, end.head),
            None => "there is no such stream".to_owned(),
        };
        Err(ChainError::NotContinued {
            named: format!(
                "{} from seq {}, leaf hash {}",
                continues.stream, continues.seq, continues.head
            ),
            found,
        })
    }

    /// Admits the stream's next record, whose leaf hash is `leaf`, signature checked. On an error
    /// the state is as it was.
    ///
    /// # Errors
    ///
    /// [`ChainError`]: another stream, not the next seq, not chained to the last record, a second
    /// `stream.opened`, a signature that is not the stream's.
    pub fn admit(&mut self, record: &Record<'_>, leaf: &Hash) -> Result<(), ChainError> {
        let pending = self.check(record)?;
        if let Some(pending) = pending
            && !pending.is_valid()
        {
            return Err(ChainError::Signature {
                kind: record.kind().map_or("", Kind::name),
                seq: record.seq(),
                key: self.key,
            });
        }
        self.advance(record, leaf);
        Ok(())
    }

    /// As [`StreamState::admit`], but hands the signature of a `stream.signed` out to be checked
    /// elsewhere. The state goes on as if it were good.
    ///
    /// # Errors
    ///
    /// As [`StreamState::admit`], without [`ChainError::Signature`].
    pub fn admit_unverified(
        &mut self,
        record: &Record<'_>,
        leaf: &Hash,
    ) -> Result<Option<PendingSignature>, ChainError> {
        let pending = self.check(record)?;
        self.advance(record, leaf);
        Ok(pending)
    }

    /// See [`ScopeState::admit_next`](super::ScopeState::admit_next).
    pub(super) fn admit_next(&mut self, next: &Link, leaf: &Hash) -> bool {
        let is_next = next.kind.is_ordinary()
            && !self.closed
            && self.next_seq == next.seq
            && next.prev == Some(self.head);
        if is_next {
            self.next_seq += 1;
            self.head = *leaf;
            self.unsigned += 1;
        }
        is_next
    }

    /// Whether the record comes next, its signature aside.
    pub(crate) fn check(
        &self,
        record: &Record<'_>,
    ) -> Result<Option<PendingSignature>, ChainError> {
        if record.scope() != self.scope || *record.stream() != self.stream {
            return Err(ChainError::WrongStream {
                expected: full_name(&self.scope, &self.stream),
                found: full_name(&record.scope(), record.stream()),
            });
        }
        if record.seq() != self.next_seq {
            return Err(ChainError::Seq {
                expected: self.next_seq,
                found: record.seq(),
            });
        }
        // Only seq 0 has no prev, and that never comes next.
        let found = record.prev().unwrap_or_default();
        if found != self.head {
            return Err(ChainError::Prev {
                seq: record.seq(),
                expected: self.head,
                found,
            });
        }
        own::check(self, record)?;
        match record.kind() {
            Some(Kind::StreamOpened) => Err(ChainError::OpenedAgain { seq: record.seq() }),
            Some(Kind::StreamSigned) => {
                let signed: StreamSigned = record.decode()?;
                Ok(Some(PendingSignature {
                    text: stream_text(&self.scope, &self.stream, self.next_seq, &self.head),
                    key: self.key,
                    signature: signed.signature,
                }))
            }
            Some(Kind::KeyRotated) => own::rotation(self, record),
            _ => Ok(None),
        }
    }

    pub(crate) fn advance(&mut self, record: &Record<'_>, leaf: &Hash) {
        self.next_seq += 1;
        self.head = *leaf;
        // The signature of a seal covers the chain as that of stream.signed does.
        let signs = matches!(record.kind(), Some(Kind::StreamSigned | Kind::RunSealed));
        self.unsigned = if signs { 0 } else { self.unsigned + 1 };
        self.signatures += u64::from(record.is(Kind::StreamSigned));
        own::advance(self, record);
    }

    /// The seq of its last record.
    pub fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// Where it ends, as a `run.sealed` lists it.
    pub fn end(&self) -> StreamEnd {
        StreamEnd::new(self.stream, self.last_seq(), RecordHash::from(self.head))
    }
}
