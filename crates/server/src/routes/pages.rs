//! The pages for people: `/`, `/docs`; and `/openapi.json` for programs.

use axum::extract::State as Extracted;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{Html, IntoResponse};

use crate::state::State;

/// The OpenAPI document
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "readOpenApi",
    tag = "Operation",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub(crate) async fn openapi(Extracted(state): Extracted<State>) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "application/json"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, state.pages().openapi.clone())
}

/// This API, as a page
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "readDocs",
    tag = "Operation",
    responses((status = 200, description = "The OpenAPI document as a page; it fetches nothing", body = String, content_type = "text/html")),
)]
pub(crate) async fn docs(Extracted(state): Extracted<State>) -> impl IntoResponse {
    (
        [(CACHE_CONTROL, "no-cache")],
        Html(state.pages().docs.clone()),
    )
}

/// What this is
#[utoipa::path(
    get,
    path = "/",
    operation_id = "readIndex",
    tag = "Operation",
    responses((status = 200, description = "A page with links to the others", body = String, content_type = "text/html")),
)]
pub(crate) async fn index(Extracted(state): Extracted<State>) -> impl IntoResponse {
    (
        [(CACHE_CONTROL, "no-cache")],
        Html(state.pages().index.clone()),
    )
}
