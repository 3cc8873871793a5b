//! Reading records: everything that is wrong with one is said precisely, and nothing that is not a
//! canonical record of its kind gets through.

use std::sync::LazyLock;

use proptest::prelude::*;
use record::*;
use serde_json::Value;

use crate::common::{preference, run_id, started, writer};
use crate::samples;

static GOOD: LazyLock<String> = LazyLock::new(|| {
    let mut writer = writer("rank0", 1);
    writer.write(started(1)).unwrap();
    text(&writer.write(preference()).unwrap()[0].record)
});

static SAMPLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    samples::records()
        .into_iter()
        .chain(samples::least())
        .map(|one| one.record)
        .collect()
});

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn everything_is_read() {
    let record = Record::parse(GOOD.as_bytes()).unwrap();
    assert_eq!(record.scope(), Scope::Run(run_id()));
    assert_eq!(record.stream().as_str(), "rank0");
    assert_eq!(record.seq(), 2);
    assert!(record.prev().is_some());
    assert_eq!(record.time().to_string().len(), 27);
    assert_eq!(record.kind(), Some(Kind::AnnotationPreference));
    assert_eq!(
        (record.kind_name(), record.version()),
        ("annotation.preference", 1)
    );
    assert!(record.body_bytes().starts_with(b"{\"annotator\":"));
    let fields: Vec<_> = record.sealed().map(|(field, _)| field).collect();
    assert_eq!(fields, ["prompt", "response_a", "response_b"]);
    assert_eq!(record.attachments().count(), 0);
    assert_eq!(record.named_run(), None);
    let body: kinds::AnnotationPreference = record.decode().unwrap();
    assert_eq!(body.choice, kinds::Choice::A);
    let error = record
        .decode::<kinds::AnnotationRating>()
        .unwrap_err()
        .to_string();
    assert!(error.contains("expected annotation.rating version 2, found annotation.preference"));
}

#[test]
fn the_run_a_record_is_about() {
    for bytes in SAMPLES.iter() {
        let record = Record::parse(bytes).unwrap();
        let body: Value = serde_json::from_slice(record.body_bytes()).unwrap();
        let named = body
            .get("run")
            .and_then(Value::as_str)
            .and_then(RunId::parse);
        assert_eq!(record.named_run(), named, "{}", record.kind_name());
    }
}

