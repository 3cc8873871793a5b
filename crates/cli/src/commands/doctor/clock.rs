//! The clock: records are stamped with it, witnesses and time-stamping authorities hold it against theirs.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use record::Clock as _;

use super::{Finding, Patient};
use crate::environment::SystemClock;

/// What a file system's clock may be apart from ours.
const APART: Duration = Duration::from_secs(2);
/// Where services that keep the clock right say that they do.
const SYNCHRONISED: [&str; 4] = [
    "/run/systemd/timesync/synchronized",
    "/run/chrony/chronyd.pid",
    "/run/chrony/chronyd.sock",
    "/run/ntpd.pid",
];

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let now = SystemClock.now();
    let mut findings = Vec::new();
    let checkpoint = patient.location.data_dir.join("log/checkpoint");
    if let Some(written) = modified(&checkpoint)
        && written > micros(now.0).saturating_add(APART)
    {
        findings.push(Finding::failed(
            format!(
                "it is {now}, and {} was written later than that",
                checkpoint.display()
            ),
            "set the clock, and find out why it was set back: records get the times it says",
        ));
    }
    if let Some(apart) = file_system(&patient.location.data_dir)
        && apart > APART
    {
        findings.push(Finding::warning(
            format!(
                "the file system's clock is {} s apart from this machine's",
                apart.as_secs()
            ),
            "synchronise both with the same time service (NTP)",
        ));
    }
    if findings.is_empty() {
        let kept = SYNCHRONISED.iter().any(|path| Path::new(path).exists());
        let how = if kept {
            "kept by a time service"
        } else {
            "no time service shows here; in a container that is the host's to run"
        };
        findings.push(Finding::ok(format!("it is {now}; {how}")));
    }
    findings
}

fn micros(value: i64) -> Duration {
    Duration::from_micros(u64::try_from(value).unwrap_or(0))
}

fn modified(path: &Path) -> Option<Duration> {
    let time = std::fs::metadata(path).ok()?.modified().ok()?;
    time.duration_since(UNIX_EPOCH).ok()
}

/// How far the clock is apart that stamps files in this directory.
fn file_system(dir: &Path) -> Option<Duration> {
    let file = tempfile::NamedTempFile::new_in(dir).ok()?;
    let there = modified(file.path())?;
    Some(there.abs_diff(micros(SystemClock.now().0)))
}
