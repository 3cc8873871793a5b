//! Tokens: made, listed and revoked by admins; each change is recorded.

use axum::Json;
use axum::extract::State as Extracted;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ledger::{Ledger, Principal, Quota, Reach, Role, Wanted};
use record::kinds::{AccessChange, ReadPart};
use record::{RunId, Timestamp};

use super::approvals;
use crate::api::{FreshToken, NewToken, Token, Tokens};
use crate::auth::Caller;
use crate::changes;
use crate::extract::{Named, Object};
use crate::problem::Problem;
use crate::state::State;

/// The most bytes of a token's name.
const MAX_NAME_BYTES: usize = 128;
/// The most runs that an auditor's token names.
const MAX_RUNS: usize = 256;

/// Make a token
///
/// The secret is in the answer and nowhere else: the server keeps its hash. Where a new admin needs the approval of a
/// second one, the first answer is a request (202); once that is approved, the same with `request` makes the token.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    operation_id = "makeToken",
    tag = "Tokens",
    request_body = NewToken,
    responses(
        (status = 201, description = "Made", body = FreshToken),
        (status = 202, description = "Another admin has to approve of it", body = crate::api::Approval),
        (status = 404, description = "`not-found`: no such run, request, or token to succeed", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`not-approved`: the request is not, or another's", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`bad-object`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn create(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Object(wanted): Object<NewToken>,
) -> Result<Response, Problem> {
    let approved = state.options().require_approval;
    state
        .blocking(move |ledger| make(ledger, &principal, wanted, approved))
        .await
}

fn make(
    ledger: &Ledger,
    principal: &Principal,
    wanted: NewToken,
    needs_approval: bool,
) -> Result<Response, Problem> {
    let request = wanted.request.clone();
    let new = read(ledger, wanted)?;
    if new.role == Role::Admin && needs_approval {
        let asked = Wanted::AdminToken {
            name: new.name.clone(),
            expires: new.expires.map(|at| at.0),
        };
        let Some(request) = &request else {
            return approvals::ask(ledger, principal, asked);
        };
        ledger.use_approval(request, &principal.id, &asked)?;
    } else if request.is_some() {
        return Err(bad("no request is needed for this; leave it away"));
    }
    let (secret, token) = ledger.issue_token(&new)?;
    let recorded = changes::record(ledger, &token, AccessChange::Created, principal, request);
    if let Err(problem) = recorded {
        // Nobody has been told the secret.
        ledger.revoke_token(&token.id)?;
        return Err(problem);
    }
    let fresh = FreshToken {
        id: token.id,
        token: secret,
    };
    Ok((StatusCode::CREATED, Json(fresh)).into_response())
}

fn read(ledger: &Ledger, wanted: NewToken) -> Result<ledger::NewToken, Problem> {
    let role: Role = wanted.role.parse()?;
    if wanted.name.is_empty() || wanted.name.len() > MAX_NAME_BYTES {
        return Err(bad(format!(
            "name has {} bytes; expected 1 to {MAX_NAME_BYTES}",
            wanted.name.len()
        )));
    }
    let expires = wanted.expires.map(|text| {
        let time = Timestamp::parse(&text).filter(|time| *time > ledger.clock().now());
        time.ok_or_else(|| {
            bad(format!(
                "expires is `{text}`; expected a time to come, like 2027-01-01T00:00:00.000000Z"
            ))
        })
    });
    let quota = Quota {
        records: wanted.records_per_day,
        bytes: wanted.bytes_per_day,
    };
    Ok(ledger::NewToken {
        name: wanted.name,
        role,
        expires: expires.transpose()?,
        reach: reach(ledger, role, wanted.parts, wanted.runs)?,
        quota: (quota != Quota::default()).then_some(quota),
        succeeds: wanted.succeeds,
    })
}

fn reach(
    ledger: &Ledger,
    role: Role,
    parts: Option<Vec<String>>,
    runs: Option<Vec<String>>,
) -> Result<Option<Reach>, Problem> {
    if parts.is_none() && runs.is_none() && role != Role::Auditor {
        return Ok(None);
    }
    let parts = parts.unwrap_or_default();
    if parts.is_empty() {
        return Err(bad(
            "parts says what an auditor reads: one or more of documents, aggregates, records, sealed",
        ));
    }
    let parts = parts.iter().map(|text| {
        part(text).ok_or_else(|| {
            bad(format!(
                "`{text}` is no part; expected documents, aggregates, records or sealed"
            ))
        })
    });
    let runs = runs.map(|names| {
        if names.is_empty() || names.len() > MAX_RUNS {
            return Err(bad(format!(
                "runs has {} names; expected 1 to {MAX_RUNS}, or none at all for all runs",
                names.len()
            )));
        }
        let found = names.iter().map(|name| Ok(ledger.find_run(name)?.id));
        found.collect::<Result<_, Problem>>()
    });
    Ok(Some(Reach {
        runs: runs.transpose()?,
        parts: parts.collect::<Result<_, _>>()?,
    }))
}

fn part(text: &str) -> Option<ReadPart> {
    [
        ReadPart::Documents,
        ReadPart::Aggregates,
        ReadPart::Records,
        ReadPart::Sealed,
    ]
    .into_iter()
    .find(|part| part.as_str() == text)
}

/// List tokens
#[utoipa::path(
    get,
    path = "/v1/tokens",
    operation_id = "listTokens",
    tag = "Tokens",
    responses((status = 200, description = "All tokens, without their secrets", body = Tokens)),
    security(("token" = ["admin"]))
)]
pub(crate) async fn list(Extracted(state): Extracted<State>) -> Result<Json<Tokens>, Problem> {
    let now = state.ledger().clock().now();
    let tokens = known(&state, Ledger::tokens).await?;
    let tokens = tokens.into_iter().map(|token| listed(token, now)).collect();
    Ok(Json(Tokens { tokens }))
}