/// One change each: what is replaced, by what, and what the error says.
const CHANGES: &[(&str, &str, &str)] = &[
    (
        "{\"body\"",
        "[\"body\"",
        "expected an object, found an array at byte 0",
    ),
    (
        "\"choice\":\"a\"",
        "\"choice\":\"c\"",
        "body.choice: expected one of a, b, no_preference, found \"c\" at byte 61",
    ),
    (
        "\"choice\":\"a\"",
        "\"choice\":null",
        "body.choice: expected one of a, b, no_preference, found null",
    ),
    (
        "\"choice\":\"a\",",
        "",
        "body: expected the member `choice`, found \"criterion\"",
    ),
    (
        "\"choice\":\"a\"",
        "\"choice\": \"a\"",
        "body.choice: expected one of a, b, no_preference, found white space",
    ),
    (
        "\"duration_ms\":41250",
        "\"duration_ms\":41250.5",
        "body.duration_ms: expected an integer from 0 to 9007199254740991, found 41250.5",
    ),
    (
        "\"duration_ms\":41250",
        "\"duration_ms\":4125e1",
        "body.duration_ms: expected the number written as 41250, found 4125e1",
    ),
    (
        "\"duration_ms\":41250",
        "\"duration_ms\":-1",
        "body.duration_ms: expected an integer from 0",
    ),
    (
        "\"duration_ms\":41250",
        "\"duration_ms\":\"41250\"",
        "body.duration_ms: expected a number, found \"41250\"",
    ),
    (
        "\"criterion\":",
        "\"colour\":\"red\",\"criterion\":",
        "body: expected one of the members annotator, at, choice, criterion, duration_ms, item, run, source, strength, found \"colour\"",
    ),
    (
        "\"criterion\":",
        "\"choice\":\"a\",\"criterion\":",
        "body: expected each member once, in the order of their UTF-16 code units, found \"choice\"",
    ),
    (
        "\"criterion\":\"helpfulness\"",
        "\"criterion\":\"\"",
        "body.criterion: expected a text of 1 to 128 characters",
    ),
    (
        "\"criterion\":\"helpfulness\"",
        "\"criterion\":\"\\t\"",
        "body.criterion: expected a text of 1 to 128 characters",
    ),
    (
        "helpfulness",
        "\\u0068elpfulness",
        "body.criterion: expected an escape that is needed",
    ),
    ("p-0h3", "p-Oh3", "body.annotator: expected a pseudonym"),
    (
        ",\"kind\":\"annotation.preference\"",
        "",
        "expected the member `kind`, found \"prev\"",
    ),
    (
        "annotation.preference",
        "annotation.guess",
        "unknown kind \"annotation.guess\"",
    ),
    (
        "annotation.preference",
        "Annotation.preference",
        "kind: expected a kind, like annotation.preference",
    ),
    (
        "annotation.preference",
        "preference",
        "kind: expected a kind, like annotation.preference",
    ),
    (
        "annotation.preference",
        "annotation.rating",
        "body: expected one of the members annotator, at, criterion",
    ),
    (
        ",\"prev\":",
        ",\"prevv\":",
        "expected the member `run`, found \"prevv\"",
    ),
    (
        "\"prev\":\"",
        "\"prev\":\"A",
        "prev: expected 32 bytes in base64",
    ),
    (
        "01KAQZ",
        "81KAQZ",
        "run: expected `ledger` or a ULID of 26 upper-case characters, found \"81KAQZ",
    ),
    (
        "\"response_b\":\"",
        "\"response_b\":\"-",
        "sealed.response_b: expected 32 bytes in base64",
    ),
    (
        "\"response_a\":",
        "\"respond\":",
        "sealed: expected one of the members annotator_id, prompt, rationale, response_a, response_b, found \"respond\"",
    ),
    ("\"prompt\":", "\"secret\":", "sealed: expected"),
    (
        "\"seq\":2",
        "\"seq\":-2",
        "seq: expected an integer from 0 to 9007199254740991, found -2",
    ),
    (
        "\"seq\":2",
        "\"seq\":2.5",
        "seq: expected an integer from 0",
    ),
    (
        "\"seq\":2",
        "\"seq\":9007199254740992",
        "seq: expected an integer from 0",
    ),
    (
        "\"seq\":2",
        "\"seq\":02",
        "seq: expected the number written as 2, found 02",
    ),
    (
        "\"seq\":2",
        "\"seq\":0",
        "expected no member `prev` where seq is 0, found \"prev\"",
    ),
    ("\"rank0\"", "\"Rank0\"", "stream: expected a stream name"),
    ("2026-11-23T", "2026-11-31T", "time: expected a time like"),
    (
        "\"v\":1}",
        "\"v\":0}",
        "v: expected an integer from 1 to 65535, found 0",
    ),
    (
        "\"v\":1}",
        "\"v\":65536}",
        "v: expected an integer from 1 to 65535",
    ),
    (
        "\"v\":1}",
        "\"v\":3}",
        "unknown version 3 of kind annotation.preference, known is 2",
    ),
    ("\"v\":1}", "\"v\":1,\"w\":1}", "expected `}`, found ,"),
    (
        "\"v\":1}",
        "\"v\":1}\n",
        "expected the end, found white space",
    ),
    ("\"v\":1}", "\"v\":1", "expected `}`, found the end"),
    (",\"v\":1}", "}", "expected the member `v`, found }"),
    (
        "\"body\":",
        "\"attachments\":{},\"body\":",
        "attachments: expected 1 to 64 members, found 0",
    ),
    (
        "\"body\":",
        "\"attachments\":{\"a\":{\"bytes\":1}},\"body\":",
        "attachments.a: expected the member `sha256`, found }",
    ),
    (
        "\"body\":",
        "\"attachments\":{\"A\":{}},\"body\":",
        "attachments.A: expected a name",
    ),
    (
        "\"body\":",
        "\"author\":1,\"body\":",
        "expected the member `body`, found \"author\"",
    ),
    (
        "\"run\":",
        "\"prev\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\",\"run\":",
        "expected the member `run` (members stand in the order attachments, body, kind, prev, run, sealed, seq, stream, time, v, each once), found \"prev\"",
    ),
];

