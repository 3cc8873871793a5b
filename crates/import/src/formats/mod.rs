//! The data sets that are understood: one module a format, each from a row to its drafts.

use std::{fmt, str::FromStr};

use record::Draft;
use serde_json::{Map, Value, json};

use crate::error::Misfit;

mod fine_grained;
mod hh;
mod messages;
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
}

impl Format {
    /// Every format, as `--format` offers them.
    pub const ALL: [Self; 3] = [Self::FineGrainedRlhf, Self::HhRlhf, Self::Trl];

    /// The name by which users call it; also the `format` of `dataset.registered`.
    pub fn name(self) -> &'static str {
        match self {
            Self::FineGrainedRlhf => "fine-grained-rlhf",
            Self::HhRlhf => "hh-rlhf",
            Self::Trl => "trl",
        }
    }

    /// The drafts of one row, always in the same order.
    pub(crate) fn drafts(self, row: &Value, place: &Place<'_>) -> Result<Vec<Draft>, Misfit> {
        match self {
            Self::FineGrainedRlhf => fine_grained::drafts(row, place),
            Self::HhRlhf => hh::drafts(row, place),
            Self::Trl => trl::drafts(row, place),
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
#[error("unknown format `{0}`, expected fine-grained-rlhf, hh-rlhf or trl")]
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

/// Where a row stands, which its records say.
pub(crate) struct Place<'a> {
    pub(crate) dataset: &'a str,
    /// From 0.
    pub(crate) row: u64,
}

impl Place<'_> {
    /// A draft that says which part of the row it is of: `item` is what was judged (`r12/p1-p3`),
    /// `part` the path in the row where the judgement stands.
    ///
    /// `sealed` must not be an object in itself: `Draft::from_json` would take it for a value with
    /// its subject, so each is wrapped.
    pub(crate) fn draft(
        &self,
        kind: &str,
        item: &str,
        part: Option<String>,
        body: Value,
        sealed: Vec<(&str, Value)>,
    ) -> Result<Draft, Misfit> {
        let mut source = Map::new();
        source.insert("dataset".into(), self.dataset.into());
        source.insert("row".into(), self.row.into());
        if let Some(part) = &part {
            source.insert("part".into(), part.as_str().into());
        }
        let mut body = match body {
            Value::Object(body) => body,
            _ => Map::new(),
        };
        body.insert("item".into(), format!("r{}{item}", self.row).into());
        body.insert("source".into(), Value::Object(source));
        for (field, value) in &sealed {
            let bytes = record::canonical::to_canonical(value).map_or(usize::MAX, |b| b.len());
            if bytes > record::MAX_SEALED_BYTES {
                return Err(Misfit::at(
                    (*field).to_owned(),
                    format!("at most {} bytes of JSON", record::MAX_SEALED_BYTES),
                    format!("{bytes} bytes"),
                ));
            }
        }
        let sealed: Map<String, Value> = sealed
            .into_iter()
            .map(|(field, value)| (field.to_owned(), json!({ "value": value })))
            .collect();
        Draft::from_json(&json!({ "kind": kind, "body": body, "sealed": sealed })).map_err(|e| {
            let misfit = Misfit::row(format!("what makes an {kind} record"), e.to_string());
            Misfit { field: part, ..misfit }
        })
    }
}
