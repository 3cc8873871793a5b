//! Several servers on one PostgreSQL, through the binary and over HTTP: whatever dies, freezes or is cut off, what was
//! acknowledged is in the one log once (I1, I3).

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use client::{Client, RetryPolicy, Wait};
use common::{ADMIN, Desk, Server};
use record::kinds::{MetricLogged, RunStarted};
use record::{
    Clock, Draft, Entropy, ProducerName, RecordHash, RunId, SigningKey, StreamName, StreamWriter,
    Timestamp,
};
use testkit::log::SeededEntropy;
use testkit::services;

/// A desk whose servers share a database and a directory of objects.
struct Site {
    desk: Desk,
    database: String,
    acknowledged: Mutex<HashMap<RecordHash, u64>>,
}

impl Site {
    fn new(postgres: &services::Postgres) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("site_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        postgres.sql(&format!("CREATE DATABASE {name}"));
        let site = Self {
            desk: Desk::new(),
            database: format!("{}/{name}", postgres.url().trim_end_matches("/postgres")),
            acknowledged: Mutex::default(),
        };
        site.desk.ok(&["init", "--database-url", &site.database]);
        site
    }

    fn serve(&self) -> Server {
        Server::start_with(&self.desk, &["--database-url", &self.database])
    }

    /// Sends one record after the other until told to stop, each until it is acknowledged.
    fn load(&self, urls: &[&str], seed: u8, stop: &AtomicBool) {
        let clients: Vec<Client> = urls
            .iter()
            .map(|url| {
                Client::new(url, Some(ADMIN))
                    .unwrap()
                    .with_retry(RetryPolicy {
                        first: Duration::from_millis(20),
                        longest: Duration::from_millis(200),
                        total: Duration::from_secs(2),
                    })
            })
            .collect();
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(u64::from(seed) + 77));
        let mut writer = StreamWriter::open(
            RunId::generate(&Now, &*entropy).into(),
            StreamName::parse("main").unwrap(),
            ProducerName::parse(&format!("trainer-{seed}")).unwrap(),
            SigningKey::from_bytes(&[seed; 32]),
            Arc::new(Now),
            entropy,
        );
        let mut draft = Draft::new(RunStarted::new(format!("run-{seed}"), writer.public_key()));
        let mut at = usize::from(seed);
        while !stop.load(Ordering::Relaxed) {
            let records = writer.write(draft).unwrap();
            let deadline = Instant::now() + Duration::from_mins(1);
            let answer = loop {
                // Whoever does not answer is left for the other.
                match clients[at % clients.len()].append(&records, Wait::Durable) {
                    Ok(answer) => break answer,
                    Err(error) => assert!(Instant::now() < deadline, "{error}"),
                }
                at += 1;
            };
            let mut acknowledged = self.acknowledged.lock().unwrap();
            for (record, receipt) in records.iter().zip(&answer.records) {
                acknowledged.insert(tlog::leaf_hash(&record.record).into(), receipt.index);
            }
            draft = Draft::new(MetricLogged::new([("loss".to_owned(), 0.5)].into()));
        }
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until so many more records are acknowledged.
    fn wait_for_more(&self, more: usize) {
        let goal = self.acknowledged() + more;
        wait_until("more is acknowledged", || self.acknowledged() >= goal);
    }

