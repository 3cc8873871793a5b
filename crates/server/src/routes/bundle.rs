//! GET /v1/runs/{run}/bundle.

use axum::extract::State as Extracted;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use ledger::{BundleParts, Role};
use record::kinds::ReadPart;

use crate::api::{BundleParams, File};
use crate::auth::Caller;
use crate::extract::{Named, Params};
use crate::problem::Problem;
use crate::reach::{find_run, permit};
use crate::reads::record_now;
use crate::state::State;
use crate::stream;

/// Download a run's bundle
///
/// One file with which the run is verified offline: every record of it, one multi-proof, and the
/// checkpoint they lead to, and the attachments that its records name. An answer that breaks off is no bundle.
#[utoipa::path(
    get,
    path = "/v1/runs/{run}/bundle",
    operation_id = "downloadBundle",
    tag = "Runs",
    params(("run" = String, Path, description = "The run's id, or its name"), BundleParams),
    responses(
        (status = 200, description = "The bundle", body = File, content_type = "application/octet-stream"),
        (status = 403, description = "`forbidden`: openings are for admins, and for auditors of sealed values", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not-found`, or `not-published`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "auditor", "admin"]))
)]
pub(crate) async fn bundle(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Named(run): Named<String>,
    Params(params): Params<BundleParams>,
) -> Result<Response, Problem> {
    let parts = BundleParts {
        openings: params.openings.unwrap_or(false),
        attachments: params.attachments.unwrap_or(true),
    };
    if parts.openings && !matches!(principal.role, Role::Admin | Role::Auditor) {
        return Err(Problem::forbidden(
            "openings=true puts sealed values in the clear, which takes an admin's token, or an auditor's that is for \
             them; without it the bundle has everything else",
        ));
    }
    let asks = principal.clone();
    let run = state
        .blocking(move |ledger| {
            let run = find_run(ledger, &asks, &run)?.id;
            permit(&asks, &[ReadPart::Records], Some(run))?;
            if parts.openings {
                permit(&asks, &[ReadPart::Sealed], Some(run))?;
                record_now(ledger, &asks, ReadPart::Sealed, run)?;
            }
            Ok::<_, Problem>(run)
        })
        .await?;
    state.note_read(&principal, ReadPart::Records, Some(run), None)?;
    state.cosigned_so_far().await;
    let name = format!("attachment; filename=\"{run}.bundle\"");
    let ledger = state.ledger_handle();
    let body = stream::body(move |out| {
        ledger
            .bundle(run, parts, out)
            .map(drop)
            .map_err(Problem::from)
    })
    .await?;
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_DISPOSITION, name),
    ];
    Ok((headers, body).into_response())
}
