//! Experiments and runs, found by MLflow's search expressions.

use std::cmp::Ordering;

use axum::Json;
use axum::extract::State as Extracted;
use ledger::{Ledger, Principal, RunInfo};
use serde_json::{Value, json};

use super::book::lock;
use super::error::Refusal;
use super::experiments::{Experiment, id_of, name_or_default};
use super::filter::{Filter, Found, Order, Term};
use super::runs::{millis, run_json, run_name, shown, status_name};
use super::view::View;
use super::wire::{CreateExperiment, ExperimentQuery, Number, Search, SetExperimentTag};
use super::{Asked, Sent, ask, may_open, may_see, tracking};
use crate::auth::Caller;
use crate::state::State;

/// How many an answer holds where nobody says.
const DEFAULT_RESULTS: usize = 1_000;
/// The most runs or experiments in one answer; there is a next page.
const MAX_RESULTS: usize = 1_000;
/// The most runs that one search looks at: each has to be read.
const MAX_SEARCHED: usize = 20_000;

pub(crate) async fn create_experiment(
    Extracted(state): Extracted<State>,
    Caller(_): Caller,
    Sent(wanted): Sent<CreateExperiment>,
) -> Result<Json<Value>, Refusal> {
    let id = ask(&state, move |state| {
        tracking(state)
            .experiments
            .create(state.ledger(), &wanted.name, wanted.tags)
    })
    .await?;
    Ok(Json(json!({ "experiment_id": id })))
}

pub(crate) async fn experiment(
    Extracted(state): Extracted<State>,
    Asked(query): Asked<ExperimentQuery>,
) -> Result<Json<Value>, Refusal> {
    let found = ask(&state, move |state| {
        let (ledger, experiments) = (state.ledger(), &tracking(state).experiments);
        match (&query.experiment_id, &query.experiment_name) {
            (Some(id), _) => experiments.by_id(ledger, id),
            (None, Some(name)) => experiments.by_name(ledger, name),
            (None, None) => Err(Refusal::invalid(
                "expected experiment_id or experiment_name",
            )),
        }
    })
    .await?;
    Ok(Json(json!({ "experiment": experiment_json(&found) })))
}

pub(crate) async fn tag_experiment(
    Extracted(state): Extracted<State>,
    Caller(_): Caller,
    Sent(sent): Sent<SetExperimentTag>,
) -> Result<Json<Value>, Refusal> {
    ask(&state, move |state| {
        let (ledger, experiments) = (state.ledger(), &tracking(state).experiments);
        let experiment = experiments.by_id(ledger, &sent.experiment_id)?;
        if experiment.tags.get(&sent.key) == Some(&sent.value) {
            return Ok(());
        }
        let tag = super::wire::Tag {
            key: sent.key,
            value: sent.value,
        };
        experiments
            .register(ledger, &experiment.name, vec![tag])
            .map(drop)
    })
    .await?;
    Ok(Json(json!({})))
}

pub(crate) async fn experiments_by_query(
    state: Extracted<State>,
    Asked(pairs): Asked<Vec<(String, String)>>,
) -> Result<Json<Value>, Refusal> {
    let one = |name: &str| {
        pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    };
    let search = Search {
        filter: one("filter"),
        order_by: pairs
            .iter()
            .filter(|(key, _)| key == "order_by")
            .map(|(_, it)| it.clone())
            .collect(),
        max_results: one("max_results")
            .and_then(|text| text.parse().ok())
            .map(Number),
        page_token: one("page_token"),
        view_type: one("view_type"),
        ..Search::default()
    };
    experiments(state, Sent(search)).await
}

pub(crate) async fn experiments(
    Extracted(state): Extracted<State>,
    Sent(search): Sent<Search>,
) -> Result<Json<Value>, Refusal> {
    let page = Page::of(&search)?;
    let filter = Filter::parse(search.filter.as_deref().unwrap_or(""))?;
    let orders = orders(&search)?;
    let gone = is_deleted_only(search.view_type.as_deref());
    let mut found = ask(&state, move |state| {
        Ok(tracking(state).experiments.all(state.ledger())?)
    })
    .await?;
    found.retain(|one| !gone && filter.holds(|term| of_experiment(one, term)));
    // The newest first, unless somebody says otherwise.
    found.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    found.sort_by(|a, b| {
        by(
            &orders,
            |term| of_experiment(a, term),
            |term| of_experiment(b, term),
        )
    });
    let (shown, next) = page.cut(&found);
    let experiments: Vec<Value> = shown.iter().map(experiment_json).collect();
    Ok(Json(
        json!({ "experiments": experiments, "next_page_token": next }),
    ))
}

