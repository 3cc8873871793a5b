//! fine-grained-rlhf: a question, four answers, and what one person said of them.
//!
//! A row becomes six `annotation.preference` (pairs 1-2, 1-3, 1-4, 2-3, 2-4, 3-4), then one
//! `annotation.critique` for each error span and each missing piece of information of the first
//! answer, then one `annotation.correction` of that answer. The prompt is the question; the passages
//! that stand beside it are not repeated in each record: `source` says in which row they are.

use record::{
    Draft,
    kinds::{AnnotationCorrection, AnnotationCritique, AnnotationPreference, Choice},
};
use serde_json::{Value, json};

use super::{Place, sealed};
use crate::{
    error::Misfit,
    fields::{Fields, found},
};

/// Which answers each of the six preferences compares, in the order of the file.
const PAIRS: [(usize, usize); 6] = [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)];

pub(super) fn drafts(row: &Value, place: &Place<'_>) -> Result<Vec<Draft>, Misfit> {
    let row = Fields::of_row(row)?;
    let question = row.text("question")?;
    let answers = [
        row.text("prediction 1")?,
        row.text("prediction 2")?,
        row.text("prediction 3")?,
        row.text("prediction 4")?,
    ];
    let feedback = row.object("feedback")?;
    let mut drafts = preferences(&row, question, &answers, place)?;
    for (i, error) in feedback.array("errors")?.iter().enumerate() {
        let path = format!("{}[{i}]", feedback.path("errors"));
        let critique = error_span(error, &path, answers[0])?;
        drafts.push(critique.draft(question, answers[0], drafts.len(), place)?);
    }
    for (i, missing) in feedback.array("missing-info")?.iter().enumerate() {
        let path = format!("{}[{i}]", feedback.path("missing-info"));
        let critique = missing_information(missing, &path)?;
        drafts.push(critique.draft(question, answers[0], drafts.len(), place)?);
    }
    let corrected = feedback.text("corrected-prediction")?;
    let mut body = AnnotationCorrection::new();
    body.item = Some(place.item("/p1"));
    body.source = Some(place.source(Some(drafts.len())));
    let values = [
        ("corrected", corrected.into()),
        ("original", answers[0].into()),
        ("prompt", question.into()),
    ];
    drafts.push(sealed(body, &values)?);
    Ok(drafts)
}

fn preferences(
    row: &Fields<'_>,
    question: &str,
    answers: &[&str; 4],
    place: &Place<'_>,
) -> Result<Vec<Draft>, Misfit> {
    const EXPECTED: &str = "six numbers, for pairs 1-2, 1-3, 1-4, 2-3, 2-4, 3-4";
    let choices = row.array("preference")?;
    if choices.len() != PAIRS.len() {
        let path = row.path("preference");
        return Err(Misfit::at(
            path,
            EXPECTED,
            format!("{} values", choices.len()),
        ));
    }
    let mut drafts = Vec::with_capacity(PAIRS.len() + 8);
    for (i, (choice, (a, b))) in choices.iter().zip(PAIRS).enumerate() {
        let path = format!("{}[{i}]", row.path("preference"));
        let choice = match choice.as_u64() {
            Some(0) => Choice::NoPreference,
            Some(1) => Choice::A,
            Some(2) => Choice::B,
            _ => {
                let expected = "0 (no preference), 1 (the first) or 2 (the second)";
                return Err(Misfit::at(path, expected, found(choice)));
            }
        };
        let mut body = AnnotationPreference::new(choice);
        body.item = Some(place.item(&format!("/p{a}-p{b}")));
        body.source = Some(place.source(Some(i)));
        let values = [
            ("prompt", question.into()),
            ("response_a", answers[a - 1].into()),
            ("response_b", answers[b - 1].into()),
        ];
        drafts.push(sealed(body, &values)?);
    }
    Ok(drafts)
}

/// What was found in the first answer.
struct Critique {
    category: String,
    /// What it says and where it points, sealed together: lengths help to guess a text.
    says: Value,
}

impl Critique {
    fn draft(
        self,
        question: &str,
        answer: &str,
        part: usize,
        place: &Place<'_>,
    ) -> Result<Draft, Misfit> {
        let mut body = AnnotationCritique::new(self.category);
        body.item = Some(place.item("/p1"));
        body.source = Some(place.source(Some(part)));
        let values = [
            ("critique", self.says),
            ("prompt", question.into()),
            ("response", answer.into()),
        ];
        sealed(body, &values)
    }
}

/// Something wrong with the part `start..end` (in characters) of the first answer.
fn error_span(error: &Value, path: &str, answer: &str) -> Result<Critique, Misfit> {
    let fields = Fields::of(error, path)?;
    let (start, end) = (fields.count("start")?, fields.count("end")?);
    let characters = answer.chars().count() as u64;
    if start > end || end > characters {
        return Err(Misfit::at(
            fields.path("end"),
            format!("an end between start and the answer's {characters} characters"),
            format!("{start}..{end}"),
        ));
    }
    let explanation = fields.text("explanation")?;
    let says = json!({ "start": start, "end": end, "explanation": explanation });
    Ok(Critique {
        category: category(&fields)?,
        says,
    })
}

/// Sentences of the passages which the first answer should have used.
fn missing_information(missing: &Value, path: &str) -> Result<Critique, Misfit> {
    let fields = Fields::of(missing, path)?;
    let sentences = fields.array("sentence_id")?;
    for (i, sentence) in sentences.iter().enumerate() {
        if sentence.as_u64().is_none() {
            let path = format!("{}[{i}]", fields.path("sentence_id"));
            return Err(Misfit::at(path, "a whole number from 0", found(sentence)));
        }
    }
    let says = json!({ "passage_id": fields.count("passage_id")?, "sentence_id": sentences });
    Ok(Critique {
        category: category(&fields)?,
        says,
    })
}

/// `error type` as a category: `Wrong-Grounding` is `wrong-grounding`.
fn category(fields: &Fields<'_>) -> Result<String, Misfit> {
    let name = fields.text("error type")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err(Misfit::at(
            fields.path("error type"),
            "1 to 64 letters, digits and hyphens, such as Wrong-Grounding",
            "another text",
        ));
    }
    Ok(name.to_ascii_lowercase())
}
