//! How the index grows: one round, one transaction, whatever its size in three round trips.

use std::collections::{BTreeSet, HashMap};

use super::Fault;
use super::session::Session;
use crate::error::{Result, StoreError};
use crate::meta::IndexUpdate;
use crate::rows::{loaded, stored};
use crate::spans::rows;

/// How many records the tables cover.
pub(super) async fn indexed_size(session: &Session) -> Result<u64, Fault> {
    let row = session.query_opt("SELECT size FROM indexed", &[]).await?;
    match row {
        Some(row) => Ok(loaded(row.try_get(0)?)?),
        None => Err(Fault::Damaged("the table `indexed` is empty".to_owned())),
    }
}

/// One round, column by column, as the statements take it.
pub(super) struct Round {
    from: u64,
    to: u64,
    scopes: Vec<String>,
    kind_names: Vec<String>,
    streams: Streams,
    ranges: Ranges,
    kinds: Kinds,
    runs: Runs,
}

#[derive(Default)]
struct Streams {
    scope: Vec<String>,
    stream: Vec<String>,
    next_seq: Vec<i64>,
    head: Vec<Vec<u8>>,
    key: Vec<Vec<u8>>,
    state: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Ranges {
    scope: Vec<String>,
    stream: Vec<String>,
    first_seq: Vec<i64>,
    count: Vec<i64>,
    first_index: Vec<i64>,
    last_index: Vec<i64>,
    spans: Vec<Option<Vec<u8>>>,
}

#[derive(Default)]
struct Kinds {
    scope: Vec<String>,
    kind: Vec<String>,
    bundle: Vec<i64>,
}

#[derive(Default)]
struct Runs {
    run: Vec<String>,
    name: Vec<String>,
    experiment: Vec<Option<String>>,
    model: Vec<Option<String>>,
    owner_key: Vec<Vec<u8>>,
    started_index: Vec<i64>,
    started_at: Vec<i64>,
    sealed_index: Vec<Option<i64>>,
    status: Vec<Option<String>>,
    records: Vec<i64>,
    state: Vec<Vec<u8>>,
    principal: Vec<String>,
}

impl Round {
    pub(super) fn new(update: &IndexUpdate) -> Result<Self> {
        let mut scopes = BTreeSet::new();
        let streams = Streams::new(update, &mut scopes)?;
        let ranges = Ranges::new(update, &mut scopes)?;
        let mut kinds = Kinds::default();
        let mut kind_names = BTreeSet::new();
        for row in &update.kinds {
            scopes.insert(&*row.scope);
            kind_names.insert(&*row.kind);
            kinds.scope.push(row.scope.clone());
            kinds.kind.push(row.kind.clone());
            kinds.bundle.push(stored(row.bundle)?);
        }
        let owned = |texts: BTreeSet<&str>| texts.into_iter().map(str::to_owned).collect();
        stored(update.to)?;
        Ok(Self {
            from: update.from,
            to: update.to,
            scopes: owned(scopes),
            kind_names: owned(kind_names),
            streams,
            ranges,
            kinds,
            runs: Runs::new(update)?,
        })
    }

