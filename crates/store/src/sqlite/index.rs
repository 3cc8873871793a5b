//! The index, as it is read; update.rs has how it grows.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use tlog::Hash;

use super::update::{Round, indexed_size};
use super::{Fault, SqliteMeta, at_most, fixed, loaded};
use crate::error::Result;
use crate::meta::{IndexRow, IndexStore, IndexUpdate, KindRow, RangeRow, RunRow, Span, StreamRow};
use crate::spans::{Collector, unpack};

impl IndexStore for SqliteMeta {
    fn apply(&self, update: &IndexUpdate) -> Result<()> {
        self.write("update the index", |transaction| {
            Round::new(transaction, update)?.apply()
        })
    }

    fn indexed_size(&self) -> Result<u64> {
        self.read("read the index", indexed_size)
    }

    fn clear_index(&self) -> Result<()> {
        self.write("clear the index", |transaction| {
            transaction.execute_batch(
                "DELETE FROM ranges; DELETE FROM kinds; DELETE FROM streams; DELETE FROM runs; DELETE FROM scopes;
                 DELETE FROM kind_names; UPDATE indexed SET size = 0;",
            )?;
            Ok(())
        })
    }

    fn find(&self, scope: &str, stream: &str, seq: u64) -> Result<Option<u64>> {
        let Ok(wanted) = i64::try_from(seq) else {
            return Ok(None);
        };
        self.read("find a record", |transaction| {
            let row = transaction
                .prepare_cached(
                    "SELECT first_seq, first_index, count, spans FROM ranges
                     WHERE stream_id = (SELECT streams.id FROM streams JOIN scopes ON scopes.id = scope_id
                                        WHERE scope = ?1 AND stream = ?2)
                       AND first_seq <= ?3 ORDER BY first_seq DESC LIMIT 1",
                )?
                .query_row(params![scope, stream, wanted], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?, row.get::<_, Option<Vec<u8>>>(3)?))
                })
                .optional()?;
            let Some((first_seq, first_index, count, packed)) = row else { return Ok(None) };
            let mut skip = seq - loaded(first_seq)?;
            for span in unpack(loaded(first_index)?, loaded(count)?, packed.as_deref())? {
                if skip < span.count {
                    return Ok(Some(span.first_index + skip));
                }
                skip -= span.count;
            }
            Ok(None)
        })
    }

    fn stream(&self, scope: &str, stream: &str) -> Result<Option<StreamRow>> {
        self.read("read a stream", |transaction| {
            let row = transaction
                .prepare_cached(&format!("{STREAMS} WHERE scope = ?1 AND stream = ?2"))?
                .query_row([scope, stream], stream_columns)
                .optional()?;
            row.map(stream_row).transpose()
        })
    }

    fn streams(&self, scope: &str) -> Result<Vec<StreamRow>> {
        self.read("read a scope's streams", |transaction| {
            let mut query = transaction
                .prepare_cached(&format!("{STREAMS} WHERE scope = ?1 ORDER BY stream"))?;
            let rows = query.query_map([scope], stream_columns)?;
            rows.map(|row| stream_row(row?)).collect()
        })
    }

    fn spans(&self, scope: &str, from: u64, limit: usize) -> Result<Vec<Span>> {
        self.read("read a scope's records", |transaction| {
            spans(transaction, scope, from, limit)
        })
    }

    fn bundles_with_kinds(
        &self,
        scope: Option<&str>,
        kinds: &[&str],
        from_bundle: u64,
        limit: usize,
    ) -> Result<Vec<u64>> {
        self.read("read the index of kinds", |transaction| {
            let sql = if scope.is_some() {
                "SELECT bundle FROM kinds
                 WHERE scope_id = (SELECT id FROM scopes WHERE scope = ?4)
                   AND kind_id = (SELECT id FROM kind_names WHERE kind = ?1) AND bundle >= ?2
                 ORDER BY bundle LIMIT ?3"
            } else {
                "SELECT DISTINCT bundle FROM kinds
                 WHERE kind_id = (SELECT id FROM kind_names WHERE kind = ?1) AND bundle >= ?2 AND ?4 IS NULL
                 ORDER BY bundle LIMIT ?3"
            };
            let Ok(from_bundle) = i64::try_from(from_bundle) else { return Ok(Vec::new()) };
            let mut query = transaction.prepare_cached(sql)?;
            let mut found = BTreeSet::new();
            for kind in kinds {
                let rows = query.query_map(params![kind, from_bundle, at_most(limit), scope], |row| row.get(0))?;
                for bundle in rows {
                    found.insert(loaded(bundle?)?);
                }
            }
            Ok(found.into_iter().take(limit).collect())
        })
    }

    fn run(&self, run: &str) -> Result<Option<RunRow>> {
        self.read("read a run", |transaction| {
            let mut rows = runs(
                transaction,
                "WHERE runs.run = ?1 AND ?2 = 1",
                params![run, 1],
            )?;
            Ok(rows.pop())
        })
    }

    fn runs_named(&self, name: &str) -> Result<Vec<RunRow>> {
        self.read("read runs of a name", |transaction| {
            runs(
                transaction,
                "WHERE name = ?1 AND ?2 = 1 ORDER BY started_index DESC",
                params![name, 1],
            )
        })
    }

    fn list_runs(&self, after: Option<&str>, limit: usize) -> Result<Vec<RunRow>> {
        self.read("list runs", |transaction| {
            // Every id is greater than the empty text.
            let after = after.unwrap_or_default();
            runs(
                transaction,
                "WHERE runs.run > ?1 ORDER BY runs.run LIMIT ?2",
                params![after, at_most(limit)],
            )
        })
    }

    fn index_rows(&self, visit: &mut dyn FnMut(IndexRow) -> Result<()>) -> Result<()> {
        self.read("read the index", |transaction| rows(transaction, visit))
    }
}

