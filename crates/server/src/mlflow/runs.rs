//! Runs: created, logged to, ended, read back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State as Extracted;
use ledger::{Ledger, LedgerError, Principal, RunInfo};
use record::kinds::{RunStarted, RunStatus};
use record::{Clock, Draft, Entropy, Kind, PublicKey, Record, RunId, Scope, Timestamp};
use serde_json::{Value, json};

use super::batch::{Batch, check_millis, check_name};
use super::book::lock;
use super::checkpoints;
use super::error::Refusal;
use super::experiments::{id_of, name_or_default};
use super::view::{Text, View, points_of};
use super::wire::{
    CreateRun, LogBatch, LogInputs, LogMetric, LogModel, LogText, RunQuery, Tag, UpdateRun, float,
};
use super::{Asked, Sent, ask, check_own, may_open, models, run_for, tracking, unanswered};
use crate::auth::Caller;
use crate::own::published;
use crate::owned;
use crate::state::State;

/// The tag in which clients keep a run's name.
const RUN_NAME: &str = "mlflow.runName";
/// The tag in which MLflow 2 keeps what it said of models.
const MODEL_HISTORY: &str = "mlflow.log-model.history";
/// What stands for a value that its reader may not see.
const SEALED: &str = "(sealed)";
/// The most points of a metric in one answer; MLflow's own limit.
const MAX_POINTS: usize = 25_000;
/// How long after a start of the server a client may still send again what it had sent before: its
/// last try comes some minutes after the first.
const RETRIES_LAST: Duration = Duration::from_mins(15);

/// Runs whose start is on its way to a client, or was when the client went: the same request again
/// means one of the latter.
#[derive(Debug, Default)]
pub(crate) struct Unanswered(HashMap<RunId, (Start, Arc<Client>)>);

/// Whether whoever asked is still there.
#[derive(Debug)]
struct Client {
    gone: AtomicBool,
    since: Instant,
}

/// Dropped with the request, if that is dropped before it is answered.
struct Asking(Arc<Client>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Relaxed);
    }
}

/// What a client asks for when it starts a run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Start {
    principal: String,
    experiment: String,
    /// Where the client says one.
    name: Option<String>,
    started: Option<Timestamp>,
}

pub(crate) async fn create(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(wanted): Sent<CreateRun>,
) -> Result<Json<Value>, Refusal> {
    let asking = Asking(Arc::new(Client {
        gone: AtomicBool::new(false),
        since: Instant::now(),
    }));
    let client = Arc::clone(&asking.0);
    let started = ask(&state, move |state| {
        started(state, &principal, &wanted, &client)
    })
    .await;
    // This is reached only if the client is still there.
    let (run, answer) = started?;
    unanswered(&state).0.remove(&run);
    drop(asking);
    Ok(Json(answer))
}

/// Starts a run, or finds the one that this very request has started before.
fn started(
    state: &State,
    principal: &Principal,
    wanted: &CreateRun,
    client: &Arc<Client>,
) -> Result<(RunId, Value), Refusal> {
    let ledger = state.ledger();
    let tracking = tracking(state);
    let experiment = wanted.experiment_id.as_deref().unwrap_or("0");
    let experiment = tracking.experiments.by_id(ledger, experiment)?;
    let tagged = wanted.tags.iter().find(|tag| tag.key == RUN_NAME);
    let name = wanted
        .run_name
        .clone()
        .or_else(|| tagged.map(|tag| tag.value.clone()));
    let name = name.filter(|name| !name.is_empty());
    if let Some(name) = &name {
        check_name("run", name)?;
    }
    let millis = wanted
        .start_time
        .map(|millis| millis.0)
        .filter(|millis| *millis != 0);
    let start = Start {
        principal: principal.id.clone(),
        experiment: experiment.name.clone(),
        name: name.clone(),
        started: millis
            .map(|millis| check_millis("start_time", millis))
            .transpose()?,
    };
    let run = match repeated(state, &start)? {
        Some(run) => run,
        None => start_run(state, principal, &start, (&wanted.tags, client))?,
    };
    let info = ledger.run(run)?;
    let entry = tracking.book.entry(run)?;
    let mut entry = lock(&entry);
    entry.refresh(ledger)?;
    let answer = json!({ "run": run_json(&info, &entry.view, principal) });
    Ok((run, answer))
}

