//! The data sets that are understood: one module a format, each from a row to its drafts.

use std::{fmt, str::FromStr};

use record::{Body, Draft, SealedValue, Subject, kinds::Source};
use serde_json::Value;

use crate::error::Misfit;
use crate::platforms::argilla::Questions;
use crate::platforms::label_studio::Interface;
use crate::pseudonyms::Pseudonyms;

mod fine_grained;
mod hh;
mod messages;
mod platform;
mod trl;

/// How the rows of a data set are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The long-form question answering feedback of Wu et al. 2023 ([arXiv 2306.01693]): four
    /// answers a question, six comparisons, error spans, missing information, a correction.
    ///
    /// [arXiv 2306.01693]: https://arxiv.org/abs/2306.01693
    FineGrainedRlhf,
    /// The transcripts of Bai et al. 2022 ([arXiv 2204.05862]): `chosen` and `rejected`, turns
    /// beginning with `\n\nHuman:` and `\n\nAssistant:`.
    ///
    /// [arXiv 2204.05862]: https://arxiv.org/abs/2204.05862
    HhRlhf,
    /// The preference types of the TRL library ([dataset formats]): paired with explicit or
    /// implicit prompt, or unpaired with `label`; each as texts or as lists of messages.
    ///
    /// [dataset formats]: https://huggingface.co/docs/trl/dataset_formats
    Trl,
    /// What Label Studio exports as JSON or JSON-MIN; see
    /// [`platforms::label_studio`](crate::platforms::label_studio).
    LabelStudio,
    /// The records that Argilla's client writes, or its API gives; see
    /// [`platforms::argilla`](crate::platforms::argilla).
    Argilla,
}

impl Format {
    /// Every format, as `--format` offers them.
    pub const ALL: [Self; 5] = [
        Self::FineGrainedRlhf,
        Self::HhRlhf,
        Self::Trl,
        Self::LabelStudio,
        Self::Argilla,
    ];

    /// The name by which users call it; also the `format` of `dataset.registered`.
    pub fn name(self) -> &'static str {
        match self {
            Self::FineGrainedRlhf => "fine-grained-rlhf",
            Self::HhRlhf => "hh-rlhf",
            Self::Trl => "trl",
            Self::LabelStudio => "label-studio",
            Self::Argilla => "argilla",
        }
    }

    /// Whether its rows say who annotated.
    pub fn names_annotators(self) -> bool {
        matches!(self, Self::LabelStudio | Self::Argilla)
    }

    /// Reads what a platform knows of its questions: Label Studio's labeling interface (XML), or
    /// Argilla's `settings.json`.
    ///
    /// # Errors
    /// It is not that, or the format has no such thing.
    pub fn settings(self, bytes: &[u8]) -> Result<Settings, Misfit> {
        match self {
            Self::LabelStudio => {
                let xml = std::str::from_utf8(bytes).map_err(|error| {
                    let found = format!(
                        "bytes that are not UTF-8 after byte {}",
                        error.valid_up_to()
                    );
                    Misfit::row("a labeling interface in UTF-8", found)
                })?;
                Interface::parse(xml).map(Settings::LabelStudio)
            }
            Self::Argilla => Questions::parse(bytes).map(Settings::Argilla),
            _ => Err(Misfit::row(
                "no settings: only label-studio and argilla have them",
                "a file of settings",
            )),
        }
    }

    /// The drafts of one row, always in the same order.
    pub(crate) fn drafts(self, row: &Value, place: &Place<'_>) -> Result<Vec<Draft>, Misfit> {
        match self {
            Self::FineGrainedRlhf => fine_grained::drafts(row, place),
            Self::HhRlhf => hh::drafts(row, place),
            Self::Trl => trl::drafts(row, place),
            Self::LabelStudio => platform::label_studio(row, place),
            Self::Argilla => platform::argilla(row, place),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A format that is none of [`Format::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format `{0}`, expected fine-grained-rlhf, hh-rlhf, trl, label-studio or argilla")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// What a platform knows of its questions and its exports do not say.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Settings {
    /// Nothing is known.
    #[default]
    None,
    /// Label Studio's labeling interface.
    LabelStudio(Interface),
    /// The questions of an Argilla data set.
    Argilla(Questions),
}

/// Where a row stands, which its records say, and what is known beside it.
pub(crate) struct Place<'a> {
    pub(crate) dataset: &'a str,
    pub(crate) settings: &'a Settings,
    pub(crate) pseudonyms: &'a Pseudonyms,
    /// From 0.
    pub(crate) row: u64,
}

impl Place<'_> {
    /// The opaque name of what was judged: `/p1-p3` of row 12 is `r12/p1-p3`.
    pub(crate) fn item(&self, within: &str) -> String {
        format!("r{}{within}", self.row)
    }

    /// Where a record is from; `part` counts the drafts of a row that has several.
    pub(crate) fn source(&self, part: Option<usize>) -> Source {
        let mut source = Source::new(self.dataset.to_owned(), self.row);
        source.part = part.map(|part| part as u64);
        source
    }
}

/// A draft with these values sealed, which are the run's: a data set says of nobody who wrote it.
pub(crate) fn sealed<B: Body>(body: B, values: &[(&str, Value)]) -> Result<Draft, Misfit> {
    let mut draft = Draft::new(body);
    for (field, value) in values {
        // The draft would say so only when it is written.
        SealedValue::from_json(value)
            .map_err(|e| Misfit::at(*field, "a value that can be sealed", e.to_string()))?;
        draft = draft.seal(field, value, Subject::Run);
    }
    Ok(draft)
}
