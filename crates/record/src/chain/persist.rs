//! States as bytes, for whoever keeps them. The bytes are nobody's business but this module's: they
//! are rebuilt from the log, so another version may refuse them.

use super::run::RunState;
use super::stream::StreamState;
use crate::hash::{PublicKey, RecordHash};
use crate::ids::{ProducerName, RunId, Scope, StreamName};

/// Bytes that are no state this version wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the bytes of a {0} of this version; rebuild it from the log (`rlhf-audit reindex`)")]
pub struct StateError(&'static str);

// Every state has one spelling: what is read must be what would be written, so that nothing that follows it, no
// carriage return and no other way to write a number passes unseen.

/// The first line, so that another layout is never misread.
const STREAM: &str = "stream-state/2";
/// The same, of the stream that ended its ledger.
const CLOSED: &str = "stream-state/2 closed";
const RUN: &str = "run-state/1";

impl StreamState {
    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self {
            scope,
            stream,
            producer,
            key,
            next_seq,
            head,
            unsigned,
            signatures,
            closed,
        } = self;
        let first = if *closed { CLOSED } else { STREAM };
        format!("{first}\n{scope}\n{stream}\n{producer}\n{key}\n{next_seq}\n{head}\n{unsigned}\n{signatures}\n")
            .into_bytes()
    }

    /// From [`StreamState::to_bytes`].
    ///
    /// # Errors
    ///
    /// [`StateError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        read_stream(bytes)
            .filter(|state| state.to_bytes() == bytes)
            .ok_or(StateError("stream state"))
    }
}

fn read_stream(bytes: &[u8]) -> Option<StreamState> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    let closed = match lines.next()? {
        STREAM => false,
        CLOSED => true,
        _ => return None,
    };
    Some(StreamState {
        scope: Scope::parse(lines.next()?)?,
        stream: StreamName::parse(lines.next()?)?,
        producer: ProducerName::parse(lines.next()?)?,
        key: PublicKey::parse(lines.next()?)?,
        next_seq: lines
            .next()?
            .parse()
            .ok()
            .filter(|next_seq| *next_seq > 0)?,
        head: RecordHash::parse(lines.next()?)?.into(),
        unsigned: lines.next()?.parse().ok()?,
        signatures: lines.next()?.parse().ok()?,
        closed,
    })
}

impl RunState {
    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self {
            run,
            first_stream,
            owner,
            streams,
            sealed,
        } = self;
        let owner = owner.map(|owner| owner.to_string()).unwrap_or_default();
        format!("{RUN}\n{run}\n{first_stream}\n{owner}\n{streams}\n{sealed}\n").into_bytes()
    }

    /// From [`RunState::to_bytes`].
    ///
    /// # Errors
    ///
    /// [`StateError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        read_run(bytes)
            .filter(|state| state.to_bytes() == bytes)
            .ok_or(StateError("run state"))
    }
}

fn read_run(bytes: &[u8]) -> Option<RunState> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    if lines.next()? != RUN {
        return None;
    }
    Some(RunState {
        run: RunId::parse(lines.next()?)?,
        first_stream: StreamName::parse(lines.next()?)?,
        owner: match lines.next()? {
            "" => None,
            key => Some(PublicKey::parse(key)?),
        },
        streams: lines.next()?.parse().ok()?,
        sealed: lines.next()?.parse().ok()?,
    })
}
