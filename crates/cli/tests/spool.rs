//! The spool before a real server: what was accepted arrives once, whatever happens to either (I23).

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::time::{Duration, Instant};

use client::Client;
use client::spool::{Durability, RunSpec, Spool, SpoolError};
use common::spool::{LONG, files, logged, numbered, numbers, open, options, run_id, start_run};
use common::{ADMIN, Desk, Server, eventually};
use record::kinds::{RunStarted, RunStatus};
use record::{Draft, Sha256, StreamName};

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_run_goes_to_the_log_and_is_sealed() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let spool = open(&desk.path("spool"), &server.url);
    let stream = start_run(&spool, "whole");
    let mut names = vec![stream.write(numbered(0)).unwrap()];
    names.extend(stream.write_all((1..250).map(numbered).collect()).unwrap());
    spool.flush(LONG).unwrap();
    let status = spool.status();
    assert_eq!((status.waiting_records, status.waiting_bytes), (0, 0));
    assert_eq!(status.last_error, None);
    let run = run_id(&stream);
    assert_eq!(
        numbers(&server.url, run.as_str(), 250),
        (0..250).collect::<Vec<_>>()
    );
    let log = logged(&server.url, run.as_str());
    assert!(names.iter().all(|name| log.contains_key(name)));
    let receipt = stream.seal(RunStatus::Completed, LONG).unwrap();
    assert!(matches!(
        stream.write(numbered(1)),
        Err(SpoolError::Closed { .. })
    ));
    // Asked again, the same answer.
    assert_eq!(stream.seal(RunStatus::Completed, LONG).unwrap(), receipt);
    spool.close(LONG).unwrap();
    server.stop();
    assert_eq!(files(&desk.path("spool/streams"), "seg").len(), 0);
    desk.verified();
}

