//! trl: the preference types that the TRL library documents, as texts or as lists of messages.
//!
//! - `prompt`, `chosen`, `rejected`: one `annotation.preference`, `response_a` the chosen one.
//! - `chosen`, `rejected`, both beginning with the prompt: the same, the prompt being what they have
//!   in common (of texts, without a space at its end, which belongs to the responses). So it is also
//!   where the prompt is a text and the responses are messages, as TRL does it.
//! - `prompt`, `completion`, `label`: one `annotation.rating` of 1 or 0 by the criterion `label`.
//!
//! Other columns (`tools`, `images`, scores) are left alone.

use record::{
    Draft,
    kinds::{AnnotationPreference, AnnotationRating, Choice, Scale},
};
use serde_json::Value;

use super::{Place, messages, sealed};
use crate::{
    error::Misfit,
    fields::{Fields, found, kind_of},
};

pub(super) fn drafts(row: &Value, place: &Place<'_>) -> Result<Vec<Draft>, Misfit> {
    let row = Fields::of_row(row)?;
    let unpaired = row.has("completion") || row.has("label");
    let paired = row.has("chosen") || row.has("rejected");
    let draft = match (paired, unpaired) {
        (true, false) => pair(&row, place)?,
        (false, true) => single(&row, place)?,
        (true, true) => {
            let expected = "either chosen and rejected, or completion and label";
            return Err(Misfit::row(expected, "fields of both"));
        }
        (false, false) => {
            let expected = "chosen and rejected, or prompt, completion and label";
            return Err(Misfit::row(expected, "none of them"));
        }
    };
    Ok(vec![draft])
}

fn pair(row: &Fields<'_>, place: &Place<'_>) -> Result<Draft, Misfit> {
    let chosen = Said::read(row, "chosen")?;
    let rejected = Said::read(row, "rejected")?;
    let prompt = if row.has("prompt") {
        Some(Said::read(row, "prompt")?)
    } else {
        None
    };
    let (prompt, a, b) = match (prompt, chosen, rejected) {
        (None | Some(Said::Text(_)), Said::Messages(a), Said::Messages(b)) => {
            let shared = messages::common(a, b);
            (
                list(&a[..shared]),
                Value::from(&a[shared..]),
                Value::from(&b[shared..]),
            )
        }
        (None, Said::Text(a), Said::Text(b)) => {
            let shared = common_text(a, b);
            (text(&a[..shared]), a[shared..].into(), b[shared..].into())
        }
        (Some(Said::Text(prompt)), Said::Text(a), Said::Text(b)) => {
            (Some(prompt.into()), a.into(), b.into())
        }
        (Some(Said::Messages(prompt)), Said::Messages(a), Said::Messages(b)) => {
            (Some(prompt.into()), a.into(), b.into())
        }
        (Some(Said::Messages(_)), Said::Text(_), Said::Text(_)) => {
            return Err(mixed(row, "prompt", "a text, as chosen and rejected are"));
        }
        (_, Said::Text(_), Said::Messages(_)) => {
            return Err(mixed(row, "rejected", "a text, as chosen is"));
        }
        (_, Said::Messages(_), Said::Text(_)) => {
            return Err(mixed(row, "rejected", "a list of messages, as chosen is"));
        }
    };
    let mut values = vec![("response_a", a), ("response_b", b)];
    values.extend(prompt.map(|prompt| ("prompt", prompt)));
    let mut body = AnnotationPreference::new(Choice::A);
    body.item = Some(place.item(""));
    body.source = Some(place.source(None));
    sealed(body, &values)
}

fn single(row: &Fields<'_>, place: &Place<'_>) -> Result<Draft, Misfit> {
    let prompt = Said::read(row, "prompt")?;
    let completion = Said::read(row, "completion")?;
    match (&prompt, &completion) {
        (Said::Text(_), Said::Messages(_)) => {
            return Err(mixed(row, "completion", "a text, as prompt is"));
        }
        (Said::Messages(_), Said::Text(_)) => {
            return Err(mixed(row, "completion", "a list of messages, as prompt is"));
        }
        _ => {}
    }
    let label = row.any("label", "true or false")?;
    let value = match label {
        Value::Bool(good) => f64::from(u8::from(*good)),
        other => return Err(Misfit::at(row.path("label"), "true or false", found(other))),
    };
    let mut body = AnnotationRating::new(value);
    body.scale = Some(Scale::new(0.0, 1.0));
    body.criterion = Some("label".to_owned());
    body.item = Some(place.item(""));
    body.source = Some(place.source(None));
    sealed(
        body,
        &[("prompt", prompt.into()), ("response", completion.into())],
    )
}

/// What a column holds: TRL calls the first form standard, the second conversational.
enum Said<'a> {
    Text(&'a str),
    Messages(&'a [Value]),
}

impl<'a> Said<'a> {
    fn read(row: &Fields<'a>, name: &str) -> Result<Self, Misfit> {
        const EXPECTED: &str = "a text or a list of messages";
        let value = row.any(name, EXPECTED)?;
        match value {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Array(list) => {
                messages::check(value, &row.path(name))?;
                Ok(Self::Messages(list))
            }
            other => Err(Misfit::at(row.path(name), EXPECTED, kind_of(other))),
        }
    }
}

impl From<Said<'_>> for Value {
    fn from(said: Said<'_>) -> Self {
        match said {
            Said::Text(text) => text.into(),
            Said::Messages(list) => list.into(),
        }
    }
}

fn mixed(row: &Fields<'_>, name: &str, expected: &str) -> Misfit {
    let found = if expected.starts_with("a text") {
        "a list of messages"
    } else {
        "a text"
    };
    Misfit::at(row.path(name), expected, found)
}

/// An empty prompt is no prompt.
fn text(prompt: &str) -> Option<Value> {
    (!prompt.is_empty()).then(|| prompt.into())
}

fn list(prompt: &[Value]) -> Option<Value> {
    (!prompt.is_empty()).then(|| prompt.into())
}

/// How many bytes of two texts are the same at their beginning, in whole characters; one space at
/// the end of them is left to what follows.
fn common_text(a: &str, b: &str) -> usize {
    let shared: usize = a
        .chars()
        .zip(b.chars())
        .take_while(|(a, b)| a == b)
        .map(|(character, _)| character.len_utf8())
        .sum();
    if a[..shared].ends_with(' ') {
        shared - 1
    } else {
        shared
    }
}
