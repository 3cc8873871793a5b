//! `rlhf-audit proxy`
use crate::outcome::{Failure, Outcome};
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}
pub(crate) fn run(_args: &Args, _json: bool) -> Result<Outcome, Failure> { Ok(Outcome::True) }
