//! GET /metrics of a witness.

use std::fmt;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ledger::witness::Status;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Shared;
use crate::metrics::format;

type Labels = [(&'static str, String); 1];

pub(super) async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    match encode(&shared.witness.status()) {
        Ok(text) => format::answer(&headers, text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The witness counts itself; a scrape only puts that into words.
fn encode(status: &Status) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("rlhf_audit_witness");
    let answers = Family::<Labels, Counter>::default();
    for (answer, count) in &status.answers {
        let labels = [("answer", (*answer).to_owned())];
        answers.get_or_create(&labels).inc_by(*count);
    }
    registry.register(
        "add_checkpoint",
        "Requests, by what they were answered",
        answers,
    );
    let sizes = Family::<Labels, Gauge>::default();
    for (origin, size) in &status.logs {
        let labels = [("origin", origin.clone())];
        let size = i64::try_from(*size).unwrap_or(i64::MAX);
        sizes.get_or_create(&labels).set(size);
    }
    registry.register("log_size", "Records of the latest checkpoint kept", sizes);
    let failed = Gauge::<i64>::default();
    failed.set(i64::from(status.failed.is_some()));
    registry.register("failed", "1 once nothing more is cosigned", failed);
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}
