//! A witness (<https://c2sp.org/tlog-witness>): it remembers the latest checkpoint of each log it
//! watches, and cosigns only what has grown from that.
//!
//! | step | what holds then |
//! |---|---|
//! | judged | signed by the log, from the size that is kept, proven to be consistent with it |
//! | kept | on disk, before anything is signed: whatever happens, the next judgement starts from here |
//! | cosigned | signed, and the cosigned note kept for whoever asks later |
//!
//! All three under one lock per log, so that no two requests are judged against the same state.
//!
//! Not here: HTTP, and the log's side of the protocol ([`crate::cosign`]).

mod evidence;
mod home;
mod judge;
mod signers;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use record::{Clock, Entropy};
use store::{ObjectStore, StoreError};
use tlog::{Policy, VerifierKey};

use crate::LedgerError;
use home::Home;
use judge::{Accepted, Known, Refusal};
use signers::Signers;

pub use home::origin_hash;

/// What a witness is opened with.
#[derive(Clone)]
pub struct Options {
    /// Tells the time of cosignatures.
    pub clock: Arc<dyn Clock>,
    /// Draws keys, and a name where none is given.
    pub entropy: Arc<dyn Entropy>,
    /// Its name in signatures; by default the one it was made with, or a random one.
    pub name: Option<String>,
    /// Whether to make an ML-DSA-44 key where there is none. One that is there is used.
    pub ml_dsa_44: bool,
    /// The logs to watch: each policy's `log` lines, and cosigners that go by a log's name.
    pub logs: Vec<Policy>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("witness::Options")
            .field("name", &self.name)
            .field("ml_dsa_44", &self.ml_dsa_44)
            .finish_non_exhaustive()
    }
}

/// What a witness answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The cosignature lines, each ending in a newline.
    Cosigned(String),
    /// The request cannot be read, or says an old size above the checkpoint's.
    Malformed(String),
    /// Nobody asked this witness to watch that log.
    UnknownOrigin(String),
    /// No key of the log has signed, or a signature of one is wrong.
    NotSigned(String),
    /// The old size is not that of the checkpoint kept, which is this.
    Conflict(u64),
    /// The checkpoint has not grown from the one kept, or nothing shows that it has.
    Inconsistent(String),
    /// The witness cannot keep what it would sign.
    Failed(String),
}

/// How often each answer was given, and how far a log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Origin and size of the latest checkpoint kept, for each log watched.
    pub logs: Vec<(String, u64)>,
    /// Answers since the start, by the name of the answer.
    pub answers: Vec<(&'static str, u64)>,
    /// Why nothing more is cosigned; the process should end.
    pub failed: Option<String>,
}

/// A witness. It has its directory to itself until it is dropped.
pub struct Witness {
    home: Home,
    signers: Signers,
    clock: Arc<dyn Clock>,
    logs: BTreeMap<String, Log>,
    answers: [AtomicU64; NAMES.len()],
    failed: Mutex<Option<String>>,
}

const NAMES: [&str; 7] = [
    "cosigned",
    "malformed",
    "unknown_origin",
    "not_signed",
    "conflict",
    "inconsistent",
    "failed",
];

/// A log that is watched.
struct Log {
    known: Known,
    kept: Mutex<Kept>,
}

/// What is known of a log.
#[derive(Default)]
struct Kept {
    latest: Option<home::Latest>,
    /// The whole note with our cosignatures, and their lines alone.
    cosigned: Option<(Arc<str>, String)>,
    /// When it was last cosigned, in POSIX seconds: no cosignature says an earlier time than one before.
    time: u64,
    /// A write failed: what is on the disk has to be read again.
    stale: bool,
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness")
            .field("name", &self.signers.name())
            .field("logs", &self.logs.keys())
            .finish_non_exhaustive()
    }
}

impl Witness {
    /// Opens the witness in a directory, or makes one there: its name, its keys.
    ///
    /// # Errors
    /// Another process has it, it goes by another name, a policy names no log, or a file cannot be
    /// read or written.
    pub fn open(dir: &Path, options: Options) -> Result<Self, LedgerError> {
        Self::open_with(dir, options, |objects| objects)
    }

