//! Who loads the site: producers that send one record or many at a time, readers that check what they read, auditors that
//! take a run's bundle and verify it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use client::{RecordQuery, Wait};
use record::kinds::{MetricLogged, RunStarted, RunStatus};
use record::{
    Draft, Entropy as _, Prepared, ProducerName, RunId, Scope, SigningKey, StreamName,
    StreamWriter, Submission,
};
use testkit::log::SeededEntropy;
use tlog::{
    EntryBundle, Hash, HashTile, LeafIndex, Policy, TileId, TileLevel, TlogProof, TreeSize,
};

use crate::common::load::{Dice, SystemClock};
use crate::pair::{Met, Pair};

/// What somebody does over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Appends one record.
    Single,
    /// Appends [`BATCH`] records.
    Batch,
    /// Reads a record with its proof, a page of records, or a bundle of entries with the tile above it.
    Read,
    /// Records a small run, takes its bundle and verifies that.
    Audit,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Single, Self::Batch, Self::Read, Self::Audit];

    /// How many do it. At a pace there are more producers than find out what can be carried, so that a request does not wait
    /// for the one before it of the same client.
    pub(crate) const fn clients(self, paced: bool) -> usize {
        match (self, paced) {
            (Self::Single, true) => 128,
            (Self::Single, false) | (Self::Batch, true) => 32,
            (Self::Batch, false) | (Self::Read, _) => 8,
            (Self::Audit, _) => 1,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Single => "append 1",
            Self::Batch => "append 50",
            Self::Read => "read",
            Self::Audit => "audit",
        }
    }

    /// Records a request appends, signatures not counted.
    pub(crate) const fn records(self) -> u64 {
        match self {
            Self::Single => 1,
            Self::Batch => BATCH as u64,
            Self::Read | Self::Audit => 0,
        }
    }
}

const BATCH: usize = 50;
/// Records of an audited run.
const AUDITED: usize = 20;
/// Whoever is further behind gives up the requests between: a load, not a debt.
const LAG: Duration = Duration::from_secs(2);

/// Requests a second of each kind, by all of that kind together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates(pub(crate) [f64; 4]);

impl Rates {
    pub(crate) fn times(&self, share: f64) -> Self {
        Self(self.0.map(|rate| rate * share))
    }

    pub(crate) fn records(&self) -> f64 {
        let each = Kind::ALL.iter().zip(self.0);
        each.map(|(kind, rate)| kind.records() as f64 * rate).sum()
    }
}

/// How they work for a while.
#[derive(Clone, Copy)]
pub(crate) struct Phase {
    duration: Duration,
    rates: Option<Rates>,
}

impl Phase {
    pub(crate) fn unlimited(duration: Duration) -> Self {
        Self {
            duration,
            rates: None,
        }
    }

    pub(crate) fn paced(duration: Duration, rates: Rates) -> Self {
        Self {
            duration,
            rates: Some(rates),
        }
    }
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) answered: Instant,
    /// From when it was due.
    pub(crate) waited: Duration,
    /// From when it was first sent.
    pub(crate) took: Duration,
}

/// An acknowledged record: its index, and the beginning of its leaf hash.
pub(crate) type Ack = (u64, u64);

pub(crate) struct Mix {
    actors: Vec<Actor>,
    /// How much is published at least: the readers' part of the log.
    published: AtomicU64,
}

impl Mix {
    pub(crate) fn new(urls: &[String], policy: &Policy) -> Self {
        let policy = Arc::new(policy.clone());
        let actors = Kind::ALL
            .into_iter()
            .flat_map(|kind| (0..kind.clients(true)).map(move |number| (kind, number)))
            .enumerate()
            .map(|(at, (kind, number))| Actor::new(kind, number, at, urls, &policy));
        Self {
            actors: actors.collect(),
            published: AtomicU64::new(0),
        }
    }

    /// All work until told to stop; gives how much they did a second.
    pub(crate) fn work(&mut self, phase: &Phase, stop: &AtomicBool) -> Rates {
        let before = self.counts();
        let began = Instant::now();
        let published = &self.published;
        thread::scope(|scope| {
            for actor in &mut self.actors {
                let clients = actor.kind.clients(phase.rates.is_some());
                if actor.number >= clients {
                    continue;
                }
                let rate = phase
                    .rates
                    .map(|rates| rates.0[actor.kind as usize] / clients as f64);
                scope.spawn(move || actor.work(rate, stop, published));
            }
        });
        let seconds = began.elapsed().max(phase.duration).as_secs_f64();
        let after = self.counts();
        Rates(std::array::from_fn(|at| {
            (after[at] - before[at]) as f64 / seconds
        }))
    }

