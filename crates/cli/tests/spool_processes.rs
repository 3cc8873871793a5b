//! Processes that share a spool, die in the middle of it and are forked: what each accepted is in the log once (I23).

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::time::Duration;

use client::Client;
use client::spool::{Spool, SpooledStream};
use common::load::Dice;
use common::spool::{LONG, child, logged, numbered, numbers, open, run_id, start_run};
use common::{ADMIN, Desk, Server, eventually};
use record::RunId;
use record::kinds::RunStatus;

/// What a process says of each record that it was told is accepted.
const ACCEPTED: &str = "accepted ";

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn server_url() -> String {
    variable("SPOOL_SERVER").unwrap()
}

fn spool_here() -> Option<Spool> {
    let dir = variable("SPOOL_DIR")?;
    Some(open(dir.as_ref(), &server_url()))
}

fn stream_here(spool: &Spool, name: &str) -> SpooledStream {
    let run = RunId::parse(&variable("SPOOL_RUN").unwrap()).unwrap();
    spool.join_run(run, name).unwrap()
}

/// Writes numbers from `first` on, one at a time and in batches, and says which were accepted.
fn write_on(stream: &SpooledStream, first: u64, count: u64) {
    let mut number = first;
    while number < first + count {
        let batch = if number.is_multiple_of(3) { 7 } else { 1 };
        let batch = batch.min(first + count - number);
        let drafts = (number..number + batch).map(numbered).collect();
        for name in stream.write_all(drafts).unwrap() {
            println!("{ACCEPTED}{number} {name}");
            number += 1;
        }
    }
}

/// The numbers and names that a process says it was told are accepted, until it ends.
fn accepted(process: &mut Child) -> std::thread::JoinHandle<Vec<(u64, String)>> {
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    std::thread::spawn(move || {
        let lines = lines.map_while(Result::ok);
        let told = lines.filter_map(|line| {
            let (_, told) = line.split_once(ACCEPTED)?;
            let (number, name) = told.split_once(' ')?;
            Some((number.parse().ok()?, name.to_owned()))
        });
        told.collect()
    })
}

#[test]
#[ignore = "a process of the tests below"]
fn job_writes_until_it_is_killed() {
    let Some(spool) = spool_here() else { return };
    let stream = stream_here(&spool, "rank0");
    let first = variable("SPOOL_FIRST").unwrap().parse().unwrap();
    write_on(&stream, first, 1_000_000);
}

#[test]
#[ignore = "a process of the tests below"]
fn job_writes_and_waits_to_be_killed() {
    let Some(spool) = spool_here() else { return };
    let stream = start_run(&spool, "killed");
    println!("run {}", run_id(&stream));
    write_on(&stream, 0, 2_000);
    println!("done");
    std::thread::park_timeout(LONG);
}

#[test]
#[ignore = "a process of the tests below"]
fn job_is_a_rank() {
    let Some(spool) = spool_here() else { return };
    let rank: u64 = variable("SPOOL_RANK").unwrap().parse().unwrap();
    let stream = stream_here(&spool, &format!("rank{rank}"));
    write_on(&stream, rank * 10_000, 1_500);
    spool.close(LONG).unwrap();
}

#[test]
#[ignore = "a process of the tests below"]
fn job_forks() {
    let Some(spool) = spool_here() else { return };
    let stream = start_run(&spool, "forks");
    println!("run {}", run_id(&stream));
    write_on(&stream, 0, 100);
    let mut children = Vec::new();
    for worker in 1..=3 {
        match fork::fork().unwrap() {
            fork::Fork::Child => {
                // Two threads share it, and one worker leaves without a word.
                std::thread::scope(|scope| {
                    for half in 0..2 {
                        let stream = stream.clone();
                        scope.spawn(move || write_on(&stream, worker * 1_000 + half * 500, 60));
                    }
                });
                if worker != 3 {
                    spool.flush(LONG).unwrap();
                }
                std::process::abort();
            }
            fork::Fork::Parent(pid) => children.push(pid),
        }
        write_on(&stream, worker * 100, 50);
    }
    for child in children {
        fork::waitpid(child).unwrap();
    }
    write_on(&stream, 900, 50);
    stream.seal(RunStatus::Completed, LONG).unwrap();
    println!("done");
    spool.close(LONG).unwrap();
}

/// Reads what a job says until it says that it is done; its run.
fn until_done(process: &mut Child) -> (RunId, Vec<(u64, String)>) {
    let (mut run, mut told) = (None, Vec::new());
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    for line in lines.by_ref() {
        let line = line.unwrap();
        if let Some((_, accepted)) = line.split_once(ACCEPTED) {
            let (number, name) = accepted.split_once(' ').unwrap();
            told.push((number.parse().unwrap(), name.to_owned()));
        } else if let Some((_, id)) = line.split_once("run ")
            && run.is_none()
        {
            run = RunId::parse(id.trim());
        } else if line.contains("done") {
            break;
        }
    }
    std::thread::spawn(move || lines.for_each(drop));
    (run.unwrap(), told)
}

/// Everything that was told to be accepted is in the log, once.
fn hold_against_the_log(url: &str, run: RunId, told: &[(u64, String)]) {
    let names: BTreeSet<&str> = told.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names.len(), told.len());
    eventually("everything accepted is in the log", || {
        let log = logged(url, run.as_str());
        let log: BTreeSet<String> = log.keys().map(ToString::to_string).collect();
        names.iter().all(|name| log.contains(*name))
    });
}

