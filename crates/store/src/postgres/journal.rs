//! The journal as a table of frames, with one row that says where the next starts.
//!
//! A turn is a transaction that holds that row. Taking it and reading what others appended is one round trip; appending
//! and committing is another. The group is sent only after the lock was granted, in the transaction that holds it: so
//! whoever gets the lock next finds it kept, or knows that it never will be.
//!
//! Whoever only follows takes no turn: a group and the end of the journal become visible at once, and after the groups before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::Row;

use super::error::{Sorted, store_error};
use super::session::{Session, Values};
use super::{Fault, Postgres, RETRY};
use crate::error::{Result, StoreError};
use crate::journal::frame::{HEADER_BYTES, Header, encode};
use crate::journal::{Group, Journal, JournalEntry};
use crate::net::pause_after;
use crate::rows::{loaded, stored};

/// A turn in which nothing happens for this long has ended: whoever had it was frozen, or cut off.
const IDLE_MILLIS: u32 = 2000;
/// How long an answer is waited for: a little longer than the lock may take.
const ANSWER: Duration = Duration::from_secs(5);

const END: &str = "SELECT next_index FROM journal_end";
const LOCK: &str = "SELECT next_index FROM journal_end FOR UPDATE";
/// Groups from the one that holds `$1` on, about 8 MiB at once and one at least.
const GROUPS: &str = "SELECT first_index, frame FROM (
        SELECT first_index, frame, sum(octet_length(frame)) OVER (ORDER BY first_index) - octet_length(frame) AS before
        FROM (SELECT first_index, frame FROM journal
              WHERE first_index >= coalesce((SELECT max(first_index) FROM journal WHERE first_index <= $1), 0)
                AND next_index > $1
              ORDER BY first_index LIMIT 1000) AS page
    ) AS page WHERE before < 8388608 ORDER BY first_index";
const APPEND: &str = "WITH moved AS (
        UPDATE journal_end SET next_index = $2 WHERE next_index = $1 RETURNING 1
    )
    INSERT INTO journal (first_index, next_index, frame) SELECT $1, $2, $3 FROM moved";
/// From the oldest on, what ends before `$1` and is older than `$2` seconds.
const DISCARD: &str = "DELETE FROM journal WHERE first_index < coalesce(
        (SELECT min(first_index) FROM journal
         WHERE next_index > $1 OR created_at > clock_timestamp() - $2::float8 * interval '1 second'), $1)";

/// A [`Journal`] in PostgreSQL; each process of a ledger has one.
#[derive(Debug)]
pub struct PgJournal {
    database: Postgres,
    next_index: u64,
    /// The connection on which turns are taken, in none of them.
    idle: Option<Arc<Session>>,
    /// The same, in one.
    turn: Option<Arc<Session>>,
    /// The rollback of the turn before, and whether it came to an end: the next must not begin before it, or would be the
    /// one that is rolled back.
    ending: Option<JoinHandle<bool>>,
    buffer: Vec<u8>,
    discarded: Option<Instant>,
}

impl PgJournal {
    /// Opens the journal of `database`, of which everything before `start_index` is published. If it ends before
    /// that, it goes on from there.
    ///
    /// # Errors
    /// As the database fails.
    pub fn open(database: &Postgres, start_index: u64) -> Result<Self> {
        let start = stored(start_index)?;
        let next_index = database.run("open the journal", move |session| async move {
            session
                .execute(
                    "UPDATE journal_end SET next_index = $1 WHERE next_index < $1",
                    &[&start],
                )
                .await?;
            end_of(&session.query(END, &[]).await?)
        })?;
        Ok(Self {
            database: database.clone(),
            next_index,
            idle: None,
            turn: None,
            ending: None,
            buffer: Vec::new(),
            discarded: None,
        })
    }

    /// Takes the turn; says where the journal ends, and shows groups from `from` on, if they are asked for.
    fn take_turn(&mut self, from: Option<u64>) -> Result<(u64, Vec<Row>)> {
        self.release();
        let from = from.map(stored).transpose()?;
        let (database, mut idle) = (self.database.clone(), self.idle.take());
        let ending = self.ending.take();
        let (session, end, rows) = self.database.wait("take the turn at the journal", async move {
            if let Some(ending) = ending
                && !matches!(ending.await, Ok(true))
            {
                idle = None;
            }
            let begun = Instant::now();
            let mut attempt = 0;
            loop {
                let fault = match begin(&database, idle.take(), from).await {
                    Ok(turn) => return Ok(turn),
                    Err(fault) => fault,
                };
                let pause = pause_after(attempt);
                let lost =
                    matches!(&fault, Fault::Database(error) if Sorted::of(error) == Sorted::Lost);
                if !lost || begun.elapsed() + pause > RETRY {
                    return Err(fault);
                }
                tokio::time::sleep(pause).await;
                attempt += 1;
            }
        })?;
        self.turn = Some(session);
        Ok((end, rows))
    }

