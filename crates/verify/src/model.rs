//! A folder of weights, and the question which record of the log it is: held against the manifests that
//! `model.checkpoint` records name, and against the files that they list.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use record::kinds::ModelCheckpoint;
use record::{Record, Sha256};
use serde::Serialize;
use weights::{Comparison, Contents, Difference, Manifest, ManifestFile, PartChange};

use crate::report::{Check, Failure, KEPT, Named, Report};

/// What a record calls the attachment that is its model's manifest.
const MANIFEST: &str = "manifest";
/// The most bytes of a manifest that is read into memory: some three hundred thousand tensors.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;
/// Differences that the failure itself names; the report has more.
const SAID: usize = 5;

/// A model, to be found among those that the log says were saved.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// What to call it in the report.
    pub name: &'a str,
    /// What it is made of, tensor by tensor.
    pub manifest: &'a Manifest,
}

/// What was found out about a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelReport {
    /// What it was called.
    pub name: String,
    /// How many files it has.
    pub files: u64,
    /// How many tensors, and entries of torch archives.
    pub parts: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many `model.checkpoint` records it was held against.
    pub compared: u64,
    /// How many of them it is, or is a part of.
    pub matches_total: u64,
    /// The first [`KEPT`] of them.
    pub matches: Vec<ModelMatch>,
    /// Where it is none of them: the one with which it has the most bytes in common, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<ModelMatch>,
}

/// A `model.checkpoint` record, and what a model has of what it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelMatch {
    /// The record's log index.
    pub index: u64,
    /// The run it is about.
    pub run: String,
    /// Its stream.
    pub stream: String,
    /// Its place there.
    pub seq: u64,
    /// What it calls the model.
    pub model: String,
    /// The step of training it gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Whether the model was held against its manifest; else against the files that the record itself lists.
    pub by_manifest: bool,
    /// How many bytes are the same.
    pub same_bytes: u64,
    /// Files that the record names and the model has not, as it may have been taken along in part.
    pub missing: Named,
    /// How many differences there are.
    pub differences_total: u64,
    /// The first [`KEPT`] of them.
    pub differences: Vec<ModelDifference>,
}

/// One thing that is not as a record has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelDifference {
    /// The file.
    pub file: String,
    /// The tensor, or the entry of a torch archive; absent where the file as a whole is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// How it differs.
    pub change: ModelChange,
}

/// How a file or a part of it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelChange {
    /// It has other bytes.
    Bytes,
    /// It has another type, shape or size.
    Shape,
    /// It is not there.
    Missing,
    /// It is there and not recorded.
    Surplus,
    /// It has the bytes of another recorded file.
    Renamed,
    /// It has other bytes in its header alone; the tensors are the same.
    Header,
    /// It has other bytes around its entries alone.
    Frame,
}

impl ModelChange {
    /// In words, after the file or part.
    pub fn words(self) -> &'static str {
        match self {
            Self::Bytes => "has other bytes",
            Self::Shape => "has another type, shape or size",
            Self::Missing => "is not there",
            Self::Surplus => "is not recorded",
            Self::Renamed => "has another name than was recorded",
            Self::Header => "has another header around the same tensors",
            Self::Frame => "has other bytes around the same entries",
        }
    }
}

/// A record to compare with.
struct Candidate {
    shown: ModelMatch,
    manifest: Option<Sha256>,
    by_files: Outcome,
}

/// What a comparison came to.
#[derive(Clone, Default)]
struct Outcome {
    matches: bool,
    same_bytes: u64,
    missing: Named,
    differences_total: u64,
    differences: Vec<ModelDifference>,
    /// A file of the model has other bytes than under its name there.
    contradicted: bool,
}

/// The model that was asked about, and all records that may be about it.
pub(crate) struct Models<'a> {
    model: Option<Model<'a>>,
    candidates: Vec<Candidate>,
    /// What became of the manifests that were at hand.
    by_manifest: Mutex<BTreeMap<Sha256, Outcome>>,
}

