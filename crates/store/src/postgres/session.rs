//! One connection, with its settings and prepared statements.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::{Concern, Fault};
use crate::error::StoreError;

/// How long a connection may take to be made, to one host.
pub(super) const CONNECT: Duration = Duration::from_secs(3);
/// How long a statement waits for a lock.
pub(super) const LOCK_MILLIS: u32 = 3000;
/// How long a statement may take; the largest is a round of the index, or clearing it.
const STATEMENT_MILLIS: u32 = 20_000;
/// After that, what was asked is given up here as well: the server, or the way to it, hangs.
const ANSWER: Duration = Duration::from_millis(STATEMENT_MILLIS as u64 + 2000);

/// Parameters of a statement.
pub(super) type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A connection that is set up.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    /// Prepared here; all texts are constants.
    statements: Mutex<HashMap<&'static str, Statement>>,
    server: String,
    connection: AbortHandle,
    answer: Duration,
}

impl Session {
    pub(super) fn new(client: Client, connection: AbortHandle, server: &str) -> Self {
        Self {
            client,
            statements: Mutex::default(),
            server: server.to_owned(),
            connection,
            answer: ANSWER,
        }
    }

    /// Sets the session up for the tables in `schema`, losing its transaction when it does nothing for `idle_millis`: so
    /// does a process that was frozen. A commit is durable, or more than that if the server is set up so.
    pub(super) async fn set_up(&mut self, schema: &str, idle_millis: u32) -> Result<(), Fault> {
        let mark = super::schema::mark(schema);
        let settings = format!(
            "SET search_path = \"{schema}\", pg_catalog;
             SET lock_timeout = {LOCK_MILLIS};
             SET statement_timeout = {STATEMENT_MILLIS};
             SET idle_in_transaction_session_timeout = {idle_millis};
             SET default_transaction_isolation = 'read committed';
             SET client_min_messages = warning;
             {mark}
             SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') <> 'remote_apply';"
        );
        let set = self.client.batch_execute(&settings);
        answered(CONNECT, &self.server, set).await
    }

    /// From here on, answers are waited for no longer than this.
    pub(super) fn hurry(&mut self, answer: Duration) {
        self.answer = answer;
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) async fn prepare(&self, sql: &'static str) -> Result<Statement, Fault> {
        let statements = || {
            self.statements
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let known = statements().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.answered(self.client.prepare(sql)).await?;
        statements().insert(sql, statement.clone());
        Ok(statement)
    }

    pub(super) async fn query(
        &self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Fault> {
        let statement = self.prepare(sql).await?;
        self.query_prepared(&statement, values).await
    }

    /// The one row of a statement that has at most one.
    pub(super) async fn query_opt(
        &self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<Option<Row>, Fault> {
        Ok(self.query(sql, values).await?.pop())
    }

    pub(super) async fn execute(
        &self,
        sql: &'static str,
        values: Values<'_>,
    ) -> Result<u64, Fault> {
        let statement = self.prepare(sql).await?;
        self.execute_prepared(&statement, values).await
    }

    /// Statements that are prepared are sent when they are first polled: several, joined, take one round trip.
    pub(super) async fn query_prepared(
        &self,
        statement: &Statement,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Fault> {
        self.answered(self.client.query(statement, values)).await
    }

    /// As [`query_prepared`](Self::query_prepared), for how many rows were changed.
    pub(super) async fn execute_prepared(
        &self,
        statement: &Statement,
        values: Values<'_>,
    ) -> Result<u64, Fault> {
        self.answered(self.client.execute(statement, values)).await
    }

    /// Statements without parameters.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Fault> {
        self.answered(self.client.batch_execute(sql)).await
    }

    /// Begins a transaction under the lock of a concern.
    pub(super) async fn begin(&self, concern: Concern) -> Result<(), Fault> {
        let lock = self
            .prepare("SELECT concern FROM turns WHERE concern = $1 FOR UPDATE")
            .await?;
        let concern = concern as i32;
        let (begun, locked) = tokio::join!(
            biased;
            self.batch("BEGIN"),
            async { self.query_prepared(&lock, &[&concern]).await },
        );
        begun?;
        if locked?.is_empty() {
            return Err(Fault::Damaged(format!(
                "the table `turns` lacks row {concern}"
            )));
        }
        Ok(())
    }

    /// After an error it is unknown whether it was committed.
    pub(super) async fn commit(&self) -> Result<(), Fault> {
        self.batch("COMMIT").await
    }

    pub(super) async fn rollback(&self) -> Result<(), Fault> {
        self.batch("ROLLBACK").await
    }

    async fn answered<T>(
        &self,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Fault> {
        answered(self.answer, &self.server, asked).await
    }
}

impl Drop for Session {
    /// Closes the connection at once, also when the server does not answer: that ends its transaction.
    fn drop(&mut self) {
        self.connection.abort();
    }
}

async fn answered<T>(
    patience: Duration,
    server: &str,
    asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(patience, asked).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(StoreError::Unavailable {
            action: "get an answer",
            server: server.to_owned(),
            reason: format!("it said nothing for {} s", patience.as_secs()),
        }
        .into()),
    }
}
