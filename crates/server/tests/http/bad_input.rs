//! Every way an append can be wrong: each has its own answer, records nothing, and stops nothing.

use std::io::{Read, Write};

use record::canonical::to_canonical;
use serde_json::{Value, json};

use crate::support::{Answer, Server, Stream, code, eventually};

/// What came of one bad request: status, code, line.
type Verdict = (u16, &'static str, Option<u64>);

/// A good stream of three records, the middle one of which is made bad.
struct Case {
    server: Server,
    stream: Stream,
}

impl Case {
    fn new() -> Self {
        let server = Server::start();
        let stream = server.open_run("bad input", &server.producer);
        Self { server, stream }
    }

    /// Sends `lines` and holds the answer against `expected`; then shows that nothing of them is
    /// in the run and that the server takes the next good record.
    #[track_caller]
    fn refuse(&mut self, what: &str, lines: &[u8], expected: Verdict) -> Answer {
        let answer = self.server.post_lines(lines, Some(&self.server.producer));
        self.refused(what, &answer, expected);
        answer
    }

    #[track_caller]
    fn refused(&mut self, what: &str, answer: &Answer, (status, name, line): Verdict) {
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(code(answer), name, "{what}: {}", answer.text());
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["line"].as_u64(), line, "{what}: {problem}");
        assert_eq!(problem["status"], status, "{what}");
        assert_eq!(problem["type"], format!("/docs#problem-{name}"), "{what}");
        assert!(
            problem["detail"].as_str().unwrap().len() > 20,
            "{what}: {problem}"
        );
        let docs = self.server.ask("get", "/docs", None, None).text();
        assert!(
            docs.contains(&format!("id=\"problem-{name}\"")),
            "{name} is not documented"
        );
        self.goes_on(what);
    }

    /// The run has exactly the records that were acknowledged, and takes one more.
    #[track_caller]
    fn goes_on(&mut self, what: &str) {
        self.stream.discard();
        assert_eq!(
            self.server.count(&self.stream),
            self.stream.acknowledged(),
            "{what}"
        );
        self.stream.draft();
        let lines = self.stream.lines();
        let answer = self.server.post_lines(&lines, Some(&self.server.producer));
        assert_eq!(answer.status, 201, "after {what}: {}", answer.text());
        self.stream.sent();
    }

    /// Three good lines, the second changed by `change`.
    fn changed(&mut self, change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut lines = self.stream.three();
        let mut record: Value = serde_json::from_slice(&lines[1]).unwrap();
        change(&mut record);
        lines[1] = to_canonical(&record);
        join(&lines)
    }
}

fn join(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut out = lines.join(&b'\n');
    out.push(b'\n');
    out
}

#[test]
fn records_that_are_none_are_refused_by_line() {
    let mut case = Case::new();

    let mut lines = case.stream.three();
    lines[1] = br#"{"body":{"metrics":{"loss":1"#.to_vec();
    case.refuse(
        "broken JSON in the middle",
        &join(&lines),
        (400, "not-canonical", Some(2)),
    );

    let mut lines = case.stream.three();
    lines[1] = b"\xff\xfe".to_vec();
    case.refuse("not UTF-8", &join(&lines), (400, "not-canonical", Some(2)));

    let mut lines = case.stream.three();
    lines[1].clear();
    case.refuse("an empty line", &join(&lines), (400, "empty-line", Some(2)));

    let mut lines = case.stream.three();
    let text = String::from_utf8(lines[1].clone()).unwrap();
    lines[1] = text.replacen("\":", "\": ", 1).into_bytes();
    case.refuse("a space", &join(&lines), (400, "not-canonical", Some(2)));

    let mut lines = case.stream.three();
    let text = String::from_utf8(lines[2].clone()).unwrap();
    lines[2] = text.replacen("0.25", "0.250", 1).into_bytes();
    assert_ne!(lines[2], text.as_bytes(), "the record has the number");
    case.refuse(
        "a number in another form",
        &join(&lines),
        (400, "not-canonical", Some(3)),
    );

    let lines = case.changed(|record| record["extra"] = json!(1));
    case.refuse(
        "an unknown member",
        &lines,
        (400, "invalid-record", Some(2)),
    );

    let lines = case.changed(|record| {
        record["body"]
            .as_object_mut()
            .unwrap()
            .insert("surprise".into(), json!(true));
    });
    case.refuse(
        "a body off its schema",
        &lines,
        (400, "invalid-record", Some(2)),
    );

    let lines = case.changed(|record| {
        let metrics: serde_json::Map<String, Value> =
            (0..1_500).map(|n| (format!("{n:064}"), json!(n))).collect();
        record["body"]["metrics"] = Value::Object(metrics);
    });
    case.refuse(
        "a record too large",
        &lines,
        (413, "record-too-large", Some(2)),
    );

    let lines = case.changed(|record| record["kind"] = json!("metric.invented"));
    case.refuse("an unknown kind", &lines, (422, "unknown-kind", Some(2)));

    let lines = case.changed(|record| record["v"] = json!(2));
    case.refuse(
        "an unknown version",
        &lines,
        (422, "unknown-version", Some(2)),
    );
}

