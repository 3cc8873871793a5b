//! The stream writer: when it opens and signs, and that a failure leaves it as it was.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use record::kinds::*;
use record::*;
use serde_json::json;

use crate::common::{
    TestClock, clock, entropy, preference, run_id, signing_key, started, stream, writer,
};

fn metric() -> Draft {
    Draft::new(MetricLogged::new([("loss".to_owned(), 0.5)].into()))
}

fn kinds(submissions: &[Submission]) -> Vec<&'static str> {
    submissions
        .iter()
        .map(|submission| {
            Record::parse(&submission.record)
                .unwrap()
                .kind()
                .unwrap()
                .name()
        })
        .collect()
}

fn with_clock(clock: &Arc<TestClock>) -> StreamWriter {
    StreamWriter::open(
        run_id().into(),
        stream("rank0"),
        ProducerName::parse("trainer").unwrap(),
        signing_key(1),
        clock.clone(),
        entropy(),
    )
}

#[test]
fn it_opens_the_stream_before_the_first_record() {
    let mut writer = writer("rank0", 1).software("trainer 1.0");
    assert_eq!(
        kinds(&writer.write(started(1)).unwrap()),
        ["stream.opened", "run.started"]
    );
    assert_eq!(kinds(&writer.write(metric()).unwrap()), ["metric.logged"]);
}

#[test]
fn it_signs_after_a_thousand_records() {
    let stopped = clock();
    let mut writer = with_clock(&stopped);
    let mut signed = Vec::new();
    for _ in 0..2_500 {
        stopped.0.store(crate::common::START, Ordering::Relaxed);
        for submission in writer.write(metric()).unwrap() {
            let record = Record::parse(&submission.record).unwrap();
            if record.is(Kind::StreamSigned) {
                signed.push(record.seq());
            }
        }
    }
    // Each signature covers a thousand records, from 0 and from 1001.
    assert_eq!(signed, [1_000, 2_001]);
    // 2,500 drafts and stream.opened, less the 2,000 that are covered.
    assert_eq!(writer.unsigned(), 501);
}

#[test]
fn it_signs_when_another_comes_a_second_later() {
    let clock = clock();
    let mut writer = with_clock(&clock);
    writer.write(metric()).unwrap();
    clock.0.fetch_add(900_000, Ordering::Relaxed);
    assert_eq!(kinds(&writer.write(metric()).unwrap()), ["metric.logged"]);
    clock.0.fetch_add(100_000, Ordering::Relaxed);
    assert_eq!(
        kinds(&writer.write(metric()).unwrap()),
        ["metric.logged", "stream.signed"]
    );
    assert_eq!(writer.sign(), None);
}

#[test]
fn it_goes_on_where_it_was() {
    let mut first = writer("rank0", 1);
    first.write(metric()).unwrap();
    let head = first.head().unwrap();
    let mut second = StreamWriter::resume(
        run_id().into(),
        stream("rank0"),
        signing_key(1),
        first.next_seq(),
        head,
        clock(),
        entropy(),
    );
    let written = second.write(metric()).unwrap();
    let record = Record::parse(&written[0].record).unwrap();
    assert_eq!((record.seq(), record.prev()), (2, Some(head)));
    assert!(second.sign().is_some());
}

#[test]
fn a_failure_changes_nothing() {
    let mut writer = writer("rank0", 1);
    let wrong = Draft::new(RunStarted::new(String::new(), writer.public_key()));
    let error = writer.write(wrong).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("body.name: expected a text of 1 to 128"),
        "{error}"
    );
    assert_eq!((writer.next_seq(), writer.head()), (0, None));
    assert_eq!(
        kinds(&writer.write(started(1)).unwrap()),
        ["stream.opened", "run.started"]
    );

    let nan = Draft::new(RewardScored::new(f64::NAN));
    let error = writer.write(nan).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("body.reward: expected a number, found null"),
        "{error}"
    );

    let unsealed = Draft::new(AnnotationPreference::new(Choice::B));
    let error = writer.write(unsealed).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`sealed` with response_a, response_b"),
        "{error}"
    );

    let unknown = preference().seal("secret", &json!(1), Subject::Run);
    let error = writer.write(unknown).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("sealed: expected one of the members"),
        "{error}"
    );

    let twice = preference().seal("prompt", &json!(1), Subject::Run);
    let error = writer.write(twice).unwrap_err();
    assert_eq!(error, WriteError::Twice("sealed.prompt".into()));

    let inexact = preference().seal("rationale", &json!(9_007_199_254_740_993_u64), Subject::Run);
    let error = writer.write(inexact).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("sealed.rationale: an integer"),
        "{error}"
    );

    let own = Draft::new(StreamSigned::new(SignatureBytes([0; 64])));
    assert_eq!(
        writer.write(own).unwrap_err(),
        WriteError::OwnKind(Kind::StreamSigned)
    );
    assert_eq!(writer.next_seq(), 2);
}

