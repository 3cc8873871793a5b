//! Keys as a user has them: made, shown, encrypted, rotated.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use common::{Desk, Server, text};
use serde_json::Value;

const PHRASE: &str = "correct horse battery staple";
const NAMES: [&str; 5] = [
    "log.ed25519",
    "log.ml-dsa-44",
    "operator.ed25519",
    "deployment",
    "producer.ed25519",
];

fn run_under(desk: &Desk, phrase: &str, args: &[&str]) -> Output {
    desk.command(args)
        .env("RLHF_AUDIT_KEY_PASSPHRASE", phrase)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn under(desk: &Desk, phrase: &str, args: &[&str]) -> String {
    let output = run_under(desk, phrase, args);
    let said = text(&output.stdout, &output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn fails_under(desk: &Desk, phrase: &str, code: i32, args: &[&str]) -> String {
    let output = run_under(desk, phrase, args);
    let said = text(&output.stdout, &output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    said
}

fn key(desk: &Desk, name: &str) -> PathBuf {
    desk.path("audit-data/keys").join(name)
}

/// A run with a sealed value, not sealed itself.
fn annotate(desk: &Desk, run: &str) {
    let input = br#"{"kind":"annotation.preference","body":{"choice":"a"},"sealed":{"prompt":"hm?","response_a":"yes","response_b":"no"}}"#;
    let output = desk.run_with(&["append", "--run", run], input);
    assert!(
        output.status.success(),
        "{}",
        text(&output.stdout, &output.stderr)
    );
}

fn started(desk: &Desk, name: &str) {
    desk.ok(&["run", "start", "--name", name]);
}

fn verify(desk: &Desk, policy: &str) -> Value {
    desk.json(&["verify", "audit-data", "--policy", policy])
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn keys_are_made_once_and_shown_without_the_secret() {
    let desk = Desk::new();
    let made = desk.json(&[
        "key",
        "generate",
        "--name",
        "witness.example/w1",
        "--out",
        "w1",
    ]);
    let secret = fs::read_to_string(desk.path("w1")).unwrap();
    assert_eq!(
        fs::metadata(desk.path("w1")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let vkey = made["public"]["witness_vkey"].as_str().unwrap();
    let vkey: tlog::VerifierKey = vkey.parse().unwrap();
    assert_eq!(
        vkey.signature_type(),
        tlog::SignatureType::Ed25519Cosignature
    );
    assert!(!made.to_string().contains(secret.trim()));
    let shown = desk.json(&[
        "key",
        "show",
        "--file",
        "w1",
        "--name",
        "witness.example/w1",
    ]);
    assert_eq!(shown["public"], made["public"]);

    desk.fails(2, &["key", "generate", "--out", "w1"]);
    assert_eq!(
        fs::read_to_string(desk.path("w1")).unwrap(),
        secret,
        "overwritten"
    );
    desk.fails(
        2,
        &["key", "generate", "--type", "ml-dsa-44", "--out", "w2"],
    );
    desk.fails(2, &["key", "generate", "--name", "a b", "--out", "w2"]);
    assert!(!desk.path("w2").exists());
    let args = [
        "key",
        "generate",
        "--type",
        "ml-dsa-44",
        "--name",
        "w",
        "--out",
        "w2",
    ];
    let pq: tlog::VerifierKey = desk.json(&args)["public"]["witness_vkey"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(pq.signature_type(), tlog::SignatureType::MlDsa44Cosignature);

    desk.ok(&["init"]);
    let shown = desk.json(&["key", "show"]);
    let keys = shown["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 5);
    let policy = fs::read_to_string(desk.path("audit-data/policy")).unwrap();
    for (shown, name) in keys.iter().zip(NAMES) {
        assert_eq!(
            (&shown["file"], &shown["encrypted"]),
            (&name.into(), &false.into())
        );
        let secret = fs::read_to_string(key(&desk, name)).unwrap();
        assert!(!shown.to_string().contains(secret.trim()), "{name}");
    }
    for at in [0, 1] {
        assert!(policy.contains(keys[at]["public"].as_str().unwrap()));
    }
}

#[test]
fn encrypted_keys_need_their_passphrase_and_nothing_else_changes() {
    let desk = Desk::with_ledger();
    started(&desk, "one");
    annotate(&desk, "one");
    let plain: Vec<String> = NAMES
        .iter()
        .map(|name| fs::read_to_string(key(&desk, name)).unwrap())
        .collect();
    desk.fails(3, &["key", "encrypt"]);
    fails_under(&desk, "too short", 2, &["key", "encrypt"]);
    let before: Value = desk.json(&["key", "show"]);
    under(&desk, PHRASE, &["key", "encrypt"]);
    for (name, plain) in NAMES.iter().zip(&plain) {
        let path = key(&desk, name);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_ne!(&fs::read_to_string(&path).unwrap(), plain);
    }
    // No file of the ledger holds a plain key any more.
    let files = fs::read_dir(desk.path("audit-data/keys")).unwrap();
    assert_eq!(files.count(), NAMES.len());

    let missing = desk.fails(3, &["run", "list"]);
    assert!(missing.contains("RLHF_AUDIT_KEY_PASSPHRASE"), "{missing}");
    let wrong = fails_under(&desk, "wrong horse battery staple", 2, &["run", "list"]);
    assert!(wrong.contains("does not decrypt"), "{wrong}");
    assert!(under(&desk, PHRASE, &["run", "list"]).contains("one"));
    fs::write(desk.path("phrase"), format!("{PHRASE}\n")).unwrap();
    desk.ok(&[
        "--passphrase-file",
        "phrase",
        "run",
        "start",
        "--name",
        "two",
    ]);
    desk.fails(3, &["--passphrase-file", "nowhere", "run", "list"]);
    let args = [
        "verify",
        "audit-data",
        "--policy",
        "audit-data/policy",
        "--openings",
    ];
    under(&desk, PHRASE, &args);
    // What is public can be shown without the passphrase, the rest with it.
    let shown = desk.json(&["key", "show"]);
    assert_eq!(shown["keys"][0]["public"], before["keys"][0]["public"]);
    assert_eq!(shown["keys"][2]["public"], Value::Null);
    let shown: Value =
        serde_json::from_str(&under(&desk, PHRASE, &["key", "show", "--json"])).unwrap();
    assert_eq!(shown["keys"][2]["public"], before["keys"][2]["public"]);

    // A server runs on it, and keeps others from changing files.
    desk.fails(3, &["serve", "--port", "0"]);
    fails_under(&desk, "wrong horse battery staple", 2, &["key", "decrypt"]);
    under(&desk, PHRASE, &["key", "decrypt"]);
    for (name, plain) in NAMES.iter().zip(&plain) {
        assert_eq!(&fs::read_to_string(key(&desk, name)).unwrap(), plain);
    }
    desk.verified();
}

#[test]
fn encryption_that_was_interrupted_leaves_every_key_readable() {
    let desk = Desk::with_ledger();
    started(&desk, "one");
    copy(&desk.path("audit-data/keys"), &desk.path("plain"));
    under(&desk, PHRASE, &["key", "encrypt"]);
    // As a kill after the second file, in the middle of the third, left it.
    for name in &NAMES[2..] {
        fs::copy(desk.path("plain").join(name), key(&desk, name)).unwrap();
    }
    let half = key(&desk, &format!("{}.tmp", NAMES[2]));
    fs::write(&half, "rlhf-audit-key/v1 argon2id m=65").unwrap();
    assert!(under(&desk, PHRASE, &["run", "list"]).contains("one"));
    let shown = desk.json(&["key", "show"]);
    let states: Vec<_> = shown["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|k| k["encrypted"] == true)
        .collect();
    assert_eq!(states, [true, true, false, false, false]);
    // Another passphrase would lock out: it is refused before anything changes.
    fails_under(&desk, "wrong horse battery staple", 2, &["key", "encrypt"]);
    under(&desk, PHRASE, &["key", "encrypt"]);
    assert!(!half.exists());
    let shown = desk.json(&["key", "show"]);
    assert!(
        shown["keys"]
            .as_array()
            .unwrap()
            .iter()
            .all(|key| key["encrypted"] == true)
    );
    under(&desk, PHRASE, &["run", "list"]);
}

#[test]
fn a_damaged_key_file_is_refused() {
    let desk = Desk::new();
    under(&desk, PHRASE, &["init", "--encrypt-keys"]);
    let path = key(&desk, "operator.ed25519");
    let good = fs::read_to_string(&path).unwrap();
    let shown = desk.json(&["key", "show"]);
    assert!(
        shown["keys"]
            .as_array()
            .unwrap()
            .iter()
            .all(|key| key["encrypted"] == true)
    );

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = fails_under(&desk, PHRASE, 3, &["run", "list"]);
    assert!(refused.contains("chmod 600"), "{refused}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

    fs::write(&path, &good[..good.len() - 9]).unwrap();
    let refused = fails_under(&desk, PHRASE, 3, &["run", "list"]);
    assert!(refused.contains("is not a key"), "{refused}");
    let last = good.trim_end().rfind('\n').unwrap() + 9;
    let other = if &good[last..=last] == "A" { "B" } else { "A" };
    let garbled = format!("{}{other}{}", &good[..last], &good[last + 1..]);
    fs::write(&path, garbled).unwrap();
    let refused = fails_under(&desk, PHRASE, 2, &["run", "list"]);
    assert!(refused.contains("does not decrypt"), "{refused}");
    fs::write(&path, good).unwrap();
    under(&desk, PHRASE, &["run", "list"]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn every_key_rotates_and_the_log_verifies_with_the_first_policy() {
    let desk = Desk::with_ledger();
    let keep = |name: &str| {
        fs::copy(desk.path("audit-data/policy"), desk.path(name)).unwrap();
    };
    started(&desk, "one");
    annotate(&desk, "one");
    desk.ok(&["run", "seal", "one"]);
    keep("first");
    let bundle = ["bundle", "one", "--output", "old.bundle"];
    desk.ok(&bundle);
    let args = [
        "verify",
        "audit-data",
        "--policy",
        "first",
        "--remember",
        "kept",
    ];
    desk.ok(&args);

    let first = desk.json(&["key", "show"]);
    let rotated = desk.json(&["key", "rotate", "--purpose", "log"]);
    assert_eq!(rotated["old"][0], first["keys"][0]["public"]);
    assert_ne!(rotated["old"], rotated["new"]);
    keep("second");
    assert_ne!(
        fs::read(desk.path("first")).unwrap(),
        fs::read(desk.path("second")).unwrap()
    );
    started(&desk, "two");
    annotate(&desk, "two");
    for purpose in ["deployment", "operator"] {
        desk.ok(&["key", "rotate", "--purpose", purpose]);
    }
    let refused = desk.fails(2, &["key", "rotate", "--purpose", "producer"]);
    assert!(refused.contains("seal them first"), "{refused}");
    assert!(!key(&desk, "producer.ed25519.next").exists());
    desk.ok(&["run", "seal", "two"]);
    let producer = desk.json(&[
        "key",
        "rotate",
        "--purpose",
        "producer",
        "--reason",
        "compromised",
    ]);
    desk.ok(&["key", "rotate", "--purpose", "log"]);
    keep("third");
    started(&desk, "three");
    annotate(&desk, "three");

    // From each policy on, as far as its keys have to be followed.
    for (policy, steps) in [("first", 2), ("second", 1), ("third", 0)] {
        let report = verify(&desk, policy);
        assert_eq!(report["verdict"], "verified", "{policy}: {report}");
        let followed = report["trust"]["rotations"].as_array().map_or(0, Vec::len);
        assert_eq!(followed, steps, "{policy}: {report}");
        assert_eq!(report["key_changes"].as_array().unwrap().len(), 5);
        // What was kept when the log had its first keys is held against the log.
        let args = [
            "verify",
            "audit-data",
            "--policy",
            policy,
            "--since",
            "kept",
        ];
        let report = desk.json(&args);
        assert!(
            report["trust"]["since"].as_u64().unwrap() > 0,
            "{policy}: {report}"
        );
    }
    let said = desk.ok(&["verify", "audit-data", "--policy", "first"]);
    assert!(
        said.contains("the log's keys were changed by record"),
        "{said}"
    );
    // Sealed values of before and after are there.
    let args = [
        "verify",
        "audit-data",
        "--policy",
        "third",
        "--openings",
        "--json",
    ];
    let report: Value = serde_json::from_str(&desk.ok(&args)).unwrap();
    assert_eq!(report["counts"]["opened"], report["counts"]["commitments"]);
    assert!(
        report["counts"]["opened"].as_u64().unwrap() >= 9,
        "{report}"
    );
    // Who has pinned the producer's first key goes on to the second.
    let pin = format!("rlhf-audit={}", producer["old"][0].as_str().unwrap());
    let args = [
        "verify",
        "audit-data",
        "--policy",
        "third",
        "--producer-key",
        &pin,
    ];
    assert_eq!(desk.json(&args)["verdict"], "verified");
    let pin = format!("rlhf-audit={}", producer["new"][0].as_str().unwrap());
    let args = [
        "verify",
        "audit-data",
        "--policy",
        "third",
        "--producer-key",
        &pin,
    ];
    desk.fails(1, &args);

    // Bundles: the old one with the policy of its time, a new one with the way from there.
    desk.ok(&["verify", "old.bundle", "--policy", "first"]);
    desk.fails(1, &["verify", "old.bundle", "--policy", "third"]);
    desk.ok(&["bundle", "one", "--output", "new.bundle"]);
    desk.ok(&["verify", "new.bundle", "--policy", "third"]);
    desk.fails(1, &["verify", "new.bundle", "--policy", "first"]);
    let args = [
        "verify",
        "new.bundle",
        "--policy",
        "first",
        "--rotations",
        "audit-data",
    ];
    desk.ok(&args);

    let shown = desk.json(&["key", "show"]);
    assert_eq!(shown["retired"][0]["vkeys"], rotated["old"]);
    assert_eq!(shown["retired"].as_array().unwrap().len(), 2);

    // The same over HTTP, where nobody has to let one in to see rotations.
    let server = Server::start(&desk);
    let log = format!("{}/log", server.url);
    let args = [
        "verify",
        &log,
        "--policy",
        "first",
        "--token",
        common::ADMIN,
        "--json",
    ];
    let report: Value = serde_json::from_str(&desk.ok(&args)).unwrap();
    assert_eq!(report["trust"]["rotations"].as_array().unwrap().len(), 2);
    // And a server that runs is no place for another rotation.
    let locked = desk.fails(3, &["key", "rotate", "--purpose", "log"]);
    assert!(locked.contains("another process"), "{locked}");
    assert!(!key(&desk, "log.ed25519.next").exists());
    desk.fails(3, &["key", "encrypt"]);
}

/// I21: who has the ledger but not its old keys cannot make a way from them.
#[test]
fn a_forged_rotation_is_refused() {
    let desk = Desk::with_ledger();
    started(&desk, "one");
    fs::copy(desk.path("audit-data/policy"), desk.path("pinned")).unwrap();
    // The victim's history as another ledger of the same name tells it, with keys of its own.
    let origin = desk.json(&["key", "show"])["keys"][0]["public"]
        .as_str()
        .unwrap()
        .split_once('+')
        .unwrap()
        .0
        .to_owned();
    let forged = Desk::new();
    forged.ok(&["init", "--origin", &origin]);
    started(&forged, "another one");
    forged.ok(&["key", "rotate", "--purpose", "log"]);
    let pinned = desk.path("pinned");
    let pinned = pinned.to_str().unwrap();
    forged.fails(1, &["verify", "audit-data", "--policy", pinned]);

    // The file says that it leads from the victim's keys.
    let file = forged.path("audit-data/log/rotations/1");
    let honest = fs::read_to_string(&file).unwrap();
    let victims: Vec<String> = fs::read_to_string(pinned)
        .unwrap()
        .lines()
        .take(2)
        .map(|line| line.rsplit(' ').next().unwrap().to_owned())
        .collect();
    let lines: Vec<String> = honest
        .lines()
        .enumerate()
        .map(|(at, line)| match at {
            1 | 2 => format!("old {}", victims[at - 1]),
            _ => line.to_owned(),
        })
        .collect();
    fs::write(&file, lines.join("\n") + "\n").unwrap();
    let said = forged.fails(1, &["verify", "audit-data", "--policy", pinned, "--json"]);
    let report: Value = serde_json::from_str(&said).unwrap();
    let checks: Vec<_> = report["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["check"].clone())
        .collect();
    assert!(checks.contains(&"rotation".into()), "{report}");
    assert!(said.contains("has not signed it"), "{said}");
}

/// Who has the old keys can sign a change to keys of theirs; the log has to hold it all the same.
#[test]
fn a_rotation_of_another_history_is_refused() {
    let desk = Desk::with_ledger();
    started(&desk, "one");
    fs::copy(desk.path("audit-data/policy"), desk.path("pinned")).unwrap();
    copy(&desk.path("audit-data"), &desk.path("copy"));
    // Two histories part before either changes its keys; the one has the other's file.
    started(&desk, "two");
    desk.ok(&["key", "rotate", "--purpose", "log"]);
    started(&desk, "three");
    let at_copy = ["--data-dir", "copy"];
    desk.ok(&[&["run", "start", "--name", "other"][..], &at_copy].concat());
    desk.ok(&[&["key", "rotate", "--purpose", "log"][..], &at_copy].concat());
    desk.ok(&["verify", "copy", "--policy", "pinned"]);
    for name in ["log.ed25519", "log.ml-dsa-44"] {
        fs::copy(key(&desk, name), desk.path("copy/keys").join(name)).unwrap();
    }
    let (ours, theirs) = (
        desk.path("audit-data/log/rotations/1"),
        desk.path("copy/log/rotations/1"),
    );
    fs::copy(theirs, ours).unwrap();
    desk.fails(1, &["verify", "audit-data", "--policy", "pinned"]);
}

#[test]
fn a_rotation_that_was_interrupted_is_finished_by_another_try() {
    let desk = Desk::new();
    under(&desk, PHRASE, &["init", "--encrypt-keys"]);
    fs::copy(desk.path("audit-data/policy"), desk.path("first")).unwrap();
    under(&desk, PHRASE, &["run", "start", "--name", "one"]);
    let (ed, ml) = (key(&desk, "log.ed25519"), key(&desk, "log.ml-dsa-44"));
    let next = |path: &Path| {
        path.with_extension(format!(
            "{}.next",
            path.extension().unwrap().to_str().unwrap()
        ))
    };
    let old = (fs::read(&ed).unwrap(), fs::read(&ml).unwrap());
    under(&desk, PHRASE, &["key", "rotate", "--purpose", "log"]);
    let new = (fs::read(&ed).unwrap(), fs::read(&ml).unwrap());
    assert!(
        String::from_utf8_lossy(&new.0).starts_with("rlhf-audit-key/v1"),
        "in the plain"
    );

    // All is published, and the first, or both, files wait.
    let policy = fs::read(desk.path("audit-data/policy")).unwrap();
    for both in [false, true] {
        fs::write(next(&ml), &new.1).unwrap();
        fs::write(&ml, &old.1).unwrap();
        if both {
            fs::write(next(&ed), &new.0).unwrap();
            fs::write(&ed, &old.0).unwrap();
            fs::copy(desk.path("first"), desk.path("audit-data/policy")).unwrap();
        }
        for path in [next(&ml), next(&ed)] {
            if path.exists() {
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
        let waits = fails_under(&desk, PHRASE, 3, &["run", "list"]);
        assert!(waits.contains("key rotate --purpose log"), "{waits}");
        fails_under(
            &desk,
            PHRASE,
            3,
            &["key", "rotate", "--purpose", "operator"],
        );
        under(&desk, PHRASE, &["key", "rotate", "--purpose", "log"]);
        assert_eq!((fs::read(&ed).unwrap(), fs::read(&ml).unwrap()), new);
        assert_eq!(fs::read(desk.path("audit-data/policy")).unwrap(), policy);
        assert!(!desk.path("audit-data/log/rotations/2").exists());
    }
    under(&desk, PHRASE, &["run", "start", "--name", "later"]);
    let report = verify(&desk, "first");
    assert_eq!(report["verdict"], "verified", "{report}");
    assert_eq!(report["key_changes"].as_array().unwrap().len(), 1);
}

/// Clients remember the log's keys, and monitors are told them: both go on when they change, and
/// neither does where nobody vouches for the change.
#[test]
fn clients_and_monitors_follow_a_rotation() {
    let desk = Desk::with_ledger();
    fs::copy(desk.path("audit-data/policy"), desk.path("first")).unwrap();
    let place = |server: &Server| {
        [
            "--server".to_owned(),
            server.url.clone(),
            "--token".into(),
            common::ADMIN.into(),
        ]
    };
    let list = |server: &Server| {
        let place = place(server);
        let args: Vec<&str> = ["run", "list"]
            .into_iter()
            .chain(place.iter().map(String::as_str))
            .collect();
        desk.run(&args)
    };
    let watch = |server: &Server| {
        let url = format!("{}/log", server.url);
        let args = [
            "monitor",
            &url,
            "--policy",
            "first",
            "--state-dir",
            "watch",
            "--once",
        ];
        let _ = fs::remove_dir_all(desk.path("watch"));
        desk.run(&[&args[..], &["--token", common::ADMIN, "--entries"]].concat())
    };
    started(&desk, "one");
    let server = Server::start(&desk);
    assert_eq!(list(&server).status.code(), Some(0));
    assert_eq!(watch(&server).status.code(), Some(0));
    drop(server);
    for name in ["two", "three"] {
        desk.ok(&["key", "rotate", "--purpose", "log"]);
        started(&desk, name);
    }
    let server = Server::start(&desk);
    // Twice: what was followed is kept.
    for _ in 0..2 {
        let listed = list(&server);
        assert_eq!(
            listed.status.code(),
            Some(0),
            "{}",
            text(&listed.stdout, &listed.stderr)
        );
    }
    let watched = watch(&server);
    assert_eq!(
        watched.status.code(),
        Some(0),
        "{}",
        text(&watched.stdout, &watched.stderr)
    );
    drop(server);

    desk.ok(&["key", "rotate", "--purpose", "log"]);
    started(&desk, "four");
    fs::remove_file(desk.path("audit-data/log/rotations/3")).unwrap();
    let server = Server::start(&desk);
    assert_ne!(list(&server).status.code(), Some(0));
    assert_eq!(watch(&server).status.code(), Some(1));
}
