//! `rlhf-audit bench`, run as a user would.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::served::program;
use crate::{Bench, Outcome};

/// Ledgers so far. They are kept until the end: where many files have just been deleted, some file systems (ext4 without a
/// journal) take long to make the next ones, and the next row would pay for it.
static LEDGERS: AtomicU32 = AtomicU32::new(0);

/// Runs a command that has to succeed, on a new ledger unless it names one; gives what it printed as JSON.
pub(crate) fn run(bench: &Bench, args: &[&str], more: &[&str]) -> Outcome<Value> {
    let mut command = program()?;
    command.args(args).args(more).arg("--json");
    if !args.contains(&"--data-dir") {
        let number = LEDGERS.fetch_add(1, Ordering::Relaxed);
        let dir = bench.dir.join(format!("ledger-{number}"));
        command.arg("--data-dir").arg(dir);
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}: {said}", output.status).into());
    }
    Ok(serde_json::from_str(&said)?)
}

/// A load on a ledger of its own, for so long.
pub(crate) fn append(bench: &Bench, args: &[&str], time: Duration) -> Outcome<Value> {
    let seconds = time.as_secs_f64().to_string();
    run(bench, &["bench", "append", "--seconds", &seconds], args)
}

/// Fills the ledger in `dir` with so many records, and verifies it.
pub(crate) fn fill(bench: &Bench, dir: &Path, records: &str) -> Outcome<()> {
    let dir = dir.display().to_string();
    let args = [
        "bench",
        "append",
        "--records",
        records,
        "--clients",
        "16",
        "--batch",
        "500",
        "--data-dir",
        &dir,
    ];
    run(bench, &args, &[]).map(drop)
}

/// A number in what a command printed.
pub(crate) fn number(value: &Value, path: &[&str]) -> Outcome<f64> {
    let mut at = value;
    for name in path {
        at = match name.parse::<usize>() {
            Ok(index) => &at[index],
            Err(_) => &at[name],
        };
    }
    at.as_f64()
        .ok_or_else(|| format!("no number at {}: {value}", path.join(".")).into())
}
