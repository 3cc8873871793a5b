//! `rlhf-audit bench` as a user runs it: it loads, and it notices when what it is told is not true.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use common::{ADMIN, Desk, Server};
use serde_json::Value;

/// I1: everything acknowledged under load is in the verified log at the index that was answered.
#[test]
fn what_is_acknowledged_under_load_is_in_the_log() {
    let desk = Desk::new();
    let seen = desk.json(&[
        "bench",
        "append",
        "--clients",
        "5",
        "--batch",
        "7",
        "--records",
        "400",
        "--below",
        ".",
    ]);
    let records = seen["records"].as_u64().unwrap();
    assert!(records >= 400, "{seen}");
    assert_eq!(seen["check"]["found"], records, "{seen}");
    assert_eq!(seen["check"]["missing"], 0, "{seen}");
    assert_eq!(seen["check"]["verdict"], "verified", "{seen}");
    assert!(seen["latency_ms"]["p99_9"].as_f64() >= seen["latency_ms"]["p50"].as_f64());
    assert!(
        seen["published_ms"]["max"].as_f64().unwrap() > 0.0,
        "{seen}"
    );
    assert!(seen["server"]["peak_resident_bytes"].as_u64().unwrap() > 1_000_000);
    let left = std::fs::read_dir(desk.dir.path()).unwrap().count();
    assert_eq!(left, 0, "the ledger was not thrown away");
}

#[test]
fn a_kept_ledger_goes_on_and_is_read_and_timed() {
    let desk = Desk::new();
    for (sealed, verdict) in [(None, "verified"), (Some("--sealed"), "verified")] {
        let mut args = vec!["bench", "append", "--data-dir", "kept", "--records", "300"];
        args.extend(["--clients", "3", "--batch", "2"]);
        args.extend(sealed);
        let seen = desk.json(&args);
        assert_eq!(seen["check"]["verdict"], verdict, "{seen}");
        assert_eq!(seen["check"]["missing"], 0, "{seen}");
    }
    for of in ["bundles", "records"] {
        let seen = desk.json(&[
            "bench",
            "read",
            "--data-dir",
            "kept",
            "--clients",
            "2",
            "--seconds",
            "1",
            "--of",
            of,
        ]);
        assert!(seen["reads"].as_u64().unwrap() > 0, "{seen}");
        assert_eq!(seen["false"], Value::Null, "{seen}");
        assert_eq!(seen["unread"], 0, "{seen}");
        assert_eq!(seen["check"]["verdict"], "verified", "{seen}");
    }
    let seen = desk.json(&[
        "bench",
        "verify",
        "--data-dir",
        "kept",
        "--rounds",
        "1",
        "--threads",
        "1",
        "--threads",
        "2",
    ]);
    assert!(seen["records"].as_u64().unwrap() > 600, "{seen}");
    assert_eq!(seen["timings"][1]["threads"], 2, "{seen}");
    assert_eq!(seen["verdict"], "verified", "{seen}");
}

/// I9, I11: readers believe no byte that the signed tree does not hold.
#[test]
fn a_reader_notices_one_changed_byte() {
    let desk = Desk::new();
    desk.json(&[
        "bench",
        "append",
        "--data-dir",
        "kept",
        "--records",
        "1200",
        "--batch",
        "50",
    ]);
    // Not the first, which a server reads when it starts.
    let bundle = desk.path("kept/log/tile/entries/001");
    let mut bytes = std::fs::read(&bundle).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let said = desk.fails(
        1,
        &[
            "bench",
            "read",
            "--data-dir",
            "kept",
            "--seconds",
            "20",
            "--no-verify",
        ],
    );
    assert!(said.contains("FALSE"), "{said}");
    let said = desk.fails(
        1,
        &["bench", "verify", "--data-dir", "kept", "--rounds", "1"],
    );
    assert!(said.contains("the log: failed"), "{said}");
}

#[test]
fn a_server_is_loaded_and_held_against_the_policy_that_was_given() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let load = |policy: &str| {
        let args = [
            "bench",
            "append",
            "--server",
            &server.url,
            "--token",
            ADMIN,
            "--policy",
            policy,
            "--records",
            "50",
            "--clients",
            "2",
            "--json",
        ];
        desk.run(&args)
    };
    let output = load("audit-data/policy");
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{seen}");
    assert_eq!(seen["check"]["verdict"], "verified", "{seen}");
    assert_eq!(seen["server"], Value::Null, "it is not the tool's own");

    let other = Desk::with_ledger();
    let output = load(other.path("audit-data/policy").to_str().unwrap());
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{seen}");
    assert_eq!(seen["check"]["found"], 0, "{seen}");

    let policy = "audit-data/policy";
    desk.fails(
        2,
        &[
            "bench",
            "append",
            "--server",
            &server.url,
            "--policy",
            policy,
            "--token",
            "rat_wrong",
        ],
    );
    desk.fails(
        2,
        &[
            "bench",
            "append",
            "--server",
            "https://127.0.0.1",
            "--policy",
            policy,
        ],
    );
    server.kill();
    desk.fails(
        3,
        &[
            "bench",
            "read",
            "--server",
            "http://127.0.0.1:1",
            "--policy",
            policy,
        ],
    );
}
