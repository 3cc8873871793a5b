//! What a client remembers of a log, so that it is a witness too: the last checkpoint it was shown.
//!
//! A server that later shows one which has not grown from it is refused, and what it signed is kept
//! as evidence. Looked at when the client is made, and then once a second on a thread of its own: an
//! append pays for it with one atomic load.
//!
//! The log's key is trusted on first use, as ssh trusts a host, or given. Not here: quorums, and what
//! records mean; those are `verify`'s.

mod archive;
mod compare;
mod evidence;
mod followed;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tlog::{Checkpoint, Policy};

use crate::error::ClientError;
use crate::retry::RetryPolicy;
use crate::transport::Transport;
use archive::{Archive, ServerName, Slot};
use compare::{Shown, compare};
use evidence::Case;

/// How often a server is looked at while a client lives.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often a server that shows too little is asked again.
const AGAIN: Duration = Duration::from_millis(200);

/// Where a client remembers, and what it knows beforehand.
#[derive(Clone, Debug)]
pub struct Memory {
    dir: PathBuf,
    policy: Option<Policy>,
    patience: Duration,
    name: Option<String>,
}

impl Memory {
    /// Remembers in a directory, which is made where there is none. Several clients may share it.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            policy: None,
            patience: Duration::from_secs(5),
            name: None,
        }
    }

    /// The log's keys are known: those of the policy's `log` lines, and cosigners of a log's name. Its
    /// quorum is not asked for.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The server goes by this name, whatever its URL: behind it there is one log for ever.
    #[must_use]
    pub(crate) fn with_name(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// How long a server may show less than it has shown before: where there are several, one may be
    /// behind another.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// A client's standing look at its server; ends with the last client that has it.
pub(crate) struct Guard {
    verdict: Arc<Verdict>,
    looker: Looker,
    _stop: mpsc::Sender<()>,
}

#[derive(Default)]
struct Verdict {
    found: AtomicBool,
    what: Mutex<Option<(String, PathBuf)>>,
    /// The last look could not be finished, though the server answered.
    unfinished: AtomicBool,
    seen: Mutex<Option<Seen>>,
}

/// The last look that found nothing wrong.
#[derive(Clone)]
pub(crate) struct Seen {
    /// When it began.
    pub(crate) began: Instant,
    /// What the log has published, where it has.
    pub(crate) published: Option<Arc<Published>>,
}

/// A checkpoint that the log has signed and that has grown from those before.
pub(crate) struct Published {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: String,
    /// The policies that know the log's keys: today's first.
    pub(crate) policies: Vec<Policy>,
}

impl Guard {
    /// Looks now, and goes on looking.
    pub(crate) fn start(transport: &Transport, memory: Memory) -> Result<Self, ClientError> {
        let looker = Looker {
            transport: transport.clone(),
            memory,
        };
        let verdict = Arc::new(Verdict::default());
        let began = Instant::now();
        verdict.take(began, looker.look())?;
        let (stop, stopped) = mpsc::channel();
        let (mut on_thread, shared) = (looker.clone(), Arc::clone(&verdict));
        on_thread.transport.set_retry(RetryPolicy::NEVER);
        std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    let began = Instant::now();
                    // Whoever asks is told.
                    let _ = shared.take(began, on_thread.look());
                }
            })
            .map_err(|source| ClientError::Memory {
                path: looker.memory.dir.clone(),
                source,
            })?;
        Ok(Self {
            verdict,
            looker,
            _stop: stop,
        })
    }

    /// Whether the server has contradicted itself, as far as is known.
    pub(crate) fn check(&self) -> Result<(), ClientError> {
        if self.verdict.found.load(Ordering::Acquire)
            && let Some((what, evidence)) = self.verdict.what().clone()
        {
            return Err(ClientError::Contradiction { what, evidence });
        }
        Ok(())
    }

    /// As [`Guard::check`]; what could not be looked at before is looked at again.
    pub(crate) fn conclude(&self) -> Result<(), ClientError> {
        self.check()?;
        if self.verdict.unfinished.load(Ordering::Acquire) {
            self.looker.look()?;
        }
        Ok(())
    }

    /// Looks now, once.
    pub(crate) fn look(&self) -> Result<(), ClientError> {
        self.check()?;
        let began = Instant::now();
        self.verdict.take(began, self.looker.look())
    }

    /// The last look that found nothing wrong.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.verdict.seen().clone()
    }
}