    fn counts(&self) -> [u64; 4] {
        let mut counts = [0; 4];
        for actor in &self.actors {
            counts[actor.kind as usize] += actor.done;
        }
        counts
    }

    /// How long requests took so far was a matter of finding out.
    pub(crate) fn forget_times(&mut self) {
        for actor in &mut self.actors {
            actor.samples.clear();
        }
    }

    pub(crate) fn samples(&self, kind: Kind) -> impl Iterator<Item = Sample> + '_ {
        let of_kind = self.actors.iter().filter(move |actor| actor.kind == kind);
        of_kind.flat_map(|actor| actor.samples.iter().copied())
    }

    pub(crate) fn met(&self) -> Met {
        let mut met = Met::default();
        for actor in &self.actors {
            met.merge(&actor.pair.met);
            met.bad.extend(actor.false_.iter().cloned());
        }
        met
    }

    /// Requests that were due and not made, since those before took too long.
    pub(crate) fn skipped(&self) -> u64 {
        self.actors.iter().map(|actor| actor.skipped).sum()
    }

    /// What was acknowledged, by index.
    pub(crate) fn acks(&self) -> Vec<Ack> {
        let all = self.actors.iter().flat_map(|actor| &actor.acks);
        let mut acks: Vec<Ack> = all.copied().collect();
        acks.sort_unstable();
        acks
    }
}

struct Actor {
    kind: Kind,
    /// Of those of its kind.
    number: usize,
    pair: Pair,
    policy: Arc<Policy>,
    dice: Dice,
    entropy: Arc<SeededEntropy>,
    stream: Option<(StreamWriter, Prepared)>,
    /// What was read and is not true.
    false_: Vec<String>,
    done: u64,
    skipped: u64,
    samples: Vec<Sample>,
    acks: Vec<Ack>,
    file: tempfile::TempDir,
}

impl Actor {
    fn new(kind: Kind, number: usize, at: usize, urls: &[String], policy: &Arc<Policy>) -> Self {
        let seed = 1_000 + at as u64;
        Self {
            kind,
            number,
            pair: Pair::new(urls, at),
            policy: Arc::clone(policy),
            dice: Dice::new(seed),
            entropy: Arc::new(SeededEntropy::new(seed)),
            stream: None,
            false_: Vec::new(),
            done: 0,
            skipped: 0,
            samples: Vec::new(),
            acks: Vec::new(),
            file: tempfile::tempdir().unwrap(),
        }
    }

    /// Works at a rate, or as fast as it can, until told to stop or refused for good.
    fn work(&mut self, rate: Option<f64>, stop: &AtomicBool, published: &AtomicU64) {
        let every = rate.map(|rate| Duration::from_secs_f64(1.0 / rate.max(0.01)));
        let first = every.map_or(Duration::ZERO, |every| {
            every.mul_f64(self.dice.below(1_000) as f64 / 1_000.0)
        });
        let mut due = Instant::now() + first;
        loop {
            if let Some(every) = every {
                let behind = due.elapsed();
                if behind > LAG {
                    let missed = (behind.as_nanos() / every.as_nanos().max(1)) as u32;
                    self.skipped += u64::from(missed);
                    due += every * missed;
                }
                // In steps, so that a slow pace ends with the others.
                while due > Instant::now() && !stop.load(Ordering::Relaxed) {
                    let rest = due.saturating_duration_since(Instant::now());
                    thread::sleep(rest.min(Duration::from_millis(100)));
                }
            } else {
                due = Instant::now();
            }
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let sent = Instant::now();
            if !self.act(published) {
                return;
            }
            self.done += 1;
            self.samples.push(Sample {
                answered: Instant::now(),
                waited: due.elapsed(),
                took: sent.elapsed(),
            });
            due += every.unwrap_or_default();
        }
    }

