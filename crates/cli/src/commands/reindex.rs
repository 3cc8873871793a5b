//! `rlhf-audit reindex`: build the index again from the log.

use ledger::Ledger;
use serde_json::json;

use crate::location::LocationArgs;
use crate::outcome::{Failure, Outcome};
use crate::place::{ledger_failure, ledger_options};

/// Build the index of a stopped ledger again from its entry bundles
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    location: LocationArgs,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let records =
        Ledger::reindex(&args.location.location(), ledger_options()).map_err(ledger_failure)?;
    if json {
        println!("{}", json!({ "records": records }));
    } else {
        println!("The index was built again from {records} records.");
    }
    Ok(Outcome::True)
}
