//! Label Studio (1.x): its exports as JSON and JSON-MIN, and its webhooks
//! ([reference](https://labelstud.io/guide/webhook_reference)).
//!
//! A task is called `t19`, an annotation `a17`, by the numbers that Label Studio gives them. What a
//! payload says of projects, organisations and people beyond the number of who annotated is not
//! looked at.

mod interface;
mod results;

use serde_json::{Value, json};

pub use self::interface::Interface;
use super::{Annotation, Event, time};
use crate::error::Misfit;
use crate::fields::{Fields, found, kind_of};

/// What a webhook's payload tells.
///
/// # Errors
/// It is not what Label Studio sends.
pub fn event(payload: &Value) -> Result<Event, Misfit> {
    let payload = Fields::of_row(payload)?;
    let action = payload.text("action")?;
    match action {
        "ANNOTATION_CREATED" | "ANNOTATION_UPDATED" | "ANNOTATIONS_CREATED" => {
            with_payload(&payload)?;
            let interface = interface(&payload)?;
            stands(&payload, &interface).map(Event::Stands)
        }
        "ANNOTATIONS_DELETED" => {
            let ids = ids(&payload, "annotations", 'a')?;
            Ok(Event::Gone(ids))
        }
        "TASKS_DELETED" => Ok(Event::ItemsGone(ids(&payload, "tasks", 't')?)),
        _ => Ok(Event::Nothing("not an event of annotations")),
    }
}

/// The annotations in one row of an export: a task with all of them, or one of JSON-MIN.
pub(crate) fn row(row: &Value, interface: &Interface) -> Result<Vec<Annotation>, Misfit> {
    let fields = Fields::of_row(row)?;
    if fields.has("annotations") || fields.has("completions") {
        let name = if fields.has("annotations") {
            "annotations"
        } else {
            "completions"
        };
        let data = fields.any("data", "an object")?;
        let task = format!("t{}", fields.count("id")?);
        let annotations = fields.array(name)?.iter().enumerate();
        let read = |(at, value): (usize, &Value)| {
            let annotation = Fields::of(value, &format!("{name}[{at}]"))?;
            annotation_of(&annotation, task.clone(), data, interface)
        };
        annotations.map(read).collect()
    } else if fields.has("annotation_id") {
        minimal(&fields, row, interface).map(|annotation| vec![annotation])
    } else {
        let expected =
            "a task with `annotations` (JSON) or an annotation with `annotation_id` (JSON-MIN)";
        Err(Misfit::row(expected, "neither"))
    }
}

/// The annotations of an event with the tasks beside them: one, or a list of each.
fn stands(payload: &Fields<'_>, interface: &Interface) -> Result<Vec<Annotation>, Misfit> {
    // The list came under either name.
    let name = if payload.has("annotation") {
        "annotation"
    } else {
        "annotations"
    };
    let annotations = payload.any(name, "an annotation")?;
    let tasks = payload.any("task", "the task of the annotation")?;
    let pairs: Vec<(String, &Value, &Value)> = match (annotations, tasks) {
        (Value::Array(annotations), Value::Array(tasks)) if annotations.len() == tasks.len() => {
            let pair = annotations.iter().zip(tasks).enumerate();
            pair.map(|(at, (annotation, task))| (format!("{name}[{at}]"), annotation, task))
                .collect()
        }
        (Value::Array(list), other) => {
            let expected = format!("{} tasks, one for each annotation", list.len());
            return Err(Misfit::at("task", expected, kind_of(other)));
        }
        (annotation, task) => vec![(name.to_owned(), annotation, task)],
    };
    let read = |(path, annotation, task): (String, &Value, &Value)| {
        let task = Fields::of(task, "task")?;
        let annotation = Fields::of(annotation, &path)?;
        let of = format!("t{}", task.count("id")?);
        annotation_of(&annotation, of, task.any("data", "an object")?, interface)
    };
    pairs.into_iter().map(read).collect()
}

