//! What a quorum has cosigned is kept, shown and bundled, and no later checkpoint takes it away (I19).

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

mod common;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use common::{Fixture, TestClock, metric, options, policy, seal};
use ledger::{Ledger, Published, Query, Stores, Witnessing};
use record::{Kind, Record, Scope};
use store::{DataDir, DirObjects, SettingStore, SqliteMeta};
use testkit::shared::SharedPlace;
use tlog::{Ed25519Cosigner, Policy, SignedNote};
use verify::{Source, Verdict};

fn witness(number: u8) -> Ed25519Cosigner {
    Ed25519Cosigner::from_seed(&format!("witness.example/{number}"), [number; 32]).unwrap()
}

/// Two of three.
fn witnesses() -> String {
    let mut file = String::new();
    for number in 1..=3 {
        let key = witness(number).verifier_key().to_string();
        writeln!(file, "witness w{number} {key}").unwrap();
    }
    file + "group two 2 w1 w2 w3\nquorum two\n"
}

fn open(dir: tempfile::TempDir, clock: Arc<TestClock>, require_quorum: bool) -> Fixture {
    let settings = ledger::Options {
        witnesses: Some(Witnessing {
            policy: Policy::parse(witnesses().as_bytes()).unwrap(),
            require_quorum,
        }),
        ..options(&clock)
    };
    let ledger = if dir.path().join("ledger.json").exists() {
        Ledger::open(dir.path(), settings).unwrap()
    } else {
        Ledger::create(dir.path(), settings).unwrap()
    };
    Fixture { dir, clock, ledger }
}

fn new(require_quorum: bool) -> Fixture {
    open(
        tempfile::tempdir().unwrap(),
        Arc::new(TestClock::new()),
        require_quorum,
    )
}

/// The auditor's policy: this log, and two of the three.
fn demanding(ledger: &Ledger) -> Policy {
    let own = ledger.policy().lines().next().unwrap();
    Policy::parse(format!("{own}\n{}", witnesses()).as_bytes()).unwrap()
}

fn cosign(latest: &Published, by: &[u8]) -> Vec<u8> {
    let mut note = SignedNote::parse(&latest.note).unwrap();
    for number in by {
        let line = witness(*number).sign(&latest.checkpoint, 1_795_420_900);
        note.add(line.unwrap()).unwrap();
    }
    note.to_string().into_bytes()
}

fn file(fixture: &Fixture, name: &str) -> Option<Vec<u8>> {
    std::fs::read(fixture.dir.path().join("log").join(name)).ok()
}

