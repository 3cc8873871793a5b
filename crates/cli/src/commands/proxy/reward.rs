//! `rlhf-audit proxy reward`.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::spool::{Durability, WhenFull};
use serde_json::json;

use super::audit::{Auditor, Tally};
use super::serve::{Forwarder, serve};
use super::upstream::Upstream;
use crate::commands::serve::until;
use crate::duration::duration;
use crate::outcome::{Failure, Outcome};
use crate::spooled::{RunArgs, Spooled};

/// Stand before a reward model, and record each score
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Give OpenRLHF this address instead of the reward model's, with the same path: \
                  --reward.remote_url http://127.0.0.1:8200/get_reward."
)]
pub(crate) struct Args {
    /// The reward model: http://HOST:PORT, perhaps with a path that calls are to have before their own
    #[arg(long, value_name = "URL")]
    upstream: Upstream,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8200")]
    listen: SocketAddr,
    /// What records call the reward model
    #[arg(long, value_name = "NAME")]
    reward_model: Option<String>,
    /// How long the reward model may take to begin its answer
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = duration)]
    timeout: Duration,
    /// What to do with an answer that cannot be recorded: pass it on all the same, and report that later; or record each
    /// answer before it is passed on, and refuse it with 503 where that fails
    #[arg(long, value_name = "pass|refuse", default_value = "pass")]
    on_error: OnError,
    /// The stream to write to
    #[arg(long, default_value = "reward-proxy")]
    stream: String,
    /// Where it is kept what the server does not have yet
    #[arg(long, value_name = "DIR", default_value = "./audit-spool")]
    spool: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

/// What to do with an answer that cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnError {
    Pass,
    Refuse,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let when_full = match args.on_error {
        OnError::Pass => WhenFull::Block {
            timeout: Duration::from_secs(5),
        },
        OnError::Refuse => WhenFull::Fail,
    };
    let listener = TcpListener::bind(args.listen).map_err(|e| {
        Failure::unavailable(format!("cannot listen on {}: {e}", args.listen))
            .with_hint("stop what listens there, or choose another address with --listen")
    })?;
    let bound = listener.local_addr().unwrap_or(args.listen);
    let spooled = args.run.open(&args.spool, Durability::Process, when_full)?;
    let stream = match args.run.find(&spooled)? {
        Some(run) => spooled.join(run, &args.stream)?,
        None => args.run.start(&spooled, &args.stream)?,
    };
    let run = stream.run().map(|run| run.to_string()).unwrap_or_default();
    let (auditor, auditing) = Auditor::start(stream.clone(), args.reward_model.clone());
    let forwarder = Forwarder {
        upstream: args.upstream.clone(),
        timeout: args.timeout,
        on_error: args.on_error,
        auditor,
    };
    let ready = || {
        eprintln!(
            "rlhf-audit: proxy on http://{bound} before {} records run {run}  (Ctrl-C stops)",
            args.upstream
        );
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::unavailable)?;
    runtime
        .block_on(serve(listener, Arc::new(forwarder), until(|| false, ready)))
        .map_err(Failure::unavailable)?;
    // What is still being answered ends here, and is recorded as such.
    drop(runtime);
    let tally = auditing.join().map_err(|_| {
        Failure::unavailable("the recording thread died of a defect; please report it")
    })?;
    close(spooled, &stream, args, &run, &tally, json)
}

fn close(
    spooled: Spooled,
    stream: &client::spool::SpooledStream,
    args: &Args,
    run: &str,
    tally: &Tally,
    json: bool,
) -> Result<Outcome, Failure> {
    spooled.close(stream, args.run.seal)?;
    if json {
        println!(
            "{}",
            json!({
                "run": run, "calls": tally.calls, "rewards": tally.counts.rewards, "incidents": tally.counts.incidents,
                "not_recorded": tally.missed, "sealed": args.run.seal,
            })
        );
    } else {
        println!(
            "{} calls are in run {run}: {} rewards, {} incidents.",
            tally.calls, tally.counts.rewards, tally.counts.incidents
        );
    }
    if tally.missed > 0 {
        return Err(Failure::unavailable(format!(
            "{} calls were passed on and not recorded",
            tally.missed
        ))
        .with_hint("the messages before say why; with --on-error refuse such calls are refused"));
    }
    Ok(Outcome::True)
}
