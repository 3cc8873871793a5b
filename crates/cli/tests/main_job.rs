//! The main job as a user does it: record, seal, verify, bundle, prove, card; and what happens when somebody cheats.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs;

use common::{Desk, text};

const EVENTS: &str = concat!(
    r#"{"kind":"annotation.preference","body":{"choice":"a","item":"q1"},"sealed":{"prompt":"Capital of France?","response_a":"Paris, on the Seine","response_b":"Rome, on the Tiber"}}"#,
    "\n",
    r#"{"kind":"policy.updated","body":{"step":1,"loss":0.5,"kl":0.01,"reward_mean":0.25}}"#,
    "\n",
    r#"{"kind":"metric.logged","body":{"metrics":{"loss":0.25}}}"#,
    "\n",
);

/// A ledger with one sealed run.
fn recorded() -> Desk {
    let desk = Desk::with_ledger();
    desk.ok(&["run", "start", "--name", "first", "--experiment", "safety"]);
    let output = desk.run_with(&["append", "--run", "first"], EVENTS.as_bytes());
    assert!(
        output.status.success(),
        "{}",
        text(&output.stdout, &output.stderr)
    );
    desk.ok(&["run", "seal", "first"]);
    desk
}

#[test]
fn a_run_is_recorded_sealed_verified_and_bundled() {
    let desk = recorded();
    let report = desk.json(&[
        "verify",
        "audit-data",
        "--policy",
        "audit-data/policy",
        "--openings",
    ]);
    assert_eq!(report["verdict"], "verified", "{report}");
    assert_eq!(report["counts"]["sealed_runs"], 1);
    assert_eq!(report["counts"]["commitments"], 3);
    assert_eq!(
        report["counts"]["opened"], 3,
        "the deployment key is at hand"
    );

    desk.ok(&["bundle", "first", "-o", "first.rlhf-bundle"]);
    fs::copy(desk.path("audit-data/policy"), desk.path("policy")).unwrap();
    fs::rename(desk.path("audit-data"), desk.path("elsewhere")).unwrap();
    let report = desk.json(&["verify", "first.rlhf-bundle", "--policy", "policy"]);
    assert_eq!(report["verdict"], "verified", "{report}");
    let run = desk.fails(2, &["verify", "first.rlhf-bundle"]);
    assert!(run.contains("trusts nothing but the key"), "{run}");
}

#[test]
fn nothing_that_was_sealed_stands_in_the_clear() {
    let desk = recorded();
    for secret in [
        "Paris, on the Seine",
        "Rome, on the Tiber",
        "Capital of France",
    ] {
        let output = std::process::Command::new("grep")
            .args(["-rlaF", secret])
            .arg(desk.path("audit-data"))
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(1),
            "{secret} is in {}",
            text(&output.stdout, &output.stderr)
        );
    }
}

#[test]
fn a_flipped_bit_in_any_entry_is_found_and_named() {
    let desk = recorded();
    let entries = desk.path("audit-data/log/tile/entries/000.p");
    let partial = fs::read_dir(&entries)
        .unwrap()
        .map(|e| e.unwrap().path())
        .max_by_key(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        })
        .unwrap();
    let whole = fs::read(&partial).unwrap();
    for place in [2, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        fs::write(&partial, &bytes).unwrap();
        let out = desk.fails(
            1,
            &["verify", "audit-data", "--policy", "audit-data/policy"],
        );
        assert!(out.contains(", record "), "no record is named: {out}");
    }
    fs::write(&partial, &whole).unwrap();
    desk.ok(&["verify", "audit-data", "--policy", "audit-data/policy"]);
}

#[test]
fn another_ledgers_key_verifies_nothing() {
    let desk = recorded();
    let other = Desk::with_ledger();
    let policy = other.path("audit-data/policy");
    desk.fails(
        1,
        &["verify", "audit-data", "--policy", policy.to_str().unwrap()],
    );
}

#[test]
fn a_forged_model_card_is_found() {
    let desk = recorded();
    for name in ["card.md", "card.html", "card.json"] {
        desk.ok(&["card", "first", "-o", name]);
        desk.ok(&[
            "verify",
            "audit-data",
            "--policy",
            "audit-data/policy",
            "--document",
            name,
        ]);
        let forged = fs::read_to_string(desk.path(name))
            .unwrap()
            .replacen("0.25", "0.95", 1);
        assert_ne!(
            forged,
            fs::read_to_string(desk.path(name)).unwrap(),
            "{name} shows no mean reward"
        );
        fs::write(desk.path("forged"), forged).unwrap();
        desk.fails(
            1,
            &[
                "verify",
                "audit-data",
                "--policy",
                "audit-data/policy",
                "--document",
                "forged",
            ],
        );
    }
}

