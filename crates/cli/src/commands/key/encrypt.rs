//! `rlhf-audit key encrypt|decrypt`: key files under a passphrase, and back.

use std::path::PathBuf;

use ledger::Ledger;
use serde_json::json;

use crate::environment::SystemEntropy;
use crate::location::LocationArgs;
use crate::outcome::{Failure, Outcome};
use crate::passphrase;
use crate::place::{ledger_failure, ledger_options};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// One key file, instead of all of the ledger's
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, encrypt: bool, json: bool) -> Result<Outcome, Failure> {
    let mut options = ledger_options();
    if encrypt {
        options.passphrase = passphrase::new()?;
    }
    let changed = match &args.file {
        None => Ledger::encrypt_keys(&args.location.location(), &options, encrypt),
        Some(file) if encrypt => ledger::keys::encrypt(
            std::slice::from_ref(file),
            &options.passphrase,
            &SystemEntropy,
        ),
        Some(file) => ledger::keys::decrypt(std::slice::from_ref(file), &options.passphrase),
    }
    .map_err(ledger_failure)?;
    if json {
        let what = if encrypt { "encrypted" } else { "decrypted" };
        println!("{}", json!({ what: changed }));
        return Ok(Outcome::True);
    }
    let done = if encrypt { "Encrypted" } else { "Decrypted" };
    for path in &changed {
        println!("{done} {}.", path.display());
    }
    if changed.is_empty() {
        println!("Nothing was to be done.");
    } else if encrypt {
        println!(
            "Without the passphrase they are lost: keep it where the keys are not. Copies made before are as they were."
        );
    }
    Ok(Outcome::True)
}
