//! The tables, and how older files get them.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::sort;
use crate::error::{Result, StoreError};
use crate::schema::{Found, PROGRAM, Step, version};

/// See [`Step`] for what may change, and how.
pub(super) const STEPS: [Step; 4] = [
    Step {
        sql: TABLES,
        oldest: 1,
    },
    Step {
        sql: LEASES,
        oldest: 2,
    },
    Step {
        sql: JOBS,
        oldest: 3,
    },
    Step {
        sql: HISTORY,
        oldest: 3,
    },
];

const TABLES: &str = "
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
";

const LEASES: &str = "
    -- Until when, in milliseconds since 1970.
    CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until INTEGER NOT NULL);
";

const JOBS: &str = "
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
";

const HISTORY: &str = "
    -- Each step since there is this table, by which program and when.
    CREATE TABLE schema_history (
        version INTEGER PRIMARY KEY, oldest INTEGER NOT NULL, program TEXT NOT NULL, at INTEGER NOT NULL
    );
";

/// Makes sure that the file has a schema that a program which knows these reads, and takes no step.
pub(super) fn check(path: &Path, connection: &Connection, steps: &[Step]) -> Result<()> {
    let found =
        found(connection).map_err(|error| sort(path, "read the schema's version", error))?;
    match found.next(steps, path)? {
        None => Ok(()),
        Some(_) => Err(StoreError::OlderSchema {
            path: path.to_path_buf(),
            found: found.version,
            known: version(steps),
        }),
    }
}

/// Brings the file to the newest of these schemas, each step in its own transaction. One that is newer and may be used is
/// left as it is.
pub(super) fn migrate(path: &Path, connection: &mut Connection, steps: &[Step]) -> Result<()> {
    let failed = |error| sort(path, "bring the schema up to date", error);
    loop {
        let step = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let found = found(&step).map_err(failed)?;
        let Some(next) = found.next(steps, path)? else {
            return Ok(());
        };
        take(&step, found.version + 1, next).map_err(failed)?;
        step.commit().map_err(failed)?;
    }
}

fn take(transaction: &Transaction<'_>, version: i64, step: &Step) -> rusqlite::Result<()> {
    transaction.execute_batch(step.sql)?;
    transaction.pragma_update(None, "user_version", step.oldest)?;
    if has_history(transaction)? {
        transaction.execute(
            "INSERT INTO schema_history (version, oldest, program, at) VALUES (?1, ?2, ?3, 1000 * unixepoch())",
            (version, step.oldest, PROGRAM),
        )?;
    }
    Ok(())
}

fn found(connection: &Connection) -> rusqlite::Result<Found> {
    let oldest = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let bare = Found::bare(oldest);
    if !has_history(connection)? {
        return Ok(bare);
    }
    let last = connection.query_row(
        "SELECT version, program FROM schema_history ORDER BY version DESC LIMIT 1",
        [],
        |row| {
            Ok(Found {
                version: row.get(0)?,
                oldest,
                program: row.get(1)?,
            })
        },
    );
    Ok(last.optional()?.unwrap_or(bare))
}

fn has_history(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_history'")?
        .exists([])
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;
    use crate::error::StoreError;
    use crate::{SettingStore as _, SqliteMeta};

    /// What a later program might add.
    const ADDS: Step = Step {
        sql: "ALTER TABLE settings ADD COLUMN note TEXT; CREATE TABLE more (id INTEGER PRIMARY KEY);",
        oldest: 3,
    };
    /// And what it might change.
    const CHANGES: Step = Step {
        sql: "ALTER TABLE settings RENAME TO options;",
        oldest: 6,
    };

    #[test]
    fn what_only_adds_can_be_gone_back_from_and_what_changes_cannot() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("ledger.sqlite");
        SqliteMeta::open(&path)
            .unwrap()
            .kv_put("name", b"before")
            .unwrap();
        let mut raw = Connection::open(&path).unwrap();

        let later: Vec<Step> = STEPS.iter().copied().chain([ADDS]).collect();
        migrate(&path, &mut raw, &later).unwrap();
        let older = SqliteMeta::open(&path).unwrap();
        older.kv_put("name", b"after").unwrap();
        older.kv_put("other", b"new").unwrap();
        drop(older);
        // Before there was a history, programs knew one number: theirs.
        let number: i64 = raw
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap();
        assert_eq!(number, 3);
        // And forward again: nothing is done twice.
        migrate(&path, &mut raw, &later).unwrap();
        let kept: Vec<u8> = raw
            .query_row(
                "SELECT value FROM settings WHERE name = 'name'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(kept, b"after");

        let latest: Vec<Step> = later.into_iter().chain([CHANGES]).collect();
        migrate(&path, &mut raw, &latest).unwrap();
        raw.execute(
            "UPDATE schema_history SET program = 'rlhf-audit 9.1.0' WHERE version = 6",
            [],
        )
        .unwrap();
        let refused = SqliteMeta::open(&path).unwrap_err();
        assert!(
            matches!(
                refused,
                StoreError::NewerSchema {
                    found: 6,
                    known: 4,
                    oldest: 6,
                    ..
                }
            ),
            "{refused:?}"
        );
        let said = refused.to_string();
        assert!(said.contains("made by rlhf-audit 9.1.0"), "{said}");
        assert!(said.contains("restore a backup from before"), "{said}");
    }
}
