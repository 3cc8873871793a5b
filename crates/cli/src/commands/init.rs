//! `rlhf-audit init`: a new ledger.

use std::path::{Path, PathBuf};

use record::kinds::LedgerContinued;
use serde_json::json;
use tlog::Policy;

use crate::location::LocationArgs;
use crate::outcome::{Failure, Outcome};
use crate::passphrase;
use crate::place::{ledger_failure, ledger_options};

/// Create a ledger
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// The log's name, a URL without its scheme [default: one that is unique to this ledger]
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// Encrypt the keys under a passphrase
    #[arg(long)]
    encrypt_keys: bool,
    /// The closed ledger that this one goes on from: its directory, or its final checkpoint in a file
    #[arg(long, value_name = "DIR|FILE")]
    succeeds: Option<PathBuf>,
    /// The policy of that ledger, for a checkpoint in a file
    #[arg(long, value_name = "FILE", requires = "succeeds")]
    predecessor_policy: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let mut options = ledger_options();
    options.origin.clone_from(&args.origin);
    if args.encrypt_keys {
        options.encrypt_keys = true;
        options.passphrase = passphrase::new()?;
    }
    options.predecessor = args
        .succeeds
        .as_deref()
        .map(|path| predecessor(path, args.predecessor_policy.as_deref()))
        .transpose()?;
    let predecessor = options.predecessor.clone();
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
            json!({ "data_dir": args.location.data_dir, "origin": origin, "policy": policy, "admin_token": admin,
                    "predecessor": predecessor })
        );
    } else {
        println!(
            "A ledger named {origin} is in {}.",
            args.location.data_dir.display()
        );
        if let Some(before) = &predecessor {
            println!(
                "It goes on from {}, {} entries.",
                before.origin, before.size
            );
        }
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

/// What the new ledger will say of the one before. A directory is checked from end to end, and has to be closed; of a
/// checkpoint alone the signatures are.
fn predecessor(path: &Path, policy: Option<&Path>) -> Result<LedgerContinued, Failure> {
    let read = |path: &Path| {
        std::fs::read(path)
            .map_err(|e| Failure::unavailable(format!("cannot read {}: {e}", path.display())))
    };
    let beside = path.join("policy");
    let policy = match policy {
        Some(policy) => policy,
        None if path.is_dir() => &beside,
        None => {
            return Err(
                Failure::input("a checkpoint alone does not say whose it is")
                    .with_hint("give the closed ledger's policy with --predecessor-policy"),
            );
        }
    };
    let parsed = Policy::parse(&read(policy)?)
        .map_err(|e| Failure::input(format!("{}: {e}", policy.display())))?;
    let note = if path.is_dir() {
        closed(path, &parsed)?
    } else {
        read(path)?
    };
    let checkpoint = parsed
        .check(&note)
        .map_err(|e| Failure::input(format!("{}: {e}", path.display())))?
        .checkpoint;
    Ok(LedgerContinued::new(
        checkpoint.origin,
        checkpoint.root.into(),
        checkpoint.size.get(),
    ))
}

/// The checkpoint of a closed ledger that verifies.
fn closed(dir: &Path, policy: &Policy) -> Result<Vec<u8>, Failure> {
    let source = verify::Source::directory(dir).map_err(Failure::unavailable)?;
    let report =
        verify::log(&source, policy, &verify::Options::default()).map_err(Failure::unavailable)?;
    let dir = dir.display();
    match (report.verdict(), &report.closed, report.checkpoint) {
        (verify::Verdict::Verified, Some(_), Some(checkpoint)) => Ok(checkpoint.note),
        (verify::Verdict::Verified, ..) => Err(Failure::input(format!("{dir} is not closed"))
            .with_hint("close it first: `rlhf-audit close`")),
        (verdict, ..) => Err(Failure::input(format!(
            "{dir} is not succeeded, for it is not verified: {verdict}"
        ))
        .with_hint("see what `rlhf-audit verify` says of it")),
    }
}
