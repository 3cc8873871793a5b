//! Connections: accepted up to a limit, closed when they stall, finished before the server stops.
//!
//! axum's own loop knows no timeout for headers, which is why this one exists.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use ledger::Ledger;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_io_timeout::TimeoutStream;

use crate::error::ServerError;
use crate::options::Options;
use crate::own::REST;
use crate::router::operation;
use crate::service::Requests;
use crate::state::State;
use crate::tls::Tls;
use crate::watching::Watcher;

/// The most bytes a request's line and headers may take.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// How often it is looked for records to time: what was sequenced in between seems that much younger.
const SAMPLE: Duration = Duration::from_millis(50);

/// The most connections to health and metrics at an address of their own.
const OPERATION_CONNECTIONS: usize = 64;
/// How often it is written down which tokens were used, in [`REST`]s.
const USES_EVERY: u32 = 60;

/// Where requests come in.
#[derive(Debug)]
pub struct Listeners {
    /// Everything; where `operation` is given, but for health and metrics.
    pub main: TcpListener,
    /// Health and metrics alone. Never encrypted: it is for an address that only the operator reaches.
    pub operation: Option<TcpListener>,
}

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
    let listeners = Listeners {
        main: listener,
        operation: None,
    };
    serve_at(listeners, ledger, options, shutdown).await
}

/// As [`serve`], with health and metrics at an address of their own where one is given.
///
/// # Errors
/// As [`serve`].
pub async fn serve_at(
    listeners: Listeners,
    ledger: Arc<Ledger>,
    mut options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let address = listeners.main.local_addr()?;
    if options.no_auth && !address.ip().is_loopback() {
        return Err(ServerError::NoAuthBeyondLoopback { address });
    }
    options.operation_apart = listeners.operation.is_some();
    let limits = Limits {
        connections: options.max_connections,
        header_timeout: options.header_timeout,
        write_stall: options.write_stall,
        grace: options.shutdown_grace,
    };
    let tls = options.tls.clone();
    let state = State::new(Arc::clone(&ledger), options);
    let watcher = state.options().watch.clone().map(|thresholds| {
        let findings = state.metrics().findings().clone();
        Arc::new(Watcher::new(&ledger, thresholds, findings))
    });
    let watching = watcher
        .as_ref()
        .map(|watcher| tokio::spawn(Arc::clone(watcher).run(Arc::clone(&ledger))));
    let asking = state
        .witnesses()
        .map(|witnesses| tokio::spawn(Arc::clone(witnesses).run(Arc::clone(&ledger))));
    let keeping = tokio::spawn(keep_books(state.clone()));
    let timing = tokio::spawn(time_publishing(state.clone()));
    let timing_cosigning = tokio::spawn(time_cosigning(state.clone()));
    tracing::info!(%address, encrypted = tls.is_some(), "listening");

    let (stop, stopped) = watch::channel(());
    let shutdown = async move {
        shutdown.await;
        drop(stop);
    };
    let until =
        |mut stopped: watch::Receiver<()>| async move { while stopped.changed().await.is_ok() {} };
    let requests = Requests::new(state.clone());
    let main = accept(
        listeners.main,
        |peer| requests.of(peer),
        tls,
        limits,
        until(stopped.clone()),
    );
    let operation = async {
        let Some(listener) = listeners.operation else {
            return;
        };
        let app = TowerToHyperService::new(operation(state.clone()));
        let limits = Limits {
            connections: OPERATION_CONNECTIONS,
            ..limits
        };
        accept(listener, |_| app.clone(), None, limits, until(stopped)).await;
    };
    tokio::join!(shutdown, main, operation);

    keeping.abort();
    timing.abort();
    timing_cosigning.abort();
    if let (Some(watching), Some(watcher)) = (watching, watcher) {
        watching.abort();
        let stopped = tokio::task::spawn_blocking(move || watcher.stop(&ledger)).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(%error, "what the watch knows was not kept; it reads the log again");
        }
    }
    // What was written last is signed now, or after the next start's first record.
    let kept = tokio::task::spawn_blocking(move || {
        state.sign_own(Duration::ZERO);
        state.reads().record(state.ledger(), true);
        state.note_uses();
    });
    if let Err(error) = kept.await {
        tracing::error!(%error, "streams were left unsigned");
    }
    if let Some(asking) = asking {
        asking.abort();
    }
    Ok(())
}

