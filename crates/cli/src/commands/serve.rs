//! `rlhf-audit serve`: a ledger over HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ledger::{Ledger, Role};

use crate::commands::timestamp::Authority;
use crate::duration::duration;
use crate::outcome::{Failure, Outcome};
use crate::place::{ledger_failure, ledger_options, open_ledger, run_server};

/// Serve a ledger over HTTP
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The ledger's directory; a ledger is created where there is none
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./audit-data",
        env = "RLHF_AUDIT_DATA_DIR"
    )]
    data_dir: PathBuf,
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
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    start_logging(json);
    let address = SocketAddr::new(args.host, args.port);
    if args.no_auth && !address.ip().is_loopback() {
        return Err(Failure::input(format!(
            "--no-auth is refused on {address}, where others can reach it"
        ))
        .with_hint("listen on 127.0.0.1, or leave --no-auth away and use tokens"));
    }
    let ledger = if args.data_dir.join("ledger.json").exists() {
        open_ledger(&args.data_dir)?
    } else {
        Ledger::create(&args.data_dir, ledger_options()).map_err(ledger_failure)?
    };
    let ledger = Arc::new(ledger);
    first_admin(args, &ledger)?;
    let authority = args.tsa.as_deref().map(Authority::new).transpose()?;
    let listener = std::net::TcpListener::bind(address).map_err(|e| {
        Failure::unavailable(format!("cannot listen on {address}: {e}"))
            .with_hint("stop what listens there, or choose another port with --port")
    })?;
    let bound = listener.local_addr().unwrap_or(address);
    eprintln!(
        "rlhf-audit: serving {} on http://{bound}  (API: /docs, Ctrl-C stops)",
        ledger.origin()
    );
    let options = server::Options {
        no_auth: args.no_auth,
        ..server::Options::default()
    };
    let timestamps = authority
        .map(|authority| ledger.timestamp_every(args.tsa_interval, Box::new(authority)))
        .transpose()
        .map_err(ledger_failure)?;
    let served = Arc::clone(&ledger);
    let outcome = run_server(listener, served, options, asked_to_stop(&ledger));
    ledger.close().map_err(ledger_failure)?;
    // After the last checkpoint: it gets one too.
    drop(timestamps);
    outcome.map_err(Failure::unavailable)?;
    Ok(Outcome::True)
}

/// Resolves on Ctrl-C, on SIGTERM, and when the ledger has failed for good.
pub(crate) async fn asked_to_stop(ledger: &Ledger) {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    let failed = async {
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(200));
        while ledger.status().failed.is_none() {
            tick.tick().await;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
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
        ledger
            .add_token(&token, "admin from configuration", Role::Admin, None)
            .map_err(|e| {
                Failure::input(e)
                    .with_hint("a token is rat_ and 43 characters of base64url: 256 random bits")
            })?;
    } else if !args.no_auth && ledger.tokens().map_err(ledger_failure)?.is_empty() {
        let (token, _) = ledger
            .create_token("first admin", Role::Admin, None)
            .map_err(ledger_failure)?;
        eprintln!("rlhf-audit: the first admin's token, shown this once: {token}");
    }
    Ok(())
}

fn start_logging(json: bool) {
    use std::io::IsTerminal as _;
    let filter = tracing_subscriber::EnvFilter::try_from_env("RLHF_AUDIT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second call, as in a test, leaves the first logger in place.
    let _ = if json || !std::io::stderr().is_terminal() {
        builder.json().try_init()
    } else {
        builder.try_init()
    };
}
