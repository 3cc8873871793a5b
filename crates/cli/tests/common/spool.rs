//! Spools of test processes, and what the log has of what they accepted.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use client::spool::{RunSpec, Spool, SpoolOptions, SpooledStream, Target};
use client::{Client, RecordQuery};
use record::kinds::MetricLogged;
use record::{Draft, Entropy, ProducerName, RecordHash, RunId, StreamName};

use super::ADMIN;
use super::load::SystemClock;

/// The machine's randomness: other numbers in each process.
#[derive(Debug)]
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut urandom = std::fs::File::open("/dev/urandom").unwrap();
        urandom.read_exact(bytes).unwrap();
    }
}

/// As long as anything may take before the test fails.
pub(crate) const LONG: Duration = Duration::from_mins(1);

pub(crate) fn options(dir: &Path, url: &str) -> SpoolOptions {
    options_with(dir, url, ADMIN)
}

pub(crate) fn options_with(dir: &Path, url: &str, token: &str) -> SpoolOptions {
    SpoolOptions::new(
        dir,
        Target::new(url, Some(token.to_owned())),
        ProducerName::parse("trainer").unwrap(),
        Arc::new(SystemClock),
        Arc::new(SystemEntropy),
    )
}

pub(crate) fn open(dir: &Path, url: &str) -> Spool {
    Spool::open(options(dir, url)).unwrap()
}

pub(crate) fn start_run(spool: &Spool, name: &str) -> SpooledStream {
    let rank0 = StreamName::parse("rank0").unwrap();
    spool.start_run(RunSpec::new(name, rank0)).unwrap()
}

/// A record that says which one it is.
pub(crate) fn numbered(number: u64) -> Draft {
    Draft::new(MetricLogged::new(
        [("number".to_owned(), number as f64)].into(),
    ))
}

/// The names of a scope's records at the server, each with its index. None is there twice.
pub(crate) fn logged(url: &str, scope: &str) -> BTreeMap<RecordHash, u64> {
    let mut names = BTreeMap::new();
    for record in records(url, scope) {
        let before = names.insert(record.leaf_hash, record.index);
        assert_eq!(before, None, "a record is there twice");
    }
    names
}

/// The records of a scope at the server that are published.
pub(crate) fn records(url: &str, scope: &str) -> Vec<client::LoggedRecord> {
    let client = Client::new(url, Some(ADMIN)).unwrap();
    let mut query = RecordQuery {
        run: Some(scope.to_owned()),
        limit: Some(1_000),
        ..RecordQuery::default()
    };
    let mut records = Vec::new();
    loop {
        let page = client.records(&query).unwrap();
        records.extend(page.records);
        query.after = page.next;
        if query.after.is_none() {
            return records;
        }
    }
}

/// Waits until the log has published so many records of a scope, and gives their numbers (see [`numbered`]) in order.
pub(crate) fn numbers(url: &str, scope: &str, count: usize) -> Vec<u64> {
    let mut found = Vec::new();
    super::eventually("the records are published", || {
        found = records(url, scope)
            .iter()
            .filter_map(|record| {
                let json: serde_json::Value = serde_json::from_str(record.record.get()).unwrap();
                json["body"]["metrics"]["number"].as_u64()
            })
            .collect();
        found.len() >= count
    });
    found
}

/// Files below a directory with this extension.
pub(crate) fn files(dir: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// This test program once more, as a process of its own that runs one test: `job`, which looks at its environment.
pub(crate) fn child(job: &str, variables: &[(&str, &str)]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", job, "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command.spawn().unwrap()
}

pub(crate) fn run_id(stream: &SpooledStream) -> RunId {
    stream.run().unwrap()
}
