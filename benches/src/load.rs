//! `rlhf-audit bench`, run as a user would.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::served::binary;
use crate::{Bench, Outcome};

/// Runs a command that has to succeed; gives what it printed as JSON.
pub(crate) fn run(bench: &Bench, args: &[&str], more: &[&str]) -> Outcome<Value> {
    let mut command = Command::new(binary()?);
    command.args(args).args(more).arg("--json");
    if !args.contains(&"--data-dir") {
        command.arg("--below").arg(&bench.dir);
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