    /// Statements see what those before them did; they are sent together.
    pub(super) async fn apply(&self, session: &Session) -> Result<(), Fault> {
        let found = indexed_size(session).await?;
        if found != self.from || self.to < self.from {
            return Err(StoreError::IndexMoved {
                expected: self.from,
                found,
            }
            .into());
        }
        let round = stored(self.from)?;
        let to = stored(self.to)?;
        let (scopes, kind_names, streams, ranges, kinds, runs, principals, size) = (
            session.prepare(SCOPES).await?,
            session.prepare(KIND_NAMES).await?,
            session.prepare(STREAMS).await?,
            session.prepare(RANGES).await?,
            session.prepare(KINDS).await?,
            session.prepare(RUNS).await?,
            session.prepare(PRINCIPALS).await?,
            session.prepare(SIZE).await?,
        );
        let (s, r, k, u) = (&self.streams, &self.ranges, &self.kinds, &self.runs);
        let outcomes = tokio::join!(
            biased;
            async { session.execute_prepared(&scopes, &[&self.scopes]).await },
            async { session.execute_prepared(&kind_names, &[&self.kind_names]).await },
            async { session.execute_prepared(
                &streams,
                &[&s.scope, &s.stream, &s.next_seq, &s.head, &s.key, &s.state],
            ).await },
            async { session.query_prepared(
                &ranges,
                &[
                    &r.scope, &r.stream, &r.first_seq, &r.count, &r.first_index, &r.last_index, &r.spans, &round,
                ],
            ).await },
            async { session.execute_prepared(&kinds, &[&k.scope, &k.kind, &k.bundle]).await },
            async { session.execute_prepared(
                &runs,
                &[
                    &u.run, &u.name, &u.experiment, &u.model, &u.owner_key, &u.started_index, &u.started_at,
                    &u.sealed_index, &u.status, &u.records, &u.state,
                ],
            ).await },
            async { session.execute_prepared(&principals, &[&u.run, &u.principal]).await },
            async { session.execute_prepared(&size, &[&to, &round]).await },
        );
        outcomes.0?;
        outcomes.1?;
        outcomes.2?;
        let written: i64 = match outcomes.3?.first() {
            Some(row) => row.try_get(0)?,
            None => 0,
        };
        if usize::try_from(written) != Ok(r.scope.len()) {
            let reason = "records of a stream came before the stream";
            return Err(Fault::Damaged(reason.to_owned()));
        }
        outcomes.4?;
        outcomes.5?;
        outcomes.6?;
        if outcomes.7? != 1 {
            return Err(Fault::Damaged("the table `indexed` is empty".to_owned()));
        }
        Ok(())
    }
}

const SCOPES: &str = "INSERT INTO scopes (scope)
    SELECT scope FROM unnest($1::text[]) AS new (scope) WHERE scope NOT IN (SELECT scope FROM scopes WHERE scope = ANY($1))";

const KIND_NAMES: &str = "INSERT INTO kind_names (kind)
    SELECT kind FROM unnest($1::text[]) AS new (kind) WHERE kind NOT IN (SELECT kind FROM kind_names WHERE kind = ANY($1))";

const STREAMS: &str = "INSERT INTO streams (scope_id, stream, next_seq, head, key, state)
    SELECT scopes.id, new.stream, new.next_seq, new.head, new.key, new.state
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[])
         AS new (scope, stream, next_seq, head, key, state)
    JOIN scopes ON scopes.scope = new.scope
    ON CONFLICT (scope_id, stream) DO UPDATE
    SET next_seq = excluded.next_seq, head = excluded.head, key = excluded.key, state = excluded.state";

/// A row that continues the last row of its stream lets that grow, if both are single spans; the others are new rows.
const RANGES: &str = "WITH new AS MATERIALIZED (
        SELECT streams.id AS stream_id, streams.scope_id, new.*
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[])
             WITH ORDINALITY AS new (scope, stream, first_seq, count, first_index, last_index, spans, ordinal)
        JOIN scopes ON scopes.scope = new.scope
        JOIN streams ON streams.scope_id = scopes.id AND streams.stream = new.stream
    ), grown AS (
        UPDATE ranges SET count = ranges.count + new.count, last_index = new.last_index
        FROM new CROSS JOIN LATERAL (
            SELECT first_seq FROM ranges WHERE stream_id = new.stream_id ORDER BY first_seq DESC LIMIT 1
        ) AS last
        WHERE ranges.stream_id = new.stream_id AND ranges.first_seq = last.first_seq
          AND new.spans IS NULL AND ranges.spans IS NULL
          AND ranges.first_seq + ranges.count = new.first_seq
          AND ranges.first_index + ranges.count = new.first_index
        RETURNING new.ordinal
    ), inserted AS (
        INSERT INTO ranges (stream_id, first_seq, scope_id, round, count, first_index, last_index, spans)
        SELECT stream_id, first_seq, scope_id, $8, count, first_index, last_index, spans
        FROM new WHERE ordinal NOT IN (SELECT ordinal FROM grown)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM grown) + (SELECT count(*) FROM inserted)";

