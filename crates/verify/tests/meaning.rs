//! What records mean: chains, signatures, run rules, seals, kinds, documents, sealed values. The logs
//! here are signed by their operator: it is the records that are wrong.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::HashMap;
use std::sync::Mutex;

use common::{Good, check, has, two_runs};
use record::kinds::{DocumentFile, DocumentIssued};
use record::{Draft, Scope, Sha256, Submission};
use testkit::log::{LogBuilder, end, metric, preference};
use tlog::Hash;
use verify::{
    Check, Document, OpenSealed, Options, ProducerKey, Report, SealedField, SealedState, Verdict,
};

fn report_of(log: &LogBuilder, options: &Options<'_>) -> Report {
    let dir = tempfile::tempdir().unwrap();
    log.write_to(dir.path()).unwrap();
    check(dir.path(), &log.policy(), options)
}

fn failed(log: &LogBuilder) -> Report {
    let report = report_of(log, &Options::default());
    assert_eq!(report.verdict, Verdict::Failed, "{report}");
    let hashes = report_of(
        log,
        &Options {
            hashes_only: true,
            ..Options::default()
        },
    );
    assert_eq!(
        hashes.verdict,
        Verdict::Verified,
        "its hashes are right: {hashes}"
    );
    report
}

#[test]
fn a_run_without_seal_is_named_and_no_failure() {
    let mut log = two_runs(1);
    let mut owner = log.start_run("third", 3);
    log.write(&mut owner, metric(0));
    let good = Good::new(&log);
    let report = good.check(&Options::default());
    assert_eq!(report.unsealed_runs.total, 1);
    assert_eq!(report.unsealed_runs.names, [owner.scope().to_string()]);
    assert_eq!(report.counts.unsigned_records, 3);
    assert!(
        report.to_string().contains("completeness not shown"),
        "{report}"
    );
}

#[test]
fn a_seal_that_omits_a_stream() {
    let mut log = LogBuilder::new(1);
    let mut owner = log.start_run("run", 1);
    let mut rank0 = log.stream(owner.scope(), "rank0", "annotators", 2);
    let mut rank1 = log.stream(owner.scope(), "rank1", "annotators", 3);
    log.write(&mut rank0, preference(0));
    log.write(&mut rank1, preference(1));
    let index = log.seal(&mut owner, &[&rank0]);
    let report = failed(&log);
    assert_eq!(
        report.unlisted_streams.names,
        [format!("{}/rank1", owner.scope())]
    );
    assert_eq!(report.failures_total, 1, "{report}");
    assert_eq!(
        (report.failures[0].check, report.failures[0].index),
        (Check::Seal, Some(index))
    );
    assert!(
        report.to_string().contains("stream that no seal lists"),
        "{report}"
    );
}

#[test]
fn a_seal_that_lists_what_is_not_there() {
    let mut log = LogBuilder::new(1);
    let mut owner = log.start_run("run", 1);
    let mut rank0 = log.stream(owner.scope(), "rank0", "annotators", 2);
    // Written, and never given to the log; one more of it is.
    let first = rank0.write(preference(0)).unwrap();
    let kept: Vec<Submission> = first.clone();
    log.append(kept);
    let lost = rank0.write(preference(1)).unwrap();
    assert_eq!(lost.len(), 1);
    let ghost = {
        let mut ghost = log.stream(owner.scope(), "ghost", "annotators", 4);
        ghost.write(preference(0)).unwrap();
        ghost
    };
    log.seal(&mut owner, &[&rank0, &ghost]);
    let report = failed(&log);
    assert_eq!(report.failures_total, 2, "{report}");
    assert!(
        report
            .failures
            .iter()
            .all(|failure| failure.check == Check::Seal),
        "{report}"
    );
}

#[test]
fn a_record_after_the_seal() {
    let mut log = LogBuilder::new(1);
    let mut owner = log.start_run("run", 1);
    let mut rank0 = log.stream(owner.scope(), "rank0", "annotators", 2);
    log.write(&mut rank0, preference(0));
    let sealed = log.seal(&mut owner, &[&rank0]);
    let late = log.write(&mut rank0, preference(1));
    let mut new = log.stream(owner.scope(), "late", "annotators", 3);
    log.append(new.write(preference(2)).unwrap());
    let report = failed(&log);
    assert_eq!(report.failures_total, 3, "{report}");
    assert_eq!(report.failures[0].index, Some(late));
    assert!(
        report.failures[0]
            .expected
            .contains(&format!("record {sealed}")),
        "{report}"
    );
}

