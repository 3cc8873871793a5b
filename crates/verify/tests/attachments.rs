//! Attachments are held against the names that records give them: in a bundle, beside a log, and over HTTP. What is
//! changed is found; what is not there is said.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{has, indices};
use record::{Attachment, Draft, Sha256};
use testkit::log::{LogBuilder, metric};
use verify::bundle::{Header, Writer};
use verify::{Check, Options, Report, Verdict};

type Contents = BTreeMap<[u8; 32], Vec<u8>>;

/// A sealed run whose records name three attachments, one of them twice, and the attachments.
fn run() -> (LogBuilder, String, Contents) {
    let contents: Contents = [b"one".to_vec(), Vec::new(), vec![7; 600_000]]
        .into_iter()
        .map(|bytes| (tlog::sha256(&bytes), bytes))
        .collect();
    let mut log = LogBuilder::new(1);
    let mut owner = log.start_run("named", 1);
    let named: Vec<_> = contents
        .iter()
        .map(|(sha256, bytes)| of(sha256, bytes))
        .collect();
    for attachment in [named[0], named[1], named[0]] {
        log.write(&mut owner, metric(1).attach("manifest", attachment));
    }
    let draft: Draft = metric(2).attach("a", named[2]).attach("b", named[1]);
    log.write(&mut owner, draft);
    log.sign(&mut owner);
    log.seal(&mut owner, &[]);
    let run = owner.scope().to_string();
    (log, run, contents)
}

fn of(sha256: &[u8; 32], bytes: &[u8]) -> Attachment {
    Attachment {
        bytes: bytes.len() as u64,
        sha256: Sha256(*sha256),
    }
}

fn bundle(log: &LogBuilder, run: &str, contents: &Contents) -> Vec<u8> {
    let indices = indices(log, run);
    let header = Header {
        run: run.to_owned(),
        checkpoint: log.checkpoint(log.size()),
        timestamps: Vec::new(),
        attachments: contents.len() as u32,
        proof: log
            .multiproof(&indices)
            .into_iter()
            .map(Into::into)
            .collect(),
        entries: indices.len() as u64,
    };
    let mut writer = Writer::begin(Vec::new(), &header).unwrap();
    for index in indices {
        let record = &log.entries()[index as usize];
        writer.entry(index, record, b"").unwrap();
    }
    for (sha256, bytes) in contents {
        let length = bytes.len() as u64;
        writer
            .attachment(*sha256, length, &mut bytes.as_slice())
            .unwrap();
    }
    writer.finish().unwrap()
}

fn check(bytes: &[u8], log: &LogBuilder) -> Report {
    let options = Options::default();
    verify::bundle::check::read("bundle", bytes, &log.policy(), &options).unwrap()
}

fn counts(report: &Report) -> (u64, u64, u64, u64) {
    let counts = &report.counts;
    (
        counts.attachments,
        counts.attachments_checked,
        counts.attachment_bytes,
        report.absent_attachments.total,
    )
}

#[test]
fn a_bundle_holds_the_attachments_of_its_run() {
    let (log, run, contents) = run();
    let report = check(&bundle(&log, &run, &contents), &log);
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    assert_eq!(counts(&report), (3, 3, 600_003, 0));
    assert!(report.to_string().contains("3 named, 3 held"), "{report}");

    // A bundle without some of them, or all, says which it lacks.
    for left in [2, 1, 0] {
        let some: Contents = contents.clone().into_iter().take(left).collect();
        let report = check(&bundle(&log, &run, &some), &log);
        assert_eq!(report.verdict, Verdict::Verified, "{report}");
        let absent = 3 - left as u64;
        assert_eq!(
            (
                report.counts.attachments_checked,
                report.absent_attachments.total
            ),
            (left as u64, absent)
        );
        let text = report.to_string();
        assert!(text.contains("attachment not at hand: "), "{text}");
        assert!(text.contains("attachments that were not at hand"), "{text}");
    }
}

