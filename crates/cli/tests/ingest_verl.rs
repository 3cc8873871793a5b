//! verl's files, followed while they are written: each line is recorded once, whatever happens to whoever reads it.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs;
use std::time::Duration;

use client::Client;
use common::spool::records;
use common::trainer::{Running, append, bodies, id, log_line, rollout, train};
use common::{ADMIN, Desk, Server, eventually};
use serde_json::Value;

const FOLLOW: [&str; 8] = [
    "ingest",
    "verl",
    "run.jsonl",
    "--rollouts",
    "rollouts",
    "--follow",
    "--name",
    "verl-run",
];

fn follow(desk: &Desk, server: &Server, more: &[&str]) -> Running {
    let to = ["--server", &server.url, "--token", ADMIN];
    Running::start(desk, &[&FOLLOW[..], &to, more].concat())
}

fn client(server: &Server) -> Client {
    Client::new(&server.url, Some(ADMIN)).unwrap()
}

fn count(server: &Server, kind: &str) -> usize {
    bodies(&server.url, "verl-run", kind).len()
}

/// Waits until the log has published so many records of a kind of the run.
fn published(server: &Server, kind: &str, expected: usize) {
    eventually("the records are published", || {
        let there = client(server).run("verl-run").is_ok();
        there && count(server, kind) >= expected
    });
    assert_eq!(count(server, kind), expected, "{kind}");
}

/// The run is in a bundle that verifies, openings too.
fn bundled(desk: &Desk, server: &Server, run: &str) -> Value {
    let to = ["--server", &server.url, "--token", ADMIN];
    desk.ok(&[&["bundle", run, "-o", "run.bundle", "--openings"][..], &to].concat());
    let report = desk.json(&["verify", "run.bundle", "--policy", "audit-data/policy"]);
    assert_eq!(report["verdict"], "verified", "{report}");
    report
}

