//! A [`Bell`] in Redis, for workers in several processes: a list of ids. All of it may be lost at any time.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use redis::{Client, Connection};

use super::bell::{Bell, MOST_IDS};
use crate::error::{Result, StoreError};

/// How long a connection may take to be made, and an answer beyond what was asked to be waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many connections are kept while nobody uses them.
const IDLE: usize = 4;

/// A list of ids in a Redis server, or in what speaks its protocol.
pub struct RedisBell {
    client: Client,
    server: String,
    list: String,
    idle: Mutex<Vec<Connection>>,
}

impl RedisBell {
    /// The bell of the ledger `name` at `url`: `redis://` or `rediss://`, with user, password and number of the database.
    /// Nothing is asked of the server yet: it may come and go.
    ///
    /// # Errors
    /// [`BadConfig`](StoreError::BadConfig) for a URL that is none.
    pub fn new(url: &str, name: &str) -> Result<Self> {
        let client = Client::open(url).map_err(|error| StoreError::BadConfig {
            what: "the Redis URL",
            // Without the URL, which may hold a password.
            reason: format!("{error}; expected redis://HOST:PORT"),
        })?;
        let server = client.get_connection_info().addr().to_string();
        Ok(Self {
            client,
            server,
            list: format!("rlhf-audit:jobs:{name}"),
            idle: Mutex::default(),
        })
    }

    fn with<T>(
        &self,
        action: &'static str,
        answer: Duration,
        ask: impl FnOnce(&mut Connection) -> redis::RedisResult<T>,
    ) -> Result<T> {
        let asked = || {
            let idle = self
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.client.get_connection_with_timeout(PATIENCE)?,
            };
            connection.set_read_timeout(Some(answer))?;
            connection.set_write_timeout(Some(PATIENCE))?;
            // A connection that had a fault is not used again.
            let value = ask(&mut connection)?;
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE {
                idle.push(connection);
            }
            Ok(value)
        };
        asked().map_err(|error: redis::RedisError| StoreError::Unavailable {
            action,
            server: self.server.clone(),
            reason: error.to_string(),
        })
    }
}

impl Bell for RedisBell {
    fn ring(&self, id: &str) -> Result<()> {
        self.with("ring for a job", PATIENCE, |connection| {
            redis::pipe()
                .cmd("LPUSH")
                .arg(&self.list)
                .arg(id)
                .ignore()
                .cmd("LTRIM")
                .arg(&self.list)
                .arg(0)
                .arg(MOST_IDS)
                .ignore()
                .query::<()>(connection)
        })
    }

    fn wait(&self, patience: Duration) -> Result<Option<String>> {
        let answer = patience + PATIENCE;
        let popped: Option<(String, String)> =
            self.with("wait for a job", answer, |connection| {
                redis::cmd("BRPOP")
                    .arg(&self.list)
                    // 0 would be for ever.
                    .arg(patience.as_secs_f64().max(0.01))
                    .query(connection)
            })?;
        Ok(popped.map(|(_, id)| id))
    }
}

impl fmt::Debug for RedisBell {
    /// Without the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisBell")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
