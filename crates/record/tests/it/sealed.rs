//! Commitments, openings and submissions: vectors made with another implementation (Python's
//! `hmac`), and everything that must not open.

use record::*;
use serde_json::{Value, json};

use crate::common::{annotator, preference, started, writer};

fn key(hex: &str) -> CommitmentKey {
    let bytes: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect();
    CommitmentKey(bytes.try_into().unwrap())
}

#[test]
fn vectors() {
    let vectors: Vec<Value> =
        serde_json::from_str(include_str!("../golden/commitments.json")).unwrap();
    assert!(vectors.len() >= 5);
    for vector in vectors {
        let field = vector["field"].as_str().unwrap();
        let key = key(vector["key_hex"].as_str().unwrap());
        let value = SealedValue::from_json(&vector["value"]).unwrap();
        let message = vector["canonical_value"].as_str().unwrap();
        assert_eq!(value.as_bytes(), message.as_bytes());
        let commitment = commit(&key, field, &value);
        assert_eq!(
            commitment.to_string(),
            vector["commitment"].as_str().unwrap(),
            "{vector}"
        );
        assert!(open(&commitment, &key, field, value.as_bytes()));
        assert!(!open(&commitment, &key, "other", value.as_bytes()));
        assert!(!open(&commitment, &key, field, b"\"another\""));
        assert!(!open(
            &commitment,
            &CommitmentKey([9; 32]),
            field,
            value.as_bytes()
        ));
    }
}

fn submission() -> Submission {
    let mut writer = writer("rank0", 1);
    writer.write(started(1)).unwrap();
    let draft = preference().seal(
        "annotator_id",
        &json!("jane@example.org"),
        Subject::Person(annotator()),
    );
    writer.write(draft).unwrap().remove(0)
}

#[test]
fn a_line_is_read_as_it_was_written() {
    let submission = submission();
    assert_eq!(submission.check().unwrap().sealed().count(), 4);
    let line = submission.to_line();
    assert!(line.starts_with(b"{\"openings\":{\"annotator_id\":{\"key\":\""));
    assert_eq!(record::canonical::check(&line), Ok(()));
    assert_eq!(
        Submission::parse_line(&line).unwrap().into_owned(),
        submission
    );

    let plain = Submission::new(
        writer("rank0", 1)
            .write(started(1))
            .unwrap()
            .remove(1)
            .record,
    );
    assert_eq!(plain.to_line(), plain.record);
    assert_eq!(
        Submission::parse_line(&plain.to_line())
            .unwrap()
            .into_owned(),
        plain
    );
    assert!(plain.check().is_ok());
}

#[test]
fn openings_and_sealed_fields_must_match() {
    let mut missing = submission();
    missing.openings.remove(1);
    assert_eq!(
        missing.check().unwrap_err(),
        SubmissionError::NoOpening("prompt".into())
    );

    let mut last = submission();
    last.openings.pop();
    assert_eq!(
        last.check().unwrap_err(),
        SubmissionError::NoOpening("response_b".into())
    );

    let mut more = submission();
    more.openings
        .insert(2, ("rationale".into(), more.openings[0].1.clone()));
    assert_eq!(
        more.check().unwrap_err(),
        SubmissionError::NotSealed("rationale".into())
    );

    let mut twice = submission();
    twice.openings.insert(1, twice.openings[0].clone());
    assert_eq!(
        twice.check().unwrap_err(),
        SubmissionError::NotSealed("annotator_id".into())
    );

    let mut other = submission();
    other.openings[1].1.value = SealedValue::from_json(&json!("How do I bake bread!")).unwrap();
    assert_eq!(
        other.check().unwrap_err(),
        SubmissionError::DoesNotOpen("prompt".into())
    );

    let mut other_key = submission();
    other_key.openings[1].1.key = CommitmentKey([0; 32]);
    assert_eq!(
        other_key.check().unwrap_err(),
        SubmissionError::DoesNotOpen("prompt".into())
    );

    // Openings of two fields in each other's place.
    let mut swapped = submission();
    let (a, b) = (swapped.openings[2].1.clone(), swapped.openings[3].1.clone());
    (swapped.openings[2].1, swapped.openings[3].1) = (b, a);
    assert_eq!(
        swapped.check().unwrap_err(),
        SubmissionError::DoesNotOpen("response_a".into())
    );
}

#[test]
fn lines_that_are_none() {
    let line = String::from_utf8(submission().to_line()).unwrap();
    for (from, to, expected) in [
        (
            "\"subject\":\"run\"",
            "\"subject\":\"Run\"",
            "openings.prompt.subject: expected `run` or a pseudonym",
        ),
        (
            "\"subject\":\"run\",",
            "",
            "openings.prompt: expected `,\"subject\":`",
        ),
        (
            "{\"key\":\"",
            "{\"key\":\"!",
            "openings.annotator_id.key: expected a key of 32 bytes",
        ),
        (
            "\"value\":\"How",
            "\"value\": \"How",
            "openings.prompt.value: expected a JSON value, found white space",
        ),
        (
            ",\"record\":",
            ",\"extra\":1,\"record\":",
            "expected `,\"record\":`",
        ),
        (
            "\"prompt\":{",
            "\"aaa\":{",
            "in the order of their UTF-16 code units",
        ),
    ] {
        let changed = line.replacen(from, to, 1);
        assert_ne!(changed, line, "{from}");
        let found = Submission::parse_line(changed.as_bytes());
        let error = match found {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{from} -> {to} was accepted"),
        };
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
    assert!(
        Submission::parse_line(&line.as_bytes()[..line.len() - 1])
            .unwrap()
            .check()
            .is_err()
    );
}

#[test]
fn values_too_long_or_inexact() {
    let long = json!("x".repeat(MAX_SEALED_BYTES - 1));
    assert_eq!(
        SealedValue::from_json(&long),
        Err(OpeningError::TooLarge {
            len: MAX_SEALED_BYTES + 1
        })
    );
    assert!(SealedValue::from_json(&json!("x".repeat(MAX_SEALED_BYTES - 2))).is_ok());
    assert_eq!(
        SealedValue::from_json(&json!({"id": 9_007_199_254_740_993_u64})),
        Err(OpeningError::Inexact)
    );
    assert!(SealedValue::from_json(&json!(9_007_199_254_740_994_u64)).is_ok());
}

#[test]
fn bundle_openings() {
    let submission = submission();
    let bytes = to_bundle_openings(
        submission
            .openings
            .iter()
            .map(|(field, opening)| (field.as_str(), &opening.key, opening.value.as_bytes())),
    );
    assert_eq!(record::canonical::check(&bytes), Ok(()));
    let read = parse_bundle_openings(&bytes).unwrap();
    assert_eq!(read.len(), 4);
    for ((field, opening), (read_field, key, value)) in submission.openings.iter().zip(&read) {
        assert_eq!(
            (field, &opening.key, &opening.value),
            (read_field, key, value)
        );
    }
    assert!(parse_bundle_openings(&bytes[..bytes.len() - 1]).is_err());
    assert!(parse_bundle_openings(&[bytes.as_slice(), b" "].concat()).is_err());
    assert_eq!(parse_bundle_openings(b"{}"), Ok(vec![]));
}

#[test]
fn nothing_secret_is_shown() {
    let shown = format!("{:?}", submission().openings);
    assert!(
        !shown.contains("jane") && !shown.contains("bread"),
        "{shown}"
    );
    assert!(shown.contains("CommitmentKey(…)"), "{shown}");
}
