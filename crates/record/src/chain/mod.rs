//! How records follow each other: the rules of a stream ([`StreamState`]), of a run ([`RunState`])
//! and of a whole scope ([`ScopeState`]). The sequencer of a ledger and the verifier use the same
//! code, so that what one accepts the other confirms.
//!
//! Not here: where records lie in the log, who may append (tokens), whether a clock is right.

mod error;
mod own;
mod persist;
mod run;
mod scope;
mod stream;

pub use error::ChainError;
pub use persist::StateError;
pub use run::RunState;
pub use scope::ScopeState;
pub use stream::{Link, StreamState};

use std::fmt::Write as _;

use crate::Hash;
use crate::hash::{PublicKey, SignatureBytes};
use crate::ids::{Scope, StreamName};
use crate::kinds::{RunStatus, StreamEnd};

/// A signature that a record carries and that has not been checked yet: the chain rules hold, the
/// expensive part can be done on another core.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an unchecked signature proves nothing"]
pub struct PendingSignature {
    /// The signed text.
    pub text: String,
    /// The key that must have signed it.
    pub key: PublicKey,
    /// The signature.
    pub signature: SignatureBytes,
}

impl PendingSignature {
    /// Whether the signature is the key's over the text.
    pub fn is_valid(&self) -> bool {
        self.key.verifies(self.text.as_bytes(), &self.signature)
    }
}

/// What `stream.signed` signs, at the place the record itself has in the stream.
pub(crate) fn stream_text(scope: &Scope, stream: &StreamName, seq: u64, prev: &Hash) -> String {
    format!("rlhf-audit-trail/stream/v1\n{scope}\n{stream}\n{seq}\n{prev}\n")
}

/// What `run.sealed` signs, at the place the record itself has in the stream.
pub(crate) fn seal_text(
    scope: &Scope,
    stream: &StreamName,
    seq: u64,
    prev: &Hash,
    status: RunStatus,
    streams: &[StreamEnd],
) -> String {
    let mut text =
        format!("rlhf-audit-trail/seal/v1\n{scope}\n{stream}\n{seq}\n{prev}\n{status}\n");
    for end in streams {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{} {} {}", end.stream, end.seq, end.head);
    }
    text
}

/// Scope and stream, as errors name a stream.
fn full_name(scope: &Scope, stream: &StreamName) -> String {
    format!("{scope}/{stream}")
}
