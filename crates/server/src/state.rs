//! What every handler shares.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::HeaderMap;
use ledger::{Ledger, LedgerError, Principal, Status};
use record::kinds::ReadPart;
use record::{RunId, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::MAX_PAGE;
use crate::auth::Holder;
use crate::body::Room;
use crate::catalogue::PROBLEMS;
use crate::cosign::Witnesses;
use crate::docs;
use crate::hooks::Hooks;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::mlflow::Tracking;
use crate::observe::RequestIds;
use crate::openapi::openapi_json;
use crate::options::Options;
use crate::probe::Probes;
use crate::problem::Problem;
use crate::reads::Reads;
use crate::tokens::{Lookup, TokenCache};

/// Attachments that may arrive at one time. Each holds a thread for as long as its sender takes.
const MAX_UPLOADS: usize = 16;
/// How long the number of open runs is good for.
const COUNTED: Duration = Duration::from_secs(30);

/// A ledger, and what the server adds to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ledger: Arc<Ledger>,
    options: Options,
    metrics: Metrics,
    request_ids: RequestIds,
    tokens: TokenCache,
    limits: Limits,
    reads: Reads,
    pages: Pages,
    sealing: Mutex<()>,
    /// Groups and records of the ledger when the server started.
    before: (u64, u64),
    began: Instant,
    witnesses: Option<Arc<Witnesses>>,
    room: Room,
    appends: Appends,
    uploads: Arc<Semaphore>,
    tracking: Tracking,
    hooks: Hooks,
    queue: jobs::Queue,
    probes: Probes,
    runs: OpenRuns,
    /// When the server started, by the ledger's clock.
    started: Timestamp,
}

/// What is the same for every caller, made once.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) openapi: Bytes,
    pub(crate) docs: Bytes,
    pub(crate) index: Bytes,
}

/// How many appends are under way.
#[derive(Debug, Default)]
pub(crate) struct Appends(AtomicUsize);

impl Appends {
    /// One more, until what this gives is dropped.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// There is one, and no other.
    pub(crate) fn is_alone(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }
}

/// An append that is under way.
pub(crate) struct UnderWay<'a>(&'a Appends);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many runs are open, and when that was counted.
#[derive(Debug, Default)]
struct OpenRuns(Mutex<Option<(Instant, u64)>>);

impl OpenRuns {
    fn fresh(&self) -> Option<u64> {
        let counted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.and_then(|(at, count)| (at.elapsed() < COUNTED).then_some(count))
    }

    fn keep(&self, count: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), count));
    }
}

fn count_open_runs(ledger: &Ledger) -> Result<u64, LedgerError> {
    let (mut after, mut open) = (None, 0);
    loop {
        let page = ledger.runs(after, MAX_PAGE)?;
        open += page.iter().filter(|run| run.status.is_none()).count() as u64;
        match page.last() {
            Some(last) if page.len() == MAX_PAGE => after = Some(last.id),
            _ => return Ok(open),
        }
    }
}