pub(crate) async fn runs(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(search): Sent<Search>,
) -> Result<Json<Value>, Refusal> {
    let answer = ask(&state, move |state| found_runs(state, &principal, &search));
    Ok(Json(answer.await?))
}

fn found_runs(state: &State, principal: &Principal, search: &Search) -> Result<Value, Refusal> {
    let ledger = state.ledger();
    let page = Page::of(search)?;
    let filter = Filter::parse(search.filter.as_deref().unwrap_or(""))?;
    let orders = orders(search)?;
    if is_deleted_only(search.run_view_type.as_deref()) {
        return Ok(json!({ "runs": [] }));
    }
    let mut found = candidates(ledger, principal, &search.experiment_ids)?;
    // The latest first, unless somebody says otherwise.
    found.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| a.id.cmp(&b.id)));
    let of_attributes = filter.is_of_attributes()
        && orders
            .iter()
            .all(|order| matches!(order.term, Term::Attribute(_)));
    let mut keyed: Vec<(RunInfo, Vec<Found>)> = Vec::with_capacity(found.len());
    if !of_attributes && found.len() > MAX_SEARCHED {
        return Err(Refusal::invalid(format!(
            "{} runs would have to be read, at most {MAX_SEARCHED} are in one search; name fewer experiments",
            found.len()
        )));
    }
    for info in found {
        let keys = |view: &View| {
            let find = |term: &Term| of_run(&info, view, principal, term);
            let keys = || orders.iter().map(|order| find(&order.term)).collect();
            filter.holds(find).then(keys)
        };
        let keys = if of_attributes && !names_name(search) {
            keys(&View::default())
        } else {
            with_view(state, &info, |_, view| keys(view))?
        };
        if let Some(keys) = keys {
            keyed.push((info, keys));
        }
    }
    keyed.sort_by(|(_, a), (_, b)| {
        let mut compared = orders
            .iter()
            .zip(a.iter().zip(b))
            .map(|(order, (a, b))| order.compare(a, b));
        compared
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    let (shown, next) = page.cut(&keyed);
    let runs: Vec<Value> = shown
        .iter()
        .map(|(info, _)| with_view(state, info, |info, view| run_json(info, view, principal)))
        .collect::<Result<_, _>>()?;
    Ok(json!({ "runs": runs, "next_page_token": next }))
}

/// A run's name may be another than it started with, which only its records say.
fn names_name(search: &Search) -> bool {
    let mut texts = search.filter.iter().chain(&search.order_by);
    texts.any(|text| text.contains("run_name") || text.contains("end_time"))
}

fn with_view<T>(
    state: &State,
    info: &RunInfo,
    look: impl FnOnce(&RunInfo, &View) -> T,
) -> Result<T, Refusal> {
    let entry = tracking(state).book.entry(info.id)?;
    let mut entry = lock(&entry);
    let info = entry.refresh(state.ledger())?;
    Ok(look(&info, &entry.view))
}

/// The runs of these experiments that the caller may see.
pub(super) fn candidates(
    ledger: &Ledger,
    principal: &Principal,
    experiments: &[String],
) -> Result<Vec<RunInfo>, Refusal> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let runs = ledger.runs(after, 1_000)?;
        let Some(last) = runs.last() else {
            return Ok(found);
        };
        after = Some(last.id);
        for run in runs {
            let id = id_of(name_or_default(run.experiment.as_deref()));
            if experiments.contains(&id) && may_see(principal, &run) {
                // A listing lags behind what is written; what it calls sealed is.
                let is_sealed = run.status.is_some();
                found.push(if is_sealed { run } else { ledger.run(run.id)? });
            }
        }
    }
}