const KINDS: &str = "INSERT INTO kinds (scope_id, kind_id, bundle)
    SELECT scopes.id, kind_names.id, new.bundle
    FROM unnest($1::text[], $2::text[], $3::bigint[]) AS new (scope, kind, bundle)
    JOIN scopes ON scopes.scope = new.scope JOIN kind_names ON kind_names.kind = new.kind
    ON CONFLICT DO NOTHING";

const RUNS: &str = "INSERT INTO runs (run, name, experiment, model, owner_key, started_index, started_at, sealed_index,
                      status, records, state)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bigint[], $7::bigint[],
                         $8::bigint[], $9::text[], $10::bigint[], $11::bytea[])
    ON CONFLICT (run) DO UPDATE
    SET name = excluded.name, experiment = excluded.experiment, model = excluded.model, owner_key = excluded.owner_key,
        started_index = excluded.started_index, started_at = excluded.started_at,
        sealed_index = excluded.sealed_index, status = excluded.status, records = excluded.records,
        state = excluded.state";

const PRINCIPALS: &str = "INSERT INTO run_principals (run, principal)
    SELECT * FROM unnest($1::text[], $2::text[]) AS new (run, principal) WHERE principal <> ''
    ON CONFLICT DO NOTHING";

const SIZE: &str = "UPDATE indexed SET size = $1 WHERE size = $2";

impl Streams {
    fn new<'a>(update: &'a IndexUpdate, scopes: &mut BTreeSet<&'a str>) -> Result<Self> {
        let mut columns = Self::default();
        // A statement may not write a row twice; what was said last counts.
        let mut last = HashMap::new();
        for (position, row) in update.streams.iter().enumerate() {
            last.insert((&row.scope, &row.stream), position);
        }
        for (position, row) in update.streams.iter().enumerate() {
            let next_seq = stored(row.next_seq)?;
            if last.get(&(&row.scope, &row.stream)) != Some(&position) {
                continue;
            }
            scopes.insert(&row.scope);
            columns.scope.push(row.scope.clone());
            columns.stream.push(row.stream.clone());
            columns.next_seq.push(next_seq);
            columns.head.push(row.head.as_bytes().to_vec());
            columns.key.push(row.key.clone());
            columns.state.push(row.state.clone());
        }
        Ok(columns)
    }
}

impl Ranges {
    fn new<'a>(update: &'a IndexUpdate, scopes: &mut BTreeSet<&'a str>) -> Result<Self> {
        let mut columns = Self::default();
        for row in rows(&update.ranges) {
            scopes.insert(row.scope);
            columns.scope.push(row.scope.to_owned());
            columns.stream.push(row.stream.to_owned());
            columns.first_seq.push(stored(row.first_seq)?);
            columns.count.push(stored(row.count)?);
            columns.first_index.push(stored(row.first_index())?);
            columns.last_index.push(stored(row.last_index())?);
            columns.spans.push(row.packed());
        }
        Ok(columns)
    }
}

impl Runs {
    fn new(update: &IndexUpdate) -> Result<Self> {
        let mut columns = Self::default();
        let mut last = HashMap::new();
        for (position, row) in update.runs.iter().enumerate() {
            last.insert(&row.run, position);
        }
        for (position, row) in update.runs.iter().enumerate() {
            if last.get(&row.run) != Some(&position) {
                continue;
            }
            columns.run.push(row.run.clone());
            columns.name.push(row.name.clone());
            columns.experiment.push(row.experiment.clone());
            columns.model.push(row.model.clone());
            columns.owner_key.push(row.owner_key.clone());
            columns.started_index.push(stored(row.started_index)?);
            columns.started_at.push(row.started_at);
            columns
                .sealed_index
                .push(row.sealed_index.map(stored).transpose()?);
            columns.status.push(row.status.clone());
            columns.records.push(stored(row.records)?);
            columns.state.push(row.state.clone());
            columns.principal.push(row.principal.clone());
        }
        Ok(columns)
    }
}
