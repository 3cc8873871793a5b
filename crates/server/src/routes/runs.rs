//! Runs: started, listed, sealed; and how far their streams are.

use axum::Json;
use axum::extract::State as Extracted;
use axum::http::StatusCode;

use crate::api::{NewRun, Receipt, RunPage, RunParams, RunSummary, Seal, StreamHead, Streams};
use crate::auth::Caller;
use crate::extract::{Named, Object, Params};
use crate::problem::Problem;
use crate::state::State;

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
    Extracted(_state): Extracted<State>,
    Caller(_principal): Caller,
    Object(_wanted): Object<NewRun>,
) -> Result<(StatusCode, Json<RunSummary>), Problem> {
    Err(Problem::not_found("later", "later"))
}

/// List runs
#[utoipa::path(
    get,
    path = "/v1/runs",
    operation_id = "listRuns",
    tag = "Runs",
    params(RunParams),
    responses((status = 200, description = "A page, oldest first", body = RunPage)),
    security(("token" = ["reader", "producer", "admin"]))
)]
pub(crate) async fn list(
    Extracted(_state): Extracted<State>,
    Params(_params): Params<RunParams>,
) -> Result<Json<RunPage>, Problem> {
    Err(Problem::not_found("later", "later"))
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
    security(("token" = ["reader", "producer", "admin"]))
)]
pub(crate) async fn one(
    Extracted(_state): Extracted<State>,
    Named(_run): Named<String>,
) -> Result<Json<RunSummary>, Problem> {
    Err(Problem::not_found("later", "later"))
}

/// How far a run's streams are
///
/// What a producer has to know to go on after a break: the next `seq` and `prev` of each.
#[utoipa::path(
    get,
    path = "/v1/runs/{run}/streams",
    operation_id = "listStreams",
    tag = "Runs",
    params(("run" = String, Path, description = "The run's id, or its name")),
    responses(
        (status = 200, description = "Each stream's head", body = Streams),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "producer", "admin"]))
)]
pub(crate) async fn streams(
    Extracted(_state): Extracted<State>,
    Named(_run): Named<String>,
) -> Result<Json<Streams>, Problem> {
    let _ = StreamHead {
        stream: String::new(),
        next_seq: 0,
        head: String::new(),
        key: String::new(),
    };
    Err(Problem::not_found("later", "later"))
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
    Extracted(_state): Extracted<State>,
    Caller(_principal): Caller,
    Named(_run): Named<String>,
    Object(_seal): Object<Seal>,
) -> Result<(StatusCode, Json<Receipt>), Problem> {
    Err(Problem::not_found("later", "later"))
}
