//! What handlers are given, with every refusal a problem document instead of axum's plain text.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use crate::body;
use crate::problem::Problem;
use crate::state::State;

/// The most bytes of a request that is one JSON object and not a record: a run to start, a token
/// to make.
const MAX_OBJECT_BYTES: usize = 1 << 20;

/// The query string; a parameter nobody knows is refused, for it may be a misspelt filter.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let rejected = |rejection: QueryRejection| {
            Problem::bad_request(
                "bad-parameter",
                format!(
                    "{}; see /docs for this path's parameters",
                    rejection.body_text()
                ),
            )
        };
        let Query(params) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(rejected)?;
        Ok(Self(params))
    }
}

/// The names in the path.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let rejected =
            |rejection: PathRejection| Problem::bad_request("bad-path", rejection.body_text());
        let Path(names) = Path::<T>::from_request_parts(parts, state)
            .await
            .map_err(rejected)?;
        Ok(Self(names))
    }
}

/// A body that is one JSON object.
pub(crate) struct Object<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<State> for Object<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &State) -> Result<Self, Problem> {
        let (parts, mut body) = request.into_parts();
        if media_type(&parts.headers) != Some("application/json") {
            return Err(unsupported_media_type(&parts.headers, "application/json"));
        }
        let stall = state.options().body_stall;
        let (bytes, _taken) =
            body::read_into(&mut body, MAX_OBJECT_BYTES, stall, state.room()).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|error| {
            if error.is_data() {
                Problem::unprocessable("bad-object", format!("{error}; see /docs for its fields"))
            } else {
                Problem::bad_request("broken-json", format!("the body is not JSON: {error}"))
            }
        })
    }
}

/// The media type without its parameters (RFC 9110 §8.3.1), where it is lower-case ASCII as every
/// client sends it.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or(value).trim())
}

/// 415, saying what came and what would do.
pub(crate) fn unsupported_media_type(headers: &HeaderMap, expected: &str) -> Problem {
    let seen = media_type(headers).map_or_else(
        || "no content-type".to_owned(),
        |seen| format!("the content-type `{seen}`"),
    );
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        format!("the request has {seen}; expected {expected}"),
    )
}
