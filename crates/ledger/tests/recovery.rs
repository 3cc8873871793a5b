//! Every step of publication fails, done and not done, once and for good; then the ledger is opened
//! again. What was acknowledged is there once, and no checkpoint is contradicted (I1, I3).

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

mod common;
mod failing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Fixture, TestClock, metric, options, policy};
use failing::{Fault, Faults, Step};
use ledger::{Ledger, Principal, Receipt, Stores, SubmitError};
use record::{StreamWriter, Submission};

/// A ledger on failing stores, with something published, and an owner's stream.
struct Shaky {
    fixture: Fixture,
    faults: Arc<Faults>,
    owner: StreamWriter,
    acknowledged: Vec<(Submission, Receipt)>,
    /// What an auditor kept from before.
    since: Vec<u8>,
}

impl Shaky {
    fn new() -> Self {
        let fixture = Fixture::new();
        let mut owner = fixture.start_run("shaky", 1);
        let mut shaky = {
            let mut batch = Vec::new();
            for _ in 0..250 {
                batch.extend(owner.write(metric(1.0)).unwrap());
            }
            let receipts = fixture.append(batch.clone());
            fixture.published();
            let since = fixture.ledger.checkpoint().unwrap().note.to_vec();
            let acknowledged = batch.into_iter().zip(receipts).collect();
            Self {
                fixture,
                faults: Arc::default(),
                owner,
                acknowledged,
                since,
            }
        };
        shaky.open_shaky();
        shaky
    }

    fn open_shaky(&mut self) {
        let faults = Arc::clone(&self.faults);
        self.reopen(move |stores| failing::wrap(stores, faults));
    }

    fn reopen(&mut self, wrap: impl FnOnce(Stores) -> Stores) {
        self.fixture.ledger.close().ok();
        let path = self.fixture.dir.path().to_path_buf();
        let clock: Arc<TestClock> = self.fixture.clock.clone();
        // The old ledger gives up the directory before the new one takes it.
        let parked = tempfile::tempdir().unwrap();
        let stand_in = Ledger::create(parked.path(), options(&clock)).unwrap();
        drop(std::mem::replace(&mut self.fixture.ledger, stand_in));
        self.fixture.ledger = Ledger::open_with(&path, options(&clock), wrap).unwrap();
    }

    /// Drops the ledger without closing it and opens it on stores that work.
    fn crash(&mut self) {
        let path = self.fixture.dir.path().to_path_buf();
        let clock = self.fixture.clock.clone();
        let parked = tempfile::tempdir().unwrap();
        let stand_in = Ledger::create(parked.path(), options(&clock)).unwrap();
        drop(std::mem::replace(&mut self.fixture.ledger, stand_in));
        self.fixture.ledger = Ledger::open(&path, options(&clock)).unwrap();
    }

    fn append(&mut self, count: usize) {
        for _ in 0..count {
            let batch = self.owner.write(metric(2.0)).unwrap();
            let receipts = self.fixture.append(batch.clone());
            self.acknowledged.extend(batch.into_iter().zip(receipts));
        }
    }

