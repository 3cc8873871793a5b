//! Reading a policy file, octet by octet as tlog-policy says.

use super::{Definition, Log, Policy, PolicyError, Witness, lossy};
use crate::key::{KeyError, VerifierKey};

/// The longest policy file that is read, in bytes.
pub const MAX_POLICY_BYTES: usize = 1_000_000;

/// The most logs, witnesses and groups each. The specification recommends at least 32.
pub const MAX_DEFINITIONS: usize = 256;

const LOG: &str = "a log line: log <vkey> [<url>]";
const WITNESS: &str = "a witness line: witness <name> <vkey> [<url>]";
const GROUP: &str = "a group line: group <name> all|any|<k> <name>...";
const QUORUM: &str = "a quorum line: quorum <name>";
const LINE: &str = "a log, witness, group, quorum, comment or empty line";

pub(super) fn parse(file: &[u8]) -> Result<Policy, PolicyError> {
    if file.len() > MAX_POLICY_BYTES {
        return Err(PolicyError::TooLong { seen: file.len() });
    }
    let mut builder = Builder::default();
    for line in file.split_inclusive(|octet| *octet == b'\n') {
        builder.line += 1;
        builder.parse_line(line)?;
    }
    match builder.quorums[..] {
        [quorum] => Ok(builder.policy(quorum)),
        _ => Err(PolicyError::QuorumLines {
            seen: builder.quorums.len(),
        }),
    }
}

/// A policy while it is being read.
#[derive(Default)]
pub(super) struct Builder {
    line: usize,
    logs: Vec<Log>,
    definitions: Vec<Definition>,
    groups: usize,
    /// Which definitions are members of a group already.
    members: Vec<usize>,
    quorums: Vec<Option<usize>>,
}

impl Builder {
    pub(super) fn log(&mut self, log: Log) -> Result<(), PolicyError> {
        if self.logs.len() == MAX_DEFINITIONS {
            return Err(PolicyError::TooMany { line: self.line });
        }
        unique(self.logs.iter().map(|log| &log.key), &log.key)?;
        self.logs.push(log);
        Ok(())
    }

    pub(super) fn witness(&mut self, witness: Witness) -> Result<(), PolicyError> {
        let witnesses = || {
            self.definitions
                .iter()
                .filter_map(|definition| match definition {
                    Definition::Witness(witness) => Some(&witness.key),
                    Definition::Group { .. } => None,
                })
        };
        if witnesses().count() == MAX_DEFINITIONS {
            return Err(PolicyError::TooMany { line: self.line });
        }
        let seen = witness.key.signature_type();
        if !seen.is_cosignature() {
            let name = witness.key.name().to_owned();
            return Err(PolicyError::NotAWitnessKey { name, seen });
        }
        unique(witnesses(), &witness.key)?;
        self.free_name(&witness.name)?;
        self.definitions
            .push(Definition::Witness(Box::new(witness)));
        Ok(())
    }

    /// The policy in which all witnesses are required.
    pub(super) fn all(mut self) -> Policy {
        let quorum = match self.definitions.len() {
            0 => None,
            1 => Some(0),
            n => {
                let members = (0..n).collect();
                let name = b"all".to_vec();
                self.definitions.push(Definition::Group {
                    name,
                    threshold: n,
                    members,
                });
                Some(n)
            }
        };
        self.policy(quorum)
    }

    fn policy(self, quorum: Option<usize>) -> Policy {
        Policy {
            logs: self.logs,
            definitions: self.definitions,
            quorum,
        }
    }

    fn parse_line(&mut self, line: &[u8]) -> Result<(), PolicyError> {
        let number = self.line;
        let line = line
            .strip_suffix(b"\n")
            .ok_or(PolicyError::Unterminated { line: number })?;
        let control = |octet: &&u8| (**octet < 0x20 && **octet != b'\t') || **octet == 0x7f;
        if let Some(seen) = line.iter().find(control) {
            return Err(PolicyError::ControlCharacter {
                line: number,
                seen: *seen,
            });
        }
        let items: Vec<&[u8]> = line
            .split(|octet| b" \t".contains(octet))
            .filter(|item| !item.is_empty())
            .collect();
        match items.as_slice() {
            [] => Ok(()),
            [comment, ..] if comment.starts_with(b"#") => Ok(()),
            [b"log", rest @ ..] => self.parse_log(rest),
            [b"witness", rest @ ..] => self.parse_witness(rest),
            [b"group", rest @ ..] => self.parse_group(rest),
            [b"quorum", rest @ ..] => self.parse_quorum(rest),
            _ => Err(PolicyError::Syntax {
                line: number,
                expected: LINE,
            }),
        }
    }

