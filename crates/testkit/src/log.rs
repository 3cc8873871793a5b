//! Logs built in memory and written as a tile directory, with any number of runs and streams, under
//! keys that follow from a seed. What a ledger does, without the ledger: for checking the checker.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use record::kinds::{
    AnnotationPreference, Choice, MetricLogged, ProducerEnrolled, RunStarted, RunStatus, StreamEnd,
    StreamOpened,
};
use record::{
    Clock, Draft, Entropy, Kind, ProducerName, PublicKey, Record, RunId, Scope, SigningKey,
    StreamName, StreamWriter, Subject, Submission, Timestamp,
};
use tlog::policy::ledger_policy;
use tlog::tile::{encode_entry_bundle, tiles_for_size};
use tlog::{
    Checkpoint, Ed25519Signer, Hash, HashReader, LeafIndex, MemoryTree, MlDsa44Signer, Policy,
    TileId, TileLevel, TlogProof, TreeSize, inclusion_proof, leaf_hash, multiproof,
};

/// A clock that goes on by a fixed step at each look.
#[derive(Debug)]
pub struct StepClock {
    now: AtomicI64,
    step: i64,
}

impl StepClock {
    /// Starts at 2026-11-23T08:00:00Z and goes on by `step` microseconds.
    pub fn new(step: i64) -> Self {
        Self {
            now: AtomicI64::new(1_795_420_800_000_000),
            step,
        }
    }
}

impl Clock for StepClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.fetch_add(self.step, Ordering::Relaxed))
    }
}

