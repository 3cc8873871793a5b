//! What may be set when a server starts, with the limits it keeps otherwise.

use std::fmt;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue};

use crate::address::TrustedProxies;
use crate::limits::Rate;
use crate::tls::Tls;
use crate::watching::Thresholds;

/// How a server behaves. `Options::default()` is meant for production.
#[derive(Clone)]
pub struct Options {
    /// Lets everybody in as the local admin. Refused unless the address is a loopback one.
    pub no_auth: bool,
    /// A token that is the local admin's for as long as this server runs, and that no ledger
    /// stores: for a process that serves a ledger to itself.
    pub session_token: Option<String>,
    /// The most requests of one token; without it, as many as it likes.
    pub identity_rate: Option<Rate>,
    /// The most requests without a token from one address; without it, as many as it likes.
    pub address_rate: Option<Rate>,
    /// The most wrong tokens from one address. Beyond it no unknown token from there is looked at.
    pub failure_rate: Rate,
    /// Proxies whose `X-Forwarded-For` says where a request comes from.
    pub trusted_proxies: TrustedProxies,
    /// The origins (`https://host`) whose pages may read answers; nobody's, unless they are named.
    pub cors_origins: Vec<HeaderValue>,
    /// Whether new admins, and changes of keys, need the approval of a second admin.
    pub require_approval: bool,
    /// Whether health and metrics are answered elsewhere ([`Listeners::operation`](crate::Listeners::operation)).
    pub operation_apart: bool,
    /// How connections are encrypted; without it they are not.
    pub tls: Option<Tls>,
    /// The most connections open at once; more wait to be accepted. Each costs a task and a
    /// buffer, so this bounds memory.
    pub max_connections: usize,
    /// How long a request's headers may take to arrive, and a kept-alive connection may idle.
    pub header_timeout: Duration,
    /// How long a request's body may stall between two pieces.
    pub body_stall: Duration,
    /// How many bytes all request bodies together may take of memory; more are turned away with 503.
    pub body_room: usize,
    /// How long a client may leave an answer unread before it is cut off.
    pub write_stall: Duration,
    /// How long `wait=published` waits before it answers without proofs.
    pub published_wait: Duration,
    /// How often witnesses are asked to cosign what is new, where the ledger has a witness policy.
    pub witness_interval: Duration,
    /// Where jobs are added and seen; by default the ledger's own, which workers look through.
    pub queue: Option<jobs::Queue>,
    /// The thresholds of the rules that watch over training; `None`: nobody watches.
    pub watch: Option<Thresholds>,
    /// What is wrong with the disk under the ledger, if anything is: health says it, and the server does without.
    pub disk: Option<String>,
    /// How long requests under way may take to finish once the server is told to stop.
    pub shutdown_grace: Duration,
    /// Told of each request's span and headers before it is answered, by whoever follows traces.
    pub trace: Option<Trace>,
}

/// What is told of a request's span, and of the request's headers.
pub type Trace = fn(&tracing::Span, &HeaderMap);

impl Default for Options {
    fn default() -> Self {
        Self {
            no_auth: false,
            session_token: None,
            identity_rate: None,
            address_rate: None,
            failure_rate: Rate {
                per_second: 10.0,
                burst: 100,
            },
            trusted_proxies: TrustedProxies::default(),
            cors_origins: Vec::new(),
            require_approval: false,
            operation_apart: false,
            tls: None,
            max_connections: 1_024,
            header_timeout: Duration::from_secs(30),
            body_stall: Duration::from_secs(15),
            body_room: 128 << 20,
            write_stall: Duration::from_secs(30),
            published_wait: Duration::from_secs(10),
            witness_interval: Duration::from_secs(1),
            queue: None,
            watch: Some(Thresholds::default()),
            disk: None,
            shutdown_grace: Duration::from_secs(10),
            trace: None,
        }
    }
}

impl fmt::Debug for Options {
    /// Without the session's token: what is printed ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("no_auth", &self.no_auth)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}
