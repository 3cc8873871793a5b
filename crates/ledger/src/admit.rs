//! Whether a request's records come next in their streams: chains, run rules, permissions, resends.
//!
//! Nothing is written here, and a request that is refused leaves the state as it found it.

use std::collections::HashMap;
use std::sync::Arc;

use record::chain::{ChainError, ScopeState};
use record::kinds::StreamOpened;
use record::{Hash, Kind, ProducerName, PublicKey, Record, RecordHash, Scope, StreamName};
use store::MetaStore;

use crate::LedgerError;
use crate::entry::Entry;
use crate::error::{AppendCode, AppendError};
use crate::principal::{Principal, Role};
use crate::read::Reader;
use crate::state::{ScopeEntry, State};

/// Why nothing is appended any more.
pub(crate) const CLOSED: &str = "this ledger was closed for good; it can be read, and what comes now \
     belongs into the ledger that succeeds it (`rlhf-audit init --succeeds`)";

/// What becomes of one record of an admitted request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// It is new.
    New,
    /// It is in the log, at this index.
    Known(u64),
    /// It stands earlier in the same request, at this place.
    Repeated(usize),
}

/// A request was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: AppendError,
    /// The refusal is a second record under a taken name, which the log has to know of.
    pub(crate) conflict: Option<Box<Conflict>>,
}

/// A record that would take another's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conflict {
    pub(crate) scope: Scope,
    pub(crate) stream: StreamName,
    pub(crate) seq: u64,
    pub(crate) logged: RecordHash,
    pub(crate) refused: RecordHash,
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        Self {
            error,
            conflict: None,
        }
    }
}

/// What admission looks at besides the state.
pub(crate) struct Surroundings<'a> {
    pub(crate) meta: &'a dyn MetaStore,
    pub(crate) reader: &'a Reader,
}

/// The key that a stream is opened with, and whose it says it is.
pub(crate) type Enrolment = (PublicKey, ProducerName);

/// Admits all records of a request, or none. The state's chains go on; indices are not known yet.
pub(crate) fn admit(
    state: &mut State,
    around: &Surroundings<'_>,
    entries: &mut [Entry],
    principal: &Principal,
) -> Result<Vec<Step>, Refusal> {
    // A single record that is refused changes nothing; only with several there is a way back.
    let mut before: Vec<ScopeState> = Vec::new();
    let mut fresh = HashMap::new();
    let mut steps = Vec::with_capacity(entries.len());
    let many = entries.len() > 1;
    let closed = scope(state, around, Scope::Ledger, 0)?.chain.closed();
    for at in 0..entries.len() {
        let (done, rest) = entries.split_at_mut(at);
        let Some(entry) = rest.first_mut() else { break };
        let admitted = scope(state, around, entry.place.scope, at).and_then(|scope| {
            if many
                && !before
                    .iter()
                    .any(|chain| chain.scope() == scope.chain.scope())
            {
                before.push(scope.chain.clone());
            }
            one(scope, around, done, entry, principal, (&mut fresh, closed))
        });
        match admitted {
            Ok(step) => steps.push(step),
            Err(refusal) => {
                for chain in before {
                    if let Some(scope) = state.loaded(chain.scope()) {
                        scope.chain = chain;
                    }
                }
                return Err(refusal);
            }
        }
    }
    Ok(steps)
}

fn scope<'s>(
    state: &'s mut State,
    around: &Surroundings<'_>,
    scope: Scope,
    at: usize,
) -> Result<&'s mut ScopeEntry, Refusal> {
    state
        .scope(around.meta, scope)
        .map_err(|error| unavailable(at, &error).into())
}

/// How many records of a stream this request has brought so far.
type Fresh = HashMap<(Scope, StreamName), u64>;

fn one(
    scope: &mut ScopeEntry,
    around: &Surroundings<'_>,
    done: &[Entry],
    entry: &mut Entry,
    principal: &Principal,
    (fresh, closed): (&mut Fresh, bool),
) -> Result<Step, Refusal> {
    let at = done.len();
    let place = entry.place;
    permit(scope, &place.stream, principal)
        .and_then(|()| not_the_servers(place.kind))
        .map_err(|reason| AppendError::at(at + 1, AppendCode::Forbidden, reason))?;
    let stream = (place.scope, place.stream);
    if let Some(known) = scope.chain.stream(&place.stream)
        && place.seq < known.next_seq
    {
        let logged = known.next_seq - fresh.get(&stream).copied().unwrap_or(0);
        return resend(scope, around, done, entry, logged);
    }
    if closed {
        return Err(AppendError::at(at + 1, AppendCode::LedgerClosed, CLOSED).into());
    }
    if !scope.chain.admit_next(&place.link(), &entry.leaf) {
        let record = Record::parse(&entry.bytes)
            .map_err(|error| AppendError::at(at + 1, (&error).into(), &error))?;
        scope
            .chain
            .admit(&record, &entry.leaf)
            .map_err(|error| AppendError::at(at + 1, (&error).into(), explain(&error, &stream)))?;
    }
    if place.kind == Kind::StreamOpened {
        entry.by = Some(Arc::from(principal.id.as_str()));
    }
    *fresh.entry(stream).or_insert(0) += 1;
    Ok(Step::New)
}

