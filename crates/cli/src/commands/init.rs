//! `rlhf-audit init`: a new ledger.

use serde_json::json;

use crate::location::LocationArgs;
use crate::outcome::{Failure, Outcome};
use crate::place::{ledger_failure, ledger_options};

/// Create a ledger
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// The log's name, a URL without its scheme [default: one that is unique to this ledger]
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let mut options = ledger_options();
    options.origin.clone_from(&args.origin);
    let ledger = args.location.create(options)?;
    let origin = ledger.origin().to_owned();
    let (admin, _) = ledger
        .create_token("first admin", ledger::Role::Admin, None)
        .map_err(ledger_failure)?;
    ledger.close().map_err(ledger_failure)?;
    let policy = args.location.data_dir.join("policy");
    if json {
        println!(
            "{}",
            json!({ "data_dir": args.location.data_dir, "origin": origin, "policy": policy, "admin_token": admin })
        );
    } else {
        println!(
            "A ledger named {origin} is in {}.",
            args.location.data_dir.display()
        );
        println!();
        println!(
            "  policy       {}   give it to whoever is to verify",
            policy.display()
        );
        println!(
            "  keys         {}   keep them to yourself, and keep a copy",
            args.location.data_dir.join("keys").display()
        );
        println!("  admin token  {admin}");
        println!();
        println!("The token is shown this once. Next: rlhf-audit run start --name my-first-run");
    }
    Ok(Outcome::True)
}
