//! The log as tables, read back by `DuckDB` and held against the log.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::{ADMIN, Desk, Server, entries, text};
use serde_json::{Value, json};
use testkit::services::{self, BUCKET};

const SECRET: &str = "Paris, on the Seine";

/// Two runs, of several kinds.
fn recorded() -> Desk {
    let desk = Desk::with_ledger();
    for (run, updates) in [("first", 40), ("second", 7)] {
        desk.ok(&["run", "start", "--name", run]);
        let mut events = String::new();
        for step in 0..updates {
            let body =
                json!({"step": step, "kl": f64::from(step) / 8.0, "metrics": {"a, \"b\"": 1.5}});
            let update = json!({"kind": "policy.updated", "body": body});
            let body = json!({"choice": "a", "item": format!("q{step}")});
            let sealed =
                json!({"prompt": "Capital of France?", "response_a": SECRET, "response_b": "Rome"});
            let said = json!({"kind": "annotation.preference", "body": body, "sealed": sealed});
            events.extend([
                update.to_string(),
                "\n".into(),
                said.to_string(),
                "\n".into(),
            ]);
        }
        let output = desk.run_with(&["append", "--run", run], events.as_bytes());
        let told = text(&output.stdout, &output.stderr);
        assert!(output.status.success(), "{told}");
    }
    desk.ok(&["run", "seal", "first"]);
    desk
}