/// Numbers that look random and follow from a seed (`SplitMix64`).
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut z = self
                .0
                .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
                .wrapping_add(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A log in memory.
pub struct LogBuilder {
    origin: String,
    ed25519: Ed25519Signer,
    ml_dsa_44: MlDsa44Signer,
    clock: Arc<StepClock>,
    entropy: Arc<SeededEntropy>,
    tree: MemoryTree,
    entries: Vec<Vec<u8>>,
    server: StreamWriter,
    /// Who was let in; `None` where nobody has to be.
    enrolled: Option<HashSet<(PublicKey, ProducerName)>>,
}

impl LogBuilder {
    /// An empty log whose keys follow from `seed`.
    ///
    /// # Panics
    ///
    /// Never: the origin is a good key name.
    pub fn new(seed: u8) -> Self {
        let origin = format!("rlhf-audit.test/{seed}");
        let ed25519 = Ed25519Signer::from_seed(&origin, [seed; 32]);
        let ml_dsa_44 = MlDsa44Signer::from_seed(&origin, [seed ^ 0xff; 32]);
        let clock = Arc::new(StepClock::new(100));
        let entropy = Arc::new(SeededEntropy::new(seed.into()));
        let server = StreamWriter::open(
            Scope::Ledger,
            StreamName::SERVER,
            ProducerName::parse("server").expect("a producer name"),
            SigningKey::from_bytes(&[0xfe; 32]),
            clock.clone(),
            entropy.clone(),
        );
        Self {
            ed25519: ed25519.expect("a good name"),
            ml_dsa_44: ml_dsa_44.expect("a good name"),
            origin,
            clock,
            entropy,
            tree: MemoryTree::new(),
            entries: Vec::new(),
            server,
            enrolled: Some(HashSet::new()),
        }
    }

    /// Leaves enrolments to whoever writes the log.
    #[must_use]
    pub fn without_enrolments(mut self) -> Self {
        self.enrolled = None;
        self
    }

    /// The policy file that asks for both of the log's signatures.
    pub fn policy_text(&self) -> String {
        ledger_policy(self.ed25519.verifier_key(), self.ml_dsa_44.verifier_key())
    }

    /// That policy.
    ///
    /// # Panics
    ///
    /// Never: it was just written.
    pub fn policy(&self) -> Policy {
        Policy::parse(self.policy_text().as_bytes()).expect("our own policy")
    }

    /// How many entries there are.
    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The entries.
    pub fn entries(&self) -> &[Vec<u8>] {
        &self.entries
    }

    /// Appends any bytes; gives the index.
    pub fn push(&mut self, entry: Vec<u8>) -> u64 {
        self.tree.push(leaf_hash(&entry));
        self.entries.push(entry);
        self.size() - 1
    }

    /// Appends the records of what a [`StreamWriter`] wrote, and before a producer's first stream
    /// its enrolment; gives the index of the last.
    pub fn append(&mut self, submissions: impl IntoIterator<Item = Submission>) -> u64 {
        for submission in submissions {
            self.enrol(&submission.record);
            self.push(submission.record);
        }
        self.size().saturating_sub(1)
    }

    /// Writes into the server's own stream and signs it; gives the index of the draft's record.
    ///
    /// # Panics
    ///
    /// If the draft is none of its kind.
    pub fn write_own(&mut self, draft: Draft) -> u64 {
        let written = self.server.write(draft).expect("a good draft");
        let index = self.append(written);
        let signed = self.server.sign();
        self.append(signed);
        index
    }

    /// The server's own stream, for whoever goes on with it by hand: under this key, once a record
    /// says so.
    ///
    /// # Panics
    ///
    /// If nothing was written to it.
    pub fn own_succeeded_by(&self, next: SigningKey) -> StreamWriter {
        StreamWriter::resume(
            Scope::Ledger,
            StreamName::SERVER,
            SigningKey::from_bytes(&[0xfe; 32]),
            self.server.next_seq(),
            self.server.head().expect("a stream that was written to"),
            self.clock.clone(),
            self.entropy.clone(),
        )
        .with_unsigned(self.server.unsigned())
        .succeeded_by(next)
    }

    fn enrol(&mut self, record: &[u8]) {
        let Ok(record) = Record::parse(record) else {
            return;
        };
        let own = (record.scope(), *record.stream()) == (Scope::Ledger, StreamName::SERVER);
        if own || !record.is(Kind::StreamOpened) {
            return;
        }
        let Ok(StreamOpened { key, producer, .. }) = record.decode() else {
            return;
        };
        let known = self.enrolled.as_mut();
        if known.is_some_and(|known| known.insert((key, producer.clone()))) {
            let enrolled = ProducerEnrolled::new("token:test".to_owned(), key, producer);
            self.write_own(Draft::new(enrolled));
        }
    }

    /// Writes into a stream and appends what comes out; gives the index of the last record.
    ///
    /// # Panics
    ///
    /// If the draft is none of its kind.
    pub fn write(&mut self, stream: &mut StreamWriter, draft: Draft) -> u64 {
        self.append(stream.write(draft).expect("a good draft"))
    }

    /// Signs a stream, if anything in it is unsigned.
    pub fn sign(&mut self, stream: &mut StreamWriter) {
        self.append(stream.sign());
    }

    /// A new stream, not written to yet. Its key follows from `key`.
    ///
    /// # Panics
    ///
    /// If `stream` or `producer` is no such name.
    pub fn stream(&self, scope: Scope, stream: &str, producer: &str, key: u8) -> StreamWriter {
        StreamWriter::open(
            scope,
            StreamName::parse(stream).expect("a stream name"),
            ProducerName::parse(producer).expect("a producer name"),
            SigningKey::from_bytes(&[key; 32]),
            self.clock.clone(),
            self.entropy.clone(),
        )
    }

    /// Starts a run; gives the owner's stream, named `owner`, by the producer `trainer`.
    pub fn start_run(&mut self, name: &str, key: u8) -> StreamWriter {
        let run = RunId::generate(&*self.clock, &*self.entropy);
        let mut owner = self.stream(run.into(), "owner", "trainer", key);
        let started = RunStarted::new(name.to_owned(), owner.public_key());
        self.write(&mut owner, Draft::new(started));
        owner
    }

    /// Seals a run in its owner's stream, listing `others` as they stand.
    ///
    /// # Panics
    ///
    /// If `others` has a stream that was not written to.
    pub fn seal(&mut self, owner: &mut StreamWriter, others: &[&StreamWriter]) -> u64 {
        let ends = others.iter().map(|other| end(other)).collect();
        self.append([owner.seal(RunStatus::Completed, ends).expect("a good seal")])
    }

    /// A run of two streams with `records` records in each, signed and sealed; gives its id.
    ///
    /// # Panics
    ///
    /// Never: the stream is a run's.
    pub fn sealed_run(&mut self, name: &str, key: u8, records: usize) -> RunId {
        let mut owner = self.start_run(name, key);
        let mut rank = self.stream(owner.scope(), "rank0", "annotators", key ^ 0x80);
        for step in 0..records {
            self.write(&mut owner, metric(step));
            self.write(&mut rank, preference(step));
        }
        self.sign(&mut rank);
        self.sign(&mut owner);
        self.seal(&mut owner, &[&rank]);
        owner.scope().run().expect("a run's stream")
    }

    /// The root at `size` entries.
    pub fn root(&self, size: u64) -> Hash {
        self.entries[..size as usize]
            .iter()
            .map(|e| leaf_hash(e))
            .collect::<MemoryTree>()
            .root()
    }

    /// The signed note of the log as it was at `size` entries.
    pub fn checkpoint(&self, size: u64) -> Vec<u8> {
        self.sign_checkpoint(size, self.root(size))
    }

    /// A note that says whatever it is told, signed with the log's keys.
    ///
    /// # Panics
    ///
    /// If `size` is 0 and `root` is not the empty tree's.
    pub fn sign_checkpoint(&self, size: u64, root: Hash) -> Vec<u8> {
        Checkpoint::new(&self.origin, TreeSize(size), root)
            .expect("a good checkpoint")
            .sign(&self.ed25519, &self.ml_dsa_44, 1_795_420_800)
            .expect("our own keys")
            .to_string()
            .into_bytes()
    }

    /// Writes `checkpoint` and `tile/` into `dir`, as a ledger of this size leaves them.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn write_to(&self, dir: &Path) -> io::Result<()> {
        self.write_tiles(dir)?;
        fs::write(
            dir.join("checkpoint"),
            self.sign_checkpoint(self.size(), self.tree.root()),
        )
    }

    /// Writes `tile/` only.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn write_tiles(&self, dir: &Path) -> io::Result<()> {
        tiles_for_size(TreeSize(self.size())).try_for_each(|id| self.write_tile(dir, id))
    }

    /// Writes the partial tiles that a log of `size` entries had.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn write_partial_tiles_of(&self, dir: &Path, size: u64) -> io::Result<()> {
        tiles_for_size(TreeSize(size))
            .filter(|id| id.is_partial())
            .try_for_each(|id| self.write_tile(dir, id))
    }

    fn write_tile(&self, dir: &Path, id: TileId) -> io::Result<()> {
        let bytes = match id.level() {
            TileLevel::Entries => {
                let first = id.first_leaf() as usize;
                encode_entry_bundle(&self.entries[first..first + usize::from(id.width())])
            }
            TileLevel::Hashes(_) => self.tree.read_tile(id).map(|tile| tile.to_bytes()),
        };
        let path = dir.join(id.path());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes.map_err(io::Error::other)?)
    }

    /// The multi-proof of these indices in the whole log.
    ///
    /// # Panics
    ///
    /// If the log has no such index or they do not ascend.
    pub fn multiproof(&self, indices: &[u64]) -> Vec<Hash> {
        let indices = indices.iter().map(|index| LeafIndex(*index));
        multiproof::create(&self.tree, self.tree.size(), indices).expect("indices of this log")
    }

    /// The text of a tlog-proof of one entry.
    ///
    /// # Panics
    ///
    /// If the log has no such index.
    pub fn proof(&self, index: u64) -> String {
        let hashes = inclusion_proof(&self.tree, LeafIndex(index), self.tree.size());
        TlogProof {
            extra: None,
            index: LeafIndex(index),
            hashes: hashes.expect("an index of this log"),
            checkpoint: String::from_utf8(self.checkpoint(self.size())).expect("a note is text"),
        }
        .to_string()
    }
}