/// All of the index, table by table.
fn rows(
    transaction: &Transaction<'_>,
    visit: &mut dyn FnMut(IndexRow) -> Result<()>,
) -> Result<(), Fault> {
    let mut query = transaction.prepare_cached(&format!("{STREAMS} ORDER BY scope, stream"))?;
    for row in query.query_map([], stream_columns)? {
        visit(IndexRow::Stream(stream_row(row?)?))?;
    }
    let mut query = transaction.prepare_cached(
        "SELECT scope, stream, first_seq, count, first_index, spans FROM ranges
         JOIN streams ON streams.id = stream_id JOIN scopes ON scopes.id = streams.scope_id
         ORDER BY scope, stream, first_seq",
    )?;
    let mut found = query.query([])?;
    while let Some(row) = found.next()? {
        let (scope, stream): (String, String) = (row.get(0)?, row.get(1)?);
        let mut first_seq = loaded(row.get(2)?)?;
        let packed: Option<Vec<u8>> = row.get(5)?;
        let spans = unpack(
            loaded(row.get(4)?)?,
            loaded(row.get(3)?)?,
            packed.as_deref(),
        )?;
        for span in spans {
            visit(IndexRow::Range(RangeRow {
                scope: scope.clone(),
                stream: stream.clone(),
                first_seq,
                count: span.count,
                first_index: span.first_index,
            }))?;
            first_seq += span.count;
        }
    }
    let mut query = transaction.prepare_cached(
        "SELECT scope, kind, bundle FROM kinds JOIN scopes ON scopes.id = scope_id
         JOIN kind_names ON kind_names.id = kind_id ORDER BY scope, kind, bundle",
    )?;
    let mut found = query.query([])?;
    while let Some(row) = found.next()? {
        visit(IndexRow::Kind(KindRow {
            scope: row.get(0)?,
            kind: row.get(1)?,
            bundle: loaded(row.get(2)?)?,
        }))?;
    }
    for run in runs(
        transaction,
        "WHERE ?1 = ?2 ORDER BY runs.run",
        params![1, 1],
    )? {
        visit(IndexRow::Run(run))?;
    }
    Ok(())
}

const STREAMS: &str = "SELECT scope, stream, next_seq, head, key, state FROM streams JOIN scopes ON scopes.id = scope_id";

type StreamColumns = (String, String, i64, Vec<u8>, Vec<u8>, Vec<u8>);

fn stream_columns(row: &Row<'_>) -> rusqlite::Result<StreamColumns> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
    ))
}

fn stream_row(
    (scope, stream, next_seq, head, key, state): StreamColumns,
) -> Result<StreamRow, Fault> {
    Ok(StreamRow {
        scope,
        stream,
        next_seq: loaded(next_seq)?,
        head: Hash::from(fixed::<32>(head)?),
        key,
        state,
    })
}

fn runs(
    transaction: &Transaction<'_>,
    rest: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Result<Vec<RunRow>, Fault> {
    let mut query = transaction.prepare_cached(&format!(
        "SELECT runs.run, name, experiment, model, owner_key, coalesce(principal, ''), started_at, status, state,
                started_index, sealed_index, records
         FROM runs LEFT JOIN run_principals ON run_principals.run = runs.run {rest}"
    ))?;
    let mut rows = query.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(RunRow {
            run: row.get(0)?,
            name: row.get(1)?,
            experiment: row.get(2)?,
            model: row.get(3)?,
            owner_key: row.get(4)?,
            principal: row.get(5)?,
            started_at: row.get(6)?,
            status: row.get(7)?,
            state: row.get(8)?,
            started_index: loaded(row.get(9)?)?,
            sealed_index: row.get::<_, Option<i64>>(10)?.map(loaded).transpose()?,
            records: loaded(row.get(11)?)?,
        });
    }
    Ok(found)
}

fn spans(
    transaction: &Transaction<'_>,
    scope: &str,
    from: u64,
    limit: usize,
) -> Result<Vec<Span>, Fault> {
    let Ok(wanted) = i64::try_from(from) else {
        return Ok(Vec::new());
    };
    let first = transaction
        .prepare_cached(
            "SELECT scope_id, round FROM ranges
             WHERE scope_id = (SELECT id FROM scopes WHERE scope = ?1) AND last_index >= ?2
             ORDER BY last_index LIMIT 1",
        )?
        .query_row(params![scope, wanted], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
        .optional()?;
    let Some((scope_id, first_round)) = first else {
        return Ok(Vec::new());
    };
    let mut query = transaction.prepare_cached(
        "SELECT round, first_index, count, spans FROM ranges WHERE scope_id = ?1 AND round >= ?2 ORDER BY round",
    )?;
    let mut rows = query.query(params![scope_id, first_round])?;
    let mut found = Collector::new(from, limit);
    while let Some(row) = rows.next()? {
        let packed: Option<Vec<u8>> = row.get(3)?;
        let spans = unpack(
            loaded(row.get(1)?)?,
            loaded(row.get(2)?)?,
            packed.as_deref(),
        )?;
        if !found.add(row.get(0)?, spans) {
            break;
        }
    }
    Ok(found.finish())
}