fn start_run(
    state: &State,
    principal: &Principal,
    start: &Start,
    (tags, client): (&[Tag], &Arc<Client>),
) -> Result<RunId, Refusal> {
    let ledger = state.ledger();
    let run = RunId::generate(&*ledger.clock(), &*ledger.entropy());
    let name = start.name.clone().unwrap_or_else(|| {
        let id = run.as_str().to_ascii_lowercase();
        format!("mlflow-{}", &id[id.len() - 8..])
    });
    let mut body = RunStarted::new(name, PublicKey::from(&ledger.operator_key()));
    body.experiment = Some(start.experiment.clone());
    let mut draft = Draft::new(body);
    if let Some(time) = start.started {
        draft = draft.at(time);
    }
    // The name stands in the run itself.
    let tags = tags
        .iter()
        .filter(|tag| tag.key != RUN_NAME)
        .cloned()
        .collect();
    let batch = Batch {
        tags,
        ..Batch::default()
    };
    let mut drafts = vec![draft];
    drafts.extend(batch.drafts(&View::default(), None)?);
    {
        let mut unanswered = unanswered(state);
        let lasting = |client: &Arc<Client>| client.since.elapsed() < RETRIES_LAST;
        unanswered.0.retain(|_, (_, client)| lasting(client));
        unanswered
            .0
            .insert(run, (start.clone(), Arc::clone(client)));
    }
    let entry = tracking(state).book.entry(run)?;
    let begun = lock(&entry).start(ledger, principal, drafts);
    if let Err(problem) = begun {
        unanswered(state).0.remove(&run);
        return Err(problem.into());
    }
    Ok(run)
}

/// The run that the same request has started before, where the client cannot have heard of it: its
/// answer was never sent, or it came from before this server's start. Two requests that look the same
/// and are both answered are two runs.
fn repeated(state: &State, start: &Start) -> Result<Option<RunId>, Refusal> {
    let ledger = state.ledger();
    // Without a time, nothing tells one start from the next.
    let Some(started) = start.started else {
        return Ok(None);
    };
    let unheard = {
        let unanswered = unanswered(state);
        let mut waiting = unanswered.0.iter();
        let is_gone = |client: &Arc<Client>| client.gone.load(Ordering::Relaxed);
        let unheard = waiting.find(|(_, (other, client))| other == start && is_gone(client));
        unheard.map(|(run, _)| *run)
    };
    if let Some(run) = unheard {
        // Perhaps it was never written.
        return Ok(ledger.run(run).is_ok().then_some(run));
    }
    let lasting = i64::try_from(RETRIES_LAST.as_micros()).unwrap_or(i64::MAX);
    let began = state.started();
    if ledger.clock().now().0.saturating_sub(began.0) > lasting {
        return Ok(None);
    }
    let since = first_run_at(Timestamp(began.0.saturating_sub(lasting)));
    let before = first_run_at(began);
    for run in ledger.runs(Some(since), 1_000)? {
        let same = run.id < before
            && run.principal == start.principal
            && run.started == started
            && run.experiment.as_deref() == Some(start.experiment.as_str())
            && start
                .name
                .as_ref()
                .map_or(run.name.starts_with("mlflow-"), |name| *name == run.name);
        if same && is_untouched(ledger, run.id)? {
            return Ok(Some(run.id));
        }
    }
    Ok(None)
}

/// Whether nothing was logged to an open run since it began: `stream.opened`, `run.started`, its tags,
/// and what signs them.
fn is_untouched(ledger: &Ledger, run: RunId) -> Result<bool, LedgerError> {
    let signatures: u64 = ledger
        .streams(run)?
        .iter()
        .map(|head| head.signatures)
        .sum();
    // A listing lags behind what is written.
    let run = ledger.run(run)?;
    Ok(run.status.is_none() && run.records <= 3 + signatures)
}

/// The least id that a run of this time can have.
fn first_run_at(time: Timestamp) -> RunId {
    struct At(Timestamp);
    impl Clock for At {
        fn now(&self) -> Timestamp {
            self.0
        }
    }
    struct Zeros;
    impl Entropy for Zeros {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }
    RunId::generate(&At(time), &Zeros)
}

pub(crate) async fn get(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Asked(query): Asked<RunQuery>,
) -> Result<Json<Value>, Refusal> {
    let answer = ask(&state, move |state| {
        let info = run_for(state.ledger(), &principal, query.run())?;
        let entry = tracking(state).book.entry(info.id)?;
        let mut entry = lock(&entry);
        let info = entry.refresh(state.ledger())?;
        Ok(json!({ "run": run_json(&info, &entry.view, &principal) }))
    });
    Ok(Json(answer.await?))
}

