//! Who opens a stream and in what: enrolments, streams that go on from others, and the kinds that
//! make up streams and runs in versions that nobody knows yet.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Good, bundle, check, indices, two_runs};
use record::kinds::ProducerEnrolled;
use record::{Draft, ProducerName, Scope, StreamWriter};
use testkit::log::{LogBuilder, metric};
use verify::{Check, Options, Report, Verdict};

fn report_of(log: &LogBuilder) -> Report {
    let dir = tempfile::tempdir().unwrap();
    log.write_to(dir.path()).unwrap();
    check(dir.path(), &log.policy(), &Options::default())
}

/// The one failure there is: what was checked, and where.
fn one_failure(log: &LogBuilder) -> (Check, Option<u64>) {
    let report = report_of(log);
    assert_eq!(report.verdict, Verdict::Failed, "{report}");
    assert_eq!(report.failures_total, 1, "{report}");
    (report.failures[0].check, report.failures[0].index)
}

fn enrolled(stream: &StreamWriter, producer: &str) -> Draft {
    let name = ProducerName::parse(producer).unwrap();
    let by = "token:admin".to_owned();
    Draft::new(ProducerEnrolled::new(by, stream.public_key(), name))
}

#[test]
fn an_enrolment_that_the_server_did_not_write() {
    let mut log = two_runs(1);
    drop(Good::new(&log));
    let mut forger = log.stream(Scope::Ledger, "forger", "somebody", 9);
    let friend = log.stream(Scope::Ledger, "friend", "trainer", 10);
    let index = log.write(&mut forger, enrolled(&friend, "trainer"));
    assert_eq!(one_failure(&log), (Check::Chain, Some(index)));

    // In the run itself it is no better.
    let mut log = LogBuilder::new(1);
    let mut owner = log.start_run("run", 1);
    drop(Good::new(&log));
    let index = log.write(&mut owner, enrolled(&friend, "trainer"));
    assert_eq!(one_failure(&log), (Check::Chain, Some(index)));
    let run = owner.scope().to_string();
    let report = verify::bundle::check::read(
        "bundle",
        bundle(&log, &run, &indices(&log, &run)).as_slice(),
        &log.policy(),
        &Options::default(),
    );
    let report = report.unwrap();
    assert_eq!(report.failures[0].index, Some(index), "{report}");
}

#[test]
fn a_stream_whose_producer_nobody_let_in() {
    let mut log = two_runs(1);
    let mut known = log.stream(Scope::Ledger, "known", "somebody", 9);
    log.write(&mut known, metric(0));
    drop(Good::new(&log));

    // Another key under the name, and another name for the key.
    for (producer, key) in [("somebody", 10), ("somebody-else", 9)] {
        let mut log = LogBuilder::new(1);
        let mut known = log.stream(Scope::Ledger, "known", "somebody", 9);
        log.write(&mut known, metric(0));
        let mut stranger = log.stream(Scope::Ledger, "stranger", producer, key);
        let mut again = log.stream(Scope::Ledger, "again", producer, key);
        let index = log.size();
        for stream in [&mut stranger, &mut again] {
            for submission in stream.write(metric(0)).unwrap() {
                log.push(submission.record);
            }
        }
        assert_eq!(one_failure(&log), (Check::Enrolment, Some(index)));
        // It comes too late.
        log.write_own(enrolled(&stranger, producer));
        assert_eq!(one_failure(&log), (Check::Enrolment, Some(index)));
    }
}

#[test]
fn an_enrolment_in_a_later_version_blames_nobody() {
    let mut log = LogBuilder::new(1);
    let mut server = log.stream(Scope::Ledger, "server", "server", 1);
    let mut owner = log.stream(Scope::Ledger, "own", "trainer", 2);
    for submission in server.write(enrolled(&owner, "trainer")).unwrap() {
        log.push(as_version(&submission.record, "producer.enrolled", 2));
    }
    for submission in owner.write(metric(0)).unwrap() {
        log.push(submission.record);
    }
    let report = report_of(&log);
    assert_eq!(report.verdict, Verdict::Incomplete, "{report}");
}

