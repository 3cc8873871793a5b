//! Why a timestamp is not taken.

/// A timestamp token that is refused, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// The bytes are no answer of RFC 3161.
    #[error("not a time-stamping authority's answer: expected {0}")]
    Malformed(&'static str),
    /// The authority answered that it will not.
    #[error("the authority refused: status {status}{}{text}", if text.is_empty() { "" } else { ", " })]
    Refused {
        /// `PKIStatus`.
        status: u64,
        /// What it says to that.
        text: String,
    },
    /// It stamps something else.
    #[error("the token stamps SHA-256 {found}, not this checkpoint's {expected}")]
    Imprint {
        /// SHA-256 of the checkpoint's text.
        expected: String,
        /// What is in the token.
        found: String,
    },
    /// It answers another request.
    #[error("the token has nonce {found}, the request had {expected}: it answers another request")]
    Nonce {
        /// The request's.
        expected: String,
        /// The token's.
        found: String,
    },
    /// An algorithm that is not checked here.
    #[error("the token uses algorithm {0}, which is not supported")]
    Algorithm(String),
    /// The token does not hold together.
    #[error("the token was altered: {0}")]
    Altered(&'static str),
    /// The certificate is for something else.
    #[error(
        "the certificate of {authority} is not for time-stamping alone: its critical extended key \
         usage must be that one purpose, and has {found}"
    )]
    Usage {
        /// The certificate's subject.
        authority: String,
        /// What it has instead.
        found: &'static str,
    },
    /// No chain to a trusted root.
    #[error("the certificate of {authority} is not trusted at {time}: {reason}")]
    Chain {
        /// The certificate's subject.
        authority: String,
        /// The time the token states.
        time: String,
        /// What is wrong with the chain.
        reason: String,
    },
    /// The file of roots.
    #[error("not PEM certificates of time-stamping authorities: {reason}")]
    Roots {
        /// What is wrong.
        reason: String,
    },
}
