//! The tables, and how older ones get there.

use std::sync::Arc;

use super::Fault;
use super::session::Session;
use crate::error::StoreError;

/// Each step brings the schema one version up; steps are never changed once released.
///
/// Texts compare by their bytes, as everywhere else in the ledger. The tables of the index are those of SQLite
/// (`sqlite/schema.rs` says what they mean).
const STEPS: [&str; 2] = [
    "
    -- Whoever writes holds a row of these, one for each concern.
    CREATE TABLE turns (concern INTEGER PRIMARY KEY);
    INSERT INTO turns SELECT generate_series(0, 4);

    -- Groups that are acknowledged, as frames. One row says where the next starts; whoever appends holds it.
    CREATE TABLE journal (
        first_index BIGINT PRIMARY KEY, next_index BIGINT NOT NULL CHECK (next_index > first_index),
        frame BYTEA NOT NULL, created_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
    ) WITH (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
    -- Compressing what is deleted half a minute later costs more than it saves.
    ALTER TABLE journal ALTER COLUMN frame SET STORAGE EXTERNAL;
    CREATE TABLE journal_end (
        id INTEGER PRIMARY KEY CHECK (id = 0), next_index BIGINT NOT NULL
    ) WITH (fillfactor = 10);
    INSERT INTO journal_end VALUES (0, 0);

    CREATE TABLE checkpoint (
        id INTEGER PRIMARY KEY CHECK (id = 0), size BIGINT NOT NULL, root BYTEA NOT NULL, note BYTEA NOT NULL
    ) WITH (fillfactor = 10);

    CREATE TABLE indexed (id INTEGER PRIMARY KEY CHECK (id = 0), size BIGINT NOT NULL) WITH (fillfactor = 10);
    INSERT INTO indexed VALUES (0, 0);
    CREATE TABLE scopes (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, scope TEXT COLLATE \"C\" NOT NULL UNIQUE
    );
    CREATE TABLE kind_names (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind TEXT COLLATE \"C\" NOT NULL UNIQUE
    );
    CREATE TABLE streams (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        scope_id BIGINT NOT NULL, stream TEXT COLLATE \"C\" NOT NULL,
        next_seq BIGINT NOT NULL, head BYTEA NOT NULL, key BYTEA NOT NULL, state BYTEA NOT NULL,
        UNIQUE (scope_id, stream)
    ) WITH (fillfactor = 70);
    CREATE TABLE ranges (
        stream_id BIGINT NOT NULL, first_seq BIGINT NOT NULL,
        scope_id BIGINT NOT NULL, round BIGINT NOT NULL,
        count BIGINT NOT NULL, first_index BIGINT NOT NULL, last_index BIGINT NOT NULL, spans BYTEA,
        PRIMARY KEY (stream_id, first_seq)
    );
    CREATE INDEX ranges_by_round ON ranges (scope_id, round, stream_id, first_seq);
    CREATE INDEX ranges_by_index ON ranges (scope_id, last_index);
    CREATE TABLE kinds (
        scope_id BIGINT NOT NULL, kind_id BIGINT NOT NULL, bundle BIGINT NOT NULL,
        PRIMARY KEY (scope_id, kind_id, bundle)
    );
    CREATE INDEX kinds_by_bundle ON kinds (kind_id, bundle);
    CREATE TABLE runs (
        run TEXT COLLATE \"C\" PRIMARY KEY, name TEXT COLLATE \"C\" NOT NULL, experiment TEXT, model TEXT,
        owner_key BYTEA NOT NULL, started_index BIGINT NOT NULL, started_at BIGINT NOT NULL, sealed_index BIGINT,
        status TEXT, records BIGINT NOT NULL, state BYTEA NOT NULL
    ) WITH (fillfactor = 70);
    CREATE INDEX runs_by_name ON runs (name, started_index);

    -- Not in the log, so never cleared.
    CREATE TABLE run_principals (run TEXT COLLATE \"C\" PRIMARY KEY, principal TEXT NOT NULL);
    CREATE TABLE subject_keys (
        id BYTEA PRIMARY KEY, scope TEXT COLLATE \"C\" NOT NULL, subject TEXT COLLATE \"C\" NOT NULL, wrapped BYTEA,
        UNIQUE (scope, subject)
    );
    CREATE TABLE tokens (
        ordinal BIGINT GENERATED ALWAYS AS IDENTITY,
        id TEXT COLLATE \"C\" PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, hash BYTEA NOT NULL UNIQUE,
        created BIGINT NOT NULL, expires BIGINT, revoked BIGINT
    );
    CREATE TABLE settings (name TEXT COLLATE \"C\" PRIMARY KEY, value BYTEA NOT NULL);
    CREATE TABLE leases (
        name TEXT COLLATE \"C\" PRIMARY KEY, holder TEXT NOT NULL, until TIMESTAMPTZ NOT NULL
    );
",
    "
    INSERT INTO turns VALUES (5);
    CREATE TABLE jobs (
        id TEXT COLLATE \"C\" PRIMARY KEY, kind TEXT COLLATE \"C\" NOT NULL, key TEXT COLLATE \"C\" NOT NULL,
        once BOOLEAN NOT NULL, parent TEXT COLLATE \"C\",
        payload TEXT NOT NULL, state TEXT COLLATE \"C\" NOT NULL, attempt BIGINT NOT NULL, tries BIGINT NOT NULL,
        requeues BIGINT NOT NULL, holder TEXT, done BIGINT NOT NULL, total BIGINT NOT NULL, reason TEXT, result TEXT,
        created BIGINT NOT NULL, due BIGINT NOT NULL, started BIGINT, finished BIGINT
    ) WITH (fillfactor = 70);
    CREATE UNIQUE INDEX jobs_open ON jobs (kind, key) WHERE state IN ('queued', 'running', 'retrying');
    CREATE UNIQUE INDEX jobs_once ON jobs (kind, key) WHERE once;
    CREATE INDEX jobs_due ON jobs (due) WHERE state IN ('queued', 'running', 'retrying');
    CREATE INDEX jobs_by_parent ON jobs (parent) WHERE parent IS NOT NULL;
    CREATE TABLE job_outcomes (
        kind TEXT COLLATE \"C\" NOT NULL, outcome TEXT COLLATE \"C\" NOT NULL, count BIGINT NOT NULL,
        PRIMARY KEY (kind, outcome)
    );
    CREATE TABLE schedules (name TEXT COLLATE \"C\" PRIMARY KEY, last BIGINT NOT NULL);
",
];

/// Brings the schema up to date, all steps in one transaction; processes that start together take turns.
pub(super) async fn migrate(session: Arc<Session>, schema: String) -> Result<(), Fault> {
    warn_of_fsync(&session).await?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let found = version(&session, &schema).await?;
    if found == known {
        return Ok(());
    }
    session.batch("BEGIN").await?;
    session
        .query(
            "SELECT pg_advisory_xact_lock(hashtextextended('rlhf-audit ' || $1, 0))",
            &[&schema],
        )
        .await?;
    let found = version(&session, &schema).await?;
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    let Some(steps) = STEPS.get(done..) else {
        return Err(StoreError::NewerSchema {
            path: session.server().into(),
            found,
            known,
        }
        .into());
    };
    if found == 0 {
        session
            .batch(&format!(
                "CREATE SCHEMA IF NOT EXISTS \"{schema}\";
                 CREATE TABLE schema_version (id INTEGER PRIMARY KEY CHECK (id = 0), version BIGINT NOT NULL);
                 INSERT INTO schema_version VALUES (0, 0);"
            ))
            .await?;
    }
    for step in steps {
        session.batch(step).await?;
    }
    session
        .execute("UPDATE schema_version SET version = $1", &[&known])
        .await?;
    session.commit().await
}

/// 0 where there are no tables yet.
async fn version(session: &Session, schema: &str) -> Result<i64, Fault> {
    let table = session
        .query_opt(
            "SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'schema_version'",
            &[&schema],
        )
        .await?;
    if table.is_none() {
        return Ok(0);
    }
    let row = session
        .query_opt("SELECT version FROM schema_version", &[])
        .await?;
    row.map_or_else(
        || {
            Err(Fault::Damaged(
                "the table `schema_version` is empty".to_owned(),
            ))
        },
        |row| Ok(row.try_get(0)?),
    )
}

async fn warn_of_fsync(session: &Session) -> Result<(), Fault> {
    let off = session
        .query_opt("SELECT WHERE current_setting('fsync') = 'off'", &[])
        .await?;
    if off.is_some() {
        tracing::warn!(
            server = session.server(),
            "fsync is off at the database: a power loss there loses what was acknowledged"
        );
    }
    Ok(())
}
