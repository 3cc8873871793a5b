//! Runs: started, listed, sealed; and how far their streams are.

use axum::Json;
use axum::extract::State as Extracted;
use axum::http::StatusCode;
use ledger::{Role, RunInfo};
use record::kinds::{ReadPart, RunStatus};
use record::{RecordHash, RunId, Scope};

use super::records::page;
use crate::api::{
    NewRun, Receipt, RunPage, RunParams, RunSummary, Seal, SealStatus, StreamHead, Streams,
};
use crate::auth::Caller;
use crate::extract::{Named, Object, Params};
use crate::owned;
use crate::problem::Problem;
use crate::reach::{find_run, permit};
use crate::state::State;

/// How far a stream is says how many records it has.
const STREAM_PARTS: &[ReadPart] = &[ReadPart::Aggregates, ReadPart::Records];

/// Start a run
///
/// The server opens the run with its own stream, `server`. Without `owner` it is also the one to
/// seal it.
#[utoipa::path(
    post,
    path = "/v1/runs",
    operation_id = "startRun",
    tag = "Runs",
    request_body = NewRun,
    responses(
        (status = 201, description = "Started, and durable", body = RunSummary),
        (status = 422, description = "`bad-object`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["producer", "admin"]))
)]
pub(crate) async fn create(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Object(wanted): Object<NewRun>,
) -> Result<(StatusCode, Json<RunSummary>), Problem> {
    let started = owned::started(wanted, &state)?;
    let run = state
        .blocking(move |ledger| owned::start(ledger, started, &principal))
        .await?;
    Ok((StatusCode::CREATED, Json(summary(run))))
}

/// List runs
///
/// A producer is shown its own, an auditor those within its reach: a page may be short, or empty, and not the last.
#[utoipa::path(
    get,
    path = "/v1/runs",
    operation_id = "listRuns",
    tag = "Runs",
    params(RunParams),
    responses((status = 200, description = "A page, oldest first", body = RunPage)),
    security(("token" = ["reader", "producer", "auditor", "admin"]))
)]
pub(crate) async fn list(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Params(params): Params<RunParams>,
) -> Result<Json<RunPage>, Problem> {
    let limit = page(params.limit)?;
    let after = params.after.as_deref().map(id).transpose()?;
    let runs = state
        .blocking(move |ledger| ledger.runs(after, limit))
        .await?;
    // A full page may be the last; then the next one is empty.
    let last = runs.last().filter(|_| runs.len() == limit);
    let next = last.map(|run| run.id.to_string());
    state.note_read(&principal, ReadPart::Aggregates, None, None)?;
    let known = runs.into_iter().filter(|run| principal.knows_of(run));
    Ok(Json(RunPage {
        runs: known.map(summary).collect(),
        next,
    }))
}

/// Read a run
#[utoipa::path(
    get,
    path = "/v1/runs/{run}",
    operation_id = "readRun",
    tag = "Runs",
    params(("run" = String, Path, description = "The run's id, or its name where only one run has it")),
    responses(
        (status = 200, description = "The run", body = RunSummary),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`ambiguous-name`: several runs have this name", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "producer", "auditor", "admin"]))
)]
pub(crate) async fn one(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Named(run): Named<String>,
) -> Result<Json<RunSummary>, Problem> {
    let asks = principal.clone();
    let run = state
        .blocking(move |ledger| find_run(ledger, &asks, &run))
        .await?;
    state.note_read(&principal, ReadPart::Aggregates, Some(run.id), None)?;
    Ok(Json(summary(run)))
}

/// How far a run's streams are
///
/// What a producer has to know to go on after a break: the next `seq` and `prev` of each.
#[utoipa::path(
    get,
    path = "/v1/runs/{run}/streams",
    operation_id = "listStreams",
    tag = "Runs",
    params(("run" = String, Path, description = "The run's id, or its name; `ledger` for the streams of no run")),
    responses(
        (status = 200, description = "Each stream's head", body = Streams),
        (status = 403, description = "`forbidden`: not a part that this auditor reads", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "producer", "auditor", "admin"]))
)]
pub(crate) async fn streams(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Named(run): Named<String>,
) -> Result<Json<Streams>, Problem> {
    let asks = principal.clone();
    let (run, heads) = state
        .blocking(move |ledger| {
            if Scope::parse(&run) == Some(Scope::Ledger) {
                return Ok((None, ledger.streams(Scope::Ledger)?));
            }
            let run = find_run(ledger, &asks, &run)?.id;
            Ok::<_, Problem>((Some(run), ledger.streams(run)?))
        })
        .await?;
    if principal.role == Role::Auditor {
        let part = permit(&principal, STREAM_PARTS, run)?;
        state.note_read(&principal, part, run, None)?;
    }
    let streams = heads.into_iter().map(|head| StreamHead {
        stream: head.stream.to_string(),
        producer: head.producer.to_string(),
        next_seq: head.next_seq,
        head: RecordHash::from(head.head).to_string(),
        key: head.key.to_string(),
        unsigned: head.unsigned,
        signatures: head.signatures,
    });
    Ok(Json(Streams {
        streams: streams.collect(),
    }))
}

/// Seal a run
///
/// Only where the server owns it; a run with another owner is sealed by a `run.sealed` record
/// that its owner signs.
#[utoipa::path(
    post,
    path = "/v1/runs/{run}/seal",
    operation_id = "sealRun",
    tag = "Runs",
    params(("run" = String, Path, description = "The run's id, or its name")),
    request_body = Seal,
    responses(
        (status = 201, description = "Sealed: where `run.sealed` went", body = Receipt),
        (status = 403, description = "`forbidden`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`run-sealed`, or `bad-seal`: the server does not own it", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["producer", "admin"]))
)]
pub(crate) async fn seal(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Named(run): Named<String>,
    Object(seal): Object<Seal>,
) -> Result<(StatusCode, Json<Receipt>), Problem> {
    let status = match seal.status {
        SealStatus::Completed => RunStatus::Completed,
        SealStatus::Failed => RunStatus::Failed,
        SealStatus::Aborted => RunStatus::Aborted,
    };
    let sealing = state.clone();
    let receipt = state
        .blocking(move |ledger| {
            let _one = sealing.sealing();
            let run = ledger.find_run(&run)?;
            owned::seal(ledger, &run, status, &principal)
        })
        .await?;
    Ok((StatusCode::CREATED, Json(Receipt::new(&receipt))))
}

fn id(text: &str) -> Result<RunId, Problem> {
    RunId::parse(text).ok_or_else(|| {
        Problem::bad_request(
            "bad-parameter",
            format!("after is `{text}`; expected the `next` of the page before, a run's id"),
        )
    })
}

fn summary(run: RunInfo) -> RunSummary {
    RunSummary {
        run: run.id.to_string(),
        name: run.name,
        experiment: run.experiment,
        model: run.model,
        status: run.status.unwrap_or_else(|| "open".to_owned()),
        started: run.started.to_string(),
        records: run.records,
        owner: run.owner.to_string(),
    }
}
