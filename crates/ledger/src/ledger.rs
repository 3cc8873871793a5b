//! The ledger itself: made, opened, appended to, closed.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use record::{Draft, Kind, SigningKey, Submission};
use store::{DataDir, Journal, MetaStore, ObjectStore, SqliteMeta, StoredCheckpoint};
use tlog::{Checkpoint, Policy, TreeSize};
use verify::SealedField;

use crate::accept::accept;
use crate::error::{LedgerError, SubmitError};
use crate::keys;
use crate::location::{Location, MANIFEST};
use crate::open::{Home, random_name};
use crate::opener::Opener;
use crate::options::{Manifest, Options};
use crate::principal::Principal;
use crate::publish::{Signers, sign};
use crate::queue::Request;
use crate::read::{Page, Published, Query, Reader};
use crate::recover;
use crate::rotate;
use crate::sequencer::Turns;
use crate::shared::{Counters, Shared, Status};
use crate::ticket::Ticket;

/// An open ledger. Cloning is cheap and shares it; the last clone dropped ends its threads.
///
/// Dropping without [`Ledger::close`] loses nothing that was acknowledged: what is not yet published
/// then is published after the next open.
#[derive(Clone)]
pub struct Ledger(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) origin: String,
    pub(crate) policy: String,
    pub(crate) operator: SigningKey,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
    /// Keeps everybody else out, where one server has the ledger; given up last.
    pub(crate) dir: Option<DataDir>,
}

/// The policy's name, as a file and as a setting.
const POLICY: &str = "policy";
/// Held while a ledger is made in such stores.
const CREATING: &str = "creating";
const CREATING_MILLIS: u64 = 30_000;

/// Where a ledger is kept, if not in the embedded stores alone.
pub struct Stores {
    /// Tiles, sealed values, the served checkpoint.
    pub objects: Arc<dyn ObjectStore>,
    /// Latest checkpoint, index, subject keys, tokens.
    pub meta: Arc<dyn MetaStore>,
    /// What is acknowledged and not published.
    pub journal: Box<dyn Journal>,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("dir", &self.0.shared.dir)
            .field("origin", &self.0.origin)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.abandon();
        self.join();
    }
}

impl Inner {
    fn join(&self) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the ledger panicked");
            }
        }
    }
}

impl Ledger {
    /// Makes a ledger in an empty or new directory: keys, policy, the checkpoint of the empty log.
    /// Then opens it.
    ///
    /// # Errors
    /// The directory holds a ledger or something else, or cannot be written.
    pub fn create(dir: &Path, options: Options) -> Result<Self, LedgerError> {
        Self::create_at(&Location::embedded(dir), options)
    }

    /// Makes a ledger in a directory, and leaves it closed.
    pub(crate) fn make(dir: &Path, options: &Options) -> Result<(), LedgerError> {
        let data = DataDir::create(dir)?;
        create_keys(dir, options)?;
        let manifest = Manifest::new(options.new_origin(), options.predecessor.clone());
        let signers = signers(dir, &manifest.origin, options)?;
        data.write("policy", policy(&signers).as_bytes(), 0o644)?;
        let meta = SqliteMeta::open(&data.database())?;
        publish_empty(&meta, &signers, options)?;
        drop(meta);
        // Last: from here on there is a ledger.
        data.write(MANIFEST, &manifest.to_bytes(), 0o644)?;
        Ok(())
    }

    /// Opens a ledger in a directory and goes on where the last process stopped, however it stopped.
    ///
    /// # Errors
    /// There is no ledger, another process has it, or its files do not hold together: the error
    /// names the file.
    pub fn open(dir: &Path, options: Options) -> Result<Self, LedgerError> {
        Self::open_at(&Location::embedded(dir), options)
    }

