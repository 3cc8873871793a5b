//! What holds of the server's own stream alone, `ledger`/`server`: its key can change, it says how
//! the ledger began, and it ends the ledger.

use super::PendingSignature;
use super::error::ChainError;
use super::stream::StreamState;
use crate::hash::PublicKey;
use crate::ids::{Scope, StreamName};
use crate::kinds::{KeyPurpose, KeyRotated, Kind};
use crate::record::Record;

fn is_own(state: &StreamState) -> bool {
    state.scope == Scope::Ledger && state.stream == StreamName::SERVER
}

/// Whether the record may stand where it would, next in the stream.
pub(super) fn check(state: &StreamState, record: &Record<'_>) -> Result<(), ChainError> {
    // One signature covers the end.
    if state.closed && !(record.is(Kind::StreamSigned) && state.unsigned > 0) {
        return Err(closed(record));
    }
    let misplaced = |kind: Kind, place| {
        Err(ChainError::Misplaced {
            kind: kind.name(),
            place,
        })
    };
    match record.kind() {
        Some(kind @ Kind::LedgerContinued) if !is_own(state) || state.next_seq != 1 => {
            misplaced(kind, "at seq 1 of ledger/server")
        }
        Some(kind @ Kind::LedgerClosed) if !is_own(state) => misplaced(kind, "in ledger/server"),
        Some(kind @ Kind::KeyRotated) if in_force(record) && !is_own(state) => {
            misplaced(kind, "in ledger/server")
        }
        _ => Ok(()),
    }
}

/// A `key.rotated`: the signature of the old key, where it has one; that of the stream's own key
/// must have one.
pub(super) fn rotation(
    state: &StreamState,
    record: &Record<'_>,
) -> Result<Option<PendingSignature>, ChainError> {
    if !in_force(record) {
        return Ok(None);
    }
    let body: KeyRotated = record.decode()?;
    let pending = body.pending();
    if body.purpose != KeyPurpose::Operator {
        return Ok(pending);
    }
    let refuse = |reason| {
        Err(ChainError::Rotation {
            key: state.key,
            reason,
        })
    };
    if body.old != state.key {
        refuse("`old` is another key")
    } else if state.unsigned > 0 {
        refuse("stream.signed by the old key has to stand right before it")
    } else if pending.is_none() {
        refuse("the old key has not signed it")
    } else {
        Ok(pending)
    }
}

/// What the record changes, once it is admitted.
pub(super) fn advance(state: &mut StreamState, record: &Record<'_>) {
    match record.kind() {
        Some(Kind::LedgerClosed) => state.closed = true,
        Some(Kind::KeyRotated) => state.key = next_key(record).unwrap_or(state.key),
        _ => {}
    }
}

fn next_key(record: &Record<'_>) -> Option<PublicKey> {
    let body: KeyRotated = record.decode().ok()?;
    (in_force(record) && body.purpose == KeyPurpose::Operator).then_some(body.new)
}

/// Version 1 is information only.
fn in_force(record: &Record<'_>) -> bool {
    record.version() >= KeyRotated::IN_FORCE
}

/// Nothing comes after the end.
pub(super) fn closed(record: &Record<'_>) -> ChainError {
    ChainError::Closed {
        found: record.kind_name().to_owned(),
    }
}