    /// Does it once. Whether to go on.
    fn act(&mut self, published: &AtomicU64) -> bool {
        let done = match self.kind {
            Kind::Single => self.append(1),
            Kind::Batch => self.append(BATCH),
            Kind::Read => self.read(published),
            Kind::Audit => self.audit(published),
        };
        done.is_some() && self.false_.is_empty()
    }

    /// A stream in a run of its own, with a record to send over and over.
    fn open(&self) -> (StreamWriter, Prepared, Vec<Submission>) {
        let mut key = [0; 32];
        self.entropy.fill(&mut key);
        let mut writer = StreamWriter::open(
            Scope::Run(RunId::generate(&SystemClock, &*self.entropy)),
            StreamName::parse("main").unwrap(),
            ProducerName::parse("load").unwrap(),
            SigningKey::from_bytes(&key),
            Arc::new(SystemClock),
            self.entropy.clone(),
        );
        let started = RunStarted::new("load".to_owned(), writer.public_key());
        let opening = writer.write(Draft::new(started)).unwrap();
        let names = [
            "loss",
            "kl",
            "reward_mean",
            "gradient_norm",
            "learning_rate",
            "entropy",
        ];
        let metrics = names.map(|name| (name.to_owned(), 0.543_210_98));
        let draft = Draft::new(MetricLogged::new(metrics.into()));
        let prepared = writer.prepare(draft).unwrap();
        (writer, prepared, opening)
    }

    fn append(&mut self, count: usize) -> Option<()> {
        let mut records = Vec::new();
        let (writer, prepared) = if let Some(stream) = &mut self.stream {
            stream
        } else {
            let (writer, prepared, opening) = self.open();
            records = opening;
            self.stream.insert((writer, prepared))
        };
        for _ in 0..count {
            records.extend(writer.write_prepared(prepared).unwrap());
        }
        self.send(&records)
    }

    /// Sends until it is acknowledged.
    fn send(&mut self, records: &[Submission]) -> Option<()> {
        let answer = self
            .pair
            .ask("append", |client| client.append(records, Wait::Durable))?;
        if answer.records.len() != records.len() {
            self.false_
                .push("append: an answer for other records".into());
        }
        for (sent, receipt) in records.iter().zip(&answer.records) {
            let leaf = tlog::leaf_hash(&sent.record);
            if Hash::from(receipt.leaf_hash) != leaf {
                self.false_
                    .push(format!("append: record {} has another name", receipt.index));
            }
            self.acks.push((receipt.index, prefix(&leaf)));
        }
        Some(())
    }

    fn read(&mut self, published: &AtomicU64) -> Option<()> {
        let size = published.load(Ordering::Relaxed);
        if size == 0 || self.done.is_multiple_of(64) {
            self.look(published)?;
            if size == 0 {
                thread::sleep(Duration::from_millis(50));
            }
            return Some(());
        }
        match self.dice.below(3) {
            0 => self.read_record(self.dice.below(size)),
            1 => self.read_page(self.dice.below(size)),
            _ => self.read_entries(self.dice.below(size.div_ceil(256)), TreeSize(size)),
        }
    }

    /// Looks how far the log is published.
    fn look(&mut self, published: &AtomicU64) -> Option<()> {
        let asked = self
            .pair
            .ask("checkpoint", |client| match client.checkpoint() {
                // Nothing is published yet.
                Err(client::ClientError::Refused(problem)) if problem.status == 404 => Ok(None),
                other => other.map(Some),
            })?;
        if let Some(note) = asked {
            match self.policy.check(note.as_bytes()) {
                Ok(verified) => {
                    published.fetch_max(verified.checkpoint.size.0, Ordering::Relaxed);
                }
                Err(error) => self.false_.push(format!("checkpoint: {error}")),
            }
        }
        Some(())
    }

    /// A record is in the tree that the log's keys have signed.
    fn read_record(&mut self, index: u64) -> Option<()> {
        let record = self
            .pair
            .ask("a record", |client| client.record(index))?
            .record;
        let text = self.pair.ask("a proof", |client| client.proof(index))?;
        let checked = || -> Result<(), String> {
            let proof = TlogProof::parse(text.as_bytes()).map_err(|e| e.to_string())?;
            let signed = self.policy.check(proof.checkpoint.as_bytes());
            let checkpoint = signed.map_err(|e| e.to_string())?.checkpoint;
            tlog::proof::verify_inclusion(
                LeafIndex(index),
                checkpoint.size,
                &tlog::leaf_hash(record.get().as_bytes()),
                &checkpoint.root,
                &proof.hashes,
            )
            .map_err(|e| e.to_string())
        };
        if let Err(why) = checked() {
            self.false_.push(format!("record {index}: {why}"));
        }
        Some(())
    }

