//! `rlhf-audit key generate`: a key of one's own.

use std::path::PathBuf;

use serde_json::json;

use super::{Type, print_public, public};
use crate::environment::SystemEntropy;
use crate::outcome::{Failure, Outcome};
use crate::passphrase;
use crate::place::ledger_failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The algorithm
    #[arg(long = "type", value_name = "TYPE", default_value = "ed25519")]
    of: Type,
    /// The name under which a witness or a log signs; a producer needs none
    #[arg(long)]
    name: Option<String>,
    /// Where the key goes; a file that is there is never overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Encrypt it under a passphrase
    #[arg(long)]
    encrypt: bool,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    // A name that cannot be is refused before there is a file.
    public(
        &ledger::keys::Seed::default(),
        args.of,
        args.name.as_deref(),
    )?;
    if args.out.exists() {
        return Err(Failure::input(format!(
            "{} is there already, and a key is never overwritten",
            args.out.display()
        ))
        .with_hint("choose another file with --out"));
    }
    let seed = if args.encrypt {
        ledger::keys::create_encrypted(&args.out, &SystemEntropy, &*passphrase::new()?)
    } else {
        ledger::keys::create(&args.out, &SystemEntropy)
    };
    let seed = seed.map_err(ledger_failure)?;
    let public = public(&seed, args.of, args.name.as_deref())?;
    if json {
        println!(
            "{}",
            json!({ "file": args.out, "encrypted": args.encrypt, "public": public })
        );
    } else {
        println!("The key is in {}; keep it to yourself.", args.out.display());
        print_public(&public);
    }
    Ok(Outcome::True)
}
