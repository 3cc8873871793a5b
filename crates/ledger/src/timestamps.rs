//! A time-stamping authority's word (RFC 3161) on when a checkpoint existed, kept beside the log.
//!
//! Stamped is the text of the note, without its signatures; `verify::timestamp` says why. For each
//! stamped size there are `log/timestamps/<size>.tsr`, the authority's answer as it came, and
//! `<size>.note`, the checkpoint it is about; `log/timestamps/latest` names the largest size.
//!
//! Nothing waits for an authority: stamping has a thread of its own, and what fails is counted and
//! tried again. Not here: HTTP, which is the caller's ([`TimestampAuthority`]).

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use record::Timestamp;
use tlog::{SignedNote, TreeSize};
use verify::bundle::Stamp;
use verify::timestamp::{TimestampError, Token, query};

use crate::LedgerError;
use crate::ledger::Ledger;
use crate::shared::Shared;

const PLACE: &str = "log/timestamps";
const LATEST: &str = "log/timestamps/latest";
/// Before the first new try after a failure; doubled at each, up to `MAX_RETRY` or the interval.
const RETRY: Duration = Duration::from_secs(10);
const MAX_RETRY: Duration = Duration::from_mins(15);
/// Beyond this the ledger's clock and the authority's are said to differ.
const CLOCKS_DIFFER_MICROS: u64 = 5 * 60 * 1_000_000;

/// Somebody who answers `TimeStampReq` with `TimeStampResp`, in time.
pub trait TimestampAuthority: Send + Sync {
    /// Sends the request and gives the answer, unread.
    ///
    /// # Errors
    /// Why there is none, in words.
    fn ask(&self, request: &[u8]) -> Result<Vec<u8>, String>;
}

/// A checkpoint was stamped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StampInfo {
    /// Its size.
    pub size: u64,
    /// It existed before this time, the authority says.
    pub before: Timestamp,
    /// The subject of the authority's certificate, which nobody has checked here.
    pub authority: String,
}

/// A checkpoint was not stamped.
#[derive(Debug, thiserror::Error)]
pub enum StampError {
    /// There is nothing to stamp.
    #[error("the log is empty: there is no checkpoint worth a timestamp")]
    Empty,
    /// No answer.
    #[error("the time-stamping authority did not answer: {0}")]
    Unavailable(String),
    /// An answer that is not kept.
    #[error("the time-stamping authority's answer is refused: {0}")]
    Refused(#[from] TimestampError),
    /// The store failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// How stamping gets on, for metrics.
#[derive(Default)]
pub(crate) struct Counters {
    stamped: AtomicU64,
    failures: AtomicU64,
    size: AtomicU64,
    /// 0: none yet.
    at: AtomicI64,
}

/// How stamping gets on since the ledger was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimestampStatus {
    /// Timestamps received and kept.
    pub stamped: u64,
    /// Tries that failed.
    pub failures: u64,
    /// The size of the checkpoint stamped last.
    pub size: u64,
    /// When that was, by the ledger's clock.
    pub last: Option<Timestamp>,
}

impl Ledger {
    /// Asks for a timestamp of the published checkpoint, and keeps it. `None` if it has one already.
    ///
    /// # Errors
    /// [`StampError`]; nothing is kept then.
    pub fn timestamp(
        &self,
        authority: &dyn TimestampAuthority,
    ) -> Result<Option<StampInfo>, StampError> {
        let shared = self.shared();
        let outcome = stamp(shared, authority);
        let counters = &shared.timestamps;
        match &outcome {
            Ok(Some(info)) => {
                counters.stamped.fetch_add(1, Ordering::Relaxed);
                counters.size.store(info.size, Ordering::Relaxed);
                counters.at.store(shared.clock.now().0, Ordering::Relaxed);
            }
            Ok(None) | Err(StampError::Empty) => {}
            Err(_) => {
                counters.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        outcome
    }

    /// Stamps the newest checkpoint now, at every interval, and when told to finish.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn timestamp_every(
        &self,
        interval: Duration,
        authority: Box<dyn TimestampAuthority>,
    ) -> Result<Timestamper, LedgerError> {
        let ledger = self.clone();
        let finish = Arc::new(Finish::default());
        let told = Arc::clone(&finish);
        let thread = thread::Builder::new()
            .name("timestamps".to_owned())
            .spawn(move || regularly(&ledger, interval, &*authority, &told))
            .map_err(LedgerError::Thread)?;
        Ok(Timestamper {
            finish,
            thread: Some(thread),
        })
    }

    /// How stamping gets on.
    pub fn timestamp_status(&self) -> TimestampStatus {
        let counters = &self.shared().timestamps;
        let at = counters.at.load(Ordering::Relaxed);
        TimestampStatus {
            stamped: counters.stamped.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
            size: counters.size.load(Ordering::Relaxed),
            last: (at != 0).then_some(Timestamp(at)),
        }
    }

    /// A file of `log/timestamps/`: `latest`, `<size>.tsr` or `<size>.note`. `None` for any other.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn timestamp_file(&self, name: &str) -> Result<Option<Vec<u8>>, LedgerError> {
        let size = name
            .strip_suffix(".tsr")
            .or_else(|| name.strip_suffix(".note"));
        if name != "latest" && !size.is_some_and(is_decimal) {
            return Ok(None);
        }
        Ok(self
            .shared()
            .reader
            .objects
            .get(&format!("{PLACE}/{name}"))?)
    }

