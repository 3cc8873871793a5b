//! Bad input: each refusal says what is wrong, none of the request is recorded, and the ledger goes
//! on.

#![allow(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

mod common;

use common::{Fixture, ends, metric, producer};
use ledger::{AppendCode, AppendError, MAX_REQUEST_RECORDS, Principal, Role};
use record::kinds::{
    AccessChange, AccessChanged, AccessRead, DocumentFile, DocumentIssued, ProducerEnrolled,
    ReadPart, RunStarted, RunStatus,
};
use record::{
    CommitmentKey, Draft, ProducerName, Pseudonym, RecordHash, RunId, SealedValue, StreamWriter,
    Submission,
};

/// What a case leaves behind: its refusal, and nothing else.
struct Case {
    fixture: Fixture,
    owner: StreamWriter,
}

impl Case {
    fn new() -> Self {
        let fixture = Fixture::new();
        let mut owner = fixture.start_run("refusals", 1);
        for _ in 0..3 {
            fixture.append(owner.write(metric(1.0)).unwrap());
        }
        Self { fixture, owner }
    }

    /// Submits, expects this refusal, and that nothing was recorded.
    fn refused(&self, records: Vec<Submission>, code: AppendCode, says: &str) -> AppendError {
        self.refused_for(&Principal::local(), records, code, says)
    }

    fn refused_for(
        &self,
        principal: &Principal,
        records: impl AsRef<[Submission]>,
        code: AppendCode,
        says: &str,
    ) -> AppendError {
        let before = self.fixture.status().sequenced;
        let error = self
            .fixture
            .ledger
            .submit(records.as_ref(), principal)
            .unwrap()
            .wait()
            .unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.to_string().contains(says), "{error}\nlacks: {says}");
        // A conflict is recorded, on the server's own stream.
        if code != AppendCode::Conflict {
            assert_eq!(
                self.fixture.status().sequenced,
                before,
                "something was recorded"
            );
        }
        error
    }

    /// The ledger still takes what is right.
    fn goes_on(mut self) {
        let records = self.owner.write(metric(9.0)).unwrap();
        self.fixture.append(records);
        self.fixture.verify();
    }

    /// The next record of the owner's stream, as text.
    fn next(&mut self) -> (String, Submission) {
        let mut twin = self.twin();
        let next = twin.write(metric(2.0)).unwrap().remove(0);
        (String::from_utf8(next.record.clone()).unwrap(), next)
    }

    /// A second writer at the owner's place.
    fn twin(&self) -> StreamWriter {
        self.with_key(1)
    }

    fn with_key(&self, key: u8) -> StreamWriter {
        StreamWriter::resume(
            self.owner.scope(),
            self.owner.stream(),
            record::SigningKey::from_bytes(&[key; 32]),
            self.owner.next_seq(),
            self.owner.head().unwrap(),
            self.fixture.clock.clone(),
            common::entropy(),
        )
    }
}

fn raw(text: &str) -> Vec<Submission> {
    vec![Submission::new(text.as_bytes().to_vec())]
}

#[test]
fn what_is_no_record() {
    let mut case = Case::new();
    let (text, _) = case.next();
    let large = text.replace("\"loss\"", &format!("\"{}\"", "x".repeat(70_000)));
    case.refused(raw(&large), AppendCode::TooLarge, "at most 65535");
    let spaced = text.replacen("{\"body\"", "{ \"body\"", 1);
    case.refused(
        raw(&spaced),
        AppendCode::NotCanonical,
        "record 1 of the request",
    );
    let number = text.replacen(":2}", ":2.0}", 1);
    case.refused(raw(&number), AppendCode::NotCanonical, "2.0");
    let twice = text.replacen("\"seq\":", "\"seq\":5,\"seq\":", 1);
    case.refused(raw(&twice), AppendCode::NotCanonical, "");
    let kind = text.replace("metric.logged", "metric.dreamt");
    case.refused(raw(&kind), AppendCode::UnknownKind, "metric.dreamt");
    let version = text.replace("\"v\":1}", "\"v\":2}");
    case.refused(raw(&version), AppendCode::UnknownVersion, "version 2");
    let body = text.replace("\"metrics\":{", "\"metrix\":{");
    case.refused(raw(&body), AppendCode::Malformed, "metrix");
    let infinite = text.replacen(":2}", ":1e999}", 1);
    assert!(case.fixture.submit(raw(&infinite)).is_err());
    case.refused(raw("{"), AppendCode::NotCanonical, "");
    case.refused(raw(""), AppendCode::NotCanonical, "");
    case.refused(Vec::new(), AppendCode::Malformed, "no record");
    let many = vec![Submission::new(text.into_bytes()); MAX_REQUEST_RECORDS + 1];
    case.refused(many, AppendCode::TooLarge, "10000 records");
    case.goes_on();
}