impl<'a> Models<'a> {
    pub(crate) fn new(model: Option<Model<'a>>) -> Self {
        Self {
            model,
            candidates: Vec::new(),
            by_manifest: Mutex::default(),
        }
    }

    /// Takes records in.
    pub(crate) fn take(&mut self, records: Vec<(u64, Vec<u8>)>) {
        let Some(model) = self.model else { return };
        for (index, bytes) in records {
            // Parsed once already; what cannot be read is a failure elsewhere.
            let candidate = Record::parse(&bytes)
                .ok()
                .and_then(|record| Candidate::of(index, &record, model.manifest));
            self.candidates.extend(candidate);
        }
    }

    /// The manifests that are worth reading.
    pub(crate) fn manifests(&self) -> BTreeSet<Sha256> {
        self.candidates
            .iter()
            .filter_map(|candidate| candidate.manifest)
            .collect()
    }

    /// Compares with a manifest that was read. Bytes that are none say nothing.
    pub(crate) fn manifest(&self, name: Sha256, bytes: &[u8]) {
        let (Some(model), Ok(expected)) = (self.model, Manifest::parse(bytes)) else {
            return;
        };
        let outcome = Outcome::of(&expected.compare(model.manifest), model.manifest);
        let mut known = self
            .by_manifest
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.insert(name, outcome);
    }

    /// Says what the model is.
    pub(crate) fn finish(self, report: &mut Report) {
        let Some(Model { name, manifest }) = self.model else {
            return;
        };
        let by_manifest = self
            .by_manifest
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut answer = ModelReport {
            name: name.to_owned(),
            files: manifest.files().len() as u64,
            parts: manifest.parts(),
            bytes: manifest.bytes(),
            compared: self.candidates.len() as u64,
            matches_total: 0,
            matches: Vec::new(),
            nearest: None,
        };
        for candidate in self.candidates {
            let (matches, shown) = candidate.settle(&by_manifest);
            if matches {
                answer.matches_total += 1;
                if answer.matches.len() < KEPT {
                    answer.matches.push(shown);
                }
            } else if answer
                .nearest
                .as_ref()
                .is_none_or(|nearest| nearest.same_bytes < shown.same_bytes)
            {
                answer.nearest = Some(shown);
            }
        }
        if answer.matches_total > 0 {
            answer.nearest = None;
        } else {
            report.fail(nobodys(&answer));
        }
        report.model = Some(answer);
    }
}

/// The failure that a model of no record is.
fn nobodys(answer: &ModelReport) -> Failure {
    let expected = format!("a model.checkpoint record of the {} files", answer.files);
    let Some(nearest) = &answer.nearest else {
        let found = "no model.checkpoint record at all";
        return Failure::new(Check::Model, expected, found).path(&answer.name);
    };
    let mut found: Vec<_> = nearest
        .differences
        .iter()
        .take(SAID)
        .map(ModelDifference::to_string)
        .collect();
    let more = nearest.differences_total - found.len() as u64;
    if more > 0 {
        found.push(format!("{more} differences more"));
    }
    if found.is_empty() {
        found.push("nothing that holds weights is there".to_owned());
    }
    let found = format!("none; held against the nearest, {}", found.join("; "));
    Failure::new(Check::Model, expected, found)
        .path(&answer.name)
        .at(nearest.index)
        .of(&nearest.run, &nearest.stream)
        .seq(nearest.seq)
}

