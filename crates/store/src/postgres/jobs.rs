//! Jobs, by the clock of the database.

use tokio_postgres::Row;

use super::session::Session;
use super::{Concern, Fault, PgMeta};
use crate::error::Result;
use crate::jobs::{
    Claim, JobEnd, JobFilter, JobOutcome, JobRow, JobState, JobStore, LOST, NewJob, Requeued,
};
use crate::rows::{at_most, loaded, stored};

/// Statements are constants, and so are their parts.
macro_rules! now {
    () => {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    };
}
macro_rules! columns {
    () => {
        "id, kind, key, parent, payload, state, attempt, tries, requeues, holder, done, total, reason, result, \
         created, due, started, finished"
    };
}
macro_rules! open {
    () => {
        "state IN ('queued', 'running', 'retrying')"
    };
}
macro_rules! mine {
    () => {
        "WHERE id = $1 AND attempt = $2 AND state = 'running'"
    };
}

const ONE: &str = concat!("SELECT ", columns!(), " FROM jobs WHERE id = $1");
const LAST: &str = "SELECT last FROM schedules WHERE name = $1";
/// What a lost worker had comes first: its turn was before that of all who still wait.
const DUE: &str = concat!(
    "SELECT id, state FROM jobs WHERE ",
    open!(),
    " AND due <= ",
    now!(),
    " AND kind = ANY($1::text[]) AND ($2::text IS NULL OR id = $2)
      ORDER BY state <> 'running', due, id LIMIT 1"
);

fn job(row: &Row) -> Result<JobRow, Fault> {
    let count = |column: usize| -> Result<u64, Fault> { Ok(loaded(row.try_get(column)?)?) };
    Ok(JobRow {
        id: row.try_get(0)?,
        kind: row.try_get(1)?,
        key: row.try_get(2)?,
        parent: row.try_get(3)?,
        payload: row.try_get(4)?,
        state: parsed(row.try_get(5)?)?,
        attempt: count(6)?,
        tries: count(7)?,
        requeues: count(8)?,
        holder: row.try_get(9)?,
        done: count(10)?,
        total: count(11)?,
        reason: row.try_get(12)?,
        result: row.try_get(13)?,
        created: row.try_get(14)?,
        due: row.try_get(15)?,
        started: row.try_get(16)?,
        finished: row.try_get(17)?,
    })
}

fn parsed(state: &str) -> Result<JobState, Fault> {
    JobState::parse(state).ok_or_else(|| Fault::Damaged(format!("`{state}` is no state of a job")))
}

async fn insert(session: &Session, new: &NewJob) -> Result<bool, Fault> {
    let added = session
        .execute(
            concat!(
                "INSERT INTO jobs (id, kind, key, once, parent, payload, state, attempt, tries, requeues, done, total,
                     created, due)
                 VALUES ($1, $2, $3, $4, $5, $6, 'queued', 0, $7, 0, 0, 0, ",
                now!(),
                ", ",
                now!(),
                " + $8::bigint) ON CONFLICT DO NOTHING"
            ),
            &[
                &new.id,
                &new.kind,
                &new.key,
                &new.once,
                &new.parent,
                &new.payload,
                &stored(new.tries)?,
                &stored(new.delay)?,
            ],
        )
        .await?;
    Ok(added > 0)
}

async fn note(session: &Session, kind: &str, outcome: &str) -> Result<(), Fault> {
    session
        .execute(
            "INSERT INTO job_outcomes (kind, outcome, count) VALUES ($1, $2, 1)
             ON CONFLICT (kind, outcome) DO UPDATE SET count = job_outcomes.count + 1",
            &[&kind, &outcome],
        )
        .await?;
    Ok(())
}

/// Ends jobs whose worker was lost in their last try.
async fn bury(session: &Session) -> Result<(), Fault> {
    let lost = session
        .query(
            concat!(
                "UPDATE jobs SET state = 'dead', reason = $1, finished = ",
                now!(),
                " WHERE state = 'running' AND due <= ",
                now!(),
                " AND attempt >= tries RETURNING kind"
            ),
            &[&LOST],
        )
        .await?;
    for row in lost {
        let kind: String = row.try_get(0)?;
        note(session, &kind, "lost").await?;
        note(session, &kind, "dead").await?;
    }
    Ok(())
}

