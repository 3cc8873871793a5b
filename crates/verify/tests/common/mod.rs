//! What the tests of this crate share.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "tests, each of which uses its part"
)]

use std::fs;
use std::path::{Path, PathBuf};

use record::Record;
use tempfile::TempDir;
use testkit::log::LogBuilder;
use tlog::Policy;
use verify::{Check, Options, Report, Source, Verdict};

/// A log on disk, shown to be good, that a test then breaks.
pub(crate) struct Good {
    pub(crate) dir: TempDir,
    pub(crate) policy: Policy,
}

impl Good {
    /// Writes the log, and shows that it passes untouched: in full and by hashes alone.
    pub(crate) fn new(log: &LogBuilder) -> Self {
        let dir = tempfile::tempdir().unwrap();
        log.write_to(dir.path()).unwrap();
        let good = Self {
            dir,
            policy: log.policy(),
        };
        for hashes_only in [false, true] {
            let report = good.check(&Options {
                hashes_only,
                ..Options::default()
            });
            assert_eq!(report.verdict, Verdict::Verified, "{report}");
            assert_eq!(report.counts.entries, log.size());
        }
        good
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn check(&self, options: &Options<'_>) -> Report {
        check(self.dir.path(), &self.policy, options)
    }

    /// Checks what is there now, which must fail.
    pub(crate) fn failed(&self) -> Report {
        let report = self.check(&Options::default());
        assert_eq!(report.verdict, Verdict::Failed, "{report}");
        report
    }
}

pub(crate) fn check(dir: &Path, policy: &Policy, options: &Options<'_>) -> Report {
    verify::log(&Source::directory(dir).unwrap(), policy, options).unwrap()
}

/// Whether the report has a failure of this kind.
pub(crate) fn has(report: &Report, check: Check) -> bool {
    report.failures.iter().any(|failure| failure.check == check)
}

/// A log of two sealed runs: 700-odd entries, three entry bundles, one of them partial.
pub(crate) fn two_runs(seed: u8) -> LogBuilder {
    let mut log = LogBuilder::new(seed);
    log.sealed_run("first", 1, 100);
    log.sealed_run("second", 2, 250);
    log
}

/// Every file below `dir`, relative to it.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    fn walk(root: &Path, dir: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, into);
            } else {
                into.push(
                    path.strip_prefix(root)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.sort();
    found
}

/// A bundle of the run of these indices, as a ledger writes it.
pub(crate) fn bundle(log: &LogBuilder, run: &str, indices: &[u64]) -> Vec<u8> {
    let proof: Vec<[u8; 32]> = log
        .multiproof(indices)
        .into_iter()
        .map(Into::into)
        .collect();
    let note = log.checkpoint(log.size());
    let count = indices.len() as u64;
    let mut writer = verify::bundle::Writer::new(Vec::new(), run, &note, &proof, count).unwrap();
    for index in indices {
        writer
            .entry(*index, &log.entries()[*index as usize], b"")
            .unwrap();
    }
    writer.finish().unwrap()
}

/// The indices of all records of a run.
pub(crate) fn indices(log: &LogBuilder, run: &str) -> Vec<u64> {
    let of_run = |entry: &[u8]| Record::parse(entry).unwrap().scope().as_str() == run;
    (0..log.size())
        .filter(|index| of_run(&log.entries()[*index as usize]))
        .collect()
}
