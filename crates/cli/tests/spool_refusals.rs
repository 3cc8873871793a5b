//! Servers that refuse, forget or are others than they were: nothing accepted is lost, and it is said what became of it
//! (I20, I23).

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use client::Client;
use client::spool::{IncidentKind, Spool, SpoolError, SpooledStream};
use common::spool::{
    LONG, files, logged, numbered, numbers, open, options, options_with, records, run_id, start_run,
};
use common::{ADMIN, Desk, Server, eventually};
use record::kinds::{MetricLogged, RunStatus};
use record::{Draft, RunId};
use serde_json::Value;
use testkit::services::{Fault, Proxy};

fn port(server: &Server) -> u16 {
    server.url.rsplit(':').next().unwrap().parse().unwrap()
}

fn through(server: &Server) -> (Proxy, String) {
    let proxy = Proxy::start(port(server));
    let url = format!("http://127.0.0.1:{}", proxy.port());
    (proxy, url)
}

fn answer(status: &str, headers: &str, body: &str) -> Fault {
    let text = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/problem+json\r\n{headers}content-length: \
         {}\r\n\r\n{body}",
        body.len()
    );
    Fault::Answer(Box::leak(text.into_boxed_str()))
}

fn problem(status: u16, code: &str, line: usize) -> Fault {
    let body = format!(
        r#"{{"status":{status},"code":"{code}","detail":"line {line}: no","line":{line},"title":"x","type":"x"}}"#
    );
    answer(&format!("{status} No"), "", &body)
}

/// The bodies of the records of one kind in a scope.
fn bodies(url: &str, scope: &str, kind: &str) -> Vec<Value> {
    let records = records(url, scope).into_iter().map(|record| {
        let json: Value = serde_json::from_str(record.record.get()).unwrap();
        json
    });
    records
        .filter(|record| record["kind"] == kind)
        .map(|record| record["body"].clone())
        .collect()
}

fn poison() -> Draft {
    Draft::new(MetricLogged::new([("poison".to_owned(), 1.0)].into()))
}

#[test]
fn a_connection_that_loses_and_hangs_doubles_nothing() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let (proxy, url) = through(&server);
    let spool = open(&desk.path("spool"), &url);
    let stream = start_run(&spool, "unlucky");
    let run = run_id(&stream);
    spool.flush(LONG).unwrap();
    let post = "POST /v1/records";
    let mut sent = 0;
    for fault in [
        Fault::LoseAnswer,
        Fault::Lose,
        Fault::CutAnswer(40),
        answer("502 Bad Gateway", "", "<html>"),
        problem(500, "internal", 1),
    ] {
        proxy.plan(post, 1, fault);
        stream
            .write_all((sent..sent + 30).map(numbered).collect())
            .unwrap();
        sent += 30;
        spool.flush(LONG).unwrap();
    }
    assert_eq!(proxy.struck(), 5);
    // One that says nothing for a while.
    proxy.plan(post, 1, Fault::Hang);
    stream.write(numbered(sent)).unwrap();
    let hanging = spool.flush(Duration::from_millis(500));
    assert!(
        matches!(hanging, Err(SpoolError::Timeout { .. })),
        "{hanging:?}"
    );
    proxy.heal();
    spool.flush(LONG).unwrap();
    let found = numbers(&server.url, run.as_str(), 151);
    assert_eq!(found, (0..151).collect::<Vec<_>>());
    spool.close(LONG).unwrap();
}

#[test]
fn a_server_that_asks_to_be_left_alone_is() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let (proxy, url) = through(&server);
    let spool = open(&desk.path("spool"), &url);
    let stream = start_run(&spool, "busy");
    spool.flush(LONG).unwrap();
    let body = r#"{"status":503,"code":"overloaded","detail":"busy","title":"x","type":"x"}"#;
    let busy = answer("503 Busy", "retry-after: 2\r\n", body);
    proxy.plan("POST /v1/records", 1, busy);
    let began = Instant::now();
    let before = spool.status().acknowledged;
    stream.write(numbered(0)).unwrap();
    eventually("it is said why", || {
        spool
            .status()
            .last_error
            .is_some_and(|why| why.contains("busy"))
    });
    eventually("it is sent", || spool.status().acknowledged > before);
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(spool.status().last_error, None);
    // A request that is too large for a proxy is sent in parts.
    proxy.plan("POST /v1/records", 2, answer("413 Large", "", "<html>"));
    stream.write_all((1..100).map(numbered).collect()).unwrap();
    spool.flush(LONG).unwrap();
    let run = run_id(&stream);
    assert_eq!(
        numbers(&server.url, run.as_str(), 100),
        (0..100).collect::<Vec<_>>()
    );
}

