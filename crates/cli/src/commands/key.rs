//! `rlhf-audit key generate|show|encrypt|decrypt|rotate`.

mod encrypt;
mod generate;
mod rotate;
mod show;

use crate::outcome::{Failure, Outcome};

/// Make, show, encrypt and rotate keys
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a key for a producer or a witness
    Generate(generate::Args),
    /// Show the public halves of a ledger's keys, or of one key file
    Show(show::Args),
    /// Encrypt key files under a passphrase
    Encrypt(encrypt::Args),
    /// Keep key files without a passphrase again
    Decrypt(encrypt::Args),
    /// Put a new key in the place of one of a ledger's, and record that
    Rotate(rotate::Args),
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    match &args.action {
        Action::Generate(args) => generate::run(args, json),
        Action::Show(args) => show::run(args, json),
        Action::Encrypt(args) => encrypt::run(args, true, json),
        Action::Decrypt(args) => encrypt::run(args, false, json),
        Action::Rotate(args) => rotate::run(args, json),
    }
}

/// Which algorithm a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Type {
    /// Signs streams, and cosigns checkpoints
    #[value(name = "ed25519")]
    Ed25519,
    /// Cosigns checkpoints for the decade after the next
    #[value(name = "ml-dsa-44")]
    MlDsa44,
}

/// The public halves of a seed, by what they are for.
fn public(
    seed: &ledger::keys::Seed,
    of: Type,
    name: Option<&str>,
) -> Result<serde_json::Value, Failure> {
    let bad = |e: tlog::KeyError| Failure::input(e);
    let mut all = serde_json::Map::new();
    let mut put = |what: &str, text: String| all.insert(what.to_owned(), text.into());
    match of {
        Type::Ed25519 => {
            let key = record::PublicKey::from(&record::SigningKey::from_bytes(seed));
            put("public_key", key.to_string());
            if let Some(name) = name {
                let cosigner = tlog::Ed25519Cosigner::from_seed(name, **seed).map_err(bad)?;
                put("witness_vkey", cosigner.verifier_key().to_string());
                let log = tlog::Ed25519Signer::from_seed(name, **seed).map_err(bad)?;
                put("log_vkey", log.verifier_key().to_string());
            }
        }
        Type::MlDsa44 => {
            let name = name.ok_or_else(|| {
                Failure::input("an ML-DSA-44 key signs under a name").with_hint("give --name NAME")
            })?;
            let signer = tlog::MlDsa44Signer::from_seed(name, **seed).map_err(bad)?;
            put("witness_vkey", signer.verifier_key().to_string());
        }
    }
    Ok(all.into())
}

fn print_public(public: &serde_json::Value) {
    for (what, text) in public.as_object().into_iter().flatten() {
        let what = match what.as_str() {
            "public_key" => "public key (of a producer)",
            "witness_vkey" => "verifier key of a witness",
            _ => "verifier key of a log",
        };
        println!("{what:26}  {}", text.as_str().unwrap_or_default());
    }
}
