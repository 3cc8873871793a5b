//! The records of a load: one run, one stream and key for each client, signed as every producer signs.

use std::sync::Arc;

use record::kinds::{
    AnnotationPreference, Choice, PolicyUpdated, RunStarted, RunStatus, StreamEnd,
};
use record::{
    Draft, Entropy as _, Prepared, ProducerName, Pseudonym, RunId, Scope, SigningKey, StreamName,
    StreamWriter, Subject, Submission,
};
use serde_json::json;
use tlog::Hash;

use crate::environment::{SystemClock, SystemEntropy};
use crate::outcome::Failure;

/// The largest record that is asked for: what 256 norms with names of 128 letters have room for, and some less.
pub(super) const MAX_RECORD_BYTES: u64 = 30_000;
/// A member of `module_norms` with a name of no letters: `"":0.123456,`.
const NORM_BYTES: usize = 12;
const NORM: f64 = 0.123_456;

/// What records are to be like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    /// About so many bytes a record; where values are sealed, of these in all.
    pub(super) bytes: usize,
    /// Annotations with sealed values, not policy updates.
    pub(super) sealed: bool,
}

/// The run of a load, and the stream that owns it.
pub(super) struct Run {
    owner: StreamWriter,
    run: RunId,
}

/// One client's stream.
pub(super) struct Producer {
    writer: StreamWriter,
    /// What is recorded over and over: making it anew for each record would be the load's own cost, not the server's.
    what: What,
}

enum What {
    /// Checked once.
    Prepared(Prepared),
    /// Made anew each time: sealed values have commitments of their own.
    Anew(Draft),
}

/// A record on its way.
pub(super) struct Sent {
    pub(super) submission: Submission,
    pub(super) leaf: Hash,
}

impl Run {
    /// A new run, and the records that start it.
    pub(super) fn start() -> Result<(Self, Vec<Submission>), Failure> {
        let run = RunId::generate(&SystemClock, &SystemEntropy);
        let mut owner = writer(run.into(), "owner")?;
        let started = RunStarted::new("bench".to_owned(), owner.public_key());
        let opening = owner.write(Draft::new(started)).map_err(Failure::input)?;
        Ok((Self { owner, run }, opening))
    }

    /// One client's stream in it.
    pub(super) fn producer(&self, number: usize, form: Form) -> Result<Producer, Failure> {
        let stream = format!("client{number}");
        let writer = writer(self.run.into(), &stream)?;
        let what = if form.sealed {
            What::Anew(annotation(form.bytes))
        } else {
            let draft = fitting(self.run.into(), &stream, form.bytes)?;
            What::Prepared(writer.prepare(draft).map_err(Failure::input)?)
        };
        Ok(Producer { writer, what })
    }

    /// The record that seals the run.
    pub(super) fn seal(mut self, producers: &[Producer]) -> Option<Submission> {
        let ends = producers
            .iter()
            .filter_map(|producer| {
                let writer = &producer.writer;
                let last = writer.next_seq().checked_sub(1)?;
                Some(StreamEnd::new(writer.stream(), last, writer.head()?.into()))
            })
            .collect();
        // With very many clients the seal would be too large for a record: such a run stays open.
        self.owner.seal(RunStatus::Completed, ends).ok()
    }
}

impl Producer {
    /// The next `count` records, and the signatures that are due among them.
    pub(super) fn records(&mut self, count: usize) -> Result<Vec<Sent>, Failure> {
        let mut records = Vec::with_capacity(count + 2);
        for _ in 0..count {
            let written = match &self.what {
                What::Prepared(prepared) => self.writer.write_prepared(prepared),
                What::Anew(draft) => self.writer.write(draft.clone()),
            };
            let mut written = written.map_err(Failure::input)?;
            let last = written.pop();
            // The writer knows the last one's hash.
            records.extend(written.into_iter().map(|submission| Sent {
                leaf: tlog::leaf_hash(&submission.record),
                submission,
            }));
            records.extend(
                last.zip(self.writer.head())
                    .map(|(submission, leaf)| Sent { submission, leaf }),
            );
        }
        Ok(records)
    }
}

/// An annotation whose sealed values have so many bytes together.
fn annotation(bytes: usize) -> Draft {
    let annotator = Pseudonym::generate(&SystemEntropy);
    let mut body = AnnotationPreference::new(Choice::A);
    body.annotator = Some(annotator);
    let text = json!("x".repeat(bytes / 3));
    ["prompt", "response_a", "response_b"]
        .iter()
        .fold(Draft::new(body), |draft, field| {
            draft.seal(field, &text, Subject::Person(annotator))
        })
}

/// A policy update of as many modules, with as long names, as bring its record to about so many bytes.
fn fitting(scope: Scope, stream: &str, bytes: usize) -> Result<Draft, Failure> {
    let mut scratch = Producer {
        what: What::Anew(update(0, 0)),
        writer: writer(scope, stream)?,
    };
    scratch.records(1)?;
    let bare = scratch.records(1)?;
    let bare = bare.first().map_or(0, |sent| sent.submission.record.len());
    let room = bytes.saturating_sub(bare + "\"module_norms\":{},".len());
    let count = (room / 30).clamp(1, 256);
    Ok(match (room / count).saturating_sub(NORM_BYTES) {
        0..4 => update(0, 0),
        name => update(count, name),
    })
}

fn update(norms: usize, name: usize) -> Draft {
    let mut body = PolicyUpdated::new(1);
    body.loss = Some(0.543_210_98);
    body.kl = Some(0.011_234_5);
    body.reward_mean = Some(1.234_567_8);
    body.gradient_norm = Some(0.987_654_3);
    body.learning_rate = Some(0.000_001_41);
    let named = (0..norms).map(|n| (format!("{n:w<name$}"), NORM));
    body.module_norms = (norms > 0).then(|| named.collect());
    Draft::new(body)
}

fn writer(scope: Scope, stream: &str) -> Result<StreamWriter, Failure> {
    let name = |text: &str| Failure::input(format!("`{text}` is no name"));
    let mut seed = [0; 32];
    SystemEntropy.fill(&mut seed);
    Ok(StreamWriter::open(
        scope,
        StreamName::parse(stream).ok_or_else(|| name(stream))?,
        ProducerName::parse("bench").ok_or_else(|| name("bench"))?,
        SigningKey::from_bytes(&seed),
        Arc::new(SystemClock),
        Arc::new(SystemEntropy),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_about_the_size_that_was_asked_for() {
        let (run, _) = Run::start().unwrap();
        for bytes in [400, 500, 1_000, 10_000, 30_000] {
            let form = Form {
                bytes,
                sealed: false,
            };
            let mut producer = run.producer(0, form).unwrap();
            let records = producer.records(4).unwrap();
            let seen = records.last().unwrap().submission.record.len();
            assert!(seen.abs_diff(bytes) * 10 < bytes, "{seen} for {bytes}");
        }
    }

    #[test]
    fn sealed_values_come_with_what_opens_them() {
        let (run, _) = Run::start().unwrap();
        let form = Form {
            bytes: 600,
            sealed: true,
        };
        let records = run.producer(0, form).unwrap().records(1).unwrap();
        let record = &records.last().unwrap().submission;
        assert_eq!(record.openings.len(), 3);
        assert!(record.check().is_ok());
    }
}