#[test]
fn errors_say_where_and_what() {
    for (from, to, expected) in CHANGES {
        let changed = GOOD.replacen(from, to, 1);
        assert_ne!(changed, *GOOD, "{from}");
        let error = Record::parse(changed.as_bytes()).expect_err(to).to_string();
        assert!(
            error.contains(expected),
            "{from} -> {to}:\n  {error}\n  {expected}"
        );
    }
}

#[test]
fn codes_tell_form_from_meaning() {
    let code = |from: &str, to: &str| {
        Record::parse(GOOD.replacen(from, to, 1).as_bytes())
            .unwrap_err()
            .code()
    };
    assert_eq!(
        code("\"choice\":\"a\"", "\"choice\":\"c\""),
        "invalid-record"
    );
    assert_eq!(code("\"choice\":", "\"choice\": "), "not-canonical");
    assert_eq!(code(",\"kind\"", ", \"kind\""), "not-canonical");
    assert_eq!(code("41250", "4125e1"), "not-canonical");
    assert_eq!(
        code("\"criterion\":", "\"choice\":\"a\",\"criterion\":"),
        "not-canonical"
    );
    assert_eq!(code("annotation.preference", "no.such"), "unknown-kind");
    assert_eq!(code("\"v\":1", "\"v\":7"), "unknown-version");
    assert_eq!(
        Record::parse(&vec![b' '; 65_536]).unwrap_err().code(),
        "record-too-large"
    );
    assert_eq!(Record::parse(b"\xff").unwrap_err().code(), "not-canonical");
}

#[test]
fn members_that_must_be_there() {
    let sealed_from = GOOD.find(",\"sealed\"").unwrap();
    let sealed_to = GOOD.find(",\"seq\"").unwrap();
    let mut unsealed = GOOD.clone();
    unsealed.replace_range(sealed_from..sealed_to, "");
    let error = Record::parse(unsealed.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("expected the member `sealed` with response_a, response_b"),
        "{error}"
    );

    let mut empty = GOOD.clone();
    empty.replace_range(sealed_from..sealed_to, ",\"sealed\":{}");
    let error = Record::parse(empty.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("sealed: expected 1 or more members, or no member `sealed`"),
        "{error}"
    );

    let mut no_prev = GOOD.clone();
    let prev_from = no_prev.find(",\"prev\"").unwrap();
    no_prev.replace_range(prev_from..prev_from + 54, "");
    let error = Record::parse(no_prev.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("expected the member `prev` where seq is not 0"),
        "{error}"
    );

    // A kind that seals nothing.
    let hash = format!("{}=", "A".repeat(43));
    let metric = SAMPLES
        .iter()
        .map(|bytes| text(bytes))
        .find(|one| one.contains("metric.logged"));
    let metric = metric.unwrap().replace(
        ",\"seq\"",
        &format!(",\"sealed\":{{\"prompt\":\"{hash}\"}},\"seq\""),
    );
    let error = Record::parse(metric.as_bytes()).unwrap_err().to_string();
    assert!(
        error.contains("sealed: expected no members, found \"prompt\""),
        "{error}"
    );
}