fn of_run(info: &RunInfo, view: &View, principal: &Principal, term: &Term) -> Found {
    let open = may_open(principal, info);
    let text = |text: &super::view::Text| Found::Text(shown(text, open).to_owned());
    match term {
        Term::Metric(name) => view
            .metrics
            .get(name)
            .map_or(Found::Missing, |it| Found::Number(it.value)),
        Term::Param(name) => view.params.get(name).map_or(Found::Missing, text),
        Term::Tag(name) if name == "mlflow.runName" => Found::Text(run_name(info, view)),
        Term::Tag(name) => view.tags.get(name).map_or(Found::Missing, text),
        Term::Attribute(name) => match name.to_lowercase().as_str() {
            "run_id" | "run id" => Found::Text(info.id.to_string()),
            "run_name" | "run name" | "name" => Found::Text(run_name(info, view)),
            "status" => Found::Text(status_name(info).to_owned()),
            "user_id" | "user" => Found::Text(info.principal.clone()),
            "start_time" | "created" => Found::Number(millis(info.started) as f64),
            "end_time" => view
                .ended
                .map_or(Found::Missing, |time| Found::Number(millis(time) as f64)),
            _ => Found::Missing,
        },
    }
}

fn of_experiment(experiment: &Experiment, term: &Term) -> Found {
    match term {
        Term::Tag(name) => experiment
            .tags
            .get(name)
            .map_or(Found::Missing, |it| Found::Text(it.clone())),
        Term::Attribute(name) => match name.as_str() {
            "name" => Found::Text(experiment.name.clone()),
            "experiment_id" => Found::Text(experiment.id.clone()),
            "creation_time" => Found::Number(experiment.created as f64),
            "last_update_time" => Found::Number(experiment.updated as f64),
            _ => Found::Missing,
        },
        _ => Found::Missing,
    }
}

fn experiment_json(experiment: &Experiment) -> Value {
    let tags = experiment.tags.iter();
    let tags: Vec<Value> = tags
        .map(|(key, value)| json!({ "key": key, "value": value }))
        .collect();
    json!({
        "experiment_id": experiment.id,
        "name": experiment.name,
        "artifact_location": format!("mlflow-artifacts:/{}", experiment.id),
        "lifecycle_stage": "active",
        "creation_time": experiment.created,
        "last_update_time": experiment.updated,
        "tags": tags,
    })
}

fn orders(search: &Search) -> Result<Vec<Order>, Refusal> {
    search
        .order_by
        .iter()
        .map(|text| Order::parse(text))
        .collect()
}

fn by(orders: &[Order], a: impl Fn(&Term) -> Found, b: impl Fn(&Term) -> Found) -> Ordering {
    let mut compared = orders
        .iter()
        .map(|order| order.compare(&a(&order.term), &b(&order.term)));
    compared
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Nothing is ever deleted.
fn is_deleted_only(view: Option<&str>) -> bool {
    view.is_some_and(|view| view.eq_ignore_ascii_case("DELETED_ONLY"))
}

/// Where a page begins and how long it is; its token is where the next begins.
struct Page {
    from: usize,
    limit: usize,
}

impl Page {
    fn of(search: &Search) -> Result<Self, Refusal> {
        let token = search
            .page_token
            .as_deref()
            .filter(|token| !token.is_empty());
        let from = token.map_or(Ok(0), str::parse).map_err(|_| {
            Refusal::invalid("page_token: expected the next_page_token of the page before")
        })?;
        let limit = match search.max_results {
            None => DEFAULT_RESULTS,
            Some(Number(wanted)) => usize::try_from(wanted)
                .ok()
                .filter(|wanted| (1..=50_000).contains(wanted))
                .ok_or_else(|| {
                    Refusal::invalid(format!("max_results is {wanted}, expected 1 to 50000"))
                })?,
        };
        Ok(Self {
            from,
            limit: limit.min(MAX_RESULTS),
        })
    }

    fn cut<'a, T>(&self, all: &'a [T]) -> (&'a [T], Option<String>) {
        let rest = all.get(self.from..).unwrap_or(&[]);
        let page = &rest[..rest.len().min(self.limit)];
        let more = rest.len() > page.len();
        (page, more.then(|| (self.from + page.len()).to_string()))
    }
}
