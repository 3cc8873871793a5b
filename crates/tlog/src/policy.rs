//! Trust policies: which logs and which witnesses make a checkpoint acceptable
//! (<https://c2sp.org/tlog-policy>).
//!
//! A policy is a file an auditor is given, or follows from the keys on a command line
//! ([`Policy::from_vkeys`]). [`Policy::check`] is the one place where a checkpoint becomes trusted.
//! Timestamps are reported, not judged: here is no clock.

mod parse;

pub use parse::{MAX_DEFINITIONS, MAX_POLICY_BYTES};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::key::{KeyError, SignatureType, VerifierKey};
use crate::note::{NoteError, SignedNote, VerifiedSignature};
use std::fmt::Write as _;

/// Which checkpoints to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Log>,
    /// Witnesses and groups in the order of their definition; members refer to earlier ones.
    definitions: Vec<Definition>,
    /// Position in `definitions`; `None` is `quorum none`.
    quorum: Option<usize>,
}

/// A log the policy accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its key; the key's name is the log's origin.
    pub key: VerifierKey,
    /// Where to reach it, if the policy says so. Any octets without spaces.
    pub url: Option<Vec<u8>>,
}

/// A witness the policy knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its name within the policy, any octets.
    pub name: Vec<u8>,
    /// Its key.
    pub key: VerifierKey,
    /// Where to reach it, if the policy says so. Any octets without spaces.
    pub url: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Definition {
    Witness(Box<Witness>),
    Group {
        name: Vec<u8>,
        threshold: usize,
        members: Vec<usize>,
    },
}

impl Definition {
    fn name(&self) -> &[u8] {
        match self {
            Self::Witness(witness) => &witness.name,
            Self::Group { name, .. } => name,
        }
    }
}

/// A checkpoint that a policy has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCheckpoint {
    /// The checkpoint. Its extension lines, if any, are vouched for by nobody.
    pub checkpoint: Checkpoint,
    /// Who has signed, in words for people: key name and algorithm.
    pub signed_by: Vec<String>,
    /// Signatures of logs with the checkpoint's origin as their key name.
    pub log_signatures: Vec<VerifiedSignature>,
    /// Cosignatures of witnesses the policy knows, needed for the quorum or not.
    pub witness_signatures: Vec<VerifiedSignature>,
}

