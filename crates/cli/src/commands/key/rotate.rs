//! `rlhf-audit key rotate`: a new key in the place of an old one.

use ledger::{Ledger, Rotation};
use record::ProducerName;
use record::kinds::KeyPurpose;
use serde_json::json;

use crate::location::LocationArgs;
use crate::outcome::{Failure, Outcome};
use crate::place::{ledger_failure, ledger_options};
use crate::producer::PRODUCER;

/// Put a new key in the place of one of a ledger's, and record that; the server has to be stopped
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// Which key
    #[arg(long, value_name = "PURPOSE")]
    purpose: Purpose,
    /// Why, in a word
    #[arg(long, value_name = "WORD", default_value = "scheduled")]
    reason: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Purpose {
    /// The two that sign checkpoints
    Log,
    /// The one that signs the server's own stream
    Operator,
    /// The one that signs the command line's streams
    Producer,
    /// The one that wraps the keys of sealed values
    Deployment,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let purpose = match args.purpose {
        Purpose::Log => KeyPurpose::Log,
        Purpose::Operator => KeyPurpose::Operator,
        Purpose::Producer => KeyPurpose::Producer,
        Purpose::Deployment => KeyPurpose::Deployment,
    };
    let rotation = Rotation {
        purpose,
        reason: Some(args.reason.clone()),
        producer: ProducerName::parse(PRODUCER),
    };
    let location = args.location.location();
    let rotated =
        Ledger::rotate(&location, &ledger_options(), &rotation).map_err(ledger_failure)?;
    if json {
        println!(
            "{}",
            json!({
                "purpose": purpose.as_str(), "index": rotated.index,
                "old": rotated.old, "new": rotated.new,
            })
        );
        return Ok(Outcome::True);
    }
    println!(
        "The {purpose} key was rotated; record #{} says so.",
        rotated.index
    );
    for (old, new) in rotated.old.iter().zip(&rotated.new) {
        println!("  old  {old}\n  new  {new}");
    }
    println!("{}", advice(args.purpose));
    Ok(Outcome::True)
}

fn advice(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Log => {
            "Give auditors and witnesses the new policy file. Who has the old one can follow: `verify` finds the way in \
             log/rotations."
        }
        Purpose::Operator => "The server's stream goes on under the new key.",
        Purpose::Producer => {
            "New streams are under the new key; who pinned the old one can follow."
        }
        Purpose::Deployment => {
            "Backups made before need the old key: keep it with them, or make new ones."
        }
    }
}
