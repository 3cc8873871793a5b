//! `rlhf-audit demo`: a small, real RLHF run, recorded through the interface that every user has.

mod learning;
mod script;
mod tamper;
mod world;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ledger::{Ledger, Role};

use crate::commands::serve::asked_to_stop;
use crate::outcome::{Failure, Outcome};
use crate::place::{client_failure, ledger_failure, ledger_options};

/// Perform a small real RLHF run and show what the ledger makes of it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to put the demo's ledger and documents [default: a new directory ./rlhf-audit-demo]
    #[arg(long, value_name = "DIR", default_value = "./rlhf-audit-demo")]
    data_dir: PathBuf,
    /// The seed of everything that is computed; ids, times and keys differ each time
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// End when done instead of serving the ledger
    #[arg(long)]
    no_serve: bool,
    /// The port to serve on
    #[arg(long, value_name = "PORT", default_value_t = 8000, env = "PORT")]
    port: u16,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let began = Instant::now();
    if args.data_dir.join("ledger.json").exists() {
        std::fs::remove_dir_all(&args.data_dir).map_err(|e| {
            Failure::unavailable(format!(
                "cannot remove the last demo in {}: {e}",
                args.data_dir.display()
            ))
        })?;
    }
    let ledger =
        Arc::new(Ledger::create(&args.data_dir, ledger_options()).map_err(ledger_failure)?);
    let (producer, _) = ledger
        .create_token("demo trainer", Role::Producer, None)
        .map_err(ledger_failure)?;
    let (admin, _) = ledger
        .create_token("demo operator", Role::Admin, None)
        .map_err(ledger_failure)?;

    let port = if args.no_serve { 0 } else { args.port };
    let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).map_err(|e| {
        Failure::unavailable(format!("cannot listen on 127.0.0.1:{port}: {e}"))
            .with_hint("stop what listens there, or choose another port with --port, or end with --no-serve")
    })?;
    let address = listener
        .local_addr()
        .map_err(|e| Failure::unavailable(format!("the listener has no address: {e}")))?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = Arc::clone(&ledger);
    let thread = std::thread::spawn(move || {
        server::embedded::run(
            listener,
            Arc::clone(&served),
            server::Options::default(),
            async {
                let _ = stopped.await;
            },
        )
    });

    let url = format!("http://{address}");
    let trainer = client::Client::new(&url, Some(&producer)).map_err(client_failure)?;
    let operator = client::Client::new(&url, Some(&admin)).map_err(client_failure)?;
    let stage = script::Stage {
        trainer: &trainer,
        operator: &operator,
        data_dir: &args.data_dir,
        seed: args.seed,
        json,
    };
    let outcome = stage.perform();

    if outcome.is_ok() && !args.no_serve {
        script::last_screen(&url, &args.data_dir, &admin, began.elapsed());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::unavailable(format!("cannot wait for Ctrl-C: {e}")))?;
        runtime.block_on(asked_to_stop(&ledger));
    }
    drop(stop);
    let outcome_of_serving = thread
        .join()
        .map_err(|_| Failure::unavailable("the server died of a defect; please report it"))?;
    ledger.close().map_err(ledger_failure)?;
    outcome_of_serving.map_err(Failure::unavailable)?;
    outcome
}