#[test]
fn unknown_kinds_pass_as_envelopes_only() {
    let unknown = GOOD
        .replace("annotation.preference", "annotation.guess")
        .replace("\"choice\":\"a\"", "\"choice\":{\"deep\":[1,2.5,null]}");
    assert!(matches!(
        Record::parse(unknown.as_bytes()),
        Err(RecordError::UnknownKind { kind }) if kind == "annotation.guess"
    ));
    let record = Record::parse_envelope(unknown.as_bytes()).unwrap();
    assert_eq!(
        (record.kind(), record.kind_name()),
        (None, "annotation.guess")
    );
    assert_eq!(record.sealed().count(), 3);

    let newer = GOOD.replace("\"v\":1}", "\"v\":3}");
    assert_eq!(
        Record::parse_envelope(newer.as_bytes()).unwrap().version(),
        3
    );

    // Another version may seal other fields and have another body.
    let other = newer
        .replace("\"prompt\":", "\"context\":")
        .replace("\"choice\":", "\"chosen\":");
    assert_eq!(
        Record::parse_envelope(other.as_bytes())
            .unwrap()
            .sealed()
            .count(),
        3
    );
    assert!(matches!(
        Record::parse(other.as_bytes()),
        Err(RecordError::UnknownVersion {
            version: 3,
            known: 2,
            ..
        })
    ));

    // Canonical form and envelope hold for them too, known kinds are checked in full.
    for (from, to) in [
        ("\"choice\":{", "\"choice\": {"),
        ("2.5", "2.50"),
        ("\"response_a\":", "\"Response\":"),
        ("\"response_b\":", "\"response_a\":"),
        ("\"rank0\"", "\"\""),
        ("[1,2.5,null]", "[1,2.5,null"),
    ] {
        let changed = unknown.replacen(from, to, 1);
        assert_ne!(changed, unknown, "{from}");
        assert!(
            matches!(
                Record::parse_envelope(changed.as_bytes()),
                Err(RecordError::Invalid(_))
            ),
            "{to}"
        );
    }
    let wrong = GOOD.replace("\"choice\":\"a\"", "\"choice\":\"c\"");
    assert!(Record::parse_envelope(wrong.as_bytes()).is_err());
}

/// The parser looks for the kind from the end; a record built to mislead it there is still held
/// against the kind it says it is of.
#[test]
fn a_false_kind_at_the_end_misleads_nobody() {
    let hash = format!("{}=", "A".repeat(43));
    // Unknown kind whose sealed field `kind` is no name of a kind: the guess finds nothing.
    let unknown = format!(
        "{{\"body\":{{\"x\":1}},\"kind\":\"a.b\",\"run\":\"ledger\",\"sealed\":{{\"a\":\"{hash}\",\"kind\":\"{hash}\"}},\
         \"seq\":0,\"stream\":\"s\",\"time\":\"2026-11-23T08:00:00.000000Z\",\"v\":1}}"
    );
    assert!(Record::parse_envelope(unknown.as_bytes()).is_ok());
    // A second member `kind` behind the first.
    let twice = GOOD.replace(",\"prev\"", ",\"kind\":\"metric.logged\",\"prev\"");
    assert!(Record::parse(twice.as_bytes()).is_err());
    // A name that is right but for its quotes.
    for (from, to) in [
        (":\"annotation.p", ":[annotation.p"),
        ("preference\",", "preference],"),
    ] {
        let unquoted = GOOD.replace(from, to);
        assert_ne!(unquoted, *GOOD);
        assert!(Record::parse(unquoted.as_bytes()).is_err());
    }
    // A body that is right for the guessed kind, not for its own.
    let signed = SAMPLES
        .iter()
        .find(|bytes| text(bytes).contains("stream.signed"))
        .unwrap();
    let misled = text(signed).replace(
        ",\"kind\":\"stream.signed\"",
        ",\"kind\":\"metric.logged\",\"kind\":\"stream.signed\"",
    );
    assert!(Record::parse(misled.as_bytes()).is_err());
}

#[test]
fn the_largest_record() {
    let files = |count: usize, pad: usize| {
        let file = |at: usize| {
            let name = format!("{at:04}{}", "é".repeat(if at == 0 { pad } else { 124 }));
            kinds::ModelFile::new(0, name, Sha256([0; 32]))
        };
        Draft::new(kinds::ModelCheckpoint::new(
            (0..count).map(file).collect(),
            "n".into(),
        ))
    };
    let mut writer = writer("rank0", 1);
    let record = writer.write(files(185, 124)).unwrap().remove(1).record;
    assert!(
        record.len() > 60_000 && record.len() <= MAX_RECORD_BYTES,
        "{}",
        record.len()
    );
    let error = writer.write(files(200, 124)).unwrap_err();
    assert!(
        error.to_string().contains("at most 65535 are allowed"),
        "{error}"
    );
    assert!(Record::parse(&vec![b'{'; MAX_RECORD_BYTES]).is_err());
}

