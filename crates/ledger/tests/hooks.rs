//! Hooks as a ledger keeps them, and streams that servers write on behalf of others.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;

use common::{Fixture, metric, producer};
use ledger::{AppendCode, Hook, HookTarget, LedgerError};
use record::{Kind, Scope, Timestamp};

const SECRET: &[u8] = b"a secret that stands nowhere";

fn hook(name: &str) -> Hook {
    Hook {
        name: name.to_owned(),
        platform: "argilla".to_owned(),
        target: HookTarget::Experiment("alignment".to_owned()),
        created: Timestamp(1_795_420_800_000_000),
    }
}

/// Whether a file below holds these bytes.
fn holds(directory: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        fs::read(path)
            .unwrap()
            .windows(bytes.len())
            .any(|window| window == bytes)
    })
}

/// I8: the secret is on the disk, and not to be read there.
#[test]
fn a_hook_is_kept_across_a_restart_and_its_secret_encrypted() {
    let fixture = Fixture::new();
    assert!(fixture.ledger.add_hook(&hook("studio"), SECRET).unwrap());
    assert!(
        !fixture
            .ledger
            .add_hook(&hook("studio"), b"another")
            .unwrap()
    );
    let fixture = fixture.reopen();
    let (kept, secret) = fixture.ledger.hook("studio").unwrap().unwrap();
    assert_eq!((kept, &secret[..]), (hook("studio"), SECRET));
    assert_eq!(fixture.ledger.hooks().unwrap(), [hook("studio")]);
    assert!(!holds(fixture.dir.path(), SECRET));
    assert!(!format!("{:?}", fixture.ledger.hooks().unwrap()).contains("secret"));

    assert!(fixture.ledger.remove_hook("studio").unwrap());
    assert!(!fixture.ledger.remove_hook("studio").unwrap());
    assert!(fixture.ledger.hook("studio").unwrap().is_none());
    assert!(fixture.ledger.hooks().unwrap().is_empty());
    assert!(
        fixture
            .ledger
            .add_hook(&hook("studio"), b"another")
            .unwrap()
    );
}

#[test]
fn a_hook_without_a_name_or_a_secret_is_none() {
    let fixture = Fixture::new();
    for name in ["", "-x", "Studio", "a.b", "a b", &"x".repeat(49)] {
        let refused = fixture.ledger.add_hook(&hook(name), SECRET);
        assert!(
            matches!(refused, Err(LedgerError::Hook { .. })),
            "{name}: {refused:?}"
        );
    }
    for secret in [&b""[..], &[b'x'; 1_025]] {
        let refused = fixture.ledger.add_hook(&hook("studio"), secret);
        assert!(
            matches!(refused, Err(LedgerError::Hook { .. })),
            "{refused:?}"
        );
    }
}

/// I6 is about attempts to replace a record; a server that was overtaken by another makes none.
#[test]
fn a_server_that_was_overtaken_starts_over_and_accuses_nobody() {
    let fixture = Fixture::new();
    let run = fixture.start_run("run", 1);
    let mut first = fixture.writer(run.scope(), "hook-studio", 2);
    let mut second = fixture.writer(run.scope(), "hook-studio", 2);
    let who = producer("t-1");
    let local = ledger::Principal::local();
    let send = |records: Vec<record::Submission>| {
        fixture
            .ledger
            .submit_contested(&records, &local)
            .unwrap()
            .wait()
    };
    send(first.write(metric(0.5)).unwrap()).unwrap();
    let refused = send(second.write(metric(0.25)).unwrap()).unwrap_err();
    assert_eq!(refused.code, AppendCode::Conflict);
    fixture.published();
    let incidents = ledger::Query {
        scope: Some(Scope::Ledger),
        kind: Some(Kind::IncidentReported),
        ..ledger::Query::default()
    };
    assert!(fixture.ledger.query(&incidents).unwrap().records.is_empty());
    // Whoever may not append there may not append there like this either.
    let mut third = fixture.writer(run.scope(), "hook-other", 3);
    let refused = fixture
        .ledger
        .submit_contested(&third.write(metric(0.25)).unwrap(), &who)
        .unwrap()
        .wait()
        .unwrap_err();
    assert_eq!(refused.code, AppendCode::Forbidden);
}
