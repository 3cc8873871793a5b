//! What is kept follows from the log: a watch that starts again finds nothing twice and forgets nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use record::kinds::{MetricLogged, PolicyUpdated, RunStarted};
use record::{
    Clock, Draft, Entropy, ProducerName, PublicKey, Record, RunId, Scope, SigningKey, StreamName,
    StreamWriter, Timestamp,
};
use watch::{Finding, Rule, Settings, Watch};

const START: i64 = 1_795_420_800_000_000;

struct Ticking(AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1_000_000, Ordering::Relaxed))
    }
}

struct Seven;

impl Entropy for Seven {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

fn writer(scope: Scope, name: &str) -> StreamWriter {
    StreamWriter::open(
        scope,
        StreamName::parse(name).unwrap(),
        ProducerName::parse("tests").unwrap(),
        SigningKey::from_bytes(&[1; 32]),
        Arc::new(Ticking(AtomicI64::new(START))),
        Arc::new(Seven),
    )
}

fn run_id() -> RunId {
    RunId::parse("01KAQZB9G0VXA1ZD3Q4RW7M2PN").unwrap()
}

/// A log that grows, a run in it, and the server's own stream.
struct Log {
    records: Vec<Vec<u8>>,
    run: StreamWriter,
    server: StreamWriter,
}

impl Log {
    fn new() -> Self {
        let mut log = Self {
            records: Vec::new(),
            run: writer(run_id().into(), "rank0"),
            server: writer(Scope::Ledger, "server"),
        };
        let owner = PublicKey::from(&SigningKey::from_bytes(&[1; 32]));
        log.trained(Draft::new(RunStarted::new("replayed".to_owned(), owner)));
        log
    }

    fn trained(&mut self, draft: Draft) {
        let written = self.run.write(draft).unwrap();
        self.records
            .extend(written.into_iter().map(|one| one.record));
    }

    fn recorded(&mut self, finding: &Finding) {
        let written = self.server.write(finding.draft()).unwrap();
        self.records
            .extend(written.into_iter().map(|one| one.record));
    }

    /// So many updates at this divergence.
    fn updates(&mut self, count: u64, kl: f64) {
        for step in 0..count {
            let mut update = PolicyUpdated::new(step);
            update.kl = Some(kl + 0.1 * (step * 7 % 10) as f64);
            self.trained(Draft::new(update));
        }
    }

    fn show(&self, watch: &mut Watch) {
        for (index, bytes) in (0..).zip(&self.records).skip(watch.next() as usize) {
            watch.take(index, &Record::parse(bytes).unwrap(), Timestamp(START));
        }
    }
}

/// The log of a run that has drifted.
fn drifted() -> Log {
    let mut log = Log::new();
    log.updates(100, 5.0);
    log.updates(100, 11.0);
    log
}

#[test]
fn a_cause_is_found_once_with_the_records_that_show_it() {
    let log = drifted();
    let mut watch = Watch::new(Settings::default());
    log.show(&mut watch);
    let [finding] = watch.waiting() else {
        panic!("{:?}", watch.waiting());
    };
    assert_eq!((finding.rule, finding.run), (Rule::KlDrift, run_id()));
    assert_eq!(finding.detail.as_deref(), Some("up"));
    for index in &finding.evidence {
        let record = Record::parse(&log.records[*index as usize]).unwrap();
        let update: PolicyUpdated = record.decode().unwrap();
        assert!(update.kl.unwrap() > 10.0, "{update:?}");
    }
}

#[test]
fn a_watch_that_is_interrupted_anywhere_finds_the_same() {
    let log = drifted();
    let mut straight = Watch::new(Settings::default());
    log.show(&mut straight);
    for stop in (0..log.records.len()).step_by(17) {
        let mut watch = Watch::new(Settings::default());
        for (index, bytes) in (0..).zip(&log.records[..stop]) {
            watch.take(index, &Record::parse(bytes).unwrap(), Timestamp(START));
        }
        let mut watch = Watch::restore(Settings::default(), &watch.save()).unwrap();
        assert_eq!(watch.next(), stop as u64);
        log.show(&mut watch);
        assert_eq!(watch.waiting(), straight.waiting(), "{stop}");
    }
}

#[test]
fn what_stands_in_the_log_is_not_raised_again() {
    let mut log = drifted();
    let mut watch = Watch::new(Settings::default());
    log.show(&mut watch);
    let finding = watch.waiting()[0].clone();
    // It was recorded, and the process ended before it knew.
    log.recorded(&finding);
    log.updates(50, 11.0);
    let saved = watch.save();
    for mut again in [
        Watch::new(Settings::default()),
        Watch::restore(Settings::default(), &saved).unwrap(),
    ] {
        log.show(&mut again);
        assert_eq!(again.waiting(), []);
    }
    watch.settle(&finding);
    log.show(&mut watch);
    assert_eq!(watch.waiting(), []);
}

#[test]
fn what_somebody_else_calls_a_finding_changes_nothing() {
    let mut log = drifted();
    let mut watch = Watch::new(Settings::default());
    log.show(&mut watch);
    let finding = watch.waiting()[0].clone();
    log.trained(finding.draft());
    let mut forged = writer(Scope::Ledger, "server-2");
    for one in forged.write(finding.draft()).unwrap() {
        log.records.push(one.record);
    }
    log.show(&mut watch);
    assert_eq!(watch.waiting(), [finding]);
}

#[test]
fn a_stalled_run_is_found_when_the_clock_says_so_and_once() {
    let mut log = Log::new();
    for step in 0..20 {
        let mut logged = MetricLogged::new([("loss".to_owned(), 0.5)].into());
        logged.step = Some(step);
        log.trained(Draft::new(logged));
    }
    let mut watch = Watch::new(Settings::default());
    let later = |minutes: i64| Timestamp(START + minutes * 60_000_000);
    log.show(&mut watch);
    watch.look(later(1));
    assert_eq!(watch.waiting(), []);
    watch.look(later(62));
    let finding = watch.waiting()[0].clone();
    assert_eq!(finding.rule, Rule::RunStalled);
    assert_eq!(finding.evidence, [log.records.len() as u64 - 1]);
    log.recorded(&finding);
    let mut again = Watch::new(Settings::default());
    log.show(&mut again);
    again.look(later(63));
    again.look(later(300));
    assert_eq!(again.waiting(), []);
}

#[test]
fn what_is_kept_is_bounded_by_the_runs_that_are_open() {
    let settings = Settings {
        runs: 4,
        ..Settings::default()
    };
    let (mut watch, mut index) = (Watch::new(settings), 0);
    for number in 0..50u32 {
        let run = RunId::parse(&format!("01KAQZB9G0VXA1ZD3Q4RW7{number:04}")).unwrap();
        let mut stream = writer(run.into(), "rank0");
        for one in stream.write(Draft::new(PolicyUpdated::new(0))).unwrap() {
            watch.take(
                index,
                &Record::parse(&one.record).unwrap(),
                Timestamp(START + i64::from(number)),
            );
            index += 1;
        }
    }
    assert_eq!(watch.open_runs(), 4);
    assert_eq!(watch.next(), index);
}

#[test]
fn what_was_saved_by_nobody_is_not_restored() {
    for bytes in [
        &b""[..],
        b"{}",
        b"[1]",
        br#"{"format":9,"next":0,"runs":{},"waiting":[]}"#,
    ] {
        assert!(Watch::restore(Settings::default(), bytes).is_none());
    }
}
