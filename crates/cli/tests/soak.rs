//! `kill -9` again and again while several clients append, sealed values and attachments too: what was acknowledged is
//! there once and can be opened, and so is what it names, a request is there whole or not at all, and no checkpoint is contradicted (I1 to I5).
//!
//! In every second round jobs are done meanwhile, checks of the log above all: they are killed too, and find nothing (I26).
//!
//! `SOAK_ROUNDS` says how often (`make soak`: 1,000), `SOAK_SEED` draws other moments and requests.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use client::JobQuery;
use common::load::{Dice, Producer, client, settle};
use common::{Desk, Server, eventually};

const CLIENTS: u8 = 5;
/// The log is read from end to end after so many rounds, and at the end.
const ACCOUNT_EVERY: u64 = 50;

/// What is done behind the log in a round with jobs.
const JOBS: &str = r#"
[[schedule]]
name = "integrity"
kind = "integrity"
every = "1s"
[[schedule]]
name = "integrity-whole"
kind = "integrity"
payload = { whole = true }
every = "7s"
[[schedule]]
name = "watch"
kind = "watch"
every = "1s"
[[schedule]]
name = "cards"
kind = "model-cards"
every = "2s"
"#;
/// Records for which such a round goes on at least, so that a schedule comes to be due in it.
const LONGER: u64 = 300;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn what_was_acknowledged_survives_kill_9_under_load() {
    let (rounds, seed) = (setting("SOAK_ROUNDS", 50), setting("SOAK_SEED", 1));
    let dice = Dice::new(seed);
    let desk = Desk::with_ledger();
    let mut crew: Vec<_> = Producer::crew(CLIENTS, seed + 1)
        .into_iter()
        .map(Producer::attaching)
        .collect();
    let began = Instant::now();
    let mut during_start = 0;
    fs::write(desk.path("rlhf-audit.toml"), JOBS).unwrap();
    // The run is there before the others write to it.
    settle(&desk, &mut crew);
    for round in 1..=rounds {
        // One in six dies while it starts, and recovers from what the one before left.
        if dice.below(6) == 0 {
            let moment = Duration::from_micros(dice.below(40_000));
            Server::kill_while_starting(&desk, moment);
            during_start += 1;
        }
        let with_jobs = round % 2 == 0;
        let scheduled = (
            "RLHF_AUDIT_NO_SCHEDULER".to_owned(),
            (!with_jobs).to_string(),
        );
        let server = Server::start_in(&desk, &[], &[scheduled]);
        let enough = dice.below(160) + if with_jobs { LONGER } else { 0 };
        load_until_killed(&server, &mut crew, enough);
        drop(server);
        if round % ACCOUNT_EVERY == 0 || round == rounds {
            let size = settle(&desk, &mut crew);
            let acknowledged: usize = crew.iter().map(|one| one.acknowledged.len()).sum();
            let sealed: u64 = crew.iter().map(|one| one.sealed).sum();
            let attached: u64 = crew.iter().map(|one| one.attached).sum();
            let unheard: u64 = crew.iter().map(|one| one.recorded_unheard).sum();
            eprintln!(
                "{round} kills under load and {during_start} at the start in {} s: {acknowledged} records acknowledged, \
                 {sealed} sealed values, {attached} attachments, {unheard} requests recorded and not answered, log of {size}: all accounted for",
                began.elapsed().as_secs()
            );
        }
    }
    jobs_found_nothing(&desk);
}

/// Jobs were done in spite of all, and none found anything or died.
fn jobs_found_nothing(desk: &Desk) {
    // What the last server had begun is open until its lease ends.
    let server = Server::start_in(
        desk,
        &[],
        &[("RLHF_AUDIT_NO_SCHEDULER".to_owned(), "true".to_owned())],
    );
    let client = client(&server.url);
    eventually("all jobs come to an end", || {
        let query = JobQuery {
            limit: Some(1_000),
            ..JobQuery::default()
        };
        let jobs = client.jobs(&query).unwrap().jobs;
        jobs.iter()
            .all(|job| job.state == "done" || job.state == "dead")
    });
    server.stop();
    let listed = desk.json(&["jobs", "list", "--limit", "1000"]);
    let jobs = listed["jobs"].as_array().unwrap();
    let dead = jobs.iter().find(|job| job["state"] == "dead");
    assert!(dead.is_none(), "{dead:?}");
    let unsound = jobs.iter().find(|job| job["result"]["sound"] == false);
    assert!(unsound.is_none(), "{unsound:?}");
    let checked = jobs
        .iter()
        .filter(|job| job["result"]["sound"] == true)
        .count();
    assert!(checked > 0, "no check of the log came to an end: {listed}");
    let whole = desk.json(&["jobs", "run", "integrity", "--whole"]);
    assert_eq!(whole["result"]["standing"], 0, "{whole}");
    eprintln!("{checked} checks of the log ended among the kills");
}

/// All clients send what they have, each as fast as it can, until the server is killed: at the moment when `enough`
/// records have been acknowledged.
fn load_until_killed(server: &Server, crew: &mut [Producer], enough: u64) {
    let acknowledged = AtomicU64::new(0);
    thread::scope(|scope| {
        for producer in crew {
            let acknowledged = &acknowledged;
            scope.spawn(move || {
                let client = client(&server.url);
                let mut sent = producer.repeat(&client).map(|()| 0);
                while let Ok(count) = sent {
                    acknowledged.fetch_add(count as u64, Ordering::Relaxed);
                    sent = producer.send(&client, 12);
                }
                refused_by_nobody(&sent.unwrap_err());
            });
        }
        let deadline = Instant::now() + Duration::from_mins(1);
        while acknowledged.load(Ordering::Relaxed) < enough {
            assert!(Instant::now() < deadline, "the server takes nothing");
            thread::sleep(Duration::from_micros(200));
        }
        server.signal("KILL");
    });
}

/// A client may only be cut off: being refused would mean that the ledger forgot or made up something.
fn refused_by_nobody(error: &client::ClientError) {
    assert!(
        matches!(error, client::ClientError::Unavailable { .. }),
        "{error}"
    );
}
