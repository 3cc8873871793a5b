//! Jobs: what is done behind the log, seen and asked for.

use axum::Json;
use axum::extract::State as Extracted;
use axum::http::StatusCode;
use jobs::JobError;
use serde_json::Value;
use store::{JobFilter, JobState, Requeued};

use crate::api::{AskedJob, DEFAULT_PAGE, Job, JobParams, Jobs, MAX_PAGE, WantedJob};
use crate::extract::{Named, Object, Params};
use crate::jobs::shown;
use crate::problem::Problem;
use crate::state::State;

/// How often a job that is requeued is tried.
const TRIES: u64 = 6;

/// List jobs
///
/// The newest first. Those that are done are remembered for a week, dead ones for a month.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    operation_id = "listJobs",
    tag = "Jobs",
    params(JobParams),
    responses(
        (status = 200, description = "The jobs", body = Jobs),
        (status = 400, description = "`bad-parameter`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "admin"]))
)]
pub(crate) async fn list(
    Extracted(state): Extracted<State>,
    Params(params): Params<JobParams>,
) -> Result<Json<Jobs>, Problem> {
    let limit = params.limit.unwrap_or(DEFAULT_PAGE);
    let bad = |detail: String| Problem::bad_request("bad-parameter", detail);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(bad(format!("limit is {limit}; expected 1 to {MAX_PAGE}")));
    }
    let wanted = params
        .state
        .map(|name| {
            JobState::parse(&name).ok_or_else(|| {
                let all = JobState::ALL.map(JobState::as_str).join(", ");
                bad(format!(
                    "`{name}` is no state of a job; expected one of {all}"
                ))
            })
        })
        .transpose()?;
    let rows = state
        .queue(move |queue| {
            queue.store().list_jobs(&JobFilter {
                state: wanted,
                kind: params.kind.as_deref(),
                parent: params.parent.as_deref(),
                before: params.before.as_deref(),
                limit,
            })
        })
        .await?;
    let next = (rows.len() == limit)
        .then(|| rows.last().map(|row| row.id.clone()))
        .flatten();
    Ok(Json(Jobs {
        jobs: rows.into_iter().map(shown).collect(),
        next,
    }))
}

/// Show a job
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    operation_id = "showJob",
    tag = "Jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "The job", body = Job),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "admin"]))
)]
pub(crate) async fn one(
    Extracted(state): Extracted<State>,
    Named(id): Named<String>,
) -> Result<Json<Job>, Problem> {
    let missing = missing(&id);
    let row = state.queue(move |queue| queue.store().job(&id)).await?;
    row.map(|row| Json(shown(row))).ok_or(missing)
}

/// Have a job done
///
/// By whichever worker takes it, soon. Where one of its kind about the same is open already, nothing is added.
#[utoipa::path(
    post,
    path = "/v1/jobs",
    operation_id = "addJob",
    tag = "Jobs",
    request_body = WantedJob,
    responses(
        (status = 202, description = "Added", body = AskedJob),
        (status = 409, description = "`job-open`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`bad-object`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn add(
    Extracted(state): Extracted<State>,
    Object(wanted): Object<WantedJob>,
) -> Result<(StatusCode, Json<AskedJob>), Problem> {
    let ledger = state.ledger_handle();
    let payload = wanted.payload.map_or(Value::Null, Value::Object);
    let kind = wanted.kind;
    let open = Problem::new(
        StatusCode::CONFLICT,
        "job-open",
        format!("a job of the kind {kind} about the same is open; see GET /v1/jobs"),
    );
    let added = state
        .queue(move |queue| Ok(queue.add(&ledger, &kind, payload)))
        .await?;
    match added {
        Ok(Some(id)) => Ok((StatusCode::ACCEPTED, Json(AskedJob { id }))),
        Ok(None) => Err(open),
        Err(JobError::Store(error)) => Err(ledger::LedgerError::from(error).into()),
        Err(error) => Err(Problem::unprocessable("bad-object", error.to_string())),
    }
}

/// Have a dead job tried again
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/requeue",
    operation_id = "requeueJob",
    tag = "Jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses(
        (status = 200, description = "It waits to be taken", body = Job),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`job-not-dead`, or `job-open`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn requeue(
    Extracted(state): Extracted<State>,
    Named(id): Named<String>,
) -> Result<Json<Job>, Problem> {
    let missing = missing(&id);
    let (requeued, row) = state
        .queue(move |queue| {
            let requeued = queue.store().requeue_job(&id, TRIES)?;
            if requeued == Requeued::Queued {
                queue.ring(&id);
            }
            Ok((requeued, queue.store().job(&id)?))
        })
        .await?;
    let conflict = |code, detail: String| Problem::new(StatusCode::CONFLICT, code, detail);
    match requeued {
        Requeued::Queued => row.map(|row| Json(shown(row))).ok_or(missing),
        Requeued::Missing => Err(missing),
        Requeued::NotDead(state) => Err(conflict(
            "job-not-dead",
            format!("the job is {}; only dead ones are requeued", state.as_str()),
        )),
        Requeued::Taken => Err(conflict(
            "job-open",
            "another job of its kind about the same is open; wait for that".to_owned(),
        )),
    }
}

fn missing(id: &str) -> Problem {
    Problem::not_found("not-found", format!("no job has the id `{id}`"))
}