#[test]
fn a_log_that_was_cut_back_is_found_by_whoever_kept_a_checkpoint() {
    let desk = recorded();
    let policy = "audit-data/policy";
    fs::create_dir(desk.path("before")).unwrap();
    desk.ok(&[
        "verify",
        "audit-data",
        "--policy",
        policy,
        "--remember",
        "kept",
    ]);
    desk.ok(&["run", "start", "--name", "second"]);
    desk.ok(&[
        "verify",
        "audit-data",
        "--policy",
        policy,
        "--since",
        "kept",
    ]);
    let newer = desk.path("newer");
    desk.ok(&[
        "verify",
        "audit-data",
        "--policy",
        policy,
        "--remember",
        newer.to_str().unwrap(),
    ]);
    // The earlier state, put back whole, verifies by itself and not against what was remembered.
    let older = recorded();
    let older_policy = older.path("audit-data/policy");
    older.ok(&[
        "verify",
        "audit-data",
        "--policy",
        older_policy.to_str().unwrap(),
    ]);
    older.fails(
        1,
        &[
            "verify",
            "audit-data",
            "--policy",
            older_policy.to_str().unwrap(),
            "--since",
            newer.to_str().unwrap(),
        ],
    );
}

#[test]
fn bad_events_are_refused_whole_and_by_line() {
    let desk = Desk::with_ledger();
    desk.ok(&["run", "start", "--name", "first"]);
    let before = desk.json(&["run", "show", "first"])["run"]["records"].clone();
    for (bad, expected) in [
        ("{\n", "line 2"),
        (
            r#"{"kind":"annotation.preference","body":{"choice":"c"},"sealed":{"response_a":"x","response_b":"y"}}"#,
            "choice",
        ),
        (
            r#"{"kind":"annotation.perfection","body":{}}"#,
            "annotation.perfection",
        ),
        (
            r#"{"kind":"annotation.preference","body":{"choice":"a","prompt":"in the clear"}}"#,
            "prompt",
        ),
        (
            r#"{"kind":"metric.logged","body":{"metrics":{"loss":1e999}}}"#,
            "line 2",
        ),
    ] {
        let input = format!("{}\n{bad}", EVENTS.lines().next().unwrap());
        let output = desk.run_with(&["append", "--run", "first"], input.as_bytes());
        let out = text(&output.stdout, &output.stderr);
        assert_eq!(output.status.code(), Some(2), "{bad}: {out}");
        assert!(out.contains(expected), "{bad}: {out}");
        assert_eq!(
            desk.json(&["run", "show", "first"])["run"]["records"],
            before,
            "{bad} was recorded in part"
        );
    }
    let none = desk.run_with(&["append", "--run", "first"], b"");
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn commands_that_cannot_be_done_say_why_and_what_to_do() {
    let desk = Desk::new();
    let out = desk.fails(3, &["run", "list"]);
    assert!(out.contains("init"), "{out}");
    desk.ok(&["init"]);
    let out = desk.fails(3, &["init"]);
    assert!(out.contains("audit-data"), "{out}");
    desk.fails(2, &["run", "show", "nothing"]);
    desk.fails(2, &["prove", "999"]);
    desk.fails(2, &["nonsense"]);
    desk.fails(
        3,
        &[
            "run",
            "list",
            "--server",
            "http://127.0.0.1:1",
            "--token",
            common::ADMIN,
        ],
    );
    // A run can be sealed once, and takes nothing afterwards.
    desk.ok(&["run", "start", "--name", "one"]);
    desk.ok(&["run", "seal", "one"]);
    desk.fails(2, &["run", "seal", "one"]);
    let late = desk.run_with(&["append", "--run", "one"], EVENTS.as_bytes());
    assert_eq!(
        late.status.code(),
        Some(2),
        "{}",
        text(&late.stdout, &late.stderr)
    );
}

#[test]
fn an_empty_log_is_no_success() {
    let desk = Desk::with_ledger();
    let output = desk.run(&["verify", "audit-data", "--policy", "audit-data/policy"]);
    assert!(
        !output.status.success(),
        "{}",
        text(&output.stdout, &output.stderr)
    );
}