/// A policy is malformed, or a checkpoint does not satisfy it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Longer than [`MAX_POLICY_BYTES`].
    #[error("a policy has at most {MAX_POLICY_BYTES} bytes, not {seen}")]
    TooLong {
        /// The number of bytes seen.
        seen: usize,
    },
    /// More logs, witnesses or groups than [`MAX_DEFINITIONS`].
    #[error("line {line}: a policy has at most {MAX_DEFINITIONS} logs, witnesses and groups each")]
    TooMany {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A control character other than tab and newline.
    #[error("line {line} holds octet {seen:#04x}; only tab and newline are allowed as controls")]
    ControlCharacter {
        /// Number of the line, from 1.
        line: usize,
        /// The octet.
        seen: u8,
    },
    /// The last line has no newline: the file may have been cut off.
    #[error("line {line} does not end in a newline; add one, if the file is whole")]
    Unterminated {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A line that is none of those defined.
    #[error("line {line} is not {expected}")]
    Syntax {
        /// Number of the line, from 1.
        line: usize,
        /// What could stand there.
        expected: &'static str,
    },
    /// A key that cannot be read.
    #[error("line {line}: {source}")]
    Key {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        source: KeyError,
    },
    /// A key whose signatures are no cosignatures.
    #[error("witness key {name:?} makes {seen} signatures, a witness cosigns (0x04 or 0x06)")]
    NotAWitnessKey {
        /// The key's name.
        name: String,
        /// Its type.
        seen: SignatureType,
    },
    /// The same key for two logs, or for two witnesses.
    #[error("key {name:?} is listed twice")]
    DuplicateKey {
        /// The key's name.
        name: String,
    },
    /// A name defined twice, or `none` defined.
    #[error("line {line}: name {name:?} is taken")]
    DuplicateName {
        /// Number of the line, from 1.
        line: usize,
        /// The name, as far as it is UTF-8.
        name: String,
    },
    /// A name not defined before.
    #[error("line {line}: no witness or group {name:?} is defined above")]
    UnknownName {
        /// Number of the line, from 1.
        line: usize,
        /// The name, as far as it is UTF-8.
        name: String,
    },
    /// A name in two groups, or twice in one.
    #[error("line {line}: {name:?} is a group member already")]
    MemberTwice {
        /// Number of the line, from 1.
        line: usize,
        /// The name, as far as it is UTF-8.
        name: String,
    },
    /// A threshold that is not within 1 and the number of members.
    #[error("line {line}: threshold {seen} is not within 1 to {members}")]
    Threshold {
        /// Number of the line, from 1.
        line: usize,
        /// The threshold as written.
        seen: String,
        /// The number of members.
        members: usize,
    },
    /// No quorum line, or a second one.
    #[error("a policy has exactly one quorum line, not {seen}")]
    QuorumLines {
        /// The number of lines seen.
        seen: usize,
    },
    /// No key at all was given.
    #[error("a policy of keys needs at least one key")]
    NoKeys,
    /// The note is malformed, or a signature of a known key is wrong.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint is of a log the policy does not list.
    #[error("the checkpoint is of log {seen:?}, the policy lists {expected:?}")]
    UnknownOrigin {
        /// The checkpoint's origin.
        seen: String,
        /// Names of the policy's logs.
        expected: Vec<String>,
    },
    /// None of the listed keys of that log has signed.
    #[error("no listed key of log {origin:?} has signed; signatures are by {seen:?}")]
    NotSignedByLog {
        /// The checkpoint's origin.
        origin: String,
        /// Names and ids on the signature lines.
        seen: Vec<String>,
    },
    /// Too few witnesses.
    #[error("quorum {quorum:?} is not reached: {signed:?} have cosigned, {missing:?} have not")]
    Quorum {
        /// Name of the witness or group required, as far as it is UTF-8.
        quorum: String,
        /// Names of the witnesses that have cosigned.
        signed: Vec<String>,
        /// Names of the witnesses that have not.
        missing: Vec<String>,
    },
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// [`PolicyError`], naming the line.
    pub fn parse(file: &[u8]) -> Result<Self, PolicyError> {
        parse::parse(file)
    }

    /// The policy "all of these keys".
    ///
    /// Each Ed25519 key (`0x01`) is a log to accept; each cosigner key (`0x04`, `0x06`) must have
    /// cosigned. Without an Ed25519 key, an ML-DSA-44 key (`0x06`) stands for the log too: its name
    /// must be the origin.
    ///
    /// # Errors
    /// [`PolicyError::NoKeys`], [`PolicyError::DuplicateKey`]; [`PolicyError::NotAWitnessKey`] if
    /// none of the keys can be a log's.
    pub fn from_vkeys(keys: &[VerifierKey]) -> Result<Self, PolicyError> {
        let plain = |key: &&VerifierKey| key.signature_type() == SignatureType::Ed25519;
        let pq = |key: &&VerifierKey| key.signature_type() == SignatureType::MlDsa44Cosignature;
        let logs: Vec<&VerifierKey> = match keys.iter().filter(plain).collect::<Vec<_>>() {
            none if none.is_empty() => keys.iter().filter(pq).collect(),
            logs => logs,
        };
        if logs.is_empty() {
            return Err(PolicyError::NoKeys);
        }
        let mut builder = parse::Builder::default();
        for key in logs {
            builder.log(Log {
                key: key.clone(),
                url: None,
            })?;
        }
        for (key, number) in keys.iter().filter(|key| !plain(key)).zip(1..) {
            let name = format!("key-{number}").into_bytes();
            builder.witness(Witness {
                name,
                key: key.clone(),
                url: None,
            })?;
        }
        Ok(builder.all())
    }

    /// The logs, in the order of the file.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The witnesses, in the order of the file.
    pub fn witnesses(&self) -> impl Iterator<Item = &Witness> {
        self.definitions
            .iter()
            .filter_map(|definition| match definition {
                Definition::Witness(witness) => Some(&**witness),
                Definition::Group { .. } => None,
            })
    }

    /// Whether any witness is required.
    pub const fn requires_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// The keys of this name, of logs and of witnesses: all that a log of this origin signs with.
    pub fn keys_named(&self, name: &str) -> impl Iterator<Item = &VerifierKey> {
        let logs = self.logs.iter().map(|log| &log.key);
        logs.chain(self.witnesses().map(|witness| &witness.key))
            .filter(move |key| key.name() == name)
    }

    /// The same policy with other keys in the place of some; everything else stays as it is.
    #[must_use]
    pub fn with_keys(&self, other: impl Fn(&VerifierKey) -> Option<VerifierKey>) -> Self {
        let mut policy = self.clone();
        for log in &mut policy.logs {
            log.key = other(&log.key).unwrap_or_else(|| log.key.clone());
        }
        for definition in &mut policy.definitions {
            if let Definition::Witness(witness) = definition {
                witness.key = other(&witness.key).unwrap_or_else(|| witness.key.clone());
            }
        }
        policy
    }

    /// Accepts a signed checkpoint, or says why not.
    ///
    /// Every signature by a key of the policy is checked, and one wrong signature condemns the
    /// note. Signatures of other keys are ignored. A key whose name is the origin must be among the
    /// logs and have signed, and the quorum must be reached.
    ///
    /// # Errors
    /// [`PolicyError`]: a malformed note or checkpoint, a wrong signature, a log unknown or without
    /// signature, a quorum not reached.
    pub fn check(&self, note: &[u8]) -> Result<VerifiedCheckpoint, PolicyError> {
        let note = SignedNote::parse(note)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        let log_signatures = self.check_logs(&note, &checkpoint)?;
        let witness_signatures = self.check_quorum(&note)?;

        let mut signed_by = Vec::new();
        for signature in log_signatures.iter().chain(&witness_signatures) {
            let signer = format!(
                "{} ({})",
                signature.key.name(),
                signature.key.signature_type()
            );
            if !signed_by.contains(&signer) {
                signed_by.push(signer);
            }
        }
        Ok(VerifiedCheckpoint {
            checkpoint,
            signed_by,
            log_signatures,
            witness_signatures,
        })
    }

    /// As [`Policy::check`], but no quorum is asked for: what the log itself says, as far as the
    /// policy's keys have signed it. For whoever keeps a log to its own word, as a witness does.
    ///
    /// # Errors
    /// As [`Policy::check`], but [`PolicyError::Quorum`].
    pub fn check_log(&self, note: &[u8]) -> Result<VerifiedCheckpoint, PolicyError> {
        let unasked = Self {
            quorum: None,
            ..self.clone()
        };
        unasked.check(note)
    }

    /// The keys of the log of this origin: its `log` lines, and cosigners that go by its name.
    pub fn keys_of(&self, origin: &str) -> Vec<&VerifierKey> {
        let logs = self.logs.iter().map(|log| &log.key);
        let cosigners = self.witnesses().map(|witness| &witness.key);
        logs.chain(cosigners)
            .filter(|key| key.name() == origin)
            .collect()
    }

    /// This policy, for the log with this key where it lists none (the specification lets a policy
    /// leave the log to the context).
    #[must_use]
    pub fn or_log(mut self, key: &VerifierKey) -> Self {
        if self.logs.is_empty() {
            self.logs.push(Log {
                key: key.clone(),
                url: None,
            });
        }
        self
    }

    fn check_logs(
        &self,
        note: &SignedNote,
        checkpoint: &Checkpoint,
    ) -> Result<Vec<VerifiedSignature>, PolicyError> {
        let origin = &checkpoint.origin;
        if !self.logs.iter().any(|log| log.key.name() == origin) {
            let expected = self
                .logs
                .iter()
                .map(|log| log.key.name().to_owned())
                .collect();
            return Err(PolicyError::UnknownOrigin {
                seen: origin.clone(),
                expected,
            });
        }
        let mut signatures = Vec::new();
        for log in &self.logs {
            // Another log's signature must hold too, but says nothing about this log.
            let signature = note.verify_by(&log.key)?;
            signatures.extend(signature.filter(|_| log.key.name() == origin));
        }
        if signatures.is_empty() {
            let seen = note.claimed();
            return Err(PolicyError::NotSignedByLog {
                origin: origin.clone(),
                seen,
            });
        }
        Ok(signatures)
    }

    fn check_quorum(&self, note: &SignedNote) -> Result<Vec<VerifiedSignature>, PolicyError> {
        let mut signatures = Vec::new();
        let mut signed = Vec::new();
        let mut missing = Vec::new();
        // Members are defined before their groups, so one pass in order settles all.
        let mut reached: Vec<bool> = Vec::with_capacity(self.definitions.len());
        for definition in &self.definitions {
            let holds = match definition {
                Definition::Witness(witness) => {
                    let signature = note.verify_by(&witness.key)?;
                    let name = lossy(&witness.name);
                    if signature.is_some() {
                        &mut signed
                    } else {
                        &mut missing
                    }
                    .push(name);
                    let holds = signature.is_some();
                    signatures.extend(signature);
                    holds
                }
                Definition::Group {
                    threshold, members, ..
                } => members.iter().filter(|member| reached[**member]).count() >= *threshold,
            };
            reached.push(holds);
        }
        match self.quorum {
            Some(at) if !reached[at] => {
                let quorum = lossy(self.definitions[at].name());
                Err(PolicyError::Quorum {
                    quorum,
                    signed,
                    missing,
                })
            }
            _ => Ok(signatures),
        }
    }
}

/// The policy file of a log that signs with Ed25519 and cosigns with ML-DSA-44, and has no
/// witnesses: both of its keys are required.
pub fn ledger_policy(ed25519: &VerifierKey, ml_dsa_44: &VerifierKey) -> String {
    let mut file = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(file, "log {ed25519}");
    let _ = writeln!(file, "witness log-ml-dsa-44 {ml_dsa_44}");
    let _ = writeln!(file, "quorum log-ml-dsa-44");
    file
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
