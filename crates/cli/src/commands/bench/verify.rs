//! `rlhf-audit bench verify`: how long a check takes beside reading the same files and hashing each entry.

use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};
use tlog::{EntryBundle, Policy, TileId, TileLevel};
use verify::{Options, Source, Verdict};

use super::fill::{fill, is_empty};
use super::host::{HostArgs, word};
use super::own::cpu_seconds;
use crate::outcome::{Failure, Outcome};

/// Time `verify` beside reading the same files and taking the SHA-256 of each entry
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Measure on the ledger in this directory [default: one that is made and thrown away]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Make the ledger that is thrown away below this directory
    #[arg(long, value_name = "DIR", conflicts_with = "data_dir")]
    below: Option<PathBuf>,
    /// How many records of 500 bytes that one has
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    records: u64,
    /// With how many threads; may be repeated [default: 1 and all cores]
    #[arg(long, value_name = "N")]
    threads: Vec<NonZeroUsize>,
    /// How often each is done, in turns; the best counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// What is timed, in the order of the columns.
const WHAT: [&str; 3] = ["read and hash", "verify --hashes", "verify"];

pub(super) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let mut host = HostArgs::own(args.data_dir.as_deref(), args.below.as_deref()).open()?;
    if is_empty(&host) {
        fill(&host, args.records)?;
    }
    let Some(own) = host.own.as_mut() else {
        return Err(Failure::input("there is no directory to measure on"));
    };
    own.stop()?;
    let log = own.dir().join("log");
    let threads = threads(&args.threads);
    let mut timings: Vec<Timing> = threads.iter().map(|n| Timing::new(*n)).collect();
    let mut verdict = Verdict::Verified;
    let mut records = 0;
    // In turns, so that whatever else the machine does falls on all alike.
    for _ in 0..args.rounds {
        for timing in &mut timings {
            let threads = timing.threads;
            timing.take(0, || {
                records = read_and_hash(&log, &host.policy, threads.get())?;
                Ok(())
            })?;
            for (at, hashes_only) in [(1, true), (2, false)] {
                let options = Options {
                    hashes_only,
                    threads: Some(threads),
                    ..Options::default()
                };
                let source = Source::directory(&log).map_err(Failure::unavailable)?;
                let report = timing.take(at, || {
                    verify::log(&source, &host.policy, &options).map_err(Failure::unavailable)
                })?;
                if report.verdict() != Verdict::Verified {
                    verdict = report.verdict();
                }
            }
        }
    }
    if json {
        let rows: Vec<Value> = timings.iter().map(Timing::json).collect();
        println!(
            "{}",
            json!({ "records": records, "rounds": args.rounds, "timings": rows, "verdict": word(verdict) })
        );
    } else {
        print(records, args.rounds, &timings);
        println!("the log: {}", word(verdict));
    }
    Ok(if verdict == Verdict::Failed {
        Outcome::False
    } else {
        Outcome::True
    })
}

fn threads(given: &[NonZeroUsize]) -> Vec<NonZeroUsize> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let all = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut threads = vec![NonZeroUsize::MIN, all];
    threads.dedup();
    threads
}

/// The best times with one number of threads, in the order of [`WHAT`].
struct Timing {
    threads: NonZeroUsize,
    seconds: [f64; 3],
    cpu_seconds: [f64; 3],
}

impl Timing {
    fn new(threads: NonZeroUsize) -> Self {
        Self {
            threads,
            seconds: [f64::INFINITY; 3],
            cpu_seconds: [f64::INFINITY; 3],
        }
    }

    fn take<T>(
        &mut self,
        at: usize,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let cpu = || cpu_seconds(std::process::id()).unwrap_or(f64::NAN);
        let (begin, cpu_before) = (Instant::now(), cpu());
        let out = work()?;
        self.seconds[at] = self.seconds[at].min(begin.elapsed().as_secs_f64());
        self.cpu_seconds[at] = self.cpu_seconds[at].min(cpu() - cpu_before);
        Ok(out)
    }

    fn json(&self) -> Value {
        let of = |at: usize| {
            json!({
                "seconds": self.seconds[at], "cpu_seconds": self.cpu_seconds[at],
                "ratio": self.seconds[at] / self.seconds[0],
                "cpu_ratio": self.cpu_seconds[at] / self.cpu_seconds[0],
            })
        };
        json!({ "threads": self.threads, "read_and_hash": of(0), "hashes": of(1), "full": of(2) })
    }
}

fn print(records: u64, rounds: u32, timings: &[Timing]) {
    println!("{records} records, best of {rounds}, files cached");
    println!(
        "{:<16} {:>7} {:>9} {:>6} {:>12} {:>6}",
        "", "threads", "seconds", "ratio", "cpu seconds", "ratio"
    );
    for timing in timings {
        for (at, what) in WHAT.iter().enumerate() {
            println!(
                "{what:<16} {:>7} {:>9.3} {:>6.2} {:>12.2} {:>6.2}",
                timing.threads,
                timing.seconds[at],
                timing.seconds[at] / timing.seconds[0],
                timing.cpu_seconds[at],
                timing.cpu_seconds[at] / timing.cpu_seconds[0],
            );
        }
    }
}

/// Reads every file that a check reads, and takes the SHA-256 of each entry; gives their number.
fn read_and_hash(log: &Path, policy: &Policy, threads: usize) -> Result<u64, Failure> {
    let note = std::fs::read(log.join("checkpoint")).map_err(Failure::unavailable)?;
    let checked = policy.check(&note).map_err(Failure::unavailable)?;
    let size = checked.checkpoint.size;
    let next = AtomicU64::new(0);
    let work = || -> Result<u64, Failure> {
        // Reused from file to file, as a reader in a hurry would.
        let (mut entries, mut tile) = (Vec::new(), Vec::new());
        let mut hashed = 0;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(bundle) = TileId::entries(number, size) else {
                return Ok(hashed);
            };
            for level in 0..8 {
                // Each tile of a higher level once, by whoever reads its first bundle.
                let below = 1_u64 << (8 * u32::from(level));
                let of = TileId::in_tree(TileLevel::Hashes(level), number / below, size);
                if let (true, Some(id)) = (number.is_multiple_of(below), of) {
                    read(log, id, &mut tile)?;
                }
            }
            read(log, bundle, &mut entries)?;
            for entry in EntryBundle::new(&entries, bundle.width()).map_err(Failure::unavailable)? {
                let entry = entry.map_err(Failure::unavailable)?;
                std::hint::black_box(tlog::sha256(entry));
                hashed += 1;
            }
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others
            .into_iter()
            .map(|other| {
                other
                    .join()
                    .unwrap_or_else(|_| Err(Failure::unavailable("a thread died of a defect")))
            })
            .chain([mine])
            .sum()
    })
}

fn read(log: &Path, id: TileId, into: &mut Vec<u8>) -> Result<(), Failure> {
    let path = log.join(id.path());
    into.clear();
    std::fs::File::open(&path)
        .and_then(|mut file| file.read_to_end(into))
        .map(drop)
        .map_err(|e| Failure::unavailable(format!("cannot read {}: {e}", path.display())))
}
