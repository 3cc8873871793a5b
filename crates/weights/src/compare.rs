//! Two manifests held against each other: what is the same, and what exactly is not.

use std::collections::BTreeMap;
use std::fmt;

use record::Sha256;
use serde::Serialize;

use crate::manifest::{Contents, Manifest, ManifestFile};

/// What a model is, held against what it is expected to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// How many files are the same, byte by byte and by name.
    pub same_files: u64,
    /// How many bytes are known to be the same: those of these files, and of the tensors that are the same in others.
    pub same_bytes: u64,
    /// Files of one name with other bytes, by name.
    pub differing: Vec<FileDifference>,
    /// Files that are expected and not there.
    pub missing: Vec<String>,
    /// Files that are there and not expected.
    pub surplus: Vec<String>,
    /// What is missing under one name and there under another: the expected name, then the found one.
    pub renamed: Vec<(String, String)>,
}

/// A file with other bytes than expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileDifference {
    /// Its name.
    pub name: String,
    /// What differs in it.
    pub difference: Difference,
}

/// How much can be said of where a difference is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Difference {
    /// Somewhere in it: its parts are not known on both sides.
    Bytes {
        /// The bytes it should have.
        expected_bytes: u64,
        /// Those it has.
        found_bytes: u64,
    },
    /// In these parts, and perhaps in what is between them.
    Parts(Vec<PartDifference>),
    /// In none of its tensors: its header says something else (names, metadata).
    Header,
    /// In none of its entries: in what the archive has around them.
    Frame,
}

/// A tensor or an entry that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartDifference {
    /// Its name.
    pub name: String,
    /// How it differs.
    pub change: PartChange,
}

/// How a tensor or an entry differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartChange {
    /// The same type and shape, with other numbers.
    Values,
    /// Another type or shape.
    Shape,
    /// It is not there.
    Missing,
    /// It is there and not expected.
    Surplus,
}

impl Comparison {
    /// Nothing is missing, too much or different.
    pub fn is_same(&self) -> bool {
        self.is_part() && self.missing.is_empty()
    }

    /// All that is there is as expected, though some may be missing.
    pub fn is_part(&self) -> bool {
        self.same_files > 0
            && self.differing.is_empty()
            && self.surplus.is_empty()
            && self.renamed.is_empty()
    }
}

impl Manifest {
    /// Holds `found` against this manifest.
    pub fn compare(&self, found: &Self) -> Comparison {
        let mut comparison = Comparison::default();
        for expected in self.files() {
            match found.file(&expected.name) {
                Some(found) => comparison.file(expected, found),
                None => comparison.missing.push(expected.name.clone()),
            }
        }
        let surplus = found
            .files()
            .iter()
            .filter(|file| self.file(&file.name).is_none());
        comparison.surplus = surplus.map(|file| file.name.clone()).collect();
        comparison.find_renamed(self, found);
        comparison
    }
}

impl Comparison {
    fn file(&mut self, expected: &ManifestFile, found: &ManifestFile) {
        if (expected.bytes, expected.sha256) == (found.bytes, found.sha256) {
            self.same_files += 1;
            self.same_bytes += found.bytes;
            return;
        }
        let difference = match (parts(&expected.contents), parts(&found.contents)) {
            (Some(before), Some(now)) => {
                let same = before
                    .iter()
                    .filter(|(name, part)| now.get(*name) == Some(part));
                self.same_bytes += same.map(|(_, part)| part.bytes).sum::<u64>();
                inside(&expected.contents, &before, &now)
            }
            _ => Difference::Bytes {
                expected_bytes: expected.bytes,
                found_bytes: found.bytes,
            },
        };
        self.differing.push(FileDifference {
            name: expected.name.clone(),
            difference,
        });
    }

    /// Takes what has only another name out of what is missing and what is surplus.
    fn find_renamed(&mut self, expected: &Manifest, found: &Manifest) {
        let mut elsewhere: BTreeMap<Sha256, String> = BTreeMap::new();
        for name in &self.surplus {
            if let Some(file) = found.file(name) {
                elsewhere.entry(file.sha256).or_insert_with(|| name.clone());
            }
        }
        self.missing.retain(|name| {
            let now = expected
                .file(name)
                .and_then(|file| elsewhere.remove(&file.sha256));
            let Some(now) = now else { return true };
            self.surplus.retain(|surplus| *surplus != now);
            self.renamed.push((name.clone(), now));
            false
        });
    }
}

/// A tensor or an entry, for comparing.
#[derive(PartialEq, Eq)]
struct Known<'a> {
    bytes: u64,
    sha256: Sha256,
    tensor: Option<(&'a str, &'a [u64])>,
}

fn parts(contents: &Contents) -> Option<BTreeMap<&str, Known<'_>>> {
    match contents {
        Contents::Plain => None,
        Contents::Safetensors { tensors, .. } => Some(
            tensors
                .as_ref()?
                .iter()
                .map(|tensor| {
                    let known = Known {
                        bytes: tensor.bytes,
                        sha256: tensor.sha256,
                        tensor: Some((&tensor.dtype, &tensor.shape)),
                    };
                    (&*tensor.name, known)
                })
                .collect(),
        ),
        Contents::TorchZip { entries } => Some(
            entries
                .as_ref()?
                .iter()
                .map(|entry| {
                    let known = Known {
                        bytes: entry.bytes,
                        sha256: entry.sha256,
                        tensor: None,
                    };
                    (&*entry.name, known)
                })
                .collect(),
        ),
    }
}

fn inside(
    form: &Contents,
    before: &BTreeMap<&str, Known<'_>>,
    now: &BTreeMap<&str, Known<'_>>,
) -> Difference {
    let mut differing = Vec::new();
    let mut differs = |name: &str, change| {
        differing.push(PartDifference {
            name: name.to_owned(),
            change,
        });
    };
    for (name, part) in before {
        match now.get(name) {
            None => differs(name, PartChange::Missing),
            Some(found) if found == part => {}
            Some(found) if (found.bytes, found.tensor) == (part.bytes, part.tensor) => {
                differs(name, PartChange::Values);
            }
            Some(_) => differs(name, PartChange::Shape),
        }
    }
    for name in now.keys().filter(|name| !before.contains_key(*name)) {
        differs(name, PartChange::Surplus);
    }
    match form {
        _ if !differing.is_empty() => Difference::Parts(differing),
        Contents::Safetensors { .. } => Difference::Header,
        _ => Difference::Frame,
    }
}

impl fmt::Display for PartDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.change {
            PartChange::Values => "has other values",
            PartChange::Shape => "has another type, shape or size",
            PartChange::Missing => "is not there",
            PartChange::Surplus => "is there and not expected",
        };
        write!(f, "{} {how}", self.name.escape_debug())
    }
}
