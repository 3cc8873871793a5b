//! Files of runs: their digests are recorded while they pass, their bytes are not kept.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State as Extracted;
use axum::http::HeaderMap;
use ledger::{Principal, RunInfo};
use record::kinds::ArtifactLogged;
use record::{Draft, Subject};
use serde_json::{Value, json};

use super::book::lock;
use super::error::Refusal;
use super::wire::RunQuery;
use super::{Asked, Place, ask, check_own, may_open, plain, run_for, tracking};
use crate::auth::Caller;
use crate::body::{self, Digest};
use crate::extract::media_type;
use crate::state::State;

/// The most bytes of a path.
const MAX_PATH_BYTES: usize = 512;
/// What clients send where they do not know better.
const UNKNOWN: &str = "application/octet-stream";

/// Takes a file: reads it through, and records what it was.
pub(crate) async fn take(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Place(path): Place,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let (run, file) = parse(&path)?;
    let (run, file) = (run.to_owned(), file.to_owned());
    let who = principal.clone();
    let named = run.clone();
    // Before a byte is read: who may not would have sent it in vain.
    ask(&state, move |state| {
        let info = run_for(state.ledger(), &who, &named)?;
        check_own(&who, &info)
    })
    .await?;
    let media_type = media_type(&headers)
        .filter(|known| *known != UNKNOWN)
        .map(str::to_owned);
    let digest = body::digest(body, state.options().body_stall).await?;
    ask(&state, move |state| {
        let info = run_for(state.ledger(), &principal, &run)?;
        tracking(state)
            .book
            .write(state.ledger(), &info, &principal, |view, late| {
                let known = view.artifacts.get(&file);
                if known.is_some_and(|known| {
                    (known.bytes, known.sha256.0) == (digest.bytes, digest.sha256)
                }) {
                    return Ok(Vec::new());
                }
                Ok(vec![logged(&file, &digest, media_type.as_deref(), late)])
            })
    })
    .await?;
    Ok(Json(json!({})))
}

fn logged(
    file: &str,
    digest: &Digest,
    media_type: Option<&str>,
    late: Option<record::RunId>,
) -> Draft {
    let mut body = ArtifactLogged::new(digest.bytes, record::Sha256(digest.sha256));
    let fits = |text: &&str| text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_graphic());
    body.media_type = media_type.filter(fits).map(str::to_owned);
    body.run = late;
    if plain::path(file) {
        body.path = Some(file.to_owned());
        return Draft::new(body);
    }
    Draft::new(body).seal("path", &file.into(), Subject::Run)
}

/// The bytes are not here; what they were is said.
pub(crate) async fn give(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Place(path): Place,
) -> Result<Json<Value>, Refusal> {
    let (run, file) = parse(&path)?;
    let (run, file) = (run.to_owned(), file.to_owned());
    ask(&state, move |state| {
        let info = run_for(state.ledger(), &principal, &run)?;
        let entry = tracking(state).book.entry(info.id)?;
        let mut entry = lock(&entry);
        entry.refresh(state.ledger())?;
        let open = may_open(&principal, &info);
        let known = entry.view.artifacts.get(&file).filter(|known| open || !known.sealed);
        Err(match known {
            Some(known) => Refusal::not_here(format!(
                "`{file}` of run {run} had {} bytes with SHA-256 {}; a ledger keeps digests, not files",
                known.bytes, known.sha256
            )),
            None => Refusal::missing(format!("run {run} has no file `{file}`")),
        })
    })
    .await
}

pub(crate) async fn list(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Asked(query): Asked<RunQuery>,
) -> Result<Json<Value>, Refusal> {
    let answer = ask(&state, move |state| {
        let info = run_for(state.ledger(), &principal, query.run())?;
        let folder = query.path.as_deref().unwrap_or("").trim_matches('/');
        let files = listed(state, &principal, &info, folder)?;
        let files: Vec<Value> = files
            .into_iter()
            .map(|(name, bytes)| {
                let path = if folder.is_empty() {
                    name
                } else {
                    format!("{folder}/{name}")
                };
                file_json(&path, bytes)
            })
            .collect();
        let experiment = super::experiments::id_of(super::experiments::name_or_default(
            info.experiment.as_deref(),
        ));
        let root = format!("mlflow-artifacts:/{experiment}/{}/artifacts", info.id);
        Ok(json!({ "root_uri": root, "files": files }))
    });
    Ok(Json(answer.await?))
}

/// The same by the place of the files, with names below it.
pub(crate) async fn list_below(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Asked(query): Asked<RunQuery>,
) -> Result<Json<Value>, Refusal> {
    let answer = ask(&state, move |state| {
        let path = query.path.as_deref().unwrap_or("").trim_matches('/');
        let (run, folder) = place(path)?;
        let info = run_for(state.ledger(), &principal, run)?;
        let files = listed(state, &principal, &info, folder)?;
        let files: Vec<Value> = files
            .into_iter()
            .map(|(name, bytes)| file_json(&name, bytes))
            .collect();
        Ok(json!({ "files": files }))
    });
    Ok(Json(answer.await?))
}

/// What lies in a folder: files with their length, folders without one.
fn listed(
    state: &State,
    principal: &Principal,
    info: &RunInfo,
    folder: &str,
) -> Result<BTreeMap<String, Option<u64>>, Refusal> {
    let entry = tracking(state).book.entry(info.id)?;
    let mut entry = lock(&entry);
    entry.refresh(state.ledger())?;
    let open = may_open(principal, info);
    let mut found = BTreeMap::new();
    for (path, file) in &entry.view.artifacts {
        let below = match folder {
            "" => Some(path.as_str()),
            folder => path
                .strip_prefix(folder)
                .and_then(|rest| rest.strip_prefix('/')),
        };
        let Some(below) = below.filter(|_| open || !file.sealed) else {
            continue;
        };
        match below.split_once('/') {
            Some((folder, _)) => found.insert(folder.to_owned(), None),
            None => found.insert(below.to_owned(), Some(file.bytes)),
        };
    }
    Ok(found)
}

fn file_json(path: &str, bytes: Option<u64>) -> Value {
    match bytes {
        Some(bytes) => json!({ "path": path, "is_dir": false, "file_size": bytes }),
        None => json!({ "path": path, "is_dir": true }),
    }
}

/// The run and the file in `<experiment>/<run>/artifacts/<path>`.
fn parse(path: &str) -> Result<(&str, &str), Refusal> {
    let (run, file) = place(path)?;
    let plain =
        |name: &str| !name.is_empty() && name != "." && name != ".." && !name.contains('\\');
    let good = file.len() <= MAX_PATH_BYTES
        && file.split('/').all(plain)
        && !file.chars().any(char::is_control);
    if good {
        Ok((run, file))
    } else {
        Err(Refusal::invalid(format!(
            "the file's path has to have names between its slashes, no `..`, no control characters and \
             at most {MAX_PATH_BYTES} bytes"
        )))
    }
}

/// The run and the folder in `<experiment>/<run>/artifacts` and below.
fn place(path: &str) -> Result<(&str, &str), Refusal> {
    let mut parts = path.splitn(4, '/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(run), Some("artifacts"), rest) => Ok((run, rest.unwrap_or(""))),
        _ => Err(Refusal::not_here(
            "files are taken below a run's artifact_uri, mlflow-artifacts:/<experiment>/<run>/artifacts",
        )),
    }
}
