//! What can go wrong, and for whom: the operator ([`LedgerError`]), a caller whose request found
//! no room ([`SubmitError`]), a producer whose records were refused ([`AppendError`]).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use record::chain::ChainError;
use record::{RecordError, SubmissionError};
use thiserror::Error;

use crate::keys::MIN_PASSPHRASE_CHARS;

/// Opening, reading or closing a ledger failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The storage below failed.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A record of the log or of the operator does not hold together.
    #[error(transparent)]
    Record(#[from] record::RecordError),
    /// A file of the log does not hold together.
    #[error("{what} does not hold together: {reason}; run `rlhf-audit verify` on the directory")]
    Corrupt {
        /// Which file, tile or record.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A ledger is there already.
    #[error("{} holds a ledger already; open it, or choose another place", dir.display())]
    Exists {
        /// The data directory.
        dir: PathBuf,
    },
    /// No ledger is there.
    #[error("{} holds no ledger; create one with `rlhf-audit init`", dir.display())]
    Missing {
        /// The data directory.
        dir: PathBuf,
    },
    /// A server writes to the ledger.
    #[error("a server writes to this ledger; stop every server that uses it, then try again")]
    InUse,
    /// Key files were changed while they were read.
    #[error("keys were changed meanwhile, as a rotation does; try again once that is done")]
    KeysChanged,
    /// Journal and checkpoint moved faster than they could be read.
    #[error(
        "the journal and the checkpoint could not be read as they belong together, for they moved on each time; try again, \
         nearer to the database and the object store"
    )]
    Restless,
    /// A journal that ends before what is restored begins.
    #[error("the place holds part of another restoration; remove it, or restore into a new place")]
    NotAnew,
    /// A place that was to be filled holds something else.
    #[error("{what} is there already, with other content; restore into a new place")]
    Occupied {
        /// What is there.
        what: String,
    },
    /// The ledger's objects are in another place than was given.
    #[error(
        "the ledger's objects are in {known}, not in {given}; give that place, or use `rlhf-audit migrate`"
    )]
    OtherObjects {
        /// Where they are.
        known: String,
        /// Where they were said to be.
        given: String,
    },
    /// Another process is making a ledger in the same stores.
    #[error("another process is making a ledger in this database; start again in a moment")]
    BeingCreated,
    /// A witness policy does not fit, or what was brought does not satisfy it.
    #[error("the witness policy: {reason}")]
    WitnessPolicy {
        /// What does not fit.
        reason: String,
    },
    /// No witness can work in this directory.
    #[error("no witness can be opened in {}: {why}", dir.display())]
    NoWitness {
        /// Its directory.
        dir: PathBuf,
        /// What keeps it from that.
        why: String,
    },
    /// A key file can be read by others.
    #[error("{} has mode {mode:o}, expected 600; run `chmod 600` on it", path.display())]
    KeyMode {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A key file is not a seed.
    #[error(
        "{} is not a key: expected 32 bytes in base64 and a newline, or an encrypted key, whole and \
         unchanged; restore it from a copy",
        path.display()
    )]
    KeyFormat {
        /// The key file.
        path: PathBuf,
    },
    /// A key file is encrypted, and there is nothing to decrypt it with.
    #[error("{} needs a passphrase: {reason}", path.display())]
    PassphraseMissing {
        /// The key file, or the directory of those to be encrypted.
        path: PathBuf,
        /// Why there is none, and what to do.
        reason: String,
    },
    /// A key file does not decrypt.
    #[error(
        "{} does not decrypt: the passphrase is another one, or the file was changed (then restore it \
         from a copy)",
        path.display()
    )]
    PassphraseWrong {
        /// The key file.
        path: PathBuf,
    },
    /// A passphrase is too easily guessed.
    #[error("a passphrase has at least {MIN_PASSPHRASE_CHARS} characters; give a longer one")]
    PassphraseShort,
    /// A change of keys was begun and not finished.
    #[error(
        "a rotation of {} was interrupted; run `rlhf-audit key rotate --purpose {purpose}` again to \
         finish it",
        names.join(", ")
    )]
    Rotating {
        /// The key files.
        names: Vec<&'static str>,
        /// What they are for.
        purpose: &'static str,
    },
    /// A change of keys cannot be made as things stand.
    #[error("the key cannot be rotated: {reason}")]
    Rotation {
        /// Why, and what to do.
        reason: String,
    },
    /// The ledger has ended.
    #[error(
        "this ledger was closed for good by record {index}; it can be read, and succeeded by another \
         (`rlhf-audit init --succeeds`)"
    )]
    Ended {
        /// The index of `ledger.closed`.
        index: u64,
    },
    /// A hook cannot be made like this.
    #[error("no hook can be made: {reason}")]
    Hook {
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// No role has this name.
    #[error("unknown role `{seen}`, expected admin, producer, reader, auditor or witness")]
    UnknownRole {
        /// The name given.
        seen: String,
    },
    /// What needs a second admin's approval does not have it, or not like this.
    #[error("not approved: {reason}")]
    Approval {
        /// What is missing.
        reason: String,
    },
    /// A token cannot be made like this.
    #[error("no token can be made: {reason}")]
    Token {
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A token's secret has another form.
    #[error("a token is `rat_` and 43 characters of base64url, this is not")]
    TokenFormat,
    /// Nothing goes by this name or number.
    #[error("no {what} `{seen}` in this ledger")]
    NotFound {
        /// run, record, token…
        what: &'static str,
        /// The name or number given.
        seen: String,
    },
    /// A name belongs to several runs.
    #[error("`{name}` names {} runs, use one of their ids: {}", ids.len(), ids.join(", "))]
    Ambiguous {
        /// The name given.
        name: String,
        /// The runs of that name.
        ids: Vec<String>,
    },
    /// What was asked for is not yet covered by a published checkpoint.
    #[error("record {index} is not published yet (published: {published}); ask again shortly")]
    NotPublished {
        /// The index asked for.
        index: u64,
        /// The size of the published log.
        published: u64,
    },
    /// The server's own record was refused.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// No more is accepted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// Sealed values cannot be opened.
    #[error("the sealed values of record {index} cannot be opened: {reason}")]
    Sealed {
        /// The record.
        index: u64,
        /// A missing key, another deployment's key, or changed bytes.
        reason: String,
    },
    /// A subject's key was destroyed; nothing more is kept of this subject.
    #[error(
        "the key of {subject} in {scope} was destroyed; nothing more of this subject is sealed"
    )]
    Erased {
        /// The pseudonym, or `run`.
        subject: String,
        /// The run, or `ledger`.
        scope: String,
    },
    /// A subject's key is wrapped by another key than this deployment's.
    #[error(
        "a subject's key does not unwrap: keys/deployment is not the key this ledger was made with, \
         or the database was changed; restore the right file"
    )]
    WrongDeploymentKey,
    /// A background thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

