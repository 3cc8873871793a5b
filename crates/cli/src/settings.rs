//! What a command's options are where the command line does not say: environment, then the configuration file, then
//! the default.
//!
//! An option is written once, as an argument with `env`. Its key in the file is the variable's name without
//! `RLHF_AUDIT_`, in lower case, with hyphens; what the file says becomes the argument's default, so that clap decides
//! between the layers. An option whose value is hidden is a secret: it has a second variable that ends in `_FILE`, and
//! a second key that ends in `-file`, which name a file that holds it.
//!
//! What is more than a value, and so no option, are the file's tables ([`Parts`]).

mod keys;
mod layer;
mod parts;
mod schema;

pub(crate) use keys::{Key, Keys};
pub(crate) use layer::{
    FROM_ENVIRONMENT, Faults, MOVED_JOBS, MOVED_WATCH, Settings, of_environment,
};
pub(crate) use parts::{Parts, Told};
pub(crate) use schema::schema;

use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _};

use crate::Cli;
use crate::outcome::Failure;

/// Why there are no arguments to work with.
pub(crate) enum Refused {
    /// The command line, or one of help and version.
    Usage(clap::Error),
    /// The file or the environment.
    Settings(Failure),
}

/// The command line, over environment and file.
pub(crate) fn parse() -> Result<Cli, Refused> {
    let bare = Cli::command();
    let first = at_first_sight(bare.clone());
    let (command, parts) = match first.as_ref().and_then(ArgMatches::subcommand_name) {
        // An auditor trusts no file that lies about, and `config` says itself what is wrong.
        None | Some("verify" | "config") => (bare, Parts::default()),
        Some(name) => match Settings::load(&bare, first.as_ref().and_then(named_file)) {
            Ok(settings) => (settings.apply(bare), settings.parts),
            // It is one of its findings.
            Err(_) if name == "doctor" => (bare, Parts::default()),
            Err(faults) => return Err(Refused::Settings(faults.into())),
        },
    };
    let mut matches = command.try_get_matches().map_err(Refused::Usage)?;
    let cli = Cli::from_arg_matches_mut(&mut matches)
        .map_err(|error| Refused::Usage(error.format(&mut Cli::command())))?;
    Ok(Cli { parts, ..cli })
}

/// What the command line says by itself, as far as it can be read.
fn at_first_sight(command: clap::Command) -> Option<ArgMatches> {
    command.ignore_errors(true).try_get_matches().ok()
}

/// The file that flag or environment name.
fn named_file(matches: &ArgMatches) -> Option<PathBuf> {
    matches.get_one::<PathBuf>("config").cloned()
}
