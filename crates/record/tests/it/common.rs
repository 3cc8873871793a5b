//! A clock that a test sets and randomness that is the same each time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use record::kinds::*;
use record::*;
use serde_json::json;

/// 2026-11-23T08:00:00.000000Z.
pub(crate) const START: i64 = 1_795_420_800_000_000;

/// Advances by one millisecond whenever it is asked.
pub(crate) struct TestClock(pub(crate) AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1_000, Ordering::Relaxed))
    }
}

/// SHA-256 of a counter: the same bytes in each test.
pub(crate) struct TestEntropy(pub(crate) AtomicU64);

impl Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let count = self.0.fetch_add(1, Ordering::Relaxed);
            chunk.copy_from_slice(&tlog::sha256(&count.to_be_bytes())[..chunk.len()]);
        }
    }
}

pub(crate) fn clock() -> Arc<TestClock> {
    Arc::new(TestClock(AtomicI64::new(START)))
}

pub(crate) fn entropy() -> Arc<TestEntropy> {
    Arc::new(TestEntropy(AtomicU64::new(0)))
}

/// The key of RFC 8032 §7.1, test 1, and others made like it.
pub(crate) fn signing_key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&tlog::sha256(&[number]))
}

pub(crate) fn run_id() -> RunId {
    RunId::parse("01KAQZB9G0VXA1ZD3Q4RW7M2PN").unwrap()
}

pub(crate) fn annotator() -> Pseudonym {
    Pseudonym::parse("p-0h3qkz8t1v5x7y9b2d4f6g8j0k").unwrap()
}

pub(crate) fn stream(name: &str) -> StreamName {
    StreamName::parse(name).unwrap()
}

pub(crate) fn writer(name: &str, key: u8) -> StreamWriter {
    writer_in(run_id().into(), name, key)
}

pub(crate) fn writer_in(scope: Scope, name: &str, key: u8) -> StreamWriter {
    StreamWriter::open(
        scope,
        stream(name),
        ProducerName::parse("trainer").unwrap(),
        signing_key(key),
        clock(),
        entropy(),
    )
}

pub(crate) fn preference() -> Draft {
    Draft::new(AnnotationPreference {
        annotator: Some(annotator()),
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

pub(crate) fn started(owner: u8) -> Draft {
    Draft::new(RunStarted::new(
        "a test".into(),
        PublicKey::from(&signing_key(owner)),
    ))
}
