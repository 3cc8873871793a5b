//! What a call of the spool costs its caller: microseconds for one record and for each of a hundred, beside a plain
//! append of the same bytes to a file. Prints a table; asserts nothing.
//!
//! Without a server, or with `SPOOL_SERVER` and `SPOOL_TOKEN` one that takes what is written meanwhile. `SPOOL_BENCH_DIR`
//! is where the spool lies (default: the system's temporary directory; a tmpfs measures no disk).

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::spool::{Durability, RunSpec, Spool, SpoolOptions, SpooledStream, Target, WhenFull};
use record::kinds::{AnnotationPreference, Choice, MetricLogged};
use record::{Clock, Draft, Entropy, ProducerName, Pseudonym, StreamName, Subject, Timestamp};
use serde_json::json;

struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "what a caller pays is measured")]
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp(now.map_or(0, |now| now.as_micros() as i64))
    }
}

impl Entropy for System {
    #[expect(clippy::disallowed_methods, reason = "what a caller pays is measured")]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

fn metric(number: u64) -> Draft {
    let names = ["loss", "grad_norm", "learning_rate", "rewards/margins"];
    let values = names.map(|name| (name.to_owned(), number as f64 / 7.0));
    Draft::new(MetricLogged::new(values.into()))
}

/// What `log_annotations` makes of one pair: prompt, two responses and the annotator are sealed.
fn preference(number: u64) -> Draft {
    let annotator = Pseudonym::generate(&System);
    let text = "Mix flour, water, salt and yeast, and leave it alone for a night. ".repeat(8);
    Draft::new(AnnotationPreference {
        annotator: Some(annotator),
        criterion: Some("helpfulness".into()),
        item: Some(format!("item-{number:06}")),
        ..AnnotationPreference::new(Choice::A)
    })
    .seal("prompt", &json!("How do I bake bread?"), Subject::Run)
    .seal("response_a", &json!(text), Subject::Run)
    .seal("response_b", &json!("Buy it."), Subject::Run)
    .seal(
        "annotator_id",
        &json!("jane@example.org"),
        Subject::Person(annotator),
    )
}

/// Sorted times of calls, in microseconds a record.
struct Times(Vec<f64>);

impl Times {
    fn at(&self, percent: usize) -> f64 {
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

/// Calls for three seconds; what is only prepared is not counted.
fn measure<T>(batch: u64, prepare: impl Fn(u64) -> T, mut call: impl FnMut(T)) -> Times {
    let end = Instant::now() + Duration::from_secs(3);
    let (mut times, mut number) = (Vec::new(), 0);
    while Instant::now() < end {
        let prepared = prepare(number);
        number += batch;
        let began = Instant::now();
        call(prepared);
        times.push(began.elapsed().as_secs_f64() * 1e6 / batch as f64);
    }
    times.sort_by(f64::total_cmp);
    Times(times)
}

/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9";

/// How many bytes a call's lines have.
fn call_bytes(drafts: Vec<Draft>) -> usize {
    let dir = tempfile::tempdir().expect("a directory");
    let (spool, stream) = open(dir.path(), NOWHERE.to_owned(), Durability::Process);
    let before = spool.status().waiting_bytes;
    stream.write_all(drafts).expect("there is room");
    (spool.status().waiting_bytes - before) as usize
}

fn open(dir: &Path, url: String, durability: Durability) -> (Spool, SpooledStream) {
    let token = std::env::var("SPOOL_TOKEN").ok();
    let mut options = SpoolOptions::new(
        dir,
        Target::new(url, token),
        ProducerName::parse("bench").expect("a good name"),
        Arc::new(System),
        Arc::new(System),
    );
    options.durability = durability;
    options.limit_bytes = 64 << 30;
    options.when_full = WhenFull::Fail;
    let spool = Spool::open(options).expect("the spool opens");
    let rank0 = StreamName::parse("rank0").expect("a good name");
    let stream = spool
        .start_run(RunSpec::new("bench", rank0))
        .expect("the run starts");
    (spool, stream)
}

fn row(what: &str, dir: &Path, batch: u64, draft: fn(u64) -> Draft, durability: Durability) {
    let dir = tempfile::tempdir_in(dir).expect("a directory");
    let url = std::env::var("SPOOL_SERVER").unwrap_or_else(|_| NOWHERE.to_owned());
    let (spool, stream) = open(&dir.path().join("spool"), url, durability);
    let drafts = |first| (first..first + batch).map(draft).collect::<Vec<_>>();
    let ours = measure(batch, drafts, |drafts| {
        stream.write_all(drafts).expect("there is room");
    });
    drop((stream, spool));
    let bytes = call_bytes(drafts(0));
    let mut file = File::create(dir.path().join("plain")).expect("a file");
    let block = vec![b'x'; bytes];
    let plain = measure(
        batch,
        |_| (),
        |()| {
            file.write_all(&block).expect("there is room");
            if durability == Durability::Machine {
                file.sync_data().expect("the disk syncs");
            }
        },
    );
    println!(
        "{what:<44}{:>8}{:>10.2}{:>10.2}{:>10.2}{:>10.2}{:>8.1}",
        bytes / batch as usize,
        ours.at(50),
        ours.at(99),
        plain.at(50),
        plain.at(99),
        ours.at(50) / plain.at(50),
    );
}

fn main() {
    let dir = std::env::var_os("SPOOL_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    println!("µs a record");
    println!(
        "{:<44}{:>8}{:>10}{:>10}{:>10}{:>10}{:>8}",
        "", "bytes", "spool p50", "p99", "plain p50", "p99", "ratio"
    );
    let process = Durability::Process;
    row("metric.logged, 1 a call", &dir, 1, metric, process);
    row("metric.logged, 100 a call", &dir, 100, metric, process);
    row(
        "annotation.preference, 4 sealed, 1 a call",
        &dir,
        1,
        preference,
        process,
    );
    row(
        "annotation.preference, 4 sealed, 100 a call",
        &dir,
        100,
        preference,
        process,
    );
    let machine = Durability::Machine;
    row(
        "metric.logged, 1 a call, on the disk",
        &dir,
        1,
        metric,
        machine,
    );
    row(
        "metric.logged, 100 a call, on the disk",
        &dir,
        100,
        metric,
        machine,
    );
}
