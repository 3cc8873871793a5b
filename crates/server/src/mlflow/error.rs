//! Refusals in MLflow's form, `{"error_code", "message"}`, with the code that its clients look at.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ledger::LedgerError;
use serde_json::json;

use crate::problem::{Problem, Refused};

/// A refusal, as MLflow's clients read it.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// The problem it was, with its headers.
    problem: Option<Box<Problem>>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            problem: None,
        }
    }

    /// A value that cannot be taken.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER_VALUE", message)
    }

    /// Nothing goes by this name or id.
    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", message)
    }

    /// Something goes by this name already.
    pub(crate) fn exists(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "RESOURCE_ALREADY_EXISTS", message)
    }

    /// The token does not allow it.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message)
    }

    /// It contradicts what is recorded.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "RESOURCE_CONFLICT", message)
    }

    /// A ledger does not do that, or this one does not do it yet.
    pub(crate) fn not_here(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NOT_IMPLEMENTED", message)
    }

    /// No such endpoint.
    pub(crate) fn no_endpoint(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ENDPOINT_NOT_FOUND", message)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::BAD_GATEWAY);
        let code = match status.as_u16() {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "RESOURCE_DOES_NOT_EXIST",
            409 => "RESOURCE_CONFLICT",
            410 => "INVALID_STATE",
            429 => "REQUEST_LIMIT_EXCEEDED",
            400..500 => "INVALID_PARAMETER_VALUE",
            503 => "TEMPORARILY_UNAVAILABLE",
            _ => "INTERNAL_ERROR",
        };
        Self {
            status,
            code,
            message: problem.detail().to_owned(),
            problem: Some(Box::new(problem)),
        }
    }
}

impl From<LedgerError> for Refusal {
    fn from(error: LedgerError) -> Self {
        Problem::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error_code": self.code, "message": self.message });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // When to come again, and how to authenticate, are said as everywhere.
        if let Some(problem) = self.problem {
            let mut theirs = problem.into_response();
            if let Some(refused) = theirs.extensions_mut().remove::<Refused>() {
                response.extensions_mut().insert(refused);
            }
            let headers = response.headers_mut();
            for name in [RETRY_AFTER, WWW_AUTHENTICATE] {
                if let Some(value) = theirs.headers().get(&name) {
                    headers.insert(name, value.clone());
                }
            }
        }
        response
    }
}
