//! `kill -9` under load, ten times: everything acknowledged is there once, and the log goes on (I1).

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::{Fixture, metric, options, preference};
use ledger::{Ledger, Principal};
use record::{Pseudonym, Scope, SigningKey, StreamName, StreamWriter};

const ROUNDS: u64 = 10;
const WRITERS: u8 = 6;

/// Not a test of its own: what the killed process runs.
#[test]
fn child() {
    let (Ok(dir), Ok(run)) = (std::env::var("LEDGER_CHILD"), std::env::var("LEDGER_RUN")) else {
        return;
    };
    let clock = std::sync::Arc::new(common::TestClock::new());
    let ledger = Ledger::open(dir.as_ref(), options(&clock)).unwrap();
    let scope = Scope::parse(&run).unwrap();
    let out = Mutex::new(std::io::stdout());
    std::thread::scope(|threads| {
        for n in 0..WRITERS {
            let (ledger, clock, out) = (&ledger, &clock, &out);
            threads.spawn(move || {
                let stream = StreamName::parse(&format!("rank{n}")).unwrap();
                let key = SigningKey::from_bytes(&[10 + n; 32]);
                let mut writer = match ledger.stream_head(scope, stream).unwrap() {
                    Some(head) => StreamWriter::resume(
                        scope,
                        stream,
                        key,
                        head.next_seq,
                        head.head,
                        clock.clone(),
                        common::entropy(),
                    ),
                    None => StreamWriter::open(
                        scope,
                        stream,
                        record::ProducerName::parse("child").unwrap(),
                        key,
                        clock.clone(),
                        common::entropy(),
                    ),
                };
                let annotator = Pseudonym::generate(&*common::entropy());
                loop {
                    let draft = if n % 2 == 0 {
                        metric(f64::from(n))
                    } else {
                        preference(annotator)
                    };
                    let records = writer.write(draft).unwrap();
                    let leaves: Vec<_> = records.iter().map(common::leaf).collect();
                    let ticket = ledger.submit(records, &Principal::local()).unwrap();
                    let receipts = ticket.wait().unwrap();
                    let lines = leaves
                        .iter()
                        .zip(receipts)
                        .map(|(leaf, receipt)| format!("ACK {} {leaf}\n", receipt.index));
                    let text: String = lines.collect();
                    let mut out = out.lock().unwrap();
                    if out
                        .write_all(text.as_bytes())
                        .and_then(|()| out.flush())
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn everything_acknowledged_survives_ten_kills() {
    let fixture = Fixture::new();
    let run = fixture.start_run("killed", 1).scope();
    fixture.ledger.close().unwrap();
    let Fixture { dir, clock, ledger } = fixture;
    drop(ledger);

    let mut acknowledged: HashMap<String, u64> = HashMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env("LEDGER_CHILD", dir.path())
            .env("LEDGER_RUN", run.as_str())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        // Somewhere among publications, later each round.
        let enough = 40 + 37 * round;
        let started = Instant::now();
        let mut seen = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line).unwrap() == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            // What was cut off by the kill was not heard by anybody.
            if let Some(text) = text.strip_suffix('\n')
                && let Some((_, ack)) = text.split_once("ACK ")
            {
                let (index, leaf) = ack.split_once(' ').unwrap();
                let before = acknowledged.insert(leaf.to_owned(), index.parse().unwrap());
                assert_eq!(before, None, "acknowledged twice");
                seen += 1;
            }
            if seen == enough || started.elapsed() > Duration::from_mins(1) {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(
            seen >= enough,
            "the child stopped by itself after {seen} records"
        );
    }

    let ledger = Ledger::open(dir.path(), options(&clock)).unwrap();
    let fixture = Fixture { dir, clock, ledger };
    let size = fixture.published();
    let mut found: HashMap<String, u64> = HashMap::new();
    for index in 0..size {
        let leaf = tlog::leaf_hash(&fixture.ledger.read(index).unwrap()).to_string();
        assert_eq!(
            found.insert(leaf, index),
            None,
            "record {index} is there twice"
        );
    }
    for (leaf, index) in &acknowledged {
        assert_eq!(
            found.get(leaf),
            Some(index),
            "an acknowledged record is lost"
        );
    }
    let report = fixture.verify();
    assert!(report.counts.opened > 0);
    let mut more = fixture.writer(run, "after", 99);
    fixture.append(more.write(metric(1.0)).unwrap());
    fixture.verify();
    eprintln!(
        "{} records acknowledged over {ROUNDS} kills",
        acknowledged.len()
    );
}
