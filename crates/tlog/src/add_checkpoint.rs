//! What is posted to a witness: the size it is said to know, a consistency proof from there, and the
//! new checkpoint (<https://c2sp.org/tlog-witness>, `add-checkpoint`).
//!
//! The same text keeps as evidence: whoever holds it, and the checkpoint of the old size, can show
//! that a log's two statements do not go together.

use crate::encoding::decimal;
use crate::hash::{Hash, HashError};
use crate::tree::TreeSize;
use std::fmt;

/// The most proof lines a request may have.
pub const MAX_PROOF_LINES: usize = 63;

/// A request to a witness, not yet judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size of the checkpoint that the witness cosigned last, as the sender believes.
    pub old: TreeSize,
    /// The consistency proof from there to the checkpoint.
    pub proof: Vec<Hash>,
    /// The signed note, as it stands.
    pub checkpoint: String,
}

/// A request cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddCheckpointError {
    /// Not UTF-8.
    #[error("the request must be UTF-8, byte {offset} is not")]
    NotUtf8 {
        /// Offset of the first wrong byte.
        offset: usize,
    },
    /// A line that is missing or not what it should be.
    #[error("line {line} of the request must be {expected}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// A proof line that is no hash.
    #[error("line {line} of the request: {source}")]
    Hash {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        source: HashError,
    },
    /// More hashes than any proof has.
    #[error("a consistency proof has at most {MAX_PROOF_LINES} hashes")]
    TooManyHashes,
}

impl AddCheckpoint {
    /// Reads a request's body. The checkpoint in it is read when it is judged.
    ///
    /// # Errors
    /// [`AddCheckpointError`] for whatever is not as the specification says.
    pub fn parse(body: &[u8]) -> Result<Self, AddCheckpointError> {
        const OLD: &str = "old, a space and a decimal without leading zeros";
        const PROOF: &str = "a hash in base64, or empty before the checkpoint";
        let mut rest = std::str::from_utf8(body).map_err(|error| AddCheckpointError::NotUtf8 {
            offset: error.valid_up_to(),
        })?;
        let mut number = 0;
        let mut line = |expected| {
            number += 1;
            let wrong = AddCheckpointError::Line {
                line: number,
                expected,
            };
            let (line, behind) = rest.split_once('\n').ok_or(wrong)?;
            rest = behind;
            Ok((number, line))
        };
        let (_, first) = line(OLD)?;
        let old = first.strip_prefix("old ").and_then(decimal);
        let old = TreeSize(old.ok_or(AddCheckpointError::Line {
            line: 1,
            expected: OLD,
        })?);
        let mut proof = Vec::new();
        loop {
            let (number, text) = line(PROOF)?;
            if text.is_empty() {
                break;
            }
            if proof.len() == MAX_PROOF_LINES {
                return Err(AddCheckpointError::TooManyHashes);
            }
            proof.push(text.parse().map_err(|source| AddCheckpointError::Hash {
                line: number,
                source,
            })?);
        }
        Ok(Self {
            old,
            proof,
            checkpoint: rest.to_owned(),
        })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof
            .iter()
            .try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "old 20852014\n\
        PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
        5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
        \n\
        example.com/behind-the-sofa\n\
        20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
        \n\
        \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

    #[test]
    fn reads_the_example_of_the_specification() {
        let request = AddCheckpoint::parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!(request.old, TreeSize(20_852_014));
        assert_eq!(request.proof.len(), 4);
        assert!(
            request
                .checkpoint
                .starts_with("example.com/behind-the-sofa\n")
        );
        assert_eq!(request.to_string(), EXAMPLE);
    }

    #[test]
    fn refuses_every_other_form() {
        let hash = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";
        for text in [
            String::new(),
            "old 1".into(),
            "old 1\n".into(),
            "old\n\n".into(),
            "old 01\n\n".into(),
            "old +1\n\n".into(),
            "old  1\n\n".into(),
            "old 1 \n\n".into(),
            "old -1\n\n".into(),
            "old 18446744073709551616\n\n".into(),
            "Old 1\n\n".into(),
            "old 1\r\n\n".into(),
            format!("old 1\n{hash}"),
            format!("old 1\n {hash}\n"),
            format!("old 1\n{}\n\n", &hash[..40]),
            format!("old 1\n{}\n", hash.repeat(64)),
        ] {
            assert!(AddCheckpoint::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(AddCheckpoint::parse(b"old 1\n\n\xff").is_err());
        let most = format!("old 1\n{}\n", hash.repeat(63));
        assert!(AddCheckpoint::parse(most.as_bytes()).is_ok());
        assert!(AddCheckpoint::parse(b"old 0\n\n").is_ok());
    }
}
