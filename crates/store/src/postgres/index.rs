//! The index, as it is read; update.rs has how it grows.

use tlog::Hash;
use tokio_postgres::Row;

use super::session::{Session, Values};
use super::{Concern, Fault, PgMeta, update};
use crate::error::Result;
use crate::meta::{IndexRow, IndexStore, IndexUpdate, KindRow, RangeRow, RunRow, Span, StreamRow};
use crate::rows::{at_most, fixed, loaded};
use crate::spans::{Collector, unpack};

/// How many rows of `ranges` are read at once.
const PAGE: usize = 512;

impl IndexStore for PgMeta {
    fn apply(&self, new: &IndexUpdate) -> Result<()> {
        let round = std::sync::Arc::new(update::Round::new(new)?);
        self.database
            .write(Concern::Index, "update the index", move |session| {
                let round = std::sync::Arc::clone(&round);
                async move { Box::pin(round.apply(&session)).await }
            })
    }

    fn indexed_size(&self) -> Result<u64> {
        self.database
            .read(Concern::Index, "read the index", |session| async move {
                update::indexed_size(&session).await
            })
    }

    fn clear_index(&self) -> Result<()> {
        self.database
            .write(Concern::Index, "clear the index", |session| async move {
                session
                    .batch(
                        "TRUNCATE ranges, kinds, streams, runs, scopes, kind_names;
                         UPDATE indexed SET size = 0;",
                    )
                    .await
            })
    }

    fn find(&self, scope: &str, stream: &str, seq: u64) -> Result<Option<u64>> {
        let Ok(wanted) = i64::try_from(seq) else {
            return Ok(None);
        };
        let asked = (scope.to_owned(), stream.to_owned());
        self.database
            .read(Concern::Index, "find a record", move |session| {
                let (scope, stream) = asked.clone();
                async move {
                    let row = session
                        .query_opt(
                            "SELECT first_seq, first_index, count, spans FROM ranges
                             WHERE stream_id = (SELECT streams.id FROM streams JOIN scopes ON scopes.id = scope_id
                                                WHERE scope = $1 AND stream = $2)
                               AND first_seq <= $3 ORDER BY first_seq DESC LIMIT 1",
                            &[&scope, &stream, &wanted],
                        )
                        .await?;
                    let Some(row) = row else { return Ok(None) };
                    let mut skip = seq - loaded(row.try_get(0)?)?;
                    for span in spans_of(&row, 1)? {
                        if skip < span.count {
                            return Ok(Some(span.first_index + skip));
                        }
                        skip -= span.count;
                    }
                    Ok(None)
                }
            })
    }

    fn stream(&self, scope: &str, stream: &str) -> Result<Option<StreamRow>> {
        let asked = (scope.to_owned(), stream.to_owned());
        self.database
            .read(Concern::Index, "read a stream", move |session| {
                let (scope, stream) = asked.clone();
                async move {
                    let row = session
                        .query_opt(
                            "SELECT scope, stream, next_seq, head, key, state
                             FROM streams JOIN scopes ON scopes.id = scope_id WHERE scope = $1 AND stream = $2",
                            &[&scope, &stream],
                        )
                        .await?;
                    row.as_ref().map(stream_row).transpose()
                }
            })
    }

    fn streams(&self, scope: &str) -> Result<Vec<StreamRow>> {
        let scope = scope.to_owned();
        self.database
            .read(Concern::Index, "read a scope's streams", move |session| {
                let scope = scope.clone();
                async move {
                    let rows = session
                        .query(
                            "SELECT scope, stream, next_seq, head, key, state
                             FROM streams JOIN scopes ON scopes.id = scope_id WHERE scope = $1 ORDER BY stream",
                            &[&scope],
                        )
                        .await?;
                    rows.iter().map(stream_row).collect()
                }
            })
    }

    fn spans(&self, scope: &str, from: u64, limit: usize) -> Result<Vec<Span>> {
        let scope = scope.to_owned();
        self.database
            .read(Concern::Index, "read a scope's records", move |session| {
                let scope = scope.clone();
                async move {
                    // One state for all pages: a row that is read may grow, and what comes after it would hide that.
                    session
                        .batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                        .await?;
                    let found = spans(&session, &scope, from, limit).await?;
                    session.rollback().await?;
                    Ok(found)
                }
            })
    }