/// What a claim asks for, kept for another try.
#[derive(Clone)]
struct Asked {
    holder: String,
    kinds: Vec<String>,
    lease: i64,
    id: Option<String>,
}

async fn due(session: &Session, asked: &Asked) -> Result<Option<(String, String)>, Fault> {
    let found = session.query_opt(DUE, &[&asked.kinds, &asked.id]).await?;
    found
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .transpose()
}

async fn claim(session: &Session, asked: &Asked) -> Result<Option<JobRow>, Fault> {
    bury(session).await?;
    let Some((id, before)) = due(session, asked).await? else {
        return Ok(None);
    };
    let taken = session
        .query_opt(
            concat!(
                "UPDATE jobs SET state = 'running', attempt = attempt + 1, holder = $2, started = ",
                now!(),
                ", due = ",
                now!(),
                " + $3::bigint WHERE id = $1 RETURNING ",
                columns!()
            ),
            &[&id, &asked.holder, &asked.lease],
        )
        .await?;
    let taken = taken.as_ref().map(job).transpose()?;
    if let Some(taken) = &taken
        && before == JobState::Running.as_str()
    {
        note(session, &taken.kind, "lost").await?;
    }
    Ok(taken)
}

async fn end(session: &Session, id: &str, attempt: i64, end: &JobEnd) -> Result<bool, Fault> {
    let changed = match end {
        JobEnd::Done { result } => {
            let sql = concat!(
                "UPDATE jobs SET state = 'done', result = $3, reason = NULL, finished = ",
                now!(),
                ", done = greatest(done, total) ",
                mine!(),
                " RETURNING kind, state"
            );
            session.query_opt(sql, &[&id, &attempt, result]).await?
        }
        JobEnd::Retry { reason, delay } => {
            let sql = concat!(
                "UPDATE jobs SET reason = $3, due = ",
                now!(),
                " + $4::bigint, state = CASE WHEN attempt < tries THEN 'retrying' ELSE 'dead' END,
                   finished = CASE WHEN attempt < tries THEN NULL ELSE ",
                now!(),
                " END ",
                mine!(),
                " RETURNING kind, state"
            );
            let delay = stored(*delay)?;
            session
                .query_opt(sql, &[&id, &attempt, reason, &delay])
                .await?
        }
        JobEnd::Dead { reason } => {
            let sql = concat!(
                "UPDATE jobs SET state = 'dead', reason = $3, finished = ",
                now!(),
                " ",
                mine!(),
                " RETURNING kind, state"
            );
            session.query_opt(sql, &[&id, &attempt, reason]).await?
        }
        JobEnd::Again { delay, done, total } => {
            let sql = concat!(
                "UPDATE jobs SET state = 'queued', tries = tries + 1, due = ",
                now!(),
                " + $3::bigint, done = $4, total = $5 ",
                mine!(),
                " RETURNING kind, state"
            );
            let (delay, done, total) = (stored(*delay)?, stored(*done)?, stored(*total)?);
            session
                .query_opt(sql, &[&id, &attempt, &delay, &done, &total])
                .await?
        }
    };
    let Some(row) = changed else {
        return Ok(false);
    };
    let kind: String = row.try_get(0)?;
    match parsed(row.try_get(1)?)? {
        JobState::Done => note(session, &kind, "done").await?,
        JobState::Retrying => note(session, &kind, "retried").await?,
        JobState::Dead => note(session, &kind, "dead").await?,
        JobState::Queued | JobState::Running => {}
    }
    Ok(true)
}

