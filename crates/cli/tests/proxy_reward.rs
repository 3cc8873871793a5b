//! The proxy before a reward model: what it passes on is as it came, and what it passed on is recorded.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use client::Client;
use common::rewards::{RewardModel, ask, query, read, rewards};
use common::trainer::{Running, bodies};
use common::{ADMIN, Desk, Server, eventually};
use serde_json::{Value, json};

struct Proxy {
    running: Running,
    address: String,
}

impl Proxy {
    fn start(desk: &Desk, server: &Server, upstream: &str, more: &[&str]) -> Self {
        let args = [
            "proxy",
            "reward",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            upstream,
        ];
        let to = ["--server", &server.url, "--token", ADMIN];
        let running = Running::start(desk, &[&args[..], &to, more].concat());
        let address = running.first.split_once("on http://").map(|(_, rest)| rest);
        let address = address.and_then(|rest| rest.split_whitespace().next());
        let address = address
            .unwrap_or_else(|| panic!("{}", running.first))
            .to_owned();
        Self { running, address }
    }
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

fn details(server: &Server, run: &str) -> Vec<String> {
    let incidents = bodies(&server.url, run, "incident.reported");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    incidents
        .iter()
        .map(|body| {
            format!("{} {}", text(&body["incident"]), text(&body["detail"]))
                .trim()
                .to_owned()
        })
        .collect()
}

fn bundled(desk: &Desk, server: &Server, run: &str) -> Value {
    let to = ["--server", &server.url, "--token", ADMIN];
    desk.ok(&[&["bundle", run, "-o", "run.bundle", "--openings"][..], &to].concat());
    let report = desk.json(&["verify", "run.bundle", "--policy", "audit-data/policy"]);
    assert_eq!(report["verdict"], "verified", "{report}");
    report
}

#[test]
fn calls_and_answers_pass_as_they_came() {
    let (desk, model) = (Desk::with_ledger(), RewardModel::start());
    let server = Server::start(&desk);
    let more = [
        "--name",
        "passed",
        "--reward-model",
        "rm-1",
        "--seal",
        "--json",
    ];
    let proxy = Proxy::start(&desk, &server, &model.url(), &more);
    let body = query(&[3, 4]);
    let (head, answer) = ask(&proxy.address, "/get_reward?x=%20y", &body).unwrap();
    assert_eq!(answer, rewards(&body).into_bytes());
    let lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines[0], "HTTP/1.1 200 OK");
    // Nothing between the neighbours, nothing of its own but about its connection.
    let length = format!("Content-Length: {}", answer.len());
    let mut told: Vec<&str> = lines[1..]
        .iter()
        .copied()
        .filter(|line| !line.eq_ignore_ascii_case("connection: close"))
        .collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [&length, "Content-Type: application/json", "X-Model: Rm-1"]
    );
    let asked = model.heard();
    let asked = String::from_utf8_lossy(&asked[0]);
    let (head, there) = asked.split_once("\r\n\r\n").unwrap();
    assert_eq!(there.as_bytes(), body);
    let mut lines: Vec<&str> = head.lines().collect();
    assert_eq!(lines.remove(0), "POST /get_reward?x=%20y HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", model.address);
    let own: Vec<String> = lines
        .iter()
        .map(|line| line.replace("Host", "host"))
        .collect();
    let expected = [
        &format!("Content-Length: {}", body.len()),
        "Content-Type: application/json",
        "X-Trainer-Id: A1",
        &host,
    ];
    let mut own: Vec<&str> = own.iter().map(String::as_str).collect();
    own.sort_unstable();
    assert_eq!(own, expected);
    // In pieces.
    let (_, answer) = ask(&proxy.address, "/chunked", &body).unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("\"rewards\":[3.0,4.0]"));
    // What is no call of a reward.
    let mut stream = TcpStream::connect(&proxy.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    write!(stream, "GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let (head, well) = read(&mut stream, false).unwrap();
    assert_eq!((status(&head), well.as_slice()), ("200", &b"well"[..]));
    let (output, messages) = proxy.running.stop();
    assert!(output.status.success(), "{messages}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (
            &report["calls"],
            &report["rewards"],
            &report["not_recorded"]
        ),
        (&json!(2), &json!(4), &json!(0))
    );
    let scored = bodies(&server.url, "passed", "reward.scored");
    assert_eq!(scored[0]["reward"], 3);
    assert_eq!(scored[0]["reward_model"], "rm-1");
    assert_eq!(scored[0]["components"], json!({ "scores": 3, "ones": 1 }));
    let report = bundled(&desk, &server, "passed");
    assert_eq!(report["counts"]["commitments"], 8, "{report}");
    server.stop();
    desk.verified();
}

