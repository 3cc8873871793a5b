//! What the proxy itself has to say to a caller (RFC 9457).

use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::body::AnswerBody;

/// A problem document.
pub(super) fn problem(status: StatusCode, code: &str, detail: &str) -> Response<AnswerBody> {
    let title = status.canonical_reason().unwrap_or("Error");
    let document = json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail, "code": code,
    });
    let mut response = Response::new(AnswerBody::Whole(Full::from(document.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
