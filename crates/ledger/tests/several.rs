//! Several ledgers on one set of stores, as several servers have them: they append at the same time, one publishes,
//! and whatever dies, freezes or is cut off, there is no gap, no duplicate and no fork (I1, I3).

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{TestClock, metric, options, policy, preference};
use ledger::{AppendCode, Ledger, Principal, Receipt, Stores};
use record::kinds::{FindingRaised, IncidentReported, RunStarted};
use record::{
    Draft, ProducerName, Pseudonym, RunId, Scope, SigningKey, StreamName, StreamWriter, Submission,
};
use store::{DataDir, DirObjects, ObjectStore, SqliteMeta};
use tempfile::TempDir;
use testkit::shared::{Outage, SharedPlace};

/// The stores of a ledger, and what makes a server's part of it.
struct Site {
    dir: TempDir,
    clock: Arc<TestClock>,
    journal: SharedPlace,
    objects: Arc<dyn ObjectStore>,
    acknowledged: Mutex<Vec<(Submission, Receipt)>>,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        // Where `verify` looks for a log.
        drop(DataDir::create(path).unwrap());
        let objects: Arc<dyn ObjectStore> =
            Arc::new(DirObjects::open(path, &path.join("tmp")).unwrap());
        Self {
            journal: SharedPlace::new(&path.join("journal")).unwrap(),
            clock: Arc::new(TestClock::new()),
            objects,
            dir,
            acknowledged: Mutex::default(),
        }
    }

    fn stores(&self) -> Stores {
        Stores {
            objects: Arc::clone(&self.objects),
            meta: Arc::new(SqliteMeta::open(&self.dir.path().join("ledger.sqlite")).unwrap()),
            journal: Box::new(self.journal.handle()),
        }
    }

    fn create(&self) -> Ledger {
        Ledger::create_shared(self.dir.path(), options(&self.clock), self.stores()).unwrap()
    }

    fn open(&self) -> Ledger {
        Ledger::open_shared(self.dir.path(), options(&self.clock), self.stores()).unwrap()
    }

    fn writer(&self, key: u8) -> StreamWriter {
        let entropy = common::entropy();
        StreamWriter::open(
            RunId::generate(&*self.clock, &*entropy).into(),
            StreamName::parse("main").unwrap(),
            ProducerName::parse(&format!("trainer-{key}")).unwrap(),
            SigningKey::from_bytes(&[key; 32]),
            self.clock.clone(),
            entropy,
        )
    }

    fn start(&self, ledger: &Ledger, key: u8) -> StreamWriter {
        let mut writer = self.writer(key);
        let started = RunStarted::new(format!("run-{key}"), writer.public_key());
        self.append(ledger, writer.write(Draft::new(started)).unwrap());
        writer
    }

    /// Sends until it is acknowledged, as a client does.
    fn append(&self, ledger: &Ledger, records: Vec<Submission>) -> Vec<Receipt> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let receipts = loop {
            let ticket = ledger.submit(&records, &Principal::local()).unwrap();
            match ticket.wait() {
                Ok(receipts) => break receipts,
                Err(error) => assert_eq!(error.code, AppendCode::Unavailable, "{error}"),
            }
            assert!(Instant::now() < deadline, "{:?}", ledger.status());
            thread::sleep(Duration::from_millis(10));
        };
        let new = records.into_iter().zip(receipts.iter().copied());
        self.acknowledged.lock().unwrap().extend(new);
        receipts
    }

    /// All that was acknowledged is there once, at its index, for each of the ledgers; and the log holds.
    fn check(&self, ledgers: &[&Ledger]) {
        let acknowledged = self.acknowledged.lock().unwrap();
        let size = acknowledged
            .iter()
            .map(|(_, receipt)| receipt.index + 1)
            .max();
        for ledger in ledgers {
            let size = size.unwrap_or(0);
            assert!(
                ledger.wait_published(size, Duration::from_secs(30)),
                "{:?}",
                ledger.status()
            );
            let mut seen = HashMap::new();
            for index in 0..ledger.checkpoint().unwrap().checkpoint.size.0 {
                let leaf = tlog::leaf_hash(&ledger.read(index).unwrap());
                assert_eq!(
                    seen.insert(leaf, index),
                    None,
                    "record {index} is there twice"
                );
            }
            for (submission, receipt) in &*acknowledged {
                assert_eq!(seen.get(&common::leaf(submission)), Some(&receipt.index));
            }
            let opener = ledger.opener();
            let options = verify::Options {
                openings: Some(&opener),
                ..verify::Options::default()
            };
            let source = verify::Source::directory(self.dir.path()).unwrap();
            let report = verify::log(&source, &policy(ledger), &options).unwrap();
            assert_eq!(report.verdict(), verify::Verdict::Verified, "{report:#?}");
        }
    }
}

