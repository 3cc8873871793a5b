//! A ledger that is closed for good, and the one that goes on from it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod common;

use std::fs;

use common::{ADMIN, Desk, Server, text};
use serde_json::Value;

const EVENT: &[u8] = br#"{"kind":"metric.logged","body":{"metrics":{"loss":0.5}}}"#;

fn closed() -> (Desk, Value) {
    let desk = Desk::with_ledger();
    desk.ok(&["run", "start", "--name", "one"]);
    desk.ok(&["run", "seal", "one"]);
    desk.ok(&["run", "start", "--name", "open"]);
    let refused = desk.fails(2, &["close"]);
    assert!(refused.contains("cannot be undone"), "{refused}");
    desk.ok(&["run", "start", "--name", "still goes on"]);
    let args = [
        "close",
        "--yes",
        "--reason",
        "moved",
        "--successor-origin",
        "example.com/next",
    ];
    let closed = desk.json(&args);
    (desk, closed)
}

/// I22.
#[test]
fn a_closed_ledger_takes_nothing_and_can_be_read() {
    let (desk, closed) = closed();
    let report = desk.verified();
    assert_eq!(report["closed"]["index"], closed["closed"]);
    assert_eq!(report["closed"]["successor"], "example.com/next");
    assert_eq!(report["closed"]["reason"], "moved");
    // The record and the signature over it are the last there are.
    let size = closed["size"].as_u64().unwrap();
    assert_eq!(report["checkpoint"]["size"], size);
    assert_eq!(closed["closed"].as_u64().unwrap(), size - 2);
    assert_eq!(report["counts"]["unsigned_records"], 0);

    let refused = desk.run_with(&["append", "--run", "open"], EVENT);
    let said = text(&refused.stdout, &refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("closed for good") && said.contains("init --succeeds"),
        "{said}"
    );
    desk.fails(2, &["run", "start", "--name", "another"]);
    desk.fails(2, &["run", "seal", "open"]);
    desk.fails(2, &["close", "--yes"]);
    desk.fails(2, &["key", "rotate", "--purpose", "operator"]);
    // What only reads goes on.
    desk.ok(&["run", "list"]);
    desk.ok(&["prove", "3"]);
    desk.ok(&["bundle", "one", "--output", "one.bundle"]);
    desk.ok(&["verify", "one.bundle", "--policy", "audit-data/policy"]);
    desk.ok(&["key", "show"]);
    desk.ok(&["reindex"]);
    assert_eq!(desk.verified()["checkpoint"]["size"], size);

    let server = Server::start(&desk);
    let refused = ureq_post(&format!("{}/v1/runs", server.url), r#"{"name":"late"}"#);
    assert_eq!(refused.0, 410, "{}", refused.1);
    assert!(refused.1.contains("ledger-closed"), "{}", refused.1);
    let args = [
        "verify",
        &format!("{}/log", server.url),
        "--policy",
        "audit-data/policy",
    ];
    desk.ok(&[&args[..], &["--token", ADMIN]].concat());
}

/// One request, by the plainest means there is.
fn ureq_post(url: &str, body: &str) -> (u16, String) {
    use std::io::{Read as _, Write as _};
    let (address, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /{path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {ADMIN}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer)
}

#[test]
fn a_successor_names_what_it_goes_on_from() {
    let (desk, closed) = closed();
    let successor = desk.json(&["init", "--data-dir", "next", "--succeeds", "audit-data"]);
    assert_eq!(successor["predecessor"]["origin"], closed["origin"]);
    let report = desk.json(&["verify", "next", "--policy", "next/policy"]);
    assert_eq!(report["verdict"], "verified", "{report}");
    for member in ["origin", "size", "root"] {
        assert_eq!(report["predecessor"][member], closed[member], "{member}");
    }
    let said = desk.ok(&["verify", "next", "--policy", "next/policy"]);
    assert!(said.contains("goes on     from"), "{said}");
    desk.ok(&["run", "start", "--name", "goes on", "--data-dir", "next"]);
    let report = desk.json(&["verify", "next", "--policy", "next/policy"]);
    assert_eq!(report["predecessor"]["size"], closed["size"]);

    // From the checkpoint alone, with the policy that says whose it is.
    let checkpoint = "audit-data/log/checkpoint";
    desk.fails(2, &["init", "--data-dir", "b", "--succeeds", checkpoint]);
    let args = [
        "init",
        "--data-dir",
        "b",
        "--succeeds",
        checkpoint,
        "--predecessor-policy",
    ];
    desk.fails(2, &[&args[..], &["next/policy"]].concat());
    assert!(!desk.path("b").exists());
    desk.ok(&[&args[..], &["audit-data/policy"]].concat());
}

#[test]
fn only_a_closed_ledger_that_verifies_is_succeeded() {
    let desk = Desk::with_ledger();
    desk.ok(&["run", "start", "--name", "one"]);
    let refused = desk.fails(
        2,
        &["init", "--data-dir", "next", "--succeeds", "audit-data"],
    );
    assert!(refused.contains("is not closed"), "{refused}");
    desk.ok(&["close", "--yes"]);
    let bundle = desk.path("audit-data/log/tile/entries");
    let bundle = fs::read_dir(bundle)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let bundle = fs::read_dir(bundle)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = fs::read(&bundle).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    desk.fails(
        2,
        &["init", "--data-dir", "next", "--succeeds", "audit-data"],
    );
    assert!(!desk.path("next").exists());
}
