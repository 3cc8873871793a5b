//! `rlhf-audit doctor`: looks at everything a server needs, and says what to do where something is wrong.
//!
//! It changes nothing and needs no server: what is looked at may be in use meanwhile.

mod clock;
mod configuration;
mod disk;
mod keys;
mod stores;
mod versions;

use std::path::PathBuf;

use serde_json::json;

use crate::location::LocationArgs;
use crate::outcome::{Failure, Outcome};

/// Look at configuration, keys, clock, disk and stores, and say what to do where something is wrong
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is wrong (there may be warnings), 1 something is, 3 a store does not answer."
)]
pub(crate) struct Args {
    /// What to look at [default: everything]
    #[arg(value_enum, value_name = "PART")]
    parts: Vec<Part>,
    #[command(flatten)]
    location: LocationArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Versions,
    Configuration,
    Keys,
    Clock,
    Disk,
    Ledger,
    Database,
    Objects,
}

/// Every part, with its check, in the order they are shown. A queue of jobs gets a line here, and one in [`Part`].
const CHECKS: &[(Part, &str, Check)] = &[
    (Part::Versions, "versions", versions::check),
    (Part::Configuration, "configuration", configuration::check),
    (Part::Keys, "keys", keys::check),
    (Part::Clock, "clock", clock::check),
    (Part::Disk, "disk", disk::check),
    (Part::Ledger, "ledger", stores::ledger),
    (Part::Database, "database", stores::database),
    (Part::Objects, "objects", stores::objects),
];

type Check = fn(&Patient) -> Vec<Finding>;

/// What is looked at.
struct Patient {
    location: LocationArgs,
    /// The configuration file that was named.
    config: Option<PathBuf>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ok,
    Warning,
    /// It does not answer; it may later.
    Unavailable,
    Failed,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

/// One thing that was found, good or bad.
struct Finding {
    state: State,
    what: String,
    /// What to do about it.
    advice: Option<String>,
}

impl Finding {
    fn ok(what: impl Into<String>) -> Self {
        Self::new(State::Ok, what, None)
    }

    fn warning(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(State::Warning, what, Some(advice.into()))
    }

    fn unavailable(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(State::Unavailable, what, Some(advice.into()))
    }

    fn failed(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(State::Failed, what, Some(advice.into()))
    }

    fn new(state: State, what: impl Into<String>, advice: Option<String>) -> Self {
        let what = what.into();
        Self {
            state,
            what,
            advice,
        }
    }
}

pub(crate) fn run(args: &Args, config: Option<PathBuf>, json: bool) -> Result<Outcome, Failure> {
    let patient = Patient {
        location: args.location.clone(),
        config,
    };
    let wanted = |part: &Part| args.parts.is_empty() || args.parts.contains(part);
    let mut findings = Vec::new();
    for (_, name, check) in CHECKS.iter().filter(|(part, ..)| wanted(part)) {
        for finding in check(&patient) {
            if !json {
                show(name, &finding);
            }
            findings.push((*name, finding));
        }
    }
    let count = |state: State| {
        findings
            .iter()
            .filter(|(_, found)| found.state == state)
            .count()
    };
    let (failed, unavailable) = (count(State::Failed), count(State::Unavailable));
    if json {
        let all: Vec<_> = findings
            .iter()
            .map(|(part, finding)| {
                json!({
                    "part": part, "state": finding.state.name(), "what": finding.what, "do": finding.advice,
                })
            })
            .collect();
        println!(
            "{}",
            json!({ "well": failed + unavailable == 0, "findings": all })
        );
    }
    if failed > 0 {
        return Ok(Outcome::False);
    }
    if unavailable > 0 {
        return Err(Failure::unavailable(format!(
            "{unavailable} of what is needed does not answer"
        )));
    }
    Ok(Outcome::True)
}

fn show(part: &str, finding: &Finding) {
    println!("{:11}  {part:13}  {}", finding.state.name(), finding.what);
    if let Some(advice) = &finding.advice {
        println!("{:11}  {:13}  do: {advice}", "", "");
    }
}
