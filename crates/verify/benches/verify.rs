//! How long a check takes beside reading the same files and hashing each entry.
//!
//! `cargo bench -p rlhf-audit-verify --bench verify` builds a log of 1 million records of about 500
//! bytes in a temporary directory (`VERIFY_BENCH_RECORDS` for another number, `VERIFY_BENCH_DIR` to
//! keep and reuse it) and prints, for one thread and two, seconds, processor seconds, their ratios to
//! the baseline, and the peak memory. Each figure is the best of seven runs, each in a process of its
//! own, files cached. On a busy machine the processor seconds are the ones to look at.

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

const RUNS: usize = 7;
const KINDS: [&str; 3] = ["baseline", "hashes", "full"];
const THREADS: [usize; 2] = [1, 2];

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
    // Taken in turns, so that whatever else the machine does falls on all alike.
    let mut best = [[Measured::default(); KINDS.len()]; THREADS.len()];
    for _ in 0..RUNS {
        for (threads, row) in THREADS.iter().zip(&mut best) {
            for (kind, cell) in KINDS.iter().zip(row) {
                cell.take(&measure(kind, dir, *threads)?);
            }
        }
    }
    println!("what       threads  seconds  ratio  cpu seconds  cpu ratio  peak MB");
    for (threads, row) in THREADS.iter().zip(&best) {
        let baseline = &row[0];
        for (kind, m) in KINDS.iter().zip(row) {
            println!(
                "{kind:<10} {threads:>7} {:>8.3} {:>6.2} {:>12.2} {:>10.2} {:>8.1}",
                m.seconds,
                m.seconds / baseline.seconds,
                m.cpu_seconds,
                m.cpu_seconds / baseline.cpu_seconds,
                m.peak_kib / 1024.0
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

/// The best times, and the highest memory, of some runs.
#[derive(Clone, Copy)]
struct Measured {
    seconds: f64,
    cpu_seconds: f64,
    peak_kib: f64,
}

impl Default for Measured {
    fn default() -> Self {
        Self {
            seconds: f64::INFINITY,
            cpu_seconds: f64::INFINITY,
            peak_kib: 0.0,
        }
    }
}

impl Measured {
    fn take(&mut self, other: &Self) {
        self.seconds = self.seconds.min(other.seconds);
        self.cpu_seconds = self.cpu_seconds.min(other.cpu_seconds);
        self.peak_kib = self.peak_kib.max(other.peak_kib);
    }
}

fn measure(kind: &str, dir: &Path, threads: usize) -> Outcome<Measured> {
    let output = Command::new(env::current_exe()?)
        .args(["--child", kind])
        .arg(dir)
        .arg(threads.to_string())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let words: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [seconds, cpu_seconds, peak_kib] = words[..] else {
        return Err(format!("{kind}: {text}{}", String::from_utf8_lossy(&output.stderr)).into());
    };
    Ok(Measured {
        seconds,
        cpu_seconds,
        peak_kib,
    })
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
    println!(
        "{} {} {}",
        began.elapsed().as_secs_f64(),
        cpu_seconds()?,
        peak_kib()?
    );
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

/// Time on all threads: clock ticks of a hundredth (proc(5), fields 14 and 15).
fn cpu_seconds() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name before may hold anything, but ends in the last parenthesis.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<_, _>>()?;
    Ok(ticks as f64 / 100.0)
}

fn peak_kib() -> Outcome<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