/// What `DuckDB` makes of an export.
fn duckdb(dir: &Path, format: &str) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/read_export.py");
    let mut command = Command::new(testkit::services::python("duckdb"));
    let output = command.arg(script).arg(dir).arg(format).output().unwrap();
    let told = text(&output.stdout, &output.stderr);
    assert!(output.status.success(), "{told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The first `size` records of the log, each with its leaf hash.
fn log(desk: &Desk, size: u64) -> Vec<(String, Value)> {
    let all = entries(&desk.path("audit-data/log"));
    let named = all.iter().take(size as usize).map(|entry| {
        let hash = record::RecordHash::from(tlog::leaf_hash(entry));
        (hash.to_string(), serde_json::from_slice(entry).unwrap())
    });
    named.collect()
}

#[test]
fn duckdb_reads_back_what_the_log_holds_from_every_format() {
    let desk = recorded();
    for format in ["parquet", "csv", "jsonl"] {
        let options = ["--format", format, "--records-per-file", "16"];
        let told = desk.json(&[&["export", format][..], &options].concat());
        let size = told["log_size"].as_u64().unwrap();
        let log = log(&desk, size);
        assert_eq!(log.len() as u64, size);
        assert_eq!(told["records"], size);
        let read = duckdb(&desk.path(format), format);

        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for (_, record) in &log {
            let (run, kind) = (
                record["run"].as_str().unwrap(),
                record["kind"].as_str().unwrap(),
            );
            *counts.entry(format!("{run} {kind}")).or_default() += 1;
        }
        assert_eq!(read["counts"], json!(counts), "{format}");
        let hashes: Vec<&String> = log.iter().map(|(hash, _)| hash).collect();
        assert_eq!(read["leaf_hashes"], json!(hashes), "{format}");
        // Computed by DuckDB from the column of canonical bytes.
        assert_eq!(read["recomputed"], json!(size), "{format}");
        let kl = log
            .iter()
            .filter_map(|(_, record)| record["body"]["kl"].as_f64());
        assert_eq!(read["kl_sum"], json!(kl.sum::<f64>()), "{format}");
        assert_eq!(read["metric"], json!(1.5), "{format}");
        if format == "parquet" {
            let types = json!(["BIGINT", "DOUBLE", "TIMESTAMP WITH TIME ZONE"]);
            assert_eq!(read["types"], types);
        }
    }
}

#[test]
fn the_manifest_names_every_file_and_the_checkpoint_is_the_logs() {
    let desk = recorded();
    let told = desk.json(&["export", "out"]);
    let manifest = fs::read(desk.path("out/_manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["files"], told["files"]);
    let mut named = Vec::new();
    for file in manifest["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        let mut command = Command::new("sha256sum");
        let output = command.arg(desk.path("out").join(path)).output().unwrap();
        let digest = String::from_utf8(output.stdout).unwrap();
        assert!(
            digest.starts_with(file["sha256"].as_str().unwrap()),
            "{path}"
        );
        named.push(path.to_owned());
    }
    let mut find = Command::new("find");
    find.args([".", "-name", "*part-*", "-printf", "%P\n"]);
    let found = find.current_dir(desk.path("out")).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    named.sort_unstable();
    assert_eq!(found, named);
    let note = fs::read_to_string(desk.path("out/_checkpoint")).unwrap();
    let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
    assert_eq!(told["log_size"], size);
    let again = desk.fails(2, &["export", "out"]);
    assert!(again.contains("holds a whole export"), "{again}");
}

#[test]
fn one_run_alone_can_be_exported() {
    let desk = recorded();
    let told = desk.json(&["export", "one", "--run", "second", "--format", "jsonl"]);
    let run = told["run"].as_str().unwrap().to_owned();
    for file in told["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        assert!(path.starts_with(&format!("run={run}/")), "{path}");
    }
    let log = log(&desk, told["log_size"].as_u64().unwrap());
    let of_run = log
        .iter()
        .filter(|(_, record)| record["run"] == run.as_str());
    assert_eq!(told["records"], of_run.count());
}

/// Whether any file below holds this text.
fn holds(dir: &Path, needle: &str) -> bool {
    let mut grep = Command::new("grep");
    let output = grep.args(["-rlaF", needle]).arg(dir).output().unwrap();
    output.status.code() == Some(0)
}

#[test]
fn sealed_values_stay_out_unless_whoever_has_the_ledger_asks_for_them() {
    let desk = recorded();
    desk.ok(&["export", "without", "--format", "csv"]);
    assert!(!holds(&desk.path("without"), SECRET));
    desk.ok(&["export", "with", "--format", "csv", "--openings"]);
    assert!(holds(&desk.path("with"), SECRET));

    let server = Server::start(&desk);
    let at = ["--server", &server.url, "--token", ADMIN];
    let refused = desk.fails(2, &[&["export", "remote", "--openings"][..], &at].concat());
    assert!(refused.contains("--openings"), "{refused}");
    desk.ok(&[&["export", "remote", "--format", "csv"][..], &at].concat());
    assert!(!holds(&desk.path("remote"), SECRET));
}

#[test]
fn into_an_object_store_goes_on_where_it_stopped() {
    let desk = recorded();
    let bucket = services::s3();
    let variables = services::s3_options(bucket.port());
    let place = format!("s3://{BUCKET}/{}", bucket.new_prefix());
    let run = |args: &[&str]| {
        let mut command = desk.command(args);
        command.envs(variables.iter().cloned()).output().unwrap()
    };
    let args = ["export", &place, "--records-per-file", "5", "--json"];
    // Killed at some moment, again and again: what is whole stays.
    for millis in [150, 300, 450] {
        let mut command = desk.command(&args);
        let mut child = command
            .envs(variables.iter().cloned())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(millis));
        let _ = child.kill();
        child.wait().unwrap();
    }
    let output = run(&args);
    let told = text(&output.stdout, &output.stderr);
    // It may have been done before it was killed.
    assert!(
        output.status.success() || told.contains("a whole export"),
        "{told}"
    );
    let again = run(&args);
    assert_eq!(again.status.code(), Some(2), "a whole one is left alone");

    // The same files as in a directory, byte for byte.
    desk.ok(&["export", "here", "--records-per-file", "5"]);
    let objects = store::RemoteObjects::open(&place, &variables).unwrap();
    let mut names = store::ObjectStore::list(&objects, "").unwrap();
    names.retain(|name| !name.starts_with('_'));
    assert!(names.len() > 10, "{names:?}");
    let manifest = fs::read(desk.path("here/_manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["files"].as_array().unwrap().len(), names.len());
    for name in &names {
        let sent = store::ObjectStore::get(&objects, name).unwrap().unwrap();
        assert_eq!(
            sent,
            fs::read(desk.path("here").join(name)).unwrap(),
            "{name}"
        );
    }
}
