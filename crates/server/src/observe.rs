//! What happens around every request: an id, its count and duration, strict headers, and a problem
//! document where the router itself refuses.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State as Extracted};
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{self, HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;

use crate::auth::{Schemes, admitted};
use crate::body::{Lent, drain};
use crate::router::APPENDS;
use crate::routes::append;
use crate::state::State;

/// Names one request, in its answer and in the server's log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// Pages bring their own style and pictures inside; nothing is ever fetched, run or framed.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A browser that was once here by TLS comes by nothing else.
const A_YEAR: &str = "max-age=31536000";
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Makes ids that differ between requests and, very likely, between processes.
#[derive(Debug)]
pub(crate) struct RequestIds {
    process: u32,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        let process = RandomState::new().build_hasher().finish() as u32;
        Self {
            process,
            next: AtomicU64::new(0),
        }
    }

    /// The caller's own id where it is a sane one, so that its log and ours can be joined.
    fn of(&self, headers: &HeaderMap) -> HeaderValue {
        let sane = |value: &&HeaderValue| {
            let bytes = value.as_bytes();
            (1..=64).contains(&bytes.len())
                && bytes
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        };
        headers
            .get(REQUEST_ID)
            .filter(sane)
            .cloned()
            .unwrap_or_else(|| {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                HeaderValue::try_from(format!("{:08x}-{number}", self.process))
                    .unwrap_or_else(|_| HeaderValue::from(number))
            })
    }
}

/// The outermost layer.
pub(crate) async fn observe(
    Extracted(state): Extracted<State>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let id = state.request_ids().of(request.headers());
    // Methods and paths come from outside; only known ones may become labels.
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    let method = known_method(request.method());

    let (parts, body) = request.into_parts();
    let (body, held) = Lent::lend(body);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if !held.drain().await {
        close(&mut response);
    }
    finish(&state, began, id, (method, route), &mut response);
    response
}

/// Appends, without a router before them: [`observe`] for the one route that is asked thousands of times a second.
pub(crate) async fn observe_append(
    state: State,
    peer: IpAddr,
    request: http::Request<Incoming>,
) -> Response {
    let began = Instant::now();
    let id = state.request_ids().of(request.headers());
    let (parts, mut body) = request.into_parts();
    let peer = Some(peer);
    let answer = match admitted(&state, APPENDS, &parts.headers, Schemes::Bearer, peer).await {
        Ok(holder) => append::append_body(&state, &holder, false, &parts.headers, &mut body).await,
        Err(problem) => Err(problem),
    };
    let mut response = answer.into_response();
    if !drain(&mut body).await {
        close(&mut response);
    }
    finish(&state, began, id, ("POST", append::PATH), &mut response);
    response
}

/// Lets the connection end with this answer.
fn close(response: &mut Response) {
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
}

/// Counts an answer, and gives it the headers that every answer has.
fn finish(
    state: &State,
    began: Instant,
    id: HeaderValue,
    (method, route): (&'static str, &str),
    response: &mut Response,
) {
    let status = response.status().as_u16();
    let took = began.elapsed();
    if (method, route) == ("POST", append::PATH) {
        state.metrics().append(status, took);
    } else {
        state.metrics().request(method, route, status, took);
    }
    tracing::debug!(
        id = id.to_str().unwrap_or(""),
        method,
        route,
        status,
        micros = took.as_micros() as u64,
        "answered"
    );
    harden(response.headers_mut());
    if state.options().tls.is_some() {
        response
            .headers_mut()
            .insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(A_YEAR));
    }
    response.headers_mut().insert(REQUEST_ID, id);
}

fn known_method(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "DELETE" => "DELETE",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

fn harden(headers: &mut HeaderMap) {
    let page = headers
        .get(CONTENT_TYPE)
        .is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/html"));
    let policy = if page { PAGE_POLICY } else { DATA_POLICY };
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        CROSS_ORIGIN_RESOURCE_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    // Answers to a token are nobody else's, and most change; tiles say otherwise themselves.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        let ids = RequestIds::new();
        let with = |id: &'static [u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            ids.of(&headers)
        };
        assert_eq!(with(b"build-7.retry_1"), "build-7.retry_1");
        for bad in [b"".as_slice(), b"a b", b"<script>", &[b'x'; 65]] {
            assert_ne!(with(bad).as_bytes(), bad);
        }
        assert_ne!(ids.of(&HeaderMap::new()), ids.of(&HeaderMap::new()));
    }
}