    fn bundles_with_kinds(
        &self,
        scope: Option<&str>,
        kinds: &[&str],
        from_bundle: u64,
        limit: usize,
    ) -> Result<Vec<u64>> {
        let Ok(from_bundle) = i64::try_from(from_bundle) else {
            return Ok(Vec::new());
        };
        let kinds: Vec<String> = kinds.iter().map(|kind| (*kind).to_owned()).collect();
        let asked = (scope.map(str::to_owned), kinds);
        self.database
            .read(Concern::Index, "read the index of kinds", move |session| {
                let (scope, kinds) = asked.clone();
                async move {
                    let limit = at_most(limit);
                    let rows = if let Some(scope) = scope {
                        let values: Values<'_> = &[&kinds, &from_bundle, &limit, &scope];
                        session.query(BUNDLES_OF_SCOPE, values).await?
                    } else {
                        let values: Values<'_> = &[&kinds, &from_bundle, &limit];
                        session.query(BUNDLES_OF_ANY, values).await?
                    };
                    rows.iter()
                        .map(|row| Ok(loaded(row.try_get(0)?)?))
                        .collect()
                }
            })
    }

    fn run(&self, run: &str) -> Result<Option<RunRow>> {
        let run = run.to_owned();
        self.database
            .read(Concern::Index, "read a run", move |session| {
                let run = run.clone();
                async move {
                    let sql = concat!(runs!(), "WHERE runs.run = $1");
                    let row = session.query_opt(sql, &[&run]).await?;
                    row.as_ref().map(run_row).transpose()
                }
            })
    }

    fn runs_named(&self, name: &str) -> Result<Vec<RunRow>> {
        let name = name.to_owned();
        self.database
            .read(Concern::Index, "read runs of a name", move |session| {
                let name = name.clone();
                async move {
                    let sql = concat!(runs!(), "WHERE name = $1 ORDER BY started_index DESC");
                    let rows = session.query(sql, &[&name]).await?;
                    rows.iter().map(run_row).collect()
                }
            })
    }

    fn list_runs(&self, after: Option<&str>, limit: usize) -> Result<Vec<RunRow>> {
        // Every id is greater than the empty text.
        let after = after.unwrap_or_default().to_owned();
        self.database
            .read(Concern::Index, "list runs", move |session| {
                let after = after.clone();
                async move {
                    let sql = concat!(runs!(), "WHERE runs.run > $1 ORDER BY runs.run LIMIT $2");
                    let rows = session.query(sql, &[&after, &at_most(limit)]).await?;
                    rows.iter().map(run_row).collect()
                }
            })
    }

    /// All of it is in memory at once.
    fn index_rows(&self, visit: &mut dyn FnMut(IndexRow) -> Result<()>) -> Result<()> {
        let rows = self
            .database
            .read(Concern::Index, "read the index", |session| async move {
                session
                    .batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                    .await?;
                let found = all_rows(&session).await?;
                session.rollback().await?;
                Ok(found)
            })?;
        rows.into_iter().try_for_each(visit)
    }
}

macro_rules! runs {
    () => {
        "SELECT runs.run, name, experiment, model, owner_key, coalesce(principal, ''), started_at, status, state,
                started_index, sealed_index, records
         FROM runs LEFT JOIN run_principals ON run_principals.run = runs.run "
    };
}
use runs;

fn stream_row(row: &Row) -> Result<StreamRow, Fault> {
    Ok(StreamRow {
        scope: row.try_get(0)?,
        stream: row.try_get(1)?,
        next_seq: loaded(row.try_get(2)?)?,
        head: Hash::from(fixed::<32>(row.try_get(3)?)?),
        key: row.try_get(4)?,
        state: row.try_get(5)?,
    })
}

fn run_row(row: &Row) -> Result<RunRow, Fault> {
    Ok(RunRow {
        run: row.try_get(0)?,
        name: row.try_get(1)?,
        experiment: row.try_get(2)?,
        model: row.try_get(3)?,
        owner_key: row.try_get(4)?,
        principal: row.try_get(5)?,
        started_at: row.try_get(6)?,
        status: row.try_get(7)?,
        state: row.try_get(8)?,
        started_index: loaded(row.try_get(9)?)?,
        sealed_index: row.try_get::<_, Option<i64>>(10)?.map(loaded).transpose()?,
        records: loaded(row.try_get(11)?)?,
    })
}

/// Bundles with records of the kinds `$1` from `$2` on, at most `$3`: so many of each kind, in the order of an index.
const BUNDLES_OF_ANY: &str = "SELECT DISTINCT bundle FROM kind_names, LATERAL (
        SELECT DISTINCT bundle FROM kinds WHERE kind_id = kind_names.id AND bundle >= $2 ORDER BY bundle LIMIT $3
    ) AS of_kind WHERE kind = ANY ($1) ORDER BY bundle LIMIT $3";
