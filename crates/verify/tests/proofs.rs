//! A tlog-proof of one record.

mod common;

use common::{has, two_runs};
use verify::{Check, Verdict};

#[test]
fn a_record_in_the_log_and_one_that_is_not() {
    let log = two_runs(1);
    for index in [0, 17, 255, 256, log.size() - 1] {
        let record = &log.entries()[index as usize];
        let proof = log.proof(index);
        let report = verify::proof("p", proof.as_bytes(), record, &log.policy());
        assert_eq!(report.verdict, Verdict::Verified, "{report}");
        assert!(
            report
                .to_string()
                .contains("only that this one is in the log"),
            "{report}"
        );

        let other = &log.entries()[(index as usize + 1) % log.entries().len()];
        let report = verify::proof("p", proof.as_bytes(), other, &log.policy());
        assert!(has(&report, Check::Inclusion), "{report}");
        let report = verify::proof("p", proof.as_bytes(), record, &two_runs(2).policy());
        assert_eq!(report.verdict, Verdict::Failed, "{report}");
        let report = verify::proof("p", b"rubbish", record, &log.policy());
        assert_eq!(report.verdict, Verdict::Failed, "{report}");
    }
}

#[test]
fn an_entry_that_is_no_record() {
    let mut log = two_runs(1);
    let index = log.push(b"{\"not\":\"a record\"}".to_vec());
    let entry = &log.entries()[index as usize];
    let report = verify::proof("p", log.proof(index).as_bytes(), entry, &log.policy());
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(
        has(&report, Check::Record) && !has(&report, Check::Inclusion),
        "{report}"
    );
}
