//! The check of the log by jobs: a log of more than one range, and the values that are sealed beside it.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs;
use std::path::Path;

use common::{ADMIN, Desk, Server, eventually, text};
use serde_json::{Value, json};
use store::{SqliteMeta, SubjectKeyStore as _};

fn append(desk: &Desk, at: &[&str], run: &str, events: &str) {
    let args = [&["append", "--run", run], at].concat();
    let appended = desk.run_with(&args, events.as_bytes());
    let said = text(&appended.stdout, &appended.stderr);
    assert!(appended.status.success(), "{said}");
}

/// Has the log checked; the exit code and what was found.
fn checked(desk: &Desk, at: &[&str], args: &[&str]) -> (Option<i32>, Value) {
    let output = desk.run(&[&["jobs", "run", "integrity", "--json"], args, at].concat());
    let job: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", text(&output.stdout, &output.stderr)));
    (output.status.code(), job["result"].clone())
}

/// Waits until all there is is published: what is not is not looked at.
fn published(server: &Server) {
    eventually("all is published", || {
        let metrics = common::get(&format!("{}/metrics", server.url)).1;
        let metrics = String::from_utf8(metrics).unwrap();
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap().to_owned()
        };
        value("rlhf_audit_published_size ") == value("rlhf_audit_log_size ")
    });
}

fn named(result: &Value) -> Vec<&str> {
    let found = result["found"].as_array().unwrap();
    found
        .iter()
        .map(|found| found["what"].as_str().unwrap())
        .collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// 65,536 entries are a range: the first is whole, the second has begun.
#[test]
fn a_log_of_two_ranges_is_checked_in_parts_and_what_is_whole_only_once() {
    const RANGE: u64 = 65_536;
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let at = ["--server", server.url.as_str(), "--token", ADMIN];
    desk.ok(&[&["run", "start", "--name", "long"], &at[..]].concat());
    let events = "{\"kind\":\"metric.logged\",\"body\":{\"metrics\":{\"loss\":1}}}\n";
    append(&desk, &at, "long", &events.repeat(RANGE as usize + 300));

    published(&server);
    let (code, result) = checked(&desk, &at, &[]);
    assert_eq!(code, Some(0), "{result}");
    assert_eq!(result["ranges"], 2, "{result}");
    assert_eq!(result["verified"], RANGE, "{result}");
    assert!(result["to"].as_u64().unwrap() > RANGE + 300, "{result}");

    // What is whole is not looked at again, unless all is asked for.
    let tile = desk.path("audit-data/log/tile/1/000");
    assert_eq!(
        fs::metadata(&tile).unwrap().len(),
        8_192,
        "the tile of a range is full"
    );
    flip(&tile, 40);
    flip(&desk.path("audit-data/log/tile/entries/007"), 60);
    let (code, result) = checked(&desk, &at, &[]);
    assert_eq!(
        (code, &result["from"]),
        (Some(0), &json!(RANGE)),
        "{result}"
    );
    let (code, result) = checked(&desk, &at, &["--whole"]);
    assert_eq!((code, &result["ranges"]), (Some(1), &json!(2)), "{result}");
    let mut found = named(&result);
    found.sort_unstable();
    // The hash of the second tile below is the one that was changed; what lies above it was not.
    assert_eq!(found, ["entries-7", "tile-1-0"], "{result}");
    assert_eq!(result["verified"], 0, "{result}");

    // Until it is mended it is found again, and stands as what it was.
    append(&desk, &at, "long", &events.repeat(300));
    let (code, result) = checked(&desk, &at, &[]);
    assert_eq!(
        (code, &result["standing"]),
        (Some(1), &json!(2)),
        "{result}"
    );
    server.stop();
}

#[test]
fn a_sealed_value_that_does_not_open_is_found_and_none_is_told() {
    const WORDS: &str = "the prompt nobody else may read";
    let desk = Desk::with_ledger();
    desk.ok(&["run", "start", "--name", "sealed"]);
    let event = json!({
        "kind": "annotation.preference",
        "body": { "choice": "a" },
        "sealed": { "prompt": WORDS, "response_a": "one", "response_b": "two" },
    });
    append(&desk, &[], "sealed", &format!("{event}\n").repeat(300));
    let (code, result) = checked(&desk, &[], &["--whole"]);
    assert_eq!((code, &result["faults"]), (Some(0), &json!(0)), "{result}");

    // One that was changed, a file that is cut off, and one that is gone: beside the first 256 records.
    let file = desk.path("audit-data/sealed/000");
    let good = fs::read(&file).unwrap();
    flip(&file, good.len() - 5);
    let (code, result) = checked(&desk, &[], &["--whole"]);
    assert_eq!(
        (code, named(&result)),
        (Some(1), vec!["sealed-0"]),
        "{result}"
    );
    assert!(result.to_string().contains("does not decrypt"), "{result}");
    fs::write(&file, &good[..good.len() / 2]).unwrap();
    let (code, result) = checked(&desk, &[], &["--whole"]);
    assert_eq!(
        (code, named(&result)),
        (Some(1), vec!["sealed-0"]),
        "{result}"
    );
    fs::remove_file(&file).unwrap();
    let (code, result) = checked(&desk, &[], &["--whole"]);
    assert_eq!(
        (code, named(&result)),
        (Some(1), vec!["sealed-0"]),
        "{result}"
    );
    let all = desk.ok(&["jobs", "list", "--json"]);
    assert!(!all.contains(WORDS), "{all}");
    fs::write(&file, &good).unwrap();

    // Erased is not lost: whose key was destroyed, of that one nothing is missing.
    let meta = SqliteMeta::open(&desk.path("audit-data/ledger.sqlite")).unwrap();
    let keys = meta.list_subject_keys(None, 1_000).unwrap();
    assert!(!keys.is_empty());
    for row in keys {
        assert!(meta.destroy_subject_key(&row.key.id).unwrap());
    }
    drop(meta);
    let (code, result) = checked(&desk, &[], &["--whole"]);
    assert_eq!(
        (code, &result["standing"]),
        (Some(0), &json!(0)),
        "{result}"
    );
}
