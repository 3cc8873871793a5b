//! GET /metrics.

use axum::extract::State as Extracted;
use axum::http::HeaderMap;
use axum::response::IntoResponse;

use crate::jobs::JobNumbers;
use crate::metrics::{LedgerNumbers, format};
use crate::problem::Problem;
use crate::state::State;

/// Metrics for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "readMetrics",
    tag = "Operation",
    responses((status = 200, description = "OpenMetrics text; with `Accept: text/plain` Prometheus' older format", body = String, content_type = "application/openmetrics-text")),
)]
pub(crate) async fn metrics(
    Extracted(state): Extracted<State>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let status = state.ledger().status();
    let (groups, group_records) = state.groups(&status);
    let kinds = state.ledger().kinds();
    let numbers = LedgerNumbers {
        checkpoint_age: state.checkpoint_age(&status),
        groups,
        group_records,
        timestamps: state.ledger().timestamp_status(),
        kinds: kinds
            .into_iter()
            .map(|(kind, count)| (kind.name(), count))
            .collect(),
        // The index may be out of reach; what is known without it is wanted then most.
        open_runs: state.open_runs().await.unwrap_or(0),
        started: state.started().0 as f64 / 1e6,
        status,
    };
    if let Some(witnesses) = state.witnesses() {
        state.metrics().witnesses().set(witnesses, state.ledger());
    }
    // A database that does not answer is seen elsewhere; the other numbers are shown all the same.
    if let Ok(numbers) = state.queue(JobNumbers::of).await {
        state.metrics().jobs().set(&numbers);
        state.metrics().integrity_found(numbers.integrity_found());
    }
    let text = state
        .metrics()
        .encode(&numbers)
        .map_err(|error| Problem::internal(&error))?;
    Ok(format::answer(&headers, text))
}
