//! Changing keys while the stores fail: whatever step of it does, another try finishes what was begun,
//! once, and nobody is locked out of the log.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Fixture, options, preference, verify_dir};
use ledger::{
    ApprovalState, Hook, HookTarget, Ledger, LedgerError, Location, Rotation, Stores, Wanted,
};
use record::kinds::KeyPurpose;
use record::{ProducerName, Pseudonym};
use std::sync::Arc;
use std::time::Duration;

use testkit::failing::{Failing, Faults, Left, Step};
use tlog::Policy;

const STEPS: [Step; 7] = [
    Step::Append,
    Step::Put,
    Step::Apply,
    Step::Swap,
    Step::Replace,
    Step::InsertKeys,
    Step::Setting,
];
const SECRET: &[u8] = b"known to both sides";
/// Calls of one step that are let fail, one after the other.
const CALLS: usize = 3;

fn around(faults: &Faults) -> impl Fn(Stores) -> Stores {
    let faults = faults.clone();
    move |stores| Stores {
        objects: Arc::new(Failing::new(stores.objects, &faults)),
        meta: Arc::new(Failing::new(stores.meta, &faults)),
        journal: Box::new(Failing::new(stores.journal, &faults)),
    }
}

fn rotation(purpose: KeyPurpose) -> Rotation {
    Rotation {
        purpose,
        reason: Some("scheduled".to_owned()),
        producer: ProducerName::parse("rlhf-audit"),
    }
}

/// I3, I4, I21: each change of a key, with each of its writes failing, not done and done but reported failed.
fn every_write_fails(purpose: KeyPurpose) {
    let fixture = Fixture::new();
    let mut run = fixture.start_run("run", 1);
    let annotator = Pseudonym::generate(&*common::entropy());
    fixture.append(run.write(preference(annotator)).unwrap());
    fixture.published();
    let hook = Hook {
        name: "studio".to_owned(),
        platform: "label-studio".to_owned(),
        target: HookTarget::Run(run.scope().run().unwrap()),
        created: record::Timestamp(0),
    };
    assert!(fixture.ledger.add_hook(&hook, SECRET).unwrap());
    let first = Policy::parse(fixture.ledger.policy().as_bytes()).unwrap();
    fixture.ledger.close().unwrap();
    let Fixture { dir, clock, ledger } = fixture;
    drop(ledger);
    let location = Location::embedded(dir.path());
    let rotation = rotation(purpose);
    let (mut changes, mut struck) = (0, 0);
    for step in STEPS {
        for left in [Left::Nothing, Left::All] {
            for call in 0..CALLS {
                let faults = Faults::default();
                faults.after(step, call, left);
                let wrap = around(&faults);
                let outcome = Ledger::rotate_with(&location, &options(&clock), &rotation, &wrap);
                let hit = faults.pending() == 0;
                faults.heal();
                struck += usize::from(hit);
                let at = format!("{purpose}: {step:?} {call}, {left:?}");
                if let Err(error) = &outcome {
                    assert!(hit, "{at}: {error}");
                    Ledger::rotate(&location, &options(&clock), &rotation)
                        .unwrap_or_else(|again| panic!("{at}: {error}, then {again}"));
                }
                changes += 1;
                let ledger = Ledger::open(dir.path(), options(&clock)).unwrap();
                let size = ledger.status().sequenced;
                assert!(ledger.wait_published(size, Duration::from_secs(20)), "{at}");
                let report = verify_dir(&ledger);
                assert!(report.counts.opened >= 4, "{at}: {report}");
                assert_eq!(report.key_changes.len(), changes, "{at}");
                let (kept, secret) = ledger.hook("studio").unwrap().unwrap();
                assert_eq!((&kept, &secret[..]), (&hook, SECRET), "{at}");
                let source = verify::Source::directory(dir.path()).unwrap();
                let report = verify::log(&source, &first, &verify::Options::default()).unwrap();
                assert_eq!(
                    report.verdict(),
                    verify::Verdict::Verified,
                    "{at}: {report}"
                );
                ledger.close().unwrap();
                if !hit {
                    break;
                }
            }
        }
    }
    assert!(struck >= 8, "{purpose}: {struck} faults struck");
}

#[test]
fn the_logs_keys() {
    every_write_fails(KeyPurpose::Log);
}

#[test]
fn the_operators_key() {
    every_write_fails(KeyPurpose::Operator);
}

#[test]
fn the_deployment_key() {
    every_write_fails(KeyPurpose::Deployment);
}

#[test]
fn the_producers_key() {
    every_write_fails(KeyPurpose::Producer);
}

/// I12: a ledger that is open keeps its keys, and nothing waits afterwards.
#[test]
fn an_open_ledger_keeps_its_keys() {
    let fixture = Fixture::new();
    let location = Location::embedded(fixture.dir.path());
    for purpose in [
        KeyPurpose::Log,
        KeyPurpose::Operator,
        KeyPurpose::Deployment,
    ] {
        let refused = Ledger::rotate(&location, &options(&fixture.clock), &rotation(purpose));
        assert!(matches!(refused, Err(LedgerError::Store(_))), "{refused:?}");
    }
    fixture.ledger.close().unwrap();
    let Fixture { dir, clock, ledger } = fixture;
    drop(ledger);
    Ledger::open(dir.path(), options(&clock)).unwrap();
}

/// Where a second admin has to approve, no key is changed without; and once for each approval.
#[test]
fn a_change_takes_two_where_that_is_required() {
    let fixture = Fixture::new();
    let ledger = &fixture.ledger;
    ledger.require_approvals(true).unwrap();
    let wanted = |purpose| Wanted::KeyRotation { purpose };
    let asked = ledger.ask_approval(wanted(KeyPurpose::Log), "t-a").unwrap();
    fixture.clock.jump(1);
    let late = ledger.ask_approval(wanted(KeyPurpose::Log), "t-a").unwrap();
    let own = ledger.decide_approval(&asked.id, "t-a", true);
    assert!(matches!(own, Err(LedgerError::Approval { .. })), "{own:?}");
    ledger.close().unwrap();
    let Fixture { dir, clock, ledger } = fixture;
    drop(ledger);
    let location = Location::embedded(dir.path());
    let rotate = |purpose| Ledger::rotate(&location, &options(&clock), &rotation(purpose));
    let refused = rotate(KeyPurpose::Log).unwrap_err().to_string();
    assert!(
        refused.contains("approval request --rotate log"),
        "{refused}"
    );

    let ledger = Ledger::open(dir.path(), options(&clock)).unwrap();
    let approved = ledger.decide_approval(&asked.id, "t-b", true).unwrap();
    assert_eq!(approved.state, ApprovalState::Approved);
    ledger.close().unwrap();
    drop(ledger);
    assert!(
        rotate(KeyPurpose::Operator).is_err(),
        "another key's approval"
    );
    rotate(KeyPurpose::Log).unwrap();
    assert!(rotate(KeyPurpose::Log).is_err(), "used");

    let ledger = Ledger::open(dir.path(), options(&clock)).unwrap();
    clock.jump(8 * 24 * 3_600);
    let states: Vec<_> = ledger
        .approvals()
        .unwrap()
        .into_iter()
        .map(|it| it.state)
        .collect();
    assert_eq!(states, [ApprovalState::Used, ApprovalState::Expired]);
    assert!(
        ledger.decide_approval(&late.id, "t-b", true).is_err(),
        "too late"
    );
    ledger.require_approvals(false).unwrap();
    ledger.close().unwrap();
    drop(ledger);
    rotate(KeyPurpose::Log).unwrap();
}
