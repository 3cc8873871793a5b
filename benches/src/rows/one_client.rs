//! One client that sends one record at a time over HTTP, beside a loop that appends the same bytes to a file and calls
//! fdatasync.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use client::Wait;

use super::middle;
use crate::producer::Producer;
use crate::served::Served;
use crate::table::{Row, Table, Wanted};
use crate::{Bench, Outcome};

/// Records in one round.
const RECORDS: usize = 4_000;
/// Records that one side writes before the other has its turn.
const TURN: usize = 200;

pub(crate) fn row(bench: &Bench, table: &mut Table) -> Outcome<()> {
    let served = Served::start(&bench.dir.join("one-client"))?;
    let client = served.client()?;
    let (mut producer, opening) = Producer::start("one client")?;
    client.append(&opening, Wait::Durable)?;
    let mut rounds = Vec::new();
    for round in 0..bench.scale.rounds {
        let records = producer.records(RECORDS)?;
        let mut file = File::create(bench.dir.join(format!("loop-{round}")))?;
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
    served.stop()?;
    let (ours, theirs) = middle(rounds);
    table.add(Row::against(
        "one client, one record at a time, over HTTP",
        "append and fdatasync of the same bytes in a loop",
        "records/s",
        ours,
        theirs,
        Wanted::AtLeast(0.7),
    ));
    Ok(())
}
