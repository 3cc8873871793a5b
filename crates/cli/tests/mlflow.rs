//! MLflow's own client against a server, which is killed meanwhile.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{ADMIN, Desk, Server, entries, text};
use serde_json::Value;

const STEPS: usize = 60;

fn script(name: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(testkit::services::python("mlflow-skinny"));
    command.arg(root.join(name));
    command
}

/// A trainer's token.
fn token(url: &str, desk: &Desk) -> String {
    let create = ["token", "create", "--name", "trainer", "--role", "producer"];
    let at = ["--server", url, "--token", ADMIN];
    let created = desk.json(&[&create[..], &at].concat());
    created["token"].as_str().unwrap().to_owned()
}

fn logging_to<'a>(url: &str, token: &str, command: &'a mut Command) -> &'a mut Command {
    command
        .env("MLFLOW_TRACKING_URI", url)
        .env("MLFLOW_TRACKING_TOKEN", token)
        .env_remove("MLFLOW_TRACKING_USERNAME")
        .stdin(Stdio::null())
}

/// Ends with the test.
struct Training(Child);

impl Drop for Training {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The records of `./audit-data` of this kind that belong to this run.
fn records(desk: &Desk, run: &str, kind: &str) -> Vec<Value> {
    let all = entries(&desk.path("audit-data/log"));
    let all = all
        .iter()
        .map(|entry| serde_json::from_slice::<Value>(entry).unwrap());
    all.filter(|record| record["kind"] == kind && record["run"] == run)
        .collect()
}

#[test]
fn a_training_goes_on_while_its_server_is_killed_and_every_step_is_recorded_once() {
    let desk = Desk::with_ledger();
    let mut server = Some(Server::start(&desk));
    let url = server.as_ref().unwrap().url.clone();
    let port = url.rsplit_once(':').unwrap().1.to_owned();
    let token = token(&url, &desk);
    let mut command = script("tests/python/mlflow_training.py");
    command.arg(STEPS.to_string());
    let child = logging_to(&url, &token, &mut command)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let mut training = Training(child.unwrap());

    let mut said = Vec::new();
    for line in BufReader::new(training.0.stdout.take().unwrap()).lines() {
        said.push(line.unwrap());
        // In the middle of the steps, and of what is logged without waiting.
        if [10, 11, 45, STEPS + 20].contains(&said.len()) {
            server.take().unwrap().kill();
            server = Some(Server::start_with(&desk, &["--port", &port]));
        }
    }
    assert!(training.0.wait().unwrap().success(), "{said:?}");
    let read: Value = serde_json::from_str(said.last().unwrap()).unwrap();
    let run = read["run"].as_str().unwrap();
    assert_eq!(read["status"], "FINISHED");
    assert_eq!(read["found"], serde_json::json!([run]));
    assert_eq!(
        read["artifacts"],
        serde_json::json!(["checkpoint-0", "checkpoint-20", "checkpoint-40", "prompts"])
    );
    assert_eq!(
        read["history"]["grad_norm"],
        serde_json::json!([[7, "nan"]])
    );
    for name in ["loss", "rewards/margins", "kl", "eval/accuracy"] {
        let steps = read["history"][name].as_array().unwrap();
        let steps = steps.iter().map(|point| point[0].as_u64().unwrap());
        // What is logged without waiting arrives in any order.
        let mut steps: Vec<_> = steps.collect();
        steps.sort_unstable();
        assert_eq!(steps, (0..STEPS as u64).collect::<Vec<_>>(), "{name}");
    }
    server.unwrap().stop();

    // The same in the log, and each once.
    let mut logged: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records(&desk, run, "metric.logged") {
        let body = &record["body"];
        for name in body["metrics"].as_object().unwrap().keys() {
            let step = body["step"].as_u64().unwrap();
            logged.entry(name.clone()).or_default().push(step);
        }
    }
    assert_eq!(logged.len(), 6, "{logged:?}");
    for (name, steps) in &mut logged {
        steps.sort_unstable();
        assert_eq!(*steps, (0..STEPS as u64).collect::<Vec<_>>(), "{name}");
    }
    assert_eq!(records(&desk, run, "artifact.logged").len(), 7);
    assert_eq!(records(&desk, run, "model.checkpoint").len(), 3);
    assert_eq!(
        records(&desk, run, "run.sealed")[0]["body"]["status"],
        "completed"
    );
    for entry in entries(&desk.path("audit-data/log")) {
        let entry = String::from_utf8(entry).unwrap();
        let secrets = [
            "ann@",
            "/home/ann",
            "hf_notFor",
            "kind to",
            "went well",
            "modelling of",
        ];
        for secret in secrets {
            assert!(!entry.contains(secret), "{secret} is in the clear: {entry}");
        }
    }
    desk.verified();
    desk.ok(&["bundle", "dpo", "--openings", "--output", "dpo.bundle"]);
    let policy = "audit-data/policy";
    desk.ok(&["verify", "dpo.bundle", "--policy", policy]);
    let card = desk.ok(&["card", "dpo", "--draft"]);
    assert!(
        card.contains(r"| optim | adamw\_torch |") && !card.contains("hf_notFor"),
        "{card}"
    );
}

#[test]
fn every_end_of_a_run_is_what_the_client_says() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let token = token(&server.url, &desk);
    let mut command = script("tests/python/mlflow_endings.py");
    // By name and password this time.
    let output = logging_to(&server.url, &token, &mut command)
        .env_remove("MLFLOW_TRACKING_TOKEN")
        .env("MLFLOW_TRACKING_USERNAME", "trainer")
        .env("MLFLOW_TRACKING_PASSWORD", &token)
        .output()
        .unwrap();
    let said = text(&output.stdout, &output.stderr);
    assert!(output.status.success(), "{said}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let runs: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    server.stop();
    for (run, status) in [
        ("FINISHED", "completed"),
        ("FAILED", "failed"),
        ("KILLED", "aborted"),
        ("long", "completed"),
    ] {
        let run = runs[run].as_str().unwrap();
        let sealed = records(&desk, run, "run.sealed");
        assert_eq!(sealed[0]["body"]["status"], status);
    }
    // After the end: named by the run's id, outside of the run.
    let late = records(&desk, "ledger", "metric.logged");
    assert_eq!(
        (&late[0]["body"]["run"], &late[0]["body"]["metrics"]),
        (&runs["long"], &serde_json::json!({ "eval/loss": 0.125 }))
    );
    desk.verified();
}

#[test]
fn the_example_works_as_it_says() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let token = token(&server.url, &desk);
    let mut command = script("../../examples/mlflow_logging.py");
    let output = logging_to(&server.url, &token, &mut command)
        .output()
        .unwrap();
    let said = text(&output.stdout, &output.stderr);
    assert!(output.status.success(), "{said}");
    server.stop();
    let lines = String::from_utf8(output.stdout).unwrap();
    let run = lines
        .lines()
        .find(|line| line.len() == 26 && !line.contains(' '))
        .unwrap();
    assert_eq!(records(&desk, run, "metric.logged").len(), 20);
    let described = records(&desk, run, "run.described");
    let config = described
        .iter()
        .filter(|it| it["body"]["config"].is_object())
        .count();
    assert_eq!(config, 1);
    desk.verified();
}
