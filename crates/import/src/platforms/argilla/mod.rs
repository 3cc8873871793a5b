//! Argilla (2.x): the records that its client writes to disk, those of its API, and its webhooks
//! ([reference](https://docs.argilla.io/latest/how_to_guides/webhooks/)).
//!
//! What a payload says of workspaces, data sets and people beyond the id of who responded is not
//! looked at.

mod answers;
mod questions;

use serde_json::Value;

pub use self::questions::Questions;
use super::{Annotation, Event, time, words};
use crate::error::Misfit;
use crate::fields::{Fields, kind_of};

/// What a webhook's payload tells.
///
/// # Errors
/// It is not what Argilla sends.
pub fn event(payload: &Value) -> Result<Event, Misfit> {
    let payload = Fields::of_row(payload)?;
    match payload.text("type")? {
        "response.created" | "response.updated" => {
            let response = payload.object("data")?;
            let record = response.object("record")?;
            let questions = Questions::of(&record.object("dataset")?)?;
            let of = id(&record, "id")?;
            response_of(&response, of, &record, &questions).map(|one| Event::Stands(vec![one]))
        }
        "response.deleted" => {
            let response = payload.object("data")?;
            Ok(Event::Gone(vec![id(&response, "id")?]))
        }
        "record.deleted" => {
            let record = payload.object("data")?;
            Ok(Event::ItemsGone(vec![id(&record, "id")?]))
        }
        _ => Ok(Event::Nothing("not an event of responses")),
    }
}

/// The annotations in one row of an export: a record with everybody's responses.
pub(crate) fn row(
    row: &Value,
    number: u64,
    questions: &Questions,
) -> Result<Vec<Annotation>, Misfit> {
    let record = Fields::of_row(row)?;
    match record.any("responses", "responses by question, or a list of them")? {
        Value::Object(_) => answers::by_person(&record, number, questions),
        Value::Array(list) => {
            let of = id(&record, "id")?;
            let read = |(at, value): (usize, &Value)| {
                let response = Fields::of(value, &format!("responses[{at}]"))?;
                response_of(&response, of.clone(), &record, questions)
            };
            list.iter().enumerate().map(read).collect()
        }
        other => {
            let expected = "an object (from Argilla's client) or a list (from its API)";
            Err(Misfit::at(
                record.path("responses"),
                expected,
                kind_of(other),
            ))
        }
    }
}

/// A response as the API and webhooks have it. Only one that was submitted says anything.
fn response_of(
    response: &Fields<'_>,
    of: String,
    record: &Fields<'_>,
    questions: &Questions,
) -> Result<Annotation, Misfit> {
    let submitted = response.text("status")? == "submitted";
    let judgements = match response.get("values") {
        Some(_) if submitted => {
            let values = response.object("values")?;
            let given = values.names().map(|question| {
                Ok((
                    question,
                    values.object(question)?.any("value", "the answer")?,
                ))
            });
            let given = given.collect::<Result<Vec<_>, Misfit>>()?;
            answers::judgements(&given, &values, record, questions)?
        }
        _ => Vec::new(),
    };
    let person = match response.get("user") {
        Some(_) => Some(id(&response.object("user")?, "id")?),
        None => response
            .get("user_id")
            .map(|_| id(response, "user_id"))
            .transpose()?,
    };
    Ok(Annotation {
        of,
        id: id(response, "id")?,
        annotator: person.map(Value::from),
        at: changed(response)?,
        duration_ms: None,
        judgements,
    })
}

fn changed(response: &Fields<'_>) -> Result<Option<record::Timestamp>, Misfit> {
    let Some(text) = response
        .get("updated_at")
        .or_else(|| response.get("inserted_at"))
    else {
        return Ok(None);
    };
    let misfit = || Misfit::at(response.path("updated_at"), "a time", kind_of(text));
    text.as_str()
        .and_then(time::parse)
        .map(Some)
        .ok_or_else(misfit)
}

/// An id of Argilla's own: a UUID, whose 36 characters say nothing of anybody.
fn id(fields: &Fields<'_>, name: &str) -> Result<String, Misfit> {
    const EXPECTED: &str = "a UUID";
    let text = fields.text(name)?;
    if is_uuid(text) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(Misfit::at(fields.path(name), EXPECTED, "another text"))
    }
}

fn is_uuid(text: &str) -> bool {
    let dashes = [8, 13, 18, 23];
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| {
            if dashes.contains(&at) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}
