//! How fast records become durable.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use client::Wait;

use crate::Outcome;
use crate::producer::Producer;
use crate::served::Served;
use crate::table::{Row, Table};

/// Records in one round.
const RECORDS: usize = 4_000;
/// Records that one side writes before the other has its turn.
const TURN: usize = 200;
/// The median of these is the figure.
const ROUNDS: usize = 5;

/// One client that sends one record at a time over HTTP, beside a loop that appends the same bytes
/// to a file and calls fdatasync.
pub(crate) fn one_client(dir: &Path, table: &mut Table) -> Outcome<()> {
    let served = Served::start(&dir.join("one-client"))?;
    let client = served.client()?;
    let (mut producer, opening) = Producer::start("one client")?;
    client.append(&opening, Wait::Durable)?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let records = producer.records(RECORDS)?;
        let mut file = File::create(dir.join(format!("loop-{round}")))?;
        let (mut bare, mut ours) = (Duration::ZERO, Duration::ZERO);
        for turn in records.chunks(TURN) {
            let begin = Instant::now();
            for submission in turn {
                file.write_all(&submission.record)?;
                file.sync_data()?;
            }
            bare += begin.elapsed();
            let begin = Instant::now();
            for submission in turn {
                client.append(std::slice::from_ref(submission), Wait::Durable)?;
            }
            ours += begin.elapsed();
        }
        let rate = |time: Duration| records.len() as f64 / time.as_secs_f64();
        rounds.push((rate(ours), rate(bare)));
    }
    rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    let (ours, theirs) = rounds[ROUNDS / 2];
    table.add(Row {
        what: "one client, one record of ~500 bytes at a time, over HTTP".into(),
        yardstick: "a loop of append and fdatasync of the same bytes".into(),
        ours,
        theirs,
        wanted: 0.7,
    });
    Ok(())
}
