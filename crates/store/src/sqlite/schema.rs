//! The tables, and how older files get them.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::sort;
use crate::error::{Result, StoreError};

/// Each step brings the schema one version up; steps are never changed once released.
const STEPS: [&str; 3] = [
    "
    -- At most one row.
    CREATE TABLE checkpoint (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL
    );

    -- The index: all below up to `runs` is cleared and rebuilt. Texts are interned, to keep rows small.
    CREATE TABLE indexed (id INTEGER PRIMARY KEY CHECK (id = 0), size INTEGER NOT NULL);
    INSERT INTO indexed VALUES (0, 0);
    CREATE TABLE scopes (id INTEGER PRIMARY KEY, scope TEXT NOT NULL UNIQUE);
    CREATE TABLE kind_names (id INTEGER PRIMARY KEY, kind TEXT NOT NULL UNIQUE);
    CREATE TABLE streams (
        id INTEGER PRIMARY KEY,
        scope_id INTEGER NOT NULL REFERENCES scopes, stream TEXT NOT NULL,
        next_seq INTEGER NOT NULL, head BLOB NOT NULL, key BLOB NOT NULL, state BLOB NOT NULL,
        UNIQUE (scope_id, stream)
    );
    -- Records first_seq .. first_seq + count of a stream. Without spans they lie at first_index and the indices after
    -- it; with spans, see spans.rs. All rows of one round lie before all rows of a later round.
    CREATE TABLE ranges (
        stream_id INTEGER NOT NULL REFERENCES streams, first_seq INTEGER NOT NULL,
        scope_id INTEGER NOT NULL, round INTEGER NOT NULL,
        count INTEGER NOT NULL, first_index INTEGER NOT NULL, last_index INTEGER NOT NULL, spans BLOB,
        PRIMARY KEY (stream_id, first_seq)
    ) WITHOUT ROWID;
    CREATE INDEX ranges_by_round ON ranges (scope_id, round);
    CREATE INDEX ranges_by_index ON ranges (scope_id, last_index);
    CREATE TABLE kinds (
        scope_id INTEGER NOT NULL REFERENCES scopes, kind_id INTEGER NOT NULL REFERENCES kind_names,
        bundle INTEGER NOT NULL,
        PRIMARY KEY (scope_id, kind_id, bundle)
    ) WITHOUT ROWID;
    CREATE INDEX kinds_by_bundle ON kinds (kind_id, bundle);
    CREATE TABLE runs (
        run TEXT PRIMARY KEY, name TEXT NOT NULL, experiment TEXT, model TEXT, owner_key BLOB NOT NULL,
        started_index INTEGER NOT NULL, started_at INTEGER NOT NULL, sealed_index INTEGER, status TEXT,
        records INTEGER NOT NULL, state BLOB NOT NULL
    );
    CREATE INDEX runs_by_name ON runs (name, started_index);

    -- Not in the log, so never cleared.
    CREATE TABLE run_principals (run TEXT PRIMARY KEY, principal TEXT NOT NULL);
    CREATE TABLE subject_keys (
        id BLOB PRIMARY KEY, scope TEXT NOT NULL, subject TEXT NOT NULL, wrapped BLOB,
        UNIQUE (scope, subject)
    );
    CREATE TABLE tokens (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, hash BLOB NOT NULL UNIQUE,
        created INTEGER NOT NULL, expires INTEGER, revoked INTEGER
    );
    CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL);
",
    "
    -- Until when, in milliseconds since 1970.
    CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until INTEGER NOT NULL);
",
    "
    -- What is to be done. Times are milliseconds since 1970; a running job's `due` is when its holder's lease runs out.
    CREATE TABLE jobs (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, once INTEGER NOT NULL, parent TEXT,
        payload TEXT NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL, tries INTEGER NOT NULL,
        requeues INTEGER NOT NULL, holder TEXT, done INTEGER NOT NULL, total INTEGER NOT NULL, reason TEXT, result TEXT,
        created INTEGER NOT NULL, due INTEGER NOT NULL, started INTEGER, finished INTEGER
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX jobs_open ON jobs (kind, key) WHERE state IN ('queued', 'running', 'retrying');
    CREATE UNIQUE INDEX jobs_once ON jobs (kind, key) WHERE once;
    CREATE INDEX jobs_due ON jobs (due) WHERE state IN ('queued', 'running', 'retrying');
    CREATE INDEX jobs_by_parent ON jobs (parent) WHERE parent IS NOT NULL;
    CREATE TABLE job_outcomes (
        kind TEXT NOT NULL, outcome TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (kind, outcome)
    ) WITHOUT ROWID;
    -- The last time of each schedule that was used.
    CREATE TABLE schedules (name TEXT PRIMARY KEY, last INTEGER NOT NULL);
",
];

/// Makes sure that the file has the schema that this version reads.
pub(super) fn check(path: &Path, connection: &Connection) -> Result<()> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|error| sort(path, "read the schema's version", error))?;
    let path = path.to_path_buf();
    match found.cmp(&known) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(StoreError::NewerSchema { path, found, known }),
        std::cmp::Ordering::Less => Err(StoreError::OlderSchema { path, found, known }),
    }
}

/// Brings the file to the newest schema, each step in its own transaction.
pub(super) fn migrate(path: &Path, connection: &mut Connection) -> Result<()> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let failed = |error| sort(path, "bring the schema up to date", error);
    loop {
        let step = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let found: i64 = step
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .map_err(failed)?;
        if found > known {
            return Err(StoreError::NewerSchema {
                path: path.to_path_buf(),
                found,
                known,
            });
        }
        let Some(sql) = usize::try_from(found)
            .ok()
            .and_then(|found| STEPS.get(found))
        else {
            return Ok(());
        };
        step.execute_batch(sql).map_err(failed)?;
        step.pragma_update(None, "user_version", found + 1)
            .map_err(failed)?;
        step.commit().map_err(failed)?;
    }
}
