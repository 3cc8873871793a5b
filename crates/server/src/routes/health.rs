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
    let parts = parts(&state, &status).await;
    let (code, word) = verdict(&parts, "degraded");
    let health = Health {
        status: word,
        summary: summary(&state, &status, &parts),
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
    let parts = parts(&state, &state.ledger().status()).await;
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

/// What the server needs: a journal that takes records, a publisher that gets on, stores that answer. Witnesses it can
/// do without.
async fn parts(state: &State, status: &Status) -> BTreeMap<&'static str, Part> {
    let journal = match status.failed.as_ref().or(status.unavailable.as_ref()) {
        Some(reason) => Part::new("failed", reason),
        // What it has can be read, and whether there is room again shows when it is asked to keep something.
        None => match &status.write_error {
            Some(reason) => Part::new(
                "degraded",
                format!("the last records were refused: {reason}"),
            ),
            None => Part::new("ok", format!("{} requests wait", status.waiting)),
        },
    };
    let publisher = if let Some(reason) = &status.publish_error {
        Part::new("failed", reason)
    } else {
        let behind = status.sequenced.saturating_sub(status.published);
        Part::new("ok", format!("{behind} records behind"))
    };
    let mut parts = BTreeMap::from([("journal", journal), ("publisher", publisher)]);
    parts.extend(state.probes().look(&state.ledger_handle()).await);
    if let Some(witnesses) = state.witnesses() {
        parts.insert("witnesses", witnesses.part(state.ledger()));
    }
    if let Some(disk) = &state.options().disk {
        parts.insert("disk", Part::new("degraded", disk));
    }
    parts
}

/// All of it in a sentence.
fn summary(state: &State, status: &Status, parts: &BTreeMap<&'static str, Part>) -> String {
    let age = state.checkpoint_age(status);
    let age = age.map_or_else(String::new, |age| format!(" {} s ago", age.as_secs()));
    let ill: Vec<String> = parts
        .iter()
        .filter(|(_, part)| part.status != "ok")
        .map(|(name, part)| format!("{name} {}: {}", part.status, part.detail))
        .collect();
    let verdict = if ill.is_empty() {
        "all is well".to_owned()
    } else {
        ill.join("; ")
    };
    format!(
        "{} records, {} of them published{age}; up for {} s; {verdict}",
        status.sequenced,
        status.published,
        state.uptime().as_secs(),
    )
}
