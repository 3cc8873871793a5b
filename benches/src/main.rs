//! What the ledger does, beside what else could be done with the disk under it, in one run and on the same disk.
//!
//! `make bench` builds the binary in release mode and runs this over it; the loads are those of `rlhf-audit bench`. Each
//! row is held against a yardstick that was measured in turns with ours, so that both see the same disk and whatever
//! else the machine does. Arguments: names of rows (all without), `--quick`, `--readme`. `BENCH_DIR` chooses the disk,
//! `BENCH_BINARY` another `rlhf-audit`, `BENCH_LARGE` a directory in which the large ledger is kept from run to run.

mod load;
mod machine;
mod postgres;
mod producer;
mod rows;
mod served;
mod table;

use std::collections::BTreeSet;
use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::table::Table;

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How often ours and the yardstick take turns; the median counts.
    pub(crate) rounds: usize,
    /// How long each turn of the first load is.
    pub(crate) turn: Duration,
    /// How long the second load is kept up.
    pub(crate) sustained: Duration,
    /// Records in the large ledger.
    pub(crate) large: u64,
    /// Records in the log that is verified.
    pub(crate) verified: u64,
}

const FULL: Scale = Scale {
    rounds: 5,
    turn: Duration::from_secs(8),
    sustained: Duration::from_mins(1),
    large: 10_000_000,
    verified: 1_000_000,
};

const QUICK: Scale = Scale {
    rounds: 3,
    turn: Duration::from_secs(3),
    sustained: Duration::from_secs(8),
    large: 500_000,
    verified: 200_000,
};

/// What a run needs to know.
pub(crate) struct Bench {
    pub(crate) dir: PathBuf,
    pub(crate) scale: Scale,
    /// Where the large ledger lies, or will.
    pub(crate) large: PathBuf,
}

fn main() -> Outcome<()> {
    let (options, names): (Vec<String>, Vec<String>) =
        env::args().skip(1).partition(|arg| arg.starts_with("--"));
    for option in &options {
        if !["--quick", "--readme"].contains(&option.as_str()) {
            return Err(format!("no such option: {option}").into());
        }
    }
    let wanted = rows::chosen(&names)?;
    let quick = options.iter().any(|option| option == "--quick");
    let parent = env::var_os("BENCH_DIR").map_or_else(env::temp_dir, PathBuf::from);
    let dir = tempfile::Builder::new()
        .prefix("rlhf-audit-bench")
        .tempdir_in(&parent)?;
    // PostgreSQL runs as another user and has to get to its part.
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o711))?;
    let mut table = Table::new(machine::describe(dir.path(), quick)?);
    let large = env::var_os("BENCH_LARGE");
    let bench = Bench {
        dir: dir.path().to_owned(),
        scale: if quick { QUICK } else { FULL },
        large: large.map_or_else(|| dir.path().join("large"), PathBuf::from),
    };
    measure(&bench, &wanted, &mut table)?;
    table.write(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").as_path())?;
    if options.iter().any(|option| option == "--readme") {
        table.write_readme(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))?;
    }
    println!("\n{table}");
    if table.all_reached() {
        Ok(())
    } else {
        Err("not everything is what is wanted".into())
    }
}

fn measure(bench: &Bench, wanted: &BTreeSet<&str>, table: &mut Table) -> Outcome<()> {
    let wants = |name: &str| wanted.contains(name);
    if wants("one") {
        rows::one_client::row(bench, table)?;
    }
    if wants("single") {
        rows::against_postgres::single(bench, table)?;
    }
    if wants("batch") {
        rows::against_postgres::batch(bench, table)?;
    }
    if wants("verify") {
        rows::verify::rows(bench, table)?;
    }
    if wants("idle") {
        rows::idle::empty(bench, table)?;
    }
    if wants("growth") {
        rows::growth::row(bench, table)?;
    }
    if wants("large") {
        rows::large::rows(bench, table)?;
    }
    Ok(())
}
