//! `rlhf-audit serve`: a ledger over HTTP.

mod edge;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jobs::{Scheduler, Tools, Worker, WorkerOptions};
use ledger::{Ledger, Role, Witnessing};
use server::Thresholds;
use tokio::signal::unix::{SignalKind, signal};

use self::edge::EdgeArgs;
use crate::commands::timestamp::Authority;
use crate::duration::duration;
use crate::hangup::on_hangup;
use crate::location::LocationArgs;
use crate::logging;
use crate::outcome::{Failure, Outcome};
use crate::place::{ledger_failure, ledger_options};
use crate::settings::{MOVED_WATCH, Parts};
use crate::traces;
use crate::vanishing;
use crate::work::{WorkArgs, adjust, name};

/// How long closing the ledger may take once requests are done, an outage of its database included.
const CLOSING: Duration = Duration::from_secs(15);

/// Serve a ledger over HTTP
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// The address to listen on
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1",
        env = "RLHF_AUDIT_HOST"
    )]
    host: std::net::IpAddr,
    /// The port to listen on
    #[arg(long, value_name = "PORT", default_value_t = 8000, env = "PORT")]
    port: u16,
    /// The first admin's token, instead of a random one that is printed
    #[arg(
        long,
        value_name = "TOKEN",
        env = "RLHF_AUDIT_ADMIN_TOKEN",
        hide_env_values = true
    )]
    admin_token: Option<String>,
    /// A file with the first admin's token
    #[arg(
        long,
        value_name = "FILE",
        env = "RLHF_AUDIT_ADMIN_TOKEN_FILE",
        conflicts_with = "admin_token"
    )]
    admin_token_file: Option<PathBuf>,
    /// Have checkpoints stamped by the time-stamping authority (RFC 3161) at this URL
    #[arg(long, value_name = "URL", env = "RLHF_AUDIT_TSA")]
    tsa: Option<String>,
    /// How long from one timestamp to the next, such as 30m, 1h or 1d; one more is asked for at the end
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration, env = "RLHF_AUDIT_TSA_INTERVAL")]
    tsa_interval: Duration,
    /// Let everybody on this machine in as admin; only on a loopback address
    #[arg(long)]
    no_auth: bool,
    /// How long requests under way may take to finish once the server is told to stop
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, env = "RLHF_AUDIT_SHUTDOWN_GRACE")]
    shutdown_grace: Duration,
    /// The data directory may go with the container, as in a try-out: health does not speak of it
    #[arg(long, env = "RLHF_AUDIT_EPHEMERAL")]
    ephemeral: bool,
    #[command(flatten)]
    witnesses: WitnessArgs,
    #[command(flatten)]
    work: WorkArgs,
    /// How many jobs to do at a time in this process; 0 leaves them to `rlhf-audit worker`
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        env = "RLHF_AUDIT_WORKERS",
        value_parser = clap::value_parser!(u16).range(0..=256)
    )]
    workers: u16,
    /// Leave the schedules to `rlhf-audit scheduler`
    #[arg(long, env = "RLHF_AUDIT_NO_SCHEDULER")]
    no_scheduler: bool,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    edge: EdgeArgs,
}

/// Who is asked to cosign what is published.
#[derive(Debug, clap::Args)]
struct WitnessArgs {
    /// Ask the witnesses of this policy (c2sp.org/tlog-policy; each with its URL) to cosign what is published
    #[arg(long, value_name = "FILE", env = "RLHF_AUDIT_WITNESS_POLICY")]
    witness_policy: Option<PathBuf>,
    /// How often, in seconds, where something is new
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 1.0,
        env = "RLHF_AUDIT_WITNESS_INTERVAL"
    )]
    witness_interval: f64,
    /// Show only checkpoints that the policy's quorum has cosigned; records are acknowledged when they are durable all
    /// the same
    #[arg(long, env = "RLHF_AUDIT_REQUIRE_QUORUM")]
    require_quorum: bool,
}

/// What is looked at while runs train.
#[derive(Debug, clap::Args)]
struct WatchArgs {
    /// Where thresholds were once
    #[arg(long, value_name = "FILE", hide = true, value_parser = moved)]
    watch_settings: Option<String>,
    /// Do not watch over training: no findings are raised
    #[arg(long, env = "RLHF_AUDIT_NO_WATCH")]
    no_watch: bool,
}

fn moved(_: &str) -> Result<String, &'static str> {
    Err(MOVED_WATCH)
}

