//! As `faults.rs`, for a ledger that several servers share: nothing that fails once stops a server, since the network
//! says nothing about what was kept. Whoever was not answered looks, or asks again (I1, I3, I5).

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{TestClock, metric, options, policy, preference};
use ledger::{AppendError, Ledger, LedgerError, Principal, Receipt, Stores};
use record::kinds::RunStarted;
use record::{
    Draft, ProducerName, Pseudonym, RunId, SigningKey, StreamName, StreamWriter, Submission,
};
use store::{DataDir, DirObjects, SqliteMeta};
use tempfile::TempDir;
use testkit::failing::{Failing, Faults, Left, Step};
use testkit::shared::SharedPlace;

/// What becomes of a request during which a step fails. The server goes on in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It is not acknowledged; sent again, it is there already (`true`) or new.
    Unanswered(bool),
    /// It is acknowledged, and published with a later round.
    PublishedLate,
    /// It is acknowledged and published; what was to be cleared up stays.
    Unnoticed,
}
use Progress::{PublishedLate, Unanswered, Unnoticed};

const TABLE: &[(Step, Left, Progress)] = &[
    (Step::InsertKeys, Left::Nothing, Unanswered(false)),
    (Step::InsertKeys, Left::All, Unanswered(false)),
    (Step::Append, Left::Nothing, Unanswered(false)),
    (Step::Append, Left::All, Unanswered(true)),
    (Step::Lease, Left::Nothing, PublishedLate),
    (Step::Lease, Left::All, PublishedLate),
    (Step::Put, Left::Nothing, PublishedLate),
    (Step::Put, Left::Part, PublishedLate),
    (Step::Put, Left::All, PublishedLate),
    (Step::Apply, Left::Nothing, PublishedLate),
    (Step::Apply, Left::All, PublishedLate),
    (Step::Swap, Left::Nothing, PublishedLate),
    (Step::Swap, Left::All, PublishedLate),
    (Step::Replace, Left::Nothing, PublishedLate),
    (Step::Replace, Left::All, PublishedLate),
    (Step::Discard, Left::Nothing, Unnoticed),
    (Step::Discard, Left::All, Unnoticed),
    (Step::Delete, Left::Nothing, Unnoticed),
    (Step::Delete, Left::All, Unnoticed),
];

/// A ledger's stores, one server on them whose writes fail, and what it acknowledged.
struct Site {
    dir: TempDir,
    clock: Arc<TestClock>,
    journal: SharedPlace,
    faults: Faults,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Where `verify` looks for a log.
        drop(DataDir::create(dir.path()).unwrap());
        Self {
            journal: SharedPlace::new(&dir.path().join("journal")).unwrap(),
            clock: Arc::new(TestClock::new()),
            faults: Faults::default(),
            dir,
        }
    }

    fn stores(&self, faults: &Faults) -> Stores {
        let path = self.dir.path();
        let objects = DirObjects::open(path, &path.join("tmp")).unwrap();
        let meta = SqliteMeta::open(&path.join("ledger.sqlite")).unwrap();
        Stores {
            objects: Arc::new(Failing::new(Arc::new(objects), faults)),
            meta: Arc::new(Failing::new(Arc::new(meta), faults)),
            journal: Box::new(Failing::new(Box::new(self.journal.handle()), faults)),
        }
    }

    fn create(&self) -> Result<Ledger, LedgerError> {
        Ledger::create_shared(
            self.dir.path(),
            options(&self.clock),
            self.stores(&self.faults),
        )
    }

    /// A server whose stores work.
    fn second(&self) -> Ledger {
        let stores = self.stores(&Faults::default());
        Ledger::open_shared(self.dir.path(), options(&self.clock), stores).unwrap()
    }

    fn writer(&self) -> StreamWriter {
        let entropy = common::entropy();
        StreamWriter::open(
            RunId::generate(&*self.clock, &*entropy).into(),
            StreamName::parse("main").unwrap(),
            ProducerName::parse("trainer").unwrap(),
            SigningKey::from_bytes(&[7; 32]),
            self.clock.clone(),
            entropy,
        )
    }
}

fn submit(ledger: &Ledger, batch: &[Submission]) -> Result<Vec<Receipt>, AppendError> {
    let ticket = ledger.submit(batch, &Principal::local()).unwrap();
    ticket.wait()
}

/// Sends until it is acknowledged, as a client does.
fn append(ledger: &Ledger, batch: &[Submission]) -> Vec<Receipt> {
    until("an acknowledgement", || submit(ledger, batch).ok())
}

fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(done) = done() {
            return done;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn row(step: Step, left: Left, expected: Progress) {
    let case = format!("{step:?} {left:?}");
    let site = Site::new();
    let ledger = site.create().unwrap();
    let mut writer = site.writer();
    let started = RunStarted::new("shaky".to_owned(), writer.public_key());
    let mut acknowledged = Vec::new();
    let mut first = writer.write(Draft::new(started)).unwrap();
    first.extend((0..250).flat_map(|_| writer.write(metric(1.0)).unwrap()));
    acknowledged.extend(first.clone().into_iter().zip(append(&ledger, &first)));

    // A new person's sealed values, and so many records that an entry bundle is completed.
    let annotator = Pseudonym::generate(&*common::entropy());
    let mut batch = writer.write(preference(annotator)).unwrap();
    batch.extend((0..260).flat_map(|n| writer.write(metric(f64::from(n))).unwrap()));
    if matches!(step, Step::Lease | Step::Delete) {
        // The lease is only asked for again once it has run down, and there is only something to delete where a
        // partial tile was published.
        let reached = ledger.status().sequenced;
        assert!(ledger.wait_published(reached, Duration::from_secs(30)));
    }
    site.faults.next(step, left);
    let receipts = match expected {
        Unanswered(kept) => {
            let error = submit(&ledger, &batch).unwrap_err();
            assert_eq!(error.code.as_str(), "unavailable", "{case}");
            let receipts = append(&ledger, &batch);
            assert!(receipts.iter().all(|one| one.duplicate == kept), "{case}");
            receipts
        }
        PublishedLate | Unnoticed => submit(&ledger, &batch).unwrap(),
    };
    acknowledged.extend(batch.into_iter().zip(receipts));
    until(&case, || {
        if site.faults.pending() == 0 {
            return Some(());
        }
        if step == Step::Lease {
            let more = writer.write(metric(9.0)).unwrap();
            let receipts = append(&ledger, &more);
            acknowledged.extend(more.into_iter().zip(receipts));
        }
        None
    });
    let reached = ledger.status().sequenced;
    assert!(
        ledger.wait_published(reached, Duration::from_secs(30)),
        "{case}: {:?}",
        ledger.status()
    );
    let status = ledger.status();
    assert_eq!(status.failed, None, "{case}");
    assert_eq!(
        status.publish_failures > 0,
        expected == PublishedLate,
        "{case}"
    );
    check(&site, &ledger, &acknowledged);
    let second = site.second();
    check(&site, &second, &acknowledged);
    let used = site.faults.calls();
    // What is set when the ledger is made has a test of its own.
    let missing = used
        .iter()
        .find(|used| **used != Step::Setting && !TABLE.iter().any(|(step, ..)| step == *used));
    assert_eq!(missing, None, "a step without a row in the table");
}

/// All that was acknowledged is there once, at its index, and the log holds.
fn check(site: &Site, ledger: &Ledger, acknowledged: &[(Submission, Receipt)]) {
    served(site, ledger);
    let mut seen = std::collections::HashMap::new();
    for index in 0..ledger.checkpoint().unwrap().checkpoint.size.0 {
        let leaf = tlog::leaf_hash(&ledger.read(index).unwrap());
        assert_eq!(
            seen.insert(leaf, index),
            None,
            "record {index} is there twice"
        );
    }
    for (submission, receipt) in acknowledged {
        assert_eq!(seen.get(&common::leaf(submission)), Some(&receipt.index));
    }
    let opener = ledger.opener();
    let options = verify::Options {
        openings: Some(&opener),
        ..verify::Options::default()
    };
    let source = verify::Source::directory(site.dir.path()).unwrap();
    let report = verify::log(&source, &policy(ledger), &options).unwrap();
    assert_eq!(report.verdict(), verify::Verdict::Verified, "{report:#?}");
}

/// Waits until the latest checkpoint is the one that is served.
fn served(site: &Site, ledger: &Ledger) {
    until("the checkpoint that is served", || {
        let note = std::fs::read(site.dir.path().join("log/checkpoint")).ok()?;
        (*note == *ledger.checkpoint()?.note).then_some(())
    });
}

#[test]
fn a_step_that_fails_once_makes_the_progress_in_the_table() {
    for (step, left, expected) in TABLE {
        row(*step, *left, *expected);
    }
}

#[test]
fn a_checkpoint_whose_publisher_died_before_serving_it_is_served_by_another() {
    let site = Site::new();
    let first = site.create().unwrap();
    let second = site.second();
    // Swapped in, never served.
    site.faults.from_now_on(Step::Replace, Left::Nothing);
    let mut writer = site.writer();
    let started = RunStarted::new("shaky".to_owned(), writer.public_key());
    let batch = writer.write(Draft::new(started)).unwrap();
    let mut acknowledged = Vec::new();
    acknowledged.extend(batch.clone().into_iter().zip(append(&first, &batch)));
    until("a failure", || {
        (first.status().publish_failures > 0).then_some(())
    });
    drop(first);
    let reached = second.status().sequenced.max(1);
    assert!(second.wait_published(reached, Duration::from_secs(30)));
    check(&site, &second, &acknowledged);
}

/// A ledger that was half made is made by the next try, or is there.
#[test]
fn making_a_ledger_can_fail_at_each_setting_and_be_tried_again() {
    for calls in 0..2 {
        for left in [Left::Nothing, Left::All] {
            let site = Site::new();
            site.faults.after(Step::Setting, calls, left);
            assert!(site.create().is_err(), "setting {calls} {left:?}");
            assert_eq!(site.faults.pending(), 0);
            let made = calls == 1 && left == Left::All;
            let ledger = until("a ledger", || match site.create() {
                Ok(ledger) if !made => Some(ledger),
                Err(LedgerError::Exists { .. }) if made => Some(site.second()),
                // The lease of the one that failed runs out.
                Err(LedgerError::BeingCreated) => None,
                other => panic!("setting {calls} {left:?}: {other:?}"),
            });
            drop(ledger);
        }
    }
}
