//! From what the stores hold to a ledger whose threads run.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use record::kinds::KeyPurpose;
use record::{RunId, SigningKey, StreamWriter};
use store::{DataDir, StoredCheckpoint};
use tlog::Policy;

use crate::LedgerError;
use crate::cosign::Cosigning;
use crate::follow::own_stream;
use crate::keys;
use crate::leader::Leader;
use crate::ledger::{Inner, Ledger, Stores};
use crate::options::{Manifest, Options};
use crate::publish::{Publisher, Signers};
use crate::read::{Published, Reader};
use crate::recover;
use crate::sealing::Sealing;
use crate::sequencer::{LatestOwn, Sequencer, Turns};
use crate::shared::Shared;
use crate::tree::Edge;

/// What a ledger is, besides its stores.
pub(crate) struct Home {
    pub(crate) manifest: Manifest,
    /// The policy that auditors get.
    pub(crate) policy: String,
    /// The log's own keys, whatever witnesses the policy names.
    pub(crate) own_policy: Policy,
    pub(crate) signers: Signers,
    pub(crate) data: Option<DataDir>,
}

impl Home {
    /// Recovers, and starts the threads.
    pub(crate) fn open(
        self,
        dir: &Path,
        options: &Options,
        stores: Stores,
        latest: &StoredCheckpoint,
        published: Published,
    ) -> Result<Ledger, LedgerError> {
        let operator = {
            let seed = keys::load_with(dir, keys::OPERATOR_ED25519, &options.passphrase)?;
            SigningKey::from_bytes(&seed)
        };
        let home = (self.signers, self.own_policy);
        let threads = Threads::prepare(dir, options, stores, latest, published, home, &operator)?;
        let shared = Arc::clone(&threads.shared);
        let (turns, threads) = threads.start()?;
        let ledger = Ledger(Arc::new(Inner {
            shared,
            turns,
            origin: self.manifest.origin,
            policy: self.policy,
            operator,
            threads: Mutex::new(threads),
            dir: self.data,
        }));
        if let Some(predecessor) = self.manifest.predecessor {
            ledger.begin(predecessor)?;
        }
        ledger.tell_of_restoration()?;
        Ok(ledger)
    }
}

/// The writer of the server's own stream; where its key is being changed, with the one that follows.
fn own_or_next(
    shared: &Shared,
    operator: &SigningKey,
    dir: &Path,
    options: &Options,
) -> Result<(StreamWriter, bool), LedgerError> {
    let mut state = shared.state();
    if options.rotating != Some(KeyPurpose::Operator) {
        return own_stream(shared, &mut state, operator);
    }
    let name = keys::OPERATOR_ED25519;
    let next = keys::next(dir, name, &options.passphrase, &*options.entropy)?;
    let next = SigningKey::from_bytes(&next);
    match own_stream(shared, &mut state, operator) {
        Ok((own, unsigned)) => Ok((own.succeeded_by(next), unsigned)),
        // An earlier try has come so far that the new key signs already.
        Err(error) => own_stream(shared, &mut state, &next).map_err(|_| error),
    }
}

/// A name that no other process has.
pub(crate) fn random_name(options: &Options) -> String {
    let id = RunId::generate(&*options.clock, &*options.entropy);
    id.as_str().to_ascii_lowercase()
}

/// Everything recovered, before the first thread runs.
struct Threads {
    shared: Arc<Shared>,
    turns: Arc<Turns>,
    publisher: Publisher,
}

impl Threads {
    fn prepare(
        dir: &Path,
        options: &Options,
        stores: Stores,
        latest: &StoredCheckpoint,
        served: Published,
        home: (Signers, Policy),
        operator: &SigningKey,
    ) -> Result<Self, LedgerError> {
        let Stores {
            objects,
            meta,
            mut journal,
        } = stores;
        let (signers, own_policy) = home;
        let size = latest.size;
        let last_time = recover::signed_at(&own_policy, &latest.note);
        let edge = Edge::load(&*objects, size, &latest.root)?;
        let tail = recover::tail(&*objects, size)?;
        let mut reader = Reader::new(objects, Arc::clone(&meta));
        reader.cosigning = Cosigning::open(options, &signers, &*reader.objects, &*meta)?;
        let key = reader.published_key();
        recover::serve(&*reader.objects, &*meta, key, &served)?;
        reader.set_published(served.clone());
        if recover::catch_up(&*meta, &reader, size)? > 0 {
            tracing::info!(size, "brought the index up from the entry bundles");
        }
        reader.set_integrated(size);
        recover::sweep(&reader, size)?;
        let (state, groups, next) = recover::replay(&mut *journal, &*meta, size)?;
        let enrolled = recover::enrolled(&reader, &groups)?;
        let is_shared = journal.is_shared();

        let deployment = keys::load_with(dir, keys::DEPLOYMENT, &options.passphrase)?;
        let sealing = Sealing::new(&deployment, Arc::clone(&meta), Arc::clone(&options.entropy));
        let (clock, entropy) = (Arc::clone(&options.clock), Arc::clone(&options.entropy));
        let shared = Arc::new(Shared::new(
            dir.to_path_buf(),
            clock,
            entropy,
            meta,
            reader,
            sealing,
            journal,
            state,
        ));
        shared.publish(served);
        shared
            .status
            .sequenced
            .store(next, std::sync::atomic::Ordering::Relaxed);
        shared.backlog.preload(groups);
        let (own, unsigned) = own_or_next(&shared, operator, dir, options)?;
        let sequencer = Sequencer {
            shared: Arc::clone(&shared),
            latest_own: LatestOwn::after(own.next_seq()),
            own,
            operator: operator.clone(),
            unsigned_since: unsigned.then(Instant::now),
            enrolled,
            noted: std::collections::VecDeque::new(),
            next,
            is_shared,
            ended: false,
            stale: None,
        };
        let turns = Arc::new(Turns::new(sequencer));
        let leader = is_shared.then(|| Leader {
            turns: Arc::clone(&turns),
            policy: own_policy,
            holder: random_name(options),
            standby: options.standby,
            until: None,
            waiting_since: None,
            unserved: Some(std::time::Instant::now()),
        });
        let publisher = Publisher {
            shared: Arc::clone(&shared),
            signers: Arc::new(signers),
            interval: options.publish_interval,
            latest: Some((size, latest.root)),
            edge,
            tail,
            last_time,
            distrust: true,
            leader,
        };
        Ok(Self {
            shared,
            turns,
            publisher,
        })
    }

    fn start(self) -> Result<(Arc<Turns>, Vec<JoinHandle<()>>), LedgerError> {
        let Self {
            shared,
            turns,
            publisher,
        } = self;
        let sequencer = Arc::clone(&turns);
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(LedgerError::Thread)
        };
        let first = spawn("sequencer", Box::new(move || sequencer.run()))?;
        let second = match spawn("publisher", Box::new(move || publisher.run())) {
            Ok(second) => second,
            Err(error) => {
                shared.abandon();
                return Err(error);
            }
        };
        Ok((turns, vec![first, second]))
    }
}