/// What `canonical::check` and `serde_json` make of it, where the parser lets it through.
fn assert_sound(bytes: &[u8]) {
    let Ok(record) = Record::parse_envelope(bytes) else {
        return;
    };
    assert_eq!(canonical::check(bytes), Ok(()));
    let value: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(canonical::to_canonical(&value), bytes);
    assert_eq!(value["kind"], record.kind_name());
    assert_eq!(value["seq"], record.seq());
    assert_eq!(value["run"], record.scope().as_str());
    assert_eq!(value["stream"], record.stream().as_str());
    assert_eq!(value["time"], record.time().to_string());
    assert_eq!(value.get("prev").is_some(), record.seq() > 0);
    let sealed = value
        .get("sealed")
        .and_then(Value::as_object)
        .map_or(0, serde_json::Map::len);
    assert_eq!(record.sealed().count(), sealed);
    for (field, commitment) in record.sealed() {
        assert_eq!(value["sealed"][field], commitment.to_string());
    }
    let body: Value = serde_json::from_slice(record.body_bytes()).unwrap();
    assert_eq!(value["body"], body);
}

#[test]
fn samples_are_sound() {
    for bytes in SAMPLES.iter() {
        assert!(Record::parse(bytes).is_ok());
        assert_sound(bytes);
    }
}

/// A space, a tab or a newline at any place: outside strings it is not canonical, inside it is
/// another text, which few members allow.
#[test]
fn a_space_anywhere_is_seen() {
    for bytes in SAMPLES.iter() {
        for at in 0..=bytes.len() {
            let mut spaced = bytes.clone();
            spaced.insert(at, b' ');
            assert_sound(&spaced);
            spaced[at] = b'\n';
            assert!(Record::parse(&spaced).is_err());
        }
    }
}

/// Every byte of every sample, replaced by each byte that JSON gives a meaning.
#[test]
fn every_byte_counts() {
    for bytes in SAMPLES.iter() {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            for with in b"{}[],:\"\\0e.-" {
                changed[at] = *with;
                assert_sound(&changed);
            }
        }
    }
}

#[test]
fn a_record_cut_off_is_none() {
    for bytes in SAMPLES.iter() {
        for at in 0..bytes.len() {
            assert!(Record::parse_envelope(&bytes[..at]).is_err());
        }
    }
}

#[test]
fn members_in_another_order_are_refused() {
    for bytes in SAMPLES.iter() {
        let value: Value = serde_json::from_slice(bytes).unwrap();
        let members: Vec<(String, String)> = value
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), text(&canonical::to_canonical(value))))
            .collect();
        let write = |members: &[(String, String)]| {
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(write(&members).as_bytes(), bytes);
        for at in 1..members.len() {
            let mut swapped = members.clone();
            swapped.swap(at - 1, at);
            assert!(Record::parse_envelope(write(&swapped).as_bytes()).is_err());
            let mut twice = members.clone();
            twice.insert(at, members[at].clone());
            assert!(Record::parse_envelope(write(&twice).as_bytes()).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn one_changed_byte_is_judged_soundly(
        at in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = at.get(&SAMPLES).clone();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        assert_sound(&bytes);
    }

    #[test]
    fn a_spliced_piece_is_judged_soundly(
        a in any::<prop::sample::Index>(),
        b in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        len in 0_usize..60,
    ) {
        let (mut bytes, other) = (a.get(&SAMPLES).clone(), b.get(&SAMPLES));
        let (cut, from) = (cut.index(bytes.len()), from.index(other.len()));
        bytes.splice(cut..cut, other[from..(from + len).min(other.len())].iter().copied());
        assert_sound(&bytes);
    }

    #[test]
    fn any_bytes_are_answered(bytes in any::<Vec<u8>>()) {
        let _ = Record::parse(&bytes);
        let _ = Submission::parse_line(&bytes).map(|one| one.check().map(drop));
        let _ = parse_bundle_openings(&bytes);
    }

    #[test]
    fn any_text_in_an_envelope_is_answered(body in "[\\[\\]{}\",:0-9eE.a-f+\\-\\\\ ]{0,40}") {
        let bytes = format!(
            "{{\"body\":{body},\"kind\":\"metric.logged\",\"run\":\"ledger\",\"seq\":0,\
             \"stream\":\"s\",\"time\":\"2026-11-23T08:00:00.000000Z\",\"v\":1}}"
        );
        assert_sound(bytes.as_bytes());
        assert_sound(bytes.replace("metric.logged", "metric.unknown").as_bytes());
    }
}
