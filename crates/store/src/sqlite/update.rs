//! How the index grows: one round, one transaction.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Transaction, params};

use super::{Fault, loaded, stored};
use crate::error::StoreError;
use crate::meta::{IndexUpdate, RunRow, StreamRow};
use crate::spans::{StreamSpans, rows};

/// How many records the tables cover.
pub(super) fn indexed_size(transaction: &Transaction<'_>) -> Result<u64, Fault> {
    let size = transaction
        .prepare_cached("SELECT size FROM indexed")?
        .query_row([], |row| row.get(0))?;
    Ok(loaded(size)?)
}

/// One round on its way into the tables.
pub(super) struct Round<'a> {
    tables: &'a Transaction<'a>,
    new: &'a IndexUpdate,
    scopes: HashMap<&'a str, i64>,
    streams: HashMap<(&'a str, &'a str), i64>,
    kinds: HashMap<&'a str, i64>,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        transaction: &'a Transaction<'a>,
        update: &'a IndexUpdate,
    ) -> Result<Self, Fault> {
        let found = indexed_size(transaction)?;
        if found != update.from || update.to < update.from {
            return Err(StoreError::IndexMoved {
                expected: update.from,
                found,
            }
            .into());
        }
        let (scopes, streams, kinds) = (HashMap::new(), HashMap::new(), HashMap::new());
        Ok(Self {
            tables: transaction,
            new: update,
            scopes,
            streams,
            kinds,
        })
    }

    pub(super) fn apply(mut self) -> Result<(), Fault> {
        for stream in &self.new.streams {
            self.stream(stream)?;
        }
        for row in rows(&self.new.ranges) {
            self.ranges(&row)?;
        }
        for kind in &self.new.kinds {
            self.kind(&kind.scope, &kind.kind, kind.bundle)?;
        }
        for run in &self.new.runs {
            self.run(run)?;
        }
        let to = stored(self.new.to)?;
        self.tables
            .prepare_cached("UPDATE indexed SET size = ?1")?
            .execute([to])?;
        Ok(())
    }

    fn stream(&mut self, stream: &'a StreamRow) -> Result<(), Fault> {
        let scope = self.scope(&stream.scope)?;
        let id = self
            .tables
            .prepare_cached(
                "INSERT INTO streams (scope_id, stream, next_seq, head, key, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (scope_id, stream) DO UPDATE
                 SET next_seq = excluded.next_seq, head = excluded.head, key = excluded.key, state = excluded.state
                 RETURNING id",
            )?
            .query_row(
                params![
                    scope,
                    stream.stream,
                    stored(stream.next_seq)?,
                    stream.head.as_bytes(),
                    stream.key,
                    stream.state
                ],
                |row| row.get(0),
            )?;
        self.streams.insert((&stream.scope, &stream.stream), id);
        Ok(())
    }

    fn ranges(&mut self, row: &StreamSpans<'a>) -> Result<(), Fault> {
        let stream = self.stream_id(row.scope, row.stream)?;
        let scope = self.scope(row.scope)?;
        if row.spans.len() == 1 && self.extend(stream, row)? {
            return Ok(());
        }
        self.tables
            .prepare_cached(
                "INSERT INTO ranges (stream_id, first_seq, scope_id, round, count, first_index, last_index, spans)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                stream,
                stored(row.first_seq)?,
                scope,
                stored(self.new.from)?,
                stored(row.count)?,
                stored(row.first_index())?,
                stored(row.last_index())?,
                row.packed()
            ])?;
        Ok(())
    }

    /// Lets the stream's last row grow, if it has a single span and this continues it.
    fn extend(&self, stream: i64, row: &StreamSpans<'_>) -> Result<bool, Fault> {
        let changed = self
            .tables
            .prepare_cached(
                "UPDATE ranges SET count = count + ?1, last_index = ?2
                 WHERE stream_id = ?3 AND spans IS NULL AND first_seq + count = ?4 AND first_index + count = ?5
                   AND first_seq = (SELECT max(first_seq) FROM ranges WHERE stream_id = ?3)",
            )?
            .execute(params![
                stored(row.count)?,
                stored(row.last_index())?,
                stream,
                stored(row.first_seq)?,
                stored(row.first_index())?
            ])?;
        Ok(changed > 0)
    }

    fn stream_id(&mut self, scope: &'a str, stream: &'a str) -> Result<i64, Fault> {
        if let Some(id) = self.streams.get(&(scope, stream)) {
            return Ok(*id);
        }
        let scope_id = self.scope(scope)?;
        let id = self
            .tables
            .prepare_cached("SELECT id FROM streams WHERE scope_id = ?1 AND stream = ?2")?
            .query_row(params![scope_id, stream], |row| row.get(0))?;
        self.streams.insert((scope, stream), id);
        Ok(id)
    }

    fn kind(&mut self, scope: &'a str, kind: &'a str, bundle: u64) -> Result<(), Fault> {
        let scope = self.scope(scope)?;
        let kind = if let Some(id) = self.kinds.get(kind) {
            *id
        } else {
            let id = self.intern("kind_names", "kind", kind)?;
            self.kinds.insert(kind, id);
            id
        };
        self.tables
            .prepare_cached(
                "INSERT OR IGNORE INTO kinds (scope_id, kind_id, bundle) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![scope, kind, stored(bundle)?])?;
        Ok(())
    }

    fn run(&self, run: &RunRow) -> Result<(), Fault> {
        self.tables
            .prepare_cached(
                "INSERT OR REPLACE INTO runs (run, name, experiment, model, owner_key, started_index, started_at,
                                              sealed_index, status, records, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                run.run,
                run.name,
                run.experiment,
                run.model,
                run.owner_key,
                stored(run.started_index)?,
                run.started_at,
                run.sealed_index.map(stored).transpose()?,
                run.status,
                stored(run.records)?,
                run.state
            ])?;
        if !run.principal.is_empty() {
            self.tables
                .prepare_cached(
                    "INSERT OR IGNORE INTO run_principals (run, principal) VALUES (?1, ?2)",
                )?
                .execute([&run.run, &run.principal])?;
        }
        Ok(())
    }

    fn scope(&mut self, scope: &'a str) -> Result<i64, Fault> {
        if let Some(id) = self.scopes.get(scope) {
            return Ok(*id);
        }
        let id = self.intern("scopes", "scope", scope)?;
        self.scopes.insert(scope, id);
        Ok(id)
    }

    fn intern(&self, table: &str, column: &str, text: &str) -> Result<i64, Fault> {
        let known = self
            .tables
            .prepare_cached(&format!("SELECT id FROM {table} WHERE {column} = ?1"))?
            .query_row([text], |row| row.get(0))
            .optional()?;
        if let Some(id) = known {
            return Ok(id);
        }
        self.tables
            .prepare_cached(&format!("INSERT INTO {table} ({column}) VALUES (?1)"))?
            .execute([text])?;
        Ok(self.tables.last_insert_rowid())
    }
}
