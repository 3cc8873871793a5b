//! /log: what C2SP tlog-tiles says a log serves, from the very files the store keeps.

use axum::extract::State as Extracted;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use record::kinds::ReadPart;
use tlog::TileId;

use crate::api::File;
use crate::auth::Caller;
use crate::extract::Named;
use crate::problem::Problem;
use crate::reach::permit;
use crate::state::State;

/// A tile never changes, by the definition of a tile.
const PUBLIC_FOR_EVER: &str = "public, max-age=31536000, immutable";
/// An entry bundle neither; but it was handed to one reader, and no shared cache may pass it on.
const PRIVATE_FOR_EVER: &str = "private, max-age=31536000, immutable";

/// The latest checkpoint
///
/// The log's size and root, signed (C2SP tlog-checkpoint). Keep one: whoever holds a checkpoint
/// notices if an older part of the log is ever rewritten.
#[utoipa::path(
    get,
    path = "/log/checkpoint",
    operation_id = "readCheckpoint",
    tag = "Log",
    responses(
        (status = 200, description = "A signed note", body = String, content_type = "text/plain"),
        (status = 404, description = "`not-published`: nothing is published yet", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn checkpoint(Extracted(state): Extracted<State>) -> Result<Response, Problem> {
    let note = state.checkpoint_note().ok_or_else(|| {
        Problem::not_found("not-published", "this log has published no checkpoint yet")
    })?;
    Ok(self::note(note))
}

fn note(bytes: Vec<u8>) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, bytes).into_response()
}

/// The latest checkpoint that witnesses vouch for
///
/// As `/log/checkpoint`, and cosigned by a quorum of the witnesses that this log is configured
/// with. It may be a few seconds behind.
#[utoipa::path(
    get,
    path = "/log/checkpoint.cosigned",
    operation_id = "readCosignedCheckpoint",
    tag = "Log",
    responses(
        (status = 200, description = "A signed note", body = String, content_type = "text/plain"),
        (status = 404, description = "`not-found`: no quorum has cosigned a checkpoint, or nobody is asked to", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn cosigned(Extracted(state): Extracted<State>) -> Result<Response, Problem> {
    let cosigned = state.ledger().cosigned().ok_or_else(|| {
        Problem::not_found(
            "not-found",
            "no quorum of witnesses has cosigned a checkpoint of this log",
        )
    })?;
    Ok(note(cosigned.note.to_vec()))
}

/// The log's keys
///
/// A policy (C2SP tlog-policy) that accepts what this log signs with both of its keys. Whoever takes
/// it from here trusts the server for it: keep it, or compare it with one from elsewhere.
#[utoipa::path(
    get,
    path = "/log/policy",
    operation_id = "readPolicy",
    tag = "Log",
    responses((status = 200, description = "A policy file", body = String, content_type = "text/plain")),
)]
pub(crate) async fn policy(Extracted(state): Extracted<State>) -> Response {
    note(state.ledger().policy().as_bytes().to_vec())
}

