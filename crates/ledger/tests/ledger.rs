//! What a ledger is for: records go in, are published, read back, proved, bundled and verified.

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Fixture, metric, options, policy, preference, producer, seal};
use ledger::{
    Ledger, LedgerError, Location, NewToken, Principal, Query, Quota, Reach, Role, SealedState,
};
use record::kinds::{FindingRaised, IncidentReported, ProducerEnrolled, ReadPart, StreamSigned};
use record::{Body, Draft, Kind, Pseudonym, Record, RunId, Scope, StreamName, Timestamp};
use tlog::TlogProof;
use verify::Verdict;

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told once")]
fn a_run_is_recorded_published_proved_bundled_and_verified() {
    let fixture = Fixture::new();
    let ledger = &fixture.ledger;
    let mut owner = fixture.start_run("first", 1);
    let run = owner.scope().run().unwrap();
    let annotator = Pseudonym::generate(&*common::entropy());
    let mut other = fixture.writer(owner.scope(), "rank1", 2);
    let mut own = Vec::new();
    for step in 0..300 {
        let draft = if step % 3 == 0 {
            preference(annotator)
        } else {
            metric(f64::from(step))
        };
        let writer = if step % 2 == 0 {
            &mut owner
        } else {
            &mut other
        };
        own.extend(fixture.append(writer.write(draft).unwrap()));
    }
    fixture.append(other.sign().into_iter().collect());
    let sealed_at = seal(&fixture, &mut owner);
    let all = fixture.published();

    // Each stage has seen everything; the server may have signed its own stream since.
    let status = ledger.status();
    assert!(all > sealed_at && status.published >= all && status.sequenced >= all);
    assert!(ledger.checkpoint().unwrap().checkpoint.size.0 >= all);
    assert!(status.groups > 0 && status.failed.is_none());

    // Reading back: by index, by run, by kind, in pages.
    let receipt = own[7];
    let bytes = ledger.read(receipt.index).unwrap();
    assert_eq!(tlog::leaf_hash(&bytes), receipt.leaf_hash);
    let mut seen = Vec::new();
    let mut query = Query {
        scope: Some(run.into()),
        limit: 17,
        ..Query::default()
    };
    loop {
        let page = ledger.query(&query).unwrap();
        assert!(page.records.len() <= 17);
        seen.extend(page.records.iter().map(|(index, _)| *index));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert!(seen.is_sorted());
    assert_eq!(seen.len() as u64, ledger.run(run).unwrap().records);
    assert!(seen.contains(&sealed_at));
    let kind = Query {
        scope: Some(run.into()),
        kind: Some(Kind::AnnotationPreference),
        limit: 1_000,
        ..Query::default()
    };
    assert_eq!(ledger.query(&kind).unwrap().records.len(), 100);

    // The run's row.
    let info = ledger.find_run("first").unwrap();
    assert_eq!((info.id, info.status.as_deref()), (run, Some("completed")));
    assert_eq!(info.sealed_index, Some(sealed_at));
    assert_eq!(ledger.runs(None, 10).unwrap(), [info]);

    // The proof, with nothing but the policy.
    let proof = TlogProof::parse(ledger.proof(receipt.index).unwrap().as_bytes()).unwrap();
    proof.verify(&receipt.leaf_hash, &policy(ledger)).unwrap();

    // Sealed values: opened for whoever may, and nowhere in the clear.
    let opened = ledger.openings(own[0].index).unwrap();
    let opened = opened.iter().chain(&[]).collect::<Vec<_>>();
    let found = own.iter().find_map(|r| {
        let fields = ledger.openings(r.index).unwrap();
        fields.into_iter().find(|f| f.field == "annotator_id")
    });
    let state = found.expect("an annotator's id was sealed").state;
    let SealedState::Opened { value, .. } = state else {
        panic!("{opened:?}")
    };
    assert_eq!(value, b"\"jane@example.org\"");
    assert!(
        !holds(fixture.dir.path(), b"jane@example.org"),
        "a sealed value is in the clear"
    );

    // The whole log, and the bundle alone.
    let report = fixture.verify();
    assert_eq!(report.counts.opened, 400);
    assert!(
        report.unsealed_runs.total == 0 && report.unlisted_streams.total == 0,
        "{report:#?}"
    );
    for openings in [false, true] {
        let path = fixture.dir.path().join("tmp/run.rlhf-bundle");
        let mut file = fs::File::create(&path).unwrap();
        let parts = ledger::BundleParts {
            openings,
            ..ledger::BundleParts::default()
        };
        let info = ledger.bundle(run, parts, &mut file).unwrap();
        assert_eq!(info.bytes, fs::metadata(&path).unwrap().len());
        let options = verify::Options::default();
        let report = verify::bundle::check::bundle(&path, &policy(ledger), &options).unwrap();
        assert_eq!(report.verdict(), Verdict::Verified, "{report:#?}");
        assert_eq!(report.counts.entries, info.records);
        fs::remove_file(&path).unwrap();
    }
    ledger.close().unwrap();
    assert!(
        ledger
            .submit::<Vec<u8>>(&[], &Principal::local())
            .unwrap()
            .wait()
            .is_err()
    );
}

/// Whether any file of the directory holds these bytes.
fn holds(dir: &std::path::Path, wanted: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, wanted);
        }
        let bytes = fs::read(path).unwrap();
        bytes.windows(wanted.len()).any(|window| window == wanted)
    })
}

