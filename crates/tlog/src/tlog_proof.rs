//! Proofs one can hand over: a leaf's inclusion and the checkpoint that vouches for it, in one text
//! file (<https://c2sp.org/tlog-proof>).
//!
//! The leaf itself is not in it: whoever verifies brings its hash. The extra data is authenticated
//! by nothing.

use crate::encoding::{base64, decimal, from_base64};
use crate::hash::{Hash, HashError};
use crate::policy::{Policy, PolicyError, VerifiedCheckpoint};
use crate::proof::{ProofError, verify_inclusion};
use crate::tree::LeafIndex;
use std::fmt;
use std::str::FromStr;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// The longest inclusion proof of a tree below 2^64 leaves.
const MAX_HASHES: usize = 64;

/// A leaf's inclusion in a log, for verification offline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Data with a meaning for the application. Not authenticated: never trust it by itself.
    pub extra: Option<Vec<u8>>,
    /// Index of the leaf.
    pub index: LeafIndex,
    /// The inclusion proof, from the leaf's sibling to the root's child.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, as the log issued it.
    pub checkpoint: String,
}

/// A proof cannot be read or does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// Not UTF-8.
    #[error("a tlog-proof must be UTF-8, byte {offset} is not")]
    NotUtf8 {
        /// Offset of the first wrong byte.
        offset: usize,
    },
    /// A line that is missing or not what it should be.
    #[error("line {line} of a tlog-proof must be {expected}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// A proof line that is no hash.
    #[error("line {line} of a tlog-proof: {source}")]
    Hash {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        source: HashError,
    },
    /// More hashes than any proof has.
    #[error("an inclusion proof has at most {MAX_HASHES} hashes")]
    TooManyHashes,
    /// The checkpoint does not satisfy the policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The leaf is not in the tree at that index.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl TlogProof {
    /// Reads a proof. The checkpoint in it is read when it is verified.
    ///
    /// # Errors
    /// [`TlogProofError`] for whatever is not as the specification says.
    pub fn parse(bytes: &[u8]) -> Result<Self, TlogProofError> {
        let text = std::str::from_utf8(bytes).map_err(|error| TlogProofError::NotUtf8 {
            offset: error.valid_up_to(),
        })?;
        let mut lines = Lines {
            rest: text,
            number: 0,
        };
        if lines.take(EXPECTED_HEADER)? != HEADER {
            return Err(lines.unexpected(EXPECTED_HEADER));
        }
        let mut line = lines.take(EXPECTED_INDEX)?;
        let mut extra = None;
        if let Some(data) = line.strip_prefix("extra ") {
            let decoded = from_base64(data.as_bytes());
            extra = Some(decoded.ok_or_else(|| lines.unexpected("extra and standard base64"))?);
            line = lines.take(EXPECTED_INDEX)?;
        }
        let index = line.strip_prefix("index ").and_then(decimal);
        let index = LeafIndex(index.ok_or_else(|| lines.unexpected(EXPECTED_INDEX))?);
        let mut hashes = Vec::new();
        loop {
            let line = lines.take("a hash or an empty line")?;
            if line.is_empty() {
                break;
            }
            if hashes.len() == MAX_HASHES {
                return Err(TlogProofError::TooManyHashes);
            }
            hashes.push(line.parse().map_err(|source| TlogProofError::Hash {
                line: lines.number,
                source,
            })?);
        }
        Ok(Self {
            extra,
            index,
            hashes,
            checkpoint: lines.rest.to_owned(),
        })
    }

    /// Checks that the leaf with this hash is in a log that the policy accepts.
    ///
    /// # Errors
    /// [`TlogProofError::Policy`] for the checkpoint, [`TlogProofError::Proof`] for the inclusion.
    pub fn verify(
        &self,
        leaf: &Hash,
        policy: &Policy,
    ) -> Result<VerifiedCheckpoint, TlogProofError> {
        let verified = policy.check(self.checkpoint.as_bytes())?;
        let (size, root) = (verified.checkpoint.size, &verified.checkpoint.root);
        verify_inclusion(self.index, size, leaf, root, &self.hashes)?;
        Ok(verified)
    }
}

const EXPECTED_HEADER: &str = "the header c2sp.org/tlog-proof@v1";
const EXPECTED_INDEX: &str = "index and a decimal without leading zeros";

/// Lines that end in a newline, counted, and what follows them.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    fn take(&mut self, expected: &'static str) -> Result<&'a str, TlogProofError> {
        self.number += 1;
        let (line, rest) = self
            .rest
            .split_once('\n')
            .ok_or_else(|| self.unexpected(expected))?;
        self.rest = rest;
        Ok(line)
    }

    const fn unexpected(&self, expected: &'static str) -> TlogProofError {
        TlogProofError::Line {
            line: self.number,
            expected,
        }
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes
            .iter()
            .try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for TlogProof {
    type Err = TlogProofError;

    fn from_str(text: &str) -> Result<Self, TlogProofError> {
        Self::parse(text.as_bytes())
    }
}
