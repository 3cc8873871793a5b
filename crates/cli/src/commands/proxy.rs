//! `rlhf-audit proxy`: stands before a service that training calls, passes everything through, and records what was said.

mod audit;
mod body;
mod forward;
mod problem;
mod reward;
mod serve;
mod upstream;
mod watch;

use crate::outcome::{Failure, Outcome};

/// Stand before a service that training calls, and record what it says
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    service: Service,
}

#[derive(Debug, clap::Subcommand)]
enum Service {
    /// A reward model over HTTP, as OpenRLHF calls it
    Reward(reward::Args),
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    match &args.service {
        Service::Reward(args) => reward::run(args, json),
    }
}