/// The same, in the scope `$4`.
const BUNDLES_OF_SCOPE: &str = "SELECT DISTINCT bundle FROM kind_names, LATERAL (
        SELECT bundle FROM kinds
        WHERE scope_id = (SELECT id FROM scopes WHERE scope = $4) AND kind_id = kind_names.id AND bundle >= $2
        ORDER BY bundle LIMIT $3
    ) AS of_kind WHERE kind = ANY ($1) ORDER BY bundle LIMIT $3";

/// The spans of a row that has `first_index, count, spans` from column `at` on.
fn spans_of(row: &Row, at: usize) -> Result<Vec<Span>, Fault> {
    let packed: Option<&[u8]> = row.try_get(at + 2)?;
    let (first_index, count) = (loaded(row.try_get(at)?)?, loaded(row.try_get(at + 1)?)?);
    Ok(unpack(first_index, count, packed)?)
}

async fn spans(
    session: &Session,
    scope: &str,
    from: u64,
    limit: usize,
) -> Result<Vec<Span>, Fault> {
    let Ok(wanted) = i64::try_from(from) else {
        return Ok(Vec::new());
    };
    let first = session
        .query_opt(
            "SELECT scope_id, round FROM ranges
             WHERE scope_id = (SELECT id FROM scopes WHERE scope = $1) AND last_index >= $2
             ORDER BY last_index LIMIT 1",
            &[&scope, &wanted],
        )
        .await?;
    let Some(first) = first else {
        return Ok(Vec::new());
    };
    let scope_id: i64 = first.try_get(0)?;
    let mut found = Collector::new(from, limit);
    // Round, stream and seq of the last row that was read.
    let mut last: (i64, i64, i64) = (first.try_get(1)?, -1, -1);
    loop {
        let rows = session
            .query(
                "SELECT round, stream_id, first_seq, first_index, count, spans FROM ranges
                 WHERE scope_id = $1 AND (round, stream_id, first_seq) > ($2, $3, $4)
                 ORDER BY round, stream_id, first_seq LIMIT $5",
                &[&scope_id, &last.0, &last.1, &last.2, &at_most(PAGE)],
            )
            .await?;
        for row in &rows {
            last = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if !found.add(last.0, spans_of(row, 3)?) {
                return Ok(found.finish());
            }
        }
        if rows.len() < PAGE {
            return Ok(found.finish());
        }
    }
}

/// All of the index, table by table.
async fn all_rows(session: &Session) -> Result<Vec<IndexRow>, Fault> {
    let mut found = Vec::new();
    let streams = session
        .query(
            "SELECT scope, stream, next_seq, head, key, state
             FROM streams JOIN scopes ON scopes.id = scope_id ORDER BY scope, stream",
            &[],
        )
        .await?;
    for row in &streams {
        found.push(IndexRow::Stream(stream_row(row)?));
    }
    let ranges = session
        .query(
            "SELECT scope, stream, first_seq, first_index, count, spans FROM ranges
             JOIN streams ON streams.id = stream_id JOIN scopes ON scopes.id = streams.scope_id
             ORDER BY scope, stream, first_seq",
            &[],
        )
        .await?;
    for row in &ranges {
        let (scope, stream): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let mut first_seq = loaded(row.try_get(2)?)?;
        for span in spans_of(row, 3)? {
            found.push(IndexRow::Range(RangeRow {
                scope: scope.clone(),
                stream: stream.clone(),
                first_seq,
                count: span.count,
                first_index: span.first_index,
            }));
            first_seq += span.count;
        }
    }
    let kinds = session
        .query(
            "SELECT scope, kind, bundle FROM kinds JOIN scopes ON scopes.id = scope_id
             JOIN kind_names ON kind_names.id = kind_id ORDER BY scope, kind, bundle",
            &[],
        )
        .await?;
    for row in &kinds {
        found.push(IndexRow::Kind(KindRow {
            scope: row.try_get(0)?,
            kind: row.try_get(1)?,
            bundle: loaded(row.try_get(2)?)?,
        }));
    }
    let runs = session
        .query(concat!(runs!(), "ORDER BY runs.run"), &[])
        .await?;
    for row in &runs {
        found.push(IndexRow::Run(run_row(row)?));
    }
    Ok(found)
}
