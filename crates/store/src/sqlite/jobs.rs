//! Jobs.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{Fault, SqliteMeta, at_most, loaded, stored};
use crate::error::Result;
use crate::jobs::{
    COLUMNS, Claim, JobEnd, JobFilter, JobOutcome, JobRow, JobState, JobStore, LOST, NewJob,
    Requeued,
};

/// Milliseconds since 1970-01-01T00:00:00Z, as SQLite has them.
const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
/// What can be taken.
const OPEN: &str = "state IN ('queued', 'running', 'retrying')";

fn job(row: &Row<'_>) -> Result<JobRow, Fault> {
    let state: String = row.get(5)?;
    let count = |column| -> Result<u64, Fault> { Ok(loaded(row.get(column)?)?) };
    Ok(JobRow {
        id: row.get(0)?,
        kind: row.get(1)?,
        key: row.get(2)?,
        parent: row.get(3)?,
        payload: row.get(4)?,
        state: parsed(&state)?,
        attempt: count(6)?,
        tries: count(7)?,
        requeues: count(8)?,
        holder: row.get(9)?,
        done: count(10)?,
        total: count(11)?,
        reason: row.get(12)?,
        result: row.get(13)?,
        created: row.get(14)?,
        due: row.get(15)?,
        started: row.get(16)?,
        finished: row.get(17)?,
    })
}

fn parsed(state: &str) -> Result<JobState, Fault> {
    JobState::parse(state).ok_or_else(|| Fault::Damaged(format!("`{state}` is no state of a job")))
}

/// The rows of a query.
fn jobs(
    transaction: &Transaction<'_>,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<JobRow>, Fault> {
    let mut query = transaction.prepare_cached(sql)?;
    let mut rows = query.query(values)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(job(row)?);
    }
    Ok(all)
}

fn insert(transaction: &Transaction<'_>, new: &NewJob) -> Result<bool, Fault> {
    let added = transaction
        .prepare_cached(&format!(
            "INSERT INTO jobs (id, kind, key, once, parent, payload, state, attempt, tries, requeues, done, total, created, due)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'queued', 0, ?7, 0, 0, 0, {NOW}, {NOW} + ?8)
             ON CONFLICT DO NOTHING"
        ))?
        .execute(params![
            new.id,
            new.kind,
            new.key,
            new.once,
            new.parent,
            new.payload,
            stored(new.tries)?,
            stored(new.delay)?
        ])?;
    Ok(added > 0)
}

fn note(transaction: &Transaction<'_>, id: &str, outcome: &str) -> Result<(), Fault> {
    transaction
        .prepare_cached(
            "INSERT INTO job_outcomes (kind, outcome, count) SELECT kind, ?2, 1 FROM jobs WHERE id = ?1
             ON CONFLICT (kind, outcome) DO UPDATE SET count = job_outcomes.count + 1",
        )?
        .execute(params![id, outcome])?;
    Ok(())
}

/// Ends jobs whose worker was lost in their last try.
fn bury(transaction: &Transaction<'_>) -> Result<(), Fault> {
    let lost = jobs(
        transaction,
        &format!(
            "UPDATE jobs SET state = 'dead', reason = ?1, finished = {NOW}
             WHERE state = 'running' AND due <= {NOW} AND attempt >= tries RETURNING {COLUMNS}"
        ),
        [LOST],
    )?;
    for job in lost {
        note(transaction, &job.id, "lost")?;
        note(transaction, &job.id, "dead")?;
    }
    Ok(())
}

impl JobStore for SqliteMeta {
    fn add_job(&self, new: &NewJob) -> Result<bool> {
        self.write("add a job", |transaction| insert(transaction, new))
    }

