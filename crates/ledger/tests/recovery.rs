//! Crashes between two steps, and what the next start makes of them: what was acknowledged is there
//! once, and no checkpoint is contradicted (I1, I3). What happens when a step fails is in `faults.rs`.

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

mod common;

use common::shaky::Shaky;
use common::{Fixture, metric, options};
use ledger::Ledger;
use testkit::failing::{Left, Step};

#[test]
fn a_checkpoint_published_before_a_crash_is_what_is_served_after_it() {
    let mut shaky = Shaky::new();
    let path = shaky.fixture.dir.path().join("log/checkpoint");
    let before = std::fs::read(&path).unwrap();
    // Swapped in, never served.
    shaky.faults.from_now_on(Step::Replace, Left::Nothing);
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
        shaky.faults.next(Step::Append, Left::Nothing);
        let batch = shaky.owner.write(metric(3.0)).unwrap();
        let error = shaky.fixture.submit(batch.clone()).unwrap_err();
        assert_eq!(error.code.as_str(), "unavailable");
        assert!(error.reason.contains("no space left"), "{error}");
        // A stream of a new key, whose enrolment is lost with the first try and made with the next.
        shaky.faults.next(Step::Append, Left::Nothing);
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
