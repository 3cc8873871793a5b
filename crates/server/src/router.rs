//! Which handler answers where, and who may ask. The table is data so that a test can hold every
//! cell of (route, role) against it, and the OpenAPI document too.

use std::time::Duration;

use axum::Router;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post, put};
use ledger::Role;
use tower_http::cors::CorsLayer;

use crate::auth::{Access, guard};
use crate::mlflow;
use crate::observe::{REQUEST_ID, observe};
use crate::options::Options;
use crate::problem::Problem;
use crate::routes::{
    append, approvals, attachments, bundle, card, findings, health, hooks, jobs, log, metrics,
    pages, records, runs, tokens,
};
use crate::state::State;

/// How long a browser remembers what it was told.
const PREFLIGHT: Duration = Duration::from_mins(10);

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct RouteRule {
    /// The method.
    pub method: &'static str,
    /// The path, with names in braces.
    pub path: &'static str,
    /// Who may ask.
    pub access: Access,
}

const PUBLIC: Access = Access::Public;
const OPERATION: Access = Access::Operation;
const PROOF: Access = Access::Proof;
const ADMIN: Access = Access::Roles(&[Role::Admin]);
/// Whom something is given to read; of an auditor, the handler asks what is within its reach.
const READS: Access = Access::Roles(&[Role::Reader, Role::Auditor, Role::Admin]);
/// What spans all runs and is no part that an auditor's token could name.
const OVERVIEW: Access = Access::Roles(&[Role::Reader, Role::Admin]);
/// Who may append.
pub(crate) const APPENDS: Access = Access::Roles(&[Role::Producer, Role::Admin]);
/// Where a run stands, which a producer that goes on after a break has to know.
const FOLLOWS: Access = Access::Roles(&[Role::Reader, Role::Producer, Role::Auditor, Role::Admin]);
/// Proofs hold no record: what the log promised somebody they can ask to be shown.
const ANYONE: Access = Access::Roles(&[
    Role::Reader,
    Role::Producer,
    Role::Auditor,
    Role::Witness,
    Role::Admin,
]);

macro_rules! routes {
    ($($method:ident $path:literal $access:ident $handler:path;)+) => {
        /// Every route, by path.
        pub const ROUTES: &[RouteRule] = &[$(
            RouteRule { method: stringify!($method), path: $path, access: $access },
        )+];

        /// Those of the routes that `here` says.
        fn table(state: &State, here: impl Fn(Access) -> bool) -> Router<State> {
            let mut router = Router::new();
            $(if here($access) {
                router = router.route(
                    &axum_path($path),
                    guarded(state, $access, $method($handler)),
                );
            })+
            router
        }
    };
}

routes! {
    get "/" PUBLIC pages::index;
    get "/docs" PUBLIC pages::docs;
    get "/openapi.json" PUBLIC pages::openapi;
    get "/health" OPERATION health::health;
    get "/health/live" OPERATION health::live;
    get "/health/ready" OPERATION health::ready;
    get "/metrics" OPERATION metrics::metrics;
    get "/log/checkpoint" PUBLIC log::checkpoint;
    get "/log/checkpoint.cosigned" PUBLIC log::cosigned;
    get "/log/policy" PUBLIC log::policy;
    get "/log/rotations/{number}" PUBLIC log::rotation;
    get "/log/tile/{level}/{index}" PUBLIC log::tile;
    get "/log/tile/entries/{index}" READS log::entries;
    get "/log/timestamps/{name}" PUBLIC log::timestamp;
    post "/v1/runs" APPENDS runs::create;
    get "/v1/runs" FOLLOWS runs::list;
    get "/v1/runs/{run}" FOLLOWS runs::one;
    get "/v1/runs/{run}/streams" FOLLOWS runs::streams;
    post "/v1/runs/{run}/seal" APPENDS runs::seal;
    get "/v1/runs/{run}/bundle" READS bundle::bundle;
    get "/v1/runs/{run}/card" READS card::show;
    post "/v1/runs/{run}/card" ADMIN card::issue;
    post "/v1/records" APPENDS append::append;
    get "/v1/records" READS records::list;
    get "/v1/records/{index}" READS records::one;
    get "/v1/records/{index}/proof" ANYONE records::proof;
    get "/v1/findings" OVERVIEW findings::list;
    put "/v1/attachments/{sha256}" APPENDS attachments::put;
    get "/v1/attachments/{sha256}" READS attachments::read;
    post "/v1/hooks" ADMIN hooks::create;
    get "/v1/hooks" ADMIN hooks::list;
    post "/v1/hooks/{name}" PROOF hooks::deliver;
    delete "/v1/hooks/{name}" ADMIN hooks::remove;
    post "/v1/jobs" ADMIN jobs::add;
    get "/v1/jobs" OVERVIEW jobs::list;
    get "/v1/jobs/{id}" OVERVIEW jobs::one;
    post "/v1/jobs/{id}/requeue" ADMIN jobs::requeue;
    post "/v1/tokens" ADMIN tokens::create;
    get "/v1/tokens" ADMIN tokens::list;
    get "/v1/tokens/{id}" ADMIN tokens::show;
    delete "/v1/tokens/{id}" ADMIN tokens::revoke;
    post "/v1/approvals" ADMIN approvals::create;
    get "/v1/approvals" ADMIN approvals::list;
    post "/v1/approvals/{id}" ADMIN approvals::decide;
}

/// The whole service, for [`crate::serve`] and for tests.
pub fn router(state: State) -> Router {
    let apart = state.options().operation_apart;
    let mut routes = table(&state, |access| !(apart && access == OPERATION))
        .merge(mlflow::router(&state))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method);
    if let Some(cors) = cors(state.options()) {
        routes = routes.layer(cors);
    }
    routes
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

/// Health and metrics alone, for an address of their own.
pub(crate) fn operation(state: State) -> Router {
    table(&state, |access| access == OPERATION)
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

/// What browsers are told of pages from elsewhere; nothing, unless their origins are named.
fn cors(options: &Options) -> Option<CorsLayer> {
    let origins = options.cors_origins.clone();
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers([AUTHORIZATION, CONTENT_TYPE])
            .expose_headers([RETRY_AFTER, REQUEST_ID])
            .max_age(PREFLIGHT)
    })
}

/// A tile's index has slashes in it, which OpenAPI cannot say and axum can.
fn axum_path(path: &str) -> String {
    if path.starts_with("/log/tile/") {
        path.replace("{index}", "{*index}")
    } else {
        path.to_owned()
    }
}

fn guarded(state: &State, access: Access, handler: MethodRouter<State>) -> MethodRouter<State> {
    handler.route_layer(from_fn_with_state((state.clone(), access), guard))
}

async fn nothing_here(uri: Uri) -> Problem {
    Problem::not_found(
        "no-such-path",
        format!("nothing is at {}; see /docs", uri.path()),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!(
            "{} does not answer {method}; the header `allow` says what it does",
            uri.path()
        ),
    )
}