impl WitnessArgs {
    fn witnessing(&self) -> Result<Option<Witnessing>, Failure> {
        let Some(path) = &self.witness_policy else {
            if self.require_quorum {
                return Err(Failure::input("--require-quorum needs a quorum to require")
                    .with_hint("give the policy that names the witnesses with --witness-policy"));
            }
            return Ok(None);
        };
        let policy = crate::policy::read(path)?;
        let urls = policy
            .witnesses()
            .filter_map(|witness| witness.url.as_ref());
        let mut reachable = false;
        for url in urls {
            if !(url.starts_with(b"http://") || url.starts_with(b"https://")) {
                return Err(Failure::input(format!(
                    "{}: {} is no http:// or https:// URL",
                    path.display(),
                    String::from_utf8_lossy(url)
                )));
            }
            reachable = true;
        }
        if !reachable {
            return Err(Failure::input(format!(
                "{} names no witness that could be asked",
                path.display()
            ))
            .with_hint("expected lines like: witness w1 <vkey> http://witness.example:8100"));
        }
        let require_quorum = self.require_quorum;
        Ok(Some(Witnessing {
            policy,
            require_quorum,
        }))
    }

    fn interval(&self) -> Result<Duration, Failure> {
        // Half an hour is when a witness's word begins to be stale.
        if (0.05..=1_800.0).contains(&self.witness_interval) {
            return Ok(Duration::from_secs_f64(self.witness_interval));
        }
        Err(Failure::input(format!(
            "--witness-interval is {} s, expected 0.05 to 1800",
            self.witness_interval
        )))
    }
}

pub(crate) fn run(args: &Args, parts: &Parts, json: bool) -> Result<Outcome, Failure> {
    start_logging(json);
    let address = SocketAddr::new(args.host, args.port);
    if args.no_auth && !address.ip().is_loopback() {
        return Err(Failure::input(format!(
            "--no-auth is refused on {address}, where others can reach it"
        ))
        .with_hint("listen on 127.0.0.1, or leave --no-auth away and use tokens"));
    }
    let options = ledger::Options {
        witnesses: args.witnesses.witnessing()?,
        ..ledger_options()
    };
    let edge = args.edge.options()?;
    let witness_interval = args.witnesses.interval()?;
    let plan = args.work.plan(parts)?;
    let watch = (!args.watch.no_watch).then(|| Thresholds::new(parts.watch()));
    let ledger = if args.location.exists()? {
        args.location.open_with(options)?
    } else {
        args.location.create(options)?
    };
    let ledger = Arc::new(ledger);
    first_admin(args, &ledger)?;
    ledger
        .require_approvals(args.edge.require_approval())
        .map_err(ledger_failure)?;
    let authority = args.tsa.as_deref().map(Authority::new).transpose()?;
    let listener = std::net::TcpListener::bind(address).map_err(|e| {
        Failure::unavailable(format!("cannot listen on {address}: {e}"))
            .with_hint("stop what listens there, or choose another port with --port")
    })?;
    let bound = listener.local_addr().unwrap_or(address);
    let tools = plan.tools(&ledger, &args.location.location(), args.tsa.as_deref())?;
    let options = server::Options {
        queue: Some(tools.queue.clone()),
        no_auth: args.no_auth,
        disk: vanishing_disk(args),
        witness_interval,
        shutdown_grace: args.shutdown_grace,
        watch,
        trace: traces::follows(),
        ..edge
    };
    let tls = options.tls.clone();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let running = Running {
        ledger: Arc::clone(&ledger),
        tools: Arc::clone(&tools),
        thresholds: options.watch.clone(),
        tls,
    };
    on_hangup(move |cli| running.again(cli))?;
    let metrics = args.edge.metrics_listener()?;
    let timestamps = authority
        .map(|authority| ledger.timestamp_every(args.tsa_interval, Box::new(authority)))
        .transpose()
        .map_err(ledger_failure)?;
    let scheduler = (!args.no_scheduler)
        .then(|| Scheduler::start(&tools, name()))
        .transpose()
        .map_err(Failure::unavailable)?;
    let worker = (args.workers > 0)
        .then(|| {
            let options = WorkerOptions {
                threads: args.workers.into(),
                ..WorkerOptions::new(name())
            };
            Worker::start(&tools, &options)
        })
        .transpose()
        .map_err(Failure::unavailable)?;
    let served = Arc::clone(&ledger);
    let announce = || {
        logging::announce(&format!(
            "serving {} on {scheme}://{bound}  (API: /docs, Ctrl-C stops)",
            ledger.origin()
        ));
    };
    let stop = async {
        until(|| ledger.status().failed.is_some(), announce).await;
        end_within(args.shutdown_grace + CLOSING);
    };
    let outcome = server::embedded::run_at(listener, metrics, served, options, stop);
    drop((scheduler, worker));
    ledger.close().map_err(ledger_failure)?;
    // After the last checkpoint: it gets one too.
    drop(timestamps);
    traces::finish();
    outcome.map_err(Failure::unavailable)?;
    Ok(Outcome::True)
}