#[test]
fn a_gap_a_fork_and_a_stream_without_beginning() {
    let mut log = LogBuilder::new(1);
    let mut owner = log.start_run("run", 1);
    log.write(&mut owner, metric(0));
    owner.write(metric(1)).unwrap();
    let gap = log.write(&mut owner, metric(2));
    let report = failed(&log);
    assert_eq!(report.failures_total, 1, "one gap, said once: {report}");
    let failure = &report.failures[0];
    assert_eq!((failure.check, failure.index), (Check::Chain, Some(gap)));
    assert!(
        failure.expected.contains("seq 3") && failure.found.contains("seq 4"),
        "{failure}"
    );

    let again = log.entries()[gap as usize].clone();
    log.push(again);
    assert_eq!(failed(&log).failures_total, 2);

    let mut headless = log.stream(owner.scope(), "headless", "annotators", 2);
    headless.write(metric(0)).unwrap();
    log.append(headless.write(metric(1)).unwrap());
    let report = failed(&log);
    assert_eq!(report.failures_total, 3, "{report}");
}

#[test]
fn a_run_begins_with_run_started() {
    let mut log = LogBuilder::new(1);
    let owner = log.start_run("run", 1);
    let whole = log.entries().to_vec();
    // Another stream comes before run.started.
    let mut early = log.stream(owner.scope(), "early", "annotators", 2);
    let mut wrong = LogBuilder::new(1);
    wrong.push(whole[0].clone());
    wrong.append(early.write(preference(0)).unwrap());
    wrong.push(whole[1].clone());
    let report = failed(&wrong);
    assert!(has(&report, Check::Run), "{report}");
}

#[test]
fn a_forged_signature() {
    let mut log = LogBuilder::new(1);
    let mut owner = log.start_run("run", 1);
    log.write(&mut owner, metric(0));
    let good = Good::new(&log);
    drop(good);
    // The same stream, as somebody with another key would go on with it.
    let mut thief = record::StreamWriter::resume(
        owner.scope(),
        owner.stream(),
        record::SigningKey::from_bytes(&[77; 32]),
        owner.next_seq(),
        owner.head().unwrap(),
        std::sync::Arc::new(testkit::log::StepClock::new(1)),
        std::sync::Arc::new(testkit::log::SeededEntropy::new(9)),
    );
    log.sign(&mut thief);
    let report = failed(&log);
    assert_eq!(report.failures_total, 1, "{report}");
    assert_eq!(report.failures[0].check, Check::Signature);
    assert_eq!(report.failures[0].index, Some(log.size() - 1));
}

#[test]
fn a_seal_that_is_not_the_owners() {
    let mut log = LogBuilder::new(1);
    let mut owner = log.start_run("run", 1);
    log.write(&mut owner, metric(0));
    let mut other = log.stream(owner.scope(), "other", "annotators", 2);
    log.write(&mut other, preference(0));
    log.seal(&mut other, &[&owner]);
    let report = failed(&log);
    assert!(has(&report, Check::Seal), "{report}");
}

#[test]
fn an_operator_who_forges_a_producers_stream_is_found_by_the_pinned_key() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let key_of = |seed: u8| {
        record::SigningKey::from_bytes(&[seed; 32])
            .verifying_key()
            .to_bytes()
    };
    // The producers' keys as they told the auditor: `trainer` has one for each run.
    let pin = |producer: &str, seed| ProducerKey {
        producer: producer.into(),
        key: key_of(seed),
    };
    let producer_keys = vec![
        pin("trainer", 1),
        pin("trainer", 2),
        pin("annotators", 0x81),
        pin("annotators", 0x82),
    ];
    let options = Options {
        producer_keys,
        ..Options::default()
    };
    let report = good.check(&options);
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    assert_eq!(
        (report.trust.pinned_keys, report.trust.pinned_streams),
        (4, 4)
    );
    assert!(
        report.to_string().contains("4 pinned producer keys"),
        "{report}"
    );

    // The operator makes the second run anew, under keys of its own, and signs the log again.
    let mut forged = LogBuilder::new(1);
    forged.sealed_run("first", 1, 100);
    forged.sealed_run("second", 42, 250);
    let alone = report_of(&forged, &Options::default());
    assert_eq!(
        alone.verdict,
        Verdict::Verified,
        "nothing else finds it: {alone}"
    );
    let report = report_of(&forged, &options);
    assert_eq!(report.verdict, Verdict::Failed);
    assert_eq!(report.failures_total, 2, "two streams: {report}");
    assert!(
        report
            .failures
            .iter()
            .all(|f| f.check == Check::ProducerKey),
        "{report}"
    );
}

#[test]
fn producers_that_are_not_pinned_are_named() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let key = record::SigningKey::from_bytes(&[1; 32])
        .verifying_key()
        .to_bytes();
    let pins = vec![ProducerKey {
        producer: "somebody".into(),
        key,
    }];
    let report = good.check(&Options {
        producer_keys: pins,
        ..Options::default()
    });
    assert_eq!(
        report.trust.unpinned_producers.names,
        ["server", "trainer", "annotators"]
    );
    assert!(report.to_string().contains("the log's word"), "{report}");
}

