//! `rlhf-audit close`: the end of a ledger.

use record::kinds::LedgerClosed;
use serde_json::json;

use crate::location::LocationArgs;
use crate::outcome::{Failure, Outcome};
use crate::place::ledger_failure;

/// Close a ledger for good: nothing is appended any more, everything can be read. It can be succeeded by another:
/// `rlhf-audit init --succeeds DIR`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// Why, in a word
    #[arg(long, value_name = "WORD")]
    reason: Option<String>,
    /// The name of the log that is to go on from here, where that is known
    #[arg(long, value_name = "NAME")]
    successor_origin: Option<String>,
    /// Yes: this cannot be undone
    #[arg(long)]
    yes: bool,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let ledger = args.location.open()?;
    let origin = ledger.origin().to_owned();
    if !args.yes {
        ledger.close().map_err(ledger_failure)?;
        return Err(Failure::input(format!(
            "{origin} would take no record any more, and that cannot be undone; nothing was changed"
        ))
        .with_hint("say --yes"));
    }
    let mut body = LedgerClosed::new();
    body.reason.clone_from(&args.reason);
    body.successor.clone_from(&args.successor_origin);
    let index = ledger.end(body).map_err(ledger_failure)?;
    ledger.close().map_err(ledger_failure)?;
    let last = ledger.latest().map(|latest| latest.checkpoint);
    let checkpoint = last
        .filter(|checkpoint| checkpoint.size.get() > index)
        .ok_or_else(|| {
            Failure::unavailable("the ledger is closed, its final checkpoint is not published yet")
                .with_hint("any command that opens it publishes it, such as `rlhf-audit run list`")
        })?;
    if json {
        println!(
            "{}",
            json!({
                "origin": origin, "closed": index,
                "size": checkpoint.size.get(), "root": checkpoint.root.to_string(),
            })
        );
    } else {
        println!("{origin} is closed for good by record #{index}.");
        println!(
            "  final checkpoint  {} entries, root {}",
            checkpoint.size.get(),
            checkpoint.root
        );
        println!();
        println!(
            "It can be read and served as before. To go on: rlhf-audit init --data-dir NEW --succeeds {}",
            args.location.data_dir.display()
        );
    }
    Ok(Outcome::True)
}