impl Candidate {
    /// `None` for a record of another kind.
    fn of(index: u64, record: &Record<'_>, model: &Manifest) -> Option<Self> {
        let body: ModelCheckpoint = record.decode().ok()?;
        let run = record
            .named_run()
            .filter(|_| record.scope().run().is_none())
            .map_or_else(|| record.scope().to_string(), |run| run.to_string());
        let files = body.files.into_iter().map(|file| ManifestFile {
            name: file.name,
            bytes: file.bytes,
            sha256: file.sha256,
            contents: Contents::Plain,
        });
        // Names that are no paths can be no model's that is there.
        let by_files = Manifest::new(files.collect())
            .map(|listed| Outcome::of(&listed.compare(model), model))
            .unwrap_or_default();
        let manifest = record
            .attachments()
            .find(|(name, bytes, _)| *name == MANIFEST && *bytes <= MAX_MANIFEST_BYTES)
            .map(|(_, _, sha256)| sha256);
        Some(Self {
            shown: ModelMatch {
                index,
                run,
                stream: record.stream().to_string(),
                seq: record.seq(),
                model: body.name,
                step: body.step,
                by_manifest: false,
                same_bytes: 0,
                missing: Named::default(),
                differences_total: 0,
                differences: Vec::new(),
            },
            manifest,
            by_files,
        })
    }

    fn settle(self, by_manifest: &BTreeMap<Sha256, Outcome>) -> (bool, ModelMatch) {
        let held = self.manifest.and_then(|name| by_manifest.get(&name));
        let outcome = match held {
            // A record lists at most some of its files; those have to be the model's too.
            Some(held) if self.by_files.contradicted && held.matches => Outcome {
                matches: false,
                ..self.by_files.clone()
            },
            Some(held) => held.clone(),
            None => self.by_files.clone(),
        };
        let shown = ModelMatch {
            by_manifest: held.is_some(),
            same_bytes: outcome.same_bytes,
            missing: outcome.missing,
            differences_total: outcome.differences_total,
            differences: outcome.differences,
            ..self.shown
        };
        (outcome.matches, shown)
    }
}

impl Outcome {
    fn of(comparison: &Comparison, model: &Manifest) -> Self {
        let mut outcome = Self {
            same_bytes: comparison.same_bytes,
            contradicted: !comparison.differing.is_empty(),
            ..Self::default()
        };
        for name in &comparison.missing {
            outcome.missing.push(|| name.clone());
        }
        for file in &comparison.differing {
            outcome.inside(&file.name, &file.difference);
        }
        for (_, now) in &comparison.renamed {
            outcome.differs(now, None, ModelChange::Renamed);
        }
        for name in &comparison.surplus {
            outcome.differs(name, None, ModelChange::Surplus);
        }
        // What is there is recorded. Where something is missing, what is left has to hold weights: a configuration is
        // the same beside all of a run's checkpoints.
        let weights = |file: &ManifestFile| file.contents.holds_tensors();
        let part = comparison.is_part() && model.files().iter().any(weights);
        outcome.matches = comparison.is_same() || part;
        outcome
    }

    fn inside(&mut self, file: &str, difference: &Difference) {
        match difference {
            Difference::Bytes { .. } => self.differs(file, None, ModelChange::Bytes),
            Difference::Header => self.differs(file, None, ModelChange::Header),
            Difference::Frame => self.differs(file, None, ModelChange::Frame),
            Difference::Parts(parts) => {
                for part in parts {
                    let change = match part.change {
                        PartChange::Values => ModelChange::Bytes,
                        PartChange::Shape => ModelChange::Shape,
                        PartChange::Missing => ModelChange::Missing,
                        PartChange::Surplus => ModelChange::Surplus,
                    };
                    self.differs(file, Some(&part.name), change);
                }
            }
        }
    }

    fn differs(&mut self, file: &str, part: Option<&str>, change: ModelChange) {
        self.differences_total += 1;
        if self.differences.len() < KEPT {
            self.differences.push(ModelDifference {
                file: file.to_owned(),
                part: part.map(str::to_owned),
                change,
            });
        }
    }
}

impl std::fmt::Display for ModelDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.part {
            Some(part) => write!(f, "{}: {part} {}", self.file, self.change.words()),
            None => write!(f, "{} {}", self.file, self.change.words()),
        }
    }
}
