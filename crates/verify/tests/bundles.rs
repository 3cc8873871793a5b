//! A bundle proves a run from one file and a policy; whatever is left out, added or changed in it is
//! found (invariant I10).

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{bundle, has, indices, two_runs};
use proptest::prelude::*;
use record::Submission;
use std::sync::OnceLock;
use testkit::log::{LogBuilder, metric, preference};
use tlog::Policy;
use verify::{Check, Options, Report, Verdict};

fn check(bytes: &[u8], policy: &Policy) -> Report {
    verify::bundle::check::read("bundle", bytes, policy, &Options::default()).unwrap()
}

struct Good {
    log: LogBuilder,
    run: String,
    indices: Vec<u64>,
    bytes: Vec<u8>,
}

/// The second run's bundle, shown to be good.
fn good() -> &'static Good {
    static GOOD: OnceLock<Good> = OnceLock::new();
    GOOD.get_or_init(|| {
        let mut log = LogBuilder::new(1);
        log.sealed_run("first", 1, 100);
        let run = log.sealed_run("second", 2, 200).to_string();
        log.sealed_run("third", 3, 100);
        let indices = indices(&log, &run);
        let bytes = bundle(&log, &run, &indices);
        let report = check(&bytes, &log.policy());
        assert_eq!(report.verdict, Verdict::Verified, "{report}");
        assert_eq!(report.counts.entries, indices.len() as u64);
        assert_eq!(
            (report.counts.sealed_runs, report.counts.signatures),
            (1, 3)
        );
        Good {
            log,
            run,
            indices,
            bytes,
        }
    })
}

fn failed(bytes: &[u8]) -> Report {
    let report = check(bytes, &good().log.policy());
    assert_eq!(report.verdict, Verdict::Failed, "{report}");
    report
}

#[test]
fn a_bundle_says_what_it_cannot_prove() {
    let good = good();
    let text = check(&good.bytes, &good.log.policy()).to_string();
    assert!(text.contains("no further stream of this run"), "{text}");
    assert!(text.contains(&good.run), "{text}");
}

/// The example of `docs/spec/bundle.md`, made by another hand.
#[test]
fn the_example_of_the_specification() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/spec/examples");
    let policy = Policy::parse(&std::fs::read(format!("{examples}/policy")).unwrap()).unwrap();
    let bytes = std::fs::read(format!("{examples}/run.rlhf-bundle")).unwrap();
    let report = check(&bytes, &policy);
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    assert_eq!((report.counts.entries, report.counts.opened), (6, 3));
    for at in (0..bytes.len()).step_by(3) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x20;
        assert_eq!(
            check(&changed, &policy).verdict,
            Verdict::Failed,
            "byte {at}"
        );
    }
}

#[test]
fn from_a_file_too() {
    let good = good();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.rlhf-bundle");
    std::fs::write(&path, &good.bytes).unwrap();
    let report = verify::bundle(&path, &good.log.policy(), &Options::default()).unwrap();
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    assert!(
        verify::bundle(
            dir.path().join("none"),
            &good.log.policy(),
            &Options::default()
        )
        .is_err()
    );
}

/// Every way to leave one out that its maker could choose: with a good proof for the rest.
#[test]
fn a_record_left_out() {
    let good = good();
    let last = good.indices.len() - 1;
    for at in [0, 1, 2, 57, 200, last - 1] {
        let mut indices = good.indices.clone();
        indices.remove(at);
        let report = failed(&bundle(&good.log, &good.run, &indices));
        let kinds = [Check::Chain, Check::Seal, Check::Run];
        assert!(
            kinds.iter().any(|kind| has(&report, *kind)),
            "{at}: {report}"
        );
        assert!(
            !has(&report, Check::Inclusion),
            "the proof is of what is there: {report}"
        );
    }
    // The seal itself: nothing is wrong, and nothing is shown.
    let mut indices = good.indices.clone();
    indices.pop();
    let report = check(&bundle(&good.log, &good.run, &indices), &good.log.policy());
    assert_eq!(report.verdict, Verdict::Incomplete);
    assert!(
        report
            .to_string()
            .contains("run not sealed: completeness not shown"),
        "{report}"
    );
    // The last records of a stream and the stream as a whole.
    let rank = |index: &u64| {
        record::Record::parse(&good.log.entries()[*index as usize])
            .unwrap()
            .stream()
            .as_str()
            == "rank0"
    };
    let without: Vec<u64> = good
        .indices
        .iter()
        .copied()
        .filter(|index| !rank(index))
        .collect();
    let report = failed(&bundle(&good.log, &good.run, &without));
    assert_eq!(report.failures_total, 1, "{report}");
    assert_eq!(report.failures[0].check, Check::Seal, "{report}");
}

/// Where the entries begin, and how long each is.
fn entries(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut reader = verify::bundle::Reader::new(bytes).unwrap();
    let header = reader.header().clone();
    let mut at = 21 + 27 + 4 + header.checkpoint.len() + 8 + 32 * header.proof.len() + 8;
    let mut ranges = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let length = 8 + 2 + entry.record.len() + 4 + entry.openings.len();
        ranges.push(at..at + length);
        at += length;
    }
    assert_eq!(at, bytes.len());
    ranges
}

fn set_count(bytes: &mut [u8], first: usize, count: u64) {
    bytes[first - 8..first].copy_from_slice(&count.to_be_bytes());
}

