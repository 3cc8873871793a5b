//! The proxy's own side: connections from callers.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::Semaphore;

use super::audit::Auditor;
use super::reward::OnError;
use super::upstream::Upstream;

/// The most connections at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 4_096;
/// How long calls may take to end once the proxy is to stop.
const END_WITHIN: Duration = Duration::from_secs(30);
/// Between two attempts to accept, where the system has no room for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Passes calls on.
pub(super) struct Forwarder {
    pub(super) upstream: Upstream,
    pub(super) timeout: Duration,
    pub(super) on_error: OnError,
    pub(super) auditor: Auditor,
}

/// Serves until `stop`, and lets the calls end that are going on.
pub(super) async fn serve(
    listener: TcpListener,
    forwarder: Arc<Forwarder>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let forwarder = Arc::clone(&forwarder);
        let service = service_fn(move |call| {
            let forwarder = Arc::clone(&forwarder);
            async move { Ok::<_, Infallible>(forwarder.forward(call).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .preserve_header_case(true)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A caller that hangs up is its own concern.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    // What takes longer ends with the process.
    let _ = tokio::time::timeout(END_WITHIN, graceful.shutdown()).await;
    Ok(())
}
