//! Appending as producers do it: one, many, at once, again, and with proofs.

use std::sync::{Arc, Barrier};

use client::{ClientError, NewRun, Recorder, RetryPolicy, Wait};
use record::{ProducerName, RunId, Scope, SigningKey, StreamName, StreamWriter};
use tlog::{Policy, TlogProof};

use crate::support::{Server, SystemClock, SystemEntropy, fresh_key, metric};

fn policy(server: &Server) -> Policy {
    Policy::parse(&std::fs::read(server.dir.path().join("policy")).unwrap()).unwrap()
}

#[test]
fn a_published_append_answers_with_proofs_that_hold() {
    let server = Server::start();
    let mut stream = server.open_run("proved", &server.producer);
    for _ in 0..5 {
        stream.draft();
    }
    let producer = server.client(&server.producer);
    let appended = producer
        .append(stream.submissions(), Wait::Published)
        .unwrap();
    assert_eq!(appended.published, Some(true));
    assert_eq!(appended.records.len(), 5);
    let policy = policy(&server);
    for (receipt, submission) in appended.records.iter().zip(stream.submissions()) {
        let proof = TlogProof::parse(receipt.proof.as_ref().unwrap().as_bytes()).unwrap();
        let leaf = record::leaf_hash(&submission.record);
        assert_eq!(record::RecordHash::from(leaf), receipt.leaf_hash);
        proof.verify(&leaf, &policy).unwrap();
        let other = record::leaf_hash(b"another record");
        assert!(
            proof.verify(&other, &policy).is_err(),
            "a proof of anything proves nothing"
        );
        // The same proof is there for readers.
        let again = server.client(&server.reader).proof(receipt.index).unwrap();
        let again = TlogProof::parse(again.as_bytes()).unwrap();
        again.verify(&leaf, &policy).unwrap();
    }
}

#[test]
fn the_same_request_again_records_nothing_again() {
    let server = Server::start();
    let mut stream = server.open_run("again", &server.producer);
    for _ in 0..3 {
        stream.draft();
    }
    let producer = server.client(&server.producer);
    let first = producer
        .append(stream.submissions(), Wait::Durable)
        .unwrap();
    let again = producer
        .append(stream.submissions(), Wait::Durable)
        .unwrap();
    assert!(again.records.iter().all(|receipt| receipt.duplicate));
    let indices = |appended: &client::Appended| {
        appended
            .records
            .iter()
            .map(|receipt| receipt.index)
            .collect::<Vec<_>>()
    };
    assert_eq!(indices(&first), indices(&again));
    stream.sent();
    assert_eq!(server.count(&stream), stream.acknowledged());
}

#[test]
fn one_record_as_json_is_recorded() {
    let server = Server::start();
    let mut stream = server.open_run("one", &server.producer);
    stream.draft();
    let answer = server.send(
        "post",
        "/v1/records",
        Some(&server.producer),
        Some("application/json; charset=utf-8"),
        &stream.lines(),
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["records"].as_array().unwrap().len(), 1);
    assert!(answer.json().get("published").is_none());
}

#[test]
fn two_clients_at_once_interleave_and_lose_nothing() {
    const EACH: usize = 200;
    let server = Server::start();
    let run = server.start_run("two").run;
    let barrier = Arc::new(Barrier::new(2));
    std::thread::scope(|scope| {
        for name in ["rank0", "rank1"] {
            let (server, barrier) = (&server, Arc::clone(&barrier));
            scope.spawn(move || {
                let mut stream = Server::stream_of(run, name, &server.producer);
                let producer = server.client(&server.producer);
                barrier.wait();
                let mut last = None;
                for _ in 0..EACH {
                    stream.draft();
                    let appended = producer
                        .append(stream.submissions(), Wait::Durable)
                        .unwrap();
                    for receipt in appended.records {
                        assert!(last < Some(receipt.index), "out of order");
                        last = Some(receipt.index);
                    }
                    stream.sent();
                }
            });
        }
    });
    let streams = server
        .client(&server.producer)
        .streams(run.as_str())
        .unwrap();
    let names: Vec<&str> = streams
        .iter()
        .map(|stream| stream.stream.as_str())
        .collect();
    assert_eq!(names, ["rank0", "rank1", "server"]);
    for stream in &streams[..2] {
        assert!(stream.next_seq > EACH as u64, "{stream:?}");
    }
    // Those of no run can be asked for in the same way.
    let of_ledger = server.client(&server.producer).streams("ledger").unwrap();
    let names: Vec<&str> = of_ledger
        .iter()
        .map(|stream| stream.stream.as_str())
        .collect();
    assert_eq!(names, ["server"]);
}

