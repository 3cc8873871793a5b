//! Many clients, beside as many that insert rows of the same size into PostgreSQL on the same disk.

use std::time::Duration;

use super::{median, middle};
use crate::load::{self, number};
use crate::postgres::Postgres;
use crate::table::{Row, Table, Wanted};
use crate::{Bench, Outcome};

/// One record a request, 64 clients.
pub(crate) fn single(bench: &Bench, table: &mut Table) -> Outcome<()> {
    let postgres = Postgres::start(&bench.dir.join("pg-single"))?;
    let (mut rounds, mut memory) = (Vec::new(), Vec::new());
    let turn = bench.scale.turn;
    for _ in 0..bench.scale.rounds {
        let theirs = postgres.insert(64, 1, turn)?;
        let ours = load::append(bench, &["--clients", "64"], turn)?;
        memory.push(number(&ours, &["server", "peak_resident_bytes"])? / 1e6);
        rounds.push((number(&ours, &["records_per_second"])?, theirs));
    }
    postgres.stop()?;
    let (ours, theirs) = middle(rounds);
    table.add(Row::against(
        "durable appends over HTTP, one record of ~500 bytes each, 64 clients",
        "PostgreSQL, single-row INSERT, 64 clients",
        "records/s",
        ours,
        theirs,
        Wanted::AtLeast(2.5),
    ));
    half(
        bench,
        table,
        "the first load",
        &["--clients", "64"],
        ours,
        500.0,
    )?;
    table.add(Row::alone(
        "memory under the first load",
        "MB",
        memory.into_iter().fold(0.0, f64::max),
        Wanted::AtMost(150.0),
    ));
    Ok(())
}

/// 100 records a request, 16 clients, kept up.
pub(crate) fn batch(bench: &Bench, table: &mut Table) -> Outcome<()> {
    let postgres = Postgres::start(&bench.dir.join("pg-batch"))?;
    let sustained = bench.scale.sustained;
    let args = ["--clients", "16", "--batch", "100"];
    // The yardstick has its turn before and after, since the whole is too long for many turns.
    let before = postgres.insert(16, 100, sustained / 2)?;
    let ours = load::append(bench, &args, sustained)?;
    let theirs = f64::midpoint(before, postgres.insert(16, 100, sustained / 2)?);
    postgres.stop()?;
    let rate = number(&ours, &["records_per_second"])?;
    table.add(Row::against(
        &format!(
            "the same, 100 records a request, 16 clients, for {} s, index included",
            sustained.as_secs()
        ),
        "PostgreSQL, 100-row INSERT, 16 clients",
        "records/s",
        rate,
        theirs,
        Wanted::AtLeast(2.0),
    ));
    table.add(Row::alone(
        "publishing behind the second load, at most",
        "ms",
        number(&ours, &["published_ms", "max"])?,
        Wanted::AtMost(1_000.0),
    ));
    half(bench, table, "the second load", &args, rate, 750.0)?;
    table.add(Row::alone(
        "memory under the second load",
        "MB",
        number(&ours, &["server", "peak_resident_bytes"])? / 1e6,
        Wanted::AtMost(300.0),
    ));
    Ok(())
}

/// How long what is acknowledged waits for its checkpoint, under half of what is possible.
fn half(
    bench: &Bench,
    table: &mut Table,
    name: &str,
    args: &[&str],
    full: f64,
    most: f64,
) -> Outcome<()> {
    let rate = format!("{}", full / 2.0);
    let args: Vec<&str> = args.iter().copied().chain(["--rate", &rate]).collect();
    let mut p99 = Vec::new();
    for _ in 0..bench.scale.rounds.min(3) {
        let seen = load::append(bench, &args, bench.scale.turn.max(Duration::from_secs(5)))?;
        p99.push(number(&seen, &["published_ms", "p99"])?);
    }
    table.add(Row::alone(
        &format!("acknowledged to published under half of {name}, p99"),
        "ms",
        median(p99),
        Wanted::AtMost(most),
    ));
    Ok(())
}
