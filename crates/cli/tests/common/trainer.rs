//! Files as verl writes them, and commands that run beside a test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Output, Stdio};

use serde_json::{Value, json};

use super::Desk;

/// A line of the file logger: some metrics, one of them as it is written when it is not finite.
pub(crate) fn log_line(step: u64) -> String {
    let value = json!({
        "step": step,
        "data": {
            "actor/pg_loss": 0.5 / step as f64, "actor/lr": 1e-6, "actor/grad_norm": 1.5, "actor/kl_loss": 0.001,
            "actor/entropy": 0.25, "critic/rewards/mean": 0.125, "training/epoch": 0, "training/global_step": step,
        },
    });
    format!("{value}\n")
}

/// A line of a file of rollouts.
pub(crate) fn rollout(step: u64, number: u64) -> String {
    let value = json!({
        "input": format!("Frage {number}: größer wie “{step}”?"), "output": "ja 😀\n", "gts": "ja", "score": 0.5,
        "step": step, "acc": true,
    });
    format!("{value}\n")
}

/// What verl leaves after so many steps.
pub(crate) fn train(desk: &Desk, steps: std::ops::RangeInclusive<u64>, rollouts: u64) {
    std::fs::create_dir_all(desk.path("rollouts")).unwrap();
    for step in steps {
        let lines: String = (0..rollouts).map(|number| rollout(step, number)).collect();
        std::fs::write(desk.path(&format!("rollouts/{step}.jsonl")), lines).unwrap();
        append(&desk.path("run.jsonl"), &log_line(step));
    }
}

pub(crate) fn append(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A command that runs beside the test, killed when dropped.
pub(crate) struct Running {
    child: Option<Child>,
    /// What it said first.
    pub(crate) first: String,
    rest: Option<std::thread::JoinHandle<String>>,
}

impl Running {
    /// Starts it, and waits for its first line of messages.
    pub(crate) fn start(desk: &Desk, args: &[&str]) -> Self {
        let mut child = desk
            .command(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut messages = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        messages.read_line(&mut first).unwrap();
        let rest = std::thread::spawn(move || {
            let mut text = String::new();
            messages.read_to_string(&mut text).unwrap();
            text
        });
        Self {
            child: Some(child),
            first,
            rest: Some(rest),
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and what it did until its end.
    pub(crate) fn stop(self) -> (Output, String) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status();
        assert!(sent.unwrap().success());
        self.wait()
    }

    /// What it did until its end.
    pub(crate) fn wait(mut self) -> (Output, String) {
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        let rest = self.rest.take().unwrap().join().unwrap();
        let messages = format!("{}{rest}", self.first);
        (output, messages)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The bodies of a run's records of one kind, in the order of the log; the run by its name or id.
pub(crate) fn bodies(url: &str, run: &str, kind: &str) -> Vec<Value> {
    let records = super::spool::records(url, &id(url, run));
    let values = records
        .iter()
        .map(|record| serde_json::from_str::<Value>(record.record.get()).unwrap());
    values
        .filter(|value| value["kind"] == kind)
        .map(|value| value["body"].clone())
        .collect()
}

/// A run's id.
pub(crate) fn id(url: &str, run: &str) -> String {
    let client = client::Client::new(url, Some(super::ADMIN)).unwrap();
    client.run(run).unwrap().run.to_string()
}