async fn requeue(session: &Session, id: &str, tries: i64) -> Result<Requeued, Fault> {
    let found = session.query_opt(ONE, &[&id]).await?;
    let Some(found) = found.as_ref().map(job).transpose()? else {
        return Ok(Requeued::Missing);
    };
    if found.state != JobState::Dead {
        return Ok(Requeued::NotDead(found.state));
    }
    let changed = session
        .execute(
            concat!(
                "UPDATE jobs SET state = 'queued', due = ",
                now!(),
                ", tries = attempt + $2::bigint, requeues = requeues + 1, finished = NULL WHERE id = $1
                 AND NOT EXISTS (SELECT FROM jobs other WHERE other.kind = jobs.kind AND other.key = jobs.key
                     AND other.state IN ('queued', 'running', 'retrying'))"
            ),
            &[&id, &tries],
        )
        .await?;
    if changed == 0 {
        return Ok(Requeued::Taken);
    }
    note(session, &found.kind, "requeued").await?;
    Ok(Requeued::Queued)
}

impl JobStore for PgMeta {
    fn add_job(&self, new: &NewJob) -> Result<bool> {
        let new = new.clone();
        self.database
            .write(Concern::Jobs, "add a job", move |session| {
                let new = new.clone();
                async move { insert(&session, &new).await }
            })
    }

    fn claim_job(&self, wanted: &Claim<'_>) -> Result<Option<JobRow>> {
        let asked = Asked {
            holder: wanted.holder.to_owned(),
            kinds: wanted.kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            lease: stored(wanted.lease)?,
            id: wanted.id.map(str::to_owned),
        };
        let looked = asked.clone();
        // Who finds nothing keeps nobody from writing.
        let found = self.database.run("look for a job", move |session| {
            let asked = looked.clone();
            async move { due(&session, &asked).await }
        })?;
        if found.is_none() {
            return Ok(None);
        }
        self.database
            .write(Concern::Jobs, "take a job", move |session| {
                let asked = asked.clone();
                async move { claim(&session, &asked).await }
            })
    }

    fn beat_job(&self, id: &str, attempt: u64, lease: u64, done: u64, total: u64) -> Result<bool> {
        let asked = (
            id.to_owned(),
            stored(attempt)?,
            stored(lease)?,
            stored(done)?,
            stored(total)?,
        );
        self.database
            .write(Concern::Jobs, "keep a job", move |session| {
                let (id, attempt, lease, done, total) = asked.clone();
                async move {
                    let sql = concat!(
                        "UPDATE jobs SET due = ",
                        now!(),
                        " + $3::bigint, done = $4, total = $5 ",
                        mine!()
                    );
                    let kept = session
                        .execute(sql, &[&id, &attempt, &lease, &done, &total])
                        .await?;
                    Ok(kept > 0)
                }
            })
    }

    fn end_job(&self, id: &str, attempt: u64, ended: &JobEnd) -> Result<bool> {
        let asked = (id.to_owned(), stored(attempt)?, ended.clone());
        self.database
            .write(Concern::Jobs, "end a job", move |session| {
                let (id, attempt, ended) = asked.clone();
                async move { end(&session, &id, attempt, &ended).await }
            })
    }

    fn requeue_job(&self, id: &str, tries: u64) -> Result<Requeued> {
        let asked = (id.to_owned(), stored(tries)?);
        self.database
            .write(Concern::Jobs, "requeue a job", move |session| {
                let (id, tries) = asked.clone();
                async move { requeue(&session, &id, tries).await }
            })
    }

    fn job(&self, id: &str) -> Result<Option<JobRow>> {
        let id = id.to_owned();
        self.database
            .read(Concern::Jobs, "read a job", move |session| {
                let id = id.clone();
                async move {
                    let row = session.query_opt(ONE, &[&id]).await?;
                    row.as_ref().map(job).transpose()
                }
            })
    }

