//! A ledger on stores that fail when a test says so, and what has to hold of it afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::{Ledger, Receipt, Stores};
use record::{Pseudonym, StreamWriter, Submission};
use testkit::failing::{Failing, Faults};

use super::{Fixture, TestClock, entropy, metric, options, policy, preference};

/// A ledger on failing stores, with something published, and an owner's stream.
pub(crate) struct Shaky {
    pub(crate) fixture: Fixture,
    pub(crate) faults: Faults,
    pub(crate) owner: StreamWriter,
    pub(crate) acknowledged: Vec<(Submission, Receipt)>,
    /// What an auditor kept from before.
    pub(crate) since: Vec<u8>,
}

impl Shaky {
    pub(crate) fn new() -> Self {
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
                faults: Faults::default(),
                owner,
                acknowledged,
                since,
            }
        };
        shaky.open_shaky();
        shaky
    }

    pub(crate) fn open_shaky(&mut self) {
        let faults = self.faults.clone();
        self.reopen(move |stores| wrap(stores, &faults));
    }

    pub(crate) fn reopen(&mut self, wrap: impl FnOnce(Stores) -> Stores) {
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
    pub(crate) fn crash(&mut self) {
        let path = self.fixture.dir.path().to_path_buf();
        let clock = self.fixture.clock.clone();
        let parked = tempfile::tempdir().unwrap();
        let stand_in = Ledger::create(parked.path(), options(&clock)).unwrap();
        drop(std::mem::replace(&mut self.fixture.ledger, stand_in));
        self.fixture.ledger = Ledger::open(&path, options(&clock)).unwrap();
    }

    pub(crate) fn append(&mut self, count: usize) {
        for _ in 0..count {
            let batch = self.owner.write(metric(2.0)).unwrap();
            let receipts = self.fixture.append(batch.clone());
            self.acknowledged.extend(batch.into_iter().zip(receipts));
        }
    }

    /// What makes every step of sequencing and publishing happen: a new person's sealed values, and so many records
    /// that an entry bundle is completed.
    pub(crate) fn provoking(&mut self) -> Vec<Submission> {
        let annotator = Pseudonym::generate(&*entropy());
        let mut batch = self.owner.write(preference(annotator)).unwrap();
        for n in 0..260 {
            batch.extend(self.owner.write(metric(f64::from(n))).unwrap());
        }
        batch
    }

    pub(crate) fn acknowledge(&mut self, batch: Vec<Submission>) -> Vec<Receipt> {
        let receipts = self.fixture.append(batch.clone());
        self.acknowledged
            .extend(batch.into_iter().zip(receipts.clone()));
        receipts
    }

    pub(crate) fn wait_for_failure(&self) {
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
    pub(crate) fn check(&mut self) {
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
            assert_eq!(seen.get(&super::leaf(submission)), Some(&receipt.index));
        }
        super::verify_dir(ledger);
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

pub(crate) fn wrap(stores: Stores, faults: &Faults) -> Stores {
    Stores {
        objects: Arc::new(Failing::new(stores.objects, faults)),
        meta: Arc::new(Failing::new(stores.meta, faults)),
        journal: Box::new(Failing::new(stores.journal, faults)),
    }
}
