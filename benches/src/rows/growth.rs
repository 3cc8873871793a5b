//! What an append costs in a large log, beside what it costs in a small one.

use std::fs;

use super::large;
use super::middle;
use crate::load::{self, number};
use crate::table::{Row, Table, Wanted};
use crate::{Bench, Outcome};

/// Records in the small log.
const SMALL: &str = "10000";
/// Records that are appended to measure; few beside the small log's, so that it stays one.
const MEASURED: &str = "30000";

pub(crate) fn row(bench: &Bench, table: &mut Table) -> Outcome<()> {
    large::build(bench)?;
    let small = bench.dir.join("small");
    let mut rounds = Vec::new();
    for _ in 0..bench.scale.rounds + 2 {
        if small.exists() {
            fs::remove_dir_all(&small)?;
        }
        load::fill(bench, &small, SMALL)?;
        let rate = |dir: &std::path::Path| {
            let dir = dir.display().to_string();
            let seen = load::run(
                bench,
                &[
                    "bench",
                    "append",
                    "--records",
                    MEASURED,
                    "--clients",
                    "64",
                    "--no-verify",
                    "--data-dir",
                    &dir,
                ],
                &[],
            )?;
            number(&seen, &["records_per_second"])
        };
        let few = rate(&small)?;
        let many = rate(&bench.large)?;
        rounds.push((1e6 / many, 1e6 / few));
    }
    let (many, few) = middle(rounds);
    table.add(Row::against(
        &format!(
            "append, 64 clients, with {} records in the log",
            large::count(bench)
        ),
        "the same with 10 thousand records in the log",
        "µs/record",
        many,
        few,
        Wanted::AtMost(1.2),
    ));
    Ok(())
}