#[test]
fn drafts_from_json() {
    let draft = Draft::from_json(&json!({
        "kind": "annotation.preference",
        "body": {"choice": "a", "annotator": crate::common::annotator()},
        "sealed": {
            "response_a": "one",
            "response_b": {"value": "two", "subject": "run"},
            "prompt": {"value": "a value without a subject"},
        },
    }))
    .unwrap();
    let mut writer = writer("rank0", 1);
    let written = writer.write(draft).unwrap().remove(1);
    let record = written.check().unwrap();
    assert_eq!(
        record.decode::<AnnotationPreference>().unwrap().choice,
        Choice::A
    );
    let subjects: Vec<_> = written
        .openings
        .iter()
        .map(|(field, opening)| (field.as_str(), opening.subject))
        .collect();
    let person = Subject::Person(crate::common::annotator());
    assert_eq!(
        subjects,
        [
            ("prompt", person),
            ("response_a", person),
            ("response_b", Subject::Run)
        ]
    );
    assert_eq!(
        written.openings[0].1.value.to_json(),
        json!({"value": "a value without a subject"})
    );
    assert_eq!(
        written.openings[1].1.value.to_text().as_deref(),
        Some("one")
    );

    for (value, expected) in [
        (json!([]), "draft: expected an object, found an array"),
        (
            json!({}),
            "kind: expected the name of a kind, found nothing",
        ),
        (json!({"kind": "no.such"}), "kind: unknown kind \"no.such\""),
        (
            json!({"kind": "metric.logged", "body": 1}),
            "body: expected an object, found 1",
        ),
        (
            json!({"kind": "metric.logged", "extra": 1}),
            "extra: expected one of kind",
        ),
        (
            json!({"kind": "annotation.correction", "sealed": {"corrected": {"value": 1, "subject": "x"}}}),
            "sealed.corrected.subject: expected `run` or a pseudonym",
        ),
        (
            json!({"kind": "metric.logged", "attachments": {"a": {"bytes": 1}}}),
            "attachments.a: expected",
        ),
    ] {
        let error = Draft::from_json(&value).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{value}: {error}");
    }
}

#[test]
fn attachments_are_named() {
    let mut writer = writer("rank0", 1);
    let attachment = Attachment {
        bytes: 81_234,
        sha256: Sha256(tlog::sha256(b"manifest")),
    };
    let draft = metric()
        .attach("manifest", attachment)
        .attach("a.txt", attachment);
    let written = writer.write(draft).unwrap().remove(1).record;
    let record = Record::parse(&written).unwrap();
    let found: Vec<_> = record.attachments().collect();
    assert_eq!(
        found,
        [
            ("a.txt", 81_234, attachment.sha256),
            ("manifest", 81_234, attachment.sha256)
        ]
    );
}

#[test]
fn what_is_prepared_is_written_as_if_it_were_new_each_time() {
    /// For two writers that ask for the time a different number of times.
    struct Standing;
    impl Clock for Standing {
        fn now(&self) -> Timestamp {
            Timestamp(1_795_420_800_000_000)
        }
    }
    let standing = || {
        let producer = ProducerName::parse("trainer").unwrap();
        let (scope, key) = (run_id().into(), signing_key(1));
        StreamWriter::open(
            scope,
            stream("rank0"),
            producer,
            key,
            Arc::new(Standing),
            entropy(),
        )
    };
    let (mut again, mut anew) = (standing(), standing());
    let draft = || Draft::new(MetricLogged::new([("loss".to_owned(), 0.5)].into()));
    let prepared = again.prepare(draft()).unwrap();
    for _ in 0..SIGN_AFTER_RECORDS + 2 {
        let written = again.write_prepared(&prepared).unwrap();
        assert_eq!(written, anew.write(draft()).unwrap());
        for submission in written {
            submission.check().unwrap();
        }
    }
}