#[test]
fn killed_again_and_again_it_records_each_line_once() {
    const STEPS: u64 = 40;
    const ROLLOUTS: u64 = 6;
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let mut following = follow(&desk, &server, &["--experiment", "kills"]);
    let mut written = 0;
    for round in 0_u64..10 {
        // Whole steps, then one that is half there when it is killed.
        train(&desk, written + 1..=written + 3, ROLLOUTS);
        written += 4;
        let last = rollout(written, 0);
        let (head, tail) = last.split_at(last.len() / 2);
        append(&desk.path(&format!("rollouts/{written}.jsonl")), head);
        let line = log_line(written);
        let (line_head, line_tail) = line.split_at(11);
        // At another moment each time: before it has looked, while it reads, after.
        std::thread::sleep(Duration::from_millis(90 * round));
        following.kill();
        append(&desk.path(&format!("rollouts/{written}.jsonl")), tail);
        for number in 1..ROLLOUTS {
            append(
                &desk.path(&format!("rollouts/{written}.jsonl")),
                &rollout(written, number),
            );
        }
        append(&desk.path("run.jsonl"), line_head);
        following = follow(&desk, &server, &[]);
        append(&desk.path("run.jsonl"), line_tail);
    }
    assert_eq!(written, STEPS);
    published(&server, "policy.updated", STEPS as usize);
    let (output, messages) = following.stop();
    assert!(output.status.success(), "{messages}");
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = format!("{} lines are in run", STEPS + STEPS * ROLLOUTS);
    assert!(text.starts_with(&expected), "{text}");
    // Started once.
    assert_eq!(client(&server).runs(None, 10).unwrap().runs.len(), 1);
    let rewards = bodies(&server.url, "verl-run", "reward.scored");
    let mut items: Vec<String> = rewards
        .iter()
        .map(|body| body["item"].to_string())
        .collect();
    items.sort();
    items.dedup();
    assert_eq!(items.len() as u64, STEPS * ROLLOUTS);
    assert_eq!(rewards.len() as u64, STEPS * ROLLOUTS);
    let updates = bodies(&server.url, "verl-run", "policy.updated");
    let steps: Vec<u64> = updates
        .iter()
        .map(|body| body["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, (1..=STEPS).collect::<Vec<_>>());
    assert_eq!(updates[0]["loss"], 0.5);
    assert_eq!(updates[0]["batch"]["records"], ROLLOUTS);
    assert_eq!(count(&server, "metric.logged") as u64, STEPS);
    assert_eq!(count(&server, "incident.reported"), 0);
    // At last it is sealed.
    let to = ["--server", &server.url, "--token", ADMIN, "--seal"];
    let args = [
        "ingest",
        "verl",
        "run.jsonl",
        "--rollouts",
        "rollouts",
        "--name",
        "verl-run",
    ];
    let report = desk.json(&[&args[..], &to].concat());
    assert_eq!(report["rollouts"], STEPS * ROLLOUTS);
    assert_eq!(report["sealed"], "completed");
    let report = bundled(&desk, &server, "verl-run");
    assert_eq!(
        report["counts"]["commitments"],
        2 * STEPS * ROLLOUTS,
        "{report}"
    );
    server.stop();
    desk.verified();
}

#[test]
fn what_the_trainer_writes_while_the_server_is_away_arrives() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    train(&desk, 1..=2, 3);
    let following = follow(&desk, &server, &["--idle", "4s", "--seal"]);
    published(&server, "policy.updated", 2);
    server.kill();
    train(&desk, 3..=6, 3);
    std::thread::sleep(Duration::from_millis(700));
    let server = Server::start_with(&desk, &["--port", &port]);
    let (output, messages) = following.wait();
    assert!(output.status.success(), "{messages}");
    assert_eq!(count(&server, "policy.updated"), 6);
    assert_eq!(count(&server, "reward.scored"), 18);
    assert_eq!(client(&server).run("verl-run").unwrap().status, "completed");
    server.stop();
    desk.verified();
}

#[test]
fn a_run_of_somebody_elses_is_followed_until_it_is_sealed() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let to = ["--server", &server.url, "--token", ADMIN];
    desk.ok(&[&["run", "start", "--name", "theirs"][..], &to].concat());
    train(&desk, 1..=2, 1);
    let args = [
        "ingest",
        "verl",
        "run.jsonl",
        "--follow",
        "--until-sealed",
        "--run",
        "theirs",
    ];
    let following = Running::start(&desk, &[&args[..], &to].concat());
    eventually("it is recorded", || {
        bodies(&server.url, "theirs", "policy.updated").len() == 2
    });
    // A sequence, not a race: signatures are within a second.
    std::thread::sleep(Duration::from_millis(1_500));
    desk.ok(&[&["run", "seal", "theirs"][..], &to].concat());
    let (output, messages) = following.wait();
    assert!(output.status.success(), "{messages}");
    bundled(&desk, &server, "theirs");
    server.stop();
    desk.verified();
}

/// `ingest verl` into the directory, with what is given.
fn ingest<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let args = [
        "ingest",
        "verl",
        "run.jsonl",
        "--rollouts",
        "rollouts",
        "--name",
        "verl-run",
    ];
    [&args[..], more].concat()
}

#[test]
fn bad_lines_are_named_or_counted() {
    let desk = Desk::with_ledger();
    train(&desk, 1..=1, 2);
    append(&desk.path("run.jsonl"), "{\"step\": 2, \"data\": [1]}\n");
    append(&desk.path("run.jsonl"), &log_line(3));
    append(&desk.path("rollouts/3.jsonl"), &rollout(3, 0));
    append(
        &desk.path("rollouts/3.jsonl"),
        "{\"input\": \"q\", \"output\": \"the secret\", \"score\": \"high\"}\n",
    );
    append(
        &desk.path("rollouts/3.jsonl"),
        "{\"input\": \"q\", \"output\": \"a\", \"score\": NaN, \"step\": 3}\n",
    );
    append(
        &desk.path("rollouts/3.jsonl"),
        &format!("{{\"input\": \"{}\"}}\n", "x".repeat(17 << 20)),
    );
    append(
        &desk.path("rollouts/3.jsonl"),
        "{\"input\": \"q\", \"output\": \"a\", \"sc",
    );
    let said = desk.fails(2, &ingest(&[]));
    assert!(
        said.contains("rollouts/3.jsonl, line 2: expected a number at `score`, found a text"),
        "{said}"
    );
    assert!(
        said.contains("--skip-bad") && !said.contains("secret"),
        "{said}"
    );
    // Again, the same; what stands before is there once.
    assert_eq!(desk.fails(2, &ingest(&[])), said);
    let report = desk.json(&ingest(&["--skip-bad"]));
    assert_eq!(report["lines"], 3 + 2 + 5, "{report}");
    assert_eq!(report["skipped"], 4, "{report}");
    assert_eq!(report["rollouts"], 3, "{report}");
    // One of them for the reward that is NaN.
    assert_eq!(report["incidents"], 5, "{report}");
    assert_eq!(report["updates"], 2, "{report}");
    assert_eq!(
        desk.json(&ingest(&["--skip-bad", "--seal"]))["incidents"],
        5
    );
    let verified = desk.verified();
    assert_eq!(verified["counts"]["commitments"], 3 * 2 + 5, "{verified}");
}

