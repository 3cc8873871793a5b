//! What all annotations may say besides what they are about.

use pyo3::prelude::*;
use record::kinds::{AnnotatorType, Source};
use record::{Draft, Pseudonym, Subject, Timestamp};
use serde_json::Value;

use crate::columns::{self, Columns, Optional};
use crate::errors::Raise;
use crate::json;
use crate::pseudonyms::Pseudonyms;

/// The columns that every sort of annotation may have.
pub(crate) struct Common {
    annotators: Optional<String>,
    annotator_types: Optional<AnnotatorType>,
    at: Optional<Timestamp>,
    criteria: Optional<String>,
    durations_ms: Optional<u64>,
    items: Optional<String>,
    rationales: Optional<Value>,
    dataset: Option<String>,
    rows: Optional<u64>,
}

/// One row of them.
#[derive(Default)]
pub(crate) struct Row {
    annotator: Option<String>,
    annotator_type: Option<AnnotatorType>,
    pub(crate) at: Option<Timestamp>,
    pub(crate) criterion: Option<String>,
    pub(crate) duration_ms: Option<u64>,
    pub(crate) item: Option<String>,
    rationale: Option<Value>,
    pub(crate) source: Option<Source>,
}

impl Common {
    pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<Self, Raise> {
        let dataset = match columns.scalar("dataset")? {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err(Raise::input("dataset: expected the name of a data set")),
        };
        let rows = columns.optional("rows", |_| false, columns::count)?;
        if dataset.is_none() && matches!(rows, Optional::Each(_)) {
            return Err(Raise::input(
                "rows: expected the name of the data set too (dataset=…), found none",
            ));
        }
        Ok(Self {
            annotators: columns.optional("annotator_ids", columns::is_single, columns::person)?,
            annotator_types: columns.optional(
                "annotator_types",
                columns::is_text,
                annotator_type,
            )?,
            at: columns.optional("at", |value| !is_column(value), time)?,
            criteria: columns.optional("criterion", columns::is_text, columns::text)?,
            durations_ms: columns.optional("durations_ms", columns::is_single, columns::count)?,
            items: columns.optional("items", columns::is_text, columns::text)?,
            rationales: columns.optional("rationales", columns::is_text, columns::content)?,
            dataset,
            rows,
        })
    }

    /// Takes one row.
    pub(crate) fn row(&mut self, row: usize) -> Row {
        let source = (self.rows.take(row))
            .zip(self.dataset.as_ref())
            .map(|(row, dataset)| Source::new(dataset.clone(), row));
        Row {
            annotator: self.annotators.take(row),
            annotator_type: self.annotator_types.take(row),
            at: self.at.take(row),
            criterion: self.criteria.take(row),
            duration_ms: self.durations_ms.take(row),
            item: self.items.take(row),
            rationale: self.rationales.take(row),
            source,
        }
    }
}

/// Who said it, and what else of it is theirs.
pub(crate) struct Who {
    pub(crate) pseudonym: Option<Pseudonym>,
    pub(crate) annotator_type: Option<AnnotatorType>,
    id: Option<String>,
    rationale: Option<Value>,
}

impl Row {
    /// Takes out who said it.
    pub(crate) fn who(&mut self, pseudonyms: &Pseudonyms) -> Result<Who, Raise> {
        let id = self.annotator.take();
        let pseudonym = match &id {
            Some(id) => Some(pseudonyms.of(id)?),
            None => None,
        };
        Ok(Who {
            pseudonym,
            annotator_type: self.annotator_type,
            id,
            rationale: self.rationale.take(),
        })
    }
}

impl Who {
    /// Under whose key goes what they wrote: theirs, or the run's where nobody is named.
    pub(crate) fn subject(&self) -> Subject {
        self.pseudonym.map_or(Subject::Run, Subject::Person)
    }

    /// Seals who they are, and why they said it.
    pub(crate) fn seal(self, mut draft: Draft) -> Draft {
        let subject = self.subject();
        if let Some(id) = self.id {
            draft = draft.seal("annotator_id", &Value::String(id), subject);
        }
        if let Some(rationale) = &self.rationale {
            draft = draft.seal("rationale", rationale, subject);
        }
        draft
    }
}

fn annotator_type(value: &Bound<'_, PyAny>, at: &str) -> Result<AnnotatorType, Raise> {
    const ALL: [AnnotatorType; 6] = [
        AnnotatorType::Human,
        AnnotatorType::Expert,
        AnnotatorType::Crowd,
        AnnotatorType::User,
        AnnotatorType::Model,
        AnnotatorType::Rule,
    ];
    let word = columns::text(value, at)?;
    (ALL.into_iter().find(|known| known.as_str() == word)).ok_or_else(|| {
        let known: Vec<_> = ALL.iter().map(|known| known.as_str()).collect();
        let known = known.join(", ");
        Raise::input(format!(
            "{at}: unknown annotator type {word:?}; expected one of {known}"
        ))
    })
}

fn is_column(value: &Bound<'_, PyAny>) -> bool {
    !columns::is_single(value) && !value.hasattr("timestamp").unwrap_or(false)
}

/// A `datetime`, seconds since 1970, or a text as a record has it.
fn time(value: &Bound<'_, PyAny>, at: &str) -> Result<Timestamp, Raise> {
    const EXPECTED: &str =
        "a time: a datetime, seconds since 1970, or a text like 2026-11-23T08:00:00.123456Z";
    if columns::is_text(value) {
        return Timestamp::parse(&columns::text(value, at)?)
            .ok_or_else(|| json::unexpected(value, at, EXPECTED));
    }
    let seconds = match value.call_method0("timestamp") {
        Ok(seconds) => columns::number(&seconds, at)?,
        Err(_) => columns::number(value, at).map_err(|_| json::unexpected(value, at, EXPECTED))?,
    };
    let micros = (seconds * 1e6).round();
    if micros < Timestamp::MIN.0 as f64 || micros > Timestamp::MAX.0 as f64 {
        return Err(Raise::input(format!(
            "{at}: expected a time in the years 0 to 9999, found {seconds} seconds since 1970"
        )));
    }
    Ok(Timestamp(micros as i64))
}
