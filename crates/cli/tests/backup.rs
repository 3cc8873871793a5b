//! Backups and what comes back from them, through the binary: beside a server, encrypted, incremental; damaged, cut off,
//! under another key, behind what was published.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use common::disk::{Tmpfs, fill};
use common::load::{Producer, client, settle};
use common::{Desk, Server, entries, text};
use serde_json::Value;
use testkit::services::{self, BUCKET};

const KEY: &[&str] = &["--key-file", "backup.key"];

/// A desk with a ledger, its producers, and a key for backups.
fn desk() -> (Desk, Vec<Producer>) {
    let desk = Desk::with_ledger();
    desk.ok(&["key", "generate", "--out", "backup.key"]);
    let mut crew: Vec<_> = Producer::crew(3, 7)
        .into_iter()
        .map(Producer::attaching)
        .collect();
    settle(&desk, &mut crew);
    (desk, crew)
}

/// Sends some requests through a server of its own.
fn record(desk: &Desk, crew: &mut [Producer], requests: usize) {
    let server = Server::start(desk);
    let client = client(&server.url);
    for _ in 0..requests {
        for producer in &mut *crew {
            producer.send(&client, 20).unwrap();
        }
    }
    server.stop();
}

fn backup(desk: &Desk) -> Value {
    desk.json(&[&["backup", "--to", "backups"][..], KEY].concat())
}