    /// Shows the groups of `from..to` in `rows` and those after them, which have to be all there. A journal that ends
    /// before `from` has lost what was acknowledged.
    fn show(
        &self,
        mut from: u64,
        to: u64,
        mut rows: Vec<Row>,
        more: impl Fn(u64) -> Result<Vec<Row>>,
        visit: &mut dyn FnMut(Group<'_>) -> Result<()>,
    ) -> Result<()> {
        if to < from {
            return Err(StoreError::LostWrites {
                server: self.database.server().to_owned(),
                expected: from,
                found: to,
            });
        }
        let mut first = true;
        while from < to {
            if rows.is_empty() {
                return Err(StoreError::NotNext {
                    expected: to,
                    found: from,
                });
            }
            for row in &rows {
                if from >= to {
                    return Ok(());
                }
                let (first_index, frame) =
                    columns(row).map_err(|fault| self.failed("read the journal", fault))?;
                // The first group may hold `from` in its middle; after a gap, it starts later.
                if first_index > from || (first_index < from && !first) {
                    return Err(StoreError::NotNext {
                        expected: to,
                        found: from,
                    });
                }
                let group =
                    open(frame, first_index).map_err(|reason| StoreError::CorruptDatabase {
                        path: self.database.server().into(),
                        reason: format!(
                            "the group of the journal at index {first_index}: {reason}"
                        ),
                    })?;
                first = false;
                from = first_index + u64::from(group.count);
                visit(group)?;
            }
            if from < to {
                rows = more(from)?;
            }
        }
        Ok(())
    }

    fn failed(&self, action: &'static str, fault: Fault) -> StoreError {
        store_error(self.database.server(), action, fault)
    }

    /// Reads a page on whatever connection there is, in no turn.
    fn page(&self, from: u64) -> Result<Vec<Row>> {
        let from = stored(from)?;
        self.database
            .run("read the journal", move |session| async move {
                session.query(GROUPS, &[&from]).await
            })
    }

    /// Reads a page on the turn's own `session`.
    fn page_in_turn(&self, session: Arc<Session>, from: u64) -> Result<Vec<Row>> {
        let from = stored(from)?;
        self.database.wait("read the journal", async move {
            session.query(GROUPS, &[&from]).await
        })
    }
}

/// Begins a transaction that holds the end of the journal, all in one round trip if the connection has been used.
async fn begin(
    database: &Postgres,
    idle: Option<Arc<Session>>,
    from: Option<i64>,
) -> Result<(Arc<Session>, u64, Vec<Row>), Fault> {
    let session = if let Some(session) = idle.filter(|session| !session.is_closed()) {
        session
    } else {
        let mut session = database.0.pool.connect(IDLE_MILLIS).await?;
        session.hurry(ANSWER);
        Arc::new(session)
    };
    let (lock, groups) = (session.prepare(LOCK).await?, session.prepare(GROUPS).await?);
    // Prepared now, so that a turn is not spent on it.
    session.prepare(APPEND).await?;
    let read = async {
        match from {
            Some(from) => session.query_prepared(&groups, &[&from]).await,
            None => Ok(Vec::new()),
        }
    };
    let (begun, end, rows) = tokio::join!(
        biased;
        session.batch("BEGIN"),
        session.query_prepared(&lock, &[]),
        read,
    );
    begun?;
    let end = end_of(&end?)?;
    let rows = rows?;
    Ok((session, end, rows))
}

/// Sends a group and the commit together. `Ok(false)`: the journal ends elsewhere.
async fn append(
    session: &Session,
    first_index: i64,
    next_index: i64,
    frame: &[u8],
) -> Result<bool, Fault> {
    let statement = session.prepare(APPEND).await?;
    let (appended, committed) = tokio::join!(
        biased;
        async {
            let values: Values<'_> = &[&first_index, &next_index, &frame];
            session.execute_prepared(&statement, values).await
        },
        session.commit(),
    );
    let appended = appended?;
    committed?;
    Ok(appended == 1)
}

fn end_of(rows: &[Row]) -> Result<u64, Fault> {
    match rows.first() {
        Some(row) => Ok(loaded(row.try_get(0)?)?),
        None => Err(Fault::Damaged(
            "the table `journal_end` is empty".to_owned(),
        )),
    }
}

fn columns(row: &Row) -> Result<(u64, &[u8]), Fault> {
    Ok((loaded(row.try_get(0)?)?, row.try_get(1)?))
}

/// Checks a frame: its checksum, its index, and that nothing follows it.
fn open(frame: &[u8], first_index: u64) -> Result<Group<'_>, String> {
    use crate::journal::frame::Bad;
    let (header, payload) = frame
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or_else(|| "it is too short".to_owned())?;
    let said = |(Bad::Torn(reason) | Bad::Foreign(reason))| reason;
    let parsed = Header::parse(header).map_err(said)?;
    if parsed.payload_bytes != payload.len() {
        return Err(format!(
            "it has {} bytes, not {}",
            payload.len(),
            parsed.payload_bytes
        ));
    }
    parsed.open(header, payload, first_index).map_err(said)
}