pub(crate) async fn update(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(wanted): Sent<UpdateRun>,
) -> Result<Json<Value>, Refusal> {
    let answer = ask(&state, move |state| {
        let info = run_for(state.ledger(), &principal, wanted.run())?;
        check_own(&principal, &info)?;
        if let Some(name) = wanted
            .run_name
            .as_deref()
            .filter(|name| !name.is_empty() && *name != info.name)
        {
            check_name("run", name)?;
            let tag = Tag {
                key: RUN_NAME.to_owned(),
                value: name.to_owned(),
            };
            log(
                state,
                &principal,
                &info,
                &Batch {
                    tags: vec![tag],
                    ..Batch::default()
                },
            )?;
        }
        if let Some(status) = wanted.status.as_ref().filter(|status| !status.is_null()) {
            end(state, &principal, &info, status)?;
        }
        let entry = tracking(state).book.entry(info.id)?;
        let mut entry = lock(&entry);
        let info = entry.refresh(state.ledger())?;
        Ok(json!({ "run_info": info_json(&info, &entry.view) }))
    });
    Ok(Json(answer.await?))
}

/// Seals the run, unless it only goes on. One that is sealed stays as it was sealed.
fn end(
    state: &State,
    principal: &Principal,
    info: &RunInfo,
    status: &Value,
) -> Result<(), Refusal> {
    let Some(status) = status_of(status)? else {
        return Ok(());
    };
    let ledger = state.ledger();
    let tracking = tracking(state);
    if ledger.run(info.id)?.status.is_none() {
        tracking.book.write(ledger, info, principal, |view, late| {
            Ok(if late.is_none() {
                checkpoints::drafts(view)
            } else {
                Vec::new()
            })
        })?;
        let entry = tracking.book.entry(info.id)?;
        let mut entry = lock(&entry);
        let _one = state.sealing();
        let sealed = owned::seal(ledger, &ledger.run(info.id)?, status, principal);
        entry.forget();
        match sealed {
            Ok(_) => return Ok(()),
            // Somebody else was first.
            Err(problem) if problem.code() == "run-sealed" => {}
            Err(problem) => return Err(problem.into()),
        }
    }
    let sealed = ledger.run(info.id)?.status;
    if sealed.as_deref() == Some(status.as_str()) {
        return Ok(());
    }
    Err(Refusal::conflict(format!(
        "run {} is sealed as {}, which stays; what is logged to it now is recorded as late",
        info.id,
        sealed.as_deref().unwrap_or("open"),
    )))
}

/// The status by name or by number; `None` where the run goes on.
fn status_of(status: &Value) -> Result<Option<RunStatus>, Refusal> {
    let number = status.as_u64();
    match (status.as_str(), number) {
        (Some("RUNNING" | "SCHEDULED"), _) | (_, Some(1 | 2)) => Ok(None),
        (Some("FINISHED"), _) | (_, Some(3)) => Ok(Some(RunStatus::Completed)),
        (Some("FAILED"), _) | (_, Some(4)) => Ok(Some(RunStatus::Failed)),
        (Some("KILLED"), _) | (_, Some(5)) => Ok(Some(RunStatus::Aborted)),
        _ => Err(Refusal::invalid(
            "status: expected RUNNING, SCHEDULED, FINISHED, FAILED or KILLED",
        )),
    }
}

pub(crate) async fn log_batch(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(sent): Sent<LogBatch>,
) -> Result<Json<Value>, Refusal> {
    let batch = Batch {
        metrics: sent.metrics,
        params: sent.params,
        tags: sent.tags,
        ..Batch::default()
    };
    log_to(state, principal, sent.run_id, batch).await
}

pub(crate) async fn log_metric(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(sent): Sent<LogMetric>,
) -> Result<Json<Value>, Refusal> {
    let run = sent.run().to_owned();
    let batch = Batch {
        metrics: vec![sent.metric],
        ..Batch::default()
    };
    log_to(state, principal, run, batch).await
}

pub(crate) async fn log_param(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(sent): Sent<LogText>,
) -> Result<Json<Value>, Refusal> {
    let run = sent.run().to_owned();
    let batch = Batch {
        params: vec![sent.text],
        ..Batch::default()
    };
    log_to(state, principal, run, batch).await
}

