//! The drill: a server under load is killed, its ledger restored elsewhere, and every acknowledged record accounted for.
//!
//! Backups are made while five clients append. What was acknowledged before the last of them began is in it; of what
//! came later exactly that is named which only the dead server's disk has; and where that disk is still there, nothing is
//! lost (I1). `DRILL_ROUNDS` says how often (`make drill`: 5), `DRILL_SEED` draws other requests.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::load::{Producer, client, settle};
use common::{Desk, Server, entries, eventually, get};
use record::Hash;
use serde_json::Value;

const CLIENTS: u8 = 5;
const KEY: &[&str] = &["--key-file", "backup.key"];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// What clients were told, as they were told it.
type Told = Mutex<Vec<(Hash, u64)>>;

#[test]
fn a_killed_server_is_restored_elsewhere_and_every_record_accounted_for() {
    let (rounds, seed) = (setting("DRILL_ROUNDS", 1), setting("DRILL_SEED", 1));
    for round in 0..rounds {
        drill(seed * 1_000 + round);
    }
}

fn drill(seed: u64) {
    let began = Instant::now();
    let desk = Desk::with_ledger();
    desk.ok(&["key", "generate", "--out", "backup.key"]);
    let mut crew: Vec<_> = Producer::crew(CLIENTS, seed)
        .into_iter()
        .map(Producer::attaching)
        .collect();
    settle(&desk, &mut crew);
    let told: Told = Mutex::default();
    for producer in &crew {
        told.lock().unwrap().extend(&producer.acknowledged);
    }

    let server = Server::start(&desk);
    let mut known = 0;
    let mut note = Vec::new();
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        for producer in &mut crew {
            let (told, sent, url) = (&told, &sent, server.url.clone());
            scope.spawn(move || load(producer, &url, told, sent));
        }
        for _ in 0..3 {
            more(&sent, 400);
            known = told.lock().unwrap().len();
            desk.ok(&[&["backup", "--to", "backups"][..], KEY].concat());
        }
        // What a witness, or any client with a memory, holds of the old server.
        more(&sent, 400);
        let last = told.lock().unwrap().len();
        let size = |note: &[u8]| {
            String::from_utf8_lossy(note)
                .lines()
                .nth(1)
                .unwrap()
                .parse()
        };
        eventually("a checkpoint of what came last", || {
            note = get(&format!("{}/log/checkpoint", server.url)).1;
            size(&note).is_ok_and(|size: usize| size > last)
        });
        server.signal("KILL");
    });
    drop(server);
    fs::write(desk.path("seen"), &note).unwrap();
    let told = told.into_inner().unwrap();

    let restored = from_the_backup(&desk, &told, known);
    with_the_disk(&desk, &told);
    eprintln!(
        "{} records acknowledged, {known} of them before the last backup began: all of these are in it; {} later ones are in it too, \
         {} are named as missing, and on the dead server's disk none is missing ({} s)",
        told.len(),
        restored.later,
        restored.missing,
        began.elapsed().as_secs()
    );
}

/// Sends until the server is gone.
fn load(producer: &mut Producer, url: &str, told: &Told, sent: &AtomicU64) {
    let client = client(url);
    loop {
        let before = producer.acknowledged.len();
        let answer = producer.send(&client, 12);
        let new = &producer.acknowledged[before..];
        told.lock().unwrap().extend(new);
        sent.fetch_add(new.len() as u64, Ordering::Relaxed);
        if let Err(error) = answer {
            let gone = matches!(error, client::ClientError::Unavailable { .. });
            assert!(gone, "{error}");
            return;
        }
    }
}

/// Waits until so many more records have been acknowledged.
fn more(sent: &AtomicU64, count: u64) {
    let enough = sent.load(Ordering::Relaxed) + count;
    let deadline = Instant::now() + Duration::from_mins(1);
    while sent.load(Ordering::Relaxed) < enough {
        assert!(Instant::now() < deadline, "the server takes nothing");
        thread::sleep(Duration::from_millis(1));
    }
}

struct Found {
    later: usize,
    missing: usize,
}

/// Only the backup is left.
fn from_the_backup(desk: &Desk, told: &[(Hash, u64)], known: usize) -> Found {
    let args = ["restore", "backups", "--data-dir", "elsewhere"];
    let args = [&args[..], &["--expect", "seen", "--json"], KEY].concat();
    let output = desk.run(&args);
    assert_eq!(output.status.code(), Some(1), "it is behind what was seen");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let next = report["next_index"].as_u64().unwrap();
    let expected = &report["expected"];
    assert_eq!(expected["first_missing"], next, "{report}");
    let end = expected["size"].as_u64().unwrap();
    assert_eq!(expected["missing"], end - next, "{report}");
    assert!(!desk.path("elsewhere/ledger.json").exists());

    // Knowing what is lost, it is put to use.
    desk.ok(&[&args[..], &["--accept-loss"]].concat());
    let leaves = published(desk, "elsewhere", next);
    for (leaf, index) in &told[..known] {
        let found = leaves.get(index);
        assert_eq!(found, Some(leaf), "acknowledged before the backup began");
    }
    let (mut later, mut missing) = (0, 0);
    for (leaf, index) in &told[known..] {
        if *index < next {
            assert_eq!(leaves.get(index), Some(leaf), "an index holds one record");
            later += 1;
        } else {
            assert_ne!(leaves.get(index), Some(leaf), "it was said to be missing");
            missing += 1;
        }
    }
    assert!(
        missing > 0,
        "the drill loses something, or it shows nothing"
    );
    Found { later, missing }
}

/// The server is dead and its disk is not: a backup of that has everything.
fn with_the_disk(desk: &Desk, told: &[(Hash, u64)]) {
    desk.ok(&[&["backup", "--to", "backups"][..], KEY].concat());
    let args = ["restore", "backups", "--data-dir", "again"];
    let args = [&args[..], &["--expect", "seen"], KEY].concat();
    let report = desk.json(&args);
    assert_eq!(report["expected"]["missing"], 0, "{report}");
    assert_eq!(report["expected"]["agrees"], true, "{report}");
    let leaves = published(desk, "again", report["next_index"].as_u64().unwrap());
    for (leaf, index) in told {
        assert_eq!(leaves.get(index), Some(leaf), "an acknowledged record");
    }
}

/// Serves a restored ledger until all of it is published, and verifies it; its leaf hashes by their indices.
fn published(desk: &Desk, dir: &str, size: u64) -> HashMap<u64, Hash> {
    let server = Server::start_with(desk, &["--data-dir", dir]);
    eventually("all of it is published", || {
        let (_, note) = get(&format!("{}/log/checkpoint", server.url));
        let note = String::from_utf8_lossy(&note);
        note.lines().nth(1).unwrap().parse::<u64>().unwrap() > size
    });
    server.stop();
    let policy = format!("{dir}/policy");
    let report = desk.json(&["verify", dir, "--policy", &policy, "--openings"]);
    assert_eq!(report["verdict"], "verified", "{report}");
    let counts = &report["counts"];
    assert_eq!(counts["commitments"], counts["opened"], "{report}");
    assert_eq!(
        counts["attachments"], counts["attachments_checked"],
        "{report}"
    );
    let entries = entries(&desk.path(dir).join("log"));
    (0..)
        .zip(entries.iter().map(|entry| tlog::leaf_hash(entry)))
        .collect()
}
