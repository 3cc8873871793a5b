//! `rlhf-audit ingest`: what a trainer writes into files of its own becomes records, also while it writes.

mod lines;
mod progress;
mod recorder;
mod rollouts;
mod verl;

use crate::outcome::{Failure, Outcome};

/// Record what a trainer writes into files of its own, also while it writes them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Source {
    /// verl's file logger, and the rollouts that it dumps
    Verl(verl::Args),
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    match &args.source {
        Source::Verl(args) => verl::run(args, json),
    }
}
