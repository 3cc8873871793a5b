//! A producer's records of about 500 bytes, signed as every producer signs.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use record::kinds::{PolicyUpdated, RunStarted};
use record::{
    Clock, Draft, Entropy, ProducerName, RunId, SigningKey, StreamName, StreamWriter, Submission,
    Timestamp,
};

use crate::Outcome;

#[derive(Debug)]
struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "a load is as real as its clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

#[derive(Debug)]
struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "ids must differ from run to run")]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the system has random bytes");
    }
}

/// One stream of a run of its own.
pub(crate) struct Producer(StreamWriter);

impl Producer {
    /// A new run with one stream, and the records that open it.
    pub(crate) fn start(name: &str) -> Outcome<(Self, Vec<Submission>)> {
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let run = RunId::generate(&*clock, &*entropy);
        let stream = StreamName::parse("main").ok_or("not a stream's name")?;
        let producer = ProducerName::parse("bench").ok_or("not a producer's name")?;
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        let key = SigningKey::from_bytes(&seed);
        let mut writer = StreamWriter::open(run.into(), stream, producer, key, clock, entropy);
        let started = RunStarted::new(name.to_owned(), writer.public_key());
        let opening = writer.write(Draft::new(started))?;
        Ok((Self(writer), opening))
    }

    /// `count` policy updates, and the signatures that are due among them.
    pub(crate) fn records(&mut self, count: usize) -> Outcome<Vec<Submission>> {
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
            records.extend(self.0.write(Draft::new(body))?);
        }
        Ok(records)
    }
}