#[test]
fn a_token_that_is_not_let_in_is_waited_for() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let token = format!("rat_{}", "B".repeat(43));
    let spool = Spool::open(options_with(&desk.path("spool"), &server.url, &token)).unwrap();
    let stream = start_run(&spool, "expired");
    stream.write(numbered(0)).unwrap();
    let refused = spool.flush(Duration::from_millis(500));
    match refused {
        Err(SpoolError::Timeout {
            last_error: Some(why),
            ..
        }) => assert!(why.contains("invalid-token"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert!(spool.status().incidents.is_empty());
    let admin = Client::new(&server.url, Some(ADMIN)).unwrap();
    let fresh = admin.create_token("trainer", "producer").unwrap();
    spool.set_token(Some(&fresh.token));
    spool.flush(LONG).unwrap();
    stream.seal(RunStatus::Completed, LONG).unwrap();
    // Another producer may not write to the run: that is for people to mend, and is waited for.
    let other = admin.create_token("other", "producer").unwrap();
    let stream = start_run(&spool, "mine");
    spool.flush(LONG).unwrap();
    spool.set_token(Some(&other.token));
    stream.write(numbered(1)).unwrap();
    let refused = spool.flush(Duration::from_millis(500)).unwrap_err();
    assert!(refused.to_string().contains("another token"), "{refused}");
    spool.set_token(Some(&fresh.token));
    spool.flush(LONG).unwrap();
    assert_eq!(numbers(&server.url, run_id(&stream).as_str(), 1), [1]);
    // With a producer's token receipts are kept all the same.
    spool.close(LONG).unwrap();
    assert!(!files(&desk.path("spool/receipts"), "tlog-proof").is_empty());
}

#[test]
fn a_record_that_is_refused_for_good_is_kept_aside_and_told_of() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let (proxy, url) = through(&server);
    let spool = open(&desk.path("spool"), &url);
    let stream = start_run(&spool, "poisoned");
    let run = run_id(&stream);
    spool.flush(LONG).unwrap();
    // As a server of an older version would have it.
    proxy.plan("poison", 1, problem(422, "unknown-kind", 4));
    proxy.plan("poison", usize::MAX, problem(422, "unknown-kind", 1));
    let numbers = (0..3).map(numbered);
    let drafts = numbers.chain([poison(), numbered(3)]).collect();
    let names = stream.write_all(drafts).unwrap();
    let (good, refused, behind) = (&names[..3], names[3], names[4]);
    match spool.flush(LONG) {
        Err(SpoolError::Refused {
            problem,
            kept,
            stream,
        }) => {
            assert_eq!(problem.code, "unknown-kind");
            assert_eq!(stream, format!("{run}/rank0"));
            let kept = std::fs::read(&files(&kept, "seg")[0]).unwrap();
            let kept = String::from_utf8_lossy(&kept);
            assert!(kept.contains("poison"), "{kept}");
        }
        other => panic!("{other:?}"),
    }
    // What comes goes into a stream that continues it.
    assert_eq!(stream.name().as_str(), "rank0");
    let after = stream.write(numbered(4)).unwrap();
    assert_eq!(stream.name().as_str(), "rank0.2");
    let status = spool.status();
    assert_eq!(status.incidents.len(), 1);
    assert_eq!(status.incidents[0].what, IncidentKind::Refused);
    let _ = spool.flush(LONG);
    eventually("it is published", || {
        logged(&server.url, run.as_str()).contains_key(&after)
    });
    let log = logged(&server.url, run.as_str());
    assert!(good.iter().all(|name| log.contains_key(name)));
    assert!(!log.contains_key(&refused) && !log.contains_key(&behind));
    let opened = bodies(&server.url, run.as_str(), "stream.opened");
    // stream.opened, run.started, the signature of the first flush, three numbers.
    assert_eq!(opened[1]["continues"]["stream"], "rank0");
    assert_eq!(opened[1]["continues"]["seq"], 5);
    let told = bodies(&server.url, run.as_str(), "incident.reported");
    assert_eq!(told[0]["incident"], "stream-abandoned");
    assert_eq!(told[0]["detail"], "unknown-kind");
    assert_eq!(told[0]["refused"], refused.to_string());
    assert_eq!(
        (&told[0]["seq"], &told[0]["stream"]),
        (&6.into(), &"rank0".into())
    );
    stream.seal(RunStatus::Failed, LONG).unwrap();
    drop((stream, spool));
    server.stop();
    desk.verified();
}

#[test]
fn what_comes_after_the_seal_is_told_of_in_the_ledger() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let spool = open(&desk.path("spool"), &server.url);
    let stream = start_run(&spool, "late");
    let run = run_id(&stream);
    spool.flush(LONG).unwrap();
    let rank1 = spool.join_run(run, "rank1").unwrap();
    rank1.write(numbered(0)).unwrap();
    stream.seal(RunStatus::Completed, LONG).unwrap();
    rank1.write(numbered(1)).unwrap();
    let refused = spool.flush(LONG).unwrap_err();
    assert!(
        matches!(&refused, SpoolError::Refused { problem, .. } if problem.code == "run-sealed"),
        "{refused}"
    );
    assert!(matches!(
        rank1.write(numbered(2)),
        Err(SpoolError::Closed { .. })
    ));
    let _ = spool.flush(LONG);
    eventually("the ledger knows", || {
        let told = bodies(&server.url, "ledger", "incident.reported");
        told.iter().any(|told| {
            told["run"] == run.as_str()
                && told["stream"] == "rank1"
                && told["detail"] == "run-sealed"
        })
    });
    // Nobody joins it any more.
    assert!(matches!(
        spool.join_run(run, "rank2"),
        Err(SpoolError::Closed { .. })
    ));
    drop((stream, rank1, spool));
    server.stop();
    desk.verified();
}

