//! What the handles and the sender of one spool share, in one process.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use record::{PublicKey, SigningKey};

use super::attachments::Kept;
use super::bell::Bell;
use super::dir::Layout;
use super::error::SpoolError;
use super::key;
use super::options::{SpoolOptions, WhenFull};
use super::outgoing::Outgoing;
use super::room::{Moved, Reserved, Room};
use super::status::{Incident, SpoolStatus};
use crate::client::Client;
use crate::error::{ClientError, Problem};

/// A segment gets no further frame once it has so many bytes: 8 MiB.
const SEGMENT_BYTES: u64 = 8 << 20;
/// A spool with a small limit has small segments, since only whole ones are deleted.
const SMALLEST_SEGMENT_BYTES: u64 = 64 << 10;
/// The most incidents that are remembered.
const MAX_INCIDENTS: usize = 100;

pub(super) struct Core {
    pub(super) options: SpoolOptions,
    pub(super) key: SigningKey,
    pub(super) layout: Layout,
    pub(super) segment_bytes: u64,
    pub(super) room: Room,
    pub(super) bell: Bell,
    pub(super) moved: Moved,
    /// Those this process writes, and those of dead ones that it sends.
    streams: Mutex<Vec<Arc<Outgoing>>>,
    report: Mutex<Report>,
    token: Mutex<Token>,
    closed: AtomicBool,
    /// Until when what is left to be done is done.
    finishing: Mutex<Option<Instant>>,
    /// Held while a stream's directory is looked at and taken.
    taking: Mutex<()>,
    pub(super) attachments: Kept,
    /// Whether this one sends what dead processes left.
    adopts: bool,
}

/// What became of what was accepted.
#[derive(Default)]
pub(super) struct Report {
    pub(super) acknowledged: u64,
    pub(super) last_error: Option<String>,
    pub(super) incidents: Vec<Incident>,
    /// The first stream of this process that the server refused for good.
    pub(super) refused: Option<(String, Problem, PathBuf)>,
    pub(super) halted: Option<Halt>,
    /// How often it was looked for what dead processes left.
    pub(super) looks: u64,
    /// Everything is done that is done at the end.
    pub(super) tidied: bool,
}

/// Why nothing is sent any more.
#[derive(Clone)]
pub(super) enum Halt {
    Contradiction { what: String, evidence: PathBuf },
    Ended(Problem),
}

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: Option<String>,
    /// Grows with each new token.
    pub(super) number: u64,
}

impl Core {
    pub(super) fn open(options: SpoolOptions) -> Result<Arc<Self>, SpoolError> {
        let layout = Layout::open(&options.dir)?;
        let key = match &options.key {
            Some(key) => key.clone(),
            None => key::load(&layout, &*options.entropy)?,
        };
        Self::over(options, layout, key, true)
    }

    /// A core of its own, in a process that was forked from the one that has this. Touches nothing here that a lock
    /// protects, but for the token, if that is to be had.
    pub(super) fn forked(&self) -> Result<Arc<Self>, SpoolError> {
        let mut options = self.options.clone();
        if let Ok(token) = self.token.try_lock() {
            options.server.token.clone_from(&token.text);
        }
        Self::over(options, self.layout.clone(), self.key.clone(), false)
    }

    fn over(
        options: SpoolOptions,
        layout: Layout,
        key: SigningKey,
        adopts: bool,
    ) -> Result<Arc<Self>, SpoolError> {
        // An address that is none is said now, and not by the sender.
        Client::new(&options.server.url, None)?;
        let token = Token {
            text: options.server.token.clone(),
            number: 0,
        };
        let segment_bytes = (options.limit_bytes / 8).clamp(SMALLEST_SEGMENT_BYTES, SEGMENT_BYTES);
        Ok(Arc::new(Self {
            key,
            layout,
            segment_bytes,
            room: Room::new(options.limit_bytes),
            bell: Bell::default(),
            moved: Moved::default(),
            streams: Mutex::default(),
            report: Mutex::default(),
            token: Mutex::new(token),
            closed: AtomicBool::new(false),
            finishing: Mutex::default(),
            taking: Mutex::default(),
            attachments: Kept::default(),
            adopts,
            options,
        }))
    }

    pub(super) fn public_key(&self) -> PublicKey {
        PublicKey::from(&self.key)
    }

