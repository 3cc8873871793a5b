//! GET /v1/records, one record, and its proof.

use axum::Json;
use axum::extract::State as Extracted;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use record::kinds::ReadPart;
use record::{Kind, Record, RecordHash, Scope, leaf_hash};
use serde_json::value::RawValue;

use crate::api::{DEFAULT_PAGE, LoggedRecord, MAX_PAGE, RecordPage, RecordParams};
use crate::auth::Caller;
use crate::extract::{Named, Params};
use crate::problem::Problem;
use crate::reach::permit;
use crate::state::State;

/// List records
///
/// By index, a page at a time; what is published, a fraction of a second after it was recorded.
#[utoipa::path(
    get,
    path = "/v1/records",
    operation_id = "listRecords",
    tag = "Records",
    params(RecordParams),
    responses(
        (status = 200, description = "A page", body = RecordPage),
        (status = 400, description = "`bad-parameter`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: not a run, or not a part, that this auditor reads", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "auditor", "admin"]))
)]
pub(crate) async fn list(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Params(params): Params<RecordParams>,
) -> Result<Json<RecordPage>, Problem> {
    let query = ledger::Query {
        scope: params.run.as_deref().map(scope).transpose()?,
        kind: params.kind.as_deref().map(kind).transpose()?,
        after: params.after,
        limit: page(params.limit)?,
    };
    let run = query.scope.and_then(|scope| scope.run());
    permit(&principal, &[ReadPart::Records], run)?;
    let found = state.blocking(move |ledger| ledger.query(&query)).await?;
    if let (Some((first, _)), Some((last, _))) = (found.records.first(), found.records.last()) {
        let span = (*first, last - first + 1);
        state.note_read(&principal, ReadPart::Records, run, Some(span))?;
    }
    let records = found
        .records
        .into_iter()
        .map(|(index, bytes)| logged(index, bytes))
        .collect::<Result<_, _>>()?;
    Ok(Json(RecordPage {
        records,
        next: found.next,
    }))
}

/// Read a record
#[utoipa::path(
    get,
    path = "/v1/records/{index}",
    operation_id = "readRecord",
    tag = "Records",
    params(("index" = u64, Path, description = "The record's index in the log, from 0")),
    responses(
        (status = 200, description = "The record", body = LoggedRecord),
        (status = 403, description = "`forbidden`: of a run, or a part, that this auditor does not read", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not-found`: the log is not that long; `not-published`: come again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "auditor", "admin"]))
)]
pub(crate) async fn one(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Named(index): Named<u64>,
) -> Result<Json<LoggedRecord>, Problem> {
    in_log(&state, index)?;
    let bytes = state.blocking(move |ledger| ledger.read(index)).await?;
    let record = Record::parse_envelope(&bytes).map_err(|error| Problem::internal(&error))?;
    let run = record.scope().run();
    permit(&principal, &[ReadPart::Records], run)?;
    state.note_read(&principal, ReadPart::Records, run, Some((index, 1)))?;
    Ok(Json(logged(index, bytes)?))
}

/// Prove a record
///
/// A C2SP tlog-proof: the record's index, its inclusion proof, and the checkpoint it leads to.
/// Verify it offline with the log's key and the record's bytes. It holds no record, so that a producer may ask
/// for it too.
#[utoipa::path(
    get,
    path = "/v1/records/{index}/proof",
    operation_id = "proveRecord",
    tag = "Records",
    params(("index" = u64, Path, description = "The record's index in the log, from 0")),
    responses(
        (status = 200, description = "The proof", body = String, content_type = "text/plain"),
        (status = 404, description = "`not-found`, or `not-published`: no checkpoint covers it yet; come again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "producer", "auditor", "witness", "admin"]))
)]
pub(crate) async fn proof(
    Extracted(state): Extracted<State>,
    Named(index): Named<u64>,
) -> Result<impl IntoResponse, Problem> {
    in_log(&state, index)?;
    let proof = state.blocking(move |ledger| ledger.proof(index)).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], proof))
}

/// Tells what will never be from what is not published yet.
fn in_log(state: &State, index: u64) -> Result<(), Problem> {
    let size = state.ledger().status().sequenced;
    if index < size {
        return Ok(());
    }
    Err(Problem::not_found(
        "not-found",
        format!("the log has no record {index}; it holds {size}, the first of which is 0"),
    ))
}

/// Checks a page's size.
pub(super) fn page(limit: Option<usize>) -> Result<usize, Problem> {
    match limit.unwrap_or(DEFAULT_PAGE) {
        limit @ 1..=MAX_PAGE => Ok(limit),
        limit => Err(Problem::bad_request(
            "bad-parameter",
            format!("limit is {limit}; expected 1 to {MAX_PAGE}; ask for more with `after`"),
        )),
    }
}

fn scope(text: &str) -> Result<Scope, Problem> {
    Scope::parse(text).ok_or_else(|| {
        Problem::bad_request(
            "bad-parameter",
            format!("run is `{text}`; expected a run's id (26 characters) or `ledger`"),
        )
    })
}

fn kind(text: &str) -> Result<Kind, Problem> {
    Kind::parse(text).ok_or_else(|| {
        Problem::bad_request(
            "bad-parameter",
            format!(
                "kind is `{text}`, which is none; expected one such as `annotation.preference`"
            ),
        )
    })
}

fn logged(index: u64, bytes: Vec<u8>) -> Result<LoggedRecord, Problem> {
    let leaf_hash = RecordHash::from(leaf_hash(&bytes)).to_string();
    // A record is JSON, or it would not be in the log.
    let text = String::from_utf8(bytes).map_err(|error| Problem::internal(&error))?;
    let record = RawValue::from_string(text).map_err(|error| Problem::internal(&error))?;
    Ok(LoggedRecord {
        index,
        leaf_hash,
        record,
    })
}
