//! `rlhf-audit worker`: does jobs, beside servers that share a database.

use std::sync::Arc;
use std::time::Duration;

use jobs::{Worker, WorkerOptions};
use ledger::Ledger;

use crate::commands::serve::start_logging;
use crate::duration::duration;
use crate::hangup::on_hangup;
use crate::location::LocationArgs;
use crate::logging;
use crate::operation::OperationArgs;
use crate::outcome::{Failure, Outcome};
use crate::place::{ledger_failure, standby_options};
use crate::settings::Parts;
use crate::stop::Stop;
use crate::work::{WorkArgs, adjust, name, shared_failure};

/// How often it is looked whether the ledger still works.
const LOOK: Duration = Duration::from_millis(200);

/// Do jobs: checks of the log, model cards, timestamps, notifications
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    work: WorkArgs,
    #[command(flatten)]
    operation: OperationArgs,
    /// How many jobs to do at a time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// How long a job of this worker is left to it without a word; then another takes it
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    lease: Duration,
    /// How often to look for jobs of which nothing told it
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    poll: Duration,
    /// Have checkpoints stamped by the time-stamping authority (RFC 3161) at this URL, where a schedule asks for it
    #[arg(long, value_name = "URL", env = "RLHF_AUDIT_TSA")]
    tsa: Option<String>,
}

pub(crate) fn run(args: &Args, parts: &Parts, json: bool) -> Result<Outcome, Failure> {
    start_logging(json);
    let plan = args.work.plan(parts)?;
    let ledger =
        Ledger::open_at(&args.location.location(), standby_options()).map_err(shared_failure)?;
    let tools = plan.tools(&ledger, &args.location.location(), args.tsa.as_deref())?;
    let options = WorkerOptions {
        threads: args.threads.into(),
        lease: args.lease,
        poll: args.poll,
        ..WorkerOptions::new(name())
    };
    let operation = args.operation.start(&ledger, &tools.queue)?;
    let stop = Stop::listen()?;
    let adjusted = Arc::clone(&tools);
    on_hangup(move |cli| adjust(&adjusted, &cli.parts))?;
    let worker = Worker::start(&tools, &options).map_err(Failure::unavailable)?;
    logging::announce(&format!(
        "worker {} does jobs of {}",
        options.name,
        ledger.origin()
    ));
    while !stop.wait(LOOK) && ledger.status().failed.is_none() {}
    drop((worker, operation));
    ledger.close().map_err(ledger_failure)?;
    Ok(Outcome::True)
}
