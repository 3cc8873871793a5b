//! How the server is. Public, and holds nothing personal.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as Extracted;
use axum::http::StatusCode;
use ledger::Status;

use crate::api::{Health, Part, Readiness};
use crate::state::State;

/// How the server is
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "readHealth",
    tag = "Operation",
    responses(
        (status = 200, description = "It does its work", body = Health),
        (status = 503, description = "A part of it does not", body = Health),
    ),
)]
pub(crate) async fn health(Extracted(state): Extracted<State>) -> (StatusCode, Json<Health>) {
    let status = state.ledger().status();
    let parts = parts(&state, &status);
    let (code, word) = verdict(&parts, "degraded");
    let health = Health {
        status: word,
        version: env!("CARGO_PKG_VERSION"),
        origin: state.ledger().origin().to_owned(),
        log_size: status.sequenced,
        published_size: status.published,
        checkpoint_age_seconds: state.checkpoint_age(&status).map(|age| age.as_secs_f64()),
        uptime_seconds: state.uptime().as_secs(),
        parts,
    };
    (code, Json(health))
}

/// Whether the process is alive
///
/// Always yes; restart the server where this does not answer.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "readLiveness",
    tag = "Operation",
    responses((status = 200, description = "It is", body = Readiness)),
)]
pub(crate) async fn live() -> Json<Readiness> {
    Json(Readiness {
        status: "ok",
        parts: BTreeMap::new(),
    })
}

/// Whether the server can do its work
///
/// Send it requests only while it can.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "readReadiness",
    tag = "Operation",
    responses(
        (status = 200, description = "It can", body = Readiness),
        (status = 503, description = "It cannot; `parts` says what is missing", body = Readiness),
    ),
)]
pub(crate) async fn ready(Extracted(state): Extracted<State>) -> (StatusCode, Json<Readiness>) {
    let parts = parts(&state, &state.ledger().status());
    let (code, status) = verdict(&parts, "unavailable");
    (code, Json(Readiness { status, parts }))
}

fn verdict(
    parts: &BTreeMap<&'static str, Part>,
    otherwise: &'static str,
) -> (StatusCode, &'static str) {
    if parts.values().all(|part| part.status != "failed") {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise)
    }
}

/// What the server needs: a journal that takes records, and a publisher that gets on. Witnesses it
/// can do without.
fn parts(state: &State, status: &Status) -> BTreeMap<&'static str, Part> {
    let journal = match status.failed.as_ref().or(status.unavailable.as_ref()) {
        Some(reason) => Part {
            status: "failed",
            detail: reason.clone(),
        },
        None => Part {
            status: "ok",
            detail: format!("{} requests wait", status.waiting),
        },
    };
    let publisher = match &status.publish_error {
        Some(reason) => Part {
            status: "failed",
            detail: reason.clone(),
        },
        None => Part {
            status: "ok",
            detail: format!(
                "{} records behind",
                status.sequenced.saturating_sub(status.published)
            ),
        },
    };
    let mut parts = BTreeMap::from([("journal", journal), ("publisher", publisher)]);
    if let Some(witnesses) = state.witnesses() {
        parts.insert("witnesses", witnesses.part(state.ledger()));
    }
    parts
}
