//! Whoever changes the files of a log without its keys is found (invariants I9, I10, I11). Each test
//! first shows the untouched log to pass.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::sync::OnceLock;

use common::{Good, check, files, has, two_runs};
use proptest::prelude::*;
use testkit::log::LogBuilder;
use verify::{Check, Options, Source, Verdict, VerifyError};

/// Rebuilds the tiles of `entries` as somebody would who has not the log's keys, and leaves the
/// checkpoint as it was.
fn rebuild(good: &Good, entries: &[Vec<u8>]) {
    let mut forged = LogBuilder::new(99);
    for entry in entries {
        forged.push(entry.clone());
    }
    fs::remove_dir_all(good.path("tile")).unwrap();
    forged.write_tiles(good.dir.path()).unwrap();
}

#[test]
fn a_good_log_says_what_was_checked_and_what_was_trusted() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let report = good.check(&Options::default());
    let counts = &report.counts;
    assert_eq!((counts.entries, counts.records), (log.size(), log.size()));
    assert_eq!((counts.runs, counts.sealed_runs, counts.streams), (2, 2, 5));
    let enrolled = 4;
    assert_eq!(
        counts.signatures - enrolled,
        6,
        "two streams and a seal in each run"
    );
    assert_eq!(counts.commitments, 3 * 350);
    assert_eq!(counts.unsigned_records, 0);
    assert_eq!(
        report.trust.log_keys.len(),
        2,
        "{:?}",
        report.trust.log_keys
    );
    let text = report.to_string();
    for said in [
        "no witness",
        "no earlier checkpoint",
        "no pinned producer key",
        "first producer",
    ] {
        assert!(text.contains(said), "{said} in {text}");
    }
    assert!(text.contains("sealed values were not given"), "{text}");
    serde_json::to_string(&report).unwrap();
}

#[test]
fn a_data_directory_is_found_and_an_empty_directory_is_no_log() {
    let log = two_runs(1);
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        Source::directory(dir.path()),
        Err(VerifyError::NoCheckpoint { .. })
    ));
    fs::create_dir(dir.path().join("log")).unwrap();
    log.write_to(&dir.path().join("log")).unwrap();
    let report = check(dir.path(), &log.policy(), &Options::default());
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
}

#[test]
fn an_empty_log_is_nothing_to_check() {
    let log = LogBuilder::new(1);
    let dir = tempfile::tempdir().unwrap();
    log.write_to(dir.path()).unwrap();
    let report = check(dir.path(), &log.policy(), &Options::default());
    assert_eq!(report.verdict, Verdict::NothingToCheck);
    assert_ne!(report.verdict.exit_code(), 0);
}

#[test]
fn the_last_records_removed() {
    let log = two_runs(1);
    let good = Good::new(&log);
    rebuild(&good, &log.entries()[..log.entries().len() - 3]);
    let report = good.failed();
    assert!(
        has(&report, Check::MissingFile) || has(&report, Check::EntryBundle),
        "{report}"
    );
    assert!(has(&report, Check::Root), "{report}");
}

#[test]
fn two_records_swapped() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let mut entries = log.entries().to_vec();
    entries.swap(300, 301);
    rebuild(&good, &entries);
    let report = good.failed();
    assert!(has(&report, Check::Root), "{report}");
    // The two are of different streams, so only the tree knows; of one stream, the chain does too.
    let mut entries = log.entries().to_vec();
    entries.swap(300, 302);
    rebuild(&good, &entries);
    let report = good.failed();
    assert!(
        has(&report, Check::Root) && has(&report, Check::Chain),
        "{report}"
    );
}

