//! How long a check takes beside reading the same files and hashing each entry.

use crate::load::{self, number};
use crate::table::{Row, Table, Wanted};
use crate::{Bench, Outcome};

pub(crate) fn rows(bench: &Bench, table: &mut Table) -> Outcome<()> {
    let records = bench.scale.verified.to_string();
    let rounds = (bench.scale.rounds + 2).to_string();
    let seen = load::run(
        bench,
        &[
            "bench",
            "verify",
            "--records",
            &records,
            "--rounds",
            &rounds,
            "--threads",
            "1",
            "--threads",
            "2",
        ],
        &[],
    )?;
    let seconds = |threads: &str, what: &str| number(&seen, &["timings", threads, what, "seconds"]);
    for (what, name, most) in [("hashes", "verify --hashes", 1.3), ("full", "verify", 4.0)] {
        for (at, cores) in [("0", "1 core"), ("1", "2 cores")] {
            table.add(Row::against(
                &format!("{name}, {records} records, {cores}"),
                "reading the files and SHA-256 of each entry, same cores",
                "s",
                seconds(at, what)?,
                seconds(at, "read_and_hash")?,
                Wanted::AtMost(most),
            ));
        }
        table.add(Row::against(
            &format!("{name}, 2 cores"),
            "1 core",
            "records/s",
            bench.scale.verified as f64 / seconds("1", what)?,
            bench.scale.verified as f64 / seconds("0", what)?,
            Wanted::AtLeast(1.9),
        ));
    }
    Ok(())
}