impl Verdict {
    fn take(
        &self,
        began: Instant,
        looked: Result<Option<Published>, ClientError>,
    ) -> Result<(), ClientError> {
        let unfinished = !matches!(looked, Ok(_) | Err(ClientError::Unavailable { .. }));
        self.unfinished.store(unfinished, Ordering::Release);
        match looked {
            Ok(published) => {
                self.saw(began, published);
                Ok(())
            }
            Err(ClientError::Contradiction { what, evidence }) => {
                self.what()
                    .get_or_insert_with(|| (what.clone(), evidence.clone()));
                self.found.store(true, Ordering::Release);
                Err(ClientError::Contradiction { what, evidence })
            }
            // It holds, and there is no room to keep it.
            Err(ClientError::Memory { source, .. }) if is_full(&source) => {
                self.saw(began, None);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn saw(&self, began: Instant, published: Option<Published>) {
        let mut seen = self.seen();
        let before = seen.take().and_then(|seen| seen.published);
        *seen = Some(Seen {
            began,
            published: published.map(Arc::new).or(before),
        });
    }

    fn seen(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn what(&self) -> MutexGuard<'_, Option<(String, PathBuf)>> {
        self.what.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone)]
struct Looker {
    transport: Transport,
    memory: Memory,
}

impl Looker {
    /// One look: what the server shows now, held against what it showed before. `None` where nothing is published.
    fn look(&self) -> Result<Option<Published>, ClientError> {
        let archive = Archive::open(&self.memory.dir)?;
        let server = match &self.memory.name {
            Some(name) => ServerName::Given(name),
            None => ServerName::Url(self.transport.base()),
        };
        let known = archive.of_server(server)?;
        let mut note = self.checkpoint()?;
        if let (None, Some(slot)) = (&note, &known) {
            // A server that starts may need a moment.
            note = self.again(Option::is_some)?;
            if note.is_none() {
                return Err(self.refuse(&archive, Case::gone(slot.kept()?)));
            }
        }
        // Nothing is published yet, or nothing of it is shown: there is nothing to remember.
        let Some(note) = note else {
            return Ok(None);
        };
        let origin = note.lines().next().unwrap_or_default();
        let slot = known.unwrap_or_else(|| archive.of_origin(origin));
        let kept = slot.kept()?;
        if let Some(kept) = &kept
            && kept.lines().next() != Some(origin)
        {
            return Err(self.refuse(&archive, Case::another_log(kept.clone(), note)));
        }
        let (policy, mut new) = self.policy(&slot)?;
        let first_use = new.is_some();
        // The latest first; what is kept may be signed by the keys of before.
        let mut policies = vec![policy];
        if !first_use && let Some(path) = followed::follow(&self.transport, &policies[0], &note)? {
            new = self
                .memory
                .policy
                .is_none()
                .then_some(slot.policy()?)
                .flatten();
            new = new.map(|text| path.exchange(&text));
            policies.extend(path.policies);
            policies.reverse();
        }
        let shown = match policies[0].check_log(note.as_bytes()) {
            Ok(verified) => Shown {
                checkpoint: verified.checkpoint,
                note,
            },
            Err(error) if first_use => {
                return Err(self.transport.unexpected("/log/policy", error.to_string()));
            }
            Err(error) => {
                let kept = kept.or(slot.policy()?);
                return Err(self.refuse(&archive, Case::not_signed(kept, note, &error.to_string())));
            }
        };
        if let Some(text) = new.take_if(|_| first_use) {
            slot.keep_policy(&text)?;
        }
        let Shown { checkpoint, note } = self.hold(&archive, &slot, &policies, kept, shown)?;
        if let Some(text) = new {
            slot.keep_policy(&text)?;
        }
        archive.remember_server(server, &slot)?;
        Ok(Some(Published {
            checkpoint,
            note,
            policies,
        }))
    }

    /// Holds what is shown against what is kept, and keeps it then. Another client may keep something
    /// meanwhile, which then is what to hold it against. Gives what holds.
    fn hold(
        &self,
        archive: &Archive,
        slot: &Slot,
        policies: &[Policy],
        mut kept: Option<String>,
        mut shown: Shown,
    ) -> Result<Shown, ClientError> {
        loop {
            if let Some(note) = &kept {
                let before = Shown::read(note, policies).map_err(|why| ClientError::Memory {
                    path: slot.path().to_owned(),
                    source: std::io::Error::other(why),
                })?;
                if shown.size() < before.size() {
                    let enough = |note: &Option<String>| {
                        let seen = note.as_deref().and_then(|n| Shown::read(n, policies).ok());
                        seen.is_some_and(|seen| seen.size() >= before.size())
                    };
                    let later = self
                        .again(enough)?
                        .and_then(|n| Shown::read(&n, policies).ok());
                    match later {
                        Some(later) if later.size() >= before.size() => shown = later,
                        _ => return Err(self.refuse(archive, Case::rolled_back(&before, &shown))),
                    }
                }
                if let Err(case) = compare(&self.transport, &before, &shown)? {
                    return Err(self.refuse(archive, case));
                }
                if shown.size() == before.size() {
                    return Ok(shown);
                }
            }
            match slot.keep(kept.as_deref(), &shown.note)? {
                None => return Ok(shown),
                Some(other) => kept = Some(other),
            }
        }
    }

    /// The policy given, the one kept, or the one that the server gives: trusted on first use. The
    /// text is there where it is new.
    fn policy(&self, slot: &Slot) -> Result<(Policy, Option<String>), ClientError> {
        if let Some(policy) = &self.memory.policy {
            return Ok((policy.clone(), None));
        }
        let parse = |text: &str| {
            Policy::parse(text.as_bytes())
                .map_err(|error| self.transport.unexpected("/log/policy", error.to_string()))
        };
        if let Some(kept) = slot.policy()? {
            return Ok((parse(&kept)?, None));
        }
        let text = self.transport.text("/log/policy")?;
        Ok((parse(&text)?, Some(text)))
    }

    /// The checkpoint that the server shows; `None` where it has none.
    fn checkpoint(&self) -> Result<Option<String>, ClientError> {
        match self.transport.text("/log/checkpoint") {
            Ok(note) => Ok(Some(note)),
            Err(ClientError::Refused(problem)) if problem.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks until it is enough, or patience ends; gives the last answer.
    fn again(
        &self,
        enough: impl Fn(&Option<String>) -> bool,
    ) -> Result<Option<String>, ClientError> {
        let began = Instant::now();
        loop {
            let note = self.checkpoint()?;
            if enough(&note) || began.elapsed() >= self.memory.patience {
                return Ok(note);
            }
            std::thread::sleep(AGAIN);
        }
    }

    fn refuse(&self, archive: &Archive, case: Case) -> ClientError {
        case.write(archive, self.transport.base())
    }
}

/// What ends once somebody makes room.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

/// The directory below which evidence lies.
fn evidence_dir(archive: &Path) -> PathBuf {
    archive.join("evidence")
}
