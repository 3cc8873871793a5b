//! Model cards: shown from the records as they stand, or issued, which is itself recorded.

use axum::Json;
use axum::extract::State as Extracted;
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::{CardParams, IssuedCard};
use crate::auth::Caller;
use crate::extract::{Named, Params};
use crate::problem::Problem;
use crate::state::State;

/// Show a run's model card
///
/// Every number comes from the log and says from where. Showing records nothing.
#[utoipa::path(
    get,
    path = "/v1/runs/{run}/card",
    operation_id = "showCard",
    tag = "Runs",
    params(("run" = String, Path, description = "The run's id, or its name"), CardParams),
    responses(
        (status = 200, description = "The card", content((String = "text/markdown"), (String = "text/html"), (Object = "application/json"))),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "admin"]))
)]
pub(crate) async fn show(
    Extracted(_state): Extracted<State>,
    Named(_run): Named<String>,
    Params(_params): Params<CardParams>,
) -> Result<Response, Problem> {
    Err(Problem::not_found("later", "later"))
}

/// Issue a run's model card
///
/// Records the digests of its files (`document.issued`), so that a forged card is found by
/// `rlhf-audit verify --document`.
#[utoipa::path(
    post,
    path = "/v1/runs/{run}/card",
    operation_id = "issueCard",
    tag = "Runs",
    params(("run" = String, Path, description = "The run's id, or its name")),
    responses(
        (status = 201, description = "Issued", body = IssuedCard),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn issue(
    Extracted(_state): Extracted<State>,
    Caller(_principal): Caller,
    Named(_run): Named<String>,
) -> Result<(StatusCode, Json<IssuedCard>), Problem> {
    Err(Problem::not_found("later", "later"))
}
