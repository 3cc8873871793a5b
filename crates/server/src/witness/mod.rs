//! A witness over HTTP (<https://c2sp.org/tlog-witness>): `add-checkpoint`, the latest cosigned
//! checkpoint of each log, health and metrics.
//!
//! There is no authentication: a request is worth what the log's signature in it is worth. Refusals
//! are one line of plain text behind the status code that the specification gives them.
//!
//! Not here: any judgement. [`ledger::witness`] decides; this puts it into status codes.

mod metrics;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::service::TowerToHyperService;
use ledger::witness::{Answer, Witness};
use tokio::net::TcpListener;

use crate::body;
use crate::error::ServerError;
use crate::serve::{Limits, accept};

/// The most bytes of a request: 63 hashes, and a checkpoint with dozens of signatures.
pub const MAX_REQUEST_BYTES: usize = 256 << 10;

/// The media type of a size (tlog-witness).
const SIZE: &str = "text/x.tlog.size";
const TEXT: &str = "text/plain; charset=utf-8";

/// How a witness behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most connections open at once; more wait to be accepted.
    pub max_connections: usize,
    /// How long a request's headers may take to arrive, and its whole body after them: requests are
    /// small, and whoever sends them slowly holds a connection that others wait for.
    pub patience: Duration,
    /// How long requests under way may take to finish once the witness is told to stop.
    pub shutdown_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 256,
            patience: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

#[derive(Clone)]
struct Shared {
    witness: Arc<Witness>,
    patience: Duration,
}

/// Serves `witness` on `listener` until `shutdown` resolves, then finishes what is under way.
///
/// # Errors
/// The socket's failure.
pub async fn serve(
    listener: TcpListener,
    witness: Arc<Witness>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let address = listener.local_addr()?;
    tracing::info!(%address, name = witness.name(), "listening");
    let limits = Limits {
        connections: options.max_connections,
        header_timeout: options.patience,
        write_stall: options.patience,
        grace: options.shutdown_grace,
    };
    let shared = Shared {
        witness,
        patience: options.patience,
    };
    let app = TowerToHyperService::new(router(shared));
    accept(listener, |_| app.clone(), None, limits, shutdown).await;
    Ok(())
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{origin_hash}/checkpoint", get(checkpoint))
        .route("/vkeys", get(vkeys))
        .route("/health", get(health))
        .route("/health/live", get(live))
        .route("/health/ready", get(health))
        .route("/metrics", get(metrics::metrics))
        .fallback(nothing_here)
        .with_state(shared)
}

async fn add_checkpoint(State(shared): State<Shared>, body: Body) -> Response {
    let read = body::read(body, MAX_REQUEST_BYTES, shared.patience);
    let body = match tokio::time::timeout(shared.patience, read).await {
        Ok(Ok(body)) => body,
        Ok(Err(problem)) => {
            let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::BAD_REQUEST);
            return hang_up(status, problem.code());
        }
        Err(_) => return hang_up(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    let answered = tokio::task::spawn_blocking(move || shared.witness.add_checkpoint(&body)).await;
    match answered {
        Ok(answer) => respond(answer),
        Err(error) => {
            tracing::error!(%error, "a request was not answered");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the witness failed")
        }
    }
}

/// The status codes of the specification.
fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Cosigned(lines) => (StatusCode::OK, [(CONTENT_TYPE, TEXT)], lines).into_response(),
        Answer::Conflict(size) => {
            let headers = [(CONTENT_TYPE, SIZE)];
            (StatusCode::CONFLICT, headers, format!("{size}\n")).into_response()
        }
        Answer::Malformed(why) => plain(StatusCode::BAD_REQUEST, &why),
        Answer::UnknownOrigin(origin) => plain(
            StatusCode::NOT_FOUND,
            &format!("this witness does not watch the log {origin}"),
        ),
        Answer::NotSigned(why) => plain(StatusCode::FORBIDDEN, &why),
        Answer::Inconsistent(why) => plain(StatusCode::UNPROCESSABLE_ENTITY, &why),
        // What went wrong is in the witness's own log.
        Answer::Failed(_) => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the witness could not keep the checkpoint, and cosigns nothing that it has not kept",
        ),
    }
}

async fn checkpoint(State(shared): State<Shared>, Path(origin_hash): Path<String>) -> Response {
    let asked = tokio::task::spawn_blocking(move || shared.witness.cosigned(&origin_hash)).await;
    match asked {
        Ok(Some(note)) => {
            let headers = [(CONTENT_TYPE, TEXT), (CACHE_CONTROL, "no-cache")];
            (headers, note.to_string()).into_response()
        }
        Ok(None) => plain(
            StatusCode::NOT_FOUND,
            "no checkpoint of such a log was cosigned here",
        ),
        Err(error) => {
            tracing::error!(%error, "a request was not answered");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "the witness failed")
        }
    }
}

async fn vkeys(State(shared): State<Shared>) -> Response {
    let keys = shared.witness.vkeys();
    let lines: Vec<String> = keys.iter().map(ToString::to_string).collect();
    plain(StatusCode::OK, &lines.join("\n"))
}

async fn live() -> Response {
    plain(StatusCode::OK, "ok")
}

async fn health(State(shared): State<Shared>) -> Response {
    match shared.witness.status().failed {
        None => plain(StatusCode::OK, "ok"),
        Some(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

async fn nothing_here() -> Response {
    plain(
        StatusCode::NOT_FOUND,
        "a witness answers POST /add-checkpoint, and GET /<origin hash>/checkpoint, /vkeys, /health, /metrics",
    )
}

fn plain(status: StatusCode, line: &str) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], format!("{line}\n")).into_response()
}

/// As [`plain`], and the connection ends: the rest of the body is not waited for.
fn hang_up(status: StatusCode, line: &str) -> Response {
    const CONNECTION: HeaderName = axum::http::header::CONNECTION;
    let mut response = plain(status, line);
    response
        .headers_mut()
        .insert(CONNECTION, axum::http::HeaderValue::from_static("close"));
    response
}