#[test]
fn the_first_record_is_sent_at_once() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let spool = open(&desk.path("spool"), &server.url);
    let stream = start_run(&spool, "soon");
    spool.flush(LONG).unwrap();
    let mut waits = Vec::new();
    for number in 0..20 {
        std::thread::sleep(Duration::from_millis(60));
        let before = spool.status().acknowledged;
        let began = Instant::now();
        stream.write(numbered(number)).unwrap();
        while spool.status().acknowledged == before {
            std::thread::sleep(Duration::from_millis(1));
            assert!(began.elapsed() < LONG);
        }
        waits.push(began.elapsed());
    }
    waits.sort();
    eprintln!(
        "from a write to its acknowledgement: median {:?}",
        waits[10]
    );
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for() {
    let desk = Desk::with_ledger();
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let spool = open(&desk.path("spool"), &url);
    let stream = start_run(&spool, "early");
    stream
        .write_all((0..2_500).map(numbered).collect())
        .unwrap();
    match spool.flush(Duration::from_millis(300)) {
        Err(SpoolError::Timeout {
            waiting_records,
            last_error: Some(why),
            ..
        }) => {
            // stream.opened, run.started, signatures after each thousand and at the end.
            assert_eq!(waiting_records, 2_505);
            assert!(why.contains("is the server running there?"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    let server = Server::start_with(&desk, &["--port", &port]);
    spool.flush(LONG).unwrap();
    let run = run_id(&stream);
    assert_eq!(
        numbers(&url, run.as_str(), 2_500),
        (0..2_500).collect::<Vec<_>>()
    );
    // Killed and started again under load.
    let writing = std::thread::spawn({
        let stream = stream.clone();
        move || {
            for number in 2_500..5_000 {
                stream.write(numbered(number)).unwrap();
                if number % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    });
    let mut server = server;
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(150));
        server.kill();
        server = Server::start_with(&desk, &["--port", &port]);
    }
    writing.join().unwrap();
    spool.flush(LONG).unwrap();
    assert_eq!(
        numbers(&url, run.as_str(), 5_000),
        (0..5_000).collect::<Vec<_>>()
    );
    logged(&url, run.as_str());
    stream.seal(RunStatus::Completed, LONG).unwrap();
    spool.close(LONG).unwrap();
    server.stop();
    desk.verified();
    eventually("nothing is left in the spool", || {
        files(&desk.path("spool/streams"), "seg").is_empty()
    });
}

#[test]
fn a_run_is_sealed_later_where_the_server_is_away() {
    let desk = Desk::with_ledger();
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let spool = open(&desk.path("spool"), &url);
    let rank0 = StreamName::parse("rank0").unwrap();
    let mut run = RunSpec::new("sealed later", rank0);
    run.experiment = Some("spool".to_owned());
    run.model = Some("gpt2".to_owned());
    run.config.insert("lr".to_owned(), 0.5.into());
    run.description = Some("what it is for".to_owned());
    let stream = spool.start_run(run).unwrap();
    let run = run_id(&stream);
    stream.write_all((0..10).map(numbered).collect()).unwrap();
    let later = stream.seal(RunStatus::Failed, Duration::from_millis(300));
    assert!(
        matches!(later, Err(SpoolError::Timeout { .. })),
        "{later:?}"
    );
    assert!(matches!(
        stream.write(numbered(10)),
        Err(SpoolError::Closed { .. })
    ));
    drop((stream, spool));
    let server = Server::start_with(&desk, &["--port", &port]);
    // Any process that opens the directory does it.
    let spool = open(&desk.path("spool"), &url);
    let client = Client::new(&url, Some(ADMIN)).unwrap();
    eventually("the run is sealed", || {
        client
            .run(run.as_str())
            .is_ok_and(|run| run.status == "failed")
    });
    let found = client.run(run.as_str()).unwrap();
    assert_eq!(found.experiment.as_deref(), Some("spool"));
    spool.close(LONG).unwrap();
    server.stop();
    let report = desk.verified();
    assert_eq!(report["counts"]["opened"], 1, "{report}");
}

#[test]
fn attachments_go_before_the_records_that_name_them() {
    let desk = Desk::with_ledger();
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let spool = open(&desk.path("spool"), &url);
    let stream = start_run(&spool, "attached");
    let large = vec![7; 3 << 20];
    std::fs::write(desk.path("file"), b"of a file").unwrap();
    let attached = [
        spool.attach(b"manifest").unwrap(),
        spool.attach(&large).unwrap(),
        spool.attach(b"manifest").unwrap(),
        spool.attach_file(&desk.path("file")).unwrap(),
    ];
    assert_eq!(attached[0], attached[2]);
    let waiting = spool.status().waiting_bytes;
    assert!((3 << 20..4 << 20).contains(&waiting), "{waiting}");
    let draft = |attachment| numbered(7).attach("manifest", attachment);
    let names = stream
        .write_all(vec![draft(attached[1]), numbered(0), draft(attached[3])])
        .unwrap();
    // One that no record names yet is sent too.
    drop((stream, spool));
    let server = Server::start_with(&desk, &["--port", &port]);
    let spool = open(&desk.path("spool"), &url);
    spool.flush(LONG).unwrap();
    let client = Client::new(&url, Some(ADMIN)).unwrap();
    for attachment in &attached {
        let mut bytes = Vec::new();
        client.attachment(&attachment.sha256, &mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, attachment.bytes);
    }
    let run = client.runs(None, 10).unwrap().runs[0].run;
    eventually("they are published", || {
        let log = logged(&url, run.as_str());
        names.iter().all(|name| log.contains_key(name))
    });
    // One that is nowhere the server refuses for good.
    let stream = spool.join_run(run, "rank0").unwrap();
    let nowhere = record::Attachment {
        bytes: 1,
        sha256: Sha256([1; 32]),
    };
    stream.write(draft(nowhere)).unwrap();
    let refused = spool.flush(LONG).unwrap_err();
    assert!(
        refused.to_string().contains("attachment-missing"),
        "{refused}"
    );
    drop((stream, spool));
    let spool = open(&desk.path("spool"), &url);
    spool.close(LONG).unwrap();
    let left = std::fs::read_dir(desk.path("spool/attachments")).unwrap();
    assert_eq!(left.count(), 0);
    server.stop();
    desk.verified();
}

#[test]
fn receipts_prove_what_the_log_promised() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let mut options = options(&desk.path("spool"), &server.url);
    options.durability = Durability::Machine;
    let spool = Spool::open(options).unwrap();
    let stream = start_run(&spool, "proven");
    for number in 0..5 {
        stream.write(numbered(number)).unwrap();
        spool.flush(LONG).unwrap();
    }
    let ledger = spool.ledger_stream("hooks").unwrap();
    ledger.write(numbered(9)).unwrap();
    let last = ledger.write(numbered(10)).unwrap();
    spool.clone().close(LONG).unwrap();
    let policy = std::fs::read(desk.path("audit-data/policy")).unwrap();
    let policy = tlog::Policy::parse(&policy).unwrap();
    let mut all = stream.receipts().unwrap();
    assert!(!all.is_empty());
    let of_ledger = ledger.receipts().unwrap();
    assert!(of_ledger.last().is_some_and(|kept| kept.seq >= 2));
    all.extend(of_ledger);
    for kept in &all {
        let (record, proof) = (
            std::fs::read(&kept.record).unwrap(),
            std::fs::read(&kept.proof).unwrap(),
        );
        assert_eq!(record::leaf_hash(&record), kept.leaf_hash.into());
        let report = verify::proof("a receipt", &proof, &record, &policy);
        assert_eq!(report.verdict, verify::Verdict::Verified, "{report:?}");
    }
    // The last record of a stream is its signature, and covers what was written.
    assert!(logged(&server.url, "ledger").contains_key(&last));
    server.stop();
    desk.verified();
}

#[test]
fn what_makes_no_record_is_refused_and_nothing_is_taken() {
    let desk = Desk::new();
    let spool = open(&desk.path("spool"), "http://127.0.0.1:9");
    let stream = start_run(&spool, "strict");
    let before = spool.status();
    let good = || numbered(1);
    let nan = Draft::new(record::kinds::RewardScored::new(f64::NAN));
    match stream.write_all(vec![good(), nan]) {
        Err(error @ SpoolError::Record { at: 1, .. }) => {
            assert!(error.to_string().starts_with("draft 2: "), "{error}");
        }
        other => panic!("{other:?}"),
    }
    let started = Draft::new(RunStarted::new("again".to_owned(), spool.public_key()));
    match stream.write(started) {
        Err(error @ SpoolError::Kind { .. }) => {
            assert!(error.to_string().contains("start_run"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(stream.write_all(Vec::new()).unwrap(), []);
    let run = run_id(&stream);
    for name in ["", "Rank0", "a b", "-x"] {
        assert!(matches!(
            spool.join_run(run, name),
            Err(SpoolError::Name { .. })
        ));
    }
    let status = spool.status();
    assert_eq!(status.waiting_records, before.waiting_records);
    assert_eq!(status.waiting_bytes, before.waiting_bytes);
    // A server that cannot be asked: a name that nobody else can have.
    let other = spool.join_run(run, "rank1").unwrap();
    assert!(other.name().as_str().starts_with("rank1."));
    assert!(Spool::open(options(&desk.path("spool"), "nowhere")).is_err());
    std::fs::write(desk.path("spool/producer.ed25519"), "no key").unwrap();
    let bad = Spool::open(options(&desk.path("spool"), "http://127.0.0.1:9"));
    assert!(matches!(bad, Err(SpoolError::Key { .. })));
    spool.close(Duration::ZERO).unwrap_err();
    assert!(matches!(
        stream.write(good()),
        Err(SpoolError::Closed { .. })
    ));
}

#[test]
fn a_run_is_started_before_its_other_streams_whatever_their_names() {
    let desk = Desk::with_ledger();
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let spool = open(&desk.path("spool"), &url);
    let last = StreamName::parse("zz").unwrap();
    let stream = spool.start_run(RunSpec::new("ordered", last)).unwrap();
    let run = run_id(&stream);
    let first = spool.join_run(run, "aa").unwrap();
    first.write(numbered(1)).unwrap();
    stream.write(numbered(2)).unwrap();
    drop((stream, first, spool));
    let server = Server::start_with(&desk, &["--port", &port]);
    // Both are left by somebody else; one look finds them.
    let spool = open(&desk.path("spool"), &url);
    spool.flush(LONG).unwrap();
    let mut found = numbers(&url, run.as_str(), 2);
    found.sort_unstable();
    assert_eq!(found, [1, 2]);
    assert!(spool.status().incidents.is_empty());
    spool.close(LONG).unwrap();
    server.stop();
    desk.verified();
}

#[test]
fn a_signature_that_comes_after_the_seal_is_no_news() {
    let desk = Desk::with_ledger();
    let server = Server::start(&desk);
    let spool = open(&desk.path("spool"), &server.url);
    let stream = start_run(&spool, "sealed");
    let run = run_id(&stream);
    spool.flush(LONG).unwrap();
    let elsewhere = open(&desk.path("elsewhere"), &server.url);
    let rank1 = elsewhere.join_run(run, "rank1").unwrap();
    rank1.write(numbered(1)).unwrap();
    // Acknowledged, and gone before it is signed.
    eventually("it is acknowledged", || {
        elsewhere.status().waiting_records == 0
    });
    drop((rank1, elsewhere));
    stream.seal(RunStatus::Completed, LONG).unwrap();
    let elsewhere = open(&desk.path("elsewhere"), &server.url);
    elsewhere.flush(LONG).unwrap();
    let status = elsewhere.status();
    assert_eq!((status.incidents, status.waiting_records), (Vec::new(), 0));
    elsewhere.close(LONG).unwrap();
    spool.close(LONG).unwrap();
    server.stop();
    desk.verified();
}