impl Journal for PgJournal {
    fn next_index(&self) -> u64 {
        self.next_index
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn begin(&mut self, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()> {
        let from = self.next_index;
        let (end, rows) = self.take_turn(Some(from))?;
        let session = self.turn.clone();
        let more = |from| match &session {
            Some(session) => self.page_in_turn(Arc::clone(session), from),
            None => Ok(Vec::new()),
        };
        let shown = self.show(from, end, rows, more, visit);
        match shown {
            Ok(()) => self.next_index = end,
            Err(_) => self.release(),
        }
        shown
    }

    fn follow(&mut self, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()> {
        let from = self.next_index;
        let after = stored(from)?;
        // The end first: what is appended after that has no part in it.
        let (end, rows) = self
            .database
            .run("read the journal", move |session| async move {
                let end = end_of(&session.query(END, &[]).await?)?;
                let rows = if end > from {
                    session.query(GROUPS, &[&after]).await?
                } else {
                    Vec::new()
                };
                Ok((end, rows))
            })?;
        self.show(from, end, rows, |from| self.page(from), visit)?;
        self.next_index = end;
        Ok(())
    }

    fn release(&mut self) {
        let Some(session) = self.turn.take() else {
            return;
        };
        let rolled_back = Arc::clone(&session);
        self.ending = self.database.0.net.spawn(async move {
            let ended = rolled_back.rollback().await;
            if let Err(fault) = &ended {
                tracing::debug!(?fault, "a turn at the journal ended with its connection");
            }
            ended.is_ok()
        });
        self.idle = Some(session);
    }

    fn restart(&mut self, index: u64) {
        self.next_index = index;
    }

    fn append_group(&mut self, first_index: u64, entries: &[JournalEntry<'_>]) -> Result<()> {
        let mut frame = std::mem::take(&mut self.buffer);
        let appended = self.append(first_index, entries, &mut frame);
        self.buffer = frame;
        // Whatever it was that refused it, the turn is over.
        self.release();
        appended
    }

    fn replay(&self, from: u64, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()> {
        if from > self.next_index {
            return Err(StoreError::NotNext {
                expected: self.next_index,
                found: from,
            });
        }
        if from == self.next_index {
            return Ok(());
        }
        let more = |from| self.page(from);
        self.show(from, self.next_index, more(from)?, more, visit)
    }

    /// Looks at most a few times while a group is retained, and on a connection of its own.
    fn discard_before(&mut self, index: u64) -> Result<()> {
        let retain = self.database.0.retain;
        if self
            .discarded
            .is_some_and(|discarded| discarded.elapsed() < retain / 6)
        {
            return Ok(());
        }
        let (index, seconds) = (stored(index)?, retain.as_secs_f64());
        self.database
            .run("discard what is published", move |session| async move {
                session.execute(DISCARD, &[&index, &seconds]).await
            })?;
        self.discarded = Some(Instant::now());
        Ok(())
    }
}

impl PgJournal {
    fn append(
        &mut self,
        first_index: u64,
        entries: &[JournalEntry<'_>],
        frame: &mut Vec<u8>,
    ) -> Result<()> {
        if first_index != self.next_index {
            return Err(StoreError::NotNext {
                expected: self.next_index,
                found: first_index,
            });
        }
        if entries.is_empty() {
            return Ok(());
        }
        encode(frame, first_index, entries)?;
        let next_index = first_index + entries.len() as u64;
        let (first, next) = (stored(first_index)?, stored(next_index)?);
        if self.turn.is_none() {
            // Without the lock, a group that was cut off on its way could still arrive after others had looked.
            let (end, _) = self.take_turn(None)?;
            if end != first_index {
                return Err(StoreError::NotNext {
                    expected: end,
                    found: first_index,
                });
            }
        }
        let Some(session) = self.turn.take() else {
            return Ok(());
        };
        let bytes = frame.clone();
        let kept = self.database.wait("append to the journal", {
            let session = Arc::clone(&session);
            async move { append(&session, first, next, &bytes).await }
        })?;
        // It committed, so the connection is in no transaction. After an error, it is closed by being dropped.
        self.idle = Some(session);
        if !kept {
            return Err(StoreError::NotNext {
                expected: self.next_index,
                found: first_index,
            });
        }
        self.next_index = next_index;
        Ok(())
    }
}
