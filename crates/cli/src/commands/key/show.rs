//! `rlhf-audit key show`: what others may know of keys.

use std::path::PathBuf;

use serde_json::json;

use super::{Type, print_public, public};
use crate::outcome::{Failure, Outcome};
use crate::passphrase;
use crate::place::ledger_failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The ledger's directory
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./audit-data",
        env = "RLHF_AUDIT_DATA_DIR"
    )]
    data_dir: PathBuf,
    /// One key file instead
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What algorithm the file's key is for
    #[arg(
        long = "type",
        value_name = "TYPE",
        default_value = "ed25519",
        requires = "file"
    )]
    of: Type,
    /// The name under which the file's key signs, for its verifier keys
    #[arg(long, requires = "file")]
    name: Option<String>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    match &args.file {
        Some(file) => show_file(args, file, json),
        None => show_ledger(args, json),
    }
    .map(|()| Outcome::True)
}

fn show_file(args: &Args, file: &std::path::Path, json: bool) -> Result<(), Failure> {
    let encrypted = ledger::keys::is_encrypted(file).map_err(ledger_failure)?;
    let seed = ledger::keys::read_with(file, &passphrase::given()).map_err(ledger_failure)?;
    let public = public(&seed, args.of, args.name.as_deref())?;
    if json {
        println!(
            "{}",
            json!({ "file": file, "encrypted": encrypted, "public": public })
        );
    } else {
        print_public(&public);
    }
    Ok(())
}

fn show_ledger(args: &Args, json: bool) -> Result<(), Failure> {
    let dir = &args.data_dir;
    if !dir.join("keys").is_dir() {
        return Err(
            Failure::unavailable(format!("{} holds no keys", dir.display()))
                .with_hint("name a ledger's directory with --data-dir"),
        );
    }
    // Nobody is asked for a passphrase here: without one, less is shown.
    let passphrase = passphrase::at_hand();
    let keys = ledger::keys::show(dir, passphrase.as_deref()).map_err(ledger_failure)?;
    let retired = ledger::keys::retired(dir).map_err(ledger_failure)?;
    if json {
        let keys: Vec<_> = keys
            .iter()
            .map(|key| {
                let secret = key.purpose.as_str() == "deployment";
                let named = if secret { "fingerprint" } else { "public" };
                json!({
                    "file": key.file, "purpose": key.purpose.as_str(), "type": key.kind,
                    "encrypted": key.encrypted, "waits": key.waits, named: key.public,
                })
            })
            .collect();
        let retired: Vec<_> = retired
            .iter()
            .map(|old| json!({ "rotation": old.number, "vkeys": old.vkeys, "signed_up_to": old.signed_up_to }))
            .collect();
        println!("{}", json!({ "keys": keys, "retired": retired }));
        return Ok(());
    }
    for key in &keys {
        let state = if key.encrypted { "encrypted" } else { "plain" };
        let public = match &key.public {
            Some(public) => public.as_str(),
            None if key.waits => "waits to take its place: run `rlhf-audit key rotate` again",
            None => "not shown without the passphrase",
        };
        let what = if key.kind == "aes-256" {
            " (fingerprint)"
        } else {
            ""
        };
        println!("{:20}  {:9}  {public}{what}", key.file, state);
    }
    for old in &retired {
        println!("retired, signed up to entry {}:", old.signed_up_to);
        for vkey in &old.vkeys {
            println!("  {vkey}");
        }
    }
    Ok(())
}