    fn claim_job(&self, claim: &Claim<'_>) -> Result<Option<JobRow>> {
        let kinds = format!("[\"{}\"]", claim.kinds.join("\",\""));
        // What a lost worker had comes first: its turn was before that of all who still wait.
        let due = format!(
            "SELECT id, state FROM jobs WHERE {OPEN} AND due <= {NOW} AND (?2 IS NULL OR id = ?2)
             AND kind IN (SELECT value FROM json_each(?1))
             ORDER BY state <> 'running', due, id LIMIT 1"
        );
        let found = |transaction: &Transaction<'_>| -> Result<Option<(String, String)>, Fault> {
            Ok(transaction
                .prepare_cached(&due)?
                .query_row(params![kinds, claim.id], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?)
        };
        // Who finds nothing keeps nobody from writing.
        if self.read("look for a job", found)?.is_none() {
            return Ok(None);
        }
        self.write("take a job", |transaction| {
            bury(transaction)?;
            let Some((id, before)) = found(transaction)? else {
                return Ok(None);
            };
            if before == JobState::Running.as_str() {
                note(transaction, &id, "lost")?;
            }
            let taken = jobs(
                transaction,
                &format!(
                    "UPDATE jobs SET state = 'running', attempt = attempt + 1, holder = ?2, started = {NOW},
                         due = {NOW} + ?3 WHERE id = ?1 RETURNING {COLUMNS}"
                ),
                params![id, claim.holder, stored(claim.lease)?],
            )?;
            Ok(taken.into_iter().next())
        })
    }

    fn beat_job(&self, id: &str, attempt: u64, lease: u64, done: u64, total: u64) -> Result<bool> {
        self.write("keep a job", |transaction| {
            let kept = transaction
                .prepare_cached(&format!(
                    "UPDATE jobs SET due = {NOW} + ?3, done = ?4, total = ?5
                     WHERE id = ?1 AND attempt = ?2 AND state = 'running'"
                ))?
                .execute(params![
                    id,
                    stored(attempt)?,
                    stored(lease)?,
                    stored(done)?,
                    stored(total)?
                ])?;
            Ok(kept > 0)
        })
    }

    fn end_job(&self, id: &str, attempt: u64, end: &JobEnd) -> Result<bool> {
        const MINE: &str = "WHERE id = ?1 AND attempt = ?2 AND state = 'running'";
        self.write("end a job", |transaction| {
            let attempt = stored(attempt)?;
            let changed = match end {
                JobEnd::Done { result } => transaction
                    .prepare_cached(&format!(
                        "UPDATE jobs SET state = 'done', result = ?3, reason = NULL, finished = {NOW},
                             done = max(done, total) {MINE}"
                    ))?
                    .execute(params![id, attempt, result])?,
                JobEnd::Retry { reason, delay } => transaction
                    .prepare_cached(&format!(
                        "UPDATE jobs SET reason = ?3, due = {NOW} + ?4,
                             state = iif(attempt < tries, 'retrying', 'dead'),
                             finished = iif(attempt < tries, NULL, {NOW}) {MINE}"
                    ))?
                    .execute(params![id, attempt, reason, stored(*delay)?])?,
                JobEnd::Dead { reason } => transaction
                    .prepare_cached(&format!(
                        "UPDATE jobs SET state = 'dead', reason = ?3, finished = {NOW} {MINE}"
                    ))?
                    .execute(params![id, attempt, reason])?,
                JobEnd::Again { delay, done, total } => transaction
                    .prepare_cached(&format!(
                        "UPDATE jobs SET state = 'queued', tries = tries + 1, due = {NOW} + ?3, done = ?4,
                             total = ?5 {MINE}"
                    ))?
                    .execute(params![
                        id,
                        attempt,
                        stored(*delay)?,
                        stored(*done)?,
                        stored(*total)?
                    ])?,
            };
            if changed == 0 {
                return Ok(false);
            }
            let state: String = transaction
                .prepare_cached("SELECT state FROM jobs WHERE id = ?1")?
                .query_row([id], |row| row.get(0))?;
            match parsed(&state)? {
                JobState::Done => note(transaction, id, "done")?,
                JobState::Retrying => note(transaction, id, "retried")?,
                JobState::Dead => note(transaction, id, "dead")?,
                JobState::Queued | JobState::Running => {}
            }
            Ok(true)
        })
    }

