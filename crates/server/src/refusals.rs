//! The ledger's errors as problem documents: one status for each kind of refusal.

use axum::http::StatusCode;
use ledger::{AppendCode, AppendError, AttachmentError, LedgerError, SubmitError};

use crate::cards::CardError;
use crate::problem::Problem;

/// How long to stay away from an overloaded ledger: its queue is worth well under a second.
pub(crate) const OVERLOADED_SECONDS: u32 = 1;
/// How long to leave a database or an object store that does not answer.
const OUTAGE_SECONDS: u32 = 2;
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
            AppendCode::LedgerClosed => StatusCode::GONE,
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
            LedgerError::UnknownRole { .. }
            | LedgerError::Hook { .. }
            | LedgerError::Token { .. } => Self::unprocessable("bad-object", error.to_string()),
            LedgerError::Approval { .. } => {
                Self::new(StatusCode::CONFLICT, "not-approved", error.to_string())
            }
            LedgerError::Ended { .. } => {
                Self::new(StatusCode::GONE, "ledger-closed", error.to_string())
            }
            LedgerError::Append(error) => error.into(),
            LedgerError::Submit(error) => error.into(),
            LedgerError::Store(error) if error.is_unavailable() => {
                Self::unavailable("unavailable", error.to_string(), OUTAGE_SECONDS)
            }
            damage if damage.is_damage() => Self::internal(&damage).of_damage(),
            other => Self::internal(&other),
        }
    }
}

impl From<AttachmentError> for Problem {
    fn from(error: AttachmentError) -> Self {
        let detail = format!("{error}; nothing of it was kept");
        match error {
            AttachmentError::Mismatch { .. } => Self::unprocessable("attachment-mismatch", detail),
            AttachmentError::TooLarge => Self::too_large("body-too-large", detail),
            AttachmentError::Source(_) => Self::bad_request("broken-body", detail),
            AttachmentError::NoRoom(_) => Self::unavailable("unavailable", detail, OUTAGE_SECONDS),
            AttachmentError::Ledger(error) => error.into(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::RETRY_AFTER;
    use axum::response::IntoResponse;

    #[test]
    fn who_is_turned_away_for_now_is_told_when_to_come_again() {
        for (error, code) in [
            (SubmitError::Overloaded { waiting: 8_192 }, "overloaded"),
            (
                SubmitError::Failed {
                    reason: "no space".into(),
                },
                "unavailable",
            ),
            (SubmitError::Closed, "unavailable"),
        ] {
            let problem = Problem::from(error);
            assert_eq!((problem.status(), problem.code()), (503, code));
            let response = problem.into_response();
            let seconds = response.headers()[RETRY_AFTER].to_str().unwrap();
            assert!(seconds.parse::<u32>().unwrap() >= 1);
        }
        let gone = AppendError {
            line: None,
            code: AppendCode::Unavailable,
            reason: "x".into(),
        };
        assert_eq!(Problem::from(gone).status(), 503);
    }

    #[test]
    fn a_request_too_large_is_told_from_a_record_too_large() {
        let error = |line| AppendError {
            line,
            code: AppendCode::TooLarge,
            reason: "x".into(),
        };
        assert_eq!(Problem::from(error(None)).code(), "request-too-large");
        assert_eq!(Problem::from(error(Some(3))).code(), "record-too-large");
    }

    #[test]
    fn what_the_server_failed_at_is_not_told_to_callers() {
        let error = LedgerError::Corrupt {
            what: "a tile".into(),
            reason: "secret".into(),
        };
        let problem = Problem::from(error);
        assert_eq!((problem.status(), problem.code()), (500, "internal"));
        assert!(!serde_json::to_string(&problem).unwrap().contains("secret"));
    }

    #[test]
    fn every_code_of_the_ledger_is_documented() {
        use AppendCode as Code;
        for code in [
            Code::TooLarge,
            Code::NotCanonical,
            Code::Malformed,
            Code::UnknownKind,
            Code::UnknownVersion,
            Code::BadOpening,
            Code::SeqGap,
            Code::WrongPrev,
            Code::BadSignature,
            Code::Conflict,
            Code::BadStream,
            Code::BadRun,
            Code::RunSealed,
            Code::BadSeal,
            Code::AttachmentMissing,
            Code::LedgerClosed,
            Code::Forbidden,
            Code::Unavailable,
        ] {
            let found = crate::catalogue::PROBLEMS
                .iter()
                .any(|(name, _)| *name == code.as_str());
            assert!(found, "{}", code.as_str());
        }
    }
}
