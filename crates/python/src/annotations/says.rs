//! What each sort of annotation says, and how that becomes a record.

use pyo3::prelude::*;
use record::kinds::{
    AnnotationCorrection, AnnotationCritique, AnnotationDemonstration, AnnotationPreference,
    AnnotationRanking, AnnotationRating, Choice, Scale,
};
use record::{Body, Draft, Subject};
use serde_json::Value;

use super::common::Row;
use crate::columns::{self, Columns};
use crate::errors::Raise;
use crate::json;
use crate::pseudonyms::Pseudonyms;

/// The sorts of annotations.
#[derive(Clone, Copy)]
pub(crate) enum Sort {
    Preference,
    Rating,
    Ranking,
    Correction,
    Critique,
    Demonstration,
}

/// What one annotation says.
pub(crate) enum Says {
    Preference {
        choice: Choice,
        strength: Option<f64>,
        a: Value,
        b: Value,
    },
    Rating {
        value: f64,
        scale: Option<Scale>,
        response: Value,
    },
    Ranking {
        ranks: Vec<i64>,
        responses: Value,
    },
    Correction {
        corrected: Value,
        original: Option<Value>,
    },
    Critique {
        category: String,
        target: Option<String>,
        critique: Value,
        response: Option<Value>,
    },
    Demonstration {
        response: Value,
    },
}

impl Sort {
    pub(crate) fn parse(name: &str) -> Result<Self, Raise> {
        Ok(match name {
            "preference" => Self::Preference,
            "rating" => Self::Rating,
            "ranking" => Self::Ranking,
            "correction" => Self::Correction,
            "critique" => Self::Critique,
            "demonstration" => Self::Demonstration,
            other => return Err(Raise::input(format!("{other:?} is no sort of annotation"))),
        })
    }

    pub(crate) fn read(self, columns: &mut Columns<'_, '_>) -> Result<Vec<Says>, Raise> {
        match self {
            Self::Preference => preferences(columns),
            Self::Rating => ratings(columns),
            Self::Ranking => rankings(columns),
            Self::Correction => corrections(columns),
            Self::Critique => critiques(columns),
            Self::Demonstration => {
                let responses = columns.required("responses", columns::content)?;
                let say = |response| Says::Demonstration { response };
                Ok(responses.into_iter().map(say).collect())
            }
        }
    }
}

fn preferences(columns: &mut Columns<'_, '_>) -> Result<Vec<Says>, Raise> {
    let a = columns.required("responses_a", columns::content)?;
    let b = columns.required("responses_b", columns::content)?;
    let mut choices = columns.optional("choices", columns::is_text, choice)?;
    let mut strengths = columns.optional("strengths", columns::is_single, columns::number)?;
    (a.into_iter().zip(b).enumerate())
        .map(|(row, (a, b))| {
            let choice = choices.take(row).ok_or_else(|| {
                Raise::input(format!(
                    "choices[{row}]: expected \"a\", \"b\" or \"no_preference\", found nothing"
                ))
            })?;
            Ok(Says::Preference {
                choice,
                strength: strengths.take(row),
                a,
                b,
            })
        })
        .collect()
}

fn choice(value: &Bound<'_, PyAny>, at: &str) -> Result<Choice, Raise> {
    match columns::text(value, at)?.as_str() {
        "a" => Ok(Choice::A),
        "b" => Ok(Choice::B),
        "no_preference" => Ok(Choice::NoPreference),
        other => Err(Raise::input(format!(
            "{at}: expected \"a\", \"b\" or \"no_preference\", found {other:?}"
        ))),
    }
}

fn ratings(columns: &mut Columns<'_, '_>) -> Result<Vec<Says>, Raise> {
    let responses = columns.required("responses", columns::content)?;
    let values = columns.required("ratings", columns::number)?;
    let scale = match columns.scalar("scale")? {
        None => None,
        Some(ends) => Some(self::scale(&ends)?),
    };
    (responses.into_iter().zip(values).enumerate())
        .map(|(row, (response, value))| {
            if let Some(scale) = scale.as_ref().filter(|s| value < s.min || value > s.max) {
                return Err(Raise::input(format!(
                    "ratings[{row}]: expected {} to {}, the ends of the scale, found {value}",
                    scale.min, scale.max
                )));
            }
            Ok(Says::Rating {
                value,
                scale: scale.clone(),
                response,
            })
        })
        .collect()
}

fn scale(ends: &Value) -> Result<Scale, Raise> {
    let end = |at: usize| ends.get(at).and_then(Value::as_f64);
    match (ends.as_array().map(Vec::len), end(0), end(1)) {
        (Some(2), Some(min), Some(max)) if min < max => Ok(Scale::new(min, max)),
        _ => Err(Raise::input(format!(
            "scale: expected (lowest, highest), two numbers, found {ends}"
        ))),
    }
}