#[test]
fn a_record_replaced_with_another_and_the_tiles_rebuilt() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let mut entries = log.entries().to_vec();
    let text = String::from_utf8(entries[401].clone()).unwrap();
    let forged = text.replace("helpfulness", "hopefulness");
    assert_ne!(text, forged);
    entries[401] = forged.into_bytes();
    rebuild(&good, &entries);
    let report = good.failed();
    assert!(has(&report, Check::Root), "{report}");
    let chain = report
        .failures
        .iter()
        .find(|f| f.check == Check::Chain)
        .unwrap();
    assert_eq!(
        chain.index,
        Some(403),
        "the next of its stream names another hash: {report}"
    );
    assert!(
        !has(&report, Check::Leaf),
        "entries and tiles agree: {report}"
    );
    assert!(
        report
            .conclusions
            .iter()
            .any(|c| c.contains("both were changed alike")),
        "{report}"
    );
}

#[test]
fn a_record_changed_names_the_record_and_how_it_is_known() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let path = good.path("tile/entries/001");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|w| w == b"\"item\":\"").unwrap() + 8;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = good.failed();
    let leaf = report
        .failures
        .iter()
        .find(|f| f.check == Check::Leaf)
        .unwrap();
    assert!(
        leaf.index.is_some_and(|index| (256..512).contains(&index)),
        "{leaf}"
    );
    assert_eq!(leaf.stream.as_deref(), Some("rank0"));
    assert!(leaf.expected.contains("tile/0/001") && leaf.found.contains("tile/entries/001"));
    assert!(
        report
            .conclusions
            .iter()
            .any(|c| c.contains("entries were changed")),
        "the tiles give the signed root: {report}"
    );
    assert!(
        !has(&report, Check::Chain),
        "one fault, reported once: {report}"
    );
    assert!(
        !has(&report, Check::Tile),
        "one fault, reported once: {report}"
    );
}

#[test]
fn a_tile_changed_is_told_from_a_record_changed() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let path = good.path("tile/0/001");
    let mut bytes = fs::read(&path).unwrap();
    bytes[32 * 17] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = good.failed();
    assert_eq!(report.failures_total, 1, "{report}");
    assert_eq!(report.failures[0].index, Some(256 + 17));
    assert!(
        report
            .conclusions
            .iter()
            .any(|c| c.contains("tiles were changed")),
        "{report}"
    );
}

#[test]
fn a_higher_tile_changed() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let path = good.path("tile/1/000.p/2");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let report = good.failed();
    assert_eq!(report.failures_total, 1, "{report}");
    assert_eq!(report.failures[0].check, Check::Tile);
    assert!(
        report.failures[0].expected.contains("entries 256 to 511"),
        "{report}"
    );
}

#[test]
fn a_wrong_key() {
    let good = Good::new(&two_runs(1));
    let other = two_runs(2);
    let report = check(good.dir.path(), &other.policy(), &Options::default());
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(has(&report, Check::Checkpoint), "{report}");
}

#[test]
fn one_of_the_two_signatures_missing() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let note = fs::read_to_string(good.path("checkpoint")).unwrap();
    let cut = note.trim_end_matches('\n').rfind('\n').unwrap() + 1;
    fs::write(good.path("checkpoint"), &note[..cut]).unwrap();
    assert!(has(&good.failed(), Check::Checkpoint));
}

#[test]
fn every_file_missing_or_truncated_is_found() {
    let log = two_runs(1);
    let good = Good::new(&log);
    for file in files(good.dir.path())
        .iter()
        .filter(|file| *file != "checkpoint")
    {
        let bytes = fs::read(good.path(file)).unwrap();
        fs::remove_file(good.path(file)).unwrap();
        let report = good.failed();
        assert!(has(&report, Check::MissingFile), "{file}: {report}");
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs::write(good.path(file), &bytes[..length]).unwrap();
            let report = good.failed();
            let kind = if file.contains("entries") {
                Check::EntryBundle
            } else {
                Check::Tile
            };
            assert!(has(&report, kind), "{file} of {length} bytes: {report}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        fs::write(good.path(file), longer).unwrap();
        good.failed();
        fs::write(good.path(file), bytes).unwrap();
    }
    let report = good.check(&Options::default());
    assert_eq!(report.verdict, Verdict::Verified, "put back: {report}");
}

#[test]
fn extra_files_are_failures() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let extras = [
        "tile/note.txt",
        "tile/0/999",
        "tile/entries/000.tmp",
        "tile/5/000.p/1",
        "tile/x/1",
    ];
    for file in extras {
        let path = good.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    }
    let report = good.failed();
    for file in extras {
        let found = report
            .failures
            .iter()
            .any(|f| f.path.as_deref() == Some(file));
        assert!(found, "{file}: {report}");
    }
    assert_eq!(report.failures_total, extras.len() as u64, "{report}");
}

