//! `rlhf-audit token create|list|revoke`.

use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::place::{PlaceArgs, client_failure};

/// Create, list and revoke access tokens
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Create a token; it is shown once
    Create {
        /// What it is for
        #[arg(long)]
        name: String,
        /// What it allows: admin, producer or reader
        #[arg(long)]
        role: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// List the tokens, without their secrets
    List {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Revoke a token, at once and for good
    Revoke {
        /// The token's id, from `token list`
        id: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    match &args.action {
        Action::Create { name, role, place } => {
            let place = place.open()?;
            let token = place
                .client
                .create_token(name, role)
                .map_err(client_failure)?;
            if json {
                println!(
                    "{}",
                    json!({ "id": token.id, "token": token.token, "role": role })
                );
            } else {
                println!("{}", token.token);
                eprintln!("This {role} token ({}) is shown this once.", token.id);
            }
        }
        Action::List { place } => {
            let tokens = place.open()?.client.tokens().map_err(client_failure)?;
            if json {
                println!("{}", json!({ "tokens": tokens }));
            } else {
                for token in tokens {
                    let state = if token.revoked.is_some() {
                        "revoked"
                    } else {
                        "valid"
                    };
                    println!(
                        "{}  {:8}  {:7}  {}",
                        token.id, token.role, state, token.name
                    );
                }
            }
        }
        Action::Revoke { id, place } => {
            place
                .open()?
                .client
                .revoke_token(id)
                .map_err(client_failure)?;
            if json {
                println!("{}", json!({ "revoked": id }));
            } else {
                println!("Revoked {id}.");
            }
        }
    }
    Ok(Outcome::True)
}
