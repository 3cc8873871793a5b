//! Model cards: shown from the records as they stand, or issued, which is itself recorded.

use axum::Json;
use axum::extract::State as Extracted;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use record::RecordHash;
use record::kinds::ReadPart;

use crate::api::{CardFile, CardFormat, CardParams, IssuedCard};
use crate::auth::Caller;
use crate::cards::{self, CardError};
use crate::extract::{Named, Params};
use crate::problem::Problem;
use crate::reach::{find_run, permit};
use crate::state::State;

/// Show a run's model card
///
/// Every number comes from the published log and says from where. Showing records nothing.
#[utoipa::path(
    get,
    path = "/v1/runs/{run}/card",
    operation_id = "showCard",
    tag = "Runs",
    params(("run" = String, Path, description = "The run's id, or its name"), CardParams),
    responses(
        (status = 200, description = "The card", content((String = "text/markdown"), (String = "text/html"), (Object = "application/json"))),
        (status = 403, description = "`forbidden`: not a part that this auditor reads", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not-found`, or `not-published`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "auditor", "admin"]))
)]
pub(crate) async fn show(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Named(run): Named<String>,
    Params(params): Params<CardParams>,
) -> Result<Response, Problem> {
    let format = params.format.unwrap_or_default();
    state.published_so_far().await;
    let asks = principal.clone();
    let (run, part, text) = state
        .blocking(move |ledger| {
            let run = find_run(ledger, &asks, &run)?.id;
            let part = permit(&asks, parts(format), Some(run))?;
            let card = cards::model_card(ledger, run)?;
            let text = match format {
                CardFormat::Markdown => card.markdown(),
                CardFormat::Html => card.html(),
                CardFormat::Json => card.json(),
            };
            Ok::<_, Problem>((run, part, text.map_err(CardError::from)?))
        })
        .await?;
    state.note_read(&principal, part, Some(run), None)?;
    let media_type = match format {
        CardFormat::Markdown => "text/markdown; charset=utf-8",
        CardFormat::Html => "text/html; charset=utf-8",
        CardFormat::Json => "application/json",
    };
    Ok(([(CONTENT_TYPE, media_type)], text).into_response())
}

/// A card is a document; for programs it is the numbers in it.
fn parts(format: CardFormat) -> &'static [ReadPart] {
    match format {
        CardFormat::Json => &[ReadPart::Documents, ReadPart::Aggregates],
        CardFormat::Markdown | CardFormat::Html => &[ReadPart::Documents],
    }
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
        (status = 201, description = "Issued, and durable", body = IssuedCard),
        (status = 404, description = "`not-found`, or `not-published`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn issue(
    Extracted(state): Extracted<State>,
    Named(run): Named<String>,
) -> Result<(StatusCode, Json<IssuedCard>), Problem> {
    state.published_so_far().await;
    let issued = state
        .blocking(move |ledger| {
            let run = ledger.find_run(&run)?.id;
            cards::issue(ledger, run)
        })
        .await?;
    let files = issued.files.into_iter().map(|file| CardFile {
        name: file.name,
        media_type: file.media_type,
        content: file.content,
    });
    let answer = IssuedCard {
        index: issued.receipt.index,
        leaf_hash: RecordHash::from(issued.receipt.leaf_hash).to_string(),
        files: files.collect(),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}