fn restore<'a>(to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["restore", "backups", "--data-dir", to][..], KEY, more].concat()
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn a_backup_beside_a_server_is_the_ledger_again() {
    let (desk, mut crew) = desk();
    let server = Server::start(&desk);
    let client = client(&server.url);
    for _ in 0..30 {
        for producer in &mut crew {
            producer.send(&client, 20).unwrap();
        }
    }
    let first = backup(&desk);
    let known: u64 = crew.iter().map(|one| one.acknowledged.len() as u64).sum();
    let kept = first["size"].as_u64().unwrap() + first["unpublished"].as_u64().unwrap();
    assert!(kept >= known, "{first}: {known} were acknowledged");
    assert_eq!(first["reused"], 0, "{first}");

    // The next copies what is new alone.
    for producer in &mut crew {
        producer.send(&client, 3).unwrap();
    }
    let second = backup(&desk);
    let objects = second["objects"].as_u64().unwrap();
    assert!(second["reused"].as_u64().unwrap() * 2 > objects, "{second}");
    let bytes = |made: &Value| made["written_bytes"].as_u64().unwrap();
    assert!(bytes(&second) * 3 < bytes(&first), "{first} {second}");
    server.stop();

    // Nothing of it can be read, nor is anything there twice.
    for file in files(&desk.path("backups")) {
        let bytes = fs::read(&file).unwrap();
        for secret in ["what is kept?", "\"kind\":", "ledger.json"] {
            let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
            assert!(!found, "{secret} in {}", file.display());
        }
    }
    let listed = desk.json(&[&["restore", "backups", "--list"][..], KEY].concat());
    assert_eq!(listed["points"].as_array().unwrap().len(), 2, "{listed}");
    let checked = desk.json(&[&["restore", "backups", "--check"][..], KEY].concat());
    assert_eq!(checked["sound"], true, "{checked}");

    // What the old one shows last is met, or named as missing.
    let latest = desk.path("audit-data/log/checkpoint");
    fs::copy(&latest, desk.path("latest")).unwrap();
    let expect = ["--expect", "latest", "--accept-loss"];
    let restored = desk.json(&restore("back", &expect));
    assert_eq!(restored["made"], true, "{restored}");
    assert_eq!(restored["check"]["findings"], serde_json::json!([]));
    let size = restored["next_index"].as_u64().unwrap();
    let run = &restored["runs"].as_array().unwrap()[0];
    let streams = run["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 3, "{run}");

    // Byte for byte what the old one has, sealed values open, and the restoration is recorded first of all.
    fs::rename(desk.path("audit-data"), desk.path("old")).unwrap();
    fs::rename(desk.path("back"), desk.path("audit-data")).unwrap();
    let server = Server::start(&desk);
    common::eventually("it is published", || {
        let note = client_checkpoint(&server);
        note.lines().nth(1).unwrap().parse::<u64>().unwrap() > size
    });
    server.stop();
    let (old, new) = (
        entries(&desk.path("old/log")),
        entries(&desk.path("audit-data/log")),
    );
    assert_eq!(old[..size as usize], new[..size as usize]);
    assert!(tells(&new[size as usize..]), "restored-from-backup");
    let report = desk.verified();
    let sealed: u64 = crew.iter().map(|one| one.sealed).sum();
    assert_eq!(report["counts"]["opened"], sealed + 1, "{report}");
    // Once is enough.
    let again = Server::start(&desk);
    again.stop();
    let all = entries(&desk.path("audit-data/log"));
    let told = all.chunks(1).filter(|entry| tells(entry));
    assert_eq!(told.count(), 1);
}

/// Whether one of them says that the ledger was restored.
fn tells(entries: &[Vec<u8>]) -> bool {
    let tells = |entry: &Vec<u8>| String::from_utf8_lossy(entry).contains("restored-from-backup");
    entries.iter().any(tells)
}

fn client_checkpoint(server: &Server) -> String {
    let (status, body) = common::get(&format!("{}/log/checkpoint", server.url));
    assert_eq!(status, 200);
    String::from_utf8(body).unwrap()
}

#[test]
fn what_cannot_be_meant_is_refused_and_says_what_to_do() {
    let (desk, _) = desk();
    let said = desk.fails(2, &["backup", "--to", "backups"]);
    assert!(
        said.contains("--key-file") && said.contains("--plain"),
        "{said}"
    );
    assert!(!desk.path("backups").exists());
    backup(&desk);
    desk.ok(&["key", "generate", "--out", "other.key"]);
    for command in [
        &["backup", "--to", "backups"][..],
        &["restore", "backups", "--data-dir", "back", "--accept-loss"],
    ] {
        let other = desk.fails(2, &[command, &["--key-file", "other.key"]].concat());
        assert!(other.contains("another key"), "{other}");
        let plain = desk.fails(2, &[command, &["--plain"]].concat());
        assert!(plain.contains("encrypted"), "{plain}");
    }
    // A backup alone does not say that it is the newest.
    let said = desk.fails(2, &restore("back", &[]));
    assert!(said.contains("--expect"), "{said}");
    // Nothing is overwritten.
    let said = desk.fails(2, &restore("audit-data", &["--accept-loss"]));
    assert!(said.contains("holds a ledger"), "{said}");
    fs::create_dir(desk.path("full")).unwrap();
    fs::write(desk.path("full/file"), "x").unwrap();
    let said = desk.fails(2, &restore("full", &["--accept-loss"]));
    assert!(said.contains("not empty"), "{said}");
    let to_full = [&["backup", "--to", "full"][..], KEY].concat();
    assert!(desk.fails(2, &to_full).contains("`file`"));
    // Each ledger has a place of its own.
    desk.ok(&["init", "--data-dir", "second"]);
    let second = ["backup", "--to", "backups", "--data-dir", "second"];
    let said = desk.fails(2, &[&second[..], KEY].concat());
    assert!(said.contains("a place of its own"), "{said}");
    assert!(!desk.path("back").exists());
    // Nor is there a backup where there is none.
    let said = desk.fails(2, &["restore", "nowhere", "--plain", "--list"]);
    assert!(said.contains("no backup"), "{said}");
    // Somebody else writes to it.
    let lock = fs::File::create(desk.path("backups/lock")).unwrap();
    lock.lock().unwrap();
    let said = desk.fails(3, &[&["backup", "--to", "backups"][..], KEY].concat());
    assert!(said.contains("under way"), "{said}");
}

#[test]
fn the_configuration_comes_back_as_it_was() {
    let (desk, _) = desk();
    fs::write(desk.path("rlhf-audit.toml"), "data-dir = \"audit-data\"\n").unwrap();
    fs::create_dir_all(desk.path("etc/tls")).unwrap();
    fs::write(desk.path("etc/tls/key.pem"), "a private key").unwrap();
    fs::set_permissions(desk.path("etc/tls/key.pem"), Permissions::from_mode(0o600)).unwrap();
    fs::write(desk.path("etc/empty"), "").unwrap();
    // As Kubernetes mounts a secret: one link to a directory, and one through it to each file.
    std::os::unix::fs::symlink("tls", desk.path("etc/data")).unwrap();
    std::os::unix::fs::symlink("data/key.pem", desk.path("etc/key.pem")).unwrap();
    let with = ["backup", "--to", "backups", "--with", "etc"];
    let made = desk.json(&[&with[..], KEY].concat());
    assert_eq!(made["files"], 4, "{made}");
    desk.ok(&[&["restore", "backups", "--check"][..], KEY].concat());

    let back = ["restore", "backups", "--files-to", "back"];
    let back = [&back[..], KEY].concat();
    let said = desk.json(&back);
    let root = desk
        .path("back")
        .join(desk.path("").strip_prefix("/").unwrap());
    let names = [
        "etc/empty",
        "etc/key.pem",
        "etc/tls/key.pem",
        "rlhf-audit.toml",
    ];
    for (at, name) in names.iter().enumerate() {
        let path = root.join(name);
        assert_eq!(
            fs::read(&path).unwrap(),
            fs::read(desk.path(name)).unwrap(),
            "{name}"
        );
        assert_eq!(
            said["files"][at],
            *path
                .to_str()
                .unwrap()
                .strip_prefix(desk.path("").to_str().unwrap())
                .unwrap()
        );
    }
    let permissions = fs::metadata(root.join("etc/tls/key.pem"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(permissions & 0o777, 0o600);
    assert!(!root.join("etc/data").exists());
    // Nothing is overwritten, and it is no ledger.
    assert!(desk.fails(2, &back).contains("new or empty"));
    assert!(!desk.path("back/ledger.json").exists());

    // A ledger comes back without them; what is not there is said, and makes no backup.
    desk.ok(&restore("again", &["--accept-loss"]));
    is_whole(&desk, "again");
    let gone = ["backup", "--to", "backups", "--with", "nowhere"];
    assert!(
        desk.fails(3, &[&gone[..], KEY].concat())
            .contains("nowhere: No such file")
    );
    let listed = desk.json(&[&["restore", "backups", "--list"][..], KEY].concat());
    assert_eq!(listed["points"].as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn a_backup_in_the_clear_says_so() {
    let (desk, _) = desk();
    let said = desk.ok(&["backup", "--to", "clear", "--plain"]);
    assert!(said.contains("NOT ENCRYPTED"), "{said}");
    let args = ["restore", "clear", "--plain", "--data-dir", "back"];
    desk.ok(&[&args[..], &["--accept-loss"]].concat());
    is_whole(&desk, "back");
}

#[test]
fn damage_to_any_file_is_found_and_makes_no_ledger() {
    let (desk, mut crew) = desk();
    record(&desk, &mut crew, 8);
    backup(&desk);
    let all: Vec<_> = files(&desk.path("backups"))
        .into_iter()
        .filter(|path| !path.ends_with("lock"))
        .collect();
    assert!(all.len() > 10);
    // The first, the last and some in between: header, blobs of every sort, the point.
    let step = all.len().div_ceil(9);
    let chosen = all.iter().step_by(step).chain(all.last());
    for (turn, path) in chosen.enumerate() {
        let good = fs::read(path).unwrap();
        let mut bad = good.clone();
        match turn % 3 {
            0 => {
                let middle = bad.len() / 2;
                bad[middle] ^= 1;
                fs::write(path, &bad).unwrap();
            }
            1 => fs::write(path, &bad[..bad.len() / 2]).unwrap(),
            _ => fs::remove_file(path).unwrap(),
        }
        for args in [
            restore("back", &["--accept-loss"]),
            [&["restore", "backups", "--check"][..], KEY].concat(),
        ] {
            let output = desk.run(&args);
            let said = text(&output.stdout, &output.stderr);
            let code = output.status.code().unwrap();
            assert!(code == 1 || code == 2, "{}: {code} {said}", path.display());
            let named = ["damaged", "missing", "no backup", "another key", "format"];
            assert!(
                named.iter().any(|word| said.contains(word)),
                "{}: {said}",
                path.display()
            );
        }
        assert!(!desk.path("back/ledger.json").exists());
        let _ = fs::remove_dir_all(desk.path("back"));
        fs::write(path, good).unwrap();
    }
    desk.ok(&restore("back", &["--accept-loss"]));
}

#[test]
fn a_backup_that_is_killed_is_none_and_the_next_goes_on() {
    let (desk, mut crew) = desk();
    record(&desk, &mut crew, 40);
    let args = [&["backup", "--to", "backups"][..], KEY].concat();
    let mut unfinished = 0;
    for millis in [5, 15, 25, 40, 60, 90, 120] {
        let mut child = desk
            .command(&args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(millis));
        let _ = child.kill();
        child.wait().unwrap();
        let points = desk.path("backups/points");
        let points = fs::read_dir(points).map_or(0, Iterator::count);
        unfinished += u32::from(points == 0 && desk.path("backups/data").exists());
    }
    backup(&desk);
    let checked = desk.json(&[&["restore", "backups", "--check"][..], KEY].concat());
    assert_eq!(checked["sound"], true, "{checked}");
    let left = fs::read_dir(desk.path("backups/tmp")).unwrap().count();
    assert_eq!(left, 0, "what was half-written is gone");
    eprintln!("{unfinished} of 7 were killed with some of it copied");
    // A restoration that is killed is no ledger either, and the same again finishes it.
    for millis in [10, 30, 60] {
        let mut child = desk
            .command(&restore("back", &["--accept-loss"]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(millis));
        let _ = child.kill();
        child.wait().unwrap();
        if desk.path("back/ledger.json").exists() {
            fs::remove_dir_all(desk.path("back")).unwrap();
        }
    }
    desk.ok(&restore("back", &["--accept-loss"]));
    is_whole(&desk, "back");
}

#[test]
fn two_backups_at_once_do_not_disturb_each_other() {
    let (desk, mut crew) = desk();
    record(&desk, &mut crew, 20);
    let args = [&["backup", "--to", "backups"][..], KEY].concat();
    let codes: Vec<_> = thread::scope(|scope| {
        let both: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| desk.run(&args).status.code().unwrap()))
            .collect();
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    // One, or the one after the other.
    assert!(codes.contains(&0), "{codes:?}");
    assert!(codes.iter().all(|code| [0, 3].contains(code)), "{codes:?}");
    desk.ok(&[&["restore", "backups", "--check"][..], KEY].concat());
}

#[test]
fn a_ledger_behind_what_was_published_says_what_is_missing() {
    let (desk, mut crew) = desk();
    backup(&desk);
    let old = fs::read(desk.path("audit-data/log/checkpoint")).unwrap();
    record(&desk, &mut crew, 3);
    fs::write(desk.path("earlier"), old).unwrap();
    fs::copy(desk.path("audit-data/log/checkpoint"), desk.path("later")).unwrap();

    // An earlier one is met.
    let restored = desk.json(&restore("met", &["--expect", "earlier"]));
    assert_eq!(restored["expected"]["agrees"], true, "{restored}");

    // A later one is not: exactly the indices from there on are named, and there is no ledger.
    let size = entries(&desk.path("audit-data/log")).len() as u64;
    let output = desk.run(&restore("back", &["--expect", "later", "--json"]));
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let next = told["next_index"].as_u64().unwrap();
    assert_eq!(told["expected"]["missing"], size - next, "{told}");
    assert_eq!(told["expected"]["first_missing"], next, "{told}");
    assert_eq!(told["made"], false, "{told}");
    assert!(!desk.path("back/ledger.json").exists());
    let said = desk.fails(1, &restore("back", &["--expect", "later"]));
    assert!(
        said.contains("MISSING") && said.contains("--accept-loss"),
        "{said}"
    );
    // Knowing that, it may be used; the log says what it lacks.
    desk.ok(&restore("back", &["--expect", "later", "--accept-loss"]));
    let at = ["--data-dir", "back"];
    desk.ok(&[&["run", "start", "--name", "afterwards"][..], &at].concat());
    let new = entries(&desk.path("back/log"));
    assert!(tells(&new[next as usize..]), "restored-from-backup");
    let detail = format!("at-{next}-of-{size}");
    let after = new[next as usize..].concat();
    assert!(String::from_utf8_lossy(&after).contains(&detail));

    // It is a fork now, which its own checkpoint proves: what is of another history is never put to use.
    let fork = desk.path("back/log/checkpoint");
    fs::copy(fork, desk.path("fork")).unwrap();
    backup(&desk);
    let args = ["--expect", "fork", "--accept-loss"];
    let said = desk.fails(1, &restore("contradicted", &args));
    assert!(said.contains("CONTRADICTED"), "{said}");
    assert!(!desk.path("contradicted/ledger.json").exists());
    // A checkpoint of another log says nothing.
    desk.ok(&["init", "--data-dir", "second"]);
    let other = ["--expect", "second/log/checkpoint", "--accept-loss"];
    desk.fails(1, &restore("other", &other));
    assert!(!desk.path("other/ledger.json").exists());
}

#[test]
fn a_full_disk_is_said_and_leaves_no_backup_and_no_ledger() {
    let (desk, mut crew) = desk();
    record(&desk, &mut crew, 8);
    let Some(_disk) = Tmpfs::mount(&desk.path("small"), 8) else {
        return;
    };
    fill(&desk.path("small/ballast"), 100 << 10);
    let args = [&["backup", "--to", "small/backups"][..], KEY].concat();
    let said = desk.fails(3, &args);
    assert!(said.contains("no space left"), "{said}");
    let points = fs::read_dir(desk.path("small/backups/points")).map_or(0, Iterator::count);
    assert_eq!(points, 0);
    backup(&desk);
    let said = desk.fails(3, &restore("small/back", &["--accept-loss"]));
    assert!(said.contains("no space left"), "{said}");
    assert!(!desk.path("small/back/ledger.json").exists());
}

#[test]
fn a_ledger_in_postgres_and_s3_goes_to_s3_and_back_to_either() {
    let postgres = services::postgres();
    let databases = ["kept_one", "kept_two"].map(|name| {
        postgres.sql(&format!("CREATE DATABASE {name}"));
        format!("{}/{name}", postgres.url().trim_end_matches("/postgres"))
    });
    let bucket = services::s3();
    let variables = services::s3_options(bucket.port());
    let url = || format!("s3://{BUCKET}/{}", bucket.new_prefix());
    let (objects, kept, others) = (url(), url(), url());
    let desk = Desk::new();
    let run = |args: &[&str]| {
        let mut command = desk.command(args);
        let output = command.envs(variables.iter().cloned()).output().unwrap();
        let said = text(&output.stdout, &output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let at = ["--database-url", &databases[0], "--objects", &objects];
    run(&[&["init"][..], &at].concat());
    run(&["key", "generate", "--out", "backup.key"]);
    let server = Server::start_in(&desk, &at, &variables);
    let client = client(&server.url);
    let mut crew: Vec<_> = Producer::crew(3, 11)
        .into_iter()
        .map(Producer::attaching)
        .collect();
    for _ in 0..25 {
        for producer in &mut crew {
            producer.send(&client, 12).unwrap();
        }
    }
    let made = run(&[&["backup", "--to", &kept, "--json"][..], &at, KEY].concat());
    let made: Value = serde_json::from_str(&made).unwrap();
    let acknowledged: u64 = crew.iter().map(|one| one.acknowledged.len() as u64).sum();
    let records = made["size"].as_u64().unwrap() + made["unpublished"].as_u64().unwrap();
    assert!(records >= acknowledged, "{made}");
    server.stop();

    // The dead ledger's own place shall not be filled again.
    let from = ["restore", &kept, "--accept-loss", "--json"];
    let again = [&from[..], &at, KEY].concat();
    let refused = desk
        .command(&again)
        .envs(variables.iter().cloned())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));

    let embedded = ["--data-dir", "embedded"];
    let restored = run(&[&from[..], &embedded, KEY].concat());
    let restored: Value = serde_json::from_str(&restored).unwrap();
    assert_eq!(restored["next_index"], records, "{restored}");
    run(&["run", "list", "--data-dir", "embedded"]);
    let policy = "embedded/policy";
    let report = run(&[
        "verify",
        "embedded",
        "--policy",
        policy,
        "--openings",
        "--json",
    ]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["verdict"], "verified", "{report}");
    let sealed: u64 = crew.iter().map(|one| one.sealed).sum();
    assert_eq!(report["counts"]["opened"], sealed + 1, "{report}");

    let shared = ["--data-dir", "shared", "--database-url", &databases[1]];
    let shared = [&shared[..], &["--objects", &others]].concat();
    let restored = run(&[&from[..], &shared, KEY].concat());
    let restored: Value = serde_json::from_str(&restored).unwrap();
    assert_eq!(restored["made"], true, "{restored}");
    run(&[&["fsck"][..], &shared].concat());
    run(&[&["run", "list"][..], &shared].concat());
}

#[test]
fn jobs_make_backups_and_exports() {
    let (desk, _) = desk();
    let config = "[backup]\nto = \"backups\"\nkey-file = \"backup.key\"\nwith = [\"audit-data/policy\"]\n[export]\nto = \"tables\"\n";
    fs::write(desk.path("jobs.toml"), config).unwrap();
    let run = |kind: &str| {
        let job = desk.json(&["jobs", "run", kind, "--config", "jobs.toml"]);
        assert_eq!(job["state"], "done", "{job}");
        job["result"].clone()
    };
    let made = run("backup");
    assert!(made["size"].as_u64().unwrap() > 0, "{made}");
    assert_eq!(
        made["files"], 2,
        "the configuration file, and what it names: {made}"
    );
    desk.ok(&[&["restore", "backups", "--check"][..], KEY].concat());
    assert_ne!(run("backup")["point"], made["point"]);

    let exported = run("export");
    let output = exported["output"].as_str().unwrap();
    let manifest = fs::read(desk.path(output).join("_manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["records"], exported["records"], "{manifest}");
    assert_eq!(manifest["log_size"], exported["records"], "{manifest}");

    // Without a place they are not tried in vain.
    for kind in ["backup", "export"] {
        let said = desk.fails(2, &["jobs", "run", kind]);
        assert!(said.contains("configuration file"), "{said}");
    }
    fs::write(desk.path("wrong.toml"), "[backup]\nto = \"backups\"\n").unwrap();
    let said = desk.fails(2, &["jobs", "run", "backup", "--config", "wrong.toml"]);
    assert!(said.contains("key-file"), "{said}");
}

/// A restored ledger, its sealed values included.
fn is_whole(desk: &Desk, dir: &str) {
    let policy = format!("{dir}/policy");
    let report = desk.json(&["verify", dir, "--policy", &policy, "--openings"]);
    assert_eq!(report["verdict"], "verified", "{report}");
}
