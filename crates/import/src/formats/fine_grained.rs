//! fine-grained-rlhf: a question, four answers, and what one person said of them.
//!
//! A row becomes six `annotation.preference` (pairs 1-2, 1-3, 1-4, 2-3, 2-4, 3-4), then one
//! `annotation.critique` for each error span and each missing piece of information of the first
//! answer, then one `annotation.correction` of that answer. The prompt is the question; the passages
//! that stand beside it are not repeated in each record: `source` says in which row they are.

use record::Draft;
use serde_json::{Value, json};

use super::Place;
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
        drafts.push(error_span(error, path, question, answers[0], place)?);
    }
    for (i, missing) in feedback.array("missing-info")?.iter().enumerate() {
        let path = format!("{}[{i}]", feedback.path("missing-info"));
        drafts.push(missing_information(missing, path, question, answers[0], place)?);
    }
    let corrected = feedback.text("corrected-prediction")?;
    drafts.push(place.draft(
        "annotation.correction",
        "/p1",
        Some(feedback.path("corrected-prediction")),
        json!({}),
        vec![
            ("corrected", corrected.into()),
            ("original", answers[0].into()),
            ("prompt", question.into()),
        ],
    )?);
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
        return Err(Misfit::at(path, EXPECTED, format!("{} values", choices.len())));
    }
    let mut drafts = Vec::with_capacity(PAIRS.len() + 8);
    for (i, (choice, (a, b))) in choices.iter().zip(PAIRS).enumerate() {
        let path = format!("{}[{i}]", row.path("preference"));
        let choice = match choice.as_u64() {
            Some(0) => "no_preference",
            Some(1) => "a",
            Some(2) => "b",
            _ => {
                let expected = "0 (no preference), 1 (the first) or 2 (the second)";
                return Err(Misfit::at(path, expected, found(choice)));
            }
        };
        drafts.push(place.draft(
            "annotation.preference",
            &format!("/p{a}-p{b}"),
            Some(path),
            json!({ "choice": choice }),
            vec![
                ("prompt", question.into()),
                ("response_a", answers[a - 1].into()),
                ("response_b", answers[b - 1].into()),
            ],
        )?);
    }
    Ok(drafts)
}

/// A critique of the part `start..end` (in characters) of the first answer. Where it points is
/// sealed with what it says: lengths help to guess a text.
fn error_span(
    error: &Value,
    path: String,
    question: &str,
    answer: &str,
    place: &Place<'_>,
) -> Result<Draft, Misfit> {
    let fields = Fields::of(error, &path)?;
    let (start, end) = (fields.count("start")?, fields.count("end")?);
    let characters = answer.chars().count() as u64;
    if start > end || end > characters {
        return Err(Misfit::at(
            fields.path("end"),
            format!("an end between start and the answer's {characters} characters"),
            format!("{start}..{end}"),
        ));
    }
    let critique = json!({
        "start": start,
        "end": end,
        "explanation": fields.text("explanation")?,
    });
    of_first_answer(category(&fields)?, critique, path, question, answer, place)
}

/// A critique that names the sentences of the passages which the first answer should have used.
fn missing_information(
    missing: &Value,
    path: String,
    question: &str,
    answer: &str,
    place: &Place<'_>,
) -> Result<Draft, Misfit> {
    let fields = Fields::of(missing, &path)?;
    let sentences = fields.array("sentence_id")?;
    for (i, sentence) in sentences.iter().enumerate() {
        if sentence.as_u64().is_none() {
            let path = format!("{}[{i}]", fields.path("sentence_id"));
            return Err(Misfit::at(path, "a whole number from 0", found(sentence)));
        }
    }
    let critique = json!({ "passage_id": fields.count("passage_id")?, "sentence_id": sentences });
    of_first_answer(category(&fields)?, critique, path, question, answer, place)
}

fn of_first_answer(
    category: String,
    critique: Value,
    path: String,
    question: &str,
    answer: &str,
    place: &Place<'_>,
) -> Result<Draft, Misfit> {
    place.draft(
        "annotation.critique",
        "/p1",
        Some(path),
        json!({ "category": category }),
        vec![("critique", critique), ("prompt", question.into()), ("response", answer.into())],
    )
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
