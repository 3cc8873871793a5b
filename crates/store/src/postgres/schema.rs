//! The tables, and how older ones get there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Fault;
use super::error::Sorted;
use super::session::{LOCK_MILLIS, Session};
use crate::error::StoreError;
use crate::net::pause_after;
use crate::schema::{self, Found, PROGRAM, Step};

/// See [`Step`] for what may change, and how. Each is to take locks for no longer than an append may wait: other servers
/// work meanwhile.
///
/// Texts compare by their bytes, as everywhere else in the ledger. The tables of the index are those of SQLite
/// (`sqlite/schema.rs` says what they mean).
pub(super) const STEPS: [Step; 3] = [
    Step {
        sql: TABLES,
        oldest: 1,
    },
    Step {
        sql: JOBS,
        oldest: 2,
    },
    Step {
        sql: HISTORY,
        oldest: 2,
    },
];

/// The version that this program knows.
pub(super) const KNOWN: i64 = schema::version(&STEPS);

const TABLES: &str = "
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
";

const JOBS: &str = "
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
";

const HISTORY: &str = "
    CREATE TABLE schema_history (
        version BIGINT PRIMARY KEY, oldest BIGINT NOT NULL, program TEXT NOT NULL,
        at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
    );
";

/// How long a step waits for a lock of its own: others wait behind it, so it is given up soon, and tried again.
const STEP_LOCK_MILLIS: u32 = 500;
/// How long all of it may take: another process may be at it, or a dump may hold what a step wants to change.
const PATIENCE: Duration = Duration::from_mins(1);

/// Brings the schema up to the newest of `steps`, each in its own transaction; processes that start together take turns.
/// One that is newer and may be used is left as it is.
pub(super) async fn migrate(
    session: Arc<Session>,
    schema: String,
    steps: &[Step],
) -> Result<(), Fault> {
    warn_of_fsync(&session).await?;
    let begun = Instant::now();
    let mut attempt = 0;
    loop {
        let found = found(&session, &schema).await?;
        let Some(step) = found.next(steps, session.server().as_ref())? else {
            return Ok(());
        };
        match take(&session, &schema, &found, step).await {
            Ok(()) => attempt = 0,
            Err(fault) if !is_late(&fault) => return Err(fault),
            Err(Fault::Database(error)) if begun.elapsed() > PATIENCE => {
                return Err(StoreError::Unavailable {
                    action: "bring the schema up to date",
                    server: session.server().to_owned(),
                    reason: format!(
                        "its tables are in use by something that holds them ({error}); look into pg_stat_activity for a \
                         long transaction, such as a dump, and start again after it"
                    ),
                }
                .into());
            }
            Err(_) => {
                session.rollback().await?;
                tokio::time::sleep(pause_after(attempt)).await;
                attempt += 1;
            }
        }
    }
}

/// Takes a step, unless somebody else has taken it meanwhile.
async fn take(session: &Session, schema: &str, before: &Found, step: &Step) -> Result<(), Fault> {
    session
        .batch(&format!("BEGIN; SET LOCAL lock_timeout = {LOCK_MILLIS}"))
        .await?;
    session
        .query(
            "SELECT pg_advisory_xact_lock(hashtextextended('rlhf-audit ' || $1, 0))",
            &[&schema],
        )
        .await?;
    if found(session, schema).await? != *before {
        return session.rollback().await;
    }
    if before.version == 0 {
        session
            .batch(&format!(
                "CREATE SCHEMA IF NOT EXISTS \"{schema}\";
                 CREATE TABLE schema_version (id INTEGER PRIMARY KEY CHECK (id = 0), version BIGINT NOT NULL);
                 INSERT INTO schema_version VALUES (0, 0);"
            ))
            .await?;
    } else if step.oldest > before.oldest {
        refuse_older(session, schema, before.version + 1, step.oldest).await?;
    }
    session
        .batch(&format!("SET LOCAL lock_timeout = {STEP_LOCK_MILLIS}"))
        .await?;
    session.batch(step.sql).await?;
    session
        .execute("UPDATE schema_version SET version = $1", &[&step.oldest])
        .await?;
    if has_table(session, schema, "schema_history").await? {
        let version = before.version + 1;
        session
            .execute(
                "INSERT INTO schema_history (version, oldest, program) VALUES ($1, $2, $3)",
                &[&version, &step.oldest, &PROGRAM],
            )
            .await?;
    }
    session.commit().await
}

/// Whether a lock was not to be had in time, or another process was in the way.
fn is_late(fault: &Fault) -> bool {
    matches!(fault, Fault::Database(error) if Sorted::of(error) == Sorted::Late)
}