pub(crate) async fn set_tag(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(sent): Sent<LogText>,
) -> Result<Json<Value>, Refusal> {
    let run = sent.run().to_owned();
    let batch = Batch {
        tags: vec![sent.text],
        ..Batch::default()
    };
    log_to(state, principal, run, batch).await
}

/// A tag that is taken off stays in the log; from then on it does not count.
pub(crate) async fn delete_tag(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(sent): Sent<LogText>,
) -> Result<Json<Value>, Refusal> {
    ask(&state, move |state| {
        let info = run_for(state.ledger(), &principal, sent.run())?;
        check_own(&principal, &info)?;
        let key = sent.text.key.clone();
        tracking(state)
            .book
            .write(state.ledger(), &info, &principal, |view, late| {
                if !view.tags.contains_key(&key) {
                    return Err(Refusal::missing(format!(
                        "run {} has no tag `{key}`",
                        info.id
                    )));
                }
                let batch = Batch {
                    untagged: vec![key.clone()],
                    ..Batch::default()
                };
                batch.drafts(view, late)
            })
    })
    .await?;
    Ok(Json(json!({})))
}

pub(crate) async fn log_inputs(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(sent): Sent<LogInputs>,
) -> Result<Json<Value>, Refusal> {
    let batch = Batch {
        datasets: sent.datasets,
        ..Batch::default()
    };
    log_to(state, principal, sent.run_id, batch).await
}

/// MLflow 2 keeps what it says of each model in one tag, a list that grows.
pub(crate) async fn log_model(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Sent(sent): Sent<LogModel>,
) -> Result<Json<Value>, Refusal> {
    let model: Value = serde_json::from_str(&sent.model_json)
        .map_err(|error| Refusal::invalid(format!("model_json: {error}")))?;
    ask(&state, move |state| {
        let info = run_for(state.ledger(), &principal, &sent.run_id)?;
        check_own(&principal, &info)?;
        tracking(state)
            .book
            .write(state.ledger(), &info, &principal, |view, late| {
                let history = view.tags.get(MODEL_HISTORY);
                let history = history.and_then(|known| serde_json::from_str(&known.text).ok());
                let mut history: Vec<Value> = history.unwrap_or_default();
                if history.contains(&model) {
                    return Ok(Vec::new());
                }
                history.push(model.clone());
                let value = Value::Array(history).to_string();
                let tag = Tag {
                    key: MODEL_HISTORY.to_owned(),
                    value,
                };
                Batch {
                    tags: vec![tag],
                    ..Batch::default()
                }
                .drafts(view, late)
            })
    })
    .await?;
    Ok(Json(json!({})))
}

async fn log_to(
    state: State,
    principal: Principal,
    run: String,
    batch: Batch,
) -> Result<Json<Value>, Refusal> {
    ask(&state, move |state| {
        let info = run_for(state.ledger(), &principal, &run)?;
        check_own(&principal, &info)?;
        log(state, &principal, &info, &batch)
    })
    .await?;
    Ok(Json(json!({})))
}

fn log(state: &State, principal: &Principal, info: &RunInfo, batch: &Batch) -> Result<(), Refusal> {
    let book = &tracking(state).book;
    book.write(state.ledger(), info, principal, |view, late| {
        batch.drafts(view, late)
    })
}

/// The points of one metric, in the order in which they were logged, a page at a time.
pub(crate) async fn history(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Asked(query): Asked<RunQuery>,
) -> Result<Json<Value>, Refusal> {
    let answer = ask(&state, move |state| {
        let ledger = state.ledger();
        let info = run_for(ledger, &principal, query.run())?;
        let name = query.metric_key.as_deref().unwrap_or("");
        let limit = query.max_results.unwrap_or(MAX_POINTS).clamp(1, MAX_POINTS);
        let after = match query
            .page_token
            .as_deref()
            .filter(|token| !token.is_empty())
        {
            None => None,
            Some(token) => Some(token.parse::<u64>().map_err(|_| {
                Refusal::invalid("page_token: expected the next_page_token of the page before")
            })?),
        };
        published(ledger)?;
        let mut points = Vec::new();
        for scope in [Scope::Run(info.id), Scope::Ledger] {
            for kind in [Kind::MetricLogged, Kind::MetricDiverged] {
                points_in(
                    ledger,
                    info.id,
                    (scope, kind),
                    name,
                    (after, limit),
                    &mut points,
                )?;
            }
        }
        points.sort_by_key(|(index, _)| *index);
        let more = points.len() > limit;
        points.truncate(limit);
        let next = more.then(|| points.last().map(|(index, _)| index.to_string()));
        let metrics: Vec<Value> = points
            .iter()
            .map(|(_, point)| {
                json!({
                    "key": name, "value": float(point.value), "timestamp": point.timestamp,
                    "step": point.step, "run_id": info.id.as_str(),
                })
            })
            .collect();
        Ok(json!({ "metrics": metrics, "next_page_token": next.flatten().unwrap_or_default() }))
    });
    Ok(Json(answer.await?))
}

