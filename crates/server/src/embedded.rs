//! A ledger served by the process that has it open: to itself alone, over loopback, so that there is one path for
//! whoever works on a directory and for whoever works on a server.
//!
//! Not where a ledger is opened, nor who speaks to it: the caller makes a client of [`Embedded::url`] and
//! [`Embedded::token`].

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use ledger::{Ledger, LedgerError};
use record::{Entropy, Sha256};
use tokio::sync::oneshot;

use crate::error::ServerError;
use crate::options::Options;
use crate::serve::{Listeners, serve_at, serve_operation};

/// A ledger and the server behind which it stands. What was acknowledged is on disk whether this is closed or not;
/// closing publishes it too.
pub struct Embedded {
    ledger: Arc<Ledger>,
    address: SocketAddr,
    /// Lets this process in; never leaves it.
    token: String,
    /// The process that serves. After a fork the child has this value, but no thread behind it.
    process: u32,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServerError>>>,
}

/// Why a ledger is not served, or was not closed in order.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// No socket can be had on this machine.
    #[error("cannot listen on the loopback address: {0}")]
    Loopback(#[source] std::io::Error),
    /// The server ended.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server panicked.
    #[error("the embedded server died of a defect; please report it")]
    Defect,
    /// The ledger could not be closed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Serves until `shutdown`, on a runtime of its own.
///
/// # Errors
/// As [`crate::serve`], and where the system gives no threads for the runtime.
pub fn run(
    listener: TcpListener,
    ledger: Arc<Ledger>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    run_at(listener, None, ledger, options, shutdown)
}

/// As [`run`], with health and metrics at an address of their own where one is given.
///
/// # Errors
/// As [`run`].
pub fn run_at(
    listener: TcpListener,
    operation: Option<TcpListener>,
    ledger: Arc<Ledger>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listeners = Listeners {
            main: asynchronous(listener)?,
            operation: operation.map(asynchronous).transpose()?,
        };
        serve_at(listeners, ledger, options, shutdown).await
    })
}

/// Serves health and metrics alone until `shutdown`, on one thread of its own: for a worker or a scheduler.
///
/// # Errors
/// Where the system gives no thread for the runtime, or the socket fails.
pub fn run_operation(
    listener: TcpListener,
    ledger: Arc<Ledger>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        serve_operation(asynchronous(listener)?, ledger, options, shutdown).await;
        Ok(())
    })
}

fn asynchronous(listener: TcpListener) -> std::io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

impl Embedded {
    /// Serves a ledger on a free loopback port, behind a token drawn for this session. Nobody else knows the token, and
    /// no ledger stores it.
    ///
    /// # Errors
    /// [`EmbeddedError::Loopback`].
    pub fn serve(ledger: Ledger, entropy: &dyn Entropy) -> Result<Self, EmbeddedError> {
        let ledger = Arc::new(ledger);
        let mut secret = [0; 32];
        entropy.fill(&mut secret);
        let token = Sha256(secret).to_string();
        let options = Options {
            session_token: Some(token.clone()),
            ..Options::default()
        };
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .map_err(EmbeddedError::Loopback)?;
        let address = listener.local_addr().map_err(EmbeddedError::Loopback)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::clone(&ledger);
        let thread = std::thread::spawn(move || {
            run(listener, served, options, async {
                // An error only says that the sender is gone, which is an order to stop as well.
                let _ = stopped.await;
            })
        });
        Ok(Self {
            ledger,
            address,
            token,
            process: std::process::id(),
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Where it is served: `http://127.0.0.1:` and a port.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What lets this process in, as the local admin.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Stops serving, publishes what was acknowledged, and closes the ledger.
    ///
    /// # Errors
    /// [`EmbeddedError`]: what failed while serving, or now.
    pub fn close(mut self) -> Result<(), EmbeddedError> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), EmbeddedError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        if self.process != std::process::id() {
            // A fork: the threads are the parent's, and so is the ledger.
            std::mem::forget(self.stop.take());
            std::mem::forget(thread);
            return Ok(());
        }
        drop(self.stop.take());
        match thread.join() {
            Ok(served) => served?,
            Err(_) => return Err(EmbeddedError::Defect),
        }
        self.ledger.close()?;
        Ok(())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Whoever wants to know closes; what was acknowledged is on disk either way.
        let _ = self.shut_down();
        if self.process != std::process::id() {
            // Dropping the ledger would join threads that this process does not have.
            std::mem::forget(Arc::clone(&self.ledger));
        }
    }
}

impl std::fmt::Debug for Embedded {
    /// Without the token: what is printed ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