#[test]
fn servers_that_append_at_the_same_time_make_one_log() {
    let site = Site::new();
    let first = site.create();
    let second = site.open();
    thread::scope(|scope| {
        for key in 1..=6 {
            let (site, ledger) = (&site, if key % 2 == 0 { &first } else { &second });
            scope.spawn(move || {
                let mut writer = site.start(ledger, key);
                for _ in 0..40 {
                    site.append(ledger, writer.write(metric(1.0)).unwrap());
                }
                let annotator = Pseudonym::generate(&*common::entropy());
                site.append(ledger, writer.write(preference(annotator)).unwrap());
            });
        }
    });
    assert_eq!(site.acknowledged.lock().unwrap().len(), 6 * 43);
    site.check(&[&first, &second]);
    for ledger in [first, second] {
        ledger.close().unwrap();
    }
    let third = site.open();
    site.check(&[&third]);
}

#[test]
fn a_stream_goes_on_at_any_server_and_a_resend_is_known_at_all() {
    let site = Site::new();
    let first = site.create();
    let second = site.open();
    let mut writer = site.start(&first, 1);
    let mut sent = Vec::new();
    for turn in 0..30 {
        let ledger = if turn % 2 == 0 { &second } else { &first };
        let batch = writer.write(metric(f64::from(turn))).unwrap();
        let receipts = site.append(ledger, batch.clone());
        sent.push((batch, receipts[0].index));
    }
    for (batch, index) in sent {
        for ledger in [&first, &second] {
            let again = ledger
                .submit(&batch, &Principal::local())
                .unwrap()
                .wait()
                .unwrap();
            assert_eq!((again[0].index, again[0].duplicate), (index, true));
        }
    }
    site.check(&[&first, &second]);
}

#[test]
fn a_server_that_dies_is_replaced_as_publisher() {
    let site = Site::new();
    let first = site.create();
    let mut writer = site.start(&first, 1);
    site.check(&[&first]);
    let second = site.open();
    site.append(&first, writer.write(metric(1.0)).unwrap());
    // Without giving up its lease.
    drop(first);
    site.append(&second, writer.write(metric(2.0)).unwrap());
    site.check(&[&second]);
}

#[test]
fn what_an_outage_left_unknown_is_known_after_it() {
    let site = Site::new();
    let first = site.create();
    let second = site.open();
    let mut writer = site.start(&first, 1);
    for outage in [Outage::AppendAnswer, Outage::Everything] {
        let batch = writer.write(metric(1.0)).unwrap();
        let before = first.status().sequenced;
        site.journal.set_outage(Some(outage));
        let ticket = first.submit(&batch, &Principal::local()).unwrap();
        assert_eq!(ticket.wait().unwrap_err().code, AppendCode::Unavailable);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !first
            .status()
            .unavailable
            .is_some_and(|why| why.contains("an outage"))
        {
            assert!(Instant::now() < deadline, "{:?}", first.status());
        }
        assert_eq!(first.status().failed, None);
        site.journal.set_outage(None);
        let receipts = site.append(&first, batch.clone());
        assert_eq!(
            (receipts[0].index, receipts[0].duplicate),
            (before, outage == Outage::AppendAnswer)
        );
        assert_eq!(first.status().unavailable, None);
        assert_eq!(site.append(&second, batch)[0].index, before);
    }
    site.check(&[&first, &second]);
}