    pub(super) fn streams(&self) -> MutexGuard<'_, Vec<Arc<Outgoing>>> {
        lock(&self.streams)
    }

    pub(super) fn report(&self) -> MutexGuard<'_, Report> {
        lock(&self.report)
    }

    pub(super) fn token(&self) -> Token {
        lock(&self.token).clone()
    }

    pub(super) fn set_token(&self, text: Option<&str>) {
        let mut token = lock(&self.token);
        token.text = text.map(str::to_owned);
        token.number += 1;
        drop(token);
        // What failed for want of it is tried again at once.
        drop(self.bell.urge());
    }

    pub(super) fn adopts(&self) -> bool {
        self.adopts
    }

    pub(super) fn finishing(&self) -> Option<Instant> {
        *lock(&self.finishing)
    }

    /// What is left to be done is done until then.
    pub(super) fn finish(&self, deadline: Instant) {
        *lock(&self.finishing) = Some(deadline);
        self.bell.ring();
    }

    /// For as long as this is held, no directory of a stream is taken by another thread of this process.
    pub(super) fn taking(&self) -> MutexGuard<'_, ()> {
        lock(&self.taking)
    }

    /// A client that asks once, for what can go without an answer.
    pub(super) fn hasty(&self) -> Result<Client, ClientError> {
        Client::hasty(&self.options.server.url, self.token().text.as_deref())
    }

    /// From now on nothing is taken. Whether anything was until now.
    pub(super) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    pub(super) fn check_open(&self) -> Result<(), SpoolError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(SpoolError::Closed {
                what: format!("the spool {}", self.layout.root().display()),
                why: "`close` was called; open it again".to_owned(),
            });
        }
        Ok(())
    }

    /// Room for so many bytes, waited for as the options say.
    pub(super) fn reserve(&self, bytes: u64) -> Result<Reserved<'_>, SpoolError> {
        if let Some(reserved) = self.room.reserve(bytes) {
            return Ok(reserved);
        }
        if bytes > self.room.limit() {
            return Err(SpoolError::TooLarge {
                what: "the call".to_owned(),
                bytes,
                limit_bytes: self.room.limit(),
                instead: "the spool never has room for that; write less at once, or raise its limit",
            });
        }
        let timeout = match self.options.when_full {
            WhenFull::Fail => return Err(self.full()),
            WhenFull::Block { timeout } => timeout,
        };
        let deadline = Instant::now() + timeout;
        let _urgent = self.bell.urge();
        let waited = self.moved.wait_until(deadline, || {
            if let Err(closed) = self.check_open() {
                return Some(Err(closed));
            }
            // Then no room will ever come.
            if self.report().halted.is_some() {
                return Some(Err(self.full()));
            }
            self.room.reserve(bytes).map(Ok)
        });
        waited.unwrap_or_else(|| Err(self.full()))
    }

    fn full(&self) -> SpoolError {
        SpoolError::Full {
            dir: self.layout.root().to_owned(),
            waiting_bytes: self.room.waiting(),
            limit_bytes: self.room.limit(),
            last_error: self.last_error(),
        }
    }

    /// Why nothing moves, where it is known.
    pub(super) fn last_error(&self) -> Option<String> {
        let report = self.report();
        match &report.halted {
            Some(Halt::Contradiction { what, .. }) => Some(what.clone()),
            Some(Halt::Ended(problem)) => Some(problem.to_string()),
            None => report.last_error.clone(),
        }
    }

    pub(super) fn incident(&self, incident: Incident) {
        let mut report = self.report();
        if report.incidents.len() < MAX_INCIDENTS {
            report.incidents.push(incident);
        }
    }

    pub(super) fn halt(&self, halt: Halt) {
        self.report().halted.get_or_insert(halt);
        self.moved.tell();
    }

    pub(super) fn status(&self) -> SpoolStatus {
        let streams = self.streams().clone();
        let waiting = streams.iter().map(|stream| stream.queue().waiting());
        let waiting_records = waiting.sum();
        let last_error = self.last_error();
        let report = self.report();
        SpoolStatus {
            waiting_records,
            waiting_bytes: self.room.waiting(),
            acknowledged: report.acknowledged,
            last_error,
            incidents: report.incidents.clone(),
            contradiction: match &report.halted {
                Some(Halt::Contradiction { what, .. }) => Some(what.clone()),
                _ => None,
            },
        }
    }
}

/// Nothing here is left in disorder by a thread that panics.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
