//! `rlhf-audit monitor`: follows somebody else's log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use monitor::{Look, Metrics, Monitor, MonitorError, Options, Status, Trust};

use crate::duration::duration;
use crate::environment::SystemClock;
use crate::outcome::{Failure, Outcome};

/// Follow a log: signatures, consistency, freshness, and with a token its entries; alert and keep the evidence
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The log's URL: checkpoint and tile/… lie below it (a server's is http://…/log)
    #[arg(value_name = "URL")]
    url: String,
    /// Whom to trust: a policy file (c2sp.org/tlog-policy) or a file with one verifier key [default: the one that was
    /// kept, and at first the log's own word]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Where to keep what is known of the log, and the evidence
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./audit-monitor",
        env = "RLHF_AUDIT_MONITOR_DIR"
    )]
    state_dir: PathBuf,
    /// A reader's token: entries are then read and checked too
    #[arg(
        long,
        value_name = "TOKEN",
        env = "RLHF_AUDIT_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// Read and check entries that need no token
    #[arg(long)]
    entries: bool,
    /// How long from one look to the next
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    interval: Duration,
    /// How old the newest checkpoint may be, and how long the log may be unavailable
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = duration)]
    max_age: Duration,
    /// POST alerts to this URL, as JSON
    #[arg(long, value_name = "URL", env = "RLHF_AUDIT_MONITOR_WEBHOOK")]
    webhook: Option<String>,
    /// Serve metrics at this address, under /metrics
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// Look once: 0 all is well, 1 the log is false or stale, 3 it could not be looked at
    #[arg(long)]
    once: bool,
    /// Stop at the first alert, with the exit code that --once would have
    #[arg(long, conflicts_with = "once")]
    exit_on_alert: bool,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let policy = args.policy.as_ref().map(std::fs::read).transpose();
    let policy =
        policy.map_err(|e| Failure::unavailable(format!("cannot read the policy: {e}")))?;
    let options = Options {
        url: args.url.trim_end_matches('/').to_owned(),
        token: args.token.clone(),
        entries: args.entries || args.token.is_some(),
        policy,
        state_dir: args.state_dir.clone(),
        max_age: args.max_age,
        webhook: args.webhook.clone(),
        verify: verify::Options::default(),
    };
    let mut monitor = Monitor::open(&options, Arc::new(SystemClock)).map_err(failure)?;
    say_trust(monitor.trust(), &args.state_dir);
    if let Some(address) = args.metrics {
        serve_metrics(address, monitor.metrics())?;
    }
    let mut before = None;
    loop {
        let look = monitor.look().map_err(failure)?;
        show(&look, before.as_ref(), json)?;
        let raised = look.alerts.iter().any(|alert| !alert.resolved);
        if args.once || args.exit_on_alert && raised {
            return match look.status {
                Status::True => Ok(Outcome::True),
                Status::False | Status::Stale => Ok(Outcome::False),
                Status::Unavailable => Err(Failure::unavailable(
                    look.why.unwrap_or_else(|| "the log is unavailable".into()),
                )),
            };
        }
        before = Some(look);
        std::thread::sleep(args.interval);
    }
}

fn say_trust(trust: Trust, state_dir: &std::path::Path) {
    if trust == Trust::FirstUse {
        eprintln!(
            "rlhf-audit: no policy was given, so the log's own word on its keys is taken, this first time, and kept in {}. \
             From now on it is held to it; whether these are the right keys only somebody else can tell you (--policy).",
            state_dir.join("policy").display()
        );
    }
}

/// One line a look in JSON; as text what changed.
fn show(look: &Look, before: Option<&Look>, json: bool) -> Result<(), Failure> {
    if json {
        let line = serde_json::to_string(look).map_err(Failure::input)?;
        println!("{line}");
        return Ok(());
    }
    for alert in &look.alerts {
        let word = if alert.resolved { "resolved" } else { "ALERT" };
        println!("{} {word} {}: {}", alert.time, alert.kind, alert.summary);
        if let Some(evidence) = &alert.evidence {
            println!("  evidence in {}", evidence.display());
        }
    }
    let same = before.is_some_and(|before| {
        (before.status, before.size, before.entries) == (look.status, look.size, look.entries)
    });
    if !same {
        let word = match look.status {
            Status::True => "good",
            Status::False => "FALSE",
            Status::Stale => "stale",
            Status::Unavailable => "unavailable",
        };
        let mut parts = vec![format!("{} {word}", look.time)];
        parts.extend(look.size.map(|size| format!("{size} entries")));
        parts.extend(
            look.entries
                .map(|entries| format!("{entries} of them checked")),
        );
        let unknown = look.unknown.filter(|unknown| *unknown > 0);
        parts.extend(unknown.map(|count| format!("{count} of unknown kind: meaning unchecked")));
        let why = look.why.as_ref().map(|why| format!(": {why}"));
        println!("{}{}", parts.join(", "), why.unwrap_or_default());
    }
    Ok(())
}

fn serve_metrics(address: SocketAddr, metrics: Arc<Metrics>) -> Result<(), Failure> {
    let listener = std::net::TcpListener::bind(address)
        .map_err(|e| Failure::unavailable(format!("cannot listen on {address}: {e}")))?;
    let bound = listener.local_addr().unwrap_or(address);
    listener
        .set_nonblocking(true)
        .map_err(Failure::unavailable)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(Failure::unavailable)?;
    eprintln!("rlhf-audit: metrics on http://{bound}/metrics");
    std::thread::spawn(move || {
        runtime.block_on(async {
            let scrape = move || async move {
                let text = metrics.encode().unwrap_or_default();
                ([("content-type", monitor::MEDIA_TYPE)], text)
            };
            let router = axum::Router::new().route("/metrics", axum::routing::get(scrape));
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, router).await
        })
    });
    Ok(())
}

fn failure(error: MonitorError) -> Failure {
    match error {
        MonitorError::Policy { .. } | MonitorError::Source(verify::VerifyError::Usage(_)) => {
            Failure::input(error)
        }
        error => Failure::unavailable(error),
    }
}
