//! What one admin asks for and another has to approve of.

use axum::Json;
use axum::extract::State as Extracted;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ledger::{Ledger, Principal, Wanted};
use record::kinds::{AccessChange, KeyPurpose};

use crate::api::{Approval, Approvals, Decision, NewApproval};
use crate::auth::Caller;
use crate::changes;
use crate::extract::{Named, Object};
use crate::problem::Problem;
use crate::state::State;

/// Ask for approval of a change of a key
///
/// The key is then changed at the machine (`rlhf-audit key rotate`), within a week of the approval. New admins are asked
/// for by making a token.
#[utoipa::path(
    post,
    path = "/v1/approvals",
    operation_id = "askApproval",
    tag = "Tokens",
    request_body = NewApproval,
    responses(
        (status = 202, description = "Asked for", body = Approval),
        (status = 422, description = "`bad-object`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn create(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Object(wanted): Object<NewApproval>,
) -> Result<Response, Problem> {
    let purpose = match wanted.rotate.as_str() {
        "log" => KeyPurpose::Log,
        "operator" => KeyPurpose::Operator,
        "producer" => KeyPurpose::Producer,
        "deployment" => KeyPurpose::Deployment,
        other => {
            return Err(Problem::unprocessable(
                "bad-object",
                format!("rotate is `{other}`; expected log, operator, producer or deployment"),
            ));
        }
    };
    state
        .blocking(move |ledger| ask(ledger, &principal, Wanted::KeyRotation { purpose }))
        .await
}

/// Asks, and answers with the request.
pub(super) fn ask(
    ledger: &Ledger,
    principal: &Principal,
    wanted: Wanted,
) -> Result<Response, Problem> {
    let approval = ledger.ask_approval(wanted, &principal.id)?;
    changes::record_request(
        ledger,
        &approval.id,
        &approval.wanted,
        AccessChange::Requested,
        principal,
    )?;
    Ok((StatusCode::ACCEPTED, Json(listed(approval))).into_response())
}

/// List requests for approval
#[utoipa::path(
    get,
    path = "/v1/approvals",
    operation_id = "listApprovals",
    tag = "Tokens",
    responses((status = 200, description = "All requests, decided ones too", body = Approvals)),
    security(("token" = ["admin"]))
)]
pub(crate) async fn list(Extracted(state): Extracted<State>) -> Result<Json<Approvals>, Problem> {
    let requests = state.blocking(Ledger::approvals).await?;
    Ok(Json(Approvals {
        requests: requests.into_iter().map(listed).collect(),
    }))
}

/// Approve or reject
///
/// By another admin than the one that asked.
#[utoipa::path(
    post,
    path = "/v1/approvals/{id}",
    operation_id = "decideApproval",
    tag = "Tokens",
    params(("id" = String, Path, description = "The request's id")),
    request_body = Decision,
    responses(
        (status = 200, description = "Decided", body = Approval),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`not-approved`: decided already, or asked for with the same token", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn decide(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Named(id): Named<String>,
    Object(decision): Object<Decision>,
) -> Result<Json<Approval>, Problem> {
    let approval = state
        .blocking(move |ledger| {
            let decided = ledger.decide_approval(&id, &principal.id, decision.approve)?;
            let change = if decision.approve {
                AccessChange::Approved
            } else {
                AccessChange::Rejected
            };
            changes::record_request(ledger, &id, &decided.wanted, change, &principal)?;
            Ok::<_, Problem>(decided)
        })
        .await?;
    Ok(Json(listed(approval)))
}

fn listed(approval: ledger::Approval) -> Approval {
    let (wanted, detail) = match approval.wanted {
        Wanted::AdminToken { name, .. } => ("admin-token", name),
        Wanted::KeyRotation { purpose } => ("key-rotation", purpose.to_string()),
    };
    Approval {
        request: approval.id,
        wanted,
        detail,
        state: approval.state.as_str(),
        by: approval.by,
        asked: approval.asked.to_string(),
        decided_by: approval.decided_by,
    }
}
