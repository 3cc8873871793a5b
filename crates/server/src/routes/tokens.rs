//! Tokens: made, listed and revoked by admins.

use axum::Json;
use axum::extract::State as Extracted;
use axum::http::StatusCode;
use ledger::Role;

use crate::api::{FreshToken, NewToken, Token, Tokens};
use crate::extract::{Named, Object};
use crate::problem::Problem;
use crate::state::State;

/// The most bytes of a token's name.
const MAX_NAME_BYTES: usize = 128;

/// Make a token
///
/// The secret is in the answer and nowhere else: the server keeps its hash.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    operation_id = "makeToken",
    tag = "Tokens",
    request_body = NewToken,
    responses(
        (status = 201, description = "Made", body = FreshToken),
        (status = 422, description = "`bad-object`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn create(
    Extracted(state): Extracted<State>,
    Object(wanted): Object<NewToken>,
) -> Result<(StatusCode, Json<FreshToken>), Problem> {
    let role: Role = wanted.role.parse().map_err(|error: ledger::LedgerError| {
        Problem::unprocessable("bad-object", error.to_string())
    })?;
    if wanted.name.is_empty() || wanted.name.len() > MAX_NAME_BYTES {
        return Err(Problem::unprocessable(
            "bad-object",
            format!(
                "name has {} bytes; expected 1 to {MAX_NAME_BYTES}",
                wanted.name.len()
            ),
        ));
    }
    let (secret, token) = state
        .blocking(move |ledger| ledger.create_token(&wanted.name, role, None))
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(FreshToken {
            id: token.id,
            token: secret,
        }),
    ))
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
    let tokens = state.blocking(ledger::Ledger::tokens).await?;
    let tokens = tokens
        .into_iter()
        .map(|token| Token {
            id: token.id,
            name: token.name,
            role: token.role.to_string(),
            created: token.created.to_string(),
            revoked: token.revoked.map(|time| time.to_string()),
        })
        .collect();
    Ok(Json(Tokens { tokens }))
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
    Named(id): Named<String>,
) -> Result<StatusCode, Problem> {
    let missing = Problem::not_found("not-found", format!("no token has the id `{id}`"));
    let found = state
        .blocking(move |ledger| ledger.revoke_token(&id))
        .await?;
    state.forget_tokens();
    if found {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing)
    }
}