#[test]
fn a_copy_of_a_spool_writes_to_a_stream_of_its_own_once_it_is_found_out() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let spool = open(&desk.path("spool"), &server.url);
    let stream = start_run(&spool, "copied");
    let run = run_id(&stream);
    spool.close(LONG).unwrap();
    copy(&desk.path("spool"), &desk.path("copy"));
    let first = open(&desk.path("spool"), &server.url);
    let second = open(&desk.path("copy"), &server.url);
    let (a, b) = (
        first.join_run(run, "rank0").unwrap(),
        second.join_run(run, "rank0").unwrap(),
    );
    a.write(numbered(1)).unwrap();
    first.flush(LONG).unwrap();
    b.write(numbered(2)).unwrap();
    let refused = second.flush(LONG).unwrap_err();
    assert!(
        matches!(&refused, SpoolError::Refused { problem, .. } if problem.code == "conflict"),
        "{refused}"
    );
    b.write(numbered(3)).unwrap();
    let _ = second.flush(LONG);
    let found = numbers(&server.url, run.as_str(), 2);
    assert_eq!(found, [1, 3]);
    let opened = bodies(&server.url, run.as_str(), "stream.opened");
    assert_eq!(opened[1]["continues"]["stream"], "rank0");
    drop((a, b, first, second));
    server.stop();
    desk.verified();
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