/// What the database says of its schema; version 0 where there are no tables yet.
async fn found(session: &Session, schema: &str) -> Result<Found, Fault> {
    if !has_table(session, schema, "schema_version").await? {
        return Ok(Found::bare(0));
    }
    let row = session
        .query_opt("SELECT version FROM schema_version", &[])
        .await?;
    let Some(row) = row else {
        let reason = "the table `schema_version` is empty".to_owned();
        return Err(Fault::Damaged(reason));
    };
    let bare = Found::bare(row.try_get(0)?);
    if !has_table(session, schema, "schema_history").await? {
        return Ok(bare);
    }
    let last = session
        .query_opt(
            "SELECT version, program FROM schema_history ORDER BY version DESC LIMIT 1",
            &[],
        )
        .await?;
    let Some(last) = last else { return Ok(bare) };
    Ok(Found {
        version: last.try_get(0)?,
        program: last.try_get(1)?,
        ..bare
    })
}

async fn has_table(session: &Session, schema: &str, table: &str) -> Result<bool, Fault> {
    let found = session
        .query_opt(
            "SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = $2",
            &[&schema, &table],
        )
        .await?;
    Ok(found.is_some())
}

/// What marks a session as one of a program that knows so many steps, for as long as it lives.
pub(super) fn mark(schema: &str) -> String {
    format!("SELECT pg_advisory_lock_shared(hashtext('rlhf-audit {schema}'), {KNOWN});")
}

/// Refuses where programs that know less than `oldest` are connected. Those from before sessions were marked are known by
/// their name, which had no version; which ledger of the database they have is not known. One of today's that has no mark
/// yet has read nothing either.
async fn refuse_older(session: &Session, schema: &str, to: i64, oldest: i64) -> Result<(), Fault> {
    let rows = session
        .query(
            "SELECT 'pid ' || others.pid || coalesce(' from ' || host(others.client_addr), '')
             FROM pg_catalog.pg_stat_activity AS others
             LEFT JOIN pg_catalog.pg_locks AS marks
                 ON marks.pid = others.pid AND marks.locktype = 'advisory' AND marks.objsubid = 2 AND marks.granted
             WHERE others.datname = current_database() AND others.pid <> pg_backend_pid()
                 AND CASE WHEN marks.pid IS NULL THEN others.application_name = 'rlhf-audit'
                     ELSE marks.classid::bigint = (hashtext('rlhf-audit ' || $1)::bigint & 4294967295)
                         AND marks.objid::bigint < $2 END
             ORDER BY others.pid LIMIT 10",
            &[&schema, &oldest],
        )
        .await?;
    if rows.is_empty() {
        return Ok(());
    }
    let others: Vec<String> = rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    Err(StoreError::SchemaInUse {
        server: session.server().to_owned(),
        to,
        others: others.join(", "),
    }
    .into())
}