    fn wait_for_failure(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.fixture.status().publish_failures == 0 {
            assert!(
                Instant::now() < deadline,
                "nothing failed: {:?}",
                self.fixture.status()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Everything acknowledged is there, once; the log holds and has grown from what was kept.
    fn check(&mut self) {
        self.append(3);
        let size = self.fixture.published();
        let ledger = &self.fixture.ledger;
        let mut seen = std::collections::HashMap::new();
        for index in 0..size {
            let leaf = tlog::leaf_hash(&ledger.read(index).unwrap());
            assert_eq!(
                seen.insert(leaf, index),
                None,
                "record {index} is there twice"
            );
        }
        for (submission, receipt) in &self.acknowledged {
            assert_eq!(seen.get(&common::leaf(submission)), Some(&receipt.index));
        }
        common::verify_dir(ledger);
        let options = verify::Options {
            since: Some(self.since.clone()),
            ..Default::default()
        };
        let source = verify::Source::directory(ledger.dir()).unwrap();
        let report = verify::log(&source, &policy(ledger), &options).unwrap();
        assert_eq!(report.verdict(), verify::Verdict::Verified, "{report:#?}");
        let again: Vec<_> = self.acknowledged.iter().rev().take(5).cloned().collect();
        for (submission, receipt) in again {
            let answer = self.fixture.append(vec![submission]);
            assert_eq!(
                (answer[0].index, answer[0].duplicate),
                (receipt.index, true)
            );
        }
    }
}

const STEPS: [Step; 4] = [
    Step::PutTiles,
    Step::ApplyIndex,
    Step::SwapCheckpoint,
    Step::Serve,
];
const FAULTS: [Fault; 2] = [Fault::NotDone, Fault::DoneButFailed];

#[test]
fn a_step_that_fails_once_is_made_up_for() {
    let mut shaky = Shaky::new();
    for step in STEPS {
        for fault in FAULTS {
            shaky.faults.set(step, fault, 1);
            shaky.append(4);
            shaky.wait_for_failure();
            shaky.check();
            shaky.since = shaky.fixture.ledger.checkpoint().unwrap().note.to_vec();
            let after = shaky.fixture.status();
            assert!(
                after.failed.is_none() && after.publish_error.is_none(),
                "{step:?} {fault:?}"
            );
        }
    }
    shaky.fixture.ledger.close().unwrap();
}

#[test]
fn a_step_that_fails_for_good_is_made_up_for_at_the_next_start() {
    for step in STEPS {
        for fault in FAULTS {
            let mut shaky = Shaky::new();
            shaky.faults.set(step, fault, usize::MAX);
            shaky.append(10);
            shaky.wait_for_failure();
            // Records are still taken, and acknowledged.
            shaky.append(10);
            if fault == Fault::NotDone {
                let error = shaky.fixture.ledger.close().unwrap_err();
                assert!(error.to_string().contains("injected failure"), "{error}");
            }
            shaky.crash();
            shaky.check();
        }
    }
}

#[test]
fn a_checkpoint_published_before_a_crash_is_what_is_served_after_it() {
    let mut shaky = Shaky::new();
    let path = shaky.fixture.dir.path().join("log/checkpoint");
    let before = std::fs::read(&path).unwrap();
    // Swapped in, never served.
    shaky.faults.set(Step::Serve, Fault::NotDone, usize::MAX);
    shaky.append(10);
    shaky.wait_for_failure();
    assert!(std::fs::read(&path).unwrap() == before, "served too early");
    shaky.crash();
    let served = std::fs::read(&path).unwrap();
    assert!(
        served != before,
        "the interrupted publication was not finished"
    );
    shaky.since = served;
    shaky.check();
}

#[test]
fn dropped_at_any_point_nothing_acknowledged_is_lost() {
    let mut shaky = Shaky::new();
    for round in 0..12 {
        shaky.append(round % 5 + 1);
        if round % 3 == 0 {
            shaky.fixture.published();
        }
        shaky.crash();
    }
    shaky.check();
}

#[test]
fn a_journal_that_cannot_sync_stops_the_ledger() {
    for fault in FAULTS {
        let mut shaky = Shaky::new();
        shaky.append(2);
        shaky.faults.set(Step::Journal, fault, usize::MAX);
        let batch = shaky.owner.write(metric(3.0)).unwrap();
        let principal = Principal::local();
        let error = shaky
            .fixture
            .ledger
            .submit(batch.clone(), &principal)
            .unwrap()
            .wait();
        assert_eq!(error.unwrap_err().code.as_str(), "unavailable");
        let deadline = Instant::now() + Duration::from_secs(20);
        let refused = loop {
            match shaky.fixture.ledger.submit(batch.clone(), &principal) {
                Err(refused) => break refused,
                Ok(ticket) => assert!(ticket.wait().is_err()),
            }
            assert!(Instant::now() < deadline, "the ledger goes on");
        };
        assert!(matches!(refused, SubmitError::Failed { .. }), "{refused}");
        assert!(refused.to_string().contains("restart"), "{refused}");
        assert!(shaky.fixture.status().failed.is_some());
        assert!(shaky.fixture.ledger.close().is_err());
        // Kept or not was unknown; after a start it is one or the other, and a resend settles it.
        shaky.crash();
        let receipts = shaky.fixture.append(batch.clone());
        assert_eq!(receipts[0].duplicate, matches!(fault, Fault::DoneButFailed));
        shaky.acknowledged.extend(batch.into_iter().zip(receipts));
        shaky.check();
    }
}

#[test]
fn an_index_that_lags_is_brought_up_from_the_log() {
    let mut shaky = Shaky::new();
    shaky.append(5);
    shaky.fixture.published();
    shaky.fixture.ledger.close().unwrap();
    let path = shaky.fixture.dir.path().to_path_buf();
    let before = shaky.fixture.ledger.find_run("shaky").unwrap();
    // As if the database had been restored without its index.
    shaky.reopen(|stores| {
        stores.meta.clear_index().unwrap();
        stores
    });
    assert_eq!(shaky.fixture.ledger.dir(), path);
    assert_eq!(shaky.fixture.ledger.find_run("shaky").unwrap(), before);
    shaky.check();
}

#[test]
fn a_log_that_does_not_hold_together_is_not_opened() {
    let fixture = Fixture::new();
    let mut owner = fixture.start_run("broken", 1);
    fixture.append(owner.write(metric(1.0)).unwrap());
    let size = fixture.published();
    fixture.ledger.close().unwrap();
    let size = size.max(fixture.status().published);
    let Fixture { dir, clock, ledger } = fixture;
    drop(ledger);
    let tile = dir.path().join(format!("log/tile/0/000.p/{size}"));
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    let error = Ledger::open(dir.path(), options(&clock)).unwrap_err();
    assert!(error.to_string().contains("its tiles hash to"), "{error}");
}

#[test]
fn a_full_disk_refuses_what_it_cannot_keep_and_the_ledger_goes_on() {
    let mut shaky = Shaky::new();
    shaky.append(5);
    let mut other = shaky.fixture.writer(shaky.owner.scope(), "rank1", 2);
    for round in 0..3 {
        shaky.faults.set(Step::Journal, Fault::Full, 1);
        let batch = shaky.owner.write(metric(3.0)).unwrap();
        let error = shaky.fixture.submit(batch.clone()).unwrap_err();
        assert_eq!(error.code.as_str(), "unavailable");
        assert!(error.reason.contains("no space left"), "{error}");
        // A stream of a new key, whose enrolment is lost with the first try and made with the next.
        shaky.faults.set(Step::Journal, Fault::Full, 1);
        let opened = other.write(metric(1.0)).unwrap();
        assert!(shaky.fixture.submit(opened.clone()).is_err());
        let receipts = shaky.fixture.append(opened.clone());
        shaky.acknowledged.extend(opened.into_iter().zip(receipts));
        let receipts = shaky.fixture.append(batch.clone());
        assert!(!receipts[0].duplicate);
        shaky.acknowledged.extend(batch.into_iter().zip(receipts));
        if round == 1 {
            shaky.fixture.published();
        }
    }
    assert!(shaky.fixture.status().failed.is_none());
    shaky.check();
    let query = ledger::Query {
        kind: Some(record::Kind::ProducerEnrolled),
        ..Default::default()
    };
    assert_eq!(shaky.fixture.ledger.query(&query).unwrap().records.len(), 2);
}