/// Show a token
#[utoipa::path(
    get,
    path = "/v1/tokens/{id}",
    operation_id = "showToken",
    tag = "Tokens",
    params(("id" = String, Path, description = "The token's id, not its secret")),
    responses(
        (status = 200, description = "The token, without its secret", body = Token),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn show(
    Extracted(state): Extracted<State>,
    Named(id): Named<String>,
) -> Result<Json<Token>, Problem> {
    let now = state.ledger().clock().now();
    let token = known(&state, move |ledger| ledger.token(&id)).await?;
    Ok(Json(listed(token, now)))
}

/// Asks the ledger, once it knows when tokens were last used.
async fn known<T: Send + 'static>(
    state: &State,
    ask: impl FnOnce(&Ledger) -> Result<T, ledger::LedgerError> + Send + 'static,
) -> Result<T, Problem> {
    let uses = state.clone();
    state
        .blocking(move |ledger| {
            uses.note_uses();
            ask(ledger)
        })
        .await
}

fn listed(token: ledger::Token, now: Timestamp) -> Token {
    let state = match (token.revoked, token.expires) {
        (Some(_), _) => "revoked",
        (None, Some(expires)) if expires <= now => "expired",
        _ => "valid",
    };
    let (parts, runs) = match token.reach {
        Some(reach) => {
            let parts = reach.parts.iter().map(ToString::to_string).collect();
            let runs = |runs: std::collections::BTreeSet<RunId>| {
                runs.iter().map(ToString::to_string).collect()
            };
            (Some(parts), reach.runs.map(runs))
        }
        None => (None, None),
    };
    Token {
        id: token.id,
        name: token.name,
        role: token.role.to_string(),
        state,
        created: token.created.to_string(),
        expires: token.expires.map(|time| time.to_string()),
        revoked: token.revoked.map(|time| time.to_string()),
        last_used: token.last_used.map(|time| time.to_string()),
        parts,
        runs,
        records_per_day: token.quota.and_then(|quota| quota.records),
        bytes_per_day: token.quota.and_then(|quota| quota.bytes),
        succeeds: token.succeeds,
    }
}

/// Revoke a token
///
/// At once and for good.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{id}",
    operation_id = "revokeToken",
    tag = "Tokens",
    params(("id" = String, Path, description = "The token's id, not its secret")),
    responses(
        (status = 204, description = "Revoked"),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn revoke(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Named(id): Named<String>,
) -> Result<StatusCode, Problem> {
    let token = state
        .blocking(move |ledger| {
            let token = ledger.token(&id)?;
            ledger.revoke_token(&id).map(|_| token)
        })
        .await?;
    state.forget_tokens();
    if token.revoked.is_some() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let recorded = state
        .blocking(move |ledger| {
            changes::record(ledger, &token, AccessChange::Revoked, &principal, None)
        })
        .await;
    if let Err(problem) = recorded {
        // It has ended, and that matters more.
        tracing::error!(problem = problem.detail(), "a revocation was not recorded");
    }
    Ok(StatusCode::NO_CONTENT)
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::unprocessable("bad-object", detail)
}
