//! Why a record cannot come next.

use crate::Hash;
use crate::error::RecordError;
use crate::ids::{RunId, StreamName};
use crate::kinds::StreamEnd;

/// A rule of streams or runs that a record breaks. None of them changes the state it was held
/// against.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The record belongs to another stream than the state.
    #[error("a record of stream {found} was held against {expected}")]
    WrongStream {
        /// Scope and stream of the state, like `ledger/server`.
        expected: String,
        /// Scope and stream of the record.
        found: String,
    },
    /// There is no such stream yet.
    #[error(
        "stream {stream} has no record yet: expected stream.opened at seq 0, found {kind} at seq \
         {seq}"
    )]
    NotOpened {
        /// Scope and stream.
        stream: String,
        /// The kind found.
        kind: String,
        /// The seq found.
        seq: u64,
    },
    /// `stream.opened` anywhere but at seq 0.
    #[error("stream.opened at seq {seq}: it is always record 0 of its stream, and only that")]
    OpenedAgain {
        /// The seq found.
        seq: u64,
    },
    /// Not the next seq.
    #[error("expected seq {expected}, found {found}")]
    Seq {
        /// The next seq of the stream.
        expected: u64,
        /// The seq found.
        found: u64,
    },
    /// Not chained to the stream's last record.
    #[error("expected prev {expected}, the leaf hash of seq {}, found {found}", .seq - 1)]
    Prev {
        /// The seq of the record.
        seq: u64,
        /// The leaf hash of the stream's last record.
        expected: Hash,
        /// The prev found.
        found: Hash,
    },
    /// The signature in the record is not the key's.
    #[error("the signature in {kind} at seq {seq} is not that of key {key} over the chain so far")]
    Signature {
        /// `stream.signed` or `run.sealed`.
        kind: &'static str,
        /// The seq of the record.
        seq: u64,
        /// The key that should have signed.
        key: crate::PublicKey,
    },
    /// The run has been sealed.
    #[error("run {run} is sealed; late records go to the scope ledger, naming the run")]
    Sealed {
        /// The run.
        run: RunId,
    },
    /// The run has not begun.
    #[error(
        "run {run} has not started: expected {expected}, found {found}; a run begins with \
         stream.opened and run.started in one stream, other streams come after"
    )]
    NotStarted {
        /// The run.
        run: RunId,
        /// What has to come.
        expected: String,
        /// The kind and place found.
        found: String,
    },
    /// `run.started` a second time.
    #[error(
        "run {run} has started already; run.started is seq 1 of its first stream, and only that"
    )]
    StartedAgain {
        /// The run.
        run: RunId,
    },
    /// `stream.opened` goes on from something that is not there.
    #[error(
        "stream.opened continues {named}, but {found}; `continues` names a stream of the same \
         scope with the seq and leaf hash of its last record"
    )]
    NotContinued {
        /// What `continues` names.
        named: String,
        /// What the log has.
        found: String,
    },
    /// A record that only a run can have, in the scope `ledger`.
    #[error("{kind} belongs to a run, not to the scope ledger")]
    NotInLedger {
        /// `run.started` or `run.sealed`.
        kind: &'static str,
    },
    /// More streams than a `run.sealed` can list.
    #[error(
        "run {run} has {} streams already, the most there may be",
        crate::kinds::MAX_STREAMS
    )]
    TooManyStreams {
        /// The run.
        run: RunId,
    },
    /// A stream that is not the owner's wants to seal the run.
    #[error("run.sealed must stand in a stream of the owner's key {owner}, this one has {found}")]
    NotOwner {
        /// The owner's key, from `run.started`.
        owner: crate::PublicKey,
        /// The stream's key.
        found: crate::PublicKey,
    },
    /// The seal does not list a stream of the run.
    #[error("run.sealed omits the stream {stream}, which ends at seq {seq}")]
    StreamOmitted {
        /// The stream.
        stream: StreamName,
        /// Its last seq.
        seq: u64,
    },
    /// The seal lists a stream that the run has not.
    #[error("run.sealed lists the stream {stream}, which the run has not")]
    StreamUnknown {
        /// The stream.
        stream: StreamName,
    },
    /// The seal lists a stream with another end.
    #[error(
        "run.sealed says that stream {} ends at seq {}, head {}; it ends at seq {}, head {}",
        .listed.stream, .listed.seq, .listed.head, .actual.seq, .actual.head
    )]
    StreamEnd {
        /// The end in the seal.
        listed: Box<StreamEnd>,
        /// Where the stream ends.
        actual: Box<StreamEnd>,
    },
    /// The seal's streams are not sorted by name, or one stands twice.
    #[error("run.sealed must list streams sorted by name, each once; {stream} is out of place")]
    StreamOrder {
        /// The first that is not after the one before it.
        stream: StreamName,
    },
    /// A kind that stands in one place only, somewhere else.
    #[error("{kind} stands {place} only")]
    Misplaced {
        /// The kind.
        kind: &'static str,
        /// Where it may stand.
        place: &'static str,
    },
    /// The key of the server's stream cannot change like this.
    #[error("the key {key} of ledger/server cannot be rotated by this record: {reason}")]
    Rotation {
        /// The stream's key.
        key: crate::PublicKey,
        /// What is wrong.
        reason: &'static str,
    },
    /// The ledger has ended.
    #[error(
        "this ledger was closed for good: {found} cannot follow ledger.closed; append to the ledger \
         that succeeds it, or make one with `rlhf-audit init --succeeds`"
    )]
    Closed {
        /// The kind of the record that would follow.
        found: String,
    },
    /// A body that cannot be read; [`crate::Record::parse`] would have refused it.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl ChainError {
    /// A short name for machines, as in a problem document.
    pub fn code(&self) -> &'static str {
        match self {
            Self::WrongStream { .. } => "wrong-stream",
            Self::NotOpened { .. } => "stream-not-opened",
            Self::OpenedAgain { .. } => "stream-opened-again",
            Self::Seq { .. } => "seq-gap",
            Self::Prev { .. } => "wrong-prev",
            Self::Signature { .. } => "bad-signature",
            Self::Sealed { .. } => "run-sealed",
            Self::NotStarted { .. } => "run-not-started",
            Self::StartedAgain { .. } => "run-started-again",
            Self::NotContinued { .. } => "not-continued",
            Self::NotInLedger { .. } => "not-in-ledger",
            Self::TooManyStreams { .. } => "too-many-streams",
            Self::NotOwner { .. } => "not-owner",
            Self::StreamOmitted { .. }
            | Self::StreamUnknown { .. }
            | Self::StreamEnd { .. }
            | Self::StreamOrder { .. } => "incomplete-seal",
            Self::Misplaced { .. } => "misplaced",
            Self::Rotation { .. } => "bad-rotation",
            Self::Closed { .. } => "ledger-closed",
            Self::Record(error) => error.code(),
        }
    }

    /// What was expected and what was found, for reports that show them side by side.
    pub fn expected_found(&self) -> Option<(String, String)> {
        match self {
            Self::Seq { expected, found } => {
                Some((format!("seq {expected}"), format!("seq {found}")))
            }
            Self::Prev {
                expected, found, ..
            } => Some((format!("prev {expected}"), format!("prev {found}"))),
            Self::NotOwner { owner, found } => {
                Some((format!("owner's key {owner}"), format!("key {found}")))
            }
            Self::StreamEnd { listed, actual } => Some((
                format!("seq {}, head {}", listed.seq, listed.head),
                format!("seq {}, head {}", actual.seq, actual.head),
            )),
            _ => None,
        }
    }
}