/// A record of an unknown kind at the end of a stream.
fn unknown(log: &mut LogBuilder, from: &str, to: &str) -> u64 {
    let mut owner = log.start_run("run", 7);
    let last = log.write(&mut owner, metric(0));
    let mut next = owner.write(metric(1)).unwrap();
    let text = String::from_utf8(next.remove(0).record).unwrap();
    let changed = text.replace(from, to);
    assert_ne!(text, changed);
    log.push(changed.into_bytes());
    last + 1
}

#[test]
fn an_unknown_kind_is_no_full_success() {
    let mut log = two_runs(1);
    unknown(&mut log, "\"metric.logged\"", "\"metric.dreamt\"");
    unknown(&mut log, "\"v\":1}", "\"v\":7}");
    let report = report_of(&log, &Options::default());
    assert_eq!(report.verdict, Verdict::Incomplete, "{report}");
    assert_ne!(report.verdict.exit_code(), 0);
    assert_eq!(report.counts.unknown.len(), 2, "{report}");
    assert_eq!(report.counts.unknown["metric.dreamt"], 1);
    assert_eq!(report.counts.records, log.size() - 2);
    assert!(report.to_string().contains("meaning unchecked"), "{report}");
}

#[test]
fn a_record_that_breaks_its_schema_or_its_form() {
    for (from, to) in [
        ("\"step\":1", "\"step\":\"1\""),
        ("\"step\":1", "\"step\": 1"),
        ("\"body\"", "\"Body\""),
        ("{", "<"),
    ] {
        let mut log = two_runs(1);
        let index = unknown(&mut log, from, to);
        let report = failed(&log);
        assert_eq!(report.failures_total, 1, "{report}");
        assert_eq!(report.failures[0].check, Check::Record, "{report}");
        assert_eq!(report.failures[0].index, Some(index));
        assert_eq!(
            report.failures[0].stream.as_deref(),
            Some("owner"),
            "{report}"
        );
        assert_eq!(report.failures[0].seq, Some(3), "{report}");
    }
}

#[test]
fn the_end_of_a_stream_is_what_a_seal_lists() {
    let mut log = LogBuilder::new(1);
    let mut owner = log.start_run("run", 1);
    log.write(&mut owner, metric(0));
    assert_eq!(end(&owner).seq, 2);
    log.seal(&mut owner, &[]);
    drop(Good::new(&log));
}

#[test]
fn a_document_that_somebody_else_says_was_issued() {
    let mut log = two_runs(1);
    let run = log.sealed_run("third", 3, 5);
    let file = DocumentFile::new(3, "text/markdown".into(), "card.md".into(), digest(b"abc"));
    let root = log.root(log.size()).into();
    let issued = DocumentIssued::new("model-card".into(), vec![file], log.size(), root, run);
    drop(Good::new(&log));
    let mut forger = log.stream(Scope::Ledger, "forger", "somebody", 9);
    let index = log.write(&mut forger, Draft::new(issued));
    let report = failed(&log);
    let failure = &report.failures[0];
    assert_eq!((failure.check, failure.index), (Check::Chain, Some(index)));
    assert!(failure.to_string().contains("ledger/server"), "{report}");
    assert!(report.document.is_none());
}

#[test]
fn a_stream_that_goes_on_from_nothing() {
    let mut log = two_runs(1);
    let mut gone = log.stream(Scope::Ledger, "gone", "somebody", 8);
    log.write(&mut gone, preference(0));
    let (end, last) = (gone.head().unwrap(), gone.next_seq() - 1);
    let mut next =
        log.stream(Scope::Ledger, "next", "somebody", 9)
            .continues(gone.stream(), last, end);
    log.write(&mut next, preference(1));
    drop(Good::new(&log));
    let mut liar =
        log.stream(Scope::Ledger, "liar", "somebody", 9)
            .continues(gone.stream(), last + 1, end);
    let index = log.write(&mut liar, preference(2));
    let report = failed(&log);
    assert_eq!(report.failures_total, 1, "{report}");
    let failure = &report.failures[0];
    assert_eq!(
        (failure.check, failure.index),
        (Check::Chain, Some(index - 1))
    );
}