    fn parse_log(&mut self, items: &[&[u8]]) -> Result<(), PolicyError> {
        let (vkey, url) = match items {
            [vkey] => (vkey, None),
            [vkey, url] => (vkey, Some(url.to_vec())),
            _ => {
                return Err(PolicyError::Syntax {
                    line: self.line,
                    expected: LOG,
                });
            }
        };
        let key = self.parse_key(vkey)?;
        self.log(Log { key, url })
    }

    fn parse_witness(&mut self, items: &[&[u8]]) -> Result<(), PolicyError> {
        let (name, vkey, url) = match items {
            [name, vkey] => (name, vkey, None),
            [name, vkey, url] => (name, vkey, Some(url.to_vec())),
            _ => {
                return Err(PolicyError::Syntax {
                    line: self.line,
                    expected: WITNESS,
                });
            }
        };
        let key = self.parse_key(vkey)?;
        self.witness(Witness {
            name: name.to_vec(),
            key,
            url,
        })
    }

    fn parse_group(&mut self, items: &[&[u8]]) -> Result<(), PolicyError> {
        let line = self.line;
        let [name, threshold, names @ ..] = items else {
            return Err(PolicyError::Syntax {
                line,
                expected: GROUP,
            });
        };
        if names.is_empty() {
            return Err(PolicyError::Syntax {
                line,
                expected: GROUP,
            });
        }
        if self.groups == MAX_DEFINITIONS {
            return Err(PolicyError::TooMany { line });
        }
        self.free_name(name)?;
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            let member = self.find(name)?;
            if self.members.contains(&member) {
                return Err(PolicyError::MemberTwice {
                    line,
                    name: lossy(name),
                });
            }
            self.members.push(member);
            members.push(member);
        }
        let threshold = match *threshold {
            b"all" => members.len(),
            b"any" => 1,
            digits => parse_threshold(digits, members.len()).ok_or_else(|| {
                let (seen, members) = (lossy(digits), members.len());
                PolicyError::Threshold {
                    line,
                    seen,
                    members,
                }
            })?,
        };
        self.groups += 1;
        self.definitions.push(Definition::Group {
            name: name.to_vec(),
            threshold,
            members,
        });
        Ok(())
    }

    fn parse_quorum(&mut self, items: &[&[u8]]) -> Result<(), PolicyError> {
        let [name] = items else {
            return Err(PolicyError::Syntax {
                line: self.line,
                expected: QUORUM,
            });
        };
        let quorum = if *name == b"none" {
            None
        } else {
            Some(self.find(name)?)
        };
        self.quorums.push(quorum);
        Ok(())
    }

    fn parse_key(&self, vkey: &[u8]) -> Result<VerifierKey, PolicyError> {
        let key = match std::str::from_utf8(vkey) {
            Ok(vkey) => VerifierKey::parse(vkey),
            // Notes are UTF-8, so no signature could ever carry that name.
            Err(_) => Err(KeyError::Form {
                seen: lossy(vkey).chars().take(80).collect(),
            }),
        };
        key.map_err(|source| PolicyError::Key {
            line: self.line,
            source,
        })
    }

    fn find(&self, name: &[u8]) -> Result<usize, PolicyError> {
        self.definitions
            .iter()
            .position(|definition| definition.name() == name)
            .ok_or_else(|| PolicyError::UnknownName {
                line: self.line,
                name: lossy(name),
            })
    }

    fn free_name(&self, name: &[u8]) -> Result<(), PolicyError> {
        let taken = self
            .definitions
            .iter()
            .any(|definition| definition.name() == name);
        if taken || name == b"none" {
            return Err(PolicyError::DuplicateName {
                line: self.line,
                name: lossy(name),
            });
        }
        Ok(())
    }
}

/// Keys are the same if they wrap the same public key, whatever their name and type; and two keys
/// with one name and id could not be told apart in a note.
fn unique<'a>(
    mut known: impl Iterator<Item = &'a VerifierKey>,
    key: &VerifierKey,
) -> Result<(), PolicyError> {
    let public_key = key.public_key();
    let same = |other: &VerifierKey| {
        other.public_key() == public_key || (other.name() == key.name() && other.id() == key.id())
    };
    if known.any(same) {
        return Err(PolicyError::DuplicateKey {
            name: key.name().to_owned(),
        });
    }
    Ok(())
}

fn parse_threshold(digits: &[u8], members: usize) -> Option<usize> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let threshold = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (1..=members).contains(&threshold).then_some(threshold)
}