    /// A page has the records that follow, each under its own name.
    fn read_page(&mut self, after: u64) -> Option<()> {
        let query = RecordQuery {
            after: Some(after),
            limit: Some(50),
            ..RecordQuery::default()
        };
        let page = self
            .pair
            .ask("a page of records", |client| client.records(&query))?;
        let indices: Vec<u64> = page.records.iter().map(|record| record.index).collect();
        let follow = (after + 1..).take(indices.len());
        let named = page.records.iter().all(|record| {
            Hash::from(record.leaf_hash) == tlog::leaf_hash(record.record.get().as_bytes())
        });
        if !indices.iter().copied().eq(follow) || !named {
            self.false_
                .push(format!("the page after {after}: {indices:?}"));
        }
        Some(())
    }

    /// A bundle of entries hashes to the tile above it.
    fn read_entries(&mut self, number: u64, size: TreeSize) -> Option<()> {
        let (Some(entries), Some(leaves)) = (
            TileId::entries(number, size),
            TileId::in_tree(TileLevel::Hashes(0), number, size),
        ) else {
            return Some(());
        };
        let entries = self.tile(entries)?;
        let leaves = self.tile(leaves)?;
        let checked = || -> Option<bool> {
            let entries = EntryBundle::parse(&entries.0, entries.1.width()).ok()?;
            let tile = HashTile::parse(&leaves.0, leaves.1.width()).ok()?;
            let mut both = entries.iter().zip(tile.hashes());
            Some(both.all(|(entry, leaf)| tlog::leaf_hash(entry) == *leaf))
        };
        if checked() != Some(true) {
            self.false_
                .push(format!("bundle {number} does not hash to its tile"));
        }
        Some(())
    }

    /// A tile, or the full one that took its place.
    fn tile(&mut self, id: TileId) -> Option<(Vec<u8>, TileId)> {
        self.pair.ask("a tile", |client| match client.tile(id) {
            Err(client::ClientError::Refused(problem)) if problem.status == 404 => {
                client.tile(id.full()).map(|bytes| (bytes, id.full()))
            }
            other => other.map(|bytes| (bytes, id)),
        })
    }

    /// A small run, from its beginning to the verdict over its bundle.
    fn audit(&mut self, published: &AtomicU64) -> Option<()> {
        let (mut writer, prepared, mut records) = self.open();
        let Scope::Run(run) = writer.scope() else {
            return None;
        };
        for _ in 0..AUDITED {
            records.extend(writer.write_prepared(&prepared).unwrap());
        }
        records.extend(writer.sign());
        records.push(writer.seal(RunStatus::Completed, Vec::new()).unwrap());
        self.send(&records)?;
        let last = self.acks.last()?.0;
        let proof = self.pair.ask("its proof", |client| {
            client.published(last, Duration::from_secs(20))
        })?;
        if proof.is_none() {
            self.false_
                .push(format!("record {last} is not published after 20 s"));
        }
        self.look(published)?;
        let path = self.file.path().join("run.rlhf-bundle");
        self.pair.ask("a bundle", |client| {
            let mut out = fs::File::create(&path).map_err(client::ClientError::Download)?;
            client.bundle(run.as_str(), false, &mut out)
        })?;
        self.verify(&path);
        Some(())
    }

    fn verify(&mut self, path: &PathBuf) {
        let options = verify::Options {
            threads: std::num::NonZeroUsize::new(1),
            ..verify::Options::default()
        };
        match verify::bundle(path, &self.policy, &options) {
            Ok(report) if report.verdict() == verify::Verdict::Verified => {}
            Ok(report) => self.false_.push(format!("a bundle: {report}")),
            Err(error) => self.false_.push(format!("a bundle: {error}")),
        }
    }
}

/// The beginning of a hash: enough to tell records apart.
pub(crate) fn prefix(hash: &Hash) -> u64 {
    let bytes: [u8; 32] = (*hash).into();
    u64::from_le_bytes(bytes[..8].try_into().unwrap())
}
