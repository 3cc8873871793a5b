//! `--since`: a log must have grown from the checkpoint somebody kept. This finds what a re-signing
//! operator does, which the keys alone cannot.

mod common;

use common::{Good, check, has, two_runs};
use testkit::log::LogBuilder;
use verify::{Check, Options, Report, Verdict};

fn since(good: &Good, note: Vec<u8>) -> Report {
    good.check(&Options {
        since: Some(note),
        ..Options::default()
    })
}

#[test]
fn a_log_that_has_grown_from_it_passes_at_every_size() {
    let log = two_runs(1);
    let good = Good::new(&log);
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 513, 700, log.size()] {
        let report = since(&good, log.checkpoint(size));
        assert_eq!(report.verdict, Verdict::Verified, "{size}: {report}");
        assert_eq!(report.trust.since, Some(size));
    }
}

#[test]
fn a_root_that_was_another_is_found_at_every_size() {
    let log = two_runs(1);
    let good = Good::new(&log);
    for size in [1, 255, 256, 300, 512, log.size()] {
        let report = since(&good, log.sign_checkpoint(size, log.root(size - 1)));
        assert_eq!(report.verdict, Verdict::Failed, "{size}");
        assert!(has(&report, Check::Since), "{report}");
        assert_eq!(report.trust.since, None);
    }
}

#[test]
fn an_older_checkpoint_than_the_one_remembered() {
    let log = two_runs(1);
    let good = Good::new(&log);
    // The operator cuts the log and signs what is left, leaving no file over.
    let mut cut = LogBuilder::new(1);
    for entry in &log.entries()[..500] {
        cut.push(entry.clone());
    }
    let dir = tempfile::tempdir().unwrap();
    cut.write_to(dir.path()).unwrap();
    let alone = check(dir.path(), &good.policy, &Options::default());
    assert_eq!(
        alone.verdict,
        Verdict::Verified,
        "by the keys alone it is a good log: {alone}"
    );
    assert!(
        alone.to_string().contains("that nothing was rewritten"),
        "and says so: {alone}"
    );
    let options = Options {
        since: Some(log.checkpoint(log.size())),
        ..Options::default()
    };
    let report = check(dir.path(), &good.policy, &options);
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(has(&report, Check::Since), "{report}");
}

#[test]
fn history_rewritten_and_signed_again() {
    let log = two_runs(1);
    let mut forged = LogBuilder::new(1);
    forged.sealed_run("first", 1, 99);
    forged.sealed_run("second", 2, 251);
    let good = Good::new(&forged);
    let report = since(&good, log.checkpoint(300));
    assert_eq!(report.verdict, Verdict::Failed, "{report}");
    assert!(has(&report, Check::Since), "{report}");
}

#[test]
fn a_note_that_is_not_this_logs_is_no_earlier_checkpoint() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let other = two_runs(2);
    for note in [other.checkpoint(10), b"rubbish".to_vec(), Vec::new()] {
        let report = since(&good, note);
        assert_eq!(report.verdict, Verdict::Failed);
        assert!(has(&report, Check::Since), "{report}");
    }
}