    fn list_jobs(&self, filter: &JobFilter<'_>) -> Result<Vec<JobRow>> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let asked = (
            owned(filter.state.map(JobState::as_str)),
            owned(filter.kind),
            owned(filter.parent),
            owned(filter.before),
            at_most(filter.limit),
        );
        self.database
            .read(Concern::Jobs, "list jobs", move |session| {
                let (state, kind, parent, before, limit) = asked.clone();
                async move {
                    let sql = concat!(
                        "SELECT ",
                        columns!(),
                        " FROM jobs WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR kind = $2)
                          AND ($3::text IS NULL OR parent = $3) AND ($4::text IS NULL OR id < $4)
                          ORDER BY id DESC LIMIT $5"
                    );
                    let rows = session
                        .query(sql, &[&state, &kind, &parent, &before, &limit])
                        .await?;
                    rows.iter().map(job).collect()
                }
            })
    }

    fn count_jobs(&self, parent: Option<&str>) -> Result<Vec<(String, JobState, u64)>> {
        let parent = parent.map(str::to_owned);
        self.database
            .read(Concern::Jobs, "count jobs", move |session| {
                let parent = parent.clone();
                async move {
                    let rows = session
                        .query(
                            "SELECT kind, state, count(*) FROM jobs WHERE ($1::text IS NULL OR parent = $1)
                             GROUP BY kind, state ORDER BY kind, state",
                            &[&parent],
                        )
                        .await?;
                    let counted = |row: &Row| {
                        Ok((row.try_get(0)?, parsed(row.try_get(1)?)?, loaded(row.try_get(2)?)?))
                    };
                    rows.iter().map(counted).collect()
                }
            })
    }

    fn job_outcomes(&self) -> Result<Vec<JobOutcome>> {
        self.database
            .read(Concern::Jobs, "count outcomes", |session| async move {
                let rows = session
                    .query(
                        "SELECT kind, outcome, count FROM job_outcomes ORDER BY kind, outcome",
                        &[],
                    )
                    .await?;
                let outcome = |row: &Row| {
                    Ok(JobOutcome {
                        kind: row.try_get(0)?,
                        outcome: row.try_get(1)?,
                        count: loaded(row.try_get(2)?)?,
                    })
                };
                rows.iter().map(outcome).collect()
            })
    }

    fn tick(&self, schedule: &str, at: i64, new: &NewJob) -> Result<bool> {
        let asked = (schedule.to_owned(), at, new.clone());
        self.database
            .write(Concern::Jobs, "follow a schedule", move |session| {
                let (schedule, at, new) = asked.clone();
                async move {
                    let last = session.query_opt(LAST, &[&schedule]).await?;
                    let last: Option<i64> = last.map(|row| row.try_get(0)).transpose()?;
                    if last.is_some_and(|last| last >= at) || !insert(&session, &new).await? {
                        return Ok(false);
                    }
                    session
                        .execute(
                            "INSERT INTO schedules (name, last) VALUES ($1, $2)
                             ON CONFLICT (name) DO UPDATE SET last = excluded.last",
                            &[&schedule, &at],
                        )
                        .await?;
                    Ok(true)
                }
            })
    }

    fn last_tick(&self, schedule: &str) -> Result<Option<i64>> {
        let schedule = schedule.to_owned();
        self.database
            .read(Concern::Jobs, "read a schedule", move |session| {
                let schedule = schedule.clone();
                async move {
                    let row = session.query_opt(LAST, &[&schedule]).await?;
                    Ok(row.map(|row| row.try_get(0)).transpose()?)
                }
            })
    }

    fn now(&self) -> Result<i64> {
        self.database.run("read the clock", |session| async move {
            let row = session.query_opt(concat!("SELECT ", now!()), &[]).await?;
            row.map_or(Ok(0), |row| Ok(row.try_get(0)?))
        })
    }

    fn prune_jobs(&self, done: u64, dead: u64) -> Result<u64> {
        let asked = (stored(done)?, stored(dead)?);
        self.database
            .write(Concern::Jobs, "forget jobs", move |session| async move {
                let (done, dead) = asked;
                let sql = concat!(
                    "DELETE FROM jobs WHERE (state = 'done' AND finished <= ",
                    now!(),
                    " - $1::bigint) OR (state = 'dead' AND finished <= ",
                    now!(),
                    " - $2::bigint)"
                );
                session.execute(sql, &[&done, &dead]).await
            })
    }
}