fn annotation_of(
    fields: &Fields<'_>,
    of: String,
    data: &Value,
    interface: &Interface,
) -> Result<Annotation, Misfit> {
    let skipped = fields.get("was_cancelled").and_then(Value::as_bool) == Some(true);
    let judgements = if skipped {
        Vec::new()
    } else {
        results::judgements(
            fields.array("result")?,
            &fields.path("result"),
            data,
            interface,
        )?
    };
    Ok(Annotation {
        of,
        id: format!("a{}", fields.count("id")?),
        annotator: person(fields, "completed_by")?,
        at: changed(fields)?,
        duration_ms: duration(fields),
        judgements,
    })
}

/// A row of JSON-MIN: the task's data, and beside it each control's answer under its name.
fn minimal(fields: &Fields<'_>, row: &Value, interface: &Interface) -> Result<Annotation, Misfit> {
    let mut results = Vec::new();
    for (name, control) in interface.controls() {
        let Some(answer) = fields.get(name) else {
            continue;
        };
        let several = answer
            .as_array()
            .map_or(std::slice::from_ref(answer), Vec::as_slice);
        for answer in several {
            let value = match (answer, control.kind.as_str()) {
                (Value::Object(_), _) => answer.clone(),
                (_, "textarea") => json!({ "text": [answer] }),
                _ => json!({ "choices": [answer] }),
            };
            let about = control.about.first();
            results.push(json!({
                "from_name": name, "to_name": about, "type": control.kind, "value": value,
            }));
        }
    }
    if results.is_empty() {
        let expected =
            "an answer under the name of a control of the labeling interface (--settings)";
        return Err(Misfit::row(expected, "none"));
    }
    Ok(Annotation {
        of: format!("t{}", fields.count("id")?),
        id: format!("a{}", fields.count("annotation_id")?),
        annotator: person(fields, "annotator")?,
        at: changed(fields)?,
        duration_ms: duration(fields),
        judgements: results::judgements(&results, "", row, interface)?,
    })
}

/// Without it an event says nothing but its name.
fn with_payload(payload: &Fields<'_>) -> Result<(), Misfit> {
    if payload.has("annotation") || payload.has("annotations") {
        return Ok(());
    }
    let expected = "an annotation; turn on \"Send payload\" for this webhook in Label Studio";
    Err(Misfit::at("annotation", expected, "no such field"))
}

fn interface(payload: &Fields<'_>) -> Result<Interface, Misfit> {
    Interface::parse(payload.object("project")?.text("label_config")?)
}

/// The number of who did it; some exports have an object about the person, of which only that is
/// looked at.
fn person(fields: &Fields<'_>, name: &str) -> Result<Option<Value>, Misfit> {
    let person = match fields.get(name) {
        Some(Value::Object(_)) => Some(fields.object(name)?.any("id", "a number")?),
        person => person,
    };
    match person {
        None => Ok(None),
        Some(id) if id.is_u64() => Ok(Some(id.clone())),
        Some(other) => Err(Misfit::at(
            fields.path(name),
            "the number of a person",
            found(other),
        )),
    }
}

fn changed(fields: &Fields<'_>) -> Result<Option<record::Timestamp>, Misfit> {
    let Some(text) = fields
        .get("updated_at")
        .or_else(|| fields.get("created_at"))
    else {
        return Ok(None);
    };
    let time = text.as_str().and_then(time::parse);
    let misfit = || Misfit::at(fields.path("updated_at"), "a time", kind_of(text));
    time.map(Some).ok_or_else(misfit)
}

/// `lead_time` is in seconds.
fn duration(fields: &Fields<'_>) -> Option<u64> {
    let seconds = fields.get("lead_time")?.as_f64()?;
    let fits = (0.0..=record::MAX_INTEGER as f64 / 1_000.0).contains(&seconds);
    // What is in the range fits, and a fraction of a millisecond is nobody's.
    #[expect(clippy::cast_sign_loss, reason = "it is in the range")]
    fits.then_some((seconds * 1_000.0) as u64)
}

/// The ids of what was deleted.
fn ids(payload: &Fields<'_>, name: &str, letter: char) -> Result<Vec<String>, Misfit> {
    let list = payload.array(name)?.iter().enumerate();
    let id = |(at, value): (usize, &Value)| {
        let fields = Fields::of(value, &format!("{name}[{at}]"))?;
        Ok(format!("{letter}{}", fields.count("id")?))
    };
    list.map(id).collect()
}
