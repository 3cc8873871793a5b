//! `rlhf-audit bench append`: many clients that append at once.

use std::time::Duration;

use serde_json::{Value, json};
use verify::Verdict;

use super::drive::{self, Done, Plan};
use super::host::{Host, HostArgs, word};
use super::load::{Form, MAX_RECORD_BYTES};
use super::own::Used;
use super::placed::{self, Placed};
use crate::outcome::{Failure, Outcome};

/// Append with many clients at once, and check that everything acknowledged is in the log
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// How many records each sends in one request
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9_000))]
    batch: u32,
    /// For how long
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = positive)]
    seconds: f64,
    /// Stop after so many records, however long that takes
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    records: Option<u64>,
    /// Keep to so many records a second, of all clients together, whatever the server does
    #[arg(long, value_name = "N", value_parser = positive)]
    rate: Option<f64>,
    /// About how many bytes a record has; with --sealed, how many its values have together
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=MAX_RECORD_BYTES))]
    record_bytes: u64,
    /// Append annotations with sealed values instead of policy updates
    #[arg(long)]
    sealed: bool,
    /// Do not verify the whole log at the end; what was acknowledged is looked up all the same
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    host: HostArgs,
}

pub(super) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let plan = Plan {
        clients: args.clients as usize,
        batch: args.batch as usize,
        time: match args.records {
            Some(_) => Duration::MAX,
            None => Duration::from_secs_f64(args.seconds),
        },
        records: args.records,
        rate: args.rate,
        form: Form {
            bytes: args.record_bytes as usize,
            sealed: args.sealed,
        },
    };
    let mut host = args.host.open()?;
    let before = used(&host);
    let done = drive::drive(&host, &plan)?;
    let after = used(&host);
    let placed = placed::check(&host, &host.patient_client()?, &done.acks)?;
    let verdict = if args.no_verify {
        None
    } else {
        Some(host.verify()?)
    };
    let finding = Finding {
        plan,
        done,
        server: after.map(|after| Used {
            cpu_seconds: after.cpu_seconds - before.unwrap_or_default().cpu_seconds,
            ..after
        }),
        placed,
        verdict,
    };
    if json {
        println!("{}", finding.json());
    } else {
        finding.print(&host);
    }
    Ok(if finding.is_true() {
        Outcome::True
    } else {
        Outcome::False
    })
}

fn used(host: &Host) -> Option<Used> {
    host.own.as_ref().map(super::own::Own::used)
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number < 1e9 => Ok(number),
        _ => Err("expected a number above 0".to_owned()),
    }
}

struct Finding {
    plan: Plan,
    done: Done,
    server: Option<Used>,
    placed: Placed,
    verdict: Option<Verdict>,
}

impl Finding {
    /// Everything acknowledged is there, and nothing is wrong with the log.
    fn is_true(&self) -> bool {
        self.placed.missing == 0
            && self.placed.untrusted.is_none()
            && self.done.wrong_receipts == 0
            && self.verdict != Some(Verdict::Failed)
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.done.time.as_secs_f64()
    }

    fn json(&self) -> Value {
        let (plan, done) = (&self.plan, &self.done);
        json!({
            "clients": plan.clients, "batch": plan.batch, "rate": plan.rate, "sealed": plan.form.sealed,
            "seconds": done.time.as_secs_f64(),
            "records": done.records, "records_per_second": self.per_second(done.records),
            "requests": done.requests, "requests_per_second": self.per_second(done.requests),
            "record_bytes": done.bytes,
            "latency_ms": done.latencies.json(),
            "published_ms": done.published.json(),
            "turned_away": done.turned_away, "broken": done.broken,
            "server": self.server,
            "check": {
                "log_size": self.placed.size, "found": self.placed.found, "missing": self.placed.missing,
                "wrong_receipts": done.wrong_receipts, "untrusted": self.placed.untrusted,
                "verdict": self.verdict.map(word),
            },
        })
    }

    fn print(&self, host: &Host) {
        let (plan, done) = (&self.plan, &self.done);
        println!(
            "{} clients, {} records a request, {:.1} s, on {}",
            plan.clients,
            plan.batch,
            done.time.as_secs_f64(),
            host.name()
        );
        println!(
            "records    {} of {} bytes on average, {:.0}/s",
            done.records,
            done.bytes.checked_div(done.records).unwrap_or(0),
            self.per_second(done.records)
        );
        println!(
            "requests   {}, {:.0}/s; {} turned away (503), {} broken off and sent again",
            done.requests,
            self.per_second(done.requests),
            done.turned_away,
            done.broken
        );
        println!("durable    {}", done.latencies);
        println!("published  {} after that", done.published);
        if let Some(server) = &self.server {
            println!(
                "server     {:.1} µs of processor a record, {:.0} MB of memory at most",
                server.cpu_seconds * 1e6 / done.records.max(1) as f64,
                server.peak_resident_bytes as f64 / 1e6
            );
        }
        let placed = &self.placed;
        println!(
            "checked    {} acknowledged records are in the log of {} at their index, {} are NOT",
            placed.found, placed.size, placed.missing
        );
        if let Some(why) = &placed.untrusted {
            println!("           the log is NOT to be trusted: {why}");
        }
        if done.wrong_receipts > 0 {
            println!(
                "           {} answers were about OTHER records than those sent",
                done.wrong_receipts
            );
        }
        match self.verdict {
            Some(verdict) => println!("           the whole log: {}", word(verdict)),
            None => println!("           the whole log was not verified (--no-verify)"),
        }
    }
}