#[test]
fn a_file_that_was_written_anew_is_an_error_or_read_again() {
    let desk = Desk::with_ledger();
    train(&desk, 1..=3, 2);
    desk.ok(&ingest(&[]));
    // verl resumes at step 3: it opens its log anew, and dumps the step's rollouts again.
    fs::write(desk.path("run.jsonl"), log_line(3)).unwrap();
    let said = desk.fails(2, &ingest(&[]));
    assert!(said.contains("run.jsonl was truncated: it has "), "{said}");
    assert!(said.contains("--on-rewrite again"), "{said}");
    fs::write(
        desk.path("rollouts/3.jsonl"),
        rollout(3, 7) + &rollout(3, 8),
    )
    .unwrap();
    let report = desk.json(&ingest(&["--on-rewrite", "again"]));
    assert_eq!(report["incidents"], 2, "{report}");
    assert_eq!(report["updates"], 4, "{report}");
    assert_eq!(report["rollouts"], 8, "{report}");
    assert_eq!(desk.json(&ingest(&["--seal"]))["rollouts"], 8);
    desk.verified();
    // Sealed is sealed.
    append(&desk.path("run.jsonl"), &log_line(4));
    let said = desk.fails(2, &ingest(&[]));
    assert!(said.contains("sealed"), "{said}");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let desk = Desk::with_ledger();
    let said = desk.fails(2, &ingest(&[]));
    assert!(said.contains("there is no run.jsonl"), "{said}");
    train(&desk, 1..=1, 1);
    desk.ok(&ingest(&[]));
    let said = desk.fails(2, &["ingest", "verl", "run.jsonl", "--name", "another"]);
    assert!(
        said.contains("into the run `verl-run` before, not `another`"),
        "{said}"
    );
    let mut following = Running::start(&desk, &ingest(&["--follow"]));
    let said = desk.fails(3, &ingest(&["--data-dir", "elsewhere"]));
    assert!(
        said.contains("another process ingests into run.jsonl.audit"),
        "{said}"
    );
    following.kill();
    // Validation before training, and its rollouts.
    fs::create_dir_all(desk.path("validation")).unwrap();
    fs::write(desk.path("validation/0.jsonl"), rollout(0, 0)).unwrap();
    append(
        &desk.path("run.jsonl"),
        "{\"step\":1,\"data\":{\"val-core/math/acc/mean@1\":0.5,\"val-aux/n\":null}}\n",
    );
    let report = desk.json(&ingest(&["--validation", "validation"]));
    assert_eq!(
        (
            &report["evaluations"],
            &report["rollouts"],
            &report["incidents"]
        ),
        (&1.into(), &2.into(), &1.into()),
        "{report}"
    );
    let server = Server::start(&desk);
    let evaluation = &bodies(&server.url, "verl-run", "evaluation.completed")[0];
    assert_eq!(evaluation["metrics"]["val-core/math/acc/mean@1"], 0.5);
    assert_eq!(
        records(&server.url, &id(&server.url, "verl-run")).len() as u64,
        client(&server).run("verl-run").unwrap().records
    );
    let items: Vec<Value> = bodies(&server.url, "verl-run", "reward.scored");
    assert_eq!(items[1]["item"], "validation/0.jsonl:1");
    server.stop();
}
