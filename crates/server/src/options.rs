//! What may be set when a server starts, with the limits it keeps otherwise.

use std::time::Duration;

/// How a server behaves. `Options::default()` is meant for production.
#[derive(Clone, Debug)]
pub struct Options {
    /// Lets everybody in as the local admin. Refused unless the address is a loopback one.
    pub no_auth: bool,
    /// The most connections open at once; more wait to be accepted. Each costs a task and a
    /// buffer, so this bounds memory.
    pub max_connections: usize,
    /// How long a request's headers may take to arrive, and a kept-alive connection may idle.
    pub header_timeout: Duration,
    /// How long a request's body may stall between two pieces.
    pub body_stall: Duration,
    /// How long `wait=published` waits before it answers without proofs.
    pub published_wait: Duration,
    /// How long requests under way may take to finish once the server is told to stop.
    pub shutdown_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            no_auth: false,
            max_connections: 1_024,
            header_timeout: Duration::from_secs(30),
            body_stall: Duration::from_secs(15),
            published_wait: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(10),
        }
    }
}
