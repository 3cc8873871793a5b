//! What can keep a server from starting or going on. Refused requests are [`crate::Problem`]s.

use std::io;
use std::net::SocketAddr;

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Anybody on the network would be admin.
    #[error(
        "no-auth is for loopback addresses only, and this server listens on {address}; listen on 127.0.0.1 or leave authentication on"
    )]
    NoAuthBeyondLoopback {
        /// Where the server was to listen.
        address: SocketAddr,
    },
    /// The listening socket failed.
    #[error("the listening socket failed: {0}")]
    Listener(#[from] io::Error),
}