/// Serves health and metrics alone until `shutdown` resolves: for a process that works on `ledger` beside its servers.
pub(crate) async fn serve_operation(
    listener: TcpListener,
    ledger: Arc<Ledger>,
    options: Options,
    shutdown: impl Future<Output = ()>,
) {
    let limits = Limits {
        connections: OPERATION_CONNECTIONS,
        header_timeout: options.header_timeout,
        write_stall: options.write_stall,
        grace: options.shutdown_grace,
    };
    let app = TowerToHyperService::new(operation(State::new(ledger, options)));
    accept(listener, |_| app.clone(), None, limits, shutdown).await;
}

/// Signs what this server wrote on behalf of others, once it rests; records what auditors have read, and writes down
/// which tokens were used.
async fn keep_books(state: State) {
    let mut tick = tokio::time::interval(REST);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0_u32;
    loop {
        tick.tick().await;
        ticks = ticks.wrapping_add(1);
        let state = state.clone();
        let kept = tokio::task::spawn_blocking(move || {
            state.sign_own(REST);
            state.reads().record(state.ledger(), false);
            if ticks.is_multiple_of(USES_EVERY) {
                state.note_uses();
            }
        });
        if let Err(error) = kept.await {
            tracing::error!(%error, "streams at rest could not be signed");
        }
    }
}

/// Measures, now and then, how long what has an index waits to be published.
async fn time_publishing(state: State) {
    let mut tick = tokio::time::interval(SAMPLE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut measured = state.ledger().status().published;
    loop {
        tick.tick().await;
        let sequenced = state.ledger().status().sequenced;
        if sequenced <= measured {
            continue;
        }
        let began = Instant::now();
        if !state.ledger().published(sequenced).await {
            return;
        }
        state.metrics().published(began.elapsed());
        measured = sequenced;
    }
}

/// Samples how long a published checkpoint waits for a quorum of its witnesses.
async fn time_cosigning(state: State) {
    if state.witnesses().is_none() {
        return;
    }
    let size_of = |at: Option<ledger::Published>| at.map_or(0, |at| at.checkpoint.size.0);
    let mut tick = tokio::time::interval(SAMPLE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut measured = size_of(state.ledger().latest());
    loop {
        tick.tick().await;
        let published = size_of(state.ledger().latest());
        if published <= measured {
            continue;
        }
        let began = Instant::now();
        while size_of(state.ledger().cosigned()) < published {
            tick.tick().await;
        }
        state.metrics().cosigned(began.elapsed());
        measured = published;
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

/// Answers with what `app` gives for the other end's address until `shutdown` resolves, then finishes what is under way.
pub(crate) async fn accept<A: App>(
    listener: TcpListener,
    app: impl Fn(IpAddr) -> A,
    tls: Option<Tls>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let connections = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);

    loop {
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (stream, peer, permit) = tokio::select! {
            () = &mut shutdown => break,
            (accepted, permit) = accepted => match accepted {
                Ok((stream, peer)) => (stream, peer, permit),
                Err(error) => { rest(&error).await; continue }
            },
        };
        let (stream, app) = (patient(stream, limits), app(peer.ip()));
        let Some(tls) = tls.clone() else {
            let connection = graceful.watch(connection(stream, limits, app));
            tokio::spawn(async move {
                ended(connection.await);
                drop(permit);
            });
            continue;
        };
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let agreed = tokio::time::timeout(limits.header_timeout, tls.accept(stream));
            match agreed.await {
                Ok(Ok(stream)) => ended(watcher.watch(connection(stream, limits, app)).await),
                Ok(Err(error)) => tracing::debug!(%error, "no encryption was agreed on"),
                Err(_) => tracing::debug!("no encryption was agreed on in time"),
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

fn patient(stream: TcpStream, limits: Limits) -> Patient {
    // A small answer that waits for the client's delayed ACK would cost 40 ms an append.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off Nagle's algorithm");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.write_stall));
    Box::pin(stream)
}

fn connection<S, A: App>(stream: S, limits: Limits, app: A) -> http1::Connection<TokioIo<S>, A>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), app)
}

fn ended(outcome: Result<(), hyper::Error>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended early");
    }
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
