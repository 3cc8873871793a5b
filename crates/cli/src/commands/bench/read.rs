//! `rlhf-audit bench read`: many readers, none of which believes what it reads.

use std::time::{Duration, Instant};

use record::Entropy as _;
use serde_json::{Value, json};
use verify::Verdict;

use super::fill::{fill, is_empty};
use super::host::{Host, HostArgs, word};
use super::latency::Latencies;
use super::reader::{Bad, Reader, Tiles};
use crate::environment::SystemEntropy;
use crate::outcome::{Failure, Outcome};

/// How often each reader looks for a newer checkpoint.
const REFRESH: Duration = Duration::from_millis(500);
const BUNDLE: u64 = 256;

/// Read with many clients at once; each verifies what it reads against checkpoints that it has checked for consistency
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many readers
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    clients: u32,
    /// For how long
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// What is read, at random places
    #[arg(long, value_enum, default_value = "bundles")]
    of: What,
    /// How many records a ledger of the tool's own is given first, where it is empty
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    records: u64,
    /// Do not verify the whole log at the end
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Bundles of 256 entries with the tiles above them, as a C2SP client reads
    Bundles,
    /// Single records, each with the server's proof of it
    Records,
}

pub(super) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let mut host = args.host.open()?;
    if host.own.is_some() && is_empty(&host) {
        fill(&host, args.records)?;
    }
    let begin = Instant::now();
    let until = begin + Duration::from_secs(args.seconds);
    let tiles = Tiles::new(host.client()?);
    let one = || reader(&host, &tiles, args.of, until);
    let tallies = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..args.clients).map(|_| scope.spawn(one)).collect();
        readers
            .into_iter()
            .map(|reader| {
                reader
                    .join()
                    .unwrap_or_else(|_| Err(Failure::unavailable("a reader died of a defect")))
            })
            .collect::<Result<Vec<_>, _>>()
    })?;
    let time = begin.elapsed();
    let mut tally = Tally::new();
    for one in &tallies {
        tally.merge(one);
    }
    let verdict = if args.no_verify {
        None
    } else {
        Some(host.verify()?)
    };
    if json {
        println!("{}", tally.json(args, time, verdict));
    } else {
        tally.print(args, time, verdict, &host);
    }
    let good = tally.bad.is_none() && verdict != Some(Verdict::Failed);
    Ok(if good { Outcome::True } else { Outcome::False })
}

/// What readers have done.
#[derive(Debug)]
struct Tally {
    reads: u64,
    records: u64,
    bytes: u64,
    grown: u64,
    /// With the verification: that is what a reader waits for.
    latencies: Latencies,
    unread: u64,
    why_unread: Option<String>,
    /// The first thing that was not true; its reader stopped there.
    bad: Option<String>,
}

fn reader(host: &Host, tiles: &Tiles, what: What, until: Instant) -> Result<Tally, Failure> {
    let mut tally = Tally::new();
    let client = host.client()?;
    let mut reader = match Reader::new(client, tiles.clone(), host.policy.clone()) {
        Ok(reader) => reader,
        Err(bad) => {
            tally.note(bad)?;
            return Ok(tally);
        }
    };
    if reader.size() == 0 {
        return Err(Failure::input("the log is empty: there is nothing to read"));
    }
    let mut places = Places::new();
    let mut refreshed = Instant::now();
    while Instant::now() < until && tally.bad.is_none() {
        if refreshed.elapsed() > REFRESH {
            refreshed = Instant::now();
            if let Err(bad) = reader.refresh() {
                tally.note(bad)?;
            }
        }
        let begin = Instant::now();
        let read = match what {
            What::Bundles => reader.bundle(places.below(reader.size().div_ceil(BUNDLE))),
            What::Records => reader.record(places.below(reader.size())),
        };
        match read {
            Ok(read) => {
                tally.latencies.add(begin.elapsed());
                tally.reads += 1;
                tally.records += read.records;
                tally.bytes += read.bytes;
            }
            Err(bad) => tally.note(bad)?,
        }
    }
    tally.grown = reader.grown;
    Ok(tally)
}

impl Tally {
    fn new() -> Self {
        Self {
            reads: 0,
            records: 0,
            bytes: 0,
            grown: 0,
            latencies: Latencies::new(),
            unread: 0,
            why_unread: None,
            bad: None,
        }
    }

    /// Counts what could not be read; what is false ends the reader; what will be refused for ever ends the tool.
    fn note(&mut self, bad: Bad) -> Result<(), Failure> {
        match bad {
            Bad::False(why) => self.bad = self.bad.take().or(Some(why)),
            Bad::Unread(failure) if failure.exit_code() == 2 => return Err(failure),
            Bad::Unread(failure) => {
                self.unread += 1;
                self.why_unread = Some(failure.to_string());
            }
        }
        Ok(())
    }

    fn merge(&mut self, one: &Self) {
        self.reads += one.reads;
        self.records += one.records;
        self.bytes += one.bytes;
        self.grown += one.grown;
        self.latencies.merge(&one.latencies);
        self.unread += one.unread;
        self.why_unread = self.why_unread.take().or_else(|| one.why_unread.clone());
        self.bad = self.bad.take().or_else(|| one.bad.clone());
    }

    fn json(&self, args: &Args, time: Duration, verdict: Option<Verdict>) -> Value {
        let per_second = |count: u64| count as f64 / time.as_secs_f64();
        json!({
            "clients": args.clients, "of": if args.of == What::Bundles { "bundles" } else { "records" },
            "seconds": time.as_secs_f64(),
            "reads": self.reads, "reads_per_second": per_second(self.reads),
            "records": self.records, "records_per_second": per_second(self.records),
            "bytes": self.bytes, "latency_ms": self.latencies.json(),
            "consistency_proofs": self.grown, "unread": self.unread, "why_unread": self.why_unread,
            "false": self.bad,
            "check": { "verdict": verdict.map(word) },
        })
    }

    fn print(&self, args: &Args, time: Duration, verdict: Option<Verdict>, host: &Host) {
        let seconds = time.as_secs_f64();
        println!("{} readers, {seconds:.1} s, {}", args.clients, host.name());
        println!(
            "reads      {}, {:.0}/s; {} could not be had{}",
            self.reads,
            self.reads as f64 / seconds,
            self.unread,
            self.why_unread
                .as_ref()
                .map(|why| format!(" ({why})"))
                .unwrap_or_default()
        );
        println!(
            "records    {}, {:.0}/s, {:.1} MB/s; each shown to be in the signed tree",
            self.records,
            self.records as f64 / seconds,
            self.bytes as f64 / 1e6 / seconds
        );
        println!("verified   {}", self.latencies);
        println!(
            "checked    {} newer checkpoints, each consistent with the one before",
            self.grown
        );
        if let Some(why) = &self.bad {
            println!("           FALSE: {why}");
        }
        match verdict {
            Some(verdict) => println!("           the whole log: {}", word(verdict)),
            None => println!("           the whole log was not verified (--no-verify)"),
        }
    }
}

/// Random places: any sequence does that no cache foresees (`SplitMix64`).
struct Places(u64);

impl Places {
    fn new() -> Self {
        let mut seed = [0; 8];
        SystemEntropy.fill(&mut seed);
        Self(u64::from_le_bytes(seed))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}
