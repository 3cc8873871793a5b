//! What a record costs: nanoseconds for `Record::parse` beside `serde_json` into a `Value` and
//! beside the leaf hash. Prints a table; asserts nothing.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use record::kinds::{AnnotationPreference, Choice};
use record::{
    Clock, Draft, Entropy, ProducerName, Pseudonym, Record, RunId, SigningKey, StreamName,
    StreamWriter, Subject, Timestamp, canonical, leaf_hash,
};
use serde_json::json;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_795_420_800_000_000)
    }
}

impl Entropy for Still {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// The best of several rounds: the machine may be doing other things.
fn nanos(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        let rounds = 2_000;
        let start = Instant::now();
        for _ in 0..rounds {
            work();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(rounds));
    }
    best
}

fn preference() -> Draft {
    Draft::new(AnnotationPreference {
        annotator: Some(Pseudonym::generate(&Still)),
        criterion: Some("helpfulness".into()),
        duration_ms: Some(41_250),
        item: Some("item-000123".into()),
        ..AnnotationPreference::new(Choice::A)
    })
    .seal("prompt", &json!("How do I bake bread?"), Subject::Run)
    .seal(
        "response_a",
        &json!("Mix flour, water, salt and yeast."),
        Subject::Run,
    )
    .seal("response_b", &json!("Buy it."), Subject::Run)
}

fn main() {
    let clock = Arc::new(Still);
    let mut stream = StreamWriter::open(
        RunId::generate(&Still, &Still).into(),
        StreamName::SERVER,
        ProducerName::parse("bench").expect("a good name"),
        SigningKey::from_bytes(&[1; 32]),
        clock.clone(),
        clock,
    );
    stream.write(preference()).expect("a good draft");
    // About 500 bytes, as most records of a log have.
    let submission = stream.write(preference()).expect("a good draft").remove(0);
    let record = submission.record.as_slice();
    let rows = [
        (
            "Record::parse",
            nanos(|| assert!(black_box(Record::parse(black_box(record))).is_ok())),
        ),
        (
            "canonical::check",
            nanos(|| _ = black_box(canonical::check(black_box(record)))),
        ),
        (
            "serde_json::from_slice::<Value>",
            nanos(|| {
                drop(black_box(serde_json::from_slice::<serde_json::Value>(
                    black_box(record),
                )));
            }),
        ),
        (
            "leaf_hash",
            nanos(|| _ = black_box(leaf_hash(black_box(record)))),
        ),
        (
            "StreamWriter::write, 3 sealed values",
            nanos(|| drop(black_box(stream.write(preference())))),
        ),
    ];
    let serde = rows[2].1;
    println!("a record of {} bytes", record.len());
    println!("{:<40}{:>10}{:>20}", "", "ns/record", "of serde_json");
    for (what, nanos) in rows {
        println!("{what:<40}{nanos:>10.0}{:>20.2}", nanos / serde);
    }
}
