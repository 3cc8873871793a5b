//! Every write of the sequencer and the publisher fails once *not done* and once *done but reported failed*, with the
//! progress expected of each beside it. Afterwards the log is checked whole: each acknowledged record is there once,
//! its openings too, and no checkpoint is contradicted (I1, I2, I3, I13).

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

mod common;

use std::time::{Duration, Instant};

use common::metric;
use common::shaky::Shaky;
use ledger::{Ledger, Principal, Role, SubmitError};
use testkit::failing::{Left, Step};

/// What becomes of a request during which a step fails, and of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It is refused and nothing of it recorded; sent again it is new, and the ledger goes on.
    Refused,
    /// It is acknowledged. A round of publishing fails, and the next one makes up for it.
    PublishedLate,
    /// It is acknowledged and published as if nothing had happened; what was to be cleared up stays.
    Unnoticed,
    /// It is not acknowledged, and the ledger stops. After a start it is there whole (`true`) or not at all.
    Stops(bool),
    /// It is acknowledged, and the ledger stops. After a start it is published.
    StopsPublishing,
}
use Progress::{PublishedLate, Refused, Stops, StopsPublishing, Unnoticed};

/// In the order of the steps: keys before what is encrypted under them, the journal, then a round of publishing.
const TABLE: &[(Step, Left, Progress)] = &[
    (Step::InsertKeys, Left::Nothing, Refused),
    (Step::InsertKeys, Left::All, Refused),
    (Step::InsertKeys, Left::Unsynced, Stops(false)),
    // A full disk, and it is known that nothing was kept.
    (Step::Append, Left::Nothing, Refused),
    (Step::Append, Left::Unsynced, Stops(false)),
    (Step::Append, Left::All, Stops(true)),
    (Step::Put, Left::Nothing, PublishedLate),
    (Step::Put, Left::Part, PublishedLate),
    (Step::Put, Left::All, PublishedLate),
    (Step::Put, Left::Unsynced, StopsPublishing),
    (Step::Apply, Left::Nothing, PublishedLate),
    (Step::Apply, Left::All, PublishedLate),
    (Step::Apply, Left::Unsynced, StopsPublishing),
    (Step::Swap, Left::Nothing, PublishedLate),
    (Step::Swap, Left::All, PublishedLate),
    (Step::Swap, Left::Unsynced, StopsPublishing),
    (Step::Replace, Left::Nothing, PublishedLate),
    (Step::Replace, Left::All, PublishedLate),
    (Step::Replace, Left::Unsynced, StopsPublishing),
    (Step::Discard, Left::Nothing, Unnoticed),
    (Step::Discard, Left::All, Unnoticed),
    (Step::Delete, Left::Nothing, Unnoticed),
    (Step::Delete, Left::All, Unnoticed),
];

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Lets one step fail, and holds what happens against what is expected.
fn row(step: Step, left: Left, expected: Progress) {
    let case = format!("{step:?} {left:?}");
    let mut shaky = Shaky::new();
    let before = shaky.fixture.status().publish_failures;
    shaky.faults.next(step, left);
    let batch = shaky.provoking();
    let answer = shaky.fixture.submit(batch.clone());
    match expected {
        Refused => {
            assert_eq!(answer.unwrap_err().code.as_str(), "unavailable", "{case}");
            assert_eq!(shaky.faults.pending(), 0, "{case}");
            assert_eq!(shaky.fixture.status().failed, None, "{case}");
            let receipts = shaky.acknowledge(batch);
            assert!(receipts.iter().all(|receipt| !receipt.duplicate), "{case}");
        }
        PublishedLate | Unnoticed => {
            shaky
                .acknowledged
                .extend(batch.into_iter().zip(answer.unwrap()));
            until(&case, || shaky.faults.pending() == 0);
            shaky.fixture.published();
            until(&case, || shaky.fixture.status().publish_error.is_none());
            let failures = shaky.fixture.status().publish_failures - before;
            assert_eq!(failures > 0, expected == PublishedLate, "{case}");
            assert_eq!(shaky.fixture.status().failed, None, "{case}");
        }
        Stops(kept) => {
            assert!(answer.is_err(), "{case}");
            stopped(&mut shaky, &case);
            let receipts = shaky.acknowledge(batch);
            assert!(
                receipts.iter().all(|receipt| receipt.duplicate == kept),
                "{case}"
            );
        }
        StopsPublishing => {
            shaky
                .acknowledged
                .extend(batch.into_iter().zip(answer.unwrap()));
            stopped(&mut shaky, &case);
        }
    }
    shaky.check();
    shaky.fixture.ledger.close().unwrap();
    let used = shaky.faults.calls();
    let missing = used
        .iter()
        .find(|used| !TABLE.iter().any(|(step, ..)| step == *used));
    assert_eq!(missing, None, "a step without a row in the table");
}

