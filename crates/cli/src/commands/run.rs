//! `rlhf-audit run start|list|show|seal`.

use std::collections::BTreeMap;

use client::RunSummary;
use record::kinds::{RunStarted, RunStatus};
use record::{Draft, PublicKey, RunId, Scope};
use serde_json::{Value, json};

use crate::outcome::{Failure, Outcome};
use crate::place::{Place, PlaceArgs, client_failure};
use crate::producer::{OWNER_STREAM, Producer};

/// Start, list, show and seal training runs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Start a run
    Start {
        /// What people call it
        #[arg(long)]
        name: String,
        /// The experiment it belongs to
        #[arg(long)]
        experiment: Option<String>,
        /// The model that is trained
        #[arg(long)]
        model: Option<String>,
        /// A setting to record, as NAME=VALUE; may be repeated
        #[arg(long = "config", value_name = "NAME=VALUE")]
        config: Vec<String>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// List the runs
    List {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show a run and its streams
    Show {
        /// The run's name or id
        run: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Seal a run: list its streams and end it
    Seal {
        /// The run's name or id
        run: String,
        /// How it ended: completed, failed or aborted
        #[arg(long, default_value = "completed")]
        status: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    match &args.action {
        Action::Start {
            name,
            experiment,
            model,
            config,
            place,
        } => {
            let opened = place.open()?;
            let config = if config.is_empty() {
                None
            } else {
                Some(parse_config(config)?)
            };
            let run = start(
                &opened,
                place,
                name,
                experiment.as_deref(),
                model.as_deref(),
                config,
            )?;
            opened.close()?;
            if json {
                println!("{}", json!({ "run": run, "name": name }));
            } else {
                println!("Started {name}, run {run}.");
            }
        }
        Action::List { place } => {
            let opened = place.open()?;
            let mut runs = Vec::new();
            let mut after = None;
            loop {
                let page = opened
                    .client
                    .runs(after.as_deref(), 100)
                    .map_err(client_failure)?;
                runs.extend(page.runs);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            if json {
                println!("{}", json!({ "runs": runs }));
            } else if runs.is_empty() {
                println!("No runs yet. Start one: rlhf-audit run start --name my-first-run");
            } else {
                println!("{:26}  {:9}  {:>9}  NAME", "RUN", "STATUS", "RECORDS");
                for run in runs {
                    println!(
                        "{}  {:9}  {:>9}  {}",
                        run.run, run.status, run.records, run.name
                    );
                }
            }
        }
        Action::Show { run, place } => {
            let opened = place.open()?;
            let found = opened.client.run(run).map_err(client_failure)?;
            let streams = opened
                .client
                .streams(&found.run.to_string())
                .map_err(client_failure)?;
            if json {
                println!("{}", json!({ "run": found, "streams": streams }));
            } else {
                show(&found);
                for stream in streams {
                    println!(
                        "  stream {:24} {:>9} records, head {}",
                        stream.stream.to_string(),
                        stream.next_seq,
                        stream.head
                    );
                }
            }
        }
        Action::Seal { run, status, place } => {
            let status: RunStatus = serde_json::from_value(json!(status)).map_err(|_| {
                Failure::input(format!(
                    "unknown status `{status}`; expected completed, failed or aborted"
                ))
            })?;
            let opened = place.open()?;
            let found = opened.client.run(run).map_err(client_failure)?;
            let index = end(&opened, place, &found, status)?;
            opened.close()?;
            if json {
                println!(
                    "{}",
                    json!({ "run": found.run, "status": status, "index": index })
                );
            } else {
                println!("Sealed {} ({}): record #{index}.", found.name, found.run);
            }
        }
    }
    Ok(Outcome::True)
}

/// Starts a run owned by the place's producer key.
pub(crate) fn start(
    opened: &Place,
    place: &PlaceArgs,
    name: &str,
    experiment: Option<&str>,
    model: Option<&str>,
    config: Option<BTreeMap<String, Value>>,
) -> Result<RunId, Failure> {
    let key = place.producer_key()?;
    let run = Producer::new_run_id();
    let mut started = RunStarted::new(name.to_owned(), PublicKey::from(&key));
    started.experiment = experiment.map(str::to_owned);
    started.model = model.map(str::to_owned);
    started.config = config;
    let mut producer = Producer::open(&opened.client, Scope::Run(run), OWNER_STREAM, key)?;
    producer.record(Draft::new(started))?;
    producer.close()?;
    Ok(run)
}

/// Seals a run that the place's producer or the server owns.
fn end(
    opened: &Place,
    place: &PlaceArgs,
    found: &RunSummary,
    status: RunStatus,
) -> Result<u64, Failure> {
    if found.owner == PublicKey::from(&place.producer_key()?) {
        return seal(opened, place, found.run, status);
    }
    // The server's own, as those of hooks are; any other it refuses, and says why.
    let sealed = opened.client.seal_run(found.run.as_str(), status.as_str());
    Ok(sealed.map_err(client_failure)?.index)
}

/// Seals a run with the place's producer key, which must be its owner's.
pub(crate) fn seal(
    opened: &Place,
    place: &PlaceArgs,
    run: RunId,
    status: RunStatus,
) -> Result<u64, Failure> {
    let key = place.producer_key()?;
    let (producer, _) = Producer::resume(&opened.client, run, OWNER_STREAM, key)?;
    producer.seal(run, status)
}

fn show(run: &RunSummary) {
    println!("{}  {}", run.name, run.run);
    println!("  status     {}", run.status);
    println!("  started    {}", run.started);
    println!(
        "  experiment {}",
        run.experiment.as_deref().unwrap_or("not recorded")
    );
    println!("  records    {}", run.records);
    println!("  owner      {}", run.owner);
}

/// Settings as they are given: NAME=VALUE.
pub(crate) fn parse_config(pairs: &[String]) -> Result<BTreeMap<String, Value>, Failure> {
    pairs
        .iter()
        .map(|pair| {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                Failure::input(format!("`{pair}` is no setting; expected NAME=VALUE"))
            })?;
            let value: Value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            if value.is_object() || value.is_array() || value.is_null() {
                return Err(Failure::input(format!(
                    "`{pair}`: a value is a text, a number, true or false"
                )));
            }
            Ok((name.to_owned(), value))
        })
        .collect()
}