    /// The timestamp that says most about the first `end` entries, for a bundle with the checkpoint of
    /// `size` entries: the first that covers all of them, or else the last there is.
    pub(crate) fn timestamp_for(
        &self,
        end: u64,
        size: TreeSize,
    ) -> Result<Option<Stamp>, LedgerError> {
        let reader = &self.shared().reader;
        let mut sizes: Vec<u64> = reader
            .objects
            .list(PLACE)?
            .iter()
            .filter_map(|key| {
                key.strip_prefix(PLACE)?
                    .strip_prefix('/')?
                    .strip_suffix(".tsr")
            })
            .filter_map(|stamped| stamped.parse().ok())
            .filter(|stamped| *stamped <= size.0)
            .collect();
        sizes.sort_unstable();
        let first = sizes.partition_point(|stamped| *stamped < end);
        let Some(stamped) = sizes.get(first).or(sizes.last()).copied() else {
            return Ok(None);
        };
        let get = |suffix: &str| {
            let key = format!("{PLACE}/{stamped}.{suffix}");
            let bytes = reader.objects.get(&key)?;
            bytes.ok_or_else(|| LedgerError::corrupt(&*key, "it is missing"))
        };
        let note = get("note")?;
        let note = SignedNote::parse(&note)
            .map_err(|e| LedgerError::corrupt(&*format!("{PLACE}/{stamped}.note"), e))?;
        Ok(Some(Stamp {
            text: note.text().as_bytes().to_vec(),
            response: get("tsr")?,
            proof: reader
                .consistency(stamped, size.0)?
                .iter()
                .map(|hash| *hash.as_bytes())
                .collect(),
        }))
    }
}

fn stamp(
    shared: &Shared,
    authority: &dyn TimestampAuthority,
) -> Result<Option<StampInfo>, StampError> {
    let published = shared
        .reader
        .published()
        .filter(|p| p.checkpoint.size.0 > 0);
    let published = published.ok_or(StampError::Empty)?;
    let size = published.checkpoint.size.0;
    let objects = &shared.reader.objects;
    let (note_key, key) = (
        format!("{PLACE}/{size}.note"),
        format!("{PLACE}/{size}.tsr"),
    );
    if objects.get(&key).map_err(LedgerError::from)?.is_some() {
        return Ok(None);
    }
    let note = SignedNote::parse(&published.note)
        .map_err(|e| LedgerError::corrupt("the published checkpoint", e))?;
    let mut nonce = [0; 16];
    shared.entropy.fill(&mut nonce);
    let text = note.text().as_bytes();
    let response = authority
        .ask(&query(text, nonce))
        .map_err(StampError::Unavailable)?;
    let token = Token::open(&response, text)?;
    token.answers(nonce)?;
    let now = shared.clock.now();
    if now.0.abs_diff(token.time().0) > CLOCKS_DIFFER_MICROS {
        tracing::warn!(%now, authority = %token.time(), "the authority's clock and this one differ");
    }
    // The answer last: where it is, the rest is. Another server may do the same; either is right.
    let keep = || -> Result<(), LedgerError> {
        objects.replace(&note_key, &published.note)?;
        objects.replace(&key, &response)?;
        let latest = objects.get(LATEST)?.and_then(|latest| parse(&latest));
        if latest.is_none_or(|latest| latest < size) {
            objects.replace(LATEST, format!("{size}\n").as_bytes())?;
        }
        Ok(())
    };
    keep()?;
    Ok(Some(StampInfo {
        size,
        before: token.before(),
        authority: token.authority().to_owned(),
    }))
}

fn parse(latest: &[u8]) -> Option<u64> {
    std::str::from_utf8(latest).ok()?.trim_end().parse().ok()
}

fn is_decimal(text: &str) -> bool {
    text.parse::<u64>()
        .is_ok_and(|number| number.to_string() == text)
}

#[derive(Default)]
struct Finish {
    told: Mutex<bool>,
    changed: Condvar,
}

impl Finish {
    /// Waits; true as soon as it is time to finish.
    fn wait(&self, time: Duration) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, _) = self
            .changed
            .wait_timeout_while(told, time, |told| !*told)
            .unwrap_or_else(PoisonError::into_inner);
        *told
    }

    fn tell(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

/// Stamps regularly. Dropped, which is for after [`Ledger::close`], it stamps the last checkpoint if it
/// can, and ends.
pub struct Timestamper {
    finish: Arc<Finish>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Timestamper {
    fn drop(&mut self) {
        self.finish.tell();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the thread for timestamps panicked");
        }
    }
}

impl fmt::Debug for Timestamper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timestamper").finish_non_exhaustive()
    }
}

fn regularly(
    ledger: &Ledger,
    interval: Duration,
    authority: &dyn TimestampAuthority,
    finish: &Finish,
) {
    let mut retry = RETRY;
    let mut last = false;
    loop {
        let wait = match ledger.timestamp(authority) {
            Ok(stamped) => {
                if let Some(StampInfo {
                    size,
                    before,
                    authority,
                }) = stamped
                {
                    tracing::info!(size, %before, authority, "the checkpoint has a timestamp");
                }
                retry = RETRY;
                interval
            }
            // An empty log is looked at again soon: its first records should not wait for an hour.
            Err(StampError::Empty) => RETRY.min(interval),
            Err(error) => {
                tracing::warn!(%error, "no timestamp; it is tried again");
                let wait = retry.min(interval);
                retry = (retry * 2).min(MAX_RETRY);
                wait
            }
        };
        if last {
            return;
        }
        last = finish.wait(wait);
    }
}
