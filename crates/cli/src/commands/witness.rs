//! `rlhf-audit witness`: cosigns the checkpoints of other people's logs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::witness::{Options, Witness};
use serde_json::json;
use tlog::Policy;

use crate::commands::serve::start_logging;
use crate::environment::{SystemClock, SystemEntropy};
use crate::outcome::{Failure, Outcome};
use crate::place::ledger_failure;

/// Cosign the checkpoints of other people's logs, as long as they only grow
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A witness is worth something only apart from the log it watches: on another machine, under \
                  somebody else's hand. Give its vkey to whoever runs the log and to whoever verifies it."
)]
pub(crate) struct Args {
    /// The witness's directory, its own; a witness is made where there is none
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./witness-data",
        env = "RLHF_AUDIT_WITNESS_DATA_DIR"
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
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 8100,
        env = "RLHF_AUDIT_WITNESS_PORT"
    )]
    port: u16,
    /// The name in its signatures, such as witness.example.com/w1; fixed at the first start
    #[arg(long, value_name = "NAME", env = "RLHF_AUDIT_WITNESS_NAME")]
    name: Option<String>,
    /// Make an ML-DSA-44 key too, whose signatures hold out against quantum computers
    #[arg(long)]
    ml_dsa_44: bool,
    /// A log to watch: its policy file, or a file with one verifier key; may be repeated
    #[arg(long = "log", value_name = "VKEY_FILE")]
    logs: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    start_logging(json);
    if args.logs.is_empty() {
        return Err(
            Failure::input("a witness needs a log to watch, and none was given")
                .with_hint("give the policy file of each log with --log"),
        );
    }
    let logs = args
        .logs
        .iter()
        .map(|path| read_log(path))
        .collect::<Result<_, _>>()?;
    let options = Options {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        name: args.name.clone(),
        ml_dsa_44: args.ml_dsa_44,
        logs,
    };
    let witness = Witness::open(&args.data_dir, options).map_err(ledger_failure)?;
    let address = SocketAddr::new(args.host, args.port);
    let listener = std::net::TcpListener::bind(address).map_err(|e| {
        Failure::unavailable(format!("cannot listen on {address}: {e}"))
            .with_hint("stop what listens there, or choose another port with --port")
    })?;
    let bound = listener.local_addr().unwrap_or(address);
    let witness = Arc::new(witness);
    let ready = || introduce(&witness, &bound, json);
    serve(listener, &witness, ready).map_err(Failure::unavailable)?;
    match witness.status().failed {
        None => Ok(Outcome::True),
        Some(reason) => Err(Failure::unavailable(reason)),
    }
}

/// The keys on standard output, for whoever writes a policy; the rest where the log goes.
fn introduce(witness: &Witness, address: &SocketAddr, json: bool) {
    let vkeys: Vec<String> = witness.vkeys().iter().map(ToString::to_string).collect();
    let logs: Vec<String> = witness
        .status()
        .logs
        .into_iter()
        .map(|(log, _)| log)
        .collect();
    if json {
        println!(
            "{}",
            json!({ "name": witness.name(), "vkeys": vkeys, "logs": logs, "url": format!("http://{address}") })
        );
    } else {
        for vkey in vkeys {
            println!("{vkey}");
        }
    }
    crate::logging::announce(&format!(
        "witness {} on http://{address} watches {}  (Ctrl-C stops)",
        witness.name(),
        logs.join(", ")
    ));
}

fn serve(
    listener: std::net::TcpListener,
    witness: &Arc<Witness>,
    ready: impl FnOnce(),
) -> Result<(), server::ServerError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let stop = super::serve::until(|| witness.status().failed.is_some(), ready);
        let options = server::witness::Options::default();
        server::witness::serve(listener, Arc::clone(witness), options, stop).await
    })
}

/// A log's policy, or its one key.
fn read_log(path: &Path) -> Result<Policy, Failure> {
    let policy = crate::policy::read(path)?;
    if policy.logs().is_empty() {
        return Err(
            Failure::input(format!("{} names no log", path.display())).with_hint(
                "expected a `log <vkey>` line: the policy that `rlhf-audit init` wrote has one",
            ),
        );
    }
    Ok(policy)
}