/// The latest checkpoint, once all is published and the server's own stream has nothing left to
/// sign: from then on the log grows only by what a test appends.
fn latest(fixture: &Fixture) -> Published {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let own = Query {
        scope: Some(Scope::Ledger),
        limit: 1_000,
        ..Query::default()
    };
    loop {
        let size = fixture.status().sequenced;
        let page = fixture.ledger.query(&own).unwrap();
        let signed = page.records.last().is_none_or(|(_, bytes)| {
            let record = Record::parse_envelope(bytes).unwrap();
            record.is(Kind::StreamSigned)
        });
        let latest = fixture.ledger.latest().unwrap();
        if signed && latest.checkpoint.size.0 == size {
            return latest;
        }
        assert!(std::time::Instant::now() < deadline, "never published");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_quorum_is_kept_beside_later_checkpoints_and_over_a_restart() {
    let fixture = new(false);
    let mut owner = fixture.start_run("witnessed", 1);
    let first = latest(&fixture);
    assert!(fixture.ledger.cosigned().is_none());
    // One of the two needed: shown, but no quorum.
    assert!(!fixture.ledger.add_cosigned(&cosign(&first, &[1])).unwrap());
    assert!(fixture.ledger.cosigned().is_none());
    let shown = fixture.ledger.checkpoint().unwrap();
    assert_eq!(
        SignedNote::parse(&shown.note).unwrap().signatures().len(),
        3
    );
    // The other comes by itself: both are in the note then.
    assert!(
        fixture
            .ledger
            .add_cosigned(&cosign(&first, &[1, 3]))
            .unwrap()
    );
    let demanding = demanding(&fixture.ledger);
    let shown = fixture.ledger.checkpoint().unwrap();
    assert_eq!(
        demanding
            .check(&shown.note)
            .unwrap()
            .witness_signatures
            .len(),
        2
    );
    assert_eq!(file(&fixture, "checkpoint").as_deref(), Some(&*shown.note));
    assert_eq!(
        file(&fixture, "checkpoint.cosigned").as_deref(),
        Some(&*shown.note)
    );

    // Later ones are published over it. It stays what a verifier with the quorum finds.
    fixture.append(owner.write(metric(0.5)).unwrap());
    let second = latest(&fixture);
    assert!(second.checkpoint.size > first.checkpoint.size);
    assert!(fixture.ledger.checkpoint().unwrap() == second);
    assert!(demanding.check(&second.note).is_err());
    let kept = |fixture: &Fixture| {
        let cosigned = fixture.ledger.cosigned().unwrap();
        assert_eq!(cosigned.checkpoint, first.checkpoint);
        let source = Source::directory(fixture.dir.path()).unwrap();
        let report = verify::log(&source, &demanding, &verify::Options::default()).unwrap();
        assert_eq!(report.verdict(), Verdict::Verified, "{report:#?}");
        assert_eq!(report.trust.witnesses.len(), 2);
        assert_eq!(report.checkpoint.unwrap().size, first.checkpoint.size.0);
        assert!(report.notes.iter().any(|note| note.contains("quorum")));
    };
    kept(&fixture);
    let Fixture { dir, clock, ledger } = fixture;
    drop(ledger);
    let fixture = open(dir, clock, false);
    kept(&fixture);
    // Late cosignatures of the first are no step back.
    assert!(
        fixture
            .ledger
            .add_cosigned(&cosign(&first, &[1, 2]))
            .unwrap()
    );
    assert!(fixture.ledger.checkpoint().unwrap() == second);
    let second = cosign(&second, &[2, 3]);
    assert!(fixture.ledger.add_cosigned(&second).unwrap());
    assert!(
        fixture
            .ledger
            .add_cosigned(&cosign(&first, &[1, 3]))
            .unwrap()
    );
    assert_eq!(*fixture.ledger.cosigned().unwrap().note, *second);
    assert!(
        demanding
            .check(&file(&fixture, "checkpoint").unwrap())
            .is_ok()
    );
    let Fixture { dir, clock, ledger } = fixture;
    drop(ledger);
    // Opened without any witnesses, as other commands do, it keeps what it has.
    let ledger = Ledger::open(dir.path(), options(&clock)).unwrap();
    assert_eq!(*ledger.cosigned().unwrap().note, *second);
    assert!(demanding.check(&ledger.checkpoint().unwrap().note).is_ok());
}

#[test]
fn a_bundle_and_a_proof_carry_the_quorum_where_it_covers_them() {
    let fixture = new(false);
    let mut owner = fixture.start_run("bundled", 1);
    let index = fixture.append(owner.write(metric(0.5)).unwrap())[0].index;
    seal(&fixture, &mut owner);
    let run = owner.scope().run().unwrap();
    let sealed = latest(&fixture);
    let demanding = demanding(&fixture.ledger);
    let bundle = |policy: &Policy| {
        let mut bytes = Vec::new();
        fixture
            .ledger
            .bundle(run, ledger::BundleParts::default(), &mut bytes)
            .unwrap();
        verify::bundle::check::read("bundle", &bytes[..], policy, &verify::Options::default())
            .unwrap()
    };
    let report = bundle(&demanding);
    assert_eq!(report.verdict(), Verdict::Failed);
    let found = &report.failures[0].found;
    assert!(found.contains("quorum \"two\" is not reached"), "{found}");
    assert_eq!(
        bundle(&policy(&fixture.ledger)).verdict(),
        Verdict::Verified
    );

    assert!(
        fixture
            .ledger
            .add_cosigned(&cosign(&sealed, &[1, 2]))
            .unwrap()
    );
    // Others go on recording; the run is under the quorum, and stays there.
    let mut other = fixture.start_run("other", 2);
    let beyond = fixture.append(other.write(metric(0.1)).unwrap())[0].index;
    latest(&fixture);
    let report = bundle(&demanding);
    assert_eq!(report.verdict(), Verdict::Verified, "{report:#?}");
    let names = report.trust.witnesses.join(" ");
    assert!(
        names.contains("witness.example/1") && names.contains("witness.example/2"),
        "{names}"
    );

    let record = fixture.ledger.read(index).unwrap();
    let proof: tlog::TlogProof = fixture.ledger.proof(index).unwrap().parse().unwrap();
    assert!(proof.verify(&tlog::leaf_hash(&record), &demanding).is_ok());
    let record = fixture.ledger.read(beyond).unwrap();
    let proof: tlog::TlogProof = fixture.ledger.proof(beyond).unwrap().parse().unwrap();
    assert!(
        proof
            .verify(&tlog::leaf_hash(&record), &policy(&fixture.ledger))
            .is_ok()
    );
    assert!(proof.verify(&tlog::leaf_hash(&record), &demanding).is_err());
}

#[test]
fn where_a_quorum_is_required_nothing_else_is_shown() {
    let fixture = new(true);
    assert!(fixture.ledger.checkpoint().is_none());
    assert!(file(&fixture, "checkpoint").is_none());
    // Acknowledged all the same.
    let mut owner = fixture.start_run("patient", 1);
    let index = fixture.append(owner.write(metric(0.5)).unwrap())[0].index;
    let first = latest(&fixture);
    assert!(fixture.ledger.checkpoint().is_none());
    assert!(fixture.ledger.proof(index).is_err());
    assert!(!fixture.ledger.wait_published(index + 1, Duration::ZERO));
    assert!(!fixture.ledger.add_cosigned(&cosign(&first, &[3])).unwrap());
    assert!(fixture.ledger.checkpoint().is_none());
    assert!(
        fixture
            .ledger
            .add_cosigned(&cosign(&first, &[1, 3]))
            .unwrap()
    );
    assert!(fixture.ledger.wait_published(index + 1, Duration::ZERO));
    let demanding = demanding(&fixture.ledger);
    let shown = fixture.ledger.checkpoint().unwrap();
    assert!(demanding.check(&shown.note).is_ok());

    fixture.append(owner.write(metric(0.25)).unwrap());
    let second = latest(&fixture);
    let held = |fixture: &Fixture| {
        assert!(fixture.ledger.checkpoint().unwrap() == shown);
        assert_eq!(file(fixture, "checkpoint").as_deref(), Some(&*shown.note));
        // The directory is whole for a verifier, though tiles of a later checkpoint are in it.
        let source = Source::directory(fixture.dir.path()).unwrap();
        let report = verify::log(&source, &demanding, &verify::Options::default()).unwrap();
        assert_eq!(report.verdict(), Verdict::Verified, "{report:#?}");
    };
    held(&fixture);
    let Fixture { dir, clock, ledger } = fixture;
    drop(ledger);
    let fixture = open(dir, clock, true);
    held(&fixture);
    assert_eq!(latest(&fixture).checkpoint, second.checkpoint);
    let Fixture { dir, clock, ledger } = fixture;
    drop(ledger);
    // Switched off again, the latest is shown at once.
    let fixture = open(dir, clock, false);
    assert_eq!(
        fixture.ledger.checkpoint().unwrap().checkpoint,
        second.checkpoint
    );
    assert!(file(&fixture, "checkpoint.published").is_none());
}

#[test]
fn what_does_not_hold_is_not_brought_in() {
    let fixture = new(false);
    let mut owner = fixture.start_run("strict", 1);
    let first = latest(&fixture);
    fixture.append(owner.write(metric(0.5)).unwrap());
    let second = latest(&fixture);
    // A cosignature of another tree under this one.
    let mut note = SignedNote::parse(&second.note).unwrap();
    note.add(witness(1).sign(&first.checkpoint, 1_795_420_900).unwrap())
        .unwrap();
    assert!(
        fixture
            .ledger
            .add_cosigned(note.to_string().as_bytes())
            .is_err()
    );
    assert!(fixture.ledger.checkpoint().unwrap() == second);
    // Cosigned by everybody, and not by the log.
    let text = SignedNote::parse(&second.note).unwrap().text().to_owned();
    let lines = [1, 2, 3].map(|n| witness(n).sign(&second.checkpoint, 1_795_420_900).unwrap());
    let unsigned = SignedNote::new(text, lines.to_vec()).unwrap();
    assert!(
        fixture
            .ledger
            .add_cosigned(unsigned.to_string().as_bytes())
            .is_err()
    );
    assert!(fixture.ledger.cosigned().is_none());
    // A policy for another log is a mistake that is found at the start.
    let stranger = tlog::Ed25519Signer::from_seed("example.com/other", [9; 32]).unwrap();
    let file = format!("log {}\n{}", stranger.verifier_key(), witnesses());
    let Fixture { dir, clock, ledger } = fixture;
    drop(ledger);
    let settings = ledger::Options {
        witnesses: Some(Witnessing {
            policy: Policy::parse(file.as_bytes()).unwrap(),
            require_quorum: false,
        }),
        ..options(&clock)
    };
    let error = Ledger::open(dir.path(), settings).unwrap_err();
    assert!(error.to_string().contains("not among them"), "{error}");
}

#[test]
fn servers_of_one_log_share_what_any_of_them_was_given() {
    let dir = tempfile::tempdir().unwrap();
    drop(DataDir::create(dir.path()).unwrap());
    let place = SharedPlace::new(&dir.path().join("journal")).unwrap();
    let clock = Arc::new(TestClock::new());
    let objects = || DirObjects::open(dir.path(), &dir.path().join("tmp")).unwrap();
    let stores = || Stores {
        objects: Arc::new(objects()),
        meta: Arc::new(SqliteMeta::open(&dir.path().join("ledger.sqlite")).unwrap()),
        journal: Box::new(place.handle()),
    };
    let settings = || ledger::Options {
        witnesses: Some(Witnessing {
            policy: Policy::parse(witnesses().as_bytes()).unwrap(),
            require_quorum: true,
        }),
        ..options(&clock)
    };
    let first = Ledger::create_shared(dir.path(), settings(), stores()).unwrap();
    let second = Ledger::open_shared(dir.path(), settings(), stores()).unwrap();
    let empty = first.latest().unwrap();
    assert!(second.checkpoint().is_none());
    assert!(first.add_cosigned(&cosign(&empty, &[1, 2])).unwrap());
    second.follow_cosigned().unwrap();
    let shown = first.checkpoint().unwrap();
    assert!(second.checkpoint().unwrap() == shown);

    // What one server writes over a later one is said again, and found by the other.
    first.record_own(metric(0.5)).unwrap().wait().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let later = loop {
        let latest = first.latest().unwrap();
        if latest.checkpoint.size.0 > 0 {
            break latest;
        }
        assert!(std::time::Instant::now() < deadline, "never published");
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(first.add_cosigned(&cosign(&later, &[1, 2])).unwrap());
    let meta = SqliteMeta::open(&dir.path().join("ledger.sqlite")).unwrap();
    meta.kv_put("log.cosigned", &shown.note).unwrap();
    first.follow_cosigned().unwrap();
    second.follow_cosigned().unwrap();
    for ledger in [&first, &second] {
        assert_eq!(ledger.checkpoint().unwrap().checkpoint, later.checkpoint);
    }
    let served = std::fs::read(dir.path().join("log/checkpoint")).unwrap();
    assert!(demanding(&first).check(&served).unwrap().checkpoint == later.checkpoint);
    assert_eq!(first.latest_size().unwrap(), second.latest_size().unwrap());
}
