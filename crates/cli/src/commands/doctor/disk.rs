//! The disk under the data directory: room, how long a flush takes, and whether it is a disk at all.

use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Finding, Patient};
use crate::vanishing;

/// Less room than this is too little to go on with.
const LITTLE: u64 = 256 << 20;
/// Less than this will be soon.
const SOME: u64 = 2 << 30;
/// Nothing that survives a loss of power flushes faster.
const TOO_FAST: Duration = Duration::from_micros(8);
/// Every append waits for a flush.
const SLOW: Duration = Duration::from_millis(20);
const FLUSHES: usize = 32;
const BLOCK: usize = 4_096;

/// File systems by their magic numbers (statfs(2)) that are not where a ledger should be, and why.
#[cfg(target_os = "linux")]
const STRANGE: [(rustix::fs::FsWord, &str, bool, &str); 7] = [
    (
        0x0102_1994,
        "tmpfs",
        true,
        "in memory: everything is gone when the machine or container stops",
    ),
    (
        0x8584_58f6,
        "ramfs",
        true,
        "in memory: everything is gone when the machine or container stops",
    ),
    (
        0x794c_7630,
        "overlayfs",
        false,
        "a container's own layer, which goes with the container",
    ),
    (
        0x6969,
        "nfs",
        false,
        "a network file system: its locks and flushes are another machine's word",
    ),
    (
        0xff53_4d42,
        "cifs",
        false,
        "a network file system: its locks and flushes are another machine's word",
    ),
    (
        0xfe53_4d42,
        "smb2",
        false,
        "a network file system: its locks and flushes are another machine's word",
    ),
    (
        0x6573_5546,
        "fuse",
        false,
        "a file system in a program, whose flushes are that program's word",
    ),
];

pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let dir = nearest(&patient.location.data_dir);
    let mut findings = vec![room(&dir)];
    findings.extend(kind(&dir).or_else(|| volume(&dir)));
    if std::env::var("LD_PRELOAD").is_ok_and(|libraries| libraries.contains("eatmydata")) {
        findings.push(Finding::failed(
            "LD_PRELOAD names libeatmydata, which makes flushing do nothing",
            "start without it: what is acknowledged would be lost with the power",
        ));
    }
    findings.push(flushing(&dir));
    findings
}

/// The directory, or the nearest above it that is there.
fn nearest(dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let there = absolute.ancestors().find(|path| path.is_dir());
    there.unwrap_or(Path::new("/")).to_owned()
}

fn room(dir: &Path) -> Finding {
    let shown = dir.display();
    let found = match rustix::fs::statvfs(dir) {
        Ok(found) => found,
        Err(error) => {
            return Finding::failed(
                format!("{shown}: {error}"),
                "mount it again, or look after the disk",
            );
        }
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let all = found.f_blocks.saturating_mul(found.f_frsize);
    let said = format!(
        "{} MiB of {} MiB are free in {shown}",
        free >> 20,
        all >> 20
    );
    let advice = "make room, or move the ledger (rlhf-audit migrate); docs/operations/sizing.md says how much it needs";
    // A file system that counts no inodes says 0 of 0.
    if found.f_files > 0 && found.f_favail < 1_000 {
        let said = format!("{said}, and {} inodes", found.f_favail);
        return Finding::failed(said, advice);
    }
    if free < LITTLE {
        Finding::failed(said, advice)
    } else if free < SOME {
        Finding::warning(said, advice)
    } else {
        Finding::ok(said)
    }
}

#[cfg(not(target_os = "linux"))]
fn kind(_: &Path) -> Option<Finding> {
    None
}

#[cfg(target_os = "linux")]
fn kind(dir: &Path) -> Option<Finding> {
    let magic = rustix::fs::statfs(dir).ok()?.f_type;
    let (_, name, bad, why) = STRANGE.iter().find(|(known, ..)| *known == magic)?;
    let said = format!("{} is on {name}, {why}", dir.display());
    let advice = "put the data directory on a local disk: in a container, on a volume";
    Some(if *bad {
        Finding::failed(said, advice)
    } else {
        Finding::warning(said, advice)
    })
}

/// What its mount says, where its file system says nothing: a container's volume that will not stay.
fn volume(dir: &Path) -> Option<Finding> {
    let why = vanishing::of_directory(dir)?;
    Some(Finding::warning(
        format!("{} is on {why}", dir.display()),
        "mount a volume with a name, or a directory of the host, at the data directory",
    ))
}

fn flushing(dir: &Path) -> Finding {
    let times = match flushes(dir) {
        Ok(times) => times,
        Err(error) => {
            return Finding::failed(
                format!("nothing can be written in {}: {error}", dir.display()),
                "let the user that the server runs as write there, and make room",
            );
        }
    };
    let median = times[times.len() / 2];
    let worst = times.last().copied().unwrap_or_default();
    let said = format!(
        "a flush takes {} µs, and {} µs at worst",
        median.as_micros(),
        worst.as_micros()
    );
    if median < TOO_FAST {
        Finding::warning(
            format!("{said}: no disk is that fast, so the file system seems not to flush"),
            "find out what is below it (a virtual disk with an unsafe cache, a sandbox): with the power, what was \
             acknowledged may be lost",
        )
    } else if median > SLOW {
        Finding::warning(
            format!("{said}: every append waits for one"),
            "use a faster disk, or append in batches",
        )
    } else {
        Finding::ok(said)
    }
}

/// How long it takes to write a block and have it on the disk, from the fastest to the slowest.
fn flushes(dir: &Path) -> io::Result<Vec<Duration>> {
    let mut file = tempfile::tempfile_in(dir)?;
    let mut times = Vec::with_capacity(FLUSHES);
    for number in 0..FLUSHES {
        file.seek(io::SeekFrom::Start((number * BLOCK) as u64))?;
        file.write_all(&[number as u8; BLOCK])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}