/// The ledger has stopped by itself, says so to everybody, and is started again.
fn stopped(shaky: &mut Shaky, case: &str) {
    until(case, || shaky.fixture.status().failed.is_some());
    let scope = shaky.owner.scope();
    let more = shaky
        .fixture
        .writer(scope, "late", 9)
        .write(metric(3.0))
        .unwrap();
    let refused = shaky
        .fixture
        .ledger
        .submit(&more, &Principal::local())
        .unwrap_err();
    assert!(
        matches!(refused, SubmitError::Failed { .. }),
        "{case}: {refused}"
    );
    assert!(
        refused.to_string().contains("restart the server"),
        "{case}: {refused}"
    );
    assert!(shaky.fixture.ledger.close().is_err(), "{case}");
    shaky.faults.heal();
    shaky.crash();
}

#[test]
fn a_step_that_fails_once_makes_the_progress_in_the_table() {
    for (step, left, expected) in TABLE {
        row(*step, *left, *expected);
    }
}

#[test]
fn a_step_that_fails_for_good_is_made_up_for_at_the_next_start() {
    for (step, left, _) in TABLE
        .iter()
        .filter(|(.., expected)| *expected == PublishedLate)
    {
        let mut shaky = Shaky::new();
        shaky.faults.from_now_on(*step, *left);
        shaky.append(10);
        shaky.wait_for_failure();
        // Records are still taken, and acknowledged.
        shaky.append(10);
        if *left == Left::Nothing {
            let error = shaky.fixture.ledger.close().unwrap_err();
            assert!(error.to_string().contains("injected failure"), "{error}");
        }
        shaky.crash();
        shaky.check();
    }
}

#[test]
fn a_token_is_there_or_not_and_the_ledger_goes_on() {
    let mut shaky = Shaky::new();
    for (left, there) in [(Left::Nothing, 0), (Left::All, 1)] {
        let name = format!("{left:?}");
        shaky.faults.next(Step::Token, left);
        let ledger: &Ledger = &shaky.fixture.ledger;
        assert!(ledger.create_token(&name, Role::Reader, None).is_err());
        let found = |ledger: &Ledger| -> Vec<_> {
            let all = ledger.tokens().unwrap().into_iter();
            all.filter(|token| token.name == name).collect()
        };
        assert_eq!(found(ledger).len(), there, "{name}");
        // Who was told that it failed makes another, and revokes what is too much.
        ledger.create_token(&name, Role::Reader, None).unwrap();
        let token = found(ledger).remove(0);
        shaky.faults.next(Step::Token, left);
        assert!(ledger.revoke_token(&token.id).is_err());
        assert!(ledger.revoke_token(&token.id).unwrap());
        assert!(found(ledger)[0].revoked.is_some(), "{name}");
    }
    shaky.check();
    shaky.faults.next(Step::Token, Left::Unsynced);
    assert!(
        shaky
            .fixture
            .ledger
            .create_token("lost", Role::Reader, None)
            .is_err()
    );
    stopped(&mut shaky, "a token");
    shaky.check();
}