#[test]
fn a_server_that_was_left_behind_starts_over_from_the_published_log() {
    let site = Site::new();
    site.journal.forget_at_once();
    let first = site.create();
    let second = site.open();
    let mut writer = site.start(&first, 1);
    for turn in 0..200 {
        let receipts = site.append(&first, writer.write(metric(f64::from(turn))).unwrap());
        if turn % 20 == 0 {
            let covered = receipts[0].index + 1;
            assert!(first.wait_published(covered, Duration::from_secs(30)));
            site.append(&second, writer.write(metric(0.5)).unwrap());
        }
    }
    site.check(&[&first, &second]);
}

/// Objects that stop in the midst of a publication until they are let go, as if the process were frozen.
struct Freezing {
    inner: Arc<dyn ObjectStore>,
    at: &'static str,
    frozen: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Armed,
    Frozen,
    Thawed,
}

impl Freezing {
    fn stop_at(&self, step: &str) {
        let mut phase = self.frozen.lock().unwrap();
        if step == self.at && *phase == Phase::Armed {
            *phase = Phase::Frozen;
            self.changed.notify_all();
            drop(
                self.changed
                    .wait_while(phase, |phase| *phase == Phase::Frozen)
                    .unwrap(),
            );
        }
    }

    fn wait_until_frozen(&self) {
        let phase = self.frozen.lock().unwrap();
        let (phase, waited) = self
            .changed
            .wait_timeout_while(phase, Duration::from_secs(20), |phase| {
                *phase != Phase::Frozen
            })
            .unwrap();
        assert!(!waited.timed_out(), "never came to {}", self.at);
        drop(phase);
    }

    fn thaw(&self) {
        *self.frozen.lock().unwrap() = Phase::Thawed;
        self.changed.notify_all();
    }
}

impl ObjectStore for Freezing {
    fn put_many(&self, objects: &[(&str, &[u8])]) -> store::Result<()> {
        self.stop_at("tiles");
        self.inner.put_many(objects)
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> store::Result<()> {
        self.stop_at("serve");
        self.inner.replace(key, bytes)
    }

    fn get(&self, key: &str) -> store::Result<Option<Vec<u8>>> {
        self.inner.get(key)
    }

    fn list(&self, prefix: &str) -> store::Result<Vec<String>> {
        self.inner.list(prefix)
    }

    fn delete(&self, key: &str) -> store::Result<()> {
        self.inner.delete(key)
    }
}

fn served(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("log/checkpoint")).unwrap()
}