#[test]
fn a_recorder_batches_signs_resumes_and_seals() {
    let server = Server::start();
    let seed = [7; 32];
    let run = RunId::generate(&SystemClock, &SystemEntropy);
    let writer = StreamWriter::open(
        Scope::Run(run),
        StreamName::parse("trainer").unwrap(),
        ProducerName::parse("tests").unwrap(),
        SigningKey::from_bytes(&seed),
        Arc::new(SystemClock),
        Arc::new(SystemEntropy),
    );
    let owner = writer.public_key();
    let producer = server.client(&server.producer);
    let mut recorder = Recorder::new(producer.clone(), writer);
    let started = record::kinds::RunStarted::new("recorded".to_owned(), owner);
    recorder.record(record::Draft::new(started)).unwrap();
    let mut names = Vec::new();
    for _ in 0..2_500 {
        names.push(recorder.record(metric()).unwrap());
    }
    // Two full batches went on their own; the rest waits for the flush.
    assert!(
        (2_000..2_500).contains(&recorder.acknowledged()),
        "{}",
        recorder.acknowledged()
    );
    recorder.flush().unwrap();
    let acknowledged = recorder.acknowledged();
    drop(recorder);

    let name = StreamName::parse("trainer").unwrap();
    let head = producer.stream_head(run, &name).unwrap().unwrap();
    assert_eq!(head.next_seq, acknowledged);
    let writer = StreamWriter::resume(
        Scope::Run(run),
        name,
        SigningKey::from_bytes(&seed),
        head.next_seq,
        head.head.into(),
        Arc::new(SystemClock),
        Arc::new(SystemEntropy),
    );
    let mut recorder = Recorder::new(producer.clone(), writer);
    names.push(recorder.record(metric()).unwrap());
    let receipt = recorder
        .seal(record::kinds::RunStatus::Completed, Vec::new())
        .unwrap()
        .unwrap();
    server.published();
    let sealed = server.client(&server.reader).record(receipt.index).unwrap();
    assert!(
        sealed.record.get().contains(r#""kind":"run.sealed""#),
        "{}",
        sealed.record
    );
    assert_eq!(producer.run(run.as_str()).unwrap().status, "completed");

    // `record` named each record as the log does.
    let reader = server.client(&server.reader);
    let query = client::RecordQuery {
        run: Some(run.to_string()),
        kind: Some("metric.logged".into()),
        limit: Some(1_000),
        ..client::RecordQuery::default()
    };
    let page = reader.records(&query).unwrap();
    let logged: Vec<_> = page.records.iter().map(|record| record.leaf_hash).collect();
    assert_eq!(logged[..], names[..1_000]);
}

#[test]
fn a_run_of_the_server_is_its_own_to_seal_and_another_is_not() {
    let server = Server::start();
    let producer = server.client(&server.producer);
    let mine = NewRun {
        name: "mine".into(),
        experiment: Some("seals".into()),
        model: Some("tiny".into()),
        config: [("lr".to_owned(), serde_json::json!(0.5))].into(),
        owner: Some(fresh_key()),
    };
    let run = producer.create_run(&mine).unwrap();
    assert_eq!((run.name.as_str(), run.status.as_str()), ("mine", "open"));
    assert_eq!(Some(run.owner), mine.owner);
    assert_eq!(run.experiment.as_deref(), Some("seals"));
    let refused = producer
        .seal_run(run.run.as_str(), "completed")
        .unwrap_err();
    assert_eq!(refused.problem().unwrap().code, "bad-seal");

    let other = server
        .client(&server.admin)
        .create_token("other", "producer")
        .unwrap()
        .token;
    let run = server.start_run("another's");
    let refused = server
        .client(&other)
        .seal_run(run.run.as_str(), "failed")
        .unwrap_err();
    assert_eq!(refused.problem().unwrap().code, "forbidden");
    producer.seal_run(run.run.as_str(), "failed").unwrap();
    assert_eq!(producer.run(run.run.as_str()).unwrap().status, "failed");
}

#[test]
fn a_client_waits_for_a_server_that_comes_back_and_gives_up_on_one_that_does_not() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = client::Client::new(&format!("http://{closed}"), None)
        .unwrap()
        .with_retry(RetryPolicy::NEVER);
    assert!(matches!(
        nobody.health(),
        Err(ClientError::Unavailable { .. })
    ));

    // A server that is busy at first, breaks off once, and then answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers = std::thread::spawn(move || {
        let busy = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\n\
                    content-length: 0\r\nconnection: close\r\n\r\n";
        let good =
            "HTTP/1.1 200 OK\r\ncontent-length: 15\r\nconnection: close\r\n\r\n{\"status\":\"ok\"}";
        for answer in [busy, "", good] {
            use std::io::{Read, Write};
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4_096];
            assert_ne!(stream.read(&mut request).unwrap(), 0);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let patient = client::Client::new(&url, None).unwrap();
    assert_eq!(patient.health().unwrap()["status"], "ok");
    answers.join().unwrap();
}
