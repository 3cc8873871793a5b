//! Health and metrics at an address of their own: of a server that shows them nowhere else, and of workers and
//! schedulers, which have no other address.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use jobs::Queue;
use ledger::Ledger;
use tokio::sync::oneshot;

use crate::logging;
use crate::outcome::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct OperationArgs {
    /// Answer health and metrics at this address and nowhere else, without a token and unencrypted
    #[arg(long, value_name = "ADDRESS:PORT", env = "RLHF_AUDIT_METRICS_LISTEN")]
    metrics_listen: Option<SocketAddr>,
}

/// Health and metrics, answered until this is dropped.
pub(crate) struct Operation {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OperationArgs {
    /// The socket, where one is asked for.
    pub(crate) fn listener(&self) -> Result<Option<TcpListener>, Failure> {
        let Some(address) = self.metrics_listen else {
            return Ok(None);
        };
        let listener = TcpListener::bind(address).map_err(|e| {
            Failure::unavailable(format!("cannot listen on {address}: {e}"))
                .with_hint("choose another address with --metrics-listen")
        })?;
        if let Ok(address) = listener.local_addr() {
            logging::announce(&format!("health and metrics at http://{address}"));
        }
        Ok(Some(listener))
    }

    /// Answers there, in a thread of its own, how `ledger` looks from this process and what jobs `queue` has.
    pub(crate) fn start(
        &self,
        ledger: &Ledger,
        queue: &Queue,
    ) -> Result<Option<Operation>, Failure> {
        let Some(listener) = self.listener()? else {
            return Ok(None);
        };
        let options = server::Options {
            queue: Some(queue.clone()),
            ..server::Options::default()
        };
        let ledger = Arc::new(ledger.clone());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let stopped = async {
                // An error only says that the sender is gone, which is an order to stop as well.
                let _: Result<(), _> = stopped.await;
            };
            let served = server::embedded::run_operation(listener, ledger, options, stopped);
            if let Err(error) = served {
                tracing::error!(%error, "health and metrics are answered no more");
            }
        });
        Ok(Some(Operation {
            stop: Some(stop),
            thread: Some(thread),
        }))
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and ends nothing else.
            let _ = thread.join();
        }
    }
}
