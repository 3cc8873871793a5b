//! Checkpoints: the signed size and root of a log (<https://c2sp.org/tlog-checkpoint>).
//!
//! This is the text of the note; which signatures it needs is for [`crate::policy`] to say.

use crate::cosignature::{CosignatureError, MlDsa44Signer};
use crate::encoding::decimal;
use crate::hash::{Hash, HashError, empty_root};
use crate::key::Ed25519Signer;
use crate::note::{NoteError, SignedNote};
use crate::tree::TreeSize;
use std::fmt;
use std::str::FromStr;

/// What a log signs: who it is, how large its tree is and what the root is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's identity, the first line.
    pub origin: String,
    /// The number of leaves.
    pub size: TreeSize,
    /// The root of the tree at that size.
    pub root: Hash,
    /// Lines after the third. Nothing vouches for them and ML-DSA-44 does not sign them: logs
    /// should have none, and a reader can say that there are some.
    pub extensions: Vec<String>,
}

/// A text is no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Fewer than three lines, or the last without newline.
    #[error("a checkpoint has at least three lines, each ending in a newline; {seen} are there")]
    Lines {
        /// The number of terminated lines.
        seen: usize,
    },
    /// An empty line, or one with control characters.
    #[error("line {line} of a checkpoint must be non-empty and without control characters")]
    Line {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A size that is no canonical decimal.
    #[error("{seen:?} is no tree size: decimal digits without leading zeros, below 2^64")]
    Size {
        /// The second line.
        seen: String,
    },
    /// A root that is no hash.
    #[error("third line: {0}")]
    Root(#[from] HashError),
    /// Size 0 with the root of another tree.
    #[error("an empty tree has root {expected}, not {seen}")]
    EmptyRoot {
        /// The root in the checkpoint.
        seen: Hash,
        /// SHA-256 of nothing.
        expected: Hash,
    },
}

/// A checkpoint could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The checkpoint itself is malformed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The cosignature cannot be made.
    #[error(transparent)]
    Cosignature(#[from] CosignatureError),
    /// The note cannot hold it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A key of another name signs for the log.
    #[error("key name {seen:?} must be the origin {expected:?}")]
    KeyName {
        /// The key's name.
        seen: String,
        /// The checkpoint's origin.
        expected: String,
    },
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    ///
    /// # Errors
    /// [`CheckpointError::Line`] for an origin that is empty or holds control characters,
    /// [`CheckpointError::EmptyRoot`].
    pub fn new(origin: &str, size: TreeSize, root: Hash) -> Result<Self, CheckpointError> {
        let checkpoint = Self {
            origin: origin.to_owned(),
            size,
            root,
            extensions: Vec::new(),
        };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    /// [`CheckpointError`] for whatever is not as the specification says.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let seen = text.matches('\n').count();
        let lines: Vec<&str> = match text.strip_suffix('\n') {
            Some(lines) => lines.split('\n').collect(),
            None => return Err(CheckpointError::Lines { seen }),
        };
        let [origin, size, root, extensions @ ..] = lines.as_slice() else {
            return Err(CheckpointError::Lines { seen });
        };
        let checkpoint = Self {
            origin: (*origin).to_owned(),
            size: TreeSize(decimal(size).ok_or_else(|| CheckpointError::Size {
                seen: size.chars().take(32).collect(),
            })?),
            root: root.parse()?,
            extensions: extensions.iter().map(|line| (*line).to_owned()).collect(),
        };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    fn check(&self) -> Result<(), CheckpointError> {
        let bad = |line: &str| line.is_empty() || line.contains(|c| c < ' ');
        if bad(&self.origin) {
            return Err(CheckpointError::Line { line: 1 });
        }
        if let Some(at) = self.extensions.iter().position(|line| bad(line)) {
            return Err(CheckpointError::Line { line: at + 4 });
        }
        let expected = empty_root();
        if self.size.0 == 0 && self.root != expected {
            return Err(CheckpointError::EmptyRoot {
                seen: self.root,
                expected,
            });
        }
        Ok(())
    }

    /// Signs as a log does here: with its Ed25519 key (`0x01`) and its ML-DSA-44 key (`0x06`), whose
    /// cosigner name is the origin too. `timestamp` is in POSIX seconds.
    ///
    /// # Errors
    /// [`SignError`]: a key of another name, a timestamp or origin out of range.
    pub fn sign(
        &self,
        ed25519: &Ed25519Signer,
        ml_dsa_44: &MlDsa44Signer,
        timestamp: u64,
    ) -> Result<SignedNote, SignError> {
        self.check()?;
        for key in [ed25519.verifier_key(), ml_dsa_44.verifier_key()] {
            if key.name() != self.origin {
                let (seen, expected) = (key.name().to_owned(), self.origin.clone());
                return Err(SignError::KeyName { seen, expected });
            }
        }
        let text = self.to_string();
        let signatures = vec![ed25519.sign(&text), ml_dsa_44.sign(self, timestamp)?];
        Ok(SignedNote::new(text, signatures)?)
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)?;
        self.extensions
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn reads_the_example_of_the_specification() {
        let checkpoint = Checkpoint::parse(EXAMPLE).unwrap();
        assert_eq!(checkpoint.origin, "example.com/behind-the-sofa");
        assert_eq!(checkpoint.size, TreeSize(20_852_163));
        assert!(checkpoint.extensions.is_empty());
        assert_eq!(checkpoint.to_string(), EXAMPLE);
    }

    #[test]
    fn reports_extension_lines() {
        let text = format!("{EXAMPLE}one\ntwo 2\n");
        let checkpoint = Checkpoint::parse(&text).unwrap();
        assert_eq!(checkpoint.extensions, ["one", "two 2"]);
        assert_eq!(checkpoint.to_string(), text);
    }

    #[test]
    fn refuses_what_is_not_exactly_a_checkpoint() {
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        let empty = empty_root();
        for text in [
            String::new(),
            "\n".into(),
            "a\n1\n".into(),
            format!("a\n1\n{root}"),
            format!("\n1\n{root}\n"),
            format!("a\n01\n{root}\n"),
            format!("a\n+1\n{root}\n"),
            format!("a\n 1\n{root}\n"),
            format!("a\n\n{root}\n"),
            format!("a\n18446744073709551616\n{root}\n"),
            format!("a\n1\n{}\n", &root[..43]),
            format!("a\n1\n{root} \n"),
            format!("a\n1\n{root}\n\n"),
            format!("a\n1\n{root}\nx\n\ny\n"),
            format!("a\n0\n{root}\n"),
            format!("a\r\n1\n{root}\n"),
            format!("a\n1\n{root}\r\n"),
            format!("a\n00\n{empty}\n"),
        ] {
            assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
        }
        assert!(Checkpoint::parse(&format!("a\n0\n{empty}\n")).is_ok());
        assert!(Checkpoint::new("a\nb", TreeSize(0), empty).is_err());
    }
}
