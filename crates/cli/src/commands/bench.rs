//! `rlhf-audit bench append|read|verify`: the load tool.
//!
//! It measures a server, or a ledger of its own that it throws away, and ends by checking what it was told: every
//! acknowledged record is looked up in the signed tree, and the log is verified. What it is held against (another
//! database, the bare disk) is no business of this tool: see `benches/`.

mod append;
mod connection;
mod drive;
mod fill;
mod host;
mod latency;
mod load;
mod own;
mod placed;
mod read;
mod reader;
mod verify;

use crate::outcome::{Failure, Outcome};

/// Measure a server or this machine under load, and check what was recorded
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Append with many clients at once
    Append(append::Args),
    /// Read with many clients at once, each of which verifies what it reads
    Read(read::Args),
    /// Time `verify` beside reading the same files and hashing each entry
    Verify(verify::Args),
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    match &args.action {
        Action::Append(args) => append::run(args, json),
        Action::Read(args) => read::run(args, json),
        Action::Verify(args) => verify::run(args, json),
    }
}
