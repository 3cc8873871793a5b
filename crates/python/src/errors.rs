//! What fails here, as the exceptions of `rlhf_audit_trail.errors`: one tree, written down there.

use client::spool::SpoolError;
use client::{ClientError, Problem};
use ledger::LedgerError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use server::EmbeddedError;
use verify::VerifyError;

/// An exception to be: the name of its class, its text, and where the server refused, how.
#[derive(Debug)]
pub(crate) struct Raise {
    class: &'static str,
    message: String,
    problem: Option<(u16, String)>,
}

impl Raise {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "so that it fits `map_err` with any error"
    )]
    fn new(class: &'static str, message: impl ToString) -> Self {
        Self {
            class,
            message: message.to_string(),
            problem: None,
        }
    }

    /// What was given is not what it has to be.
    pub(crate) fn input(message: impl ToString) -> Self {
        Self::new("InputError", message)
    }

    /// A file of the spool's directory.
    pub(crate) fn disk(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let message = format!("cannot {action} {}: {error}", path.display());
        Self::new("SpoolError", message)
    }

    /// Files that somebody named.
    pub(crate) fn unreadable(error: impl std::error::Error) -> Self {
        Self::new("FileError", error)
    }

    /// A file that somebody named.
    pub(crate) fn file(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let message = format!("cannot {action} {}: {error}", path.display());
        Self::new("FileError", message)
    }

    fn with(mut self, problem: &Problem) -> Self {
        self.problem = Some((problem.status, problem.code.clone()));
        self
    }

    /// An error of a write, in which the records of the call are called by `name`, counted as Python counts.
    pub(crate) fn write(name: &str, error: SpoolError) -> Self {
        match error {
            SpoolError::Record { at, source } => Self::input(format!("{name}[{at}]: {source}")),
            SpoolError::Kind { at, kind, instead } => {
                Self::input(format!("{name}[{at}]: {kind} {instead}"))
            }
            error => error.into(),
        }
    }
}

impl Raise {
    /// An error of a write of one record, which is called by `name`.
    pub(crate) fn write_one(name: &str, error: SpoolError) -> Self {
        match error {
            SpoolError::Record { source, .. } => Self::input(format!("{name}: {source}")),
            SpoolError::Kind { kind, instead, .. } => {
                Self::input(format!("{name}: {kind} {instead}"))
            }
            error => error.into(),
        }
    }
}

impl From<SpoolError> for Raise {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Unavailable(error) | SpoolError::Server(error) => Self::from(*error),
            SpoolError::Refused { ref problem, .. } => {
                Self::new("RefusedError", &error).with(&problem.clone())
            }
            error => Self::new(spool_class(&error), error),
        }
    }
}

fn spool_class(error: &SpoolError) -> &'static str {
    match error {
        SpoolError::Record { .. }
        | SpoolError::Kind { .. }
        | SpoolError::TooLarge { .. }
        | SpoolError::Name { .. } => "InputError",
        SpoolError::Full { .. } => "SpoolFullError",
        SpoolError::Closed { .. } => "ClosedError",
        SpoolError::Timeout { .. } => "FlushTimeoutError",
        SpoolError::Contradiction { .. } => "ContradictionError",
        _ => "SpoolError",
    }
}

impl From<ClientError> for Raise {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Refused(problem) => {
                let class = match problem.status {
                    401 | 403 => "AuthenticationError",
                    404 => "NotFoundError",
                    _ => "RefusedError",
                };
                Self::new(class, &error).with(&problem.clone())
            }
            ClientError::Unavailable { .. } => Self::new("UnavailableError", error),
            ClientError::Url { .. } | ClientError::Record(_) => Self::input(error),
            ClientError::Contradiction { .. } => Self::new("ContradictionError", error),
            _ => Self::new("LedgerError", error),
        }
    }
}

impl From<LedgerError> for Raise {
    fn from(error: LedgerError) -> Self {
        let class = if error.is_in_use() {
            "LockedError"
        } else {
            "LedgerError"
        };
        Self::new(class, error)
    }
}

impl From<EmbeddedError> for Raise {
    fn from(error: EmbeddedError) -> Self {
        match error {
            EmbeddedError::Ledger(error) => error.into(),
            error => Self::new("LedgerError", error),
        }
    }
}

impl From<VerifyError> for Raise {
    fn from(error: VerifyError) -> Self {
        Self::new("VerificationError", error)
    }
}

impl From<Raise> for PyErr {
    fn from(raise: Raise) -> Self {
        Python::attach(|py| raise.exception(py).unwrap_or_else(|error| error))
    }
}

impl Raise {
    fn exception(self, py: Python<'_>) -> PyResult<PyErr> {
        let class = py.import("rlhf_audit_trail.errors")?.getattr(self.class)?;
        let details = PyDict::new(py);
        if let Some((status, code)) = self.problem {
            details.set_item("status", status)?;
            details.set_item("code", code)?;
        }
        let exception = class.call((self.message,), Some(&details))?;
        Ok(PyErr::from_value(exception))
    }
}
