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
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::auth::{Schemes, admitted};
use crate::body::{Lent, drain};
use crate::exports::counted;
use crate::problem::Refused;
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

    let span = span(&state, (method, route), &id, request.headers());
    let (parts, body) = request.into_parts();
    let (body, held) = Lent::lend(body);
    let answer = next.run(Request::from_parts(parts, body));
    let mut response = answer.instrument(span.clone()).await;
    if !held.drain().await {
        close(&mut response);
    }
    span.in_scope(|| finish(&state, began, id, (method, route), &mut response));
    counted(state.metrics(), method, route, response)
}

/// Around everything that is done for a request: what is logged then carries its id, and its trace where it has one.
fn span(
    state: &State,
    (method, route): (&str, &str),
    id: &HeaderValue,
    headers: &HeaderMap,
) -> Span {
    // At the level of errors, so that it is there whatever is logged.
    let span = tracing::error_span!(
        "request",
        request_id = id.to_str().unwrap_or(""),
        trace_id = Empty,
        otel.name = Empty,
        otel.kind = Empty,
        http.request.method = Empty,
        http.route = Empty,
        http.response.status_code = Empty,
    );
    if let Some(trace) = trace_id(headers) {
        span.record("trace_id", trace);
    }
    if let Some(trace) = state.options().trace {
        span.record("otel.name", format!("{method} {route}"));
        span.record("otel.kind", "server");
        span.record("http.request.method", method);
        span.record("http.route", route);
        trace(&span, headers);
    }
    span
}

/// Appends, without a router before them: [`observe`] for the one route that is asked thousands of times a second. They
/// have a span only where somebody follows traces: one around each would cost more than its record does.
pub(crate) async fn observe_append(
    state: State,
    peer: IpAddr,
    request: http::Request<Incoming>,
) -> Response {
    let id = state.request_ids().of(request.headers());
    if state.options().trace.is_none() {
        return answer_append(state, peer, id, request).await;
    }
    let span = span(&state, ("POST", append::PATH), &id, request.headers());
    answer_append(state, peer, id, request)
        .instrument(span)
        .await
}

async fn answer_append(
    state: State,
    peer: IpAddr,
    id: HeaderValue,
    request: http::Request<Incoming>,
) -> Response {
    let began = Instant::now();
    let (parts, mut body) = request.into_parts();
    let peer = Some(peer);
    let answer = match admitted(&state, APPENDS, &parts.headers, Schemes::Bearer, peer).await {
        Ok(holder) => append::append_body(&state, &holder, false, &parts.headers, &mut body).await,
        Err(problem) => Err(problem),
    };
    if let Err(problem) = &answer
        && let Some(error) = problem.cause()
    {
        let trace_id = trace_id(&parts.headers);
        let request_id = id.to_str().unwrap_or("");
        tracing::error!(request_id, trace_id, error, "an append failed");
    }
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
    if let Some(refused) = response.extensions_mut().remove::<Refused>() {
        if matches!(status, 401 | 403) {
            state.metrics().refused_login(&refused.code);
        }
        if refused.damage {
            state.metrics().integrity_failure();
        }
    }
    if state.options().trace.is_some() {
        Span::current().record("http.response.status_code", status);
    }
    tracing::debug!(
        request_id = id.to_str().unwrap_or(""),
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

/// The trace that the caller's request belongs to (W3C Trace Context: `00-<trace>-<span>-<flags>`).
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let parent = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = parent.split('-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let sane =
        version.len() == 2 && version != "ff" && hex(version) && trace.len() == 32 && hex(trace);
    (sane && trace.bytes().any(|b| b != b'0')).then_some(trace)
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
    fn a_trace_is_known_by_its_32_digits() {
        let of = |parent: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", parent.parse().unwrap());
            trace_id(&headers).map(str::to_owned)
        };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(
            of(&format!("00-{trace}-00f067aa0ba902b7-01")).as_deref(),
            Some(trace)
        );
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

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
