//! A ledger in a temporary directory, and producers that write to it.
#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod shaky;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ledger::{AppendError, Ledger, Options, Principal, Receipt, Role};
use record::kinds::{AnnotationPreference, Choice, MetricLogged, RunStarted, RunStatus, StreamEnd};
use record::{
    Clock, Draft, Entropy, Hash, ProducerName, Pseudonym, PublicKey, RunId, Scope, SigningKey,
    StreamName, StreamWriter, Subject, Submission, Timestamp,
};
use serde_json::json;
use testkit::log::SeededEntropy;
use tlog::Policy;

/// A clock that goes on with the machine's, and can be set.
pub(crate) struct TestClock {
    start: Instant,
    offset: AtomicI64,
}

impl TestClock {
    /// 2026-11-23T08:00:00Z.
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            offset: AtomicI64::new(1_795_420_800_000_000),
        }
    }

    /// Jumps by so many seconds, back too.
    pub(crate) fn jump(&self, seconds: i64) {
        self.offset
            .fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.start.elapsed().as_micros() as i64;
        Timestamp(self.offset.load(Ordering::Relaxed) + elapsed)
    }
}

/// Never the same numbers twice, in any test process.
pub(crate) fn entropy() -> Arc<dyn Entropy> {
    static SEED: AtomicU64 = AtomicU64::new(0);
    let process = u64::from(std::process::id());
    Arc::new(SeededEntropy::new(
        process << 32 | SEED.fetch_add(1, Ordering::Relaxed),
    ))
}

pub(crate) fn options(clock: &Arc<TestClock>) -> Options {
    let mut options = Options::new(clock.clone(), entropy());
    options.publish_interval = Duration::from_millis(20);
    options
}

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) ledger: Ledger,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::new());
        let ledger = Ledger::create(dir.path(), options(&clock)).unwrap();
        Self { dir, clock, ledger }
    }

    /// Drops the ledger where it stands, and opens it again.
    pub(crate) fn reopen(self) -> Self {
        let Self { dir, clock, ledger } = self;
        drop(ledger);
        let ledger = Ledger::open(dir.path(), options(&clock)).unwrap();
        Self { dir, clock, ledger }
    }

    pub(crate) fn submit(
        &self,
        records: impl AsRef<[Submission]>,
    ) -> Result<Vec<Receipt>, AppendError> {
        self.ledger
            .submit(records.as_ref(), &Principal::local())
            .unwrap()
            .wait()
    }

    pub(crate) fn append(&self, records: Vec<Submission>) -> Vec<Receipt> {
        self.submit(records).unwrap()
    }

    pub(crate) fn start_run(&self, name: &str, key: u8) -> StreamWriter {
        let mut writer = self.writer(
            RunId::generate(&*self.clock, &*entropy()).into(),
            "main",
            key,
        );
        let started = RunStarted::new(name.to_owned(), writer.public_key());
        self.append(writer.write(Draft::new(started)).unwrap());
        writer
    }

    pub(crate) fn writer(&self, scope: Scope, stream: &str, key: u8) -> StreamWriter {
        StreamWriter::open(
            scope,
            StreamName::parse(stream).unwrap(),
            ProducerName::parse(&format!("trainer-{key}")).unwrap(),
            SigningKey::from_bytes(&[key; 32]),
            self.clock.clone(),
            entropy(),
        )
    }

    /// Waits until everything acknowledged so far is published.
    pub(crate) fn published(&self) -> u64 {
        let size = self.ledger.status().sequenced;
        assert!(
            self.ledger.wait_published(size, Duration::from_secs(20)),
            "{:?}",
            self.status()
        );
        size
    }

    pub(crate) fn status(&self) -> ledger::Status {
        self.ledger.status()
    }

    /// The whole log holds, sealed values too.
    pub(crate) fn verify(&self) -> verify::Report {
        self.published();
        verify_dir(&self.ledger)
    }
}

/// Checks the ledger's directory with what an auditor has, and its sealed values besides.
pub(crate) fn verify_dir(ledger: &Ledger) -> verify::Report {
    let opener = ledger.opener();
    let options = verify::Options {
        openings: Some(&opener),
        ..verify::Options::default()
    };
    let source = verify::Source::directory(ledger.dir()).unwrap();
    let report = verify::log(&source, &policy(ledger), &options).unwrap();
    assert_eq!(report.verdict(), verify::Verdict::Verified, "{report:#?}");
    report
}

pub(crate) fn policy(ledger: &Ledger) -> Policy {
    Policy::parse(ledger.policy().as_bytes()).unwrap()
}

pub(crate) fn metric(value: f64) -> Draft {
    Draft::new(MetricLogged::new([("loss".to_owned(), value)].into()))
}

pub(crate) fn preference(annotator: Pseudonym) -> Draft {
    let mut body = AnnotationPreference::new(Choice::A);
    body.annotator = Some(annotator);
    Draft::new(body)
        .seal("prompt", &json!("what is a ledger?"), Subject::Run)
        .seal("response_a", &json!("a book"), Subject::Run)
        .seal("response_b", &json!("a ledge"), Subject::Run)
        .seal(
            "annotator_id",
            &json!("jane@example.org"),
            Subject::Person(annotator),
        )
}

/// The ends of all streams of a run but the owner's own.
pub(crate) fn ends(ledger: &Ledger, run: RunId, own: StreamName) -> Vec<StreamEnd> {
    ledger
        .streams(run)
        .unwrap()
        .iter()
        .filter(|head| head.stream != own)
        .map(|head| StreamEnd::new(head.stream, head.next_seq - 1, head.head.into()))
        .collect()
}

pub(crate) fn seal(fixture: &Fixture, owner: &mut StreamWriter) -> u64 {
    let run = owner.scope().run().unwrap();
    let ends = ends(&fixture.ledger, run, owner.stream());
    let sealed = owner.seal(RunStatus::Completed, ends).unwrap();
    fixture.append(vec![sealed])[0].index
}

pub(crate) fn producer(id: &str) -> Principal {
    Principal::new(id, Role::Producer)
}

pub(crate) fn leaf(submission: &Submission) -> Hash {
    tlog::leaf_hash(&submission.record)
}

pub(crate) fn key(byte: u8) -> PublicKey {
    PublicKey::from(&SigningKey::from_bytes(&[byte; 32]))
}

pub(crate) fn exists(dir: &Path, path: &str) -> bool {
    dir.join(path).exists()
}