#[test]
fn what_only_the_server_may_say() {
    let case = Case::new();
    let key = case.owner.public_key();
    let name = ProducerName::parse("somebody").unwrap();
    let enrolled = ProducerEnrolled::new("me".to_owned(), key, name);
    let file = DocumentFile::new(
        3,
        "text/markdown".to_owned(),
        "card.md".to_owned(),
        record::Sha256([7; 32]),
    );
    let run = case.owner.scope().run().unwrap();
    let root = RecordHash::from(record::Hash::from([7; 32]));
    let issued = DocumentIssued::new("model-card".to_owned(), vec![file], 1, root, run);
    let at = record::Timestamp(0);
    let read = AccessRead::new("t-x".to_owned(), at, at, ReadPart::Records, 1);
    let changed = AccessChanged::new(AccessChange::Created, "admin".to_owned());
    for draft in [
        Draft::new(enrolled),
        Draft::new(issued),
        Draft::new(read),
        Draft::new(changed),
    ] {
        for scope in [record::Scope::Ledger, case.owner.scope()] {
            let mut writer = case.fixture.writer(scope, "forger", 6);
            let records = writer.write(draft.clone()).unwrap();
            case.refused(records, AppendCode::Forbidden, "the server's");
        }
    }
    case.goes_on();
}

#[test]
fn what_goes_on_from_nothing() {
    let case = Case::new();
    let scope = case.owner.scope();
    let head = case.owner.head().unwrap();
    let (own, last) = (case.owner.stream(), case.owner.next_seq() - 1);
    let nobody = record::StreamName::parse("nobody").unwrap();
    let other = record::Hash::from([9; 32]);
    for (stream, seq, head) in [
        (nobody, last, head),
        (own, last - 1, head),
        (own, last, other),
    ] {
        let writer = case.fixture.writer(scope, "again", 6);
        let records = writer
            .continues(stream, seq, head)
            .write(metric(1.0))
            .unwrap();
        case.refused(records, AppendCode::BadStream, "continues");
    }
    let writer = case.fixture.writer(scope, "again", 6);
    let records = writer
        .continues(own, last, head)
        .write(metric(1.0))
        .unwrap();
    case.fixture.append(records);
    case.goes_on();
}

#[test]
fn what_does_not_come_next() {
    let mut case = Case::new();
    let (text, next) = case.next();
    let seq = case.owner.next_seq();
    let gap = text.replace(&format!("\"seq\":{seq}"), &format!("\"seq\":{}", seq + 2));
    case.refused(
        raw(&gap),
        AppendCode::SeqGap,
        &format!("expected seq {seq}"),
    );
    let head = case.owner.head().unwrap().to_string();
    let other = common::leaf(&next).to_string();
    let prev = text.replace(&head, &other);
    case.refused(raw(&prev), AppendCode::WrongPrev, &head);

    let mut unopened = case.fixture.writer(case.owner.scope(), "rank7", 2);
    let later = unopened.write(metric(1.0)).unwrap().remove(1);
    case.refused(vec![later], AppendCode::BadStream, "stream.opened");

    // Good records before a bad one are not recorded either, and the line is named.
    let mut batch = case.twin().write(metric(2.0)).unwrap();
    batch.extend(raw(&gap.replace("\"loss\":2", "\"loss\":3")));
    let error = case.refused(batch, AppendCode::SeqGap, "record 2 of the request");
    assert_eq!(error.line, Some(2));
    case.goes_on();
}