    /// Opens a ledger in a directory with other stores around or in place of its own.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_with(
        dir: &Path,
        options: Options,
        wrap: impl FnOnce(Stores) -> Stores,
    ) -> Result<Self, LedgerError> {
        let (stores, data) = Location::embedded(dir).stores()?;
        Self::open_in(dir, options, wrap(stores), data)
    }

    /// Makes a ledger in stores that several servers share, and opens it. `dir` gets the keys.
    ///
    /// # Errors
    /// The stores hold a ledger, or do not answer; or `dir` cannot be written.
    pub fn create_shared(
        dir: &Path,
        options: Options,
        stores: Stores,
    ) -> Result<Self, LedgerError> {
        let meta = &*stores.meta;
        let holder = random_name(&options);
        if !meta.take_lease(CREATING, &holder, CREATING_MILLIS)? {
            return Err(LedgerError::BeingCreated);
        }
        let made = Self::make_shared(dir, &options, &stores);
        // Whoever failed lets the next one try.
        let released = meta.release_lease(CREATING, &holder);
        made?;
        released?;
        Self::open_shared(dir, options, stores)
    }

    fn make_shared(dir: &Path, options: &Options, stores: &Stores) -> Result<(), LedgerError> {
        if Self::exists_in(stores)? {
            return Err(LedgerError::Exists {
                dir: dir.to_path_buf(),
            });
        }
        let meta = &*stores.meta;
        create_keys(dir, options)?;
        let manifest = Manifest::new(options.new_origin(), options.predecessor.clone());
        let signers = signers(dir, &manifest.origin, options)?;
        meta.kv_put(POLICY, policy(&signers).as_bytes())?;
        publish_empty(meta, &signers, options)?;
        // Last: from here on there is a ledger.
        meta.kv_put(MANIFEST, &manifest.to_bytes())?;
        Ok(())
    }

    /// Whether stores that several servers share hold a ledger.
    ///
    /// # Errors
    /// They do not answer.
    pub fn exists_in(stores: &Stores) -> Result<bool, LedgerError> {
        Ok(stores.meta.kv_get(MANIFEST)?.is_some())
    }

    /// Opens a ledger that several servers share, with the keys in `dir`.
    ///
    /// # Errors
    /// There is no ledger, the keys are missing or another ledger's, the stores do not answer or do
    /// not hold together.
    pub fn open_shared(dir: &Path, options: Options, stores: Stores) -> Result<Self, LedgerError> {
        Self::open_in(dir, options, stores, None)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "options are made to open one ledger"
    )]
    pub(crate) fn open_in(
        dir: &Path,
        options: Options,
        stores: Stores,
        data: Option<DataDir>,
    ) -> Result<Self, LedgerError> {
        rotate::check_waiting(dir, &options)?;
        let meta = &*stores.meta;
        let setting = |name: &str| {
            if data.is_none() {
                return Ok(meta.kv_get(name)?);
            }
            let path = dir.join(name);
            fs::read(&path)
                .map(Some)
                .map_err(|e| LedgerError::io(&path, e))
        };
        let manifest = setting(MANIFEST)?.ok_or_else(|| LedgerError::Missing {
            dir: dir.to_path_buf(),
        })?;
        let manifest = Manifest::parse(&manifest)?;
        let signers = signers(dir, &manifest.origin, &options)?;
        let own_policy = Policy::parse(policy(&signers).as_bytes())
            .map_err(|e| LedgerError::corrupt("keys/log.*", e))?;
        let policy = String::from_utf8(setting(POLICY)?.unwrap_or_default())
            .map_err(|e| LedgerError::corrupt("the policy", e))?;
        let (latest, published) = recover::published(meta, &own_policy)?.ok_or_else(|| {
            LedgerError::corrupt("the database", "it holds no checkpoint; restore it")
        })?;
        let home = Home {
            manifest,
            policy,
            own_policy,
            signers,
            data,
        };
        home.open(dir, &options, stores, &latest, published)
    }

    /// Rebuilds the index of a closed ledger from its entry bundles. Gives the number of records
    /// read. Who started which run is not in the log and is kept.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn reindex(location: &Location, options: Options) -> Result<u64, LedgerError> {
        let (stores, lock) = location.stores()?;
        let size = meta_size(&*stores.meta)?;
        stores.meta.clear_index()?;
        let reader = Reader::new(stores.objects, Arc::clone(&stores.meta));
        let read = recover::catch_up(&*stores.meta, &reader, size)?;
        drop((reader, stores.meta, stores.journal, lock));
        // Opening replays what is in the journal.
        Self::open_at(location, options)?.close()?;
        Ok(read)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.0.shared.dir
    }

    /// The log's origin: its name in checkpoints.
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// The policy file (C2SP tlog-policy) that auditors get.
    pub fn policy(&self) -> &str {
        &self.0.policy
    }

    /// The key of the server's own stream, and of the stream `server` in runs that it owns.
    pub fn operator_key(&self) -> SigningKey {
        self.0.operator.clone()
    }

    /// Hands in records. What can be said of them by themselves is checked here, in the caller's
    /// thread; the rest, and the answer, come through the ticket.
    ///
    /// # Errors
    /// No room, or the ledger has stopped: nothing was taken.
    pub fn submit<B: AsRef<[u8]>>(
        &self,
        submissions: &[Submission<B>],
        principal: &Principal,
    ) -> Result<Ticket, SubmitError> {
        let ticket = self.hand_in(submissions, principal, false)?;
        self.shared().queue.wake();
        Ok(ticket)
    }

    /// As [`Ledger::submit`], for a thread that may wait for the disk: where nobody else is writing,
    /// the records are written here, and the ticket is ready at once. That spares a lone caller two
    /// changes of thread.
    ///
    /// # Errors
    /// As [`Ledger::submit`].
    pub fn submit_blocking<B: AsRef<[u8]>>(
        &self,
        submissions: &[Submission<B>],
        principal: &Principal,
    ) -> Result<Ticket, SubmitError> {
        let ticket = self.hand_in(submissions, principal, false)?;
        self.0.turns.lead();
        Ok(ticket)
    }

    /// As [`Ledger::submit_blocking`], for records of a stream that servers write on behalf of others.
    /// Where another server was first the refusal says so ([`AppendCode::Conflict`],
    /// [`AppendCode::SeqGap`], [`AppendCode::WrongPrev`]), nothing is noted of it, and the head is
    /// known that the records have to be built on instead.
    ///
    /// [`AppendCode::Conflict`]: crate::AppendCode::Conflict
    /// [`AppendCode::SeqGap`]: crate::AppendCode::SeqGap
    /// [`AppendCode::WrongPrev`]: crate::AppendCode::WrongPrev
    ///
    /// # Errors
    /// As [`Ledger::submit`].
    pub fn submit_contested(
        &self,
        submissions: &[Submission],
        principal: &Principal,
    ) -> Result<Ticket, SubmitError> {
        let ticket = self.hand_in(submissions, principal, true)?;
        self.0.turns.lead();
        Ok(ticket)
    }

    /// Nobody is writing: [`Ledger::submit_blocking`] would write at once.
    pub fn is_resting(&self) -> bool {
        self.0.turns.is_resting()
    }

    fn hand_in<B: AsRef<[u8]>>(
        &self,
        submissions: &[Submission<B>],
        principal: &Principal,
        contested: bool,
    ) -> Result<Ticket, SubmitError> {
        let shared = self.shared();
        let entries = match accept(shared, submissions) {
            Ok(entries) => entries,
            Err(error) => {
                Counters::add(&shared.status.refused, 1);
                if let Some(reason) = shared.sealing.lost() {
                    shared.fail(format!("a subject's key could not be written: {reason}"));
                }
                return Ok(Ticket::done(Err(error)));
            }
        };
        let (reply, ticket) = Ticket::pair();
        self.push(Request::Append {
            entries,
            principal: principal.clone(),
            contested,
            reply,
        })?;
        Ok(ticket)
    }

    /// Records something on the server's own stream. The one receipt is the draft's record's.
    ///
    /// # Errors
    /// No room, or the ledger has stopped.
    pub fn record_own(&self, draft: Draft) -> Result<Ticket, SubmitError> {
        self.own(draft, None)
    }

    /// As [`Ledger::record_own`], if no record of the draft's kind was written to the server's own stream since that had
    /// `length` records: as many as the caller has looked through. Else the refusal is [`AppendCode::SeqGap`], nothing was
    /// recorded, and the stream is known as it stands. Records of other kinds are in nobody's way.
    ///
    /// [`AppendCode::SeqGap`]: crate::AppendCode::SeqGap
    ///
    /// # Errors
    /// As [`Ledger::record_own`].
    pub fn record_own_since(&self, draft: Draft, length: u64) -> Result<Ticket, SubmitError> {
        self.own(draft, Some(length))
    }

    fn own(&self, draft: Draft, since: Option<u64>) -> Result<Ticket, SubmitError> {
        let (reply, ticket) = Ticket::pair();
        self.push(Request::Own {
            draft: Box::new(draft),
            since,
            reply,
        })?;
        self.shared().queue.wake();
        Ok(ticket)
    }

    fn push(&self, request: Request) -> Result<(), SubmitError> {
        let pushed = self.shared().queue.push(request);
        if matches!(pushed, Err(SubmitError::Overloaded { .. })) {
            Counters::add(&self.shared().status.overloaded, 1);
        }
        pushed
    }

    /// The published checkpoint; where a quorum of witnesses is required, the latest that has it.
    pub fn checkpoint(&self) -> Option<Published> {
        self.shared().reader.shown()
    }

    /// Blocks until the log is published up to `size` (a record's index + 1); false if that did not
    /// happen in time, or will not.
    pub fn wait_published(&self, size: u64, timeout: Duration) -> bool {
        self.shared().wait(size, Instant::now() + timeout)
    }

    /// Resolves once the log is published up to `size`; false if that will not happen.
    pub async fn published(&self, size: u64) -> bool {
        self.shared().reached(size).await
    }

    /// Asks for a checkpoint without waiting for the interval, if something is new.
    pub fn publish_now(&self) {
        self.shared().backlog.hurry();
    }

    /// The canonical bytes of a published record.
    ///
    /// # Errors
    /// [`LedgerError::NotPublished`], or a file cannot be read.
    pub fn read(&self, index: u64) -> Result<Vec<u8>, LedgerError> {
        self.shared().reader.read(index)
    }

    /// Published records by run and kind, in pages.
    ///
    /// # Errors
    /// A file or the index cannot be read.
    pub fn query(&self, query: &Query) -> Result<Page, LedgerError> {
        self.shared().reader.query(query)
    }

    /// The proof that a record is in the published log: a C2SP tlog-proof.
    ///
    /// # Errors
    /// [`LedgerError::NotPublished`], or a file cannot be read.
    pub fn proof(&self, index: u64) -> Result<String, LedgerError> {
        Ok(self.shared().reader.proof(index)?.to_string())
    }

    /// The sealed values of a published record.
    ///
    /// # Errors
    /// [`LedgerError::NotPublished`], or a file or key cannot be read.
    pub fn openings(&self, index: u64) -> Result<Vec<SealedField>, LedgerError> {
        self.opener().one(index, &self.read(index)?)
    }

    /// What opens this ledger's sealed values for the verifier.
    pub fn opener(&self) -> Opener {
        Opener(Arc::clone(self.shared()))
    }

    /// How the ledger is doing.
    pub fn status(&self) -> Status {
        self.shared().status()
    }

    /// How many records of each kind were given an index here since the ledger was opened.
    pub fn kinds(&self) -> Vec<(Kind, u64)> {
        self.shared().status.kinds.all().collect()
    }

    /// Takes nothing more, answers what waits, signs the server's stream, publishes all, and ends.
    ///
    /// # Errors
    /// Not everything could be published; it will be after the next open.
    pub fn close(&self) -> Result<(), LedgerError> {
        let shared = self.shared();
        shared.queue.stop(SubmitError::Closed);
        shared.backlog.closing();
        self.0.join();
        shared.end();
        match shared.status() {
            Status {
                failed: Some(reason),
                ..
            } => Err(SubmitError::Failed { reason }.into()),
            Status {
                publish_error: Some(error),
                ..
            } => Err(LedgerError::corrupt(
                "the last checkpoint",
                format!("it could not be published: {error}"),
            )),
            _ => Ok(()),
        }
    }
}