/// What is to be said, in the log and in health, of a ledger that will not stay.
fn vanishing_disk(args: &Args) -> Option<String> {
    let said = vanishing::of_ledger(&args.location)?;
    if args.ephemeral {
        tracing::info!("{said} (as --ephemeral allows)");
        return None;
    }
    tracing::warn!("{said}");
    Some(said)
}

/// Ends the process after so long, whatever it waits for then: what was acknowledged is on disk, and what is not
/// published yet is after the next start.
fn end_within(bound: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(bound);
        tracing::error!(
            seconds = bound.as_secs(),
            "stopping took too long and was cut short"
        );
        std::process::exit(3);
    });
}

/// What may change in a server that runs.
struct Running {
    ledger: Arc<Ledger>,
    tools: Arc<Tools>,
    thresholds: Option<Thresholds>,
    tls: Option<server::Tls>,
}

impl Running {
    /// The configuration was read again: the first admin's token, from its file, the certificate, and the file's tables.
    fn again(&self, cli: &crate::Cli) {
        let crate::Command::Serve(args) = &cli.command else {
            return;
        };
        if let Err(error) = first_admin(args, &self.ledger) {
            tracing::error!(%error, "the admin's token stays as it was");
        }
        adjust(&self.tools, &cli.parts);
        if let Some(thresholds) = &self.thresholds {
            thresholds.replace(cli.parts.watch());
        }
        if let Some(tls) = &self.tls {
            args.edge.renew(tls);
        }
    }
}

/// Resolves on Ctrl-C, on SIGTERM, and when the ledger has failed for good.
pub(crate) async fn asked_to_stop(ledger: &Ledger) {
    until(|| ledger.status().failed.is_some(), || ()).await;
}

/// Resolves on Ctrl-C, on SIGTERM, and soon after `failed`. Calls `ready` once signals are heard: whoever reads that
/// the server is there may stop it at once.
pub(crate) async fn until(failed: impl Fn() -> bool, ready: impl FnOnce()) {
    let heard = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    ready();
    let signalled = async {
        match heard {
            (Ok(mut interrupted), Ok(mut terminated)) => {
                tokio::select! {
                    _ = interrupted.recv() => {}
                    _ = terminated.recv() => {}
                }
            }
            // Without handlers, either signal ends the process, and nothing acknowledged is lost.
            _ => std::future::pending().await,
        }
    };
    let failed = async {
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(200));
        while !failed() {
            tick.tick().await;
        }
    };
    tokio::select! {
        () = signalled => {}
        () = failed => {}
    }
}

/// The first start creates an admin token: the one given, or a random one, printed once.
fn first_admin(args: &Args, ledger: &Ledger) -> Result<(), Failure> {
    let given = match (&args.admin_token, &args.admin_token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(file)) => Some(
            std::fs::read_to_string(file)
                .map_err(|e| Failure::unavailable(format!("cannot read {}: {e}", file.display())))?
                .trim()
                .to_owned(),
        ),
        (None, None) => None,
    };
    if let Some(token) = given {
        let known = ledger.tokens().map_err(ledger_failure)?;
        let token = ledger
            .add_token(&token, "admin from configuration", Role::Admin, None)
            .map_err(|e| {
                Failure::input(e)
                    .with_hint("a token is rat_ and 43 characters of base64url: 256 random bits")
            })?;
        if !known.iter().any(|known| known.id == token.id) {
            let by = "the operator";
            tracing::info!(target: "audit", change = "created", role = "admin", token = token.id, by, "access changed");
        }
    } else if !args.no_auth && ledger.tokens().map_err(ledger_failure)?.is_empty() {
        let (token, _) = ledger
            .create_token("first admin", Role::Admin, None)
            .map_err(ledger_failure)?;
        logging::announce(&format!(
            "the first admin's token, shown this once: {token}"
        ));
    }
    Ok(())
}

pub(crate) fn start_logging(json: bool) {
    logging::start(json);
}
