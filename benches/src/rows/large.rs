//! What only shows in a large log: proofs from cold tiles, its size on disk, the memory of its server.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::idle::resting;
use crate::load;
use crate::served::Served;
use crate::table::{Row, Table, Wanted};
use crate::{Bench, Outcome};

/// Proofs that are asked for, each of another part of the log.
const PROOFS: u64 = 200;

pub(crate) fn rows(bench: &Bench, table: &mut Table) -> Outcome<()> {
    build(bench)?;
    let name = count(bench);
    table.add(Row::alone(
        &format!("inclusion proof over HTTP, cold, {name} records, at most"),
        "tile reads",
        tile_reads(bench)?,
        Wanted::AtMost(6.0),
    ));
    let (on_disk, records) = sizes(&bench.large)?;
    table.add(Row::against(
        &format!("on disk once published, index included, {name} records"),
        "the bytes of the records",
        "MB",
        on_disk / 1e6,
        records / 1e6,
        Wanted::AtMost(1.4),
    ));
    table.add(Row::alone(
        &format!("memory, {name} records, idle"),
        "MB",
        resting(&bench.large)?,
        Wanted::AtMost(60.0),
    ));
    Ok(())
}

/// Makes the large ledger, unless it is there.
pub(crate) fn build(bench: &Bench) -> Outcome<()> {
    if !bench.large.join("ledger.json").exists() {
        eprintln!("making a ledger of {} records …", bench.scale.large);
        load::fill(bench, &bench.large, &bench.scale.large.to_string())?;
    }
    Ok(())
}

/// How many records the large ledger was made with, in words.
pub(crate) fn count(bench: &Bench) -> String {
    match bench.scale.large {
        large if large % 1_000_000 == 0 => format!("{} million", large / 1_000_000),
        large => format!("{} thousand", large / 1_000),
    }
}

/// The most tiles that the server read for one proof; it keeps none from one to the next.
fn tile_reads(bench: &Bench) -> Outcome<f64> {
    let served = Served::start(&bench.large)?;
    let client = served.client()?;
    let size = bench.scale.large;
    let mut most = 0.0_f64;
    let mut before = served.metric("rlhf_audit_proof_tile_reads_total")?;
    for n in 0..PROOFS {
        client.proof(size / PROOFS * n + n)?;
        let after = served.metric("rlhf_audit_proof_tile_reads_total")?;
        most = most.max(after - before);
        before = after;
    }
    served.stop()?;
    Ok(most)
}

/// Bytes that a ledger takes on disk, in whole blocks as the file system gives them, and bytes of its records.
fn sizes(ledger: &Path) -> Outcome<(f64, f64)> {
    let entries = ledger.join("log/tile/entries");
    let (mut on_disk, mut records) = (0, 0);
    walk(ledger, &mut |path, data| {
        on_disk += data.blocks() * 512;
        if path.starts_with(&entries) && data.is_file() {
            // Each entry stands behind its length in two bytes; a full bundle has 256.
            let partial = path.parent().and_then(Path::extension).is_some();
            let count = match path.file_name().and_then(|name| name.to_str()) {
                Some(width) if partial => width.parse().unwrap_or(256),
                _ => 256,
            };
            records += data.len() - 2 * count;
        }
    })?;
    Ok((on_disk as f64, records as f64))
}

fn walk(path: &Path, each: &mut dyn FnMut(&Path, &fs::Metadata)) -> Outcome<()> {
    let data = fs::symlink_metadata(path)?;
    each(path, &data);
    if data.is_dir() {
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), each)?;
        }
    }
    Ok(())
}