    /// What this server publishes holds, and has all that was acknowledged once, where it was said to be.
    fn check(&self, server: &Server) {
        let client = Client::new(&server.url, Some(ADMIN)).unwrap();
        let last = *self.acknowledged.lock().unwrap().values().max().unwrap();
        wait_until("all is published", || client.proof(last).is_ok());
        self.desk.verifies(&server.url);
        let mut seen = HashMap::new();
        let mut query = client::RecordQuery::default();
        loop {
            let page = client.records(&query).unwrap();
            for record in &page.records {
                let leaf = record.leaf_hash;
                assert_eq!(
                    seen.insert(leaf, record.index),
                    None,
                    "{leaf} is there twice"
                );
            }
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        for (leaf, index) in &*self.acknowledged.lock().unwrap() {
            assert_eq!(seen.get(leaf), Some(index), "{leaf}");
        }
    }
}

struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        let elapsed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        Timestamp(elapsed.as_micros() as i64)
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < deadline, "never came: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs `faults` while six producers write through both servers.
fn under_load(site: &Site, urls: &[&str], faults: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 1..=6 {
            let stop = &stop;
            scope.spawn(move || site.load(urls, seed, stop));
        }
        // However `faults` ends, the producers do.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(faults));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn a_server_frozen_past_its_lease_forks_nothing_when_it_wakes() {
    let site = Site::new(services::postgres());
    let (first, second) = (site.serve(), site.serve());
    under_load(&site, &[&first.url, &second.url], || {
        for (frozen, other) in [(&first, &second), (&second, &first)] {
            site.wait_for_more(100);
            frozen.signal("STOP");
            // Longer than the lease: the other takes over, and publishes.
            let client = Client::new(&other.url, Some(ADMIN)).unwrap();
            let before = client.checkpoint().unwrap();
            wait_until("the other publishes", || {
                client.checkpoint().is_ok_and(|now| now != before)
            });
            site.wait_for_more(100);
            thread::sleep(Duration::from_secs(5));
            frozen.signal("CONT");
        }
        site.wait_for_more(100);
    });
    site.check(&first);
    site.check(&second);
}

#[test]
fn a_server_killed_under_load_loses_nothing_and_the_other_goes_on() {
    let site = Site::new(services::postgres());
    let second = site.serve();
    for _ in 0..3 {
        let first = site.serve();
        let urls = [first.url.clone(), second.url.clone()];
        under_load(&site, &[&urls[0], &urls[1]], || {
            site.wait_for_more(100);
            first.kill();
            site.wait_for_more(100);
        });
    }
    site.check(&second);
    site.check(&site.serve());
}

#[test]
fn a_database_that_goes_and_comes_back_is_waited_for_and_said_so() {
    let mut postgres = services::Postgres::start();
    let site = Site::new(&postgres);
    let (first, second) = (site.serve(), site.serve());
    under_load(&site, &[&first.url, &second.url], || {
        for _ in 0..2 {
            site.wait_for_more(50);
            postgres.stop();
            wait_until("it is said", || !first.is_ready() && !second.is_ready());
            assert!(first.is_live(), "it needs no restart");
            postgres.restart();
            wait_until("they recover", || first.is_ready() && second.is_ready());
        }
        site.wait_for_more(50);
    });
    site.check(&first);
    site.check(&second);
}

#[test]
fn a_ledger_goes_to_a_database_and_back() {
    let site = Site::new(services::postgres());
    let desk = &site.desk;
    desk.ok(&["init", "--data-dir", "small"]);
    desk.ok(&["run", "start", "--name", "first", "--data-dir", "small"]);
    let event = br#"{"kind":"annotation.preference","body":{"choice":"b"},"sealed":{"response_a":"x","response_b":"y"}}"#;
    let appended = desk.run_with(&["append", "--run", "first", "--data-dir", "small"], event);
    assert!(appended.status.success());

    let taken = ["--to-data-dir", "keys", "--to-database-url", &site.database];
    let there = [&["migrate", "--data-dir", "small"][..], &taken].concat();
    let out = desk.fails(3, &there);
    assert!(out.contains("already"), "it overwrote a ledger: {out}");
    services::postgres().sql("CREATE DATABASE moved");
    let moved = format!(
        "{}/moved",
        services::postgres().url().trim_end_matches("/postgres")
    );
    let there = [
        "migrate",
        "--data-dir",
        "small",
        "--to-data-dir",
        "moved",
        "--to-database-url",
        &moved,
    ];
    let report = desk.json(&there);
    assert_eq!(report["verified"]["verdict"], "verified", "{report}");
    assert_eq!(report["verified"]["counts"]["opened"], 2, "{report}");

    // It goes on there, by who started the run.
    let place = ["--data-dir", "moved", "--database-url", &moved];
    let appended = desk.run_with(&[&["append", "--run", "first"][..], &place].concat(), event);
    assert!(
        appended.status.success(),
        "{}",
        common::text(&appended.stdout, &appended.stderr)
    );
    let looked = desk.json(&[&["fsck"][..], &place].concat());
    assert_eq!(looked["sound"], true, "{looked}");
    let before = services::postgres().sql_in(&moved, "SELECT count(*) FROM rlhf_audit.ranges");
    services::postgres().sql_in(&moved, "DELETE FROM rlhf_audit.ranges");
    let looked = desk.run(&[&["fsck"][..], &place].concat());
    assert_eq!(looked.status.code(), Some(1), "missing rows were not found");
    desk.ok(&[&["reindex"][..], &place].concat());
    let after = services::postgres().sql_in(&moved, "SELECT count(*) FROM rlhf_audit.ranges");
    assert!(after != "0" && before != "0", "{before} {after}");
    let looked = desk.json(&[&["fsck"][..], &place].concat());
    assert_eq!(looked["sound"], true, "{looked}");

    let back = [&["migrate", "--to-data-dir", "back"][..], &place].concat();
    let report = desk.json(&back);
    assert_eq!(report["verified"]["verdict"], "verified", "{report}");
    assert_eq!(report["verified"]["counts"]["opened"], 4, "{report}");
    let report = desk.json(&["verify", "back", "--policy", "small/policy", "--openings"]);
    assert_eq!(report["verdict"], "verified", "{report}");
}