impl std::fmt::Debug for LogBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogBuilder")
            .field("origin", &self.origin)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// Where a stream stands, as a seal lists it.
///
/// # Panics
///
/// If nothing was written to it.
pub fn end(stream: &StreamWriter) -> StreamEnd {
    let head = stream.head().expect("a stream that was written to");
    StreamEnd::new(stream.stream(), stream.next_seq() - 1, head.into())
}

/// A small public record.
pub fn metric(step: usize) -> Draft {
    let metrics = [("loss".to_owned(), 1.0 / (step + 1) as f64)].into();
    let mut body = MetricLogged::new(metrics);
    body.step = Some(step as u64);
    Draft::new(body)
}

/// An annotation of about 500 bytes, with sealed values.
pub fn preference(step: usize) -> Draft {
    let mut body = AnnotationPreference::new(if step.is_multiple_of(3) {
        Choice::A
    } else {
        Choice::B
    });
    body.item = Some(format!("item-{step:08}"));
    body.criterion = Some("helpfulness".to_owned());
    body.duration_ms = Some(1000 + step as u64 % 9000);
    let text = |what: &str| serde_json::Value::String(format!("{what} {step}"));
    Draft::new(body)
        .seal("prompt", &text("prompt"), Subject::Run)
        .seal("response_a", &text("one answer"), Subject::Run)
        .seal("response_b", &text("another answer"), Subject::Run)
}
