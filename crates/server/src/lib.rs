//! The HTTP API of a ledger: authentication, limits, problem documents, metrics, documentation.
//!
//! Not the ledger itself, and not a place where anything is decided about records: handlers read a
//! request, ask [`ledger`], and put its answer into words.

mod address;
mod api;
mod auth;
mod body;
mod catalogue;
mod changes;
mod cosign;
mod docs;
pub mod embedded;
mod error;
mod exports;
mod extract;
mod hooks;
mod jobs;
mod limits;
mod lines;
mod metrics;
mod mlflow;
mod observe;
mod openapi;
mod options;
mod own;
mod owned;
mod probe;
mod problem;
mod process;
mod reach;
mod reads;
mod refusals;
mod router;
mod routes;
mod serve;
mod service;
mod state;
mod stream;
mod tls;
mod tokens;
mod watching;
pub mod witness;
mod words;

pub use ::jobs::cards;
pub use address::TrustedProxies;
pub use auth::Access;
pub use body::MAX_BODY_BYTES;
pub use embedded::{Embedded, EmbeddedError};
pub use error::ServerError;
pub use limits::Rate;
pub use mlflow::{MLFLOW_PREFIXES, MLFLOW_ROUTES};
pub use openapi::openapi_json;
pub use options::{Options, Trace};
pub use problem::Problem;
pub use router::{ROUTES, RouteRule, router};
pub use serve::{Listeners, serve, serve_at};
pub use state::State;
pub use tls::{Tls, TlsError};
pub use watch::{Settings as WatchSettings, SettingsError as WatchSettingsError};
pub use watching::Thresholds;
