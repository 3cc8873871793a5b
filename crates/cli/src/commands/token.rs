//! `rlhf-audit token create|list|show|revoke`.

use std::time::Duration;

use client::{ApprovalSummary, IssuedToken, TokenSummary, WantedToken};
use record::{Clock as _, Timestamp};
use serde_json::json;

use crate::duration::duration;
use crate::environment::SystemClock;
use crate::outcome::{Failure, Outcome};
use crate::place::{PlaceArgs, client_failure};

/// Create, list, show and revoke access tokens
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Create a token; it is shown once
    Create(Box<Create>),
    /// List the tokens, without their secrets
    List {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Show all that is known of a token, but for its secret
    Show {
        /// The token's id, from `token list`
        id: String,
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

#[derive(Debug, clap::Args)]
struct Create {
    /// What it is for
    #[arg(long)]
    name: String,
    /// What it allows: admin, producer, reader, auditor or witness
    #[arg(long)]
    role: String,
    /// When it ends by itself: in 12h or 90d, or at a time like 2027-01-01T00:00:00.000000Z
    #[arg(long, value_name = "TIME", value_parser = end)]
    expires: Option<End>,
    /// What an auditor reads: documents, aggregates, records, sealed; several with commas
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    parts: Vec<String>,
    /// A run that an auditor reads, by its id or name; several with commas [default: all]
    #[arg(long = "run", value_name = "RUN", value_delimiter = ',')]
    runs: Vec<String>,
    /// How many records a producer may append a day
    #[arg(long, value_name = "N")]
    records_per_day: Option<u64>,
    /// How many bytes a producer may append a day
    #[arg(long, value_name = "N")]
    bytes_per_day: Option<u64>,
    /// The token of the same role whose holder gets this one: runs that were started with that are gone on with
    #[arg(long, value_name = "ID")]
    succeeds: Option<String>,
    /// The request for an admin's token that another admin has approved
    #[arg(long, value_name = "REQUEST")]
    request: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// When a token ends.
#[derive(Debug, Clone, Copy)]
enum End {
    At(Timestamp),
    After(Duration),
}

fn end(text: &str) -> Result<End, String> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(End::At(at));
    }
    duration(text)
        .map(End::After)
        .map_err(|error| format!("{error}; or a time like 2027-01-01T00:00:00.000000Z"))
}

impl End {
    fn time(self) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::After(rest) => {
                let micros = i64::try_from(rest.as_micros()).unwrap_or(i64::MAX);
                Timestamp(SystemClock.now().0.saturating_add(micros))
            }
        }
    }
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    match &args.action {
        Action::Create(wanted) => create(wanted, json),
        Action::List { place } => list(place, json),
        Action::Show { id, place } => show(id, place, json),
        Action::Revoke { id, place } => revoke(id, place, json),
    }
}

fn create(args: &Create, json: bool) -> Result<Outcome, Failure> {
    let wanted = WantedToken {
        name: args.name.clone(),
        role: args.role.clone(),
        expires: args.expires.map(End::time),
        parts: args.parts.clone(),
        runs: args.runs.clone(),
        records_per_day: args.records_per_day,
        bytes_per_day: args.bytes_per_day,
        succeeds: args.succeeds.clone(),
        request: args.request.clone(),
    };
    let opened = args.place.open()?;
    let issued = opened.client.issue_token(&wanted).map_err(client_failure)?;
    match issued {
        IssuedToken::Made(token) => {
            // Before anything else can fail: it is shown this once.
            if json {
                println!(
                    "{}",
                    json!({ "id": token.id, "token": token.token, "role": wanted.role })
                );
            } else {
                println!("{}", token.token);
                eprintln!(
                    "This {} token ({}) is shown this once.",
                    wanted.role, token.id
                );
            }
        }
        IssuedToken::Asked(request) => asked(&request, json),
    }
    opened.close()?;
    Ok(Outcome::True)
}

/// Says what another admin has to do.
fn asked(request: &ApprovalSummary, json: bool) {
    if json {
        println!("{}", json!(request));
        return;
    }
    println!("{}", request.request);
    eprintln!(
        "No token yet: another admin has to approve ({}). Then give the same again with --request {}.",
        super::approval::how(&request.request),
        request.request
    );
}

fn list(place: &PlaceArgs, json: bool) -> Result<Outcome, Failure> {
    let tokens = place.open()?.client.tokens().map_err(client_failure)?;
    if json {
        println!("{}", json!({ "tokens": tokens }));
        return Ok(Outcome::True);
    }
    for token in tokens {
        println!(
            "{}  {:8}  {:7}  {:27}  {}",
            token.id,
            token.role,
            state(&token),
            token
                .last_used
                .map_or_else(|| "never used".to_owned(), |time| time.to_string()),
            token.name
        );
    }
    Ok(Outcome::True)
}

fn show(id: &str, place: &PlaceArgs, json: bool) -> Result<Outcome, Failure> {
    let token = place.open()?.client.token(id).map_err(client_failure)?;
    if json {
        println!("{}", json!(token));
        return Ok(Outcome::True);
    }
    let runs = match &token.runs[..] {
        [] if token.role == "auditor" => Some("all".to_owned()),
        [] => None,
        runs => Some(runs.join(" ")),
    };
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    let lines = [
        ("id", Some(token.id.clone())),
        ("name", Some(token.name.clone())),
        ("role", Some(token.role.clone())),
        ("state", Some(state(&token).to_owned())),
        ("created", Some(token.created.to_string())),
        ("expires", time(token.expires)),
        ("revoked", time(token.revoked)),
        ("last used", time(token.last_used)),
        (
            "parts",
            (!token.parts.is_empty()).then(|| token.parts.join(" ")),
        ),
        ("runs", runs),
        ("records a day", number(token.records_per_day)),
        ("bytes a day", number(token.bytes_per_day)),
        ("succeeds", token.succeeds.clone()),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            println!("{name:13}  {value}");
        }
    }
    Ok(Outcome::True)
}

fn revoke(id: &str, place: &PlaceArgs, json: bool) -> Result<Outcome, Failure> {
    let opened = place.open()?;
    opened.client.revoke_token(id).map_err(client_failure)?;
    opened.close()?;
    if json {
        println!("{}", json!({ "revoked": id }));
    } else {
        println!("Revoked {id}.");
    }
    Ok(Outcome::True)
}

fn state(token: &TokenSummary) -> &str {
    match (token.state.as_str(), token.revoked) {
        ("", Some(_)) => "revoked",
        ("", None) => "valid",
        (state, _) => state,
    }
}