#[test]
fn full_tiles_replace_partial_ones() {
    let fixture = Fixture::new();
    let mut owner = fixture.start_run("long", 1);
    for _ in 0..6 {
        let mut batch = Vec::new();
        for _ in 0..100 {
            batch.extend(owner.write(metric(0.5)).unwrap());
        }
        fixture.append(batch);
        fixture.published();
    }
    fixture.verify();
    // Clearing up follows publication; closing waits for it.
    fixture.ledger.close().unwrap();
    let log = fixture.dir.path().join("log/tile");
    assert!(log.join("entries/000").is_file() && log.join("0/001").is_file());
    for gone in ["entries/000.p", "entries/001.p", "0/000.p", "0/001.p"] {
        let left = fs::read_dir(log.join(gone)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{gone} still has partial tiles");
    }
    common::verify_dir(&fixture.ledger);
}

#[test]
fn the_server_says_who_may_sign_and_signs_what_it_says() {
    let fixture = Fixture::new();
    let mut owner = fixture.start_run("enrolment", 9);
    let again = fixture
        .writer(owner.scope(), "second", 9)
        .write(metric(1.0))
        .unwrap();
    fixture.append(again);
    fixture.append(owner.write(metric(1.0)).unwrap());
    fixture.published();
    let enrolled: Vec<ProducerEnrolled> = own_records(&fixture.ledger);
    assert_eq!(enrolled.len(), 1, "one key, one enrolment");
    assert_eq!(enrolled[0].key, common::key(9));
    assert_eq!(enrolled[0].by, "local");

    // Idle, the server still signs its stream within a second.
    let deadline = Instant::now() + Duration::from_secs(10);
    let unsigned = || {
        let head = fixture
            .ledger
            .stream_head(Scope::Ledger, StreamName::SERVER)
            .unwrap();
        head.unwrap().unsigned
    };
    while unsigned() > 0 {
        assert!(
            Instant::now() < deadline,
            "the server's stream is still unsigned"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    fixture.published();
    assert_eq!(own_records::<StreamSigned>(&fixture.ledger).len(), 1);

    // Something of a caller's on the server's stream.
    let mut finding = FindingRaised::new("something-odd".to_owned());
    finding.run = owner.scope().run();
    let receipt = fixture
        .ledger
        .record_own(Draft::new(finding))
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(receipt.len(), 1);
    fixture.published();
    let bytes = fixture.ledger.read(receipt[0].index).unwrap();
    assert_eq!(
        Record::parse(&bytes).unwrap().kind(),
        Some(Kind::FindingRaised)
    );
    fixture.verify();
}

/// The published records of a kind on the server's own stream.
fn own_records<B: Body>(ledger: &Ledger) -> Vec<B> {
    let query = Query {
        scope: Some(Scope::Ledger),
        kind: Some(B::KIND),
        ..Query::default()
    };
    let page = ledger.query(&query).unwrap();
    page.records
        .iter()
        .map(|(_, bytes)| Record::parse(bytes).unwrap().decode().unwrap())
        .collect()
}

#[test]
fn a_producers_wrong_clock_is_accepted_and_noted_once() {
    let fixture = Fixture::new();
    let mut owner = fixture.start_run("skewed", 3);
    let late = Timestamp(1_795_420_800_000_000 - 3_600_000_000);
    let mut at = Vec::new();
    for _ in 0..3 {
        at.extend(fixture.append(owner.write(metric(1.0).at(late)).unwrap()));
    }
    fixture.published();
    let findings: Vec<FindingRaised> = own_records(&fixture.ledger);
    assert_eq!(findings.len(), 1, "{findings:?}");
    let finding = &findings[0];
    assert_eq!(finding.finding, "clock-skew");
    assert_eq!(finding.detail.as_deref(), Some("behind"));
    assert_eq!(finding.evidence.as_deref(), Some(&[at[0].index][..]));
    assert_eq!(finding.stream, Some(owner.stream()));

    // Known after the index was written and the ledger opened again.
    let fixture = fixture.reopen();
    fixture.append(owner.write(metric(2.0).at(late)).unwrap());
    fixture.published();
    assert_eq!(own_records::<FindingRaised>(&fixture.ledger).len(), 1);
}

/// I3: a checkpoint is later than the one before it, or of the same time, also across a restart.
#[test]
fn a_clock_that_jumps_back_breaks_nothing() {
    let signed_at = |fixture: &Fixture| {
        fixture.published();
        let note = fixture.ledger.checkpoint().unwrap().note;
        let checked = common::policy(&fixture.ledger).check(&note).unwrap();
        let times = checked
            .log_signatures
            .iter()
            .chain(&checked.witness_signatures);
        times.filter_map(|signature| signature.timestamp).max()
    };
    let fixture = Fixture::new();
    let mut owner = fixture.start_run("time", 4);
    let mut last = signed_at(&fixture);
    assert!(last.is_some());
    for jump in [-3_600, 10, -86_400 * 400, 86_400 * 800] {
        fixture.clock.jump(jump);
        fixture.append(owner.write(metric(1.0)).unwrap());
        let time = signed_at(&fixture);
        assert!(time >= last, "{time:?} after {last:?}");
        last = time;
    }
    fixture.verify();
    fixture.clock.jump(-3_600);
    let fixture = fixture.reopen();
    for jump in [0, -86_400 * 1_000] {
        fixture.clock.jump(jump);
        fixture.append(owner.write(metric(1.0)).unwrap());
        let time = signed_at(&fixture);
        assert!(time >= last, "{time:?} after {last:?}");
        last = time;
    }
    fixture.verify();
    fixture.ledger.close().unwrap();
}

#[test]
fn a_resend_gets_the_first_index_at_every_stage() {
    let fixture = Fixture::new();
    let mut owner = fixture.start_run("resend", 5);
    let records = owner.write(metric(1.0)).unwrap();
    let first = fixture.append(records.clone());
    // In flight or just durable.
    let again = fixture.append(records.clone());
    assert!(again[0].duplicate && again[0].index == first[0].index);
    // Twice in one request, mixed with something new.
    let mut mixed = records.clone();
    let new = owner.write(metric(2.0)).unwrap();
    mixed.extend(new.clone());
    mixed.extend(new.clone());
    let receipts = fixture.append(mixed);
    assert!(receipts[0].duplicate && !receipts[1].duplicate && receipts[2].duplicate);
    assert_eq!(receipts[1].index, receipts[2].index);
    // Published, and after a new start.
    fixture.published();
    assert!(fixture.append(records.clone())[0].duplicate);
    let fixture = fixture.reopen();
    let again = fixture.append(records.clone());
    assert!(again[0].duplicate && again[0].index == first[0].index);
    // After the run is sealed as well.
    seal(&fixture, &mut owner);
    assert_eq!(fixture.append(records)[0].index, first[0].index);
    fixture.verify();
}

#[test]
fn many_threads_and_a_resend_of_everything() {
    let fixture = Fixture::new();
    let owner = fixture.start_run("threads", 6);
    let submitted: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8_u8)
            .map(|n| {
                let (fixture, run) = (&fixture, owner.scope());
                scope.spawn(move || {
                    let mut writer = fixture.writer(run, &format!("rank{n}"), 10 + n);
                    let mut sent = Vec::new();
                    for step in 0..60 {
                        let batch = writer.write(metric(f64::from(step))).unwrap();
                        let receipts = fixture.append(batch.clone());
                        sent.extend(batch.into_iter().zip(receipts));
                    }
                    sent
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut indices: Vec<u64> = submitted.iter().map(|(_, receipt)| receipt.index).collect();
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), submitted.len(), "an index was given twice");
    for (submission, receipt) in &submitted {
        let again = fixture.append(vec![submission.clone()]);
        assert_eq!((again[0].index, again[0].duplicate), (receipt.index, true));
    }
    fixture.verify();
}

#[test]
fn runs_are_found_by_name_unless_several_have_it() {
    let fixture = Fixture::new();
    let one = fixture.start_run("twin", 1).scope().run().unwrap();
    // Not yet published, and known all the same.
    assert_eq!(fixture.ledger.find_run("twin").unwrap().id, one);
    let two = fixture.start_run("twin", 2).scope().run().unwrap();
    for _ in 0..2 {
        let error = fixture.ledger.find_run("twin").unwrap_err();
        let LedgerError::Ambiguous { ids, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(ids.len(), 2);
        assert!(
            error.to_string().contains(one.as_str()) && error.to_string().contains(two.as_str())
        );
        fixture.published();
    }
    assert_eq!(fixture.ledger.find_run(two.as_str()).unwrap().id, two);
    assert!(matches!(
        fixture.ledger.find_run("none"),
        Err(LedgerError::NotFound { .. })
    ));
    assert_eq!(fixture.ledger.runs(Some(one), 10).unwrap().len(), 1);
}

#[test]
fn the_index_can_be_rebuilt() {
    let fixture = Fixture::new();
    let ledger = fixture.ledger.clone();
    let someone = producer("t-someone");
    let mut owner = fixture.writer(
        record::RunId::generate(&*fixture.clock, &*common::entropy()).into(),
        "main",
        7,
    );
    let started = record::kinds::RunStarted::new("rebuilt".to_owned(), owner.public_key());
    let mut batch = owner.write(Draft::new(started)).unwrap();
    for _ in 0..700 {
        batch.extend(owner.write(metric(1.0)).unwrap());
    }
    let first = batch[5].clone();
    ledger.submit(&batch, &someone).unwrap().wait().unwrap();
    fixture.published();
    let before = ledger.find_run("rebuilt").unwrap();
    ledger.close().unwrap();
    drop(ledger);
    let Fixture { dir, clock, ledger } = fixture;
    let size = ledger.status().published;
    drop(ledger);
    assert_eq!(
        Ledger::reindex(&Location::embedded(dir.path()), options(&clock)).unwrap(),
        size
    );
    let ledger = Ledger::open(dir.path(), options(&clock)).unwrap();
    assert_eq!(ledger.find_run("rebuilt").unwrap(), before);
    let fixture = Fixture { dir, clock, ledger };
    assert!(fixture.append(vec![first])[0].duplicate);
    let more = owner.write(metric(2.0)).unwrap();
    fixture
        .ledger
        .submit(&more, &someone)
        .unwrap()
        .wait()
        .unwrap();
    fixture.verify();
}

#[test]
fn tokens_let_in_whom_they_name_until_they_end() {
    let fixture = Fixture::new();
    let ledger = &fixture.ledger;
    let (secret, token) = ledger.create_token("ci", Role::Producer, None).unwrap();
    assert!(secret.starts_with("rat_") && secret.len() == 47);
    let principal = ledger.authenticate(&secret).unwrap().unwrap();
    assert_eq!((principal.role, &principal.id), (Role::Producer, &token.id));
    let mut wrong = secret.clone();
    wrong.replace_range(10..11, if &secret[10..11] == "A" { "B" } else { "A" });
    for bad in ["", "rat_", "rat_short", &wrong, &secret[1..]] {
        assert_eq!(ledger.authenticate(bad).unwrap(), None, "{bad}");
    }
    assert!(
        !holds(fixture.dir.path(), secret.as_bytes()),
        "the secret was stored"
    );

    let soon = Timestamp(record::Clock::now(&*fixture.clock).0 + 60_000_000);
    let (short, _) = ledger
        .create_token("short", Role::Reader, Some(soon))
        .unwrap();
    assert!(ledger.authenticate(&short).unwrap().is_some());
    fixture.clock.jump(61);
    assert_eq!(ledger.authenticate(&short).unwrap(), None, "expired");

    assert!(ledger.revoke_token(&token.id).unwrap());
    assert!(!ledger.revoke_token("t-none").unwrap());
    let fixture = fixture.reopen();
    assert_eq!(
        fixture.ledger.authenticate(&secret).unwrap(),
        None,
        "revoked"
    );
    assert_eq!(fixture.ledger.tokens().unwrap().len(), 2);

    let given = format!("rat_{}", "x".repeat(43));
    let id = fixture
        .ledger
        .add_token(&given, "given", Role::Admin, None)
        .unwrap()
        .id;
    assert_eq!(
        fixture
            .ledger
            .add_token(&given, "given", Role::Admin, None)
            .unwrap()
            .id,
        id
    );
    assert!(
        fixture
            .ledger
            .add_token("secret", "bad", Role::Admin, None)
            .is_err()
    );
}

#[test]
fn what_limits_a_token_comes_with_it() {
    let fixture = Fixture::new();
    let ledger = &fixture.ledger;
    let run = RunId::generate(&*fixture.clock, &*common::entropy());
    let reach = Reach {
        runs: Some([run].into()),
        parts: [ReadPart::Documents, ReadPart::Records].into(),
    };
    let auditor = NewToken {
        reach: Some(reach.clone()),
        ..NewToken::new("body", Role::Auditor)
    };
    let quota = Quota {
        records: Some(100),
        bytes: None,
    };
    let trainer = NewToken {
        quota: Some(quota),
        ..NewToken::new("trainer", Role::Producer)
    };
    let (secret, auditor) = ledger.issue_token(&auditor).unwrap();
    let (_, first) = ledger.issue_token(&trainer).unwrap();
    let (second_secret, second) = ledger
        .issue_token(&NewToken {
            succeeds: Some(first.id.clone()),
            ..NewToken::new("trainer", Role::Producer)
        })
        .unwrap();
    let (third_secret, third) = ledger
        .issue_token(&NewToken {
            succeeds: Some(second.id.clone()),
            ..trainer.clone()
        })
        .unwrap();
    let wrong = [
        NewToken {
            reach: Some(reach.clone()),
            ..NewToken::new("x", Role::Reader)
        },
        NewToken {
            quota: Some(quota),
            ..NewToken::new("x", Role::Auditor)
        },
        NewToken {
            reach: Some(Reach {
                runs: Some([].into()),
                ..reach.clone()
            }),
            ..NewToken::new("x", Role::Auditor)
        },
        NewToken {
            quota: Some(Quota {
                records: Some(0),
                bytes: None,
            }),
            ..NewToken::new("x", Role::Producer)
        },
        NewToken {
            succeeds: Some(auditor.id.clone()),
            ..NewToken::new("x", Role::Producer)
        },
    ];
    for new in wrong {
        let refused = ledger.issue_token(&new);
        assert!(matches!(refused, Err(LedgerError::Token { .. })), "{new:?}");
    }
    ledger
        .note_token_uses(&[(auditor.id.clone(), Timestamp(7))])
        .unwrap();

    let fixture = fixture.reopen();
    let ledger = &fixture.ledger;
    let principal = ledger.authenticate(&secret).unwrap().unwrap();
    assert_eq!(principal.reach.as_deref(), Some(&reach));
    assert!(principal.may_read(ReadPart::Records, Some(run)));
    assert!(!principal.may_read(ReadPart::Sealed, Some(run)));
    // Whoever succeeds is the same to the log, with a quota of its own.
    for (secret, token, expected) in [
        (&second_secret, &second, None),
        (&third_secret, &third, Some(quota)),
    ] {
        let (id, principal) = ledger.authenticate_token(secret).unwrap().unwrap();
        assert_eq!((&id, &principal.id), (&token.id, &first.id));
        assert_eq!(principal.quota, expected);
    }
    let shown = ledger.token(&auditor.id).unwrap();
    assert_eq!(shown.last_used, Some(Timestamp(7)));
    assert_eq!(shown.reach, Some(reach));
    assert_eq!(ledger.token(&third.id).unwrap().succeeds, Some(second.id));
    assert_eq!(ledger.tokens().unwrap().len(), 4);
}

#[test]
fn two_processes_cannot_have_one_directory() {
    let fixture = Fixture::new();
    let error = Ledger::open(fixture.dir.path(), options(&fixture.clock)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("another process") && text.contains(&std::process::id().to_string()),
        "{text}"
    );
    let error = Ledger::create(fixture.dir.path(), options(&fixture.clock)).unwrap_err();
    assert!(
        error.to_string().contains("already holds a ledger"),
        "{error}"
    );
    let empty = tempfile::tempdir().unwrap();
    assert!(Ledger::open(empty.path(), options(&fixture.clock)).is_err());
}

#[test]
fn an_await_needs_no_runtime() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Wake, Waker};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    fn block_on<F: Future>(future: F) -> F::Output {
        let waker = Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
        let mut future = pin!(future);
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => std::thread::park(),
            }
        }
    }
    let fixture = Fixture::new();
    let mut owner = fixture.start_run("await", 1);
    let records = owner.write(metric(1.0)).unwrap();
    let ticket = fixture
        .ledger
        .submit(&records, &Principal::local())
        .unwrap();
    let index = block_on(ticket).unwrap()[0].index;
    assert!(block_on(fixture.ledger.published(index + 1)));
    assert!(fixture.ledger.read(index).is_ok());
    fixture.ledger.close().unwrap();
    assert!(!block_on(fixture.ledger.published(u64::MAX)));
}

#[test]
fn a_conflicting_resend_is_refused_and_noted_once() {
    let fixture = Fixture::new();
    let mut owner = fixture.start_run("conflict", 8);
    let mut twin = record::StreamWriter::resume(
        owner.scope(),
        owner.stream(),
        record::SigningKey::from_bytes(&[8; 32]),
        owner.next_seq(),
        owner.head().unwrap(),
        fixture.clock.clone(),
        common::entropy(),
    );
    let logged = owner.write(metric(1.0)).unwrap();
    let other = twin.write(metric(2.0)).unwrap();
    fixture.append(logged.clone());
    for round in 0..3 {
        let error = fixture.submit(other.clone()).unwrap_err();
        assert_eq!(error.code.as_str(), "conflict");
        assert!(
            error.reason.contains(&common::leaf(&logged[0]).to_string()),
            "{error}"
        );
        if round == 1 {
            fixture.published();
        }
    }
    fixture.published();
    let incidents: Vec<IncidentReported> = own_records(&fixture.ledger);
    assert_eq!(incidents.len(), 1);
    assert_eq!(incidents[0].incident, "conflicting-resend");
    assert_eq!(incidents[0].refused, Some(common::leaf(&other[0]).into()));
    assert_eq!(incidents[0].logged, Some(common::leaf(&logged[0]).into()));
    fixture.verify();
}

#[test]
fn a_run_comes_with_all_that_concerns_it_and_nothing_else() {
    let fixture = Fixture::new();
    let ledger = &fixture.ledger;
    let mut runs = Vec::new();
    for key in 1..=3 {
        let mut writer = fixture.start_run(&format!("run {key}"), key);
        let run = writer.scope().run().unwrap();
        // Spread over several bundles, with what concerns no run or another one between.
        for step in 0..150 {
            fixture.append(writer.write(metric(f64::from(step))).unwrap());
            if step % 50 == 0 {
                let mut incident = IncidentReported::new("drill".to_owned());
                incident.run = (step > 0).then_some(run);
                let ticket = ledger.record_own(Draft::new(incident)).unwrap();
                ticket.wait().unwrap();
            }
        }
        fixture.append(writer.sign().into_iter().collect());
        runs.push((run, writer.public_key()));
    }
    fixture.published();
    let published = ledger.checkpoint().unwrap();
    let size = published.checkpoint.size.0;
    assert!(size > 3 * 150);
    for (run, key) in runs {
        let wanted: Vec<u64> = (0..size)
            .filter(|index| {
                let bytes = ledger.read(*index).unwrap();
                let record = Record::parse(&bytes).unwrap();
                let enrols = record.is(Kind::ProducerEnrolled)
                    && record.decode::<ProducerEnrolled>().unwrap().key == key;
                record.scope() == Scope::Run(run) || record.named_run() == Some(run) || enrols
            })
            .collect();
        let mut shown = Vec::new();
        ledger
            .run_records(run, &published, &mut |index, bytes| {
                assert_eq!(bytes, ledger.read(index)?);
                shown.push(index);
                Ok::<(), LedgerError>(())
            })
            .unwrap();
        assert_eq!(shown, wanted);
        // More than its own metrics: its opening, two incidents, the enrolment.
        assert!(shown.len() > 150 + 3, "{}", shown.len());
    }
}