impl LedgerError {
    /// Whether it is another process that stands in the way: one that has the ledger open.
    pub fn is_in_use(&self) -> bool {
        matches!(
            self,
            Self::InUse | Self::Store(store::StoreError::Locked { .. })
        )
    }

    /// Whether the system does not let this process read or write where the ledger is.
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Store(store::StoreError::Denied { .. }) => true,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ),
            _ => false,
        }
    }

    /// Whether something over a network does not answer, and may later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_unavailable())
    }

    /// Whether what was to be made is in the way of what is there.
    pub fn is_occupied(&self) -> bool {
        use store::StoreError::{LedgerExists, NotEmpty};
        matches!(
            self,
            Self::Exists { .. }
                | Self::Occupied { .. }
                | Self::NotAnew
                | Self::Store(LedgerExists { .. } | NotEmpty { .. })
        )
    }

    /// Whether something that was kept is not what was kept: damage, or somebody's hand.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. }
                | Self::Record(_)
                | Self::Store(
                    store::StoreError::CorruptJournal { .. }
                        | store::StoreError::CorruptDatabase { .. }
                )
        )
    }

    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn corrupt(what: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self::Corrupt {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}

/// A request was not even queued.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Too much is waiting already.
    #[error("the ledger is overloaded: {waiting} requests are waiting; send this again later")]
    Overloaded {
        /// Requests in the queue.
        waiting: usize,
    },
    /// The journal could not be written; what it left on disk is unknown.
    #[error("the ledger has stopped: {reason}; restart the server, acknowledged records are safe")]
    Failed {
        /// What failed.
        reason: String,
    },
    /// The ledger is closing.
    #[error("the ledger is closing; send this again once the server is back")]
    Closed,
}

/// Why none of a request's records was recorded. The ledger goes on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{reason}", Line(*line))]
pub struct AppendError {
    /// Which record of the request, from 1; absent if the request as a whole is meant.
    pub line: Option<usize>,
    /// The kind of refusal, for programs.
    pub code: AppendCode,
    /// The refusal, for people: seen, expected, what to do.
    pub reason: String,
}

impl AppendError {
    pub(crate) fn at(line: usize, code: AppendCode, reason: impl fmt::Display) -> Self {
        Self {
            line: Some(line),
            code,
            reason: reason.to_string(),
        }
    }

