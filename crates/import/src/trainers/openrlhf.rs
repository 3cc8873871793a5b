//! OpenRLHF: how it calls a reward model over HTTP (`openrlhf/cli/serve_rm.py`, and who calls it).
//!
//! Asked is `{"query": ["…", …], "prompts": […], "labels": […]}`, by older versions `query` alone: prompt and response in
//! one text. Answered is `{"rewards": [0.5, …], "scores": […], "extra_logs": {"name": […]}}`, by older ones `rewards`
//! alone; a call of one query may be answered with bare numbers.

use std::io::Read as _;

use record::Draft;
use record::kinds::RewardScored;
use serde_json::Value;

use super::numbers::{Numbers, number};
use super::sealing::seal;
use super::{Entry, Unreadable, python};
use crate::fields::{Fields, found, kind_of};

/// One body of a call.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// As it was sent.
    pub bytes: &'a [u8],
    /// Its `content-encoding`, where it has one.
    pub encoding: Option<&'a str>,
}

/// The records of one call that was answered: a `reward.scored` for each query. Items are called `<call>/0`, `<call>/1`
/// and so on; no more than `limit_bytes` of a body are unpacked.
///
/// # Errors
/// [`Unreadable`], with whether it is the request or the answer.
pub fn call(
    request: Body<'_>,
    answer: Body<'_>,
    call: &str,
    reward_model: Option<&str>,
    limit_bytes: usize,
) -> Result<Entry, Unreadable> {
    let request = read(request, "the request", limit_bytes)?;
    let asked = Fields::of_row(&request)?;
    let queries = list(asked.any("query", "a list of texts")?);
    let prompts = asked
        .has("prompts")
        .then(|| request.get("prompts").map(list));
    let prompts = prompts
        .flatten()
        .filter(|found| found.len() == queries.len());
    let answer = read(answer, "the answer", limit_bytes)?;
    let answered = Fields::of_row(&answer)?;
    let name = if answered.has("rewards") {
        "rewards"
    } else {
        "scores"
    };
    let rewards = list(answered.any(name, "a list of numbers at `rewards`")?);
    if rewards.len() != queries.len() {
        return Err(Unreadable::new(
            format!("{} rewards, as many as queries", queries.len()),
            format!("{}", rewards.len()),
        ));
    }
    let mut entry = Entry::default();
    for (at, (query, reward)) in queries.iter().zip(rewards).enumerate() {
        let item = format!("{call}/{at}");
        let Some(reward) = number(one(reward)) else {
            let expected = format!("a number at `{name}[{at}]`");
            return Err(Unreadable::new(expected, found(reward)));
        };
        let mut components = components(&answer, at, queries.len());
        if reward.is_finite() {
            let mut body = RewardScored::new(reward);
            body.item = Some(item.clone());
            body.reward_model = reward_model.map(str::to_owned);
            body.components = components.one_part();
            let mut draft = Draft::new(body);
            let prompt = prompts.and_then(|prompts| prompts.get(at));
            let mut aside = Entry::default();
            if let Some(prompt) = prompt.filter(|prompt| !prompt.is_null()) {
                draft = seal(draft, "prompt", prompt, &mut aside, &item);
            }
            draft = seal(
                draft,
                "response",
                &response(query, prompt),
                &mut aside,
                &item,
            );
            entry.drafts.push(draft);
            entry.counts.rewards += 1;
            entry.drafts.extend(aside.drafts);
            entry.counts.add(aside.counts);
        } else {
            let what = format!("the reward of {item} is no finite number");
            entry.incident("reward-not-finite", None, &what);
        }
        components.report(&mut entry, &item);
    }
    Ok(entry)
}

/// What comes after the prompt, where the query begins with it; else the whole query.
fn response(query: &Value, prompt: Option<&Value>) -> Value {
    let response = match (query, prompt) {
        (Value::String(query), Some(Value::String(prompt))) => query.strip_prefix(prompt.as_str()),
        _ => None,
    };
    response.map_or_else(|| query.clone(), Value::from)
}

/// `scores`, and each of `extra_logs`, of one query.
fn components(answer: &Value, at: usize, queries: usize) -> Numbers {
    let mut numbers = Numbers::default();
    let extra = answer.get("extra_logs").and_then(Value::as_object);
    let scores = answer
        .get("scores")
        .filter(|_| answer.get("rewards").is_some());
    let named = scores.map(|scores| ("scores", scores)).into_iter().chain(
        extra
            .into_iter()
            .flatten()
            .map(|(name, values)| (name.as_str(), values)),
    );
    for (name, values) in named {
        let values = list(values);
        if let Some(value) = values.get(at).filter(|_| values.len() == queries) {
            numbers.take(name, one(value));
        }
    }
    numbers
}

/// A list, or the one thing that stands for a list of it.
fn list(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        value => std::slice::from_ref(value),
    }
}

/// A number, also in a list of its own, as a tensor of shape (n, 1) is written.
fn one(value: &Value) -> &Value {
    match value {
        Value::Array(values) if values.len() == 1 => values.first().unwrap_or(value),
        value => value,
    }
}

fn read(body: Body<'_>, what: &str, limit_bytes: usize) -> Result<Value, Unreadable> {
    let mut unpacked = Vec::new();
    let bytes = match body.encoding.map(str::trim) {
        None | Some("" | "identity") => body.bytes,
        Some("gzip" | "x-gzip") => {
            let mut reader = flate2::read::MultiGzDecoder::new(body.bytes).take(limit_bytes as u64);
            reader
                .read_to_end(&mut unpacked)
                .map_err(|_| Unreadable::new(format!("{what} in gzip"), "what does not unpack"))?;
            &unpacked
        }
        Some(_) => {
            let found = "another content-encoding";
            return Err(Unreadable::new(format!("{what} plain or in gzip"), found));
        }
    };
    let value = python::parse(bytes)
        .map_err(|_| Unreadable::new(format!("JSON in {what}"), "something else"))?;
    match value {
        Value::Object(_) => Ok(value),
        other => Err(Unreadable::new(
            format!("a JSON object in {what}"),
            kind_of(&other),
        )),
    }
}