#[test]
fn a_document_that_was_issued_and_one_that_was_not() {
    let mut log = two_runs(1);
    let run = log.sealed_run("third", 3, 5);
    let card = b"# a card\n";
    let file = DocumentFile::new(
        card.len() as u64,
        "text/markdown".into(),
        "card.md".into(),
        digest(card),
    );
    let issued = DocumentIssued::new(
        "model-card".into(),
        vec![file],
        log.size(),
        log.root(log.size()).into(),
        run,
    );
    let index = log.write_own(Draft::new(issued));
    let good = Good::new(&log);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("card.md");
    std::fs::write(&path, card).unwrap();
    let document = Some(Document::read(&path).unwrap());
    let report = good.check(&Options {
        document,
        ..Options::default()
    });
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    let found = report.document.unwrap();
    assert_eq!((found.index, found.name.as_str()), (index, "card.md"));
    assert_eq!(found.run, run.to_string());

    std::fs::write(&path, b"# a better card\n").unwrap();
    let document = Some(Document::read(&path).unwrap());
    let report = good.check(&Options {
        document: document.clone(),
        ..Options::default()
    });
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(has(&report, Check::Document), "{report}");
    let report = good.check(&Options {
        document,
        hashes_only: true,
        ..Options::default()
    });
    assert_eq!(
        report.verdict,
        Verdict::Incomplete,
        "not looked for, and said so: {report}"
    );
}

fn digest(bytes: &[u8]) -> Sha256 {
    Sha256(tlog::sha256(bytes))
}

/// What a deployment would decrypt.
#[derive(Default)]
struct Values {
    by_leaf: HashMap<Hash, Vec<SealedField>>,
    calls: Mutex<u64>,
}

impl OpenSealed for Values {
    fn open(&self, _: u64, leaves: &[Hash]) -> Result<Vec<Vec<SealedField>>, String> {
        *self.calls.lock().unwrap() += 1;
        let fields = |leaf| self.by_leaf.get(leaf).cloned().unwrap_or_default();
        Ok(leaves.iter().map(fields).collect())
    }
}

fn with_values() -> (LogBuilder, Values, u64) {
    let mut log = LogBuilder::new(1);
    let mut values = Values::default();
    let mut owner = log.start_run("run", 1);
    let mut last = 0;
    for step in 0..300 {
        for submission in owner.write(preference(step)).unwrap() {
            let fields = submission
                .openings
                .iter()
                .map(|(field, opening)| SealedField {
                    field: field.clone(),
                    state: SealedState::Opened {
                        key: opening.key.0,
                        value: opening.value.as_bytes().to_vec(),
                    },
                });
            values
                .by_leaf
                .insert(tlog::leaf_hash(&submission.record), fields.collect());
            last = log.append([submission]);
        }
    }
    log.seal(&mut owner, &[]);
    (log, values, last)
}

#[test]
fn sealed_values_open_their_commitments() {
    let (log, mut values, last) = with_values();
    let good = Good::new(&log);
    let report = good.check(&Options {
        openings: Some(&values),
        ..Options::default()
    });
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    assert_eq!(
        (report.counts.commitments, report.counts.opened),
        (900, 900)
    );
    assert_eq!(
        *values.calls.lock().unwrap(),
        2,
        "once for each entry bundle"
    );

    let leaf = tlog::leaf_hash(&log.entries()[last as usize]);
    let fields = values.by_leaf.get_mut(&leaf).unwrap();
    fields[1].state = SealedState::Erased;
    let report = good.check(&Options {
        openings: Some(&values),
        ..Options::default()
    });
    assert_eq!(
        report.verdict,
        Verdict::Verified,
        "an erased value is no fault: {report}"
    );
    assert_eq!((report.counts.opened, report.counts.erased), (899, 1));

    let wrong = [
        SealedState::Opened {
            key: [1; 32],
            value: b"\"x\"".to_vec(),
        },
        SealedState::Broken("does not decrypt".into()),
    ];
    for state in wrong {
        values.by_leaf.get_mut(&leaf).unwrap()[1].state = state;
        let report = good.check(&Options {
            openings: Some(&values),
            ..Options::default()
        });
        assert_eq!(
            (report.verdict, report.failures_total),
            (Verdict::Failed, 1),
            "{report}"
        );
        assert_eq!(report.failures[0].index, Some(last));
    }
    values.by_leaf.get_mut(&leaf).unwrap().remove(1);
    let report = good.check(&Options {
        openings: Some(&values),
        ..Options::default()
    });
    assert!(has(&report, Check::Sealed), "one is missing: {report}");
}

#[test]
fn any_number_of_threads_finds_the_same() {
    let mut log = two_runs(1);
    unknown(&mut log, "\"step\":1", "\"step\":\"1\"");
    let mut reports = (1..5).map(|threads| {
        let threads = std::num::NonZeroUsize::new(threads);
        let dir = tempfile::tempdir().unwrap();
        log.write_to(dir.path()).unwrap();
        let mut report = check(
            dir.path(),
            &log.policy(),
            &Options {
                threads,
                ..Options::default()
            },
        );
        report.source.clear();
        report
    });
    let first = reports.next().unwrap();
    assert_eq!(first.verdict, Verdict::Failed);
    assert!(reports.all(|report| report == first));
}