/// A change of the log's keys
///
/// By it whoever knows the log's keys of before comes to those of today: the record that names the
/// new ones, and the proof that it is in the log, under a checkpoint that old and new keys have
/// signed. They are numbered from 1 on.
#[utoipa::path(
    get,
    path = "/log/rotations/{number}",
    operation_id = "readRotation",
    tag = "Log",
    params(("number" = u64, Path, description = "From 1 on")),
    responses(
        (status = 200, description = "The file", body = String, content_type = "text/plain"),
        (status = 404, description = "`not-found`: the keys were not changed as often", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn rotation(
    Extracted(state): Extracted<State>,
    Named(number): Named<String>,
) -> Result<Response, Problem> {
    let missing = || {
        Problem::not_found(
            "not-found",
            format!("no /log/rotations/{number}: the log's keys were not changed as often"),
        )
    };
    let at: u64 = number.parse().map_err(|_| missing())?;
    let file = state
        .blocking(move |ledger| ledger.rotation_file(at))
        .await?
        .ok_or_else(missing)?;
    Ok(note(file))
}

/// A timestamp
///
/// A time-stamping authority's answer (RFC 3161) over the text of a checkpoint: `<size>.tsr`, the
/// checkpoint it is about as `<size>.note`, and the largest size stamped so far as `latest`.
#[utoipa::path(
    get,
    path = "/log/timestamps/{name}",
    operation_id = "readTimestamp",
    tag = "Log",
    params(("name" = String, Path, description = "`latest`, or such as `1234.tsr` or `1234.note`")),
    responses(
        (status = 200, description = "The file", body = File, content_type = "application/octet-stream"),
        (status = 404, description = "`not-found`: no checkpoint of that size was stamped", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn timestamp(
    Extracted(state): Extracted<State>,
    Named(name): Named<String>,
) -> Result<Response, Problem> {
    let missing = Problem::not_found(
        "not-found",
        format!("no /log/timestamps/{name} in this log; see /log/timestamps/latest"),
    );
    let media_type = match name.rsplit_once('.') {
        Some((_, "tsr")) => "application/timestamp-reply",
        _ => "text/plain; charset=utf-8",
    };
    let bytes = state
        .blocking(move |ledger| ledger.timestamp_file(&name))
        .await?
        .ok_or(missing)?;
    let headers = [(CONTENT_TYPE, media_type), (CACHE_CONTROL, "no-cache")];
    Ok((headers, bytes).into_response())
}

/// A hash tile
///
/// `{level}/{index}` as C2SP tlog-tiles spells it: the index in groups of three digits, all but
/// the last with an `x` before them, and `.p/{width}` behind a partial tile.
#[utoipa::path(
    get,
    path = "/log/tile/{level}/{index}",
    operation_id = "readTile",
    tag = "Log",
    params(
        ("level" = String, Path, description = "The tile's level, from 0"),
        ("index" = String, Path, description = "Such as `000`, `x001/234`, `273.p/112`"),
    ),
    responses(
        (status = 200, description = "Up to 256 hashes of 32 bytes", body = File, content_type = "application/octet-stream"),
        (status = 404, description = "`not-found`: no such tile, or not any more (a partial tile goes once the full one is there)", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn tile(
    Extracted(state): Extracted<State>,
    Named((level, index)): Named<(String, String)>,
) -> Result<Response, Problem> {
    file(&state, format!("tile/{level}/{index}"), PUBLIC_FOR_EVER).await
}

/// An entry bundle
///
/// Up to 256 records, each behind its length in two bytes (C2SP tlog-tiles). Whoever reads them
/// reads every run; nothing personal is in the clear in them, but who took part and when is.
#[utoipa::path(
    get,
    path = "/log/tile/entries/{index}",
    operation_id = "readEntries",
    tag = "Log",
    params(("index" = String, Path, description = "Such as `000`, `x001/234`, `273.p/112`")),
    responses(
        (status = 200, description = "The entries", body = File, content_type = "application/octet-stream"),
        (status = 403, description = "`forbidden`: an auditor of some runs reads their bundles", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "auditor", "admin"]))
)]
pub(crate) async fn entries(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Named(index): Named<String>,
) -> Result<Response, Problem> {
    permit(&principal, &[ReadPart::Records], None)?;
    let path = format!("tile/entries/{index}");
    let id = TileId::parse_path(&path);
    let answer = file(&state, path, PRIVATE_FOR_EVER).await?;
    if let Ok(id) = id {
        let span = (id.first_leaf(), u64::from(id.width()));
        state.note_read(&principal, ReadPart::Records, None, Some(span))?;
    }
    Ok(answer)
}

async fn file(state: &State, path: String, caching: &'static str) -> Result<Response, Problem> {
    let missing = Problem::not_found(
        "not-found",
        format!("no /log/{path} in this log; its size is in /log/checkpoint"),
    );
    // Only what is a tile's name reaches the store.
    let Ok(id) = TileId::parse_path(&path) else {
        return Err(missing);
    };
    let bytes = state
        .blocking(move |ledger| ledger.tile(id))
        .await?
        .ok_or(missing)?;
    let headers = [
        (CONTENT_TYPE, "application/octet-stream"),
        (CACHE_CONTROL, caching),
    ];
    Ok((headers, bytes).into_response())
}