fn rankings(columns: &mut Columns<'_, '_>) -> Result<Vec<Says>, Raise> {
    let responses = columns.required("responses", json::value)?;
    let ranks = columns.required("ranks", |given, at| {
        let Value::Array(ranks) = json::value(given, at)? else {
            return Err(json::unexpected(given, at, "a list of ranks"));
        };
        (ranks.iter().enumerate())
            .map(|(i, rank)| {
                rank.as_i64().ok_or_else(|| {
                    Raise::input(format!("{at}[{i}]: expected an integer, found {rank}"))
                })
            })
            .collect::<Result<Vec<_>, _>>()
    })?;
    (responses.into_iter().zip(ranks).enumerate())
        .map(|(row, (responses, ranks))| match responses.as_array() {
            Some(ranked) if ranked.len() == ranks.len() => Ok(Says::Ranking { ranks, responses }),
            Some(ranked) => Err(Raise::input(format!(
                "the lengths differ: responses[{row}] has {}, ranks[{row}] has {}",
                ranked.len(),
                ranks.len()
            ))),
            None => Err(Raise::input(format!(
                "responses[{row}]: expected a list of the ranked responses, found something else"
            ))),
        })
        .collect()
}

fn corrections(columns: &mut Columns<'_, '_>) -> Result<Vec<Says>, Raise> {
    let corrected = columns.required("corrections", columns::content)?;
    let mut originals = columns.optional("responses", |_| false, columns::content)?;
    let say = |(row, corrected)| Says::Correction {
        corrected,
        original: originals.take(row),
    };
    Ok(corrected.into_iter().enumerate().map(say).collect())
}

fn critiques(columns: &mut Columns<'_, '_>) -> Result<Vec<Says>, Raise> {
    let critiques = columns.required("critiques", columns::content)?;
    let mut categories = columns.optional("categories", columns::is_text, columns::text)?;
    let mut targets = columns.optional("targets", columns::is_text, columns::text)?;
    let mut responses = columns.optional("responses", |_| false, columns::content)?;
    let say = |(row, critique)| Says::Critique {
        category: categories.take(row).unwrap_or_else(|| "general".to_owned()),
        target: targets.take(row),
        critique,
        response: responses.take(row),
    };
    Ok(critiques.into_iter().enumerate().map(say).collect())
}

/// Puts what all annotations share into a body.
macro_rules! shared {
    ($body:expr, $row:expr, $who:expr) => {{
        let mut body = $body;
        body.annotator = $who.pseudonym;
        body.annotator_type = $who.annotator_type;
        body.at = $row.at;
        body.criterion = $row.criterion;
        body.duration_ms = $row.duration_ms;
        body.item = $row.item;
        body.source = $row.source;
        body
    }};
}

impl Says {
    /// The record to be. What the annotator wrote is theirs, what they were shown is the run's.
    pub(crate) fn draft(
        self,
        mut row: Row,
        prompt: Option<&Value>,
        pseudonyms: &Pseudonyms,
    ) -> Result<Draft, Raise> {
        let who = row.who(pseudonyms)?;
        let theirs = who.subject();
        let mut draft = match self {
            Self::Preference {
                choice,
                strength,
                a,
                b,
            } => {
                let mut body = shared!(AnnotationPreference::new(choice), row, who);
                body.strength = strength;
                sealing(body, [("response_a", &a), ("response_b", &b)], Subject::Run)
            }
            Self::Rating {
                value,
                scale,
                response,
            } => {
                let mut body = shared!(AnnotationRating::new(value), row, who);
                body.scale = scale;
                sealing(body, [("response", &response)], Subject::Run)
            }
            Self::Ranking { ranks, responses } => {
                let body = shared!(AnnotationRanking::new(ranks), row, who);
                sealing(body, [("responses", &responses)], Subject::Run)
            }
            Self::Correction {
                corrected,
                original,
            } => {
                let body = shared!(AnnotationCorrection::new(), row, who);
                let draft = sealing(body, [("corrected", &corrected)], theirs);
                seal_if(draft, "original", original.as_ref())
            }
            Self::Critique {
                category,
                target,
                critique,
                response,
            } => {
                let mut body = shared!(AnnotationCritique::new(category), row, who);
                body.target = target;
                let draft = sealing(body, [("critique", &critique)], theirs);
                seal_if(draft, "response", response.as_ref())
            }
            Self::Demonstration { response } => {
                let body = shared!(AnnotationDemonstration::new(), row, who);
                sealing(body, [("response", &response)], theirs)
            }
        };
        draft = seal_if(draft, "prompt", prompt);
        Ok(who.seal(draft))
    }
}

fn sealing<const N: usize>(
    body: impl Body,
    values: [(&str, &Value); N],
    subject: Subject,
) -> Draft {
    (values.iter()).fold(Draft::new(body), |draft, (field, value)| {
        draft.seal(field, value, subject)
    })
}

fn seal_if(draft: Draft, field: &str, value: Option<&Value>) -> Draft {
    match value {
        Some(value) => draft.seal(field, value, Subject::Run),
        None => draft,
    }
}
