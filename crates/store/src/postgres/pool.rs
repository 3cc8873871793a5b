//! Connections: a few are kept, and no more than allowed are open.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Fault;
use super::config::{PgOptions, Target};
use super::session::{CONNECT, Session};
use crate::error::{Result, StoreError};

/// How many idle connections are kept; more are opened while they are needed.
const IDLE: usize = 4;
/// How long to wait for one of the connections that are allowed.
const TURN: Duration = Duration::from_secs(5);
/// How long a transaction may do nothing: longer than any of ours, shorter than somebody waits for its lock twice.
const IDLE_MILLIS: u32 = 5000;

/// Makes connections, and keeps those that are idle.
pub(super) struct Pool {
    config: Config,
    tls: MakeRustlsConnect,
    server: String,
    schema: String,
    /// The tables are there and known.
    opened: AtomicBool,
    idle: Mutex<Vec<Arc<Session>>>,
    allowed: Arc<Semaphore>,
}

/// A connection from the pool, closed when it is dropped and not given back.
pub(super) struct Lent<'a> {
    pool: &'a Pool,
    session: Arc<Session>,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(options: &PgOptions) -> Result<Self> {
        options.check_schema()?;
        let target = Target::parse(&options.url)?;
        Ok(Self {
            tls: super::tls::connector(target.verify, target.roots.as_deref())?,
            config: target.config,
            server: target.server,
            schema: options.schema.clone(),
            opened: AtomicBool::new(false),
            idle: Mutex::default(),
            allowed: Arc::new(Semaphore::new(options.connections.max(1))),
        })
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// From here on, each new connection looks whether the tables are still those that this program knows.
    pub(super) fn opened(&self) {
        self.opened.store(true, Ordering::Release);
    }

    pub(super) async fn take(&self) -> Result<Lent<'_>, Fault> {
        let asked = Arc::clone(&self.allowed).acquire_owned();
        let Ok(Ok(permit)) = tokio::time::timeout(TURN, asked).await else {
            return Err(StoreError::Unavailable {
                action: "get a connection",
                server: self.server.clone(),
                reason: format!(
                    "all of this process's connections were busy for {} s",
                    TURN.as_secs()
                ),
            }
            .into());
        };
        let idle = {
            let mut idle = self.idle();
            idle.retain(|session| !session.is_closed());
            idle.pop()
        };
        let session = match idle {
            Some(session) => session,
            None => Arc::new(self.connect(IDLE_MILLIS).await?),
        };
        Ok(Lent {
            pool: self,
            session,
            _permit: permit,
        })
    }

    /// A new connection, whose transactions end when they do nothing for `idle_millis`.
    pub(super) async fn connect(&self, idle_millis: u32) -> Result<Session, Fault> {
        // The client's own limit is that of one TCP handshake; a server that accepts and says nothing is not covered.
        let hosts = self.config.get_hosts().len() as u32;
        let connected =
            tokio::time::timeout(CONNECT * 2 * hosts, self.config.connect(self.tls.clone()));
        let Ok(connected) = connected.await else {
            return Err(StoreError::Unavailable {
                action: "connect",
                server: self.server.clone(),
                reason: "it did not answer in time".to_owned(),
            }
            .into());
        };
        let (client, connection) = connected?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told; nobody else needs to know.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database ended");
            }
        });
        let mut session = Session::new(client, driver.abort_handle(), &self.server);
        session.set_up(&self.schema, idle_millis).await?;
        if self.opened.load(Ordering::Acquire) {
            super::schema::still_known(&session, &self.schema).await?;
        }
        Ok(session)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Session>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent<'_> {
    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Keeps the connection, which is in no transaction.
    pub(super) fn give_back(self) {
        let mut idle = self.pool.idle();
        if idle.len() < IDLE {
            idle.push(self.session);
        }
    }
}