fn is_contradiction(result: Result<(), SpoolError>) -> String {
    match result {
        Err(SpoolError::Contradiction { what, evidence }) => {
            assert!(evidence.join("why").exists(), "{}", evidence.display());
            what
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_log_behind_the_address_gets_nothing() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let port = port(&server).to_string();
    let url = server.url.clone();
    let spool = open(&desk.path("spool"), &url);
    let stream = start_run(&spool, "true");
    stream.write(numbered(0)).unwrap();
    spool.flush(LONG).unwrap();
    let run = run_id(&stream);
    numbers(&url, run.as_str(), 1);
    // The spool has seen what is published.
    eventually("the checkpoint is remembered", || {
        !files(&desk.path("spool/checkpoints"), "").is_empty()
            || desk
                .path("spool/checkpoints/logs")
                .read_dir()
                .unwrap()
                .count()
                > 0
    });
    server.stop();
    let other = Desk::with_ledger();
    let impostor = Server::start_with(&other, &["--port", &port]);
    let again = start_run(&spool, "another run");
    again.write(numbered(7)).unwrap();
    stream.write(numbered(1)).unwrap();
    let what = is_contradiction(spool.flush(LONG));
    assert!(what.contains("log"), "{what}");
    let status = spool.status();
    assert_eq!(status.contradiction.as_ref(), Some(&what));
    assert!(status.waiting_records > 0);
    // Writing goes on: it is kept.
    stream.write(numbered(2)).unwrap();
    drop((stream, again, spool));
    let spool = open(&desk.path("spool"), &url);
    is_contradiction(spool.flush(LONG));
    drop(spool);
    let runs = Client::new(&url, Some(ADMIN))
        .unwrap()
        .runs(None, 10)
        .unwrap();
    assert!(
        runs.runs.is_empty(),
        "the other log has something: {runs:?}"
    );
    impostor.stop();
    // The true one back, everything goes there.
    let server = Server::start_with(&desk, &["--port", &port]);
    let spool = open(&desk.path("spool"), &url);
    spool.flush(LONG).unwrap();
    assert_eq!(numbers(&url, run.as_str(), 3), [0, 1, 2]);
    spool.close(LONG).unwrap();
    server.stop();
    desk.verified();
}

#[test]
fn a_log_that_was_rolled_back_is_found_out() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let port = port(&server).to_string();
    let url = server.url.clone();
    let spool = open(&desk.path("spool"), &url);
    let stream = start_run(&spool, "kept");
    let run = run_id(&stream);
    stream.write(numbered(0)).unwrap();
    spool.flush(LONG).unwrap();
    server.stop();
    copy(&desk.path("audit-data"), &desk.path("backup"));
    let server = Server::start_with(&desk, &["--port", &port]);
    stream.write_all((1..50).map(numbered).collect()).unwrap();
    spool.flush(LONG).unwrap();
    numbers(&url, run.as_str(), 50);
    server.stop();
    std::fs::remove_dir_all(desk.path("audit-data")).unwrap();
    copy(&desk.path("backup"), &desk.path("audit-data"));
    let server = Server::start_with(&desk, &["--port", &port]);
    stream.write(numbered(50)).unwrap();
    let what = is_contradiction(spool.flush(LONG));
    assert!(what.contains("rolled back"), "{what}");
    drop((stream, spool));
    server.stop();
}

#[test]
fn a_promise_that_is_not_kept_is_written_down() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let (proxy, url) = through(&server);
    let mut patient = options(&desk.path("spool"), &url);
    patient.publish_within = Duration::from_secs(2);
    let spool = Spool::open(patient).unwrap();
    let stream = start_run(&spool, "promised");
    let run = run_id(&stream);
    spool.flush(LONG).unwrap();
    eventually("there is a receipt", || {
        stream.receipts().unwrap().len() == 1
    });
    // From now on the log shows the checkpoint that it has shown last.
    proxy.plan("GET /log/checkpoint", usize::MAX, Fault::Lose);
    let logs = desk.path("spool/checkpoints/logs");
    let log = logs.read_dir().unwrap().next().unwrap().unwrap().path();
    let note = std::fs::read_to_string(log.join("checkpoint")).unwrap();
    proxy.heal();
    proxy.plan(
        "GET /log/checkpoint",
        usize::MAX,
        answer("200 OK", "", &note),
    );
    let writing = write_until(&spool, &stream, || !spool.status().incidents.is_empty());
    let incidents = spool.status().incidents;
    assert_eq!(incidents[0].what, IncidentKind::PromiseBroken);
    let kept = std::fs::read_to_string(incidents[0].kept.join("checkpoint")).unwrap();
    assert_eq!(kept, note);
    assert!(incidents[0].kept.join("record").exists());
    proxy.heal();
    spool.flush(LONG).unwrap();
    eventually("the log is told", || {
        let told = bodies(&server.url, run.as_str(), "incident.reported");
        told.iter().any(|told| told["incident"] == "promise-broken")
    });
    assert!(writing > 0);
    // A proof that proves something else ends it.
    let proof = Client::new(&server.url, Some(ADMIN))
        .unwrap()
        .proof(1)
        .unwrap();
    let wrong = |index: u64| proof.replacen("index 1\n", &format!("index {index}\n"), 1);
    let next = records(&server.url, run.as_str()).last().unwrap().index;
    for index in next..next + 400 {
        let path: &'static str = Box::leak(format!("GET /v1/records/{index}/proof ").into());
        proxy.plan(path, 1, answer("200 OK", "", &wrong(index)));
    }
    write_until(&spool, &stream, || spool.status().contradiction.is_some());
    is_contradiction(spool.flush(LONG));
    let last = spool.status().incidents;
    assert_eq!(last.last().unwrap().what, IncidentKind::PromiseBroken);
}

