//! What the server's own stream says of the log as a whole, where somebody who has the log's keys
//! says it falsely.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Good, check, two_runs};
use record::kinds::{KeyPurpose, KeyRotated, LedgerClosed, LedgerContinued};
use record::{Draft, ProducerName, PublicKey, RecordHash, Scope, SigningKey};
use testkit::log::{LogBuilder, metric};
use verify::{Check, Options, ProducerKey, Report, Verdict};

fn report_with(log: &LogBuilder, options: &Options<'_>) -> Report {
    let dir = tempfile::tempdir().unwrap();
    log.write_to(dir.path()).unwrap();
    check(dir.path(), &log.policy(), options)
}

fn report_of(log: &LogBuilder) -> Report {
    report_with(log, &Options::default())
}

fn signing(key: u8) -> SigningKey {
    SigningKey::from_bytes(&[key; 32])
}

/// I22.
#[test]
fn nothing_follows_the_end() {
    let mut log = two_runs(1);
    let mut owner = log.start_run("open", 7);
    drop(Good::new(&log));
    let closed = log.write_own(Draft::new(LedgerClosed::new()));
    let report = report_of(&log);
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    assert_eq!(report.closed.unwrap().index, closed);

    // A run goes on, though no record of this kind is read for its chain.
    let index = log.write(&mut owner, metric(1));
    let report = report_of(&log);
    assert_eq!(report.failures_total, 1, "{report}");
    let failure = &report.failures[0];
    assert_eq!((failure.check, failure.index), (Check::Closed, Some(index)));
    assert!(report.to_string().contains("closed the ledger"), "{report}");
}

#[test]
fn the_server_does_not_go_on_either() {
    let mut log = two_runs(1);
    log.write_own(Draft::new(LedgerClosed::new()));
    let continued = LedgerContinued::new("example.com/old".into(), RecordHash([1; 32]), 7);
    let late = log.write_own(Draft::new(continued));
    let report = report_of(&log);
    let found: Vec<_> = report.failures.iter().map(|f| (f.check, f.index)).collect();
    assert!(found.contains(&(Check::Closed, Some(late))), "{report}");
}

#[test]
fn an_end_that_somebody_else_proclaims_is_none() {
    let mut log = two_runs(1);
    let mut forger = log.stream(Scope::Ledger, "forger", "somebody", 9);
    let index = log.write(&mut forger, Draft::new(LedgerClosed::new()));
    let report = report_of(&log);
    assert_eq!(report.failures_total, 1, "{report}");
    let failure = &report.failures[0];
    assert_eq!((failure.check, failure.index), (Check::Chain, Some(index)));
    assert_eq!(report.closed, None);
}

/// I21: who has the log's keys, but not the server's stream's, cannot take that over.
#[test]
fn the_servers_stream_is_not_taken_over() {
    let mut log = two_runs(1);
    let new = PublicKey::from(&signing(0x33));
    // The stream's key is [0xfe; 32].
    let mut forged = KeyRotated::signed(KeyPurpose::Operator, None, &signing(0xfe), new);
    forged.signature =
        KeyRotated::signed(KeyPurpose::Operator, None, &signing(0x34), new).signature;
    let mut writer = log.own_succeeded_by(signing(0x33));
    let index = log.write(&mut writer, Draft::new(forged));
    let report = report_of(&log);
    assert_eq!(report.verdict, Verdict::Failed, "{report}");
    let failure = &report.failures[0];
    // The record itself; its writer signs behind it.
    assert_eq!(
        (failure.check, failure.index),
        (Check::Signature, Some(index - 1)),
        "{report}"
    );
}

/// A pinned key hands over only by its own signature.
#[test]
fn a_pinned_producer_is_followed_if_its_old_key_says_so() {
    for (honest, verdict) in [(true, Verdict::Verified), (false, Verdict::Failed)] {
        let mut log = two_runs(1);
        let mut first = log.stream(Scope::Ledger, "first", "pinned", 21);
        log.write(&mut first, metric(1));
        log.sign(&mut first);
        let (name, new) = (ProducerName::parse("pinned"), PublicKey::from(&signing(22)));
        let mut body = KeyRotated::signed(KeyPurpose::Producer, name, &signing(21), new);
        if !honest {
            body.signature = None;
        }
        log.write_own(Draft::new(body));
        let mut second = log.stream(Scope::Ledger, "second", "pinned", 22);
        log.write(&mut second, metric(2));
        log.sign(&mut second);
        let options = Options {
            producer_keys: vec![ProducerKey {
                producer: "pinned".into(),
                key: PublicKey::from(&signing(21)).0,
            }],
            ..Options::default()
        };
        let report = report_with(&log, &options);
        assert_eq!(report.verdict, verdict, "{report}");
        let checks: Vec<_> = report.failures.iter().map(|f| f.check).collect();
        assert_eq!(checks.contains(&Check::ProducerKey), !honest, "{report}");
    }
}
