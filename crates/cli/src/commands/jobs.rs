//! `rlhf-audit jobs list|show|requeue|run`: what is done behind the log.

use std::time::Duration;

use client::{Job, JobQuery};
use jobs::{JobError, Worker, WorkerOptions};
use serde_json::{Value, json};

use crate::outcome::{Failure, Outcome};
use crate::place::{PlaceArgs, client_failure};
use crate::settings::Parts;
use crate::work::{Plan, WorkArgs, name};

/// How often a job on a server is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// See, requeue and ask for jobs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List jobs, the newest first
    List {
        /// Only in this state: queued, running, retrying, done or dead
        #[arg(long)]
        state: Option<String>,
        /// Only of this kind
        #[arg(long)]
        kind: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show a job
    Show {
        /// The job's id
        id: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Have a dead job tried again
    Requeue {
        /// The job's id
        id: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Have a job done and wait for what it comes to: by a server's workers, or here, where there is no server
    Run {
        /// The kind: backup, export, integrity, model-card, model-cards, timestamp or watch
        kind: String,
        /// The run whose model card is wanted: its id or name
        #[arg(long, value_name = "RUN")]
        run: Option<String>,
        /// Have integrity look at the whole log, not only at what is new
        #[arg(long)]
        whole: bool,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
        /// Have the checkpoint stamped by this time-stamping authority, where the job is done here
        #[arg(long, value_name = "URL", env = "RLHF_AUDIT_TSA")]
        tsa: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        work: WorkArgs,
    },
}

pub(crate) fn run(args: &Args, parts: &Parts, json: bool) -> Result<Outcome, Failure> {
    match &args.action {
        Action::List {
            state,
            kind,
            limit,
            place,
        } => {
            let query = JobQuery {
                state: state.clone(),
                kind: kind.clone(),
                limit: Some(*limit),
                ..JobQuery::default()
            };
            let place = place.open()?;
            let page = place.client.jobs(&query).map_err(client_failure)?;
            if json {
                println!("{}", json!({ "jobs": page.jobs, "next": page.next }));
            } else {
                page.jobs.iter().for_each(line);
            }
            place.close()?;
        }
        Action::Show { id, place } => {
            let place = place.open()?;
            let job = place.client.job(id).map_err(client_failure)?;
            show(&job, json)?;
            place.close()?;
        }
        Action::Requeue { id, place } => {
            let place = place.open()?;
            let job = place.client.requeue_job(id).map_err(client_failure)?;
            if json {
                println!("{}", json!(job));
            } else {
                println!("{id} waits to be tried again.");
            }
            place.close()?;
        }
        Action::Run {
            kind,
            run,
            whole,
            no_wait,
            tsa,
            place,
            work,
        } => {
            let mut payload = json!({});
            if let Some(run) = run {
                payload["run"] = run.as_str().into();
            }
            if *whole {
                payload["whole"] = true.into();
            }
            let job = if place.server.is_some() {
                let client = place.open()?.client;
                let id = client.add_job(kind, &payload).map_err(client_failure)?;
                if *no_wait {
                    println!(
                        "{}",
                        if json {
                            json!({ "id": id }).to_string()
                        } else {
                            id
                        }
                    );
                    return Ok(Outcome::True);
                }
                loop {
                    let job = client.job(&id).map_err(client_failure)?;
                    if job.finished.is_some() {
                        break job;
                    }
                    std::thread::sleep(LOOK);
                }
            } else {
                here(kind, payload, tsa.as_deref(), place, work.plan(parts)?)?
            };
            show(&job, json)?;
            return verdict(&job);
        }
    }
    Ok(Outcome::True)
}

/// Does the job in this process.
fn here(
    kind: &str,
    payload: Value,
    tsa: Option<&str>,
    place: &PlaceArgs,
    plan: Plan,
) -> Result<Job, Failure> {
    let ledger = place.location.open()?;
    let tools = plan.tools(&ledger, &place.location.location(), tsa)?;
    if !jobs::can_do(kind, &tools) {
        return Err(Failure::input(format!(
            "nothing here says what a job of the kind {kind} needs"
        ))
        .with_hint(
            "backup and export want [backup] and [export] in the configuration file, timestamp wants --tsa",
        ));
    }
    let id = tools.queue.add(&ledger, kind, payload);
    let id = id.map_err(|error| match error {
        JobError::Store(error) => Failure::unavailable(error),
        error => Failure::input(error),
    })?;
    let id = id.ok_or_else(|| {
        Failure::input(format!("a job of the kind {kind} about the same is open"))
            .with_hint("see `rlhf-audit jobs list`")
    })?;
    let options = WorkerOptions::new(name());
    let ended = Worker::do_until_ended(&tools, &options, &id).map_err(Failure::unavailable)?;
    if ended.is_none() {
        return Err(Failure::unavailable(format!("the job {id} is gone")));
    }
    drop(tools);
    // Seen as everybody sees it.
    let place = crate::place::Place::serve(ledger)?;
    let job = place.client.job(&id).map_err(client_failure)?;
    place.close()?;
    Ok(job)
}

/// Dead is an error; what was checked and found false is said by the exit code.
fn verdict(job: &Job) -> Result<Outcome, Failure> {
    if job.state == "dead" {
        let reason = job.reason.as_deref().unwrap_or("no reason is known");
        return Err(Failure::unavailable(format!(
            "the job {} is dead: {reason}",
            job.id
        )));
    }
    let unsound = job
        .result
        .as_ref()
        .is_some_and(|result| result["sound"] == false);
    Ok(if unsound {
        Outcome::False
    } else {
        Outcome::True
    })
}

fn line(job: &Job) {
    let progress = job
        .total
        .map_or(String::new(), |total| format!("{}/{total}", job.done));
    println!(
        "{}  {:<15}  {:<8}  {:>2}/{:<2}  {progress:<9}  {}",
        job.id,
        job.kind,
        job.state,
        job.attempt,
        job.tries,
        job.reason.as_deref().unwrap_or_default()
    );
}

fn show(job: &Job, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", json!(job));
        return Ok(());
    }
    line(job);
    if let Some(worker) = &job.worker {
        println!("  worker   {worker}");
    }
    println!("  created  {}", job.created);
    if let Some(due) = &job.due {
        println!("  due      {due}");
    }
    if let Some(finished) = &job.finished {
        println!("  finished {finished}");
    }
    if let Some(result) = &job.result {
        println!(
            "{}",
            serde_json::to_string_pretty(result).map_err(Failure::input)?
        );
    }
    Ok(())
}
