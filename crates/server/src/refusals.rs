//! The ledger's errors as problem documents: one status for each kind of refusal.

use axum::http::StatusCode;
use ledger::{AppendCode, AppendError, LedgerError, SubmitError};

use crate::cards::CardError;
use crate::problem::Problem;

/// How long to stay away from an overloaded ledger: its queue is worth well under a second.
const OVERLOADED_SECONDS: u32 = 1;
/// How long a restart takes.
const RESTART_SECONDS: u32 = 5;

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        let code = match (error.code, error.line) {
            // A group is written as one, which bounds a request below what its body may have.
            (AppendCode::TooLarge, None) => "request-too-large",
            (code, _) => code.as_str(),
        };
        let status = match error.code {
            AppendCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            AppendCode::SeqGap
            | AppendCode::WrongPrev
            | AppendCode::Conflict
            | AppendCode::BadStream
            | AppendCode::BadRun
            | AppendCode::RunSealed => StatusCode::CONFLICT,
            AppendCode::NotCanonical | AppendCode::Malformed => StatusCode::BAD_REQUEST,
            AppendCode::Forbidden => StatusCode::FORBIDDEN,
            AppendCode::Unavailable => {
                return Self::unavailable(code, error.reason, RESTART_SECONDS);
            }
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let line = error.line;
        let detail = match line {
            Some(line) => format!("line {line}: {}; nothing was recorded", error.reason),
            None => format!("{}; nothing was recorded", error.reason),
        };
        Self::new(status, code, detail).at_line(line)
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let detail = error.to_string();
        match error {
            SubmitError::Overloaded { .. } => {
                Self::unavailable("overloaded", detail, OVERLOADED_SECONDS)
            }
            _ => Self::unavailable("unavailable", detail, RESTART_SECONDS),
        }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::NotFound { .. } => Self::not_found("not-found", error.to_string()),
            LedgerError::Ambiguous { .. } => {
                Self::new(StatusCode::CONFLICT, "ambiguous-name", error.to_string())
            }
            LedgerError::NotPublished { .. } => {
                Self::not_found("not-published", error.to_string()).retry_after(1)
            }
            LedgerError::UnknownRole { .. } => Self::unprocessable("bad-object", error.to_string()),
            LedgerError::Append(error) => error.into(),
            LedgerError::Submit(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<CardError> for Problem {
    fn from(error: CardError) -> Self {
        match error {
            CardError::Ledger(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}
