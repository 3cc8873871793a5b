//! [`MetaStore`](crate::MetaStore) and [`Journal`](crate::Journal) in PostgreSQL, for a ledger of several processes.
//!
//! What is guarded is guarded by row locks and compare-and-swap inside transactions, never by a lease or by the order
//! in which a network delivers: every write first takes a lock, in a statement of its own that has been answered, and
//! only then says what it writes. So a write that was cut off has either been kept by the time somebody else (or a read
//! of the process that is in doubt) gets that lock, or never will be.
//!
//! Sessions are kept, with prepared statements and settings of their own: a pooler in between has to pool sessions.

mod checkpoint;
mod config;
mod error;
mod index;
mod jobs;
mod journal;
mod keys;
mod leases;
mod pool;
mod schema;
mod session;
mod tls;
mod tokens;
mod update;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use config::PgOptions;
pub use journal::PgJournal;

use crate::error::{Result, StoreError};
use crate::net::{Net, pause_after};
use crate::schema::Step;
use error::Sorted;
use pool::Pool;
use session::Session;

/// Why a transaction was rolled back.
type Fault = crate::rows::Fault<tokio_postgres::Error>;

/// A database that holds a ledger. Clones share their connections.
#[derive(Clone)]
pub struct Postgres(Arc<Shared>);

struct Shared {
    net: Arc<Net>,
    pool: Pool,
    retain: Duration,
    doubts: [Doubt; Concern::COUNT],
}

/// Writes of a concern of which it is unknown whether they were kept: whoever reads next waits for the lock.
#[derive(Debug, Default)]
struct Doubt {
    /// How many there were.
    arisen: AtomicU64,
    /// How many of them a later holder of the lock has settled.
    settled: AtomicU64,
}

/// What is written under one lock.
#[derive(Debug, Clone, Copy)]
enum Concern {
    Checkpoint,
    Index,
    Keys,
    Tokens,
    Settings,
    Jobs,
}

impl Concern {
    const COUNT: usize = 6;
}

/// How long a read, or a write that has not begun, is tried again while the database cannot be reached.
const RETRY: Duration = Duration::from_secs(4);

impl Postgres {
    /// Connects, and brings the schema up to date.
    ///
    /// # Errors
    /// [`BadConfig`](StoreError::BadConfig) for options that cannot be; [`NewerSchema`](StoreError::NewerSchema) if a
    /// newer version of this program has changed the tables such that this one can no longer use them;
    /// [`SchemaInUse`](StoreError::SchemaInUse) if this one would, under an older one that runs; [`Unavailable`](StoreError::Unavailable) if it does not answer.
    pub fn open(options: &PgOptions) -> Result<Self> {
        Self::open_with(Arc::new(Net::new()?), options, &schema::STEPS)
    }

    fn open_with(net: Arc<Net>, options: &PgOptions, steps: &'static [Step]) -> Result<Self> {
        let database = Self(Arc::new(Shared {
            net,
            pool: Pool::new(options)?,
            retain: options.retain,
            doubts: Default::default(),
        }));
        let schema = options.schema.clone();
        database.run("bring the schema up to date", move |session| {
            schema::migrate(session, schema.clone(), steps)
        })?;
        database.0.pool.opened();
        Ok(database)
    }

    /// The host and the database, without user and password.
    pub fn server(&self) -> &str {
        self.0.pool.server()
    }

    /// Runs what reads, or does not mind being done twice. It is tried again for a while if the database goes away.
    fn run<T, F>(
        &self,
        action: &'static str,
        work: impl Fn(Arc<Session>) -> F + Send + Sync + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let shared = Arc::clone(&self.0);
        self.wait(action, async move { shared.retried(None, work).await })
    }

    /// Reads what belongs to a concern: every write that returned before, and what is in doubt of those that failed.
    fn read<T, F>(
        &self,
        concern: Concern,
        action: &'static str,
        work: impl Fn(Arc<Session>) -> F + Send + Sync + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let doubt = &self.0.doubts[concern as usize];
        let arisen = doubt.arisen.load(Ordering::Acquire);
        if doubt.settled.load(Ordering::Acquire) < arisen {
            // A write that changes nothing: once it has the lock, nothing of an earlier one is on its way.
            self.write(concern, action, |_| async { Ok(()) })?;
            doubt.settled.fetch_max(arisen, Ordering::AcqRel);
        }
        self.run(action, work)
    }

    /// Runs `work` in a transaction under the concern's lock, which is committed if it succeeds. It is tried again only
    /// while it cannot have been committed.
    fn write<T, F>(
        &self,
        concern: Concern,
        action: &'static str,
        work: impl Fn(Arc<Session>) -> F + Send + Sync + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let shared = Arc::clone(&self.0);
        self.wait(
            action,
            async move { shared.retried(Some(concern), work).await },
        )
    }

    fn wait<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T> {
        match self.0.net.wait(work) {
            Some(outcome) => {
                outcome.map_err(|fault| error::store_error(self.server(), action, fault))
            }
            None => Err(StoreError::Unavailable {
                action,
                server: self.server().to_owned(),
                reason: "the thread that talks to it failed".to_owned(),
            }),
        }
    }
}

impl Shared {
    /// Does `work`, in a transaction of its own for a concern, until it succeeds, fails for good, or time is up. A
    /// session that had a fault is not used again.
    async fn retried<T, F>(
        &self,
        concern: Option<Concern>,
        work: impl Fn(Arc<Session>) -> F + Sync,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>> + Send,
        T: Send,
    {
        let begun = Instant::now();
        let mut attempt = 0;
        loop {
            let (fault, again) = match self.attempt(concern, &work).await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            let pause = pause_after(attempt);
            let passing = matches!(&fault, Fault::Database(error)
                if matches!(Sorted::of(error), Sorted::Lost | Sorted::Late));
            if !again || !passing || begun.elapsed() + pause > RETRY {
                return Err(fault);
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// One attempt; a fault comes with whether it may be made again.
    async fn attempt<T, F>(
        &self,
        concern: Option<Concern>,
        work: &(impl Fn(Arc<Session>) -> F + Sync),
    ) -> Result<T, (Fault, bool)>
    where
        F: Future<Output = Result<T, Fault>> + Send,
        T: Send,
    {
        let again = |fault| (fault, true);
        let lent = self.pool.take().await.map_err(again)?;
        let session = lent.session();
        if let Some(concern) = concern {
            session.begin(concern).await.map_err(again)?;
        }
        match work(Arc::clone(session)).await {
            Ok(value) => {
                if let Some(concern) = concern {
                    session.commit().await.map_err(|fault| {
                        let doubt = &self.doubts[concern as usize];
                        doubt.arisen.fetch_add(1, Ordering::AcqRel);
                        (fault, false)
                    })?;
                }
                lent.give_back();
                Ok(value)
            }
            Err(fault) => {
                let healthy = matches!(&fault, Fault::Refused(error) if !error.is_unavailable());
                if healthy && session.rollback().await.is_ok() {
                    lent.give_back();
                }
                Err((fault, true))
            }
        }
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Postgres")
            .field(&self.server())
            .finish()
    }
}

/// A [`MetaStore`](crate::MetaStore) in PostgreSQL, shared by all processes of a ledger.
#[derive(Debug, Clone)]
pub struct PgMeta {
    database: Postgres,
}

impl PgMeta {
    /// The tables of `database`.
    pub fn new(database: &Postgres) -> Self {
        Self {
            database: database.clone(),
        }
    }
}
