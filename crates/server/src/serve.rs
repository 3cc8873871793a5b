//! Connections: accepted up to a limit, closed when they stall, finished before the server stops.
//!
//! axum's own loop knows no timeout for headers, which is why this one exists.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use ledger::Ledger;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_io_timeout::TimeoutStream;

use crate::error::ServerError;
use crate::options::Options;
use crate::own::REST;
use crate::service::Requests;
use crate::state::State;
use crate::watching::Watcher;

/// The most bytes a request's line and headers may take.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Serves `ledger` on `listener` until `shutdown` resolves, then finishes what is under way.
/// The ledger stays open; closing it is the caller's.
///
/// # Errors
/// [`ServerError::NoAuthBeyondLoopback`] before anything is served, or the socket's failure.
pub async fn serve(
    listener: TcpListener,
    ledger: Arc<Ledger>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let address = listener.local_addr()?;
    if options.no_auth && !address.ip().is_loopback() {
        return Err(ServerError::NoAuthBeyondLoopback { address });
    }
    let limits = Limits {
        connections: options.max_connections,
        header_timeout: options.header_timeout,
        write_stall: options.write_stall,
        grace: options.shutdown_grace,
    };
    let state = State::new(Arc::clone(&ledger), options);
    let watcher = state.options().watch.clone().map(|settings| {
        let findings = state.metrics().findings().clone();
        Arc::new(Watcher::new(&ledger, settings, findings))
    });
    let watching = watcher
        .as_ref()
        .map(|watcher| tokio::spawn(Arc::clone(watcher).run(Arc::clone(&ledger))));
    let asking = state
        .witnesses()
        .map(|witnesses| tokio::spawn(Arc::clone(witnesses).run(Arc::clone(&ledger))));
    let signing = tokio::spawn(sign_at_rest(state.clone()));
    tracing::info!(%address, "listening");
    accept(listener, Requests::new(state.clone()), limits, shutdown).await;
    signing.abort();
    if let (Some(watching), Some(watcher)) = (watching, watcher) {
        watching.abort();
        let stopped = tokio::task::spawn_blocking(move || watcher.stop(&ledger)).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(%error, "what the watch knows was not kept; it reads the log again");
        }
    }
    // What was written last is signed now, or after the next start's first record.
    let signed = tokio::task::spawn_blocking(move || state.sign_own(Duration::ZERO));
    if let Err(error) = signed.await {
        tracing::error!(%error, "streams were left unsigned");
    }
    if let Some(asking) = asking {
        asking.abort();
    }
    Ok(())
}

/// Signs what this server wrote on behalf of others, once it rests.
async fn sign_at_rest(state: State) {
    let mut tick = tokio::time::interval(REST);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let state = state.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || state.sign_own(REST)).await {
            tracing::error!(%error, "streams at rest could not be signed");
        }
    }
}

/// What keeps connections within bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many at once.
    pub(crate) connections: usize,
    /// How long headers may take to arrive, and a kept-alive connection may idle.
    pub(crate) header_timeout: Duration,
    /// How long an answer may wait for its reader.
    pub(crate) write_stall: Duration,
    /// How long requests under way may take once it is time to stop.
    pub(crate) grace: Duration,
}

/// Answers with `app` until `shutdown` resolves, then finishes what is under way.
pub(crate) async fn accept<A>(
    listener: TcpListener,
    app: A,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) where
    A: App + Clone,
{
    let connections = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);

    loop {
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (stream, permit) = tokio::select! {
            () = &mut shutdown => break,
            (accepted, permit) = accepted => match accepted {
                Ok((stream, _)) => (stream, permit),
                Err(error) => { rest(&error).await; continue }
            },
        };
        let connection = connection(stream, limits, app.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(permit);
        });
    }

    drop(listener);
    if tokio::time::timeout(limits.grace, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            seconds = limits.grace.as_secs(),
            "some requests did not finish and were cut off"
        );
    }
}

/// A connection whose writes give up where the reader does not read.
type Patient = Pin<Box<TimeoutStream<TcpStream>>>;

/// What answers requests and never fails to.
pub(crate) trait App:
    Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Send + 'static
{
}

impl<A> App for A where
    A: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
        + Send
        + 'static
{
}

fn connection<A: App>(
    stream: TcpStream,
    limits: Limits,
    app: A,
) -> http1::Connection<TokioIo<Patient>, A> {
    // A small answer that waits for the client's delayed ACK would cost 40 ms an append.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off Nagle's algorithm");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_stall));
    let stream = TokioIo::new(Box::pin(stream));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(stream, app)
}

/// A failed accept says nothing about the next one, except where descriptors have run out: then
/// trying again at once would only spin.
async fn rest(error: &std::io::Error) {
    let of_the_peer = matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    );
    if !of_the_peer {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
