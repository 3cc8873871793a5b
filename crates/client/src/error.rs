//! What can go wrong between a producer and its ledger.

use std::fmt;

use record::WriteError;
use serde::{Deserialize, Serialize};

/// A refusal, as the server words it (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status; 0 where a ledger in this process refused.
    #[serde(default)]
    pub status: u16,
    /// The stable name of the problem.
    #[serde(default)]
    pub code: String,
    /// What was wrong, and what to do.
    #[serde(default)]
    pub detail: String,
    /// The line of the request at fault, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "record {line} of the request: ")?;
        }
        write!(f, "{} ({})", self.detail, self.code)
    }
}

/// Why a call did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The ledger understood and refused. Sending the same again ends the same.
    #[error("{0}")]
    Refused(Problem),
    /// The ledger could not be reached, or was too busy, for as long as the retries lasted. An
    /// append may or may not have been recorded; sending the same bytes again is safe.
    #[error("{what} did not answer: {why}; is the server running there?")]
    Unavailable {
        /// The URL, or what stands for it.
        what: String,
        /// The last attempt's failure.
        why: String,
        /// How long the server asked to be left alone (`Retry-After`).
        asked: Option<std::time::Duration>,
    },
    /// The URL is none that this client can speak to.
    #[error(
        "`{url}` is not the address of a ledger; expected something like http://localhost:8000"
    )]
    Url {
        /// What was given.
        url: String,
    },
    /// The answer is not what a ledger says. Some other server may be listening there.
    #[error("{what} answered something unexpected: {why}; is it a ledger of this version?")]
    Unexpected {
        /// The URL.
        what: String,
        /// What was expected.
        why: String,
    },
    /// A draft that makes no record; nothing was sent.
    #[error(transparent)]
    Record(#[from] WriteError),
    /// The server has shown what cannot both be true. It must not be trusted with anything more.
    #[error("{what}; the evidence is in {}", evidence.display())]
    Contradiction {
        /// Who, and what does not go together.
        what: String,
        /// The directory with what the server signed.
        evidence: std::path::PathBuf,
    },
    /// What is remembered of servers cannot be read or written.
    #[error("cannot remember checkpoints: {}: {source}", path.display())]
    Memory {
        /// The file or directory.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was to be sent could not be read.
    #[error("cannot read what is to be sent: {0}")]
    Upload(#[source] std::io::Error),
    /// A downloaded file could not be written.
    #[error("cannot write the download: {0}")]
    Download(#[source] std::io::Error),
}

impl ClientError {
    /// The refusal, where it is one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }
}
