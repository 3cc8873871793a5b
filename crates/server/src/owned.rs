//! Runs that this server starts on its stream `server`; and those that it owns, which it seals.

use ledger::{AppendCode, Ledger, LedgerError, Principal, Receipt, RunInfo};
use record::kinds::{RunStarted, RunStatus, StreamEnd};
use record::{Draft, PublicKey, RunId, Scope, StreamName, StreamWriter, Submission, WriteError};

use crate::api::NewRun;
use crate::own::{SOFTWARE, producer};
use crate::problem::Problem;
use crate::state::State;

const PRODUCER: &str = "rlhf-audit-server";

/// How often a seal is made anew because a stream grew while it was made.
const TRIES: usize = 8;

/// What `run.started` will say.
///
/// # Errors
/// The owner is no key.
pub(crate) fn started(wanted: NewRun, state: &State) -> Result<RunStarted, Problem> {
    let owner = match wanted.owner {
        None => PublicKey::from(&state.ledger().operator_key()),
        Some(text) => PublicKey::parse(&text).ok_or_else(|| {
            Problem::unprocessable(
                "bad-object",
                format!("owner is `{text}`; expected an Ed25519 public key: 32 bytes in base64"),
            )
        })?,
    };
    let mut body = RunStarted::new(wanted.name, owner);
    body.experiment = wanted.experiment;
    body.model = wanted.model;
    body.config = wanted.config;
    Ok(body)
}

/// Opens a run with the stream `server` and waits until that is durable.
///
/// # Errors
/// A field is out of its bounds, or the ledger refuses.
pub(crate) fn start(
    ledger: &Ledger,
    body: RunStarted,
    principal: &Principal,
) -> Result<RunInfo, Problem> {
    let (clock, entropy) = (ledger.clock(), ledger.entropy());
    let run = RunId::generate(&*clock, &*entropy);
    let producer = producer(PRODUCER)?;
    let (scope, stream, key) = (Scope::Run(run), StreamName::SERVER, ledger.operator_key());
    let mut writer =
        StreamWriter::open(scope, stream, producer, key, clock, entropy).software(SOFTWARE);
    let submissions = writer
        .write(Draft::new(body))
        .map_err(|error| unwritten(&error))?;
    append(ledger, &submissions, principal)?;
    Ok(ledger.run(run)?)
}

/// Seals a run on a stream of this server's, listing every stream as it stands.
///
/// # Errors
/// 409 where another key owns the run or it is sealed; what the ledger refuses.
pub(crate) fn seal(
    ledger: &Ledger,
    run: &RunInfo,
    status: RunStatus,
    principal: &Principal,
) -> Result<Receipt, Problem> {
    let key = ledger.operator_key();
    if run.owner != PublicKey::from(&key) {
        let detail = format!(
            "run {} belongs to the key {}; it is sealed by a run.sealed record signed with that key",
            run.id, run.owner
        );
        return Err(Problem::new(
            axum::http::StatusCode::CONFLICT,
            "bad-seal",
            detail,
        ));
    }
    if let Some(status) = &run.status {
        let detail = format!("run {} is sealed already ({status})", run.id);
        return Err(Problem::new(
            axum::http::StatusCode::CONFLICT,
            "run-sealed",
            detail,
        ));
    }
    let mut tries = 0;
    loop {
        let sealed = sealing(ledger, run, status)?;
        tries += 1;
        match append(ledger, &[sealed], principal) {
            // A stream grew while this was made, perhaps the very one.
            Err(LedgerError::Append(error)) if has_grown(error.code) && tries < TRIES => {}
            appended => return Ok(appended?),
        }
    }
}

fn sealing(ledger: &Ledger, run: &RunInfo, status: RunStatus) -> Result<Submission, Problem> {
    let heads = ledger.streams(run.id)?;
    // Any of the owner's streams may; the one called `server` where there is one.
    let mut own = heads.iter().filter(|head| head.key == run.owner);
    let server = own.clone().find(|head| head.stream == StreamName::SERVER);
    let Some(own) = server.or_else(|| own.next()) else {
        return Err(Problem::not_found(
            "not-found",
            format!("run {} has no stream of this server's", run.id),
        ));
    };
    let mut writer = StreamWriter::resume(
        Scope::Run(run.id),
        own.stream,
        ledger.operator_key(),
        own.next_seq,
        own.head,
        ledger.clock(),
        ledger.entropy(),
    );
    let others = heads.iter().filter(|head| head.stream != own.stream);
    let ends = others.map(|head| {
        StreamEnd::new(
            head.stream,
            head.next_seq.saturating_sub(1),
            head.head.into(),
        )
    });
    writer
        .seal(status, ends.collect())
        .map_err(|error| unwritten(&error))
}

fn has_grown(code: AppendCode) -> bool {
    matches!(
        code,
        AppendCode::BadSeal | AppendCode::Conflict | AppendCode::SeqGap | AppendCode::WrongPrev
    )
}

fn append(
    ledger: &Ledger,
    submissions: &[Submission],
    principal: &Principal,
) -> Result<Receipt, LedgerError> {
    let receipts = ledger.submit_contested(submissions, principal)?.wait()?;
    receipts
        .last()
        .copied()
        .ok_or_else(|| LedgerError::Corrupt {
            what: "the ledger".to_owned(),
            reason: "it acknowledged a record without a receipt".to_owned(),
        })
}

fn unwritten(error: &WriteError) -> Problem {
    Problem::unprocessable(
        "bad-object",
        format!("{error}; see /docs for the fields of a run"),
    )
}