#[test]
fn what_is_changed_in_a_bundles_attachments_is_found() {
    let (log, run, contents) = run();
    let good = bundle(&log, &run, &contents);
    let begin = good.len()
        - contents
            .values()
            .map(|bytes| bytes.len() + 40)
            .sum::<usize>();
    for at in (begin..good.len()).step_by(7_001).chain(begin..begin + 80) {
        let mut changed = good.clone();
        changed[at] ^= 0x20;
        assert_eq!(check(&changed, &log).verdict, Verdict::Failed, "byte {at}");
    }
    let mut changed = good.clone();
    let inside = changed
        .windows(9)
        .rposition(|bytes| bytes == [7; 9])
        .unwrap();
    changed[inside] ^= 1;
    let report = check(&changed, &log);
    let failure = report
        .failures
        .iter()
        .find(|f| f.check == Check::Attachment);
    let index = failure.unwrap_or_else(|| panic!("{report}")).index.unwrap();
    assert!(String::from_utf8_lossy(&log.entries()[index as usize]).contains("attachments"));

    // One that no record names has no place there, whatever it is.
    let mut more = contents;
    more.insert(tlog::sha256(b"more"), b"more".to_vec());
    let report = check(&bundle(&log, &run, &more), &log);
    assert!(has(&report, Check::Bundle), "{report}");
}

#[test]
fn a_record_that_gives_another_size_is_found() {
    let mut log = LogBuilder::new(1);
    let mut owner = log.start_run("named", 1);
    let sha256 = tlog::sha256(b"one");
    let mut attachment = of(&sha256, b"one");
    log.write(&mut owner, metric(1).attach("a", attachment));
    attachment.bytes = 4;
    let wrong = log.write(&mut owner, metric(1).attach("a", attachment));
    log.seal(&mut owner, &[]);
    let run = owner.scope().to_string();
    let contents = [(sha256, b"one".to_vec())].into();
    let report = check(&bundle(&log, &run, &contents), &log);
    assert_eq!(report.failures_total, 1, "{report}");
    assert_eq!(report.failures[0].index, Some(wrong), "{report}");
}

/// Writes the log as a data directory has it.
fn write(log: &LogBuilder, contents: &Contents, dir: &Path) {
    let place = dir.join("log");
    fs::create_dir(&place).unwrap();
    log.write_to(&place).unwrap();
    for (sha256, bytes) in contents {
        let name = Sha256(*sha256).to_string();
        let place = dir.join("attachments").join(&name[..2]);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join(name), bytes).unwrap();
    }
}

#[test]
fn those_beside_a_log_are_read_and_those_missing_counted() {
    let (log, _, contents) = run();
    let dir = tempfile::tempdir().unwrap();
    write(&log, &contents, dir.path());
    let options = Options::default();
    for place in [dir.path().to_owned(), dir.path().join("log")] {
        let report = common::check(&place, &log.policy(), &options);
        assert_eq!(report.verdict, Verdict::Verified, "{report}");
        assert_eq!(counts(&report), (3, 3, 600_003, 0));
    }
    let hashes = Options {
        hashes_only: true,
        ..Options::default()
    };
    let report = common::check(dir.path(), &log.policy(), &hashes);
    assert_eq!(counts(&report), (0, 0, 0, 0));

    let name = Sha256(tlog::sha256(b"one")).to_string();
    let one = dir.path().join("attachments").join(&name[..2]).join(&name);
    fs::write(&one, b"onf").unwrap();
    let report = common::check(dir.path(), &log.policy(), &options);
    assert!(has(&report, Check::Attachment), "{report}");
    assert!(report.to_string().contains(&name), "{report}");
    fs::remove_file(&one).unwrap();
    let report = common::check(dir.path(), &log.policy(), &options);
    assert_eq!(report.verdict, Verdict::Verified, "{report}");
    assert_eq!(report.absent_attachments.names, [name]);
    // A log without its data directory has none.
    let alone = dir.path().join("elsewhere");
    fs::rename(dir.path().join("log"), &alone).unwrap();
    let report = common::check(&alone, &log.policy(), &options);
    assert_eq!(counts(&report), (3, 0, 0, 3));
}
