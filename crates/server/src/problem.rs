//! Refusals as problem documents (RFC 9457): a stable `code` for programs, a `detail` that tells a
//! person what to do, and the `line` where one line of many is at fault.
//!
//! Not the place where it is decided what is refused: that is each handler's and the ledger's.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of a problem document (RFC 9457 §3).
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// A refusal, as it is sent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Names the sort of problem: `/docs#problem-<code>`, relative to this server.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "/docs#problem-sequence-gap")]
    kind: Box<str>,
    /// The HTTP status's own words.
    #[schema(example = "Conflict")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 409)]
    status: u16,
    /// What was wrong here, and what to do about it.
    detail: String,
    /// The stable name of the problem, for programs.
    #[schema(example = "sequence-gap")]
    code: String,
    /// The line of the request body at fault, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip)]
    retry_after_seconds: Option<u32>,
    #[serde(skip)]
    cause: Option<Box<Cause>>,
}

/// What went wrong, for the server's own log and those who count.
#[derive(Clone, Debug)]
struct Cause {
    text: String,
    /// It met something kept that is not what was kept.
    damage: bool,
}

/// What the answer to a refused request carries for those who count, and no caller sees.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// The problem's name.
    pub(crate) code: String,
    /// Something kept is not what was kept.
    pub(crate) damage: bool,
}

impl Problem {
    /// A problem with a status, its stable code and what to tell the person.
    pub fn new(status: StatusCode, code: impl Into<String>, detail: impl Into<String>) -> Self {
        let code = code.into();
        Self {
            kind: format!("/docs#problem-{code}").into(),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            line: None,
            retry_after_seconds: None,
            cause: None,
        }
    }

    /// 400: the request itself cannot be understood.
    pub fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401: nobody is known to ask.
    pub fn unauthorized(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, detail)
    }

    /// 403: who asks is known, and may not.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404: nothing is here under that name.
    pub fn not_found(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 413: more than one request may carry.
    pub fn too_large(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail)
    }

    /// 422: understood, and refused for what it says.
    pub fn unprocessable(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    /// 503: come again in `seconds`.
    pub fn unavailable(code: &str, detail: impl Into<String>, seconds: u32) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        problem.retry_after_seconds = Some(seconds);
        problem
    }

    /// 500. What went wrong goes to the server's log, not to whoever asked.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(error = text, "request failed");
        let mut problem = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed to answer; its log says why, under the id in the x-request-id header",
        );
        let damage = false;
        problem.cause = Some(Box::new(Cause { text, damage }));
        problem
    }

    /// It met something kept that is not what was kept.
    #[must_use]
    pub(crate) fn of_damage(mut self) -> Self {
        if let Some(cause) = &mut self.cause {
            cause.damage = true;
        }
        self
    }

    /// What went wrong, where that is only for the server's own log.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_ref().map(|cause| cause.text.as_str())
    }

    /// Names the line of the body at fault, from 1.
    #[must_use]
    pub fn at_line(mut self, line: Option<usize>) -> Self {
        self.line = line;
        self
    }

    /// Says when to come again.
    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The stable name of the problem.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What was wrong, and what to do about it.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The HTTP status it is sent with.
    pub fn status(&self) -> u16 {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        response.extensions_mut().insert(Refused {
            code: self.code.clone(),
            damage: self.cause.as_ref().is_some_and(|cause| cause.damage),
        });
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750 §3: a challenge without a token names no error, one with a bad token does.
            let challenge = if self.code == "invalid-token" {
                r#"Bearer realm="rlhf-audit", error="invalid_token""#
            } else {
                r#"Bearer realm="rlhf-audit""#
            };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