    pub(crate) fn whole(code: AppendCode, reason: impl fmt::Display) -> Self {
        Self {
            line: None,
            code,
            reason: reason.to_string(),
        }
    }
}

struct Line(Option<usize>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .map_or(Ok(()), |line| write!(f, "record {line} of the request: "))
    }
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AppendCode {
    /// A record, a sealed value or the request is over its limit.
    TooLarge,
    /// The bytes are JSON, but not in canonical form (RFC 8785).
    NotCanonical,
    /// The bytes are no record of their kind: a missing member, a value out of range.
    Malformed,
    /// No such kind.
    UnknownKind,
    /// The kind has no such version here.
    UnknownVersion,
    /// An opening is missing, too many, or does not open its commitment.
    BadOpening,
    /// The stream's next record has another `seq`.
    SeqGap,
    /// `prev` is not the leaf hash of the stream's last record.
    WrongPrev,
    /// A stream's or a seal's signature does not verify.
    BadSignature,
    /// (run, stream, seq) is taken by other bytes.
    Conflict,
    /// The stream is not open, or would open in a way the rules refuse.
    BadStream,
    /// The run has not started, or would start in a way the rules refuse.
    BadRun,
    /// The run is sealed.
    RunSealed,
    /// The seal is not the owner's, or does not list the run's streams as they stand.
    BadSeal,
    /// A record names an attachment that the ledger does not hold, or that has another size.
    AttachmentMissing,
    /// The ledger has ended.
    LedgerClosed,
    /// The principal may not append there.
    Forbidden,
    /// The ledger stopped.
    Unavailable,
}

impl AppendCode {
    /// The code as problem documents spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "record-too-large",
            Self::NotCanonical => "not-canonical",
            Self::Malformed => "invalid-record",
            Self::UnknownKind => "unknown-kind",
            Self::UnknownVersion => "unknown-version",
            Self::BadOpening => "opening-mismatch",
            Self::SeqGap => "seq-gap",
            Self::WrongPrev => "wrong-prev",
            Self::BadSignature => "bad-signature",
            Self::Conflict => "conflict",
            Self::BadStream => "bad-stream",
            Self::BadRun => "bad-run",
            Self::RunSealed => "run-sealed",
            Self::BadSeal => "bad-seal",
            Self::AttachmentMissing => "attachment-missing",
            Self::LedgerClosed => "ledger-closed",
            Self::Forbidden => "forbidden",
            Self::Unavailable => "unavailable",
        }
    }
}

impl From<&RecordError> for AppendCode {
    fn from(error: &RecordError) -> Self {
        match error {
            RecordError::TooLarge { .. } => Self::TooLarge,
            RecordError::Invalid(fault) if fault.canonical => Self::NotCanonical,
            RecordError::Invalid(_) => Self::Malformed,
            RecordError::UnknownKind { .. } => Self::UnknownKind,
            RecordError::UnknownVersion { .. } => Self::UnknownVersion,
        }
    }
}

impl From<&SubmissionError> for AppendCode {
    fn from(error: &SubmissionError) -> Self {
        match error {
            SubmissionError::Record(error) => error.into(),
            SubmissionError::Line(fault) if fault.canonical => Self::NotCanonical,
            SubmissionError::Line(_) => Self::Malformed,
            SubmissionError::NoOpening(_)
            | SubmissionError::NotSealed(_)
            | SubmissionError::DoesNotOpen(_) => Self::BadOpening,
        }
    }
}

impl From<&ChainError> for AppendCode {
    fn from(error: &ChainError) -> Self {
        match error {
            ChainError::WrongStream { .. }
            | ChainError::NotOpened { .. }
            | ChainError::NotContinued { .. }
            | ChainError::OpenedAgain { .. } => Self::BadStream,
            ChainError::Seq { .. } => Self::SeqGap,
            ChainError::Prev { .. } => Self::WrongPrev,
            ChainError::Signature { .. } | ChainError::Rotation { .. } => Self::BadSignature,
            ChainError::Sealed { .. } => Self::RunSealed,
            ChainError::NotStarted { .. }
            | ChainError::StartedAgain { .. }
            | ChainError::NotInLedger { .. }
            | ChainError::TooManyStreams { .. } => Self::BadRun,
            ChainError::NotOwner { .. }
            | ChainError::StreamOmitted { .. }
            | ChainError::StreamUnknown { .. }
            | ChainError::StreamEnd { .. }
            | ChainError::StreamOrder { .. } => Self::BadSeal,
            ChainError::Closed { .. } => Self::LedgerClosed,
            ChainError::Misplaced { .. } => Self::Forbidden,
            ChainError::Record(error) => error.into(),
        }
    }
}