#[test]
fn what_the_reward_model_does_wrong_passes_too_and_is_reported() {
    let (desk, model) = (Desk::with_ledger(), RewardModel::start());
    let server = Server::start(&desk);
    let proxy = Proxy::start(
        &desk,
        &server,
        &model.url(),
        &["--name", "wrong", "--timeout", "3s", "--seal"],
    );
    let body = query(&[1]);
    let call = |path| ask(&proxy.address, path, &body).unwrap();
    let (head, answer) = call("/500");
    assert_eq!(
        head.lines().next().unwrap(),
        "HTTP/1.1 500 Internal Server Error"
    );
    assert_eq!(answer, b"{\"detail\": \"out of memory\"}");
    assert_eq!(call("/garbage").1, b"<html>");
    assert_eq!(call("/nan").1, b"{\"rewards\": [NaN]}");
    let (head, answer) = call("/cut");
    assert_eq!(
        (status(&head), answer.as_slice()),
        ("200", &b"{\"rewards\""[..])
    );
    let (head, answer) = call("/slow");
    assert_eq!(status(&head), "504");
    let problem: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(problem["code"], "upstream-slow", "{problem}");
    // A request that is longer than what is recorded.
    let long = format!("{{\"query\": [\"7 {}\"]}}", "x".repeat(20 << 20));
    let (_, answer) = ask(&proxy.address, "/get_reward", long.as_bytes()).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("[7.0]"), "{answer}");
    assert_eq!(
        ask(&proxy.address, "/get_reward", b"{\"queries\": 1}")
            .unwrap()
            .1,
        rewards(b"").into_bytes()
    );
    // A caller that does not wait.
    let before = model.heard().len();
    let mut hasty = TcpStream::connect(&proxy.address).unwrap();
    write!(
        hasty,
        "POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    hasty.write_all(&body).unwrap();
    eventually("the reward model is asked", || model.heard().len() > before);
    drop(hasty);
    let expected = [
        "reward-model-error broke-off",
        "reward-model-error http-500",
        "reward-model-error timeout",
        "reward-not-finite",
        "reward-not-read caller-gone",
        "reward-not-read too-long",
        "reward-not-read unreadable",
        "reward-not-read unreadable",
    ];
    let mut found = Vec::new();
    eventually("all of it is reported", || {
        found = details(&server, "wrong");
        found.sort();
        if found.len() >= expected.len() {
            return true;
        }
        eprintln!("so far: {found:?}");
        false
    });
    assert_eq!(found, expected);
    let (output, messages) = proxy.running.stop();
    assert!(output.status.success(), "{messages}");
    bundled(&desk, &server, "wrong");
    // A reward model that is not there.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = Proxy::start(
        &desk,
        &server,
        &format!("http://{port}/get_reward"),
        &["--name", "down", "--seal"],
    );
    let (head, answer) = ask(&proxy.address, "/", &body).unwrap();
    assert_eq!(status(&head), "502");
    let problem: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(problem["code"], "upstream-unreachable");
    let said = problem["detail"].as_str().unwrap();
    assert!(
        said.contains(&format!(
            "http://{port}/get_reward did not answer: Connection refused"
        )),
        "{said}"
    );
    proxy.running.stop();
    assert_eq!(details(&server, "down"), ["reward-model-error unreachable"]);
    server.stop();
    desk.verified();
}

#[test]
fn many_callers_at_once_are_all_recorded() {
    const CALLERS: u64 = 16;
    const CALLS: u64 = 25;
    let (desk, model) = (Desk::with_ledger(), RewardModel::start());
    let server = Server::start(&desk);
    let proxy = Proxy::start(&desk, &server, &model.url(), &["--name", "many", "--seal"]);
    std::thread::scope(|scope| {
        for caller in 0..CALLERS {
            let address = &proxy.address;
            scope.spawn(move || {
                for call in 0..CALLS {
                    let number = caller * CALLS + call;
                    let body = query(&[number, number + 10_000]);
                    let (head, answer) = ask(address, "/get_reward", &body).unwrap();
                    assert_eq!(status(&head), "200");
                    assert_eq!(answer, rewards(&body).into_bytes());
                }
            });
        }
    });
    let (output, messages) = proxy.running.stop();
    assert!(output.status.success(), "{messages}");
    assert_eq!(scores(&server, "many").len() as u64, 2 * CALLERS * CALLS);
    bundled(&desk, &server, "many");
    server.stop();
    desk.verified();
}

