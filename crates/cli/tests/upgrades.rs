//! Ledgers that earlier versions wrote, and going back to those versions (I1, I3, I16).
//!
//! `tests/ledgers/` has what earlier versions wrote, one directory for each schema: `ledger.tar.gz` is the
//! data directory of a server that was killed, `database.sql` the dump of its PostgreSQL, `told.json` what it had
//! acknowledged. `make ledger NAME=… PREVIOUS=…` writes one with the program of that time.
//!
//! `PREVIOUS_BINARY` is the program of an earlier version, which reads and writes in turns with this one; `make upgrade`
//! builds it. Without it this program is its own predecessor, which shows that the test works and no more.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use client::{Client, Wait};
use common::load::{Producer, client};
use common::{ADMIN, Desk, Server, entries, eventually};
use serde_json::{Value, json};
use testkit::services;

/// The program that came before this one.
fn previous() -> PathBuf {
    std::env::var_os("PREVIOUS_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_rlhf-audit").into(), Into::into)
}

/// An empty database.
fn database() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let postgres = services::postgres();
    let name = format!("upgraded_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    postgres.sql(&format!("CREATE DATABASE {name}"));
    format!("{}/{name}", postgres.url().trim_end_matches("/postgres"))
}

/// A ledger's place, as arguments.
fn place(database: Option<&String>) -> Vec<&str> {
    database.map_or_else(Vec::new, |url| vec!["--database-url", url.as_str()])
}

/// What a ledger has acknowledged: leaf hashes with their indices.
type Told = HashMap<tlog::Hash, u64>;

fn told(crew: &[Producer]) -> Told {
    crew.iter()
        .flat_map(|one| one.acknowledged.iter().copied())
        .collect()
}

/// Every producer's last answer is still true, and what it sends now is taken.
fn work(server: &Server, crew: &mut [Producer], requests: usize) {
    let client = client(&server.url);
    for producer in &mut *crew {
        producer.repeat(&client).unwrap();
    }
    for _ in 0..requests {
        for producer in &mut *crew {
            producer.send_and(&client, 6, Wait::Durable).unwrap();
        }
    }
}

/// The log at a server of this version is whole, and has what was told, once and where it was told; so says everything
/// that checks a log.
fn check(desk: &Desk, place: &[&str], told: &Told) {
    let server = Server::start_with(desk, place);
    let client = Client::new(&server.url, Some(ADMIN)).unwrap();
    let last = told.values().max().unwrap();
    eventually("all is published", || client.proof(*last).is_ok());
    desk.verifies(&server.url);
    let run = &client.runs(None, 10).unwrap().runs[0];
    let file = desk.path("run.rlhf-bundle");
    let mut out = fs::File::create(&file).unwrap();
    client
        .bundle(run.run.as_str(), true, &mut out)
        .expect("a run's bundle");
    // An open run's end is not signed, so its verdict need not be the best.
    let output = desk.run(&[
        "verify",
        file.to_str().unwrap(),
        "--policy",
        "audit-data/policy",
        "--json",
    ]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdict = report["verdict"].as_str().unwrap();
    assert!(["verified", "incomplete"].contains(&verdict), "{report}");
    assert_eq!(
        report["counts"]["opened"], report["counts"]["commitments"],
        "{report}"
    );
    server.stop();
    let looked = desk.json(&[&["fsck"][..], place].concat());
    assert_eq!(looked["sound"], true, "{looked}");
    let mut places = HashMap::new();
    for (entry, index) in entries(&desk.path("audit-data/log")).iter().zip(0_u64..) {
        let before = places.insert(tlog::leaf_hash(entry), index);
        assert_eq!(before, None, "record {index} is there twice");
    }
    for (leaf, index) in told {
        assert_eq!(places.get(leaf), Some(index), "an acknowledged record");
    }
    if place.is_empty() {
        desk.verified();
    }
}

/// The previous version and this one write to a ledger in turns, killed between, so that each begins with what the other
/// left undone.
fn there_and_back(database: Option<&String>) {
    let this = PathBuf::from(env!("CARGO_BIN_EXE_rlhf-audit"));
    let place = place(database);
    let mut desk = Desk::new();
    desk.binary = previous();
    eprintln!("the previous version: {}", desk.binary.display());
    desk.ok(&[&["init"][..], &place].concat());
    let mut crew = Producer::crew(3, 11);
    for binary in [previous(), this.clone(), previous(), this.clone()] {
        desk.binary = binary;
        let server = Server::start_with(&desk, &place);
        work(&server, &mut crew, 12);
        server.kill();
    }
    desk.binary = previous();
    let server = Server::start_with(&desk, &place);
    work(&server, &mut crew, 3);
    server.stop();
    desk.binary = this;
    check(&desk, &place, &told(&crew));
}

#[test]
fn the_previous_version_goes_on_after_this_one_and_this_after_it() {
    there_and_back(None);
}

#[test]
fn the_previous_version_goes_on_after_this_one_in_postgresql() {
    there_and_back(Some(&database()));
}

/// Servers are replaced one by one: both versions serve one ledger for a while.
#[test]
fn both_versions_serve_one_ledger_while_one_replaces_the_other() {
    let this = PathBuf::from(env!("CARGO_BIN_EXE_rlhf-audit"));
    let database = database();
    let place = place(Some(&database));
    let mut desk = Desk::new();
    desk.binary = previous();
    desk.ok(&[&["init"][..], &place].concat());
    let old = Server::start_with(&desk, &place);
    let mut crew = Producer::crew(3, 13);
    work(&old, &mut crew, 5);
    desk.binary = this;
    let new = Server::start_with(&desk, &place);
    for _ in 0..5 {
        work(&new, &mut crew, 3);
        work(&old, &mut crew, 3);
    }
    old.kill();
    work(&new, &mut crew, 5);
    new.stop();
    check(&desk, &place, &told(&crew));
}

fn ledgers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ledgers")
}

