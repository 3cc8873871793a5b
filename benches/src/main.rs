//! What the ledger does, beside what the disk under it can do, in one run and on the same disk.
//!
//! `make bench` builds the binary in release mode and runs this over it. Each row is a ratio to a
//! yardstick that was measured in turns with ours, so that both see the same disk and the same load.
//! `BENCH_DIR` chooses the disk, `BENCH_BINARY` another `rlhf-audit`.

mod durable;
mod producer;
mod served;
mod table;

use std::env;
use std::path::PathBuf;

use crate::table::Table;

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let parent = env::var_os("BENCH_DIR").map_or_else(env::temp_dir, PathBuf::from);
    let dir = tempfile::Builder::new()
        .prefix("rlhf-audit-bench")
        .tempdir_in(parent)?;
    let mut table = Table::default();
    durable::one_client(dir.path(), &mut table)?;
    print!("{table}");
    table.write_json()?;
    if table.all_reached() {
        Ok(())
    } else {
        Err("a ratio is below what is wanted".into())
    }
}