#[test]
fn a_publisher_that_was_frozen_past_its_lease_changes_nothing_when_it_wakes() {
    for at in ["tiles", "serve"] {
        let site = Site::new();
        site.create().close().unwrap();
        let objects = Arc::new(Freezing {
            inner: Arc::clone(&site.objects),
            at,
            frozen: Mutex::new(Phase::Armed),
            changed: Condvar::new(),
        });
        let stores = Stores {
            objects: Arc::clone(&objects) as Arc<dyn ObjectStore>,
            ..site.stores()
        };
        let first = Ledger::open_shared(site.dir.path(), options(&site.clock), stores).unwrap();
        let mut writer = site.start(&first, 1);
        objects.wait_until_frozen();
        let second = site.open();
        for _ in 0..300 {
            site.append(&second, writer.write(metric(1.0)).unwrap());
        }
        site.check(&[&second]);
        objects.thaw();
        site.append(&first, writer.write(metric(2.0)).unwrap());
        site.check(&[&first, &second]);
        for ledger in [&first, &second] {
            assert_eq!(ledger.status().failed, None);
        }
        let latest = second.checkpoint().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while served(site.dir.path()) != *latest.note {
            assert!(
                Instant::now() < deadline,
                "{at}: an older checkpoint is served"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// I27: of several servers one watches at a time, and the next goes on from what it knew.
#[test]
fn one_server_watches_at_a_time_and_the_next_knows_what_it_kept() {
    const TURN: Duration = Duration::from_mins(1);
    let site = Site::new();
    let (a, b) = (site.create(), site.open());
    let (first, second) = (a.watcher(), b.watcher());
    assert_ne!(first, second);
    assert!(a.may_watch(&first, TURN).unwrap());
    assert!(!b.may_watch(&second, TURN).unwrap());
    assert!(a.may_watch(&first, TURN).unwrap());
    a.keep_watch(b"what is known").unwrap();
    a.end_watch(&first).unwrap();
    assert!(b.may_watch(&second, TURN).unwrap());
    assert_eq!(b.watch_kept().unwrap().unwrap(), b"what is known");
}

#[test]
fn what_is_to_be_recorded_once_waits_for_no_record_of_another_kind() {
    let site = Site::new();
    let (first, second) = (site.create(), site.open());
    let kind = |name: &str| Draft::new(FindingRaised::new(name.to_owned()));
    let incident = || Draft::new(IncidentReported::new("drill".to_owned()));
    let length = |ledger: &Ledger| {
        let own = ledger.stream_head(Scope::Ledger, StreamName::SERVER);
        own.unwrap().map_or(0, |own| own.next_seq)
    };
    let since = |ledger: &Ledger, draft, length| {
        let written = ledger.record_own_since(draft, length).unwrap().wait();
        written.map(|receipts| receipts[0].index)
    };
    // Whoever looked at nothing, where nobody wrote.
    let looked = length(&second);
    first.record_own(incident()).unwrap().wait().unwrap();
    site.start(&first, 1);
    since(&second, kind("a"), looked).unwrap();
    // Of the same kind, by the other server, which the second comes to know in its turn.
    let looked = length(&second);
    first.record_own(kind("b")).unwrap().wait().unwrap();
    let refused = since(&second, kind("c"), looked).unwrap_err();
    assert_eq!(refused.code, AppendCode::SeqGap);
    assert!(refused.to_string().contains("finding.raised"), "{refused}");
    // Not at its own either, until it has looked again.
    assert!(since(&second, kind("c"), looked).is_err());
    since(&second, incident(), looked + 1).unwrap();
    since(&second, kind("c"), length(&second)).unwrap();
    // Whoever was opened later knows nothing of what was before.
    let third = site.open();
    assert!(since(&third, kind("d"), looked).is_err());
    since(&third, kind("d"), length(&third)).unwrap();
    for ledger in [first, second, third] {
        ledger.close().unwrap();
    }
}

#[test]
fn whoever_stands_by_publishes_where_nobody_else_does() {
    let site = Site::new();
    let server = site.create();
    let mut standing = options(&site.clock);
    standing.standby = true;
    let worker = Ledger::open_shared(site.dir.path(), standing, site.stores()).unwrap();
    let mut writer = site.start(&worker, 1);
    // For longer than it would wait, there is always something that waits, and the server publishes it.
    for step in 0..15 {
        site.append(&worker, writer.write(metric(f64::from(step))).unwrap());
        thread::sleep(Duration::from_millis(200));
    }
    assert!(server.status().last_published.is_some());
    assert_eq!(worker.status().last_published, None);
    server.close().unwrap();
    // Now there is nobody else.
    let receipts = site.append(&worker, writer.write(metric(0.5)).unwrap());
    assert!(worker.wait_published(receipts[0].index + 1, Duration::from_secs(20)));
    // It says so a moment after it serves it.
    let deadline = Instant::now() + Duration::from_secs(20);
    while worker.status().last_published.is_none() {
        assert!(Instant::now() < deadline, "somebody else published");
        thread::sleep(Duration::from_millis(10));
    }
    // And what is behind it is whole.
    worker.close().unwrap();
    let report = common::verify_dir(&site.open());
    assert_eq!(report.verdict(), verify::Verdict::Verified, "{report}");
}
