//! What a server needs that does nothing.

use std::path::Path;
use std::time::Duration;

use crate::served::Served;
use crate::table::{Row, Table, Wanted};
use crate::{Bench, Outcome};

pub(crate) fn empty(bench: &Bench, table: &mut Table) -> Outcome<()> {
    table.add(Row::alone(
        "memory, empty and idle",
        "MB",
        resting(&bench.dir.join("idle"))?,
        Wanted::AtMost(20.0),
    ));
    Ok(())
}

/// Resident megabytes of a server that has been asked whether it is well, and then nothing more.
pub(crate) fn resting(dir: &Path) -> Outcome<f64> {
    let served = Served::start(dir)?;
    served.client()?.health()?;
    std::thread::sleep(Duration::from_secs(3));
    let memory = served.resident_bytes()? / 1e6;
    served.stop()?;
    Ok(memory)
}