impl State {
    /// The state of a server of `ledger`.
    pub fn new(ledger: Arc<Ledger>, options: Options) -> Self {
        let openapi = openapi_json();
        let document = serde_json::from_str(&openapi).unwrap_or_default();
        let pages = Pages {
            docs: docs::render(&document, PROBLEMS).into(),
            index: docs::index(ledger.origin()).into(),
            openapi: openapi.into(),
        };
        let status = ledger.status();
        let interval = options.witness_interval;
        let witnesses = ledger
            .witness_policy()
            .map(|policy| Arc::new(Witnesses::of(policy, ledger.origin(), interval)));
        let started = ledger.clock().now();
        Self(Arc::new(Inner {
            tracking: Tracking::default(),
            hooks: Hooks::default(),
            queue: options
                .queue
                .clone()
                .unwrap_or_else(|| jobs::Queue::of(&ledger)),
            probes: Probes::default(),
            runs: OpenRuns::default(),
            started,
            room: Room::new(options.body_room),
            appends: Appends::default(),
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            limits: Limits::new(
                options.identity_rate,
                options.address_rate,
                options.failure_rate,
            ),
            reads: Reads::default(),
            ledger,
            options,
            metrics: Metrics::new(),
            request_ids: RequestIds::new(),
            tokens: TokenCache::default(),
            pages,
            sealing: Mutex::default(),
            before: (status.groups, status.sequenced),
            began: Instant::now(),
            witnesses,
        }))
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(crate) fn ledger_handle(&self) -> Arc<Ledger> {
        Arc::clone(&self.0.ledger)
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn request_ids(&self) -> &RequestIds {
        &self.0.request_ids
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.0.pages
    }

    /// Who cosigns, where anybody is asked to.
    pub(crate) fn witnesses(&self) -> Option<&Arc<Witnesses>> {
        self.0.witnesses.as_ref()
    }

    /// As [`State::published_so_far`], and until witnesses have cosigned it, if they are about to.
    pub(crate) async fn cosigned_so_far(&self) {
        let size = self.ledger().status().sequenced;
        self.published(size).await;
        if let Some(witnesses) = self.witnesses() {
            witnesses.settle(self.ledger(), size).await;
        }
    }

    /// The room for request bodies.
    pub(crate) fn room(&self) -> &Room {
        &self.0.room
    }

    /// The appends under way.
    pub(crate) fn appends(&self) -> &Appends {
        &self.0.appends
    }

    /// A place among the attachments that arrive at one time; `None`: there is none.
    pub(crate) fn upload(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.uploads).try_acquire_owned().ok()
    }

    /// What MLflow's clients have asked for.
    pub(crate) fn tracking(&self) -> &Tracking {
        &self.0.tracking
    }

    /// What platforms have delivered.
    pub(crate) fn hooks(&self) -> &Hooks {
        &self.0.hooks
    }

    /// Asks the queue of jobs something, on a thread that may wait for it.
    pub(crate) async fn queue<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&jobs::Queue) -> Result<T, store::StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let queue = self.0.queue.clone();
        self.blocking(move |_| ask(&queue).map_err(LedgerError::from))
            .await
    }

    /// What the server depends on.
    pub(crate) fn probes(&self) -> &Probes {
        &self.0.probes
    }

    /// How many runs are open: counted anew every half minute, since it takes a look at each.
    pub(crate) async fn open_runs(&self) -> Result<u64, Problem> {
        if let Some(count) = self.0.runs.fresh() {
            return Ok(count);
        }
        let count = self.blocking(count_open_runs).await?;
        self.0.runs.keep(count);
        Ok(count)
    }

    /// When the server started, by the ledger's clock.
    pub(crate) fn started(&self) -> Timestamp {
        self.0.started
    }

    /// Signs the streams that this server writes on behalf of others and that have rested for `rest`.
    pub(crate) fn sign_own(&self, rest: Duration) {
        self.tracking().sign(self.ledger(), rest);
        self.hooks().sign(self.ledger(), rest);
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// Held while a run is sealed: two seals at once would be one and a conflict.
    pub(crate) fn sealing(&self) -> MutexGuard<'_, ()> {
        self.0
            .sealing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How long ago a checkpoint was last published.
    pub(crate) fn checkpoint_age(&self, status: &Status) -> Option<Duration> {
        let micros = self.ledger().clock().now().0 - status.last_published?.0;
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }

    /// Groups written since the server started, and the records in them.
    pub(crate) fn groups(&self, status: &Status) -> (u64, u64) {
        let (groups, records) = self.0.before;
        (
            status.groups.saturating_sub(groups),
            status.sequenced.saturating_sub(records),
        )
    }

    /// Who holds a token, if it was seen lately.
    pub(crate) fn known(&self, token: &str) -> Result<Holder, Lookup> {
        self.0.tokens.holder(token)
    }

    /// Whose token this is, as the ledger says; `None`: nobody's.
    pub(crate) async fn look_up(
        &self,
        token: &str,
        lookup: &Lookup,
    ) -> Result<Option<Holder>, Problem> {
        let token = token.to_owned();
        let found = self
            .blocking(move |ledger| ledger.authenticate_token(&token))
            .await?;
        let Some((id, principal)) = found else {
            return Ok(None);
        };
        let holder = Holder {
            meter: self.0.limits.meter(&id, principal.quota),
            principal,
        };
        let now = self.ledger().clock().now();
        self.0.tokens.remember(lookup, &holder, id, now);
        Ok(Some(holder))
    }

    /// How much anybody may ask for.
    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Where a request comes from.
    pub(crate) fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.options().trusted_proxies.client(peer, headers)
    }

    /// What auditors have read.
    pub(crate) fn reads(&self) -> &Reads {
        &self.0.reads
    }

    /// An auditor is about to be given something.
    ///
    /// # Errors
    /// As [`Reads::note`].
    pub(crate) fn note_read(
        &self,
        principal: &Principal,
        part: ReadPart,
        run: Option<RunId>,
        span: Option<(u64, u64)>,
    ) -> Result<(), Problem> {
        let now = self.ledger().clock().now();
        self.reads().note(principal, part, run, span, now)
    }

    /// Writes down which tokens were used.
    pub(crate) fn note_uses(&self) {
        let uses = self.0.tokens.take_used();
        if let Err(error) = self.ledger().note_token_uses(&uses) {
            tracing::warn!(%error, "when tokens were last used was not written down");
        }
    }

    /// A token was revoked.
    pub(crate) fn forget_tokens(&self) {
        self.0.tokens.forget();
    }

    /// The latest published checkpoint, as it is signed.
    pub(crate) fn checkpoint_note(&self) -> Option<Vec<u8>> {
        self.ledger()
            .checkpoint()
            .map(|published| published.note.to_vec())
    }

    /// Waits until what is durable now is published, for as long as that may take: whoever has
    /// appended and asks for a document wants it in there.
    pub(crate) async fn published_so_far(&self) {
        let size = self.ledger().status().sequenced;
        self.published(size).await;
    }

    /// Waits until the log is published up to `size`; `false`: it took too long.
    pub(crate) async fn published(&self, size: u64) -> bool {
        let published = self.ledger().published(size);
        tokio::time::timeout(self.0.options.published_wait, published)
            .await
            .unwrap_or(false)
    }

    /// Asks the ledger something that reads a disk, on a thread that may wait for it.
    pub(crate) async fn blocking<T, E>(
        &self,
        ask: impl FnOnce(&Ledger) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        E: Into<Problem> + Send + 'static,
    {
        let ledger = self.ledger_handle();
        let answer = tokio::task::spawn_blocking(move || ask(&ledger)).await;
        answer
            .map_err(|error| Problem::internal(&error))?
            .map_err(Into::into)
    }
}