#[test]
fn records_out_of_their_place_are_refused() {
    let mut case = Case::new();

    let lines = case.changed(|record| record["seq"] = json!(record["seq"].as_u64().unwrap() + 5));
    case.refuse("a gap in seq", &lines, (409, "seq-gap", Some(2)));

    let lines = case.changed(|record| record["prev"] = json!(format!("{}=", "A".repeat(43))));
    case.refuse("a wrong prev", &lines, (409, "wrong-prev", Some(2)));

    let mut lines = case.stream.three();
    lines.swap(1, 2);
    case.refuse("two swapped", &join(&lines), (409, "seq-gap", Some(2)));

    let mut signed: Value = serde_json::from_slice(&case.stream.signed()).unwrap();
    signed["body"]["signature"] = json!(format!("{}==", "A".repeat(86)));
    case.refuse(
        "a forged signature",
        &to_canonical(&signed),
        (422, "bad-signature", Some(1)),
    );

    let lines = case.changed(|record| record["stream"] = json!("unopened"));
    case.refuse(
        "a stream never opened",
        &lines,
        (409, "bad-stream", Some(2)),
    );

    let lines = case.changed(|record| record["run"] = json!("01J0000000000000000000000Z"));
    let answer = case.server.post_lines(&lines, Some(&case.server.producer));
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert!(
        ["bad-run", "bad-stream"].contains(&code(&answer).as_str()),
        "{}",
        answer.text()
    );
    case.goes_on("a run never started");
}

#[test]
fn a_duplicate_with_other_bytes_is_refused_and_reported() {
    let mut case = Case::new();
    let incidents = |case: &Case| {
        case.server.published();
        let reader = case.server.client(&case.server.reader);
        let query = client::RecordQuery {
            kind: Some("incident.reported".into()),
            ..client::RecordQuery::default()
        };
        reader.records(&query).unwrap().records.len()
    };
    case.stream.draft();
    let first = case.stream.lines();
    assert_eq!(
        case.server
            .post_lines(&first, Some(&case.server.producer))
            .status,
        201
    );
    case.stream.sent();

    let again = case.server.post_lines(&first, Some(&case.server.producer));
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(again.json()["records"][0]["duplicate"], true);
    assert_eq!(incidents(&case), 0);

    let mut other: Value = serde_json::from_slice(first.trim_ascii_end()).unwrap();
    other["body"]["metrics"]["loss"] = json!(9);
    case.refuse(
        "other bytes",
        &to_canonical(&other),
        (409, "conflict", Some(1)),
    );
    eventually(|| (incidents(&case) == 1).then_some(()));
}

#[test]
fn sealed_values_have_to_open() {
    let mut case = Case::new();
    let good = case.stream.sealed();
    let line: Value = serde_json::from_slice(&good).unwrap();

    let mut bad = line.clone();
    bad["openings"]["response"]["value"] = json!("another answer");
    case.refuse(
        "a value that does not open",
        &to_canonical(&bad),
        (422, "opening-mismatch", Some(1)),
    );

    let record = to_canonical(&line["record"]);
    case.refuse("no opening", &record, (422, "opening-mismatch", Some(1)));

    let mut bad = line.clone();
    bad["openings"]["nobody"] = bad["openings"]["response"].clone();
    case.refuse(
        "one opening too many",
        &to_canonical(&bad),
        (422, "opening-mismatch", Some(1)),
    );

    let mut bad = line;
    bad["openings"]["response"]["key"] = json!("short");
    case.refuse(
        "a key that is none",
        &to_canonical(&bad),
        (422, "invalid-openings", Some(1)),
    );
}

#[test]
fn requests_of_the_wrong_form_are_refused() {
    let mut case = Case::new();
    let lines = join(&case.stream.three());
    let producer = case.server.producer.clone();

    for (media_type, what) in [
        (Some("text/plain"), "text/plain"),
        (None, "no content-type"),
    ] {
        let answer = case
            .server
            .send("post", "/v1/records", Some(&producer), media_type, &lines);
        assert!(answer.text().contains(what), "{}", answer.text());
        case.refused(what, &answer, (415, "unsupported-media-type", None));
    }

    let answer = case.server.send(
        "post",
        "/v1/records",
        Some(&producer),
        Some("application/json"),
        &lines,
    );
    case.refused("several as one", &answer, (400, "several-lines", None));

    let path = "/v1/records?wait=forever";
    let ndjson = Some("application/x-ndjson");
    let answer = case
        .server
        .send("post", path, Some(&producer), ndjson, &lines);
    case.refused("an unknown wait", &answer, (400, "bad-parameter", None));
    let answer = case.server.send(
        "post",
        "/v1/records?wiat=published",
        Some(&producer),
        ndjson,
        &lines,
    );
    case.refused(
        "a misspelt parameter",
        &answer,
        (400, "bad-parameter", None),
    );

    case.refuse("an empty body", b"", (400, "no-records", None));
    case.refuse("a body of one newline", b"\n", (400, "no-records", None));

    let line = case.stream.three().swap_remove(0);
    let many = join(&vec![line; 10_000]);
    let answer = case.refuse("10,000 records", &many, (413, "too-many-records", None));
    assert!(answer.text().contains("10000 records"), "{}", answer.text());
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let mut case = Case::new();
    let mut stream = case.server.connect();
    write!(
        stream,
        "POST /v1/records HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n{{",
        case.server.producer,
        server::MAX_BODY_BYTES + 1,
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains(r#""code":"body-too-large""#), "{answer}");
    case.goes_on("a body over the limit");
}

#[test]
fn a_sealed_run_takes_no_more() {
    let server = Server::start();
    let admin = server.client(&server.admin);
    let run = server.start_run("sealed");
    admin.seal_run(run.run.as_str(), "completed").unwrap();
    assert_eq!(admin.run("sealed").unwrap().status, "completed");

    let mut late = Server::stream_of(run.run, "late", &server.admin);
    late.draft();
    let answer = server.post_lines(&late.lines(), Some(&server.admin));
    assert_eq!(
        (answer.status, code(&answer).as_str()),
        (409, "run-sealed"),
        "{}",
        answer.text()
    );

    let again = admin.seal_run(run.run.as_str(), "completed").unwrap_err();
    assert_eq!(again.problem().unwrap().code, "run-sealed");
}