#[test]
fn what_seals_or_moves_a_chain_is_not_prepared() {
    let writer = writer("rank0", 1);
    assert!(matches!(
        writer.prepare(preference()),
        Err(WriteError::NotRepeated(field)) if field == "prompt"
    ));
    assert!(matches!(
        writer.prepare(started(1)),
        Err(WriteError::OwnKind(Kind::RunStarted))
    ));
    let mut large = MetricLogged::new([].into());
    large.phase = Some("x".repeat(1_000));
    assert!(matches!(
        writer.prepare(Draft::new(large)),
        Err(WriteError::Record(_))
    ));
}

/// A verifier that knows nothing newer reads on, until a record says something newer.
#[test]
fn a_record_is_of_the_oldest_version_that_can_say_it() {
    let version = |draft: Draft| {
        let submissions = writer("rank0", 1).write(draft).unwrap();
        let submission = submissions.last().unwrap();
        submission.check().unwrap().version()
    };
    let preference = |annotator_type| {
        let body = AnnotationPreference {
            annotator_type,
            ..AnnotationPreference::new(Choice::A)
        };
        Draft::new(body)
            .seal("response_a", &"a".into(), Subject::Run)
            .seal("response_b", &"b".into(), Subject::Run)
    };
    assert_eq!(version(preference(None)), 1);
    assert_eq!(version(preference(Some(AnnotatorType::Model))), 2);

    let rating = |scale| {
        let body = AnnotationRating {
            scale,
            ..AnnotationRating::new(0.5)
        };
        Draft::new(body).seal("response", &"a".into(), Subject::Run)
    };
    assert_eq!(version(rating(Some(Scale::new(0.0, 1.0)))), 1);
    assert_eq!(version(rating(None)), 2);

    let updated = Draft::new(PolicyUpdated::new(1));
    assert_eq!(version(updated.clone()), 1);
    let digest = "batch_sha256";
    assert_eq!(version(updated.seal(digest, &"0".into(), Subject::Run)), 2);

    let nothing = ModelCheckpoint::new(Vec::new(), "step 1".to_owned());
    assert_eq!(version(Draft::new(nothing)), 2);

    // The first version of this one says the same and has no force.
    let rotated = KeyRotated::new(
        PublicKey::from(&signing_key(2)),
        PublicKey::from(&signing_key(1)),
        KeyPurpose::Producer,
    );
    assert_eq!(version(Draft::new(rotated)), 2);
}

#[test]
fn what_could_not_be_kept_is_taken_back() {
    let clock = clock();
    let mut writer = with_clock(&clock);
    let before = writer.mark();
    writer.write(started(1)).unwrap();
    writer.write(metric()).unwrap();
    writer.rewind(before);
    assert_eq!((writer.next_seq(), writer.head()), (0, None));
    // It opens again, as if nothing had been.
    assert_eq!(
        kinds(&writer.write(started(1)).unwrap()),
        ["stream.opened", "run.started"]
    );
    let before = writer.mark();
    writer.seal(RunStatus::Failed, Vec::new()).unwrap();
    assert!(writer.write(metric()).is_err());
    writer.rewind(before);
    let written = writer.write(metric()).unwrap();
    assert_eq!(Record::parse(&written[0].record).unwrap().seq(), 2);
    assert_eq!(writer.unsigned(), 3);
}

#[test]
fn a_draft_knows_the_most_that_its_line_can_take() {
    // The longest names that there are.
    let long = "a".repeat(64);
    let run = RunId::parse("7ZZZZZZZZZZZZZZZZZZZZZZZZZ").unwrap();
    let producer = ProducerName::parse("p").unwrap();
    let mut writer = StreamWriter::open(
        run.into(),
        stream(&long),
        producer,
        signing_key(1),
        clock(),
        entropy(),
    );
    writer.write(started(1)).unwrap();
    for draft in crate::samples::drafts() {
        let attached = Attachment {
            bytes: MAX_INTEGER,
            sha256: Sha256([255; 32]),
        };
        let draft = draft.attach(&long, attached);
        let most = draft.most_bytes();
        // Some kinds stand where this writer is not.
        let Ok(written) = writer.write(draft) else {
            continue;
        };
        let mut line = Vec::new();
        written[0].write_line(&mut line);
        assert_eq!(line, written[0].to_line());
        assert!(line.len() < most, "{} of {most}", line.len());
        assert!(most < line.len() + 2_000, "{} of {most}", line.len());
    }
}
