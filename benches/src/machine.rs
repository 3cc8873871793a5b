//! What the numbers come from.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::{Outcome, postgres};

/// A machine on which others work too says little about how fast anything is.
const BUSY: f64 = 0.5;

/// One machine, in one state.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpus: usize,
    cpu: String,
    memory_gb: u64,
    system: String,
    file_system: String,
    postgres: Option<String>,
    /// How many threads ran or waited to run, on average of the last minute before.
    pub(crate) load_before: f64,
    quick: bool,
}

impl Machine {
    /// In one line.
    pub(crate) fn line(&self) -> String {
        let busy = if self.load_before > BUSY {
            format!(
                "; **measured on a busy machine** (load {:.1} before it began)",
                self.load_before
            )
        } else {
            String::new()
        };
        let quick = if self.quick { "; quick form" } else { "" };
        let postgres = self.postgres.as_deref().unwrap_or("no PostgreSQL");
        format!(
            "{} × {}, {} GB, {}, {}; {postgres}{quick}{busy}",
            self.cpus, self.cpu, self.memory_gb, self.file_system, self.system
        )
    }
}

pub(crate) fn describe(dir: &Path, quick: bool) -> Outcome<Machine> {
    let file_system = said(
        "df",
        &["--output=fstype,source", &dir.display().to_string()],
    )?;
    let file_system = file_system
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" on ");
    if file_system.starts_with("tmpfs") || file_system.starts_with("ramfs") {
        return Err(format!(
            "{} is in memory, where a sync costs nothing; set BENCH_DIR to a directory on a disk",
            dir.display()
        )
        .into());
    }
    let of = |path: &str, name: &str| -> Outcome<String> {
        let text = fs::read_to_string(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line
            .unwrap_or_default()
            .trim_start_matches([' ', '\t', ':']);
        Ok(value.to_owned())
    };
    let kib = of("/proc/meminfo", "MemTotal:")?;
    let kib: u64 = kib.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(Machine {
        cpus: std::thread::available_parallelism()?.get(),
        cpu: of("/proc/cpuinfo", "model name")?,
        memory_gb: (kib + (1 << 19)) >> 20,
        system: said("uname", &["-sr"])?.trim().to_owned(),
        file_system,
        postgres: postgres::version().ok(),
        load_before: load
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or(0.0),
        quick,
    })
}

fn said(program: &str, args: &[&str]) -> Outcome<String> {
    let output = Command::new(program).args(args).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
