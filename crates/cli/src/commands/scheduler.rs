//! `rlhf-audit scheduler`: adds jobs when their time has come, beside servers that share a database.

use std::time::Duration;

use jobs::Scheduler;
use ledger::Ledger;

use crate::commands::serve::start_logging;
use crate::location::LocationArgs;
use crate::outcome::{Failure, Outcome};
use crate::place::{ledger_failure, ledger_options};
use crate::stop::Stop;
use crate::work::{WorkArgs, name, shared_failure};

/// How often it is looked whether the ledger still works.
const LOOK: Duration = Duration::from_millis(200);

/// Add jobs when their time has come; of several schedulers one acts
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    work: WorkArgs,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    start_logging(json);
    let plan = args.work.plan()?;
    let ledger =
        Ledger::open_at(&args.location.location(), ledger_options()).map_err(shared_failure)?;
    let (tools, plans) = plan.tools(&ledger, &args.location.location(), None)?;
    let stop = Stop::listen()?;
    let name = name();
    let scheduler = Scheduler::start(&tools, name.as_str(), plans).map_err(Failure::unavailable)?;
    eprintln!(
        "rlhf-audit: scheduler {name} follows the schedules of {}",
        ledger.origin()
    );
    while !stop.wait(LOOK) && ledger.status().failed.is_none() {}
    drop(scheduler);
    ledger.close().map_err(ledger_failure)?;
    Ok(Outcome::True)
}