    /// As [`Witness::open`], with another store around its files.
    ///
    /// # Errors
    /// As [`Witness::open`].
    pub fn open_with(
        dir: &Path,
        options: Options,
        wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    ) -> Result<Self, LedgerError> {
        let mut logs: BTreeMap<String, Known> = BTreeMap::new();
        for policy in &options.logs {
            for key in policy.logs() {
                let origin = key.key.name();
                let known = logs.entry(origin.to_owned()).or_default();
                known.learn(policy.keys_of(origin));
            }
        }
        let (home, name) = Home::open(dir, &options, wrap)?;
        let signers = Signers::open(dir, &name, &*options.entropy, options.ml_dsa_44)?;
        home.write_vkeys(&signers.vkeys())?;
        let witness = Self {
            home,
            signers,
            clock: options.clock,
            logs: logs
                .into_iter()
                .map(|(origin, known)| {
                    let kept = Mutex::default();
                    (origin, Log { known, kept })
                })
                .collect(),
            answers: Default::default(),
            failed: Mutex::default(),
        };
        for log in witness.logs.values() {
            witness.load(log, &mut lock(&log.kept))?;
        }
        Ok(witness)
    }

    /// The name it signs under.
    pub fn name(&self) -> &str {
        self.signers.name()
    }

    /// Its public keys.
    pub fn vkeys(&self) -> Vec<VerifierKey> {
        self.signers.vkeys()
    }

    /// Judges a request's body (`add-checkpoint`), keeps the checkpoint and cosigns it. Waits for
    /// the disk.
    pub fn add_checkpoint(&self, body: &[u8]) -> Answer {
        let answer = self.decide(body).unwrap_or_else(|refusal| match refusal {
            Refusal::Malformed(why) => Answer::Malformed(why),
            Refusal::UnknownOrigin(origin) => Answer::UnknownOrigin(origin),
            Refusal::NotSigned(why) => Answer::NotSigned(why),
            Refusal::Conflict(size) => Answer::Conflict(size),
            Refusal::Inconsistent(why) => Answer::Inconsistent(why),
            Refusal::Failed(why) => Answer::Failed(why),
        });
        self.answers[answer.position()].fetch_add(1, Ordering::Relaxed);
        answer
    }

    fn decide(&self, body: &[u8]) -> Result<Answer, Refusal> {
        let claim = judge::read(body)?;
        let log = self
            .logs
            .get(claim.origin())
            .ok_or_else(|| Refusal::UnknownOrigin(claim.origin().to_owned()))?;
        let signed = claim.signed_by(&log.known)?;
        let mut kept = lock(&log.kept);
        if let Some(reason) = &*lock(&self.failed) {
            return Err(Refusal::Failed(reason.clone()));
        }
        if kept.stale {
            self.load(log, &mut kept)
                .map_err(|e| Refusal::Failed(e.to_string()))?;
        }
        let accepted = match signed.consistent_with(kept.latest.as_ref()) {
            Ok(accepted) => accepted,
            Err(Refusal::Inconsistent(why)) => {
                tracing::error!(
                    origin = claim.origin(),
                    why,
                    "refused a checkpoint that has not grown from the one kept"
                );
                evidence::keep(&self.home, &claim, kept.latest.as_ref());
                return Err(Refusal::Inconsistent(why));
            }
            Err(refusal) => return Err(refusal),
        };
        self.keep(&mut kept, &accepted)?;
        self.cosign(&mut kept, &accepted).map(Answer::Cosigned)
    }

    /// On disk before it is signed.
    fn keep(&self, kept: &mut Kept, accepted: &Accepted) -> Result<(), Refusal> {
        if kept
            .latest
            .as_ref()
            .is_some_and(|latest| latest.checkpoint == accepted.checkpoint)
        {
            return Ok(());
        }
        if let Err(error) = self.home.keep(&accepted.checkpoint.origin, &accepted.note) {
            kept.stale = true;
            return Err(self.fail(&error));
        }
        kept.latest = Some(home::Latest {
            checkpoint: accepted.checkpoint.clone(),
            note: accepted.note.clone(),
        });
        kept.cosigned = None;
        Ok(())
    }