/// Writes a ledger as the version of `PREVIOUS_BINARY` leaves it when its server is killed, as `LEDGER`; `REF` says which
/// version that is.
#[test]
fn ledgers_are_written_by_the_program_of_their_time() {
    let Ok(name) = std::env::var("LEDGER") else {
        // Those that are there were: each says by which.
        for told in kept() {
            assert!(told.0["written_by"].is_string(), "{:?}", told.1);
        }
        return;
    };
    let database = name.starts_with("postgres").then(database);
    let place = place(database.as_ref());
    let mut desk = Desk::new();
    desk.binary = previous();
    desk.ok(&[&["init"][..], &place].concat());
    let mut crew = Producer::crew(3, 17);
    let server = Server::start_with(&desk, &place);
    work(&server, &mut crew, 5);
    server.stop();
    let server = Server::start_with(&desk, &place);
    work(&server, &mut crew, 3);
    let said = desk.ok(&["--version"]);
    let sealed: u64 = crew.iter().map(|one| one.sealed).sum();
    server.kill();

    let dir = ledgers().join(&name);
    fs::create_dir_all(&dir).unwrap();
    if let Some(url) = &database {
        fs::write(dir.join("database.sql"), services::postgres().dump(url)).unwrap();
    }
    tar(&[
        "--sort=name",
        "--sparse",
        "-czf",
        dir.join("ledger.tar.gz").to_str().unwrap(),
        "-C",
        desk.dir.path().to_str().unwrap(),
        "audit-data",
    ]);
    let mut acknowledged: Vec<_> = told(&crew).into_iter().collect();
    acknowledged.sort_by_key(|(_, index)| *index);
    let acknowledged: Vec<Value> = acknowledged
        .iter()
        .map(|(leaf, index)| json!([leaf.to_string(), index]))
        .collect();
    let reference = std::env::var("REF").unwrap_or_default();
    let told = json!({
        "written_by": format!("{} of {reference}", said.trim()), "sealed": sealed, "acknowledged": acknowledged,
    });
    fs::write(dir.join("told.json"), format!("{told}\n")).unwrap();
}

/// What the kept ledgers had told, each with its directory.
fn kept() -> Vec<(Value, PathBuf)> {
    let mut all: Vec<_> = fs::read_dir(ledgers())
        .unwrap()
        .map(|entry| {
            let dir = entry.unwrap().path();
            let told = fs::read(dir.join("told.json")).unwrap();
            (serde_json::from_slice(&told).unwrap(), dir)
        })
        .collect();
    all.sort_by(|one, other| one.1.cmp(&other.1));
    for name in ["sqlite-3", "postgres-2"] {
        let is_there = all.iter().any(|(_, dir)| dir.ends_with(name));
        assert!(is_there, "the ledger {name} is missing");
    }
    all
}

/// What earlier versions' programs left is read, verified and gone on with.
#[test]
fn ledgers_that_earlier_versions_left_open_and_go_on() {
    for (value, dir) in kept() {
        eprintln!("{}: {}", dir.display(), value["written_by"]);
        let dump = dir.join("database.sql");
        let database = dump.exists().then(|| {
            let url = database();
            services::postgres().load(&url, &dump);
            url
        });
        let place = place(database.as_ref());
        let desk = Desk::new();
        tar(&[
            "-xzf",
            dir.join("ledger.tar.gz").to_str().unwrap(),
            "-C",
            desk.dir.path().to_str().unwrap(),
        ]);
        let mut told: Told = value["acknowledged"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| {
                (
                    pair[0].as_str().unwrap().parse().unwrap(),
                    pair[1].as_u64().unwrap(),
                )
            })
            .collect();
        check(&desk, &place, &told);
        let mut crew = Producer::crew(2, 23);
        let server = Server::start_with(&desk, &place);
        work(&server, &mut crew, 4);
        server.kill();
        told.extend(crew.iter().flat_map(|one| one.acknowledged.iter().copied()));
        check(&desk, &place, &told);
    }
}

fn tar(args: &[&str]) {
    let done = Command::new("tar").args(args).status().unwrap();
    assert!(done.success(), "tar {args:?}");
}