/// The scores of a run, of which no two are the same.
fn scores(server: &Server, run: &str) -> BTreeSet<u64> {
    let scored = bodies(&server.url, run, "reward.scored");
    let found: BTreeSet<u64> = scored
        .iter()
        .map(|body| body["reward"].as_u64().unwrap())
        .collect();
    assert_eq!(found.len(), scored.len(), "one is there twice");
    found
}

#[test]
fn with_refuse_what_was_answered_is_recorded_whatever_ends_the_proxy() {
    let (desk, model) = (Desk::with_ledger(), RewardModel::start());
    let server = Server::start(&desk);
    let to = ["--server", &server.url, "--token", ADMIN];
    desk.ok(&[&["run", "start", "--name", "killed"][..], &to].concat());
    let more = ["--run", "killed", "--on-error", "refuse"];
    let (answered, next) = (Mutex::new(BTreeSet::new()), AtomicU64::new(0));
    for _ in 0..4 {
        let mut proxy = Proxy::start(&desk, &server, &model.url(), &more);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Acquire) {
                        let number = next.fetch_add(1, Ordering::AcqRel);
                        let body = query(&[number]);
                        let Ok((head, answer)) = ask(&proxy.address, "/get_reward", &body) else {
                            return;
                        };
                        assert_eq!(status(&head), "200");
                        if answer == rewards(&body).into_bytes() {
                            answered.lock().unwrap().insert(number);
                        }
                    }
                });
            }
            let before = answered.lock().unwrap().len();
            eventually("some calls are answered", || {
                answered.lock().unwrap().len() > before + 50
            });
            proxy.running.kill();
            stop.store(true, Ordering::Release);
        });
    }
    let proxy = Proxy::start(&desk, &server, &model.url(), &more);
    let (output, messages) = proxy.running.stop();
    assert!(output.status.success(), "{messages}");
    let recorded = scores(&server, "killed");
    let answered = answered.into_inner().unwrap();
    assert!(
        answered.is_subset(&recorded),
        "{:?}",
        answered.difference(&recorded)
    );
    desk.ok(&[&["run", "seal", "killed"][..], &to].concat());
    bundled(&desk, &server, "killed");
    server.stop();
    desk.verified();
}

#[test]
fn a_full_spool_refuses_calls_or_counts_them() {
    let (desk, model) = (Desk::with_ledger(), RewardModel::start());
    let server = Server::start(&desk);
    let to = ["--server", &server.url, "--token", ADMIN];
    desk.ok(&[&["run", "start", "--name", "full"][..], &to].concat());
    let run = Client::new(&server.url, Some(ADMIN))
        .unwrap()
        .run("full")
        .unwrap()
        .run
        .to_string();
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let limited = ["--spool-limit", "30000"];
    let passing = ["--run", &run, "--spool", "passing"];
    let refusing = [
        "--run",
        &run,
        "--spool",
        "refusing",
        "--on-error",
        "refuse",
        "--stream",
        "refusing",
    ];
    let body = query(&[1, 2, 3, 4, 5, 6, 7, 8]);
    let refuses = Proxy::start(
        &desk,
        &server,
        &model.url(),
        &[&refusing[..], &limited].concat(),
    );
    let passes = Proxy::start(
        &desk,
        &server,
        &model.url(),
        &[&passing[..], &limited].concat(),
    );
    server.kill();
    let mut heads = Vec::new();
    eventually("it refuses", || {
        let (head, answer) = ask(&refuses.address, "/get_reward", &body).unwrap();
        heads.push(status(&head).to_owned());
        status(&head) == "503" && String::from_utf8_lossy(&answer).contains("is full")
    });
    let answered = heads.iter().filter(|head| *head == "200").count();
    for _ in 0..10 {
        let (_, answer) = ask(&passes.address, "/get_reward", &body).unwrap();
        assert_eq!(answer, rewards(&body).into_bytes());
    }
    std::thread::sleep(Duration::from_secs(6));
    let server = Server::start_with(&desk, &["--port", &port]);
    let (output, messages) = passes.running.stop();
    assert_eq!(output.status.code(), Some(3), "{messages}");
    assert!(
        messages.contains("calls were passed on and not recorded"),
        "{messages}"
    );
    assert!(messages.contains("is full"), "{messages}");
    let (output, messages) = refuses.running.stop();
    assert!(output.status.success(), "{messages}");
    let kept: usize = {
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.starts_with(&format!("{answered} calls are in run")),
            "{text} {answered}"
        );
        bodies(&server.url, &run, "reward.scored").len()
    };
    assert!(kept >= 8 * answered);
    assert!(details(&server, &run).contains(&"reward-not-recorded".to_owned()));
    server.stop();
    desk.verified();
}
