//! The HTTP API of a ledger: authentication, limits, problem documents, metrics, documentation.
//!
//! Not the ledger itself, and not a place where anything is decided about records: handlers read a
//! request, ask [`ledger`], and put its answer into words.

mod api;
mod auth;
mod body;
pub mod cards;
mod catalogue;
mod cosign;
mod docs;
pub mod embedded;
mod error;
mod extract;
mod hooks;
mod lines;
mod metrics;
mod mlflow;
mod observe;
mod openapi;
mod options;
mod own;
mod owned;
mod problem;
mod refusals;
mod router;
mod routes;
mod serve;
mod service;
mod state;
mod stream;
mod tokens;
mod watching;
pub mod witness;

pub use auth::Access;
pub use body::MAX_BODY_BYTES;
pub use embedded::{Embedded, EmbeddedError};
pub use error::ServerError;
pub use mlflow::{MLFLOW_PREFIXES, MLFLOW_ROUTES};
pub use openapi::openapi_json;
pub use options::Options;
pub use problem::Problem;
pub use router::{ROUTES, RouteRule, router};
pub use serve::serve;
pub use state::State;
pub use watch::Settings as WatchSettings;