/// Writes one record after the other until something is so; how many.
fn write_until(spool: &Spool, stream: &SpooledStream, holds: impl Fn() -> bool) -> u64 {
    let mut number = 0;
    eventually("what is written for", || {
        stream.write(numbered(number)).unwrap();
        number += 1;
        let _ = spool.flush(Duration::from_millis(200));
        holds()
    });
    number
}

#[test]
fn a_run_that_is_not_there_yet_is_waited_for() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let elsewhere = open(&desk.path("elsewhere"), "http://127.0.0.1:9");
    let stream = start_run(&elsewhere, "started elsewhere");
    let run: RunId = run_id(&stream);
    let spool = open(&desk.path("spool"), &server.url);
    let rank1 = spool.join_run(run, "rank1").unwrap();
    rank1.write(numbered(1)).unwrap();
    let waits = spool.flush(Duration::from_millis(500)).unwrap_err();
    assert!(
        waits.to_string().contains("has not been started"),
        "{waits}"
    );
    drop((stream, elsewhere));
    let elsewhere = open(&desk.path("elsewhere"), &server.url);
    elsewhere.flush(LONG).unwrap();
    spool.flush(LONG).unwrap();
    assert_eq!(numbers(&server.url, run.as_str(), 1), [1]);
    // Only where it was started can it be sealed.
    let refused = rank1.seal(RunStatus::Completed, LONG).unwrap_err();
    assert!(refused.to_string().contains("owner"), "{refused}");
    let stream = elsewhere.join_run(run, "rank0").unwrap();
    stream.seal(RunStatus::Completed, LONG).unwrap();
    elsewhere.close(LONG).unwrap();
    spool.close(LONG).unwrap();
    server.stop();
    desk.verified();
}

#[test]
fn a_seal_that_another_stream_has_outrun_is_made_again() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let (proxy, url) = through(&server);
    let spool = open(&desk.path("spool"), &url);
    let stream = start_run(&spool, "outrun");
    let run = run_id(&stream);
    spool.flush(LONG).unwrap();
    // As if a stream had grown between the question and the seal.
    proxy.plan("run.sealed", 2, problem(422, "bad-seal", 1));
    stream.seal(RunStatus::Completed, LONG).unwrap();
    assert_eq!(proxy.struck(), 2);
    let client = Client::new(&server.url, Some(ADMIN)).unwrap();
    assert_eq!(client.run(run.as_str()).unwrap().status, "completed");

    // The same where the process that wrote the seal is gone.
    let stream = start_run(&spool, "outrun and killed");
    let run = run_id(&stream);
    spool.flush(LONG).unwrap();
    proxy.plan("run.sealed", usize::MAX, answer("503 Busy", "", "<html>"));
    let later = stream.seal(RunStatus::Aborted, Duration::from_millis(800));
    assert!(
        matches!(later, Err(SpoolError::Timeout { .. })),
        "{later:?}"
    );
    drop((stream, spool));
    let elsewhere = open(&desk.path("elsewhere"), &server.url);
    let rank1 = elsewhere.join_run(run, "rank1").unwrap();
    rank1.write(numbered(1)).unwrap();
    elsewhere.close(LONG).unwrap();
    proxy.heal();
    let spool = open(&desk.path("spool"), &url);
    eventually("the run is sealed", || {
        client
            .run(run.as_str())
            .is_ok_and(|run| run.status == "aborted")
    });
    spool.close(LONG).unwrap();
    let mut sealed = Vec::new();
    eventually("the seal is published", || {
        sealed = bodies(&server.url, run.as_str(), "run.sealed");
        !sealed.is_empty()
    });
    assert_eq!(sealed[0]["streams"].as_array().unwrap().len(), 2);
    server.stop();
    desk.verified();
}

#[test]
fn a_closed_ledger_keeps_everything_where_it_is() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let (proxy, url) = through(&server);
    let spool = open(&desk.path("spool"), &url);
    let stream = start_run(&spool, "closed");
    spool.flush(LONG).unwrap();
    proxy.plan(
        "POST /v1/records",
        usize::MAX,
        problem(410, "ledger-closed", 1),
    );
    stream.write(numbered(0)).unwrap();
    match spool.flush(LONG) {
        Err(SpoolError::Refused { problem, kept, .. }) => {
            assert_eq!(problem.code, "ledger-closed");
            assert!(!files(&kept, "seg").is_empty());
        }
        other => panic!("{other:?}"),
    }
    assert!(spool.status().waiting_records > 0);
}
