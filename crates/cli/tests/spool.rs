//! The spool before a real server: what was accepted arrives once, whatever happens to either (I23).

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::time::{Duration, Instant};

use client::spool::SpoolError;
use common::spool::{LONG, files, logged, numbered, numbers, open, run_id, start_run};
use common::{Desk, Server, eventually};
use record::kinds::RunStatus;

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_run_goes_to_the_log_and_is_sealed() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let spool = open(&desk.path("spool"), &server.url);
    let stream = start_run(&spool, "whole");
    let mut names = vec![stream.write(numbered(0)).unwrap()];
    names.extend(stream.write_all((1..250).map(numbered).collect()).unwrap());
    spool.flush(LONG).unwrap();
    let status = spool.status();
    assert_eq!((status.waiting_records, status.waiting_bytes), (0, 0));
    assert_eq!(status.last_error, None);
    let run = run_id(&stream);
    assert_eq!(
        numbers(&server.url, run.as_str(), 250),
        (0..250).collect::<Vec<_>>()
    );
    let log = logged(&server.url, run.as_str());
    assert!(names.iter().all(|name| log.contains_key(name)));
    let receipt = stream.seal(RunStatus::Completed, LONG).unwrap();
    assert!(matches!(
        stream.write(numbered(1)),
        Err(SpoolError::Closed { .. })
    ));
    // Asked again, the same answer.
    assert_eq!(stream.seal(RunStatus::Completed, LONG).unwrap(), receipt);
    spool.close(LONG).unwrap();
    server.stop();
    assert_eq!(files(&desk.path("spool/streams"), "seg").len(), 0);
    desk.verified();
}

#[test]
fn the_first_record_is_sent_at_once() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let spool = open(&desk.path("spool"), &server.url);
    let stream = start_run(&spool, "soon");
    spool.flush(LONG).unwrap();
    let mut waits = Vec::new();
    for number in 0..20 {
        std::thread::sleep(Duration::from_millis(60));
        let before = spool.status().acknowledged;
        let began = Instant::now();
        stream.write(numbered(number)).unwrap();
        while spool.status().acknowledged == before {
            std::thread::sleep(Duration::from_millis(1));
            assert!(began.elapsed() < LONG);
        }
        waits.push(began.elapsed());
    }
    waits.sort();
    eprintln!(
        "from a write to its acknowledgement: median {:?}",
        waits[10]
    );
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for() {
    let desk = Desk::with_ledger();
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let spool = open(&desk.path("spool"), &url);
    let stream = start_run(&spool, "early");
    stream
        .write_all((0..2_500).map(numbered).collect())
        .unwrap();
    match spool.flush(Duration::from_millis(300)) {
        Err(SpoolError::Timeout {
            waiting_records,
            last_error: Some(why),
            ..
        }) => {
            // stream.opened, run.started, signatures after each thousand and at the end.
            assert_eq!(waiting_records, 2_505);
            assert!(why.contains("is the server running there?"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    let server = Server::start_with(&desk, &["--port", &port]);
    spool.flush(LONG).unwrap();
    let run = run_id(&stream);
    assert_eq!(
        numbers(&url, run.as_str(), 2_500),
        (0..2_500).collect::<Vec<_>>()
    );
    // Killed and started again under load.
    let writing = std::thread::spawn({
        let stream = stream.clone();
        move || {
            for number in 2_500..5_000 {
                stream.write(numbered(number)).unwrap();
                if number % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    });
    let mut server = server;
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(150));
        server.kill();
        server = Server::start_with(&desk, &["--port", &port]);
    }
    writing.join().unwrap();
    spool.flush(LONG).unwrap();
    assert_eq!(
        numbers(&url, run.as_str(), 5_000),
        (0..5_000).collect::<Vec<_>>()
    );
    logged(&url, run.as_str());
    stream.seal(RunStatus::Completed, LONG).unwrap();
    spool.close(LONG).unwrap();
    server.stop();
    desk.verified();
    eventually("nothing is left in the spool", || {
        files(&desk.path("spool/streams"), "seg").is_empty()
    });
}
