//! What MLflow 3 calls logged models: a name, and a folder among the files of the run that made it.
//!
//! A model is kept as a tag of its run, whose value says all there is to know of it, sealed as tags
//! are. Its files are files of the run, below `models/<id>`, and make a model checkpoint when the run
//! ends.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State as Extracted;
use ledger::{Principal, RunInfo};
use record::RunId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::batch::{Batch, check_name};
use super::book::lock;
use super::error::Refusal;
use super::experiments::{id_of, name_or_default};
use super::filter::{Filter, Found, Term};
use super::plain;
use super::search::candidates;
use super::view::View;
use super::wire::{Number, Tag};
use super::{Place, Sent, ask, check_own, may_open, run_for, tracking};
use crate::auth::Caller;
use crate::state::State;

/// What the tags of models begin with.
const PREFIX: &str = "mlflow.loggedModel/";
/// The most models of one run.
const MAX_MODELS: usize = 1_000;
/// The most characters that all tags of a model may have together.
const MAX_TAGS_CHARS: usize = 4_000;
const PENDING: &str = "LOGGED_MODEL_PENDING";

/// A model, as its tag has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Model {
    name: String,
    #[serde(
        default,
        rename = "model_type",
        skip_serializing_if = "Option::is_none"
    )]
    kind: Option<String>,
    status: String,
    /// Milliseconds since 1970.
    created: i64,
    updated: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<i64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Create {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    model_type: Option<String>,
    #[serde(default)]
    source_run_id: Option<String>,
    #[serde(default)]
    params: Vec<Tag>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Finalize {
    status: Value,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Texts {
    #[serde(default)]
    tags: Vec<Tag>,
    #[serde(default)]
    params: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Outputs {
    run_id: String,
    #[serde(default)]
    models: Vec<Output>,
}

#[derive(Debug, Deserialize)]
struct Output {
    model_id: String,
    #[serde(default)]
    step: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Search {
    experiment_ids: Vec<String>,
    filter: Option<String>,
}

pub(crate) async fn create(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(wanted): Sent<Create>,
) -> Result<Json<Value>, Refusal> {
    let answer = ask(&state, move |state| {
        let run = wanted
            .source_run_id
            .as_deref()
            .filter(|run| !run.is_empty());
        let run = run.ok_or_else(|| {
            Refusal::not_here(
                "a model belongs to a run here: log it inside `with mlflow.start_run():`",
            )
        })?;
        let info = run_for(state.ledger(), &principal, run)?;
        check_own(&principal, &info)?;
        let name = wanted.name.clone().filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| "model".to_owned());
        check_name("model", &name)?;
        let now = super::runs::millis(state.ledger().clock().now());
        let mut model = Model {
            name,
            kind: wanted.model_type.clone().filter(|kind| !kind.is_empty()),
            status: PENDING.to_owned(),
            created: now,
            updated: now,
            ..Model::default()
        };
        model.tag(&wanted.tags)?;
        let number = std::cell::Cell::new(0);
        tracking(state)
            .book
            .write(state.ledger(), &info, &principal, |view, late| {
                number.set(models(view).count() + 1);
                if number.get() > MAX_MODELS {
                    return Err(Refusal::invalid(format!(
                        "run {} has {MAX_MODELS} models",
                        info.id
                    )));
                }
                let id = model_id(info.id, number.get());
                let params = params_of(&id, &wanted.params, view);
                let tags = vec![model.to_tag(&id)];
                Batch {
                    params,
                    tags,
                    ..Batch::default()
                }
                .drafts(view, late)
            })?;
        show(state, &principal, &info, &model_id(info.id, number.get()))
    });
    Ok(Json(answer.await?))
}

pub(crate) async fn get(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Place(id): Place,
) -> Result<Json<Value>, Refusal> {
    let answer = ask(&state, move |state| {
        let info = run_for(state.ledger(), &principal, &run_of(&id)?)?;
        show(state, &principal, &info, &id)
    });
    Ok(Json(answer.await?))
}

pub(crate) async fn finalize(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Place(id): Place,
    Sent(sent): Sent<Finalize>,
) -> Result<Json<Value>, Refusal> {
    let status = match (sent.status.as_str(), sent.status.as_u64()) {
        (Some("LOGGED_MODEL_READY"), _) | (_, Some(2)) => "LOGGED_MODEL_READY",
        (Some("LOGGED_MODEL_UPLOAD_FAILED"), _) | (_, Some(3)) => "LOGGED_MODEL_UPLOAD_FAILED",
        _ => {
            return Err(Refusal::invalid(
                "status: expected LOGGED_MODEL_READY or LOGGED_MODEL_UPLOAD_FAILED",
            ));
        }
    };
    change(state, principal, id, move |model| {
        status.clone_into(&mut model.status);
        Ok(())
    })
    .await
}

pub(crate) async fn tag(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Place(id): Place,
    Sent(sent): Sent<Texts>,
) -> Result<Json<Value>, Refusal> {
    change(state, principal, id, move |model| model.tag(&sent.tags)).await
}

/// Parameters of a model are its run's, under its id, but for those that the run has just so.
pub(crate) async fn params(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Place(id): Place,
    Sent(sent): Sent<Texts>,
) -> Result<Json<Value>, Refusal> {
    ask(&state, move |state| {
        let info = run_for(state.ledger(), &principal, &run_of(&id)?)?;
        check_own(&principal, &info)?;
        tracking(state)
            .book
            .write(state.ledger(), &info, &principal, |view, late| {
                find(view, &id)?;
                let params = params_of(&id, &sent.params, view);
                Batch {
                    params,
                    ..Batch::default()
                }
                .drafts(view, late)
            })
    })
    .await?;
    Ok(Json(json!({})))
}

/// At which step of the run its models were made.
pub(crate) async fn outputs(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(sent): Sent<Outputs>,
) -> Result<Json<Value>, Refusal> {
    ask(&state, move |state| {
        let info = run_for(state.ledger(), &principal, &sent.run_id)?;
        check_own(&principal, &info)?;
        tracking(state)
            .book
            .write(state.ledger(), &info, &principal, |view, late| {
                let mut tags = Vec::new();
                for output in &sent.models {
                    let mut model = find(view, &output.model_id)?;
                    model.step = Some(output.step.0);
                    tags.push(model.to_tag(&output.model_id));
                }
                Batch {
                    tags,
                    ..Batch::default()
                }
                .drafts(view, late)
            })
    })
    .await?;
    Ok(Json(json!({})))
}

pub(crate) async fn search(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(search): Sent<Search>,
) -> Result<Json<Value>, Refusal> {
    let filter = Filter::parse(search.filter.as_deref().unwrap_or(""))?;
    let answer = ask(&state, move |state| {
        let mut found = Vec::new();
        for info in candidates(state.ledger(), &principal, &search.experiment_ids)? {
            // What a model is called is sealed.
            if !may_open(&principal, &info) {
                continue;
            }
            let entry = tracking(state).book.entry(info.id)?;
            let mut entry = lock(&entry);
            let info = entry.refresh(state.ledger())?;
            for (id, model) in models(&entry.view) {
                if filter.holds(|term| model.value(&info, term)) {
                    found.push((model.created, model_json(&info, &entry.view, id, &model)));
                }
            }
        }
        found.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
        let models: Vec<Value> = found
            .into_iter()
            .map(|(_, model)| model["model"].clone())
            .collect();
        Ok(json!({ "models": models }))
    });
    Ok(Json(answer.await?))
}

/// Changes what is known of a model, and shows it.
async fn change(
    state: State,
    principal: Principal,
    id: String,
    change: impl Fn(&mut Model) -> Result<(), Refusal> + Send + 'static,
) -> Result<Json<Value>, Refusal> {
    let answer = ask(&state, move |state| {
        let info = run_for(state.ledger(), &principal, &run_of(&id)?)?;
        check_own(&principal, &info)?;
        let now = super::runs::millis(state.ledger().clock().now());
        tracking(state)
            .book
            .write(state.ledger(), &info, &principal, |view, late| {
                let known = find(view, &id)?;
                let mut model = known.clone();
                change(&mut model)?;
                if model == known {
                    return Ok(Vec::new());
                }
                model.updated = now;
                Batch {
                    tags: vec![model.to_tag(&id)],
                    ..Batch::default()
                }
                .drafts(view, late)
            })?;
        show(state, &principal, &info, &id)
    });
    Ok(Json(answer.await?))
}

fn show(state: &State, principal: &Principal, info: &RunInfo, id: &str) -> Result<Value, Refusal> {
    let entry = tracking(state).book.entry(info.id)?;
    let mut entry = lock(&entry);
    let info = entry.refresh(state.ledger())?;
    let model = find(&entry.view, id)?;
    if may_open(principal, &info) {
        Ok(model_json(&info, &entry.view, id, &model))
    } else {
        Err(Refusal::forbidden(
            "what is known of a model is sealed: use the token of who logged it, or an admin's",
        ))
    }
}

impl Model {
    fn to_tag(&self, id: &str) -> Tag {
        Tag {
            key: format!("{PREFIX}{id}"),
            // Texts and numbers always serialise.
            value: serde_json::to_string(self).unwrap_or_default(),
        }
    }

    fn tag(&mut self, tags: &[Tag]) -> Result<(), Refusal> {
        for tag in tags.iter().filter(|tag| !plain::is_dropped(&tag.key)) {
            check_name("tag", &tag.key)?;
            self.tags.insert(tag.key.clone(), tag.value.clone());
        }
        let chars = |(key, value): (&String, &String)| key.chars().count() + value.chars().count();
        let chars: usize = self.tags.iter().map(chars).sum();
        if chars <= MAX_TAGS_CHARS {
            return Ok(());
        }
        Err(Refusal::invalid(format!(
            "the tags of a model have {chars} characters, expected at most {MAX_TAGS_CHARS}"
        )))
    }

    fn value(&self, info: &RunInfo, term: &Term) -> Found {
        let text = |text: &str| Found::Text(text.to_owned());
        match term {
            Term::Tag(name) => self
                .tags
                .get(name)
                .map_or(Found::Missing, |value| text(value)),
            Term::Attribute(name) => match name.as_str() {
                "name" => text(&self.name),
                "status" => text(&self.status),
                "source_run_id" => text(info.id.as_str()),
                "model_type" => self.kind.as_deref().map_or(Found::Missing, text),
                "creation_timestamp" | "creation_time" => Found::Number(self.created as f64),
                "last_updated_timestamp" => Found::Number(self.updated as f64),
                _ => Found::Missing,
            },
            _ => Found::Missing,
        }
    }
}

/// The models of a run, with their ids.
fn models(view: &View) -> impl Iterator<Item = (&str, Model)> {
    view.tags.iter().filter_map(|(name, tag)| {
        let id = name.strip_prefix(PREFIX)?;
        Some((id, serde_json::from_str(&tag.text).ok()?))
    })
}

/// Whether a tag of a run is one of its models, not one that a client has set.
pub(super) fn is_model(tag: &str) -> bool {
    tag.starts_with(PREFIX)
}

/// The steps at which a run's models were made, as MLflow has them.
pub(super) fn outputs_json(view: &View) -> Value {
    let outputs: Vec<Value> = models(view)
        .filter_map(|(id, model)| Some(json!({ "model_id": id, "step": model.step? })))
        .collect();
    json!({ "model_outputs": outputs })
}

fn find(view: &View, id: &str) -> Result<Model, Refusal> {
    let tag = view.tags.get(&format!("{PREFIX}{id}"));
    tag.and_then(|tag| serde_json::from_str(&tag.text).ok())
        .ok_or_else(|| {
            Refusal::missing(format!(
                "no model has the id `{}`",
                id.chars().take(64).collect::<String>()
            ))
        })
}

/// `m-`, the run's id in lower case, and the model's number: where it is can be seen from its id.
fn model_id(run: RunId, number: usize) -> String {
    format!("m-{}-{number}", run.as_str().to_ascii_lowercase())
}

fn run_of(id: &str) -> Result<String, Refusal> {
    let run = id
        .strip_prefix("m-")
        .and_then(|rest| rest.split('-').next());
    run.map(str::to_ascii_uppercase)
        .filter(|run| RunId::parse(run).is_some())
        .ok_or_else(|| {
            Refusal::missing(format!(
                "no model has the id `{}`",
                id.chars().take(64).collect::<String>()
            ))
        })
}

fn params_of(id: &str, params: &[Tag], view: &View) -> Vec<Tag> {
    let of_the_run = |param: &&Tag| {
        view.params
            .get(&param.key)
            .is_some_and(|known| known.text == param.value)
    };
    let params = params.iter().filter(|param| !of_the_run(param));
    params
        .map(|Tag { key, value }| Tag {
            key: format!("{id}/{key}"),
            value: value.clone(),
        })
        .collect()
}

fn model_json(info: &RunInfo, view: &View, id: &str, model: &Model) -> Value {
    let experiment = id_of(name_or_default(info.experiment.as_deref()));
    let tags: Vec<Value> = model
        .tags
        .iter()
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect();
    let own = format!("{id}/");
    let params: Vec<Value> = view
        .params
        .iter()
        .filter_map(|(key, text)| {
            let key = key
                .strip_prefix(&own)
                .or_else(|| (!key.starts_with("m-")).then_some(key))?;
            Some(json!({ "key": key, "value": text.text }))
        })
        .collect();
    json!({ "model": {
        "info": {
            "model_id": id,
            "experiment_id": experiment,
            "name": model.name,
            "creation_timestamp_ms": model.created,
            "last_updated_timestamp_ms": model.updated,
            "artifact_uri": format!("mlflow-artifacts:/{experiment}/{}/artifacts/models/{id}", info.id),
            "status": model.status,
            "model_type": model.kind,
            "source_run_id": info.id.as_str(),
            "tags": tags,
        },
        "data": { "params": params },
    } })
}
