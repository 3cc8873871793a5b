//! hh-rlhf: two transcripts of which people chose one.
//!
//! The turns that both begin with are the prompt, a list of messages. What is left of each is its
//! response: a text where it is one turn of the assistant, as in nearly all rows, else again a list
//! of messages. A row becomes one `annotation.preference`, whose `response_a` is the chosen one.

use record::{
    Draft,
    kinds::{AnnotationPreference, Choice},
};
use serde_json::Value;

use super::{Place, messages, sealed};
use crate::{error::Misfit, fields::Fields};

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

pub(super) fn drafts(row: &Value, place: &Place<'_>) -> Result<Vec<Draft>, Misfit> {
    let row = Fields::of_row(row)?;
    let chosen = turns(&row, "chosen")?;
    let rejected = turns(&row, "rejected")?;
    let shared = messages::common(&chosen, &rejected);
    let mut values = vec![
        ("response_a", response(&chosen[shared..])),
        ("response_b", response(&rejected[shared..])),
    ];
    if shared > 0 {
        values.push(("prompt", Value::Array(chosen[..shared].to_vec())));
    }
    let mut body = AnnotationPreference::new(Choice::A);
    body.item = Some(place.item(""));
    body.source = Some(place.source(None));
    Ok(vec![sealed(body, &values)?])
}

/// The turns of a transcript as messages; the one space after a speaker's name is not content.
fn turns(row: &Fields<'_>, name: &str) -> Result<Vec<Value>, Misfit> {
    let transcript = row.text(name)?;
    if !transcript.starts_with(HUMAN) {
        let expected = r"a transcript that begins with \n\nHuman:";
        return Err(Misfit::at(
            row.path(name),
            expected,
            "a text that begins otherwise",
        ));
    }
    let mut turns = Vec::new();
    let mut rest = transcript;
    let mut last = "";
    while !rest.is_empty() {
        let (role, said) = match rest.strip_prefix(HUMAN) {
            Some(said) => ("user", said),
            // Every rest begins with one of the two, as it is cut there.
            None => ("assistant", rest.strip_prefix(ASSISTANT).unwrap_or(rest)),
        };
        let end = [HUMAN, ASSISTANT]
            .iter()
            .filter_map(|mark| said.find(mark))
            .min();
        let end = end.unwrap_or(said.len());
        let content = &said[..end];
        turns.push(messages::message(
            role,
            content.strip_prefix(' ').unwrap_or(content),
        ));
        rest = &said[end..];
        last = role;
    }
    if last != "assistant" {
        let expected = r"a transcript whose last turn is \n\nAssistant:";
        return Err(Misfit::at(
            row.path(name),
            expected,
            r"\n\nHuman: as the last turn",
        ));
    }
    Ok(turns)
}

fn response(turns: &[Value]) -> Value {
    match turns {
        [only] => only["content"].clone(),
        several => Value::Array(several.to_vec()),
    }
}