/// The refusal with the stream it is about, where the rule does not name it itself.
fn explain(error: &ChainError, stream: &(Scope, StreamName)) -> String {
    match error {
        ChainError::Seq { .. } | ChainError::Prev { .. } | ChainError::OpenedAgain { .. } => {
            format!("stream {}/{}: {error}", stream.0, stream.1)
        }
        _ => error.to_string(),
    }
}

/// What only the server says, on its own stream: who was let in, and what it issued.
fn not_the_servers(kind: Kind) -> Result<(), String> {
    match kind {
        Kind::ProducerEnrolled
        | Kind::DocumentIssued
        | Kind::AccessRead
        | Kind::AccessChanged
        | Kind::LedgerContinued
        | Kind::LedgerClosed => Err(format!(
            "{} is the server's to record, on its own stream",
            kind.name()
        )),
        _ => Ok(()),
    }
}

fn permit(scope: &ScopeEntry, stream: &StreamName, principal: &Principal) -> Result<(), String> {
    if !principal.role.may_append() {
        return Err(format!("the role {} may not append", principal.role));
    }
    if scope.chain.scope() == Scope::Ledger && *stream == StreamName::SERVER {
        return Err("the stream ledger/server is the server's own".to_owned());
    }
    match (principal.role, scope.holder(stream)) {
        (Role::Admin, _) | (_, None) => Ok(()),
        (_, Some(holder)) if *holder == *principal.id => Ok(()),
        (_, Some(_)) if scope.chain.scope() == Scope::Ledger => Err(format!(
            "the stream ledger/{stream} was opened with another token; open a stream of your own"
        )),
        (_, Some(_)) => Err(format!(
            "run {} was started with another token; use that token or an admin's",
            scope.chain.scope()
        )),
    }
}

/// A record whose (run, stream, seq) is taken: the same bytes again, or a conflict.
fn resend(
    scope: &ScopeEntry,
    around: &Surroundings<'_>,
    done: &[Entry],
    entry: &Entry,
    logged_seqs: u64,
) -> Result<Step, Refusal> {
    let at = done.len();
    let place = entry.place;
    let (known, step) = if place.seq >= logged_seqs {
        let same = |other: &Entry| {
            (other.place.scope, other.place.stream, other.place.seq)
                == (place.scope, place.stream, place.seq)
        };
        let first = done.iter().position(same);
        let first = first.ok_or_else(|| {
            AppendError::at(
                at + 1,
                AppendCode::Unavailable,
                "the request changed while it was read",
            )
        })?;
        (done[first].leaf, Step::Repeated(first))
    } else {
        let recent = scope
            .notes(&place.stream)
            .and_then(|n| n.recent(place.seq, logged_seqs));
        let (leaf, index) = match recent {
            Some(found) => found,
            None => indexed(around, entry).map_err(|error| unavailable(at, &error))?,
        };
        (leaf, Step::Known(index))
    };
    if known == entry.leaf {
        return Ok(step);
    }
    let reason = format!(
        "{}/{} has another record at seq {}: its leaf hash is {known}, this one's is {}; a record \
         cannot be replaced, open a new stream that continues this one",
        place.scope, place.stream, place.seq, entry.leaf
    );
    Err(Refusal {
        error: AppendError::at(at + 1, AppendCode::Conflict, reason),
        conflict: matches!(step, Step::Known(_)).then(|| {
            Box::new(Conflict {
                scope: place.scope,
                stream: place.stream,
                seq: place.seq,
                logged: known.into(),
                refused: entry.leaf.into(),
            })
        }),
    })
}

fn indexed(around: &Surroundings<'_>, entry: &Entry) -> Result<(Hash, u64), LedgerError> {
    let place = entry.place;
    let (scope, stream) = (place.scope, place.stream);
    let index = around
        .meta
        .find(scope.as_str(), stream.as_str(), place.seq)?
        .ok_or_else(|| LedgerError::corrupt("the index", format!("{scope}/{stream} has a gap")))?;
    Ok((around.reader.leaf(index)?, index))
}

fn unavailable(at: usize, error: &LedgerError) -> AppendError {
    AppendError::at(at + 1, AppendCode::Unavailable, error)
}

/// The key and the producer's name in a `stream.opened`.
pub(crate) fn enrolment(record: &Record<'_>) -> Option<Enrolment> {
    let opened: StreamOpened = record.decode().ok()?;
    Some((opened.key, opened.producer))
}
