//! How a command ends: what it found, or why it could not be done. Both become exit codes.

use std::fmt;

/// A command that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done; what was checked is true.
    True,
    /// Checked, and found false.
    False,
}

/// A command that could not be carried out.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    exit_code: u8,
}

impl Failure {
    /// Bad usage or bad input; nothing was changed. Exit code 2.
    pub(crate) fn input(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            hint: None,
            exit_code: 2,
        }
    }

    /// What was relied on was checked on the way, and found false. Exit code 1.
    #[cfg(feature = "full")]
    pub(crate) fn untrue(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            hint: None,
            exit_code: 1,
        }
    }

    /// A server, file, lock or disk that is needed is not available. Exit code 3.
    pub(crate) fn unavailable(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            hint: None,
            exit_code: 3,
        }
    }

    /// Adds what the user can do about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