#[test]
fn killed_between_accepting_and_sending() {
    let desk = Desk::with_ledger();
    let spool_dir = desk.path("spool");
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port().to_string()
    };
    let url = format!("http://127.0.0.1:{port}");
    let variables = [
        ("SPOOL_DIR", spool_dir.to_str().unwrap()),
        ("SPOOL_SERVER", &url),
    ];
    let mut process = child("job_writes_and_waits_to_be_killed", &variables);
    let (run, told) = until_done(&mut process);
    assert_eq!(told.len(), 2_000);
    process.kill().unwrap();
    process.wait().unwrap();
    let server = Server::start_with(&desk, &["--port", &port]);
    // The next start sends what is left.
    let spool = open(&spool_dir, &url);
    spool.flush(LONG).unwrap();
    hold_against_the_log(&url, run, &told);
    assert_eq!(
        numbers(&url, run.as_str(), 2_000),
        (0..2_000).collect::<Vec<_>>()
    );
    // It has the key, so it signed the end too.
    let streams = Client::new(&url, Some(ADMIN)).unwrap();
    let streams = streams.streams(run.as_str()).unwrap();
    assert_eq!((streams.len(), streams[0].unsigned), (1, 0));
    spool.close(LONG).unwrap();
    server.stop();
    desk.verified();
}

#[test]
fn killed_again_and_again_while_it_sends() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let spool_dir = desk.path("spool");
    let first = open(&spool_dir, &server.url);
    let stream = start_run(&first, "preempted");
    let run = run_id(&stream);
    // Closed, it leaves its streams to others.
    first.close(LONG).unwrap();
    let dice = Dice::new(1);
    let mut told: Vec<(u64, String)> = Vec::new();
    for round in 0..6 {
        let from = told
            .last()
            .map_or(0, |(number, _)| number + 1_000)
            .to_string();
        let variables = [
            ("SPOOL_DIR", spool_dir.to_str().unwrap()),
            ("SPOOL_SERVER", server.url.as_str()),
            ("SPOOL_RUN", run.as_str()),
            ("SPOOL_FIRST", &from),
        ];
        let mut process = child("job_writes_until_it_is_killed", &variables);
        let listening = accepted(&mut process);
        std::thread::sleep(Duration::from_millis(150 + dice.below(400)));
        process.kill().unwrap();
        process.wait().unwrap();
        let more = listening.join().unwrap();
        eprintln!("round {round}: {} records accepted", more.len());
        told.extend(more);
    }
    let spool = open(&spool_dir, &server.url);
    let stream = spool.join_run(run, "rank0").unwrap();
    // Each went on with the stream of the one before.
    assert_eq!(stream.name().as_str(), "rank0");
    spool.flush(LONG).unwrap();
    hold_against_the_log(&server.url, run, &told);
    stream.seal(RunStatus::Completed, LONG).unwrap();
    let streams = Client::new(&server.url, Some(ADMIN)).unwrap();
    assert_eq!(streams.streams(run.as_str()).unwrap().len(), 1);
    spool.close(LONG).unwrap();
    server.stop();
    desk.verified();
}

#[test]
fn ranks_share_a_directory() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let spool_dir = desk.path("spool");
    let spool = open(&spool_dir, &server.url);
    let stream = start_run(&spool, "ranks");
    let run = run_id(&stream);
    let mut processes: Vec<Child> = ["1", "2", "3"]
        .iter()
        .map(|rank| {
            let variables = [
                ("SPOOL_DIR", spool_dir.to_str().unwrap()),
                ("SPOOL_SERVER", server.url.as_str()),
                ("SPOOL_RUN", run.as_str()),
                ("SPOOL_RANK", rank),
            ];
            child("job_is_a_rank", &variables)
        })
        .collect();
    write_on(&stream, 0, 500);
    let mut told = Vec::new();
    let listening: Vec<_> = processes.iter_mut().map(accepted).collect();
    for (mut process, listening) in processes.into_iter().zip(listening) {
        assert!(process.wait().unwrap().success());
        told.extend(listening.join().unwrap());
    }
    assert_eq!(told.len(), 4_500);
    spool.flush(LONG).unwrap();
    hold_against_the_log(&server.url, run, &told);
    stream.seal(RunStatus::Completed, LONG).unwrap();
    let client = Client::new(&server.url, Some(ADMIN)).unwrap();
    let streams = client.streams(run.as_str()).unwrap();
    let names: Vec<&str> = streams
        .iter()
        .map(|stream| stream.stream.as_str())
        .collect();
    assert_eq!(names, ["rank0", "rank1", "rank2", "rank3"]);
    // One key for the directory.
    assert!(streams.iter().all(|s| s.key == spool.public_key()));
    spool.close(LONG).unwrap();
    server.stop();
    desk.verified();
}

#[test]
fn forked_workers_have_streams_of_their_own() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let spool_dir = desk.path("spool");
    let variables = [
        ("SPOOL_DIR", spool_dir.to_str().unwrap()),
        ("SPOOL_SERVER", server.url.as_str()),
    ];
    let mut process = child("job_forks", &variables);
    let (run, told) = until_done(&mut process);
    assert!(process.wait().unwrap().success());
    // 100 and four times 50 of the parent, 120 of each child.
    assert_eq!(told.len(), 300 + 360);
    hold_against_the_log(&server.url, run, &told);
    let client = Client::new(&server.url, Some(ADMIN)).unwrap();
    let streams = client.streams(run.as_str()).unwrap();
    assert_eq!(streams.len(), 4, "{streams:?}");
    let of_children = streams
        .iter()
        .filter(|stream| stream.stream.as_str().starts_with("rank0."));
    assert_eq!(of_children.count(), 3);
    assert_eq!(client.run(run.as_str()).unwrap().status, "completed");
    server.stop();
    desk.verified();
}