#[test]
fn signatures_and_seals_of_others() {
    let case = Case::new();
    // Signed by another key than the one that opened the stream.
    let forged = case.with_key(9).sign().unwrap();
    case.refused(vec![forged], AppendCode::BadSignature, "not that of key");

    let run = case.owner.scope().run().unwrap();
    let mut other = case.fixture.writer(case.owner.scope(), "rank1", 2);
    case.fixture.append(other.write(metric(1.0)).unwrap());
    // A stream of the run that is not its owner's.
    let listed = ends(&case.fixture.ledger, run, other.stream());
    let seal = case_seal(&case, "rank1", 2, listed);
    case.refused(vec![seal], AppendCode::BadSeal, "owner");
    // The owner, but a stream is left out.
    let seal = case.twin().seal(RunStatus::Completed, Vec::new()).unwrap();
    case.refused(vec![seal], AppendCode::BadSeal, "rank1");
    // The owner, but a stream is not as it stands.
    let stale = ends(&case.fixture.ledger, run, case.owner.stream());
    case.fixture.append(other.write(metric(2.0)).unwrap());
    let seal = case.twin().seal(RunStatus::Completed, stale).unwrap();
    case.refused(vec![seal], AppendCode::BadSeal, "rank1");
    // Everything right, but another's key signs.
    let listed = ends(&case.fixture.ledger, run, case.owner.stream());
    let seal = case
        .with_key(9)
        .seal(RunStatus::Completed, listed.clone())
        .unwrap();
    case.refused(vec![seal], AppendCode::BadSignature, "run.sealed");
    // The right seal; then nothing more.
    let mut owner = case.twin();
    case.fixture
        .append(vec![owner.seal(RunStatus::Completed, listed).unwrap()]);
    case.refused(
        other.write(metric(3.0)).unwrap(),
        AppendCode::RunSealed,
        "scope ledger",
    );
    let mut late = case.fixture.writer(case.owner.scope(), "late", 3);
    case.refused(
        late.write(metric(3.0)).unwrap(),
        AppendCode::RunSealed,
        "sealed",
    );
    let report = case.fixture.verify();
    assert_eq!(report.unsealed_runs.total, 0);
}

/// A seal in the stream `stream` of the case's run.
fn case_seal(
    case: &Case,
    stream: &str,
    key: u8,
    listed: Vec<record::kinds::StreamEnd>,
) -> Submission {
    let stream = record::StreamName::parse(stream).unwrap();
    let head = case
        .fixture
        .ledger
        .stream_head(case.owner.scope(), stream)
        .unwrap()
        .unwrap();
    let mut writer = StreamWriter::resume(
        case.owner.scope(),
        stream,
        record::SigningKey::from_bytes(&[key; 32]),
        head.next_seq,
        head.head,
        case.fixture.clock.clone(),
        common::entropy(),
    );
    writer.seal(RunStatus::Completed, listed).unwrap()
}

#[test]
fn runs_begin_as_they_must() {
    let case = Case::new();
    let run = RunId::generate(&*case.fixture.clock, &*common::entropy());
    let mut stream = case.fixture.writer(run.into(), "main", 3);
    let first = stream.write(metric(1.0)).unwrap();
    case.refused(first.clone(), AppendCode::BadRun, "run.started");
    // Its stream.opened alone is fine, and waits for run.started.
    case.fixture.append(vec![first[0].clone()]);
    case.fixture.published();
    let mut second = case.fixture.writer(run.into(), "rank1", 4);
    case.refused(
        second.write(metric(1.0)).unwrap(),
        AppendCode::BadRun,
        "has not started",
    );
    let again = RunStarted::new("again".to_owned(), case.owner.public_key());
    let again = case.twin().write(Draft::new(again)).unwrap();
    case.refused(again, AppendCode::BadRun, "started already");
    case.goes_on();
}

