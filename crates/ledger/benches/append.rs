//! How fast records become durable, beside what the disk can do.
//!
//! `cargo bench -p rlhf-audit-ledger` prints ratios: one client that appends one record at a time
//! against a loop of append and fdatasync of the same bytes in the same directory, and 16 clients
//! with 100 records in a request. `BENCH_DIR` chooses the disk.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ledger::{Ledger, Options, Principal};
use record::kinds::{PolicyUpdated, RunStarted};
use record::{Draft, ProducerName, RunId, Scope, SigningKey, StreamName, StreamWriter, Submission};
use testkit::log::{SeededEntropy, StepClock};

const SINGLE: usize = 4_000;
const TURN: usize = 50;
const ROUNDS: usize = 5;
const CLIENTS: u8 = 16;
const BATCH: usize = 100;
const LOAD: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let parent = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent)?;
    let clock = Arc::new(StepClock::new(1_000));
    let options = Options::new(clock.clone(), Arc::new(SeededEntropy::new(7)));
    let ledger = Ledger::create(&dir.path().join("ledger"), options)?;
    let run = RunId::generate(&*clock, &SeededEntropy::new(8));
    let mut main = writer(run.into(), "main", &clock);
    let start = RunStarted::new("bench".to_owned(), main.public_key());
    append(&ledger, &main.write(Draft::new(start))?)?;

    single(&ledger, dir.path(), &mut main)?;
    batches(&ledger, run.into(), &clock)?;
    ledger.close()?;
    Ok(())
}

/// One client, one record at a time, by short turns with the bare disk so that both see the same
/// disk and the same load.
fn single(ledger: &Ledger, dir: &Path, writer: &mut StreamWriter) -> Result<(), Failure> {
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let records = records(writer, SINGLE)?;
        let (count, bytes) = (
            records.len(),
            records.iter().map(|s| s.record.len()).sum::<usize>(),
        );
        let mut file = File::create(dir.join(format!("loop-{round}")))?;
        let (mut bare, mut ours) = (Duration::ZERO, Duration::ZERO);
        for turn in records.chunks(TURN) {
            let begin = Instant::now();
            for submission in turn {
                file.write_all(&submission.record)?;
                file.sync_data()?;
            }
            bare += begin.elapsed();
            let turn = turn.to_vec();
            let begin = Instant::now();
            for submission in turn {
                append(ledger, &[submission])?;
            }
            ours += begin.elapsed();
        }
        let (bare, ours) = (rate(count, bare), rate(count, ours));
        println!(
            "one client, one record of {} bytes at a time: {ours:.0}/s, \
             append and fdatasync: {bare:.0}/s, ratio {:.2}",
            bytes / count,
            ours / bare
        );
        ratios.push(ours / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "ratio, median of {ROUNDS}: {:.2} (wanted: 0.70)",
        ratios[ROUNDS / 2]
    );
    Ok(())
}

/// 16 clients, 100 records in a request, and how far publication is behind.
fn batches(ledger: &Ledger, run: Scope, clock: &Arc<StepClock>) -> Result<(), Failure> {
    let done = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    let begin = Instant::now();
    let (mut lags, elapsed) = thread::scope(|scope| -> Result<_, Failure> {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let (done, count) = (&done, &count);
                scope.spawn(move || -> Result<(), Failure> {
                    let mut writer = writer(run, &format!("rank{n}"), clock);
                    while !done.load(Ordering::Relaxed) {
                        let batch = records(&mut writer, BATCH)?;
                        count.fetch_add(batch.len() as u64, Ordering::Relaxed);
                        append(ledger, &batch)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let mut lags = Vec::new();
        while begin.elapsed() < LOAD {
            let (size, asked) = (ledger.status().sequenced, Instant::now());
            ledger.wait_published(size, Duration::from_mins(1));
            lags.push(asked.elapsed());
            thread::sleep(Duration::from_millis(7));
        }
        done.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().map_err(|_| "a client panicked")??;
        }
        Ok((lags, begin.elapsed()))
    })?;
    let appended = rate(count.load(Ordering::Relaxed) as usize, elapsed);
    let size = ledger.status().sequenced;
    ledger.wait_published(size, Duration::from_mins(1));
    let published = rate(count.load(Ordering::Relaxed) as usize, begin.elapsed());
    lags.sort_unstable();
    let at = |percent: usize| lags[(lags.len() - 1) * percent / 100].as_millis();
    println!(
        "{CLIENTS} clients, {BATCH} records a request (made by the clients): {appended:.0} records/s \
         durable, {published:.0} records/s published; acknowledged to published: median {} ms, \
         p99 {} ms",
        at(50),
        at(99)
    );
    Ok(())
}

fn writer(scope: Scope, stream: &str, clock: &Arc<StepClock>) -> StreamWriter {
    StreamWriter::open(
        scope,
        StreamName::parse(stream).expect("a stream's name"),
        ProducerName::parse("bench").expect("a producer's name"),
        SigningKey::from_bytes(&[1; 32]),
        clock.clone(),
        Arc::new(SeededEntropy::new(9)),
    )
}

/// Records of about 500 bytes.
fn records(writer: &mut StreamWriter, count: usize) -> Result<Vec<Submission>, Failure> {
    let mut records = Vec::with_capacity(count + 2);
    for step in 0..count {
        let mut body = PolicyUpdated::new(step as u64);
        body.loss = Some(0.543_210_98);
        body.kl = Some(0.011_234_5);
        body.reward_mean = Some(1.234_567_8);
        body.gradient_norm = Some(0.987_654_3);
        body.learning_rate = Some(0.000_001_41);
        body.module_norms = Some(
            (0..5)
                .map(|n| (format!("layer.{n}.weight"), 0.123_456))
                .collect(),
        );
        records.extend(writer.write(Draft::new(body))?);
    }
    Ok(records)
}

fn append(ledger: &Ledger, records: &[Submission]) -> Result<(), Failure> {
    ledger
        .submit_blocking(records, &Principal::local())?
        .wait()?;
    Ok(())
}

fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
