//! GET /metrics.

use axum::extract::State as Extracted;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::jobs::JobNumbers;
use crate::metrics::{LedgerNumbers, MEDIA_TYPE};
use crate::problem::Problem;
use crate::state::State;

/// Metrics for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "readMetrics",
    tag = "Operation",
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text")),
)]
pub(crate) async fn metrics(
    Extracted(state): Extracted<State>,
) -> Result<impl IntoResponse, Problem> {
    let status = state.ledger().status();
    let (groups, group_records) = state.groups(&status);
    let numbers = LedgerNumbers {
        log_size: status.sequenced,
        published_size: status.published,
        checkpoint_age: state.checkpoint_age(&status),
        groups,
        group_records,
        timestamps: state.ledger().timestamp_status(),
        tile_reads: status.tile_reads,
    };
    if let Some(witnesses) = state.witnesses() {
        state.metrics().witnesses().set(witnesses, state.ledger());
    }
    // A database that does not answer is seen elsewhere; the other numbers are shown all the same.
    if let Ok(numbers) = state.queue(JobNumbers::of).await {
        state.metrics().jobs().set(&numbers);
    }
    let text = state
        .metrics()
        .encode(numbers)
        .map_err(|error| Problem::internal(&error))?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], text))
}