#[test]
fn a_stream_that_goes_on_after_another_took_it_up_is_named() {
    let mut log = two_runs(1);
    let mut gone = log.stream(Scope::Ledger, "gone", "somebody", 8);
    log.write(&mut gone, metric(0));
    let (last, head) = (gone.next_seq() - 1, gone.head().unwrap());
    let next = log.stream(Scope::Ledger, "next", "somebody", 9);
    let mut next = next.continues(gone.stream(), last, head);
    log.write(&mut next, metric(1));
    let good = Good::new(&log);
    let report = good.check(&Options::default());
    assert_eq!(report.resumed_streams.total, 0, "{report}");

    log.write(&mut gone, metric(2));
    log.write(&mut gone, metric(3));
    let report = Good::new(&log).check(&Options::default());
    assert_eq!(report.resumed_streams.names, ["ledger/gone"], "{report}");
    let text = report.to_string();
    assert!(text.contains("another continued it: ledger/gone"), "{text}");
}

/// The record as a later version of its kind, if it is of that kind.
fn as_version(record: &[u8], kind: &str, version: u16) -> Vec<u8> {
    let text = String::from_utf8(record.to_vec()).unwrap();
    if !text.contains(&format!("\"kind\":\"{kind}\"")) {
        return text.into_bytes();
    }
    let later = text.replace("\"v\":1}", &format!("\"v\":{version}}}"));
    assert_ne!(text, later);
    later.into_bytes()
}

/// A log of one sealed run in which one record is of a version that nobody knows, its chains good.
fn with_later(kind: &str) -> (LogBuilder, String) {
    let mut log = LogBuilder::new(1);
    let run = log.sealed_run("run", 1, 2).to_string();
    let mut later = LogBuilder::new(1);
    let mut changed: Vec<(String, String)> = Vec::new();
    for entry in log.entries() {
        let mut text = String::from_utf8(entry.clone()).unwrap();
        // Whoever names a changed record names it by the hash it has now.
        for (old, new) in &changed {
            text = text.replace(old, new);
        }
        let new = if text.contains(&run) {
            as_version(text.as_bytes(), kind, 2)
        } else {
            text.into_bytes()
        };
        let hash = |bytes: &[u8]| tlog::leaf_hash(bytes).to_string();
        changed.push((hash(entry), hash(&new)));
        later.push(new);
    }
    (later, run)
}

#[test]
fn a_stream_or_run_that_begins_in_an_unknown_version_is_refused() {
    for (kind, expected) in [("stream.opened", Check::Chain), ("run.started", Check::Run)] {
        let (log, run) = with_later(kind);
        let bytes = bundle(&log, &run, &indices_of(&log, &run));
        let of_bundle =
            verify::bundle::check::read("bundle", &bytes[..], &log.policy(), &Options::default());
        for report in [report_of(&log), of_bundle.unwrap()] {
            assert_eq!(report.verdict, Verdict::Failed, "{kind}: {report}");
            let failures = report.failures.iter();
            assert!(
                failures
                    .into_iter()
                    .any(|failure| failure.check == expected),
                "{kind}: {report}"
            );
            assert!(!report.counts.unknown.is_empty(), "{kind}: {report}");
        }
    }
}

#[test]
fn a_seal_or_signature_in_an_unknown_version_seals_and_signs_nothing() {
    let (known, _) = with_later("nothing.changed");
    drop(Good::new(&known));
    let (log, run) = with_later("run.sealed");
    let bytes = bundle(&log, &run, &indices_of(&log, &run));
    let of_bundle =
        verify::bundle::check::read("bundle", &bytes[..], &log.policy(), &Options::default());
    for report in [report_of(&log), of_bundle.unwrap()] {
        assert_eq!(report.verdict, Verdict::Incomplete, "{report}");
        assert_eq!(report.counts.sealed_runs, 0, "{report}");
        assert_eq!(
            report.unsealed_runs.names,
            std::slice::from_ref(&run),
            "{report}"
        );
    }

    let mut log = LogBuilder::new(1);
    let mut owner = log.start_run("run", 1);
    let signed = owner.sign().unwrap();
    log.push(as_version(&signed.record, "stream.signed", 2));
    let report = report_of(&log);
    assert_eq!(report.verdict, Verdict::Incomplete, "{report}");
    assert_eq!(report.counts.unsigned_records, 3, "{report}");
}

/// As [`indices`], where not every record can be parsed.
fn indices_of(log: &LogBuilder, run: &str) -> Vec<u64> {
    let needle = format!("\"run\":\"{run}\"");
    let entries = log
        .entries()
        .iter()
        .map(|entry| String::from_utf8_lossy(entry));
    (0..)
        .zip(entries)
        .filter_map(|(index, text)| text.contains(&needle).then_some(index))
        .collect()
}
