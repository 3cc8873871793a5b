//! `rlhf-audit scheduler`: adds jobs when their time has come, beside servers that share a database.

use std::sync::Arc;
use std::time::Duration;

use jobs::Scheduler;
use ledger::Ledger;

use crate::commands::serve::start_logging;
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

/// Add jobs when their time has come; of several schedulers one acts
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    work: WorkArgs,
    #[command(flatten)]
    operation: OperationArgs,
}

pub(crate) fn run(args: &Args, parts: &Parts, json: bool) -> Result<Outcome, Failure> {
    start_logging(json);
    let plan = args.work.plan(parts)?;
    let ledger =
        Ledger::open_at(&args.location.location(), standby_options()).map_err(shared_failure)?;
    let tools = plan.tools(&ledger, &args.location.location(), None)?;
    let operation = args.operation.start(&ledger, &tools.queue)?;
    let stop = Stop::listen()?;
    let adjusted = Arc::clone(&tools);
    on_hangup(move |cli| adjust(&adjusted, &cli.parts))?;
    let name = name();
    let scheduler = Scheduler::start(&tools, name.as_str()).map_err(Failure::unavailable)?;
    logging::announce(&format!(
        "scheduler {name} follows the schedules of {}",
        ledger.origin()
    ));
    while !stop.wait(LOOK) && ledger.status().failed.is_none() {}
    drop((scheduler, operation));
    ledger.close().map_err(ledger_failure)?;
    Ok(Outcome::True)
}