#[test]
fn a_record_cut_out_of_the_file_duplicated_or_moved() {
    let good = good();
    let ranges = entries(&good.bytes);
    let (first, count) = (ranges[0].start, ranges.len() as u64);
    let one = &good.bytes[ranges[40].clone()];

    let mut cut = good.bytes.clone();
    cut.drain(ranges[40].clone());
    failed(&cut);
    set_count(&mut cut, first, count - 1);
    assert!(has(&failed(&cut), Check::Inclusion));

    let mut twice = good.bytes.clone();
    twice.splice(ranges[40].start..ranges[40].start, one.iter().copied());
    failed(&twice);
    set_count(&mut twice, first, count + 1);
    assert!(has(&failed(&twice), Check::Bundle));

    // The index of the first moved to one that no entry has.
    let mut moved = good.bytes.clone();
    moved[first..first + 8].copy_from_slice(&0_u64.to_be_bytes());
    assert!(has(&failed(&moved), Check::Inclusion));
}

#[test]
fn records_of_another_run_do_not_belong() {
    let good = good();
    let mut indices = good.indices.clone();
    indices.push(good.log.size() - 1);
    let report = failed(&bundle(&good.log, &good.run, &indices));
    assert_eq!(report.failures[0].check, Check::Bundle, "{report}");
    // Nor is a bundle of nothing a bundle.
    assert!(has(
        &failed(&bundle(&good.log, &good.run, &[])),
        Check::Bundle
    ));
}

#[test]
fn bytes_after_the_end_and_every_truncation() {
    let good = good();
    let mut longer = good.bytes.clone();
    longer.push(0);
    assert!(has(&failed(&longer), Check::Bundle));
    for length in (0..good.bytes.len()).step_by(997) {
        failed(&good.bytes[..length]);
    }
}

#[test]
fn a_wrong_key() {
    let good = good();
    let report = check(&good.bytes, &two_runs(2).policy());
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(has(&report, Check::Checkpoint), "{report}");
}

#[test]
fn an_earlier_checkpoint_is_held_against_the_bundles_where_that_is_possible() {
    let good = good();
    let with = |note| {
        let options = Options {
            since: Some(note),
            ..Options::default()
        };
        verify::bundle::check::read("bundle", &*good.bytes, &good.log.policy(), &options).unwrap()
    };
    let size = good.log.size();
    assert_eq!(with(good.log.checkpoint(size)).verdict, Verdict::Verified);
    assert_eq!(
        with(good.log.checkpoint(size - 1)).verdict,
        Verdict::Incomplete
    );
    let other = good.log.sign_checkpoint(size, good.log.root(size - 1));
    assert!(has(&with(other), Check::Since));
}

#[test]
fn openings_are_held_against_their_commitments() {
    let mut log = LogBuilder::new(1);
    let mut owner = log.start_run("run", 1);
    let sealed: Vec<Submission> = owner.write(preference(1)).unwrap();
    let opened = sealed[0].clone();
    log.append(sealed);
    log.write(&mut owner, metric(1));
    log.seal(&mut owner, &[]);
    let run = owner.scope().to_string();
    let indices = indices(&log, &run);
    let with = |openings: &[u8]| {
        let proof: Vec<[u8; 32]> = log
            .multiproof(&indices)
            .into_iter()
            .map(Into::into)
            .collect();
        let note = log.checkpoint(log.size());
        let count = indices.len() as u64;
        let mut writer =
            verify::bundle::Writer::new(Vec::new(), &run, &note, &proof, count).unwrap();
        for index in &indices {
            let record = &log.entries()[*index as usize];
            let mine = if *record == opened.record {
                openings
            } else {
                b""
            };
            writer.entry(*index, record, mine).unwrap();
        }
        check(&writer.finish().unwrap(), &log.policy())
    };
    let list = |skip: usize| {
        let some = opened.openings.iter().skip(skip);
        record::to_bundle_openings(some.map(|(field, o)| (&**field, &o.key, o.value.as_bytes())))
    };
    let report = with(&list(0));
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    assert_eq!((report.counts.commitments, report.counts.opened), (3, 3));
    let report = with(&list(1));
    assert_eq!(
        (report.verdict, report.counts.opened),
        (Verdict::Verified, 2),
        "{report}"
    );
    let text = String::from_utf8(list(0)).unwrap();
    for (from, to) in [
        ("one answer", "two answer"),
        ("response_a", "response_c"),
        ("{", ""),
    ] {
        let report = with(text.replacen(from, to, 1).as_bytes());
        assert_eq!(report.verdict, Verdict::Failed, "{from}: {report}");
        assert!(has(&report, Check::Sealed), "{report}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_anywhere_is_found(at: prop::sample::Index, bit in 0..8_u32) {
        let good = good();
        let mut bytes = good.bytes.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let report = check(&bytes, &good.log.policy());
        prop_assert_eq!(report.verdict, Verdict::Failed, "at {}: {}", at, report);
    }

    /// Rubbish is answered, not panicked on.
    #[test]
    fn any_bytes_are_answered(rubbish: Vec<u8>, keep in 0..600_usize) {
        let good = good();
        let mut bytes = good.bytes[..keep.min(good.bytes.len())].to_vec();
        bytes.extend(rubbish);
        prop_assert_eq!(check(&bytes, &good.log.policy()).verdict, Verdict::Failed);
    }
}