#[test]
fn partial_tiles_left_behind_must_be_prefixes() {
    let log = two_runs(1);
    let good = Good::new(&log);
    for size in [1, 100, 255, 300, 600] {
        log.write_partial_tiles_of(good.dir.path(), size).unwrap();
    }
    let report = good.check(&Options::default());
    assert_eq!(
        report.verdict,
        Verdict::Verified,
        "left-overs are no fault: {report}"
    );
    for file in [
        "tile/entries/000.p/100",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
    ] {
        let bytes = fs::read(good.path(file)).unwrap();
        let mut changed = bytes.clone();
        changed[3] ^= 1;
        fs::write(good.path(file), changed).unwrap();
        let report = good.failed();
        assert_eq!(report.failures_total, 1, "{report}");
        assert_eq!(report.failures[0].check, Check::Partial, "{report}");
        fs::write(good.path(file), bytes).unwrap();
    }
}

#[test]
fn an_older_checkpoint_put_back_is_seen_by_the_tiles_left_over() {
    let log = two_runs(1);
    let good = Good::new(&log);
    fs::write(good.path("checkpoint"), log.checkpoint(300)).unwrap();
    let report = good.failed();
    assert!(has(&report, Check::UnexpectedFile), "{report}");
    let beyond = |path: &str| {
        report
            .failures
            .iter()
            .any(|f| f.path.as_deref() == Some(path))
    };
    assert!(
        beyond("tile/0/001") && beyond("tile/entries/002.p/209"),
        "{report}"
    );
}

#[test]
fn a_size_that_nobody_could_fill_is_not_searched_for_ever() {
    let log = two_runs(1);
    let good = Good::new(&log);
    let size = 1 << 60;
    fs::write(
        good.path("checkpoint"),
        log.sign_checkpoint(size, log.root(1)),
    )
    .unwrap();
    let report = good.failed();
    assert!(report.failures_total > 10_000 && report.failures.len() == verify::KEPT);
    assert!(
        report.to_string().contains("missing entry bundles"),
        "{report}"
    );
}

fn shared() -> &'static (Good, Vec<String>) {
    static GOOD: OnceLock<(Good, Vec<String>)> = OnceLock::new();
    GOOD.get_or_init(|| {
        let good = Good::new(&two_runs(1));
        let files = files(good.dir.path());
        (good, files)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// One bit, anywhere in any file.
    #[test]
    fn a_flipped_bit_anywhere_is_found(file: prop::sample::Index, at: prop::sample::Index, bit in 0..8_u32) {
        let (good, files) = shared();
        let file = file.get(files);
        let mut bytes = fs::read(good.path(file)).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // In a copy: other cases look at the log too.
        let copy = tempfile::tempdir().unwrap();
        for other in files {
            let to = copy.path().join(other);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(good.path(other), to).unwrap();
        }
        fs::write(copy.path().join(file), bytes).unwrap();
        for hashes_only in [false, true] {
            let options = Options { hashes_only, ..Options::default() };
            let report = check(copy.path(), &good.policy, &options);
            prop_assert_eq!(report.verdict, Verdict::Failed, "{} at {}: {}", file, at, report);
        }
    }
}
