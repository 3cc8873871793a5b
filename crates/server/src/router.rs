//! Which handler answers where, and who may ask. The table is data so that a test can hold every
//! cell of (route, role) against it, and the OpenAPI document too.

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post, put};
use ledger::Role;

use crate::auth::{Access, guard};
use crate::mlflow;
use crate::observe::observe;
use crate::problem::Problem;
use crate::routes::{
    append, attachments, bundle, card, findings, health, hooks, log, metrics, pages, records, runs,
    tokens,
};
use crate::state::State;

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
const PROOF: Access = Access::Proof;
const ADMIN: Access = Access::Roles(&[Role::Admin]);
const READS: Access = Access::Roles(&[Role::Reader, Role::Admin]);
/// Who may append.
pub(crate) const APPENDS: Access = Access::Roles(&[Role::Producer, Role::Admin]);
/// Where a run stands, which a producer that goes on after a break has to know; and proofs, which hold no record: what
/// the log promised a producer it can ask to be shown.
const ANYONE: Access = Access::Roles(&[Role::Reader, Role::Producer, Role::Admin]);

macro_rules! routes {
    ($($method:ident $path:literal $access:ident $handler:path;)+) => {
        /// Every route, by path.
        pub const ROUTES: &[RouteRule] = &[$(
            RouteRule { method: stringify!($method), path: $path, access: $access },
        )+];

        fn table(state: &State) -> Router<State> {
            let mut router = Router::new();
            $(router = router.route(
                &axum_path($path),
                guarded(state, $access, $method($handler)),
            );)+
            router
        }
    };
}

routes! {
    get "/" PUBLIC pages::index;
    get "/docs" PUBLIC pages::docs;
    get "/openapi.json" PUBLIC pages::openapi;
    get "/health" PUBLIC health::health;
    get "/health/live" PUBLIC health::live;
    get "/health/ready" PUBLIC health::ready;
    get "/metrics" PUBLIC metrics::metrics;
    get "/log/checkpoint" PUBLIC log::checkpoint;
    get "/log/checkpoint.cosigned" PUBLIC log::cosigned;
    get "/log/policy" PUBLIC log::policy;
    get "/log/rotations/{number}" PUBLIC log::rotation;
    get "/log/tile/{level}/{index}" PUBLIC log::tile;
    get "/log/tile/entries/{index}" READS log::entries;
    get "/log/timestamps/{name}" PUBLIC log::timestamp;
    post "/v1/runs" APPENDS runs::create;
    get "/v1/runs" ANYONE runs::list;
    get "/v1/runs/{run}" ANYONE runs::one;
    get "/v1/runs/{run}/streams" ANYONE runs::streams;
    post "/v1/runs/{run}/seal" APPENDS runs::seal;
    get "/v1/runs/{run}/bundle" READS bundle::bundle;
    get "/v1/runs/{run}/card" READS card::show;
    post "/v1/runs/{run}/card" ADMIN card::issue;
    post "/v1/records" APPENDS append::append;
    get "/v1/records" READS records::list;
    get "/v1/records/{index}" READS records::one;
    get "/v1/records/{index}/proof" ANYONE records::proof;
    get "/v1/findings" READS findings::list;
    put "/v1/attachments/{sha256}" APPENDS attachments::put;
    get "/v1/attachments/{sha256}" READS attachments::read;
    post "/v1/hooks" ADMIN hooks::create;
    get "/v1/hooks" ADMIN hooks::list;
    post "/v1/hooks/{name}" PROOF hooks::deliver;
    delete "/v1/hooks/{name}" ADMIN hooks::remove;
    post "/v1/tokens" ADMIN tokens::create;
    get "/v1/tokens" ADMIN tokens::list;
    delete "/v1/tokens/{id}" ADMIN tokens::revoke;
}

/// The whole service, for [`crate::serve`] and for tests.
pub fn router(state: State) -> Router {
    table(&state)
        .merge(mlflow::router(&state))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
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