    /// The cosignature lines. Those made within the same second are given again, so that nobody
    /// can have the disk written to by sending one request over and over.
    fn cosign(&self, kept: &mut Kept, accepted: &Accepted) -> Result<String, Refusal> {
        let now = u64::try_from(self.clock.now().0 / 1_000_000).unwrap_or(0);
        // A cosignature's time must not be 0, which would say nothing about time.
        let time = now.max(kept.time).max(1);
        if let Some((_, lines)) = &kept.cosigned
            && time == kept.time
        {
            return Ok(lines.clone());
        }
        let lines = self
            .signers
            .cosign(&accepted.checkpoint, time)
            .map_err(|e| Refusal::Failed(e.to_string()))?;
        let note: Arc<str> = format!("{}{lines}", accepted.note).into();
        kept.time = time;
        kept.cosigned = Some((Arc::clone(&note), lines.clone()));
        // What is kept for others to read is not what the next judgement starts from.
        if let Err(error) = self
            .home
            .keep_cosigned(&accepted.checkpoint.origin, note.as_bytes())
        {
            tracing::warn!(%error, "could not keep a cosigned checkpoint");
            if error.is_fatal() {
                return Err(self.fail(&error));
            }
        }
        Ok(lines)
    }

    /// After a failed sync nothing is known of the disk, and nothing more is signed.
    fn fail(&self, error: &StoreError) -> Refusal {
        tracing::error!(%error, "could not keep a checkpoint");
        if error.is_fatal() {
            *lock(&self.failed) = Some(error.to_string());
        }
        Refusal::Failed(error.to_string())
    }

    /// Reads what is kept of a log.
    fn load(&self, log: &Log, kept: &mut Kept) -> Result<(), LedgerError> {
        let Some(origin) = log.known.origin() else {
            return Ok(());
        };
        *kept = Kept {
            latest: self.home.latest(origin)?,
            stale: false,
            cosigned: None,
            time: kept.time,
        };
        let Some(latest) = &kept.latest else {
            return Ok(());
        };
        if let Some((note, lines, time)) = self.home.cosigned(origin, &self.signers.vkeys())? {
            kept.time = kept.time.max(time);
            // Killed between the two: what is kept was never cosigned, or nobody knows.
            if note.starts_with(&latest.checkpoint.to_string()) {
                kept.cosigned = Some((note, lines));
            }
        }
        Ok(())
    }

    /// The latest checkpoint of a log with this witness's cosignatures, by the SHA-256 of its
    /// origin in hex; `None` where none was ever cosigned.
    pub fn cosigned(&self, origin_hash: &str) -> Option<Arc<str>> {
        let (_, log) = self
            .logs
            .iter()
            .find(|(origin, _)| home::origin_hash(origin) == origin_hash)?;
        let mut kept = lock(&log.kept);
        if let Some((note, _)) = &kept.cosigned {
            return Some(Arc::clone(note));
        }
        // Kept, and not cosigned before the process ended.
        let latest = kept.latest.as_ref()?;
        let accepted = Accepted {
            checkpoint: latest.checkpoint.clone(),
            note: latest.note.clone(),
        };
        if lock(&self.failed).is_some() || kept.stale {
            return None;
        }
        self.cosign(&mut kept, &accepted).ok()?;
        kept.cosigned.as_ref().map(|(note, _)| Arc::clone(note))
    }

    /// How the witness is doing.
    pub fn status(&self) -> Status {
        let size = |log: &Log| {
            let kept = lock(&log.kept);
            kept.latest.as_ref().map_or(0, |at| at.checkpoint.size.0)
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            logs: self
                .logs
                .iter()
                .map(|(origin, log)| (origin.clone(), size(log)))
                .collect(),
            answers: NAMES
                .into_iter()
                .zip(self.answers.iter().map(count))
                .collect(),
            failed: lock(&self.failed).clone(),
        }
    }
}

impl Answer {
    const fn position(&self) -> usize {
        match self {
            Self::Cosigned(_) => 0,
            Self::Malformed(_) => 1,
            Self::UnknownOrigin(_) => 2,
            Self::NotSigned(_) => 3,
            Self::Conflict(_) => 4,
            Self::Inconsistent(_) => 5,
            Self::Failed(_) => 6,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
