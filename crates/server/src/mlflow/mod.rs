//! MLflow's tracking REST API, as far as its clients need it to log: experiments, runs, parameters,
//! metrics, tags, files' digests, and what they read back meanwhile.
//!
//! The paths and forms are MLflow's, documented by MLflow
//! ([reference](https://mlflow.org/docs/latest/rest-api.html)) and by `docs/integrations/mlflow.md`, and
//! are therefore not in this server's OpenAPI document. Each MLflow run is a run of the ledger, of which
//! this server is the producer. There is no second store: everything is answered from records.

mod artifacts;
mod batch;
mod book;
mod checkpoints;
mod error;
mod experiments;
mod filter;
mod models;
mod plain;
mod routes;
mod runs;
mod search;
mod view;
mod wire;

use std::sync::Mutex;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use ledger::{Ledger, Principal, Role, RunInfo};
use record::RunId;
use serde::de::DeserializeOwned;

pub(crate) use self::routes::router;
pub use self::routes::{MLFLOW_PREFIXES, MLFLOW_ROUTES};

use self::book::{Book, lock};
use self::error::Refusal;
use self::experiments::Experiments;
use self::runs::Unanswered;
use crate::body;
use crate::state::State;

/// The most bytes of a request: twice what MLflow's clients send at most.
const MAX_REQUEST_BYTES: usize = 2 << 20;

/// What this server knows of runs and experiments for MLflow's clients; all of it can be lost.
#[derive(Debug, Default)]
pub(crate) struct Tracking {
    pub(crate) book: Book,
    pub(crate) experiments: Experiments,
    unanswered: Mutex<Unanswered>,
}

impl Tracking {
    /// Signs the streams of runs that have rested for `rest`.
    pub(crate) fn sign(&self, ledger: &Ledger, rest: Duration) {
        self.book.sign(ledger, rest);
    }
}

/// A request's body, whatever its media type says.
pub(crate) struct Sent<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<State> for Sent<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &State) -> Result<Self, Refusal> {
        let stall = state.options().body_stall;
        let mut body = request.into_body();
        let (bytes, _taken) =
            body::read_into(&mut body, MAX_REQUEST_BYTES, stall, state.room()).await?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Refusal::invalid(format!("the request cannot be read: {error}")))
    }
}

/// What a query asks for.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Query(asked) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Refusal::invalid(rejection.body_text()))?;
        Ok(Self(asked))
    }
}

/// The end of a path that names a file.
pub(crate) struct Place(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Place {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(place) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Refusal::invalid(rejection.body_text()))?;
        Ok(Self(place))
    }
}

/// The run that is meant, if `principal` may see it.
///
/// # Errors
/// There is none, or it is another producer's.
fn run_for(ledger: &Ledger, principal: &Principal, id: &str) -> Result<RunInfo, Refusal> {
    let missing = || {
        Refusal::missing(format!(
            "no run has the id `{}`",
            id.chars().take(64).collect::<String>()
        ))
    };
    let run = RunId::parse(id).ok_or_else(missing)?;
    let info = match ledger.run(run) {
        Err(ledger::LedgerError::NotFound { .. }) => return Err(missing()),
        run => run?,
    };
    if may_see(principal, &info) {
        Ok(info)
    } else {
        Err(Refusal::forbidden(format!(
            "run {run} was started with another token; a producer sees its own runs, a reader all"
        )))
    }
}

/// A producer sees the runs that it started.
fn may_see(principal: &Principal, run: &RunInfo) -> bool {
    principal.role != Role::Producer || run.principal == principal.id
}

/// What a run sealed is for who started it, and for admins.
fn may_open(principal: &Principal, run: &RunInfo) -> bool {
    principal.role == Role::Admin || run.principal == principal.id
}

/// A producer writes to the runs that it started; the ledger holds it to that where records go into the
/// run itself.
fn check_own(principal: &Principal, run: &RunInfo) -> Result<(), Refusal> {
    if may_open(principal, run) {
        return Ok(());
    }
    Err(Refusal::forbidden(format!(
        "run {} was started with another token; use that token or an admin's",
        run.id
    )))
}

/// Asks the ledger on a thread that may wait for it.
async fn ask<T: Send + 'static>(
    state: &State,
    ask: impl FnOnce(&State) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let state = state.clone();
    tokio::task::spawn_blocking(move || ask(&state))
        .await
        .map_err(|error| Refusal::from(crate::problem::Problem::internal(&error)))?
}

fn tracking(state: &State) -> &Tracking {
    state.tracking()
}

fn unanswered(state: &State) -> std::sync::MutexGuard<'_, Unanswered> {
    lock(&state.tracking().unanswered)
}
