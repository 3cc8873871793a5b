//! No room: in the spool, on the disk. It is said, nothing accepted is lost, and it goes on once there is room (I23).

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use client::spool::{Durability, Spool, SpoolError, WhenFull};
use common::disk::{Tmpfs, fill};
use common::spool::{LONG, files, numbered, numbers, open, options, run_id, start_run};
use common::{Desk, Server, eventually};
use record::{Draft, RecordHash};

const LIMIT: u64 = 256 << 10;

fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

#[test]
fn a_full_spool_fails_or_waits_as_it_was_told() {
    let desk = Desk::with_ledger();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let mut options = options(&desk.path("spool"), &url);
    options.limit_bytes = LIMIT;
    options.when_full = WhenFull::Fail;
    let spool = Spool::open(options.clone()).unwrap();
    let stream = start_run(&spool, "full");
    let mut accepted = 0;
    let full = loop {
        match stream.write_all((accepted..accepted + 10).map(numbered).collect()) {
            Ok(names) => accepted += names.len() as u64,
            Err(error) => break error,
        }
    };
    match &full {
        SpoolError::Full {
            waiting_bytes,
            limit_bytes: LIMIT,
            ..
        } => assert!(
            (LIMIT - 16_000..=LIMIT).contains(waiting_bytes),
            "{waiting_bytes}"
        ),
        other => panic!("{other:?}"),
    }
    assert!(full.to_string().contains("raise the limit"), "{full}");
    // Attachments count.
    assert!(matches!(
        spool.attach(&vec![7; 100_000]),
        Err(SpoolError::Full { .. })
    ));
    // More than it can ever hold is another matter.
    let huge: Vec<Draft> = (0..2_000).map(numbered).collect();
    assert!(matches!(
        stream.write_all(huge),
        Err(SpoolError::TooLarge { .. })
    ));
    // Another process with the directory has no room either. Its handle ends here; the records stay.
    let waiting = spool.status().waiting_bytes;
    assert!(waiting > LIMIT - 16_000);
    drop((stream, spool));
    options.when_full = WhenFull::Block {
        timeout: Duration::from_millis(300),
    };
    let spool = Spool::open(options.clone()).unwrap();
    eventually("what was left is counted", || {
        spool.status().waiting_bytes >= waiting
    });
    let began = Instant::now();
    let small = start_run_of(&spool);
    assert!(matches!(small, Err(SpoolError::Full { .. })), "{small:?}");
    assert!(began.elapsed() >= Duration::from_millis(300));
    drop((small, spool));
    // With a server there is room again, for as much as ever comes.
    let server = Server::start_with(&desk, &["--port", &port]);
    options.when_full = WhenFull::Block { timeout: LONG };
    let spool = Spool::open(options).unwrap();
    let stream = start_run(&spool, "flows");
    for batch in 0..200 {
        stream
            .write_all((batch * 50..batch * 50 + 50).map(numbered).collect())
            .unwrap();
    }
    spool.flush(LONG).unwrap();
    let run = run_id(&stream);
    assert_eq!(
        numbers(&url, run.as_str(), 10_000),
        (0..10_000).collect::<Vec<_>>()
    );
    let all = numbers_of_all(&url);
    assert_eq!(all, 10_000 + accepted as usize);
    spool.close(LONG).unwrap();
    server.stop();
    desk.verified();
}

fn start_run_of(spool: &Spool) -> Result<RecordHash, SpoolError> {
    let rank0 = record::StreamName::parse("rank0").unwrap();
    let stream = spool.start_run(client::spool::RunSpec::new("more", rank0))?;
    let drafts = (0..100).map(numbered).collect();
    stream.write_all(drafts).map(|names| names[0])
}

/// How many numbered records all runs have.
fn numbers_of_all(url: &str) -> usize {
    let client = client::Client::new(url, Some(common::ADMIN)).unwrap();
    let runs = client.runs(None, 100).unwrap().runs;
    runs.iter()
        .map(|run| numbers(url, run.run.as_str(), 0).len())
        .sum()
}