    fn requeue_job(&self, id: &str, tries: u64) -> Result<Requeued> {
        self.write("requeue a job", |transaction| {
            let found = jobs(
                transaction,
                &format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1"),
                [id],
            )?;
            let Some(found) = found.into_iter().next() else {
                return Ok(Requeued::Missing);
            };
            if found.state != JobState::Dead {
                return Ok(Requeued::NotDead(found.state));
            }
            let changed = transaction
                .prepare_cached(&format!(
                    "UPDATE OR IGNORE jobs SET state = 'queued', due = {NOW}, tries = attempt + ?2,
                         requeues = requeues + 1, finished = NULL WHERE id = ?1"
                ))?
                .execute(params![id, stored(tries)?])?;
            if changed == 0 {
                return Ok(Requeued::Taken);
            }
            note(transaction, id, "requeued")?;
            Ok(Requeued::Queued)
        })
    }

    fn job(&self, id: &str) -> Result<Option<JobRow>> {
        self.read("read a job", |transaction| {
            let sql = format!("SELECT {COLUMNS} FROM jobs WHERE id = ?1");
            Ok(jobs(transaction, &sql, [id])?.into_iter().next())
        })
    }

    fn list_jobs(&self, filter: &JobFilter<'_>) -> Result<Vec<JobRow>> {
        self.read("list jobs", |transaction| {
            let sql = format!(
                "SELECT {COLUMNS} FROM jobs WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR kind = ?2)
                 AND (?3 IS NULL OR parent = ?3) AND (?4 IS NULL OR id < ?4) ORDER BY id DESC LIMIT ?5"
            );
            let state = filter.state.map(JobState::as_str);
            let values = params![
                state,
                filter.kind,
                filter.parent,
                filter.before,
                at_most(filter.limit)
            ];
            jobs(transaction, &sql, values)
        })
    }

    fn count_jobs(&self, parent: Option<&str>) -> Result<Vec<(String, JobState, u64)>> {
        self.read("count jobs", |transaction| {
            let mut query = transaction.prepare_cached(
                "SELECT kind, state, count(*) FROM jobs WHERE (?1 IS NULL OR parent = ?1)
                 GROUP BY kind, state ORDER BY kind, state",
            )?;
            let mut rows = query.query([parent])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                let state: String = row.get(1)?;
                all.push((row.get(0)?, parsed(&state)?, loaded(row.get(2)?)?));
            }
            Ok(all)
        })
    }

    fn job_outcomes(&self) -> Result<Vec<JobOutcome>> {
        self.read("count outcomes", |transaction| {
            let mut query = transaction.prepare_cached(
                "SELECT kind, outcome, count FROM job_outcomes ORDER BY kind, outcome",
            )?;
            let mut rows = query.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                all.push(JobOutcome {
                    kind: row.get(0)?,
                    outcome: row.get(1)?,
                    count: loaded(row.get(2)?)?,
                });
            }
            Ok(all)
        })
    }

    fn tick(&self, schedule: &str, at: i64, new: &NewJob) -> Result<bool> {
        self.write("follow a schedule", |transaction| {
            let last: Option<i64> = transaction
                .prepare_cached("SELECT last FROM schedules WHERE name = ?1")?
                .query_row([schedule], |row| row.get(0))
                .optional()?;
            if last.is_some_and(|last| last >= at) || !insert(transaction, new)? {
                return Ok(false);
            }
            transaction
                .prepare_cached(
                    "INSERT INTO schedules (name, last) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET last = excluded.last",
                )?
                .execute(params![schedule, at])?;
            Ok(true)
        })
    }

    fn last_tick(&self, schedule: &str) -> Result<Option<i64>> {
        self.read("read a schedule", |transaction| {
            Ok(transaction
                .prepare_cached("SELECT last FROM schedules WHERE name = ?1")?
                .query_row([schedule], |row| row.get(0))
                .optional()?)
        })
    }

    fn now(&self) -> Result<i64> {
        self.read("read the clock", |transaction| {
            Ok(transaction
                .prepare_cached(&format!("SELECT {NOW}"))?
                .query_row([], |row| row.get(0))?)
        })
    }

    fn prune_jobs(&self, done: u64, dead: u64) -> Result<u64> {
        self.write("forget jobs", |transaction| {
            let forgotten = transaction
                .prepare_cached(&format!(
                    "DELETE FROM jobs WHERE (state = 'done' AND finished <= {NOW} - ?1)
                     OR (state = 'dead' AND finished <= {NOW} - ?2)"
                ))?
                .execute(params![stored(done)?, stored(dead)?])?;
            Ok(forgotten as u64)
        })
    }
}
