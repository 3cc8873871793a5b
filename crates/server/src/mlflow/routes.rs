//! Which handler answers where. Clients know the API under two prefixes.

use axum::Router;
use axum::extract::{Request, State as Extracted};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, patch, post, put};
use ledger::Role;

use super::error::Refusal;
use super::{artifacts, models, runs, search};
use crate::auth::{self, Access};
use crate::router::{APPENDS, RouteRule};
use crate::state::State;

/// Where MLflow's clients expect its API, and its web page does.
pub const MLFLOW_PREFIXES: &[&str] = &["/api/2.0", "/ajax-api/2.0"];

/// Who reads here: a producer its own runs, a reader all. An auditor is given records, bundles and documents instead.
const ANYONE: Access = Access::Roles(&[Role::Reader, Role::Producer, Role::Admin]);

macro_rules! routes {
    ($($method:ident $path:literal $access:ident $handler:path;)+) => {
        /// Every route, below each of [`MLFLOW_PREFIXES`].
        pub const MLFLOW_ROUTES: &[RouteRule] = &[$(
            RouteRule { method: stringify!($method), path: $path, access: $access },
        )+];

        /// The routes, under both prefixes.
        pub(crate) fn router(state: &State) -> Router<State> {
            let mut router = Router::new();
            for prefix in MLFLOW_PREFIXES {
                $(router = router.route(
                    &format!("{prefix}{}", $path),
                    $method($handler).route_layer(from_fn_with_state((state.clone(), $access), guard)),
                );)+
                for rest in ["/mlflow/{*rest}", "/mlflow-artifacts/{*rest}"] {
                    let nothing = any(nothing_here)
                        .layer(from_fn_with_state((state.clone(), ANYONE), guard));
                    router = router.route(&format!("{prefix}{rest}"), nothing);
                }
            }
            router.method_not_allowed_fallback(nothing_here)
        }
    };
}

routes! {
    post "/mlflow/experiments/create" APPENDS search::create_experiment;
    get "/mlflow/experiments/get" ANYONE search::experiment;
    get "/mlflow/experiments/get-by-name" ANYONE search::experiment;
    post "/mlflow/experiments/search" ANYONE search::experiments;
    get "/mlflow/experiments/search" ANYONE search::experiments_by_query;
    post "/mlflow/experiments/set-experiment-tag" APPENDS search::tag_experiment;
    post "/mlflow/runs/create" APPENDS runs::create;
    get "/mlflow/runs/get" ANYONE runs::get;
    post "/mlflow/runs/update" APPENDS runs::update;
    post "/mlflow/runs/search" ANYONE search::runs;
    post "/mlflow/runs/log-metric" APPENDS runs::log_metric;
    post "/mlflow/runs/log-parameter" APPENDS runs::log_param;
    post "/mlflow/runs/log-batch" APPENDS runs::log_batch;
    post "/mlflow/runs/log-inputs" APPENDS runs::log_inputs;
    post "/mlflow/runs/log-model" APPENDS runs::log_model;
    post "/mlflow/runs/set-tag" APPENDS runs::set_tag;
    post "/mlflow/runs/delete-tag" APPENDS runs::delete_tag;
    post "/mlflow/runs/outputs" APPENDS models::outputs;
    post "/mlflow/logged-models" APPENDS models::create;
    post "/mlflow/logged-models/search" ANYONE models::search;
    get "/mlflow/logged-models/{id}" ANYONE models::get;
    patch "/mlflow/logged-models/{id}" APPENDS models::finalize;
    patch "/mlflow/logged-models/{id}/tags" APPENDS models::tag;
    post "/mlflow/logged-models/{id}/params" APPENDS models::params;
    get "/mlflow/metrics/get-history" ANYONE runs::history;
    get "/mlflow/artifacts/list" ANYONE artifacts::list;
    get "/mlflow-artifacts/artifacts" ANYONE artifacts::list_below;
    put "/mlflow-artifacts/artifacts/{*path}" APPENDS artifacts::take;
    get "/mlflow-artifacts/artifacts/{*path}" ANYONE artifacts::give;
    post "/mlflow/experiments/delete" APPENDS never;
    post "/mlflow/experiments/restore" APPENDS never;
    post "/mlflow/experiments/update" APPENDS never;
    post "/mlflow/experiments/delete-experiment-tag" APPENDS never;
    post "/mlflow/runs/delete" APPENDS never;
    post "/mlflow/runs/restore" APPENDS never;
}

/// Lets a request pass to its handler, or refuses it in MLflow's form. Tokens come as bearer tokens or
/// as the password of basic authentication, which is what its clients can send.
async fn guard(
    Extracted((state, access)): Extracted<(State, Access)>,
    request: Request,
    next: Next,
) -> Response {
    let admitted = auth::admitted(
        &state,
        access,
        request.headers(),
        auth::Schemes::BearerOrBasic,
        auth::peer(&request),
    );
    let answer = match admitted.await {
        Ok(holder) => auth::pass(holder, access, request, next).await,
        Err(problem) => Err(problem),
    };
    answer.unwrap_or_else(|problem| Refusal::from(problem).into_response())
}

/// What a ledger does not do.
async fn never(uri: Uri) -> Refusal {
    Refusal::not_here(format!(
        "{}: a ledger deletes and renames nothing; what is recorded stays",
        uri.path()
    ))
}

async fn nothing_here(method: Method, uri: Uri) -> Refusal {
    Refusal::no_endpoint(format!(
        "{method} {}: this server has MLflow's tracking API as far as docs/integrations/mlflow.md says",
        uri.path()
    ))
}