/// One more point than wanted says that there are more.
fn points_in(
    ledger: &Ledger,
    run: RunId,
    (scope, kind): (Scope, Kind),
    name: &str,
    (after, limit): (Option<u64>, usize),
    points: &mut Vec<(u64, super::view::Point)>,
) -> Result<(), LedgerError> {
    let mut query = ledger::Query {
        scope: Some(scope),
        kind: Some(kind),
        after,
        limit: ledger::MAX_PAGE,
    };
    let mut found = 0;
    loop {
        let page = ledger.query(&query)?;
        for (index, bytes) in &page.records {
            let record = Record::parse_envelope(bytes)?;
            if scope == Scope::Ledger && record.named_run() != Some(run) {
                continue;
            }
            if let Some(point) = points_of(&record, name)? {
                points.push((*index, point));
                found += 1;
            }
        }
        query.after = page.next;
        if query.after.is_none() || found > limit {
            return Ok(());
        }
    }
}

/// A run, as `principal` may see it.
pub(super) fn run_json(info: &RunInfo, view: &View, principal: &Principal) -> Value {
    let open = may_open(principal, info);
    let texts = |texts: &mut dyn Iterator<Item = (&String, &Text)>| -> Vec<Value> {
        texts
            .map(|(key, text)| json!({ "key": key, "value": shown(text, open) }))
            .collect()
    };
    let metrics: Vec<Value> = view
        .metrics
        .iter()
        .map(|(key, point)| {
            json!({
                "key": key, "value": float(point.value), "timestamp": point.timestamp,
                "step": point.step,
            })
        })
        .collect();
    let marks = view.tags.iter().filter(|(key, _)| !models::is_model(key));
    let mut tags = texts(&mut { marks });
    if !view.tags.contains_key(RUN_NAME) {
        tags.push(json!({ "key": RUN_NAME, "value": info.name }));
    }
    let datasets = if open {
        view.datasets.clone()
    } else {
        Vec::new()
    };
    json!({
        "info": info_json(info, view),
        "data": { "metrics": metrics, "params": texts(&mut view.params.iter()), "tags": tags },
        "inputs": { "dataset_inputs": datasets },
        "outputs": if open { models::outputs_json(view) } else { json!({}) },
    })
}

/// A text, unless it is sealed and its reader may not open it.
pub(super) fn shown(text: &Text, open: bool) -> &str {
    if text.sealed && !open {
        SEALED
    } else {
        &text.text
    }
}

fn info_json(info: &RunInfo, view: &View) -> Value {
    let experiment = id_of(name_or_default(info.experiment.as_deref()));
    let mut json = json!({
        "run_id": info.id.as_str(),
        "run_uuid": info.id.as_str(),
        "run_name": run_name(info, view),
        "artifact_uri": format!("mlflow-artifacts:/{experiment}/{}/artifacts", info.id),
        "experiment_id": experiment,
        "user_id": info.principal,
        "status": status_name(info),
        "start_time": millis(info.started),
        "lifecycle_stage": "active",
    });
    if let Some(ended) = view.ended {
        json["end_time"] = json!(millis(ended));
    }
    json
}

pub(super) fn run_name(info: &RunInfo, view: &View) -> String {
    let renamed = view.tags.get(RUN_NAME).map(|tag| tag.text.clone());
    renamed.unwrap_or_else(|| info.name.clone())
}

pub(super) fn status_name(info: &RunInfo) -> &'static str {
    match info.status.as_deref() {
        None => "RUNNING",
        Some("completed") => "FINISHED",
        Some("aborted") => "KILLED",
        Some(_) => "FAILED",
    }
}

pub(super) fn millis(time: Timestamp) -> i64 {
    time.as_micros().div_euclid(1_000)
}
