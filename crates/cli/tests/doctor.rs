//! `rlhf-audit doctor`: what it finds, what it says to do, and how it ends.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use common::disk::Tmpfs;
use common::{Desk, text};
use serde_json::Value;
use testkit::services;

/// The findings of a part, and the exit code.
fn findings(desk: &Desk, args: &[&str], part: &str) -> (Vec<Value>, i32) {
    let output = desk.run(&[&["doctor", "--json"], args].concat());
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", text(&output.stdout, &output.stderr)));
    let all = report["findings"].as_array().unwrap().iter();
    let found: Vec<Value> = all
        .filter(|finding| finding["part"] == part)
        .cloned()
        .collect();
    for finding in &found {
        let advised = finding["do"].is_string();
        assert_eq!(advised, finding["state"] != "ok", "{finding}");
    }
    (found, output.status.code().unwrap())
}

#[test]
fn a_good_ledger_is_well_in_every_part_but_perhaps_the_disk() {
    let desk = Desk::with_ledger();
    for part in [
        "versions",
        "configuration",
        "keys",
        "clock",
        "ledger",
        "database",
        "objects",
    ] {
        let (found, code) = findings(&desk, &[part], part);
        assert_eq!((found.len(), code), (1, 0), "{part}: {found:?}");
        assert_eq!(found[0]["state"], "ok", "{part}: {found:?}");
    }
    let (found, _) = findings(&desk, &["disk"], "disk");
    assert!(
        found
            .iter()
            .any(|finding| finding["what"].as_str().unwrap().contains("a flush takes")),
        "{found:?}"
    );
    let said = desk.ok(&["doctor", "keys"]);
    assert!(
        said.starts_with("ok ") && said.contains("readable by their owner alone"),
        "{said}"
    );
}

#[test]
fn keys_that_others_may_read_are_found() {
    let desk = Desk::with_ledger();
    let key = desk.path("audit-data/keys/operator.ed25519");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (found, code) = findings(&desk, &["keys"], "keys");
    assert_eq!(code, 1, "{found:?}");
    assert!(
        found
            .iter()
            .any(|finding| finding["do"].as_str().unwrap().starts_with("chmod 600 ")),
        "{found:?}"
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(
        desk.path("audit-data/keys"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    assert_eq!(findings(&desk, &["keys"], "keys").1, 1);
}

#[test]
fn a_changed_checkpoint_and_a_wrong_file_are_found() {
    let desk = Desk::with_ledger();
    let path = desk.path("audit-data/log/checkpoint");
    let note = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<&str> = note.lines().collect();
    lines[1] = "1000000";
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let (found, code) = findings(&desk, &["ledger"], "ledger");
    assert_eq!(
        (found[0]["state"].as_str(), code),
        (Some("failed"), 1),
        "{found:?}"
    );

    fs::write(desk.path("rlhf-audit.toml"), "hots = \"0.0.0.0\"\n").unwrap();
    let (found, code) = findings(&desk, &["configuration"], "configuration");
    assert_eq!(code, 1);
    assert!(
        found[0]["what"]
            .as_str()
            .unwrap()
            .contains("did you mean `host`?"),
        "{found:?}"
    );
}

#[test]
fn a_file_system_in_memory_is_no_disk() {
    let desk = Desk::new();
    let place = desk.path("memory");
    let Some(_mounted) = Tmpfs::mount(&place, 64) else {
        return;
    };
    let (found, code) = findings(&desk, &["disk", "--data-dir", "memory/data"], "disk");
    assert_eq!(code, 1, "{found:?}");
    assert!(
        found.iter().any(|finding| finding["what"]
            .as_str()
            .unwrap()
            .contains("tmpfs, in memory")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|finding| finding["what"].as_str().unwrap().contains("MiB are free")),
        "{found:?}"
    );
}

#[test]
fn a_database_answers_or_it_is_unavailable_and_its_password_is_not_said() {
    let desk = Desk::new();
    let url = services::postgres().url();
    let (found, code) = findings(&desk, &["database", "--database-url", &url], "database");
    // On a busy machine it may be slow, which is a warning.
    let said = found[0]["what"].as_str().unwrap();
    assert!(code == 0 && said.contains("answers in"), "{found:?}");

    let gone = "postgres://someone:pw-of-theirs@127.0.0.1:1/none";
    let output = desk.run(&["doctor", "database", "--database-url", gone]);
    let said = text(&output.stdout, &output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("do: see that it runs") && !said.contains("pw-of-theirs"),
        "{said}"
    );
}
