//! What was acknowledged survives (I1, I2), and one directory has one process (I12).

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use common::{ADMIN, Desk, Server};

fn with<'a>(args: &[&'a str], remote: &[&'a str]) -> Vec<&'a str> {
    [args, remote].concat()
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let desk = Desk::with_ledger();
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let server = Server::start(&desk);
        let remote = [
            "--server",
            server.url.as_str(),
            "--token",
            ADMIN,
            "--key",
            "producer.key",
        ];
        let name = format!("round-{round}");
        desk.ok(&with(&["run", "start", "--name", &name], &remote));
        let event = br#"{"kind":"annotation.preference","body":{"choice":"b"},"sealed":{"response_a":"x","response_b":"y"}}"#;
        let output = desk.run_with(&with(&["append", "--run", &name, "--json"], &remote), event);
        assert!(
            output.status.success(),
            "{}",
            common::text(&output.stdout, &output.stderr)
        );
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        acknowledged.push((
            name,
            answer["first"].as_u64().unwrap(),
            answer["last"].as_u64().unwrap(),
        ));
        server.kill();
    }
    for (name, first, last) in &acknowledged {
        let shown = desk.json(&["run", "show", name]);
        assert_eq!(
            shown["run"]["records"].as_u64().unwrap(),
            4 + last - first,
            "{shown}"
        );
        for index in *first..=*last {
            let proven = desk.json(&["prove", &index.to_string()]);
            assert_eq!(proven["records"][0]["record"]["run"], shown["run"]["run"]);
        }
    }
    let report = desk.verified();
    assert_eq!(
        report["counts"]["opened"], 10,
        "an opening was lost: {report}"
    );
}

#[test]
fn the_second_process_on_a_directory_is_refused_and_told_what_to_do() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let out = desk.fails(3, &["run", "list"]);
    assert!(out.contains("--server"), "{out}");
    let out = desk.fails(3, &["serve", "--port", "0"]);
    assert!(out.contains("--server") || out.contains("open"), "{out}");
    desk.ok(&["run", "list", "--server", &server.url, "--token", ADMIN]);
}

#[test]
fn nobody_gets_in_without_a_token() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let out = desk.fails(2, &["run", "list", "--server", &server.url]);
    assert!(out.contains("token"), "{out}");
    let wrong = ADMIN.replace("AAAA", "BBBB");
    desk.fails(
        2,
        &["run", "list", "--server", &server.url, "--token", &wrong],
    );
    desk.fails(2, &["serve", "--host", "0.0.0.0", "--no-auth"]);
    // A producer appends to its own runs and reads nothing.
    let token = desk.json(&[
        "token",
        "create",
        "--name",
        "trainer",
        "--role",
        "producer",
        "--server",
        &server.url,
        "--token",
        ADMIN,
    ]);
    let producer = token["token"].as_str().unwrap();
    desk.ok(&[
        "run",
        "start",
        "--name",
        "mine",
        "--server",
        &server.url,
        "--token",
        producer,
        "--key",
        "k",
    ]);
    desk.fails(
        2,
        &["prove", "0", "--server", &server.url, "--token", producer],
    );
    desk.ok(&[
        "run",
        "start",
        "--name",
        "theirs",
        "--server",
        &server.url,
        "--token",
        ADMIN,
        "--key",
        "k",
    ]);
    let event = br#"{"kind":"metric.logged","body":{"metrics":{"loss":1}}}"#;
    let output = desk.run_with(
        &[
            "append",
            "--run",
            "theirs",
            "--server",
            &server.url,
            "--token",
            producer,
            "--key",
            "k",
        ],
        event,
    );
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}",
        common::text(&output.stdout, &output.stderr)
    );
    desk.ok(&[
        "token",
        "revoke",
        token["id"].as_str().unwrap(),
        "--server",
        &server.url,
        "--token",
        ADMIN,
    ]);
    desk.fails(
        2,
        &[
            "run",
            "start",
            "--name",
            "again",
            "--server",
            &server.url,
            "--token",
            producer,
            "--key",
            "k",
        ],
    );
}