#[test]
fn a_full_disk_is_said_and_left_without_a_restart() {
    let desk = Desk::with_ledger();
    let Some(tmpfs) = Tmpfs::mount(&desk.path("small"), 16) else {
        return;
    };
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let dir = desk.path("small/spool");
    let mut options = options(&dir, &url);
    options.durability = Durability::Machine;
    let spool = Spool::open(options).unwrap();
    let stream = start_run(&spool, "full");
    let ballast = desk.path("small/ballast");
    let mut accepted = 0;
    let mut server = None;
    // Full to the last page, and with a little left, so that it ends at different steps.
    for leave in [0, 4_096, 200 << 10] {
        stream.write(numbered(accepted)).unwrap();
        accepted += 1;
        fill(&ballast, leave);
        let full = loop {
            match stream.write_all((accepted..accepted + 7).map(numbered).collect()) {
                Ok(names) => accepted += names.len() as u64,
                Err(error) => break error,
            }
        };
        assert!(full.is_disk_full(), "{full:?}");
        assert!(full.to_string().contains("make room"), "{full}");
        assert!(spool.attach(&vec![1; 300_000]).unwrap_err().is_disk_full());
        // It can be read and sent meanwhile.
        if leave == 200 << 10 {
            server = Some(Server::start_with(&desk, &["--port", &port]));
            eventually("what waits is sent", || {
                spool.status().acknowledged > accepted
            });
        }
        fs::remove_file(&ballast).unwrap();
        stream.write(numbered(accepted)).unwrap();
        accepted += 1;
    }
    spool.flush(LONG).unwrap();
    let run = run_id(&stream);
    assert_eq!(
        numbers(&url, run.as_str(), accepted as usize),
        (0..accepted).collect::<Vec<_>>()
    );
    spool.close(LONG).unwrap();
    server.unwrap().stop();
    desk.verified();
    drop(tmpfs);
}

#[test]
fn a_damaged_file_is_named_and_what_stands_before_it_is_sent() {
    let desk = Desk::with_ledger();
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let mut options = options(&desk.path("spool"), &url);
    // Small segments.
    options.limit_bytes = 4 << 20;
    let spool = Spool::open(options).unwrap();
    let stream = start_run(&spool, "damaged");
    for batch in 0..1_200 {
        stream
            .write_all((batch * 5..batch * 5 + 5).map(numbered).collect())
            .unwrap();
    }
    let run = run_id(&stream);
    drop((stream, spool));
    let segments = files(&desk.path("spool"), "seg");
    assert!(segments.len() > 1, "{segments:?}");
    let mut bytes = fs::read(&segments[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segments[0], bytes).unwrap();
    let server = Server::start_with(&desk, &["--port", &port]);
    let spool = open(&desk.path("spool"), &url);
    // What is sound goes its way.
    let other = start_run(&spool, "sound");
    other.write(numbered(1)).unwrap();
    spool.flush(LONG).unwrap();
    eventually("it is said", || !spool.status().incidents.is_empty());
    let incidents = spool.status().incidents;
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    let detail = &incidents[0].detail;
    let named = segments[0].file_name().unwrap().to_str().unwrap();
    assert!(detail.contains(named), "{detail}");
    assert!(detail.contains("damaged at byte"), "{detail}");
    assert!(detail.contains("move its directory out"), "{detail}");
    let sent = numbers(&url, run.as_str(), 1);
    let expected: Vec<u64> = (0..sent.len() as u64).collect();
    assert_eq!(sent, expected);
    assert!(sent.len() > 100 && sent.len() < 6_000, "{}", sent.len());
    // As it was told to: out of the way.
    fs::rename(&incidents[0].kept, desk.path("aside")).unwrap();
    spool.close(LONG).unwrap();
    let spool = open(&desk.path("spool"), &url);
    spool.flush(LONG).unwrap();
    assert!(spool.status().incidents.is_empty());
    spool.close(LONG).unwrap();
    server.stop();
    desk.verified();
}