/// Whether this program may still use the tables: a newer one may have been here since they were opened.
pub(super) async fn still_known(session: &Session, schema: &str) -> Result<(), Fault> {
    let newer = session
        .query_opt("SELECT FROM schema_version WHERE version > $1", &[&KNOWN])
        .await?;
    if newer.is_some() {
        found(session, schema)
            .await?
            .next(&STEPS, session.server().as_ref())?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::thread;

    use testkit::services::{Postgres as Server, postgres};

    use super::*;
    use crate::postgres::{PgMeta, PgOptions, Postgres};
    use crate::{Result, SettingStore as _};

    /// What a later program might add.
    const ADDS: Step = Step {
        sql: "ALTER TABLE settings ADD COLUMN note TEXT; CREATE TABLE more (id BIGINT PRIMARY KEY);",
        oldest: 2,
    };
    /// And what it might change.
    const CHANGES: Step = Step {
        sql: "ALTER TABLE settings RENAME TO options;",
        oldest: 5,
    };

    fn options() -> PgOptions {
        let server = postgres();
        PgOptions {
            schema: server.new_schema(),
            ..PgOptions::new(server.url())
        }
    }

    /// What a later program with these steps would do when it opens the tables.
    fn later(options: &PgOptions, steps: &[Step]) -> Result<Postgres> {
        let steps: Vec<Step> = STEPS.iter().chain(steps).copied().collect();
        Postgres::open_with(Arc::new(crate::net::Net::new()?), options, steps.leak())
    }

    #[test]
    fn an_older_program_goes_on_while_a_newer_one_adds_and_after_it_is_gone() {
        let options = options();
        let running = PgMeta::new(&Postgres::open(&options).unwrap());
        running.kv_put("name", b"before").unwrap();
        drop(later(&options, &[ADDS]).unwrap());
        running.kv_put("name", b"meanwhile").unwrap();
        running.kv_put("other", b"new").unwrap();
        let opened = PgMeta::new(&Postgres::open(&options).unwrap());
        assert_eq!(opened.kv_get("name").unwrap().unwrap(), b"meanwhile");
        opened.kv_put("name", b"after").unwrap();
        // And forward again: nothing is done twice.
        drop(later(&options, &[ADDS]).unwrap());
        let number = postgres().sql(&format!(
            "SELECT version FROM {}.schema_version",
            options.schema
        ));
        assert_eq!(number, "2", "what older programs take for the version");
    }

    #[test]
    fn what_older_programs_could_not_live_with_waits_until_they_are_gone() {
        let options = options();
        let running = Postgres::open(&options).unwrap();
        // Ledgers of their own are in nobody's way.
        let _other = Postgres::open(&super::tests::options()).unwrap();
        let refused = later(&options, &[ADDS, CHANGES]).unwrap_err();
        assert!(
            matches!(refused, StoreError::SchemaInUse { to: 5, .. }),
            "{refused:?}"
        );
        PgMeta::new(&running).kv_put("name", b"it goes on").unwrap();
        drop(running);
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Err(error) = later(&options, &[ADDS, CHANGES]) {
            assert!(Instant::now() < deadline, "{error}");
            thread::sleep(Duration::from_millis(50));
        }
        let refused = Postgres::open(&options).unwrap_err();
        assert!(
            matches!(
                refused,
                StoreError::NewerSchema {
                    found: 5,
                    known: 3,
                    oldest: 5,
                    ..
                }
            ),
            "{refused:?}"
        );
        assert!(refused.to_string().contains(PROGRAM), "{refused}");
    }

    /// It asks whether it may use the tables after it is marked, so nobody has to wait for it.
    #[test]
    fn a_session_that_is_not_marked_yet_is_in_nobodys_way() {
        let server = Server::start();
        let options = PgOptions::new(server.url());
        drop(Postgres::open(&options).unwrap());
        let ended = || {
            while server.sql(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rlhf-audit%'",
            ) != "0"
            {
                thread::sleep(Duration::from_millis(10));
            }
        };
        let while_connected = |program: &str| {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let mut config: tokio_postgres::Config = server.url().parse().unwrap();
            config.application_name(program);
            let (_client, connection) = runtime
                .block_on(config.connect(tokio_postgres::NoTls))
                .unwrap();
            runtime.spawn(connection);
            later(&options, &[ADDS, CHANGES]).map(drop)
        };
        ended();
        let refused = while_connected("rlhf-audit").unwrap_err();
        assert!(
            matches!(refused, StoreError::SchemaInUse { .. }),
            "{refused:?}"
        );
        ended();
        while_connected(PROGRAM).unwrap();
    }

    /// It was cut off while somebody changed the schema under it.
    #[test]
    fn a_program_that_comes_back_to_a_schema_it_does_not_know_says_so() {
        let options = options();
        let running = PgMeta::new(&Postgres::open(&options).unwrap());
        let cut_off = || {
            postgres().sql(&format!(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks
                 WHERE locktype = 'advisory' AND objsubid = 2 AND pid <> pg_backend_pid()
                 AND classid::bigint = (hashtext('rlhf-audit {}')::bigint & 4294967295)",
                options.schema
            ))
        };
        cut_off();
        running.kv_put("name", b"it is back").unwrap();
        cut_off();
        later(&options, &[ADDS, CHANGES]).unwrap();
        let refused = running.kv_put("name", b"lost").unwrap_err();
        assert!(
            matches!(refused, StoreError::NewerSchema { found: 5, .. }),
            "{refused:?}"
        );
    }

    /// A dump holds a table that a step wants: appends do not queue behind the step, which comes to its turn at last.
    #[test]
    fn a_step_that_waits_for_a_table_lets_others_pass() {
        let options = options();
        let running = PgMeta::new(&Postgres::open(&options).unwrap());
        running.kv_put("name", b"before").unwrap();
        let table = format!("{}.settings", options.schema);
        thread::scope(|scope| {
            let dump = scope.spawn(|| {
                postgres().sql(&format!(
                    "BEGIN; LOCK TABLE {table} IN ACCESS SHARE MODE; SELECT pg_sleep(3); COMMIT;"
                ))
            });
            let locked = format!(
                "SELECT count(*) FROM pg_locks WHERE mode = 'AccessShareLock' AND relation = '{table}'::regclass"
            );
            while postgres().sql(&locked) == "0" {
                thread::sleep(Duration::from_millis(10));
            }
            let newer = scope.spawn(|| later(&options, &[ADDS]).map(drop));
            let mut slowest = Duration::ZERO;
            while !dump.is_finished() {
                let begun = Instant::now();
                running.kv_put("name", b"meanwhile").unwrap();
                slowest = slowest.max(begun.elapsed());
                thread::sleep(Duration::from_millis(20));
            }
            newer.join().unwrap().unwrap();
            assert!(
                slowest < Duration::from_secs(2),
                "a write waited {slowest:?}"
            );
        });
    }

    #[test]
    fn two_that_bring_it_up_at_once_make_each_step_once() {
        let options = options();
        drop(Postgres::open(&options).unwrap());
        thread::scope(|scope| {
            let both: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| later(&options, &[ADDS]).map(drop)))
                .collect();
            for one in both {
                one.join().unwrap().unwrap();
            }
        });
        let made = postgres().sql(&format!(
            "SELECT string_agg(version::text, ' ' ORDER BY version) FROM {}.schema_history",
            options.schema
        ));
        assert_eq!(made, "3 4");
    }
}