#[test]
fn openings_that_do_not_open() {
    let case = Case::new();
    let annotator = Pseudonym::generate(&*common::entropy());
    let good = case.twin().write(common::preference(annotator)).unwrap();
    let mut missing = good.clone();
    missing[0].openings.pop();
    case.refused(missing, AppendCode::BadOpening, "response_b");
    let mut value = good.clone();
    value[0].openings[1].1.value = SealedValue::from_json(&serde_json::json!("other")).unwrap();
    case.refused(value, AppendCode::BadOpening, "prompt");
    let mut key = good.clone();
    key[0].openings[0].1.key = CommitmentKey([0; 32]);
    case.refused(key, AppendCode::BadOpening, "annotator_id");
    let mut extra = good.clone();
    let opening = extra[0].openings[0].1.clone();
    extra[0].openings.push(("zzz".to_owned(), opening));
    case.refused(extra, AppendCode::BadOpening, "zzz");
    case.fixture.append(good);
    case.fixture.verify();
}

#[test]
fn only_who_started_a_run_appends_to_it() {
    let case = Case::new();
    let (alice, bob) = (producer("t-alice"), producer("t-bob"));
    let run = RunId::generate(&*case.fixture.clock, &*common::entropy());
    let mut main = case.fixture.writer(run.into(), "main", 4);
    let started = RunStarted::new("hers".to_owned(), main.public_key());
    let start = main.write(Draft::new(started)).unwrap();
    case.fixture
        .ledger
        .submit(&start, &alice)
        .unwrap()
        .wait()
        .unwrap();

    let next = main.write(metric(1.0)).unwrap();
    case.refused_for(&bob, next.clone(), AppendCode::Forbidden, "another token");
    let mut own = case.fixture.writer(run.into(), "bobs", 5);
    case.refused_for(
        &bob,
        own.write(metric(1.0)).unwrap(),
        AppendCode::Forbidden,
        "started with",
    );
    let reader = Principal::new("t-reader", Role::Reader);
    case.refused_for(
        &reader,
        next.clone(),
        AppendCode::Forbidden,
        "reader may not append",
    );
    case.fixture
        .ledger
        .submit(&next, &alice)
        .unwrap()
        .wait()
        .unwrap();
    // An admin may; a resend of another's record does not tell its index.
    let sent = main.write(metric(2.0)).unwrap();
    case.fixture.append(sent.clone());
    case.refused_for(&bob, sent, AppendCode::Forbidden, "another token");

    // The server's stream is nobody else's, streams of the ledger their openers'.
    let mut server = case.fixture.writer(record::Scope::Ledger, "server", 6);
    let records = server.write(metric(1.0)).unwrap();
    case.refused(records, AppendCode::Forbidden, "server's own");
    let mut data = case.fixture.writer(record::Scope::Ledger, "datasets", 6);
    let records = data.write(metric(1.0)).unwrap();
    case.fixture
        .ledger
        .submit(&records, &alice)
        .unwrap()
        .wait()
        .unwrap();
    let records = data.write(metric(1.0)).unwrap();
    case.refused_for(
        &bob,
        records.clone(),
        AppendCode::Forbidden,
        "ledger/datasets",
    );

    // Known after a new start as well: from the journal, and from the index.
    let Case { fixture, owner } = case;
    let case = Case {
        fixture: fixture.reopen(),
        owner,
    };
    case.refused_for(&bob, records, AppendCode::Forbidden, "ledger/datasets");
    let next = main.write(metric(3.0)).unwrap();
    case.refused_for(&bob, next.clone(), AppendCode::Forbidden, "another token");
    case.fixture.published();
    let Case { fixture, owner } = case;
    let case = Case {
        fixture: fixture.reopen(),
        owner,
    };
    case.refused_for(&bob, next.clone(), AppendCode::Forbidden, "another token");
    case.fixture
        .ledger
        .submit(&next, &alice)
        .unwrap()
        .wait()
        .unwrap();
    case.goes_on();
}