fn meta_size(meta: &dyn MetaStore) -> Result<u64, LedgerError> {
    Ok(meta.latest_checkpoint()?.map_or(0, |stored| stored.size))
}

fn create_keys(dir: &Path, options: &Options) -> Result<(), LedgerError> {
    let under = options.encrypt_keys.then_some(&*options.passphrase);
    keys::create_missing(dir, &*options.entropy, under)
}

fn signers(dir: &Path, origin: &str, options: &Options) -> Result<Signers, LedgerError> {
    let ed25519 = keys::load_with(dir, keys::LOG_ED25519, &options.passphrase)?;
    let ml_dsa_44 = keys::load_with(dir, keys::LOG_ML_DSA_44, &options.passphrase)?;
    Signers::new(origin, &ed25519, &ml_dsa_44)
}

fn policy(signers: &Signers) -> String {
    tlog::policy::ledger_policy(
        signers.ed25519.verifier_key(),
        signers.ml_dsa_44.verifier_key(),
    )
}

/// The checkpoint of the empty log: from the first moment there is one to compare with.
fn publish_empty(
    meta: &dyn MetaStore,
    signers: &Signers,
    options: &Options,
) -> Result<(), LedgerError> {
    if let Some(stored) = meta.latest_checkpoint()?
        && stored.size > 0
    {
        return Err(LedgerError::corrupt(
            "ledger.sqlite",
            "it is another ledger's",
        ));
    }
    let root = tlog::empty_root();
    let checkpoint = Checkpoint::new(&signers.origin, TreeSize(0), root)
        .map_err(|e| LedgerError::corrupt("the origin", e))?;
    let note = sign(signers, &checkpoint, &*options.clock, &mut 0)?;
    let expected = meta
        .latest_checkpoint()?
        .map(|stored| (stored.size, stored.root));
    meta.swap_checkpoint(
        expected,
        &StoredCheckpoint {
            size: 0,
            root,
            note,
        },
    )?;
    Ok(())
}
