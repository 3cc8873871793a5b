//! `rlhf-audit hook add|list|remove`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use client::NewHook;
use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::place::{PlaceArgs, client_failure};

/// Add, list and remove hooks: addresses to which Label Studio or Argilla delivers annotations
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Add a hook; a secret that is made for it is shown once
    Add {
        /// Its name, the end of its address: a-z, 0-9, _ and -
        name: String,
        /// Who delivers: label-studio or argilla
        #[arg(long)]
        platform: String,
        /// The run that the annotations belong to: its id, or its name
        #[arg(
            long,
            required_unless_present = "experiment",
            conflicts_with = "experiment"
        )]
        run: Option<String>,
        /// The experiment that they belong to, in which the hook starts a run of its own
        #[arg(long)]
        experiment: Option<String>,
        /// A file with the secret that the platform has made, as Argilla does; - is standard input
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// List the hooks, without their secrets
    List {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Remove a hook, at once; what was recorded stays
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    match &args.action {
        Action::Add {
            name,
            platform,
            run,
            experiment,
            secret_file,
            place,
        } => {
            let hook = NewHook {
                name: name.clone(),
                platform: platform.clone(),
                run: run.clone(),
                experiment: experiment.clone(),
                secret: secret_file.as_deref().map(secret).transpose()?,
            };
            let opened = place.open()?;
            let made = opened.client.create_hook(&hook).map_err(client_failure)?;
            opened.close()?;
            let url = place.server.as_ref().map_or_else(
                || made.path.clone(),
                |server| format!("{}{}", server.trim_end_matches('/'), made.path),
            );
            if json {
                println!(
                    "{}",
                    json!({ "name": made.name, "url": url, "secret": made.secret })
                );
            } else {
                println!("{url}");
                if let Some(secret) = &made.secret {
                    println!("Authorization: Bearer {secret}");
                    eprintln!(
                        "Give {platform} this address and this header; the secret is shown this once."
                    );
                }
            }
        }
        Action::List { place } => {
            let hooks = place.open()?.client.hooks().map_err(client_failure)?;
            if json {
                println!("{}", json!({ "hooks": hooks }));
            } else {
                for hook in hooks {
                    let target = match (hook.run, hook.experiment) {
                        (Some(run), _) => format!("run {run}"),
                        (_, Some(experiment)) => format!("experiment {experiment}"),
                        _ => String::new(),
                    };
                    println!("{:24}  {:12}  {target}", hook.name, hook.platform);
                }
            }
        }
        Action::Remove { name, place } => {
            let opened = place.open()?;
            opened.client.remove_hook(name).map_err(client_failure)?;
            opened.close()?;
            if json {
                println!("{}", json!({ "removed": name }));
            } else {
                println!("Removed {name}.");
            }
        }
    }
    Ok(Outcome::True)
}

/// The secret in a file, without the white space around it.
fn secret(path: &Path) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::unavailable(format!("cannot read {}: {error}", path.display()))
    };
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(unreadable)?;
    } else {
        text = std::fs::read_to_string(path).map_err(unreadable)?;
    }
    Ok(text.trim().to_owned())
}
