//! How long a check takes beside reading the same files and hashing each entry.
//!
//! `cargo bench -p rlhf-audit-verify --bench verify` builds a log of 1 million records of about 500
//! bytes in a temporary directory (`VERIFY_BENCH_RECORDS` for another number, `VERIFY_BENCH_DIR` to
//! keep and reuse it) and prints, for one thread and two, seconds, the ratio to the baseline, and the
//! peak memory. Each figure is the best of five runs, each in a process of its own, files cached.

use std::env;
use std::error::Error;
use std::fs;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use testkit::log::{LogBuilder, preference};
use tlog::{EntryBundle, Policy, TileId, TileLevel, sha256};
use verify::{Options, Source, Verdict};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const RUNS: usize = 5;

fn main() -> Outcome<()> {
    let args: Vec<String> = env::args().collect();
    match args.iter().position(|arg| arg == "--child") {
        Some(at) => child(
            &args[at + 1],
            Path::new(&args[at + 2]),
            args[at + 3].parse()?,
        ),
        // `cargo test --benches` comes by without `--bench`: there is nothing to test here.
        None if args.iter().any(|arg| arg == "--bench") => parent(),
        None => Ok(()),
    }
}

fn parent() -> Outcome<()> {
    let records = env::var("VERIFY_BENCH_RECORDS").map_or(Ok(1_000_000), |n| n.parse::<usize>())?;
    let kept = env::var_os("VERIFY_BENCH_DIR").map(PathBuf::from);
    let temporary = tempfile::tempdir()?;
    let dir = kept.as_deref().unwrap_or(temporary.path());
    if !dir.join("checkpoint").exists() {
        generate(dir, records)?;
    }
    println!(
        "{:<10} {:>7} {:>9} {:>9} {:>10}",
        "what", "threads", "seconds", "ratio", "peak MB"
    );
    for threads in [1, 2] {
        let mut baseline = f64::NAN;
        for what in ["baseline", "hashes", "full"] {
            let (seconds, peak) = measure(what, dir, threads)?;
            if what == "baseline" {
                baseline = seconds;
            }
            let ratio = seconds / baseline;
            println!(
                "{what:<10} {threads:>7} {seconds:>9.3} {ratio:>9.2} {:>10.1}",
                peak / 1024.0
            );
        }
    }
    Ok(())
}

fn generate(dir: &Path, records: usize) -> Outcome<()> {
    let began = Instant::now();
    let mut log = LogBuilder::new(1);
    let mut left = records;
    let mut run = 0_u8;
    while left > 0 {
        run += 1;
        let in_run = left.min(records.div_ceil(10).max(1));
        left -= in_run;
        let mut owner = log.start_run(&format!("run {run}"), run);
        let mut ranks: Vec<_> = (0..4)
            .map(|rank| {
                log.stream(
                    owner.scope(),
                    &format!("rank{rank}"),
                    "annotators",
                    100 + rank,
                )
            })
            .collect();
        for step in 0..in_run {
            let rank = step / 100 % ranks.len();
            log.write(&mut ranks[rank], preference(step));
        }
        for rank in &mut ranks {
            log.sign(rank);
        }
        let written: Vec<_> = ranks.iter().filter(|rank| rank.head().is_some()).collect();
        log.seal(&mut owner, &written);
    }
    fs::create_dir_all(dir)?;
    log.write_to(dir)?;
    let bytes: usize = log.entries().iter().map(Vec::len).sum();
    println!(
        "{} records of {} bytes on average, built in {:.1} s",
        log.size(),
        bytes as u64 / log.size(),
        began.elapsed().as_secs_f64()
    );
    fs::write(dir.join("policy"), log.policy_text())?;
    Ok(())
}

/// The best time, and the highest memory, of some runs.
fn measure(what: &str, dir: &Path, threads: usize) -> Outcome<(f64, f64)> {
    let mut best = (f64::INFINITY, 0.0_f64);
    for _ in 0..RUNS {
        let output = Command::new(env::current_exe()?)
            .args(["--child", what])
            .arg(dir)
            .arg(threads.to_string())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let mut words = text.split_whitespace().map(str::parse::<f64>);
        let (Some(Ok(seconds)), Some(Ok(peak))) = (words.next(), words.next()) else {
            return Err(
                format!("{what}: {text}{}", String::from_utf8_lossy(&output.stderr)).into(),
            );
        };
        best = (best.0.min(seconds), best.1.max(peak));
    }
    Ok(best)
}

fn child(what: &str, dir: &Path, threads: usize) -> Outcome<()> {
    let policy = Policy::parse(&fs::read(dir.join("policy"))?)?;
    let began = Instant::now();
    if what == "baseline" {
        baseline(dir, &policy, threads)?;
    } else {
        let options = Options {
            hashes_only: what == "hashes",
            threads: NonZeroUsize::new(threads),
            ..Options::default()
        };
        let report = verify::log(&Source::directory(dir)?, &policy, &options)?;
        if report.verdict != Verdict::Verified {
            return Err(report.to_string().into());
        }
    }
    println!("{} {}", began.elapsed().as_secs_f64(), peak_kib()?);
    Ok(())
}

/// Reads every file that the check reads, and takes the SHA-256 of each entry.
fn baseline(dir: &Path, policy: &Policy, threads: usize) -> Outcome<()> {
    let size = policy
        .check(&fs::read(dir.join("checkpoint"))?)?
        .checkpoint
        .size;
    let next = AtomicU64::new(0);
    let work = || -> Outcome<u64> {
        let (mut entries, mut tile) = (Vec::new(), Vec::new());
        let mut hashed = 0;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(bundle) = TileId::entries(number, size) else {
                return Ok(hashed);
            };
            read(&dir.join(bundle.path()), &mut entries)?;
            for level in 0..8 {
                // Each tile of a higher level once, by whoever reads its first bundle.
                let below = 1_u64 << (8 * u32::from(level));
                let of = TileId::in_tree(TileLevel::Hashes(level), number / below, size);
                if let (true, Some(id)) = (number.is_multiple_of(below), of) {
                    read(&dir.join(id.path()), &mut tile)?;
                }
            }
            for entry in EntryBundle::new(&entries, bundle.width())? {
                std::hint::black_box(sha256(entry?));
                hashed += 1;
            }
        }
    };
    let hashed: u64 = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others
            .into_iter()
            .map(|other| {
                other
                    .join()
                    .unwrap_or_else(|_| Err("a thread panicked".into()))
            })
            .chain([mine])
            .sum::<Outcome<u64>>()
    })?;
    if hashed == size.get() {
        Ok(())
    } else {
        Err("not every entry was hashed".into())
    }
}

fn read(path: &Path, into: &mut Vec<u8>) -> Outcome<()> {
    into.clear();
    fs::File::open(path)?.read_to_end(into)?;
    Ok(())
}

fn peak_kib() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
