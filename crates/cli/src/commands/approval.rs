//! `rlhf-audit approval request|list|approve|reject`.

use client::ApprovalSummary;
use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::place::{PlaceArgs, client_failure};

/// Ask a second admin for approval, and decide what others ask for
///
/// Where the server was started with --require-approval, new admins and changes of keys need it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Ask for a change of a key; for a new admin, ask with `token create --role admin`
    Request {
        /// Which key: log, operator, producer or deployment
        #[arg(long, value_name = "PURPOSE")]
        rotate: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// List what was asked for
    List {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Approve what another admin asked for
    Approve {
        /// The request
        request: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Reject it
    Reject {
        /// The request
        request: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    match &args.action {
        Action::Request { rotate, place } => {
            let opened = place.open()?;
            let asked = opened.client.ask_rotation(rotate).map_err(client_failure)?;
            opened.close()?;
            if json {
                println!("{}", json!(asked));
            } else {
                println!("{}", asked.request);
                eprintln!(
                    "Another admin has to approve ({}). Then stop the server and rotate the key within a week.",
                    how(&asked.request)
                );
            }
        }
        Action::List { place } => {
            let requests = place.open()?.client.approvals().map_err(client_failure)?;
            if json {
                println!("{}", json!({ "requests": requests }));
            } else {
                for request in &requests {
                    println!("{}", line(request));
                }
            }
        }
        Action::Approve { request, place } => decide(request, true, place, json)?,
        Action::Reject { request, place } => decide(request, false, place, json)?,
    }
    Ok(Outcome::True)
}

fn decide(request: &str, approve: bool, place: &PlaceArgs, json: bool) -> Result<(), Failure> {
    let opened = place.open()?;
    let decided = opened
        .client
        .decide(request, approve)
        .map_err(client_failure)?;
    opened.close()?;
    if json {
        println!("{}", json!(decided));
    } else {
        println!("{}", line(&decided));
    }
    Ok(())
}

fn line(request: &ApprovalSummary) -> String {
    format!(
        "{}  {:8}  {:12}  {}, asked for by {} at {}",
        request.request, request.state, request.wanted, request.detail, request.by, request.asked
    )
}

/// What the other admin types.
pub(super) fn how(request: &str) -> String {
    format!("rlhf-audit approval approve {request}")
}
