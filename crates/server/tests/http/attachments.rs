//! Attachments over HTTP: put before the record that names them, read back, refused where they are not what they say.

use std::io::{Cursor, Read as _, Write as _};
use std::time::Duration;

use client::{ClientError, RetryPolicy};
use record::{Attachment, Draft, Sha256};
use serde_json::Value;

use crate::support::{Server, code, eventually, metric};

/// Some bytes, their name and their path.
fn sample(bytes: usize) -> (Vec<u8>, Attachment, String) {
    let content: Vec<u8> = (0..bytes as u32).map(|n| (n / 3) as u8).collect();
    let sha256 = Sha256(tlog::sha256(&content));
    let attachment = Attachment {
        bytes: bytes as u64,
        sha256,
    };
    (content, attachment, format!("/v1/attachments/{sha256}"))
}

fn naming(attachment: Attachment) -> Draft {
    metric().attach("manifest", attachment)
}

#[test]
fn an_attachment_is_put_named_and_read() {
    let server = Server::start();
    let producer = Some(server.producer.as_str());
    for bytes in [0, 1, 5_000, 3 << 20] {
        let (content, attachment, path) = sample(bytes);
        let missing = server.ask("get", &path, Some(&server.reader), None);
        assert_eq!(
            (missing.status, code(&missing).as_str()),
            (404, "not-found")
        );
        for status in [201, 200, 200] {
            let answer = server.send("put", &path, producer, None, &content);
            assert_eq!(answer.status, status, "{}", answer.text());
            let kept = answer.json();
            assert_eq!(kept["sha256"], attachment.sha256.to_string());
            assert_eq!(kept["bytes"], bytes);
        }
        let answer = server.ask("get", &path, Some(&server.reader), None);
        assert_eq!(answer.status, 200);
        assert!(answer.body == content, "{bytes} bytes");
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        assert_eq!(answer.header("content-length"), bytes.to_string());
        assert!(answer.header("cache-control").starts_with("private"));

        let mut stream = server.open_run("named", &server.producer);
        stream.write(naming(attachment));
        server.take(&mut stream);
    }
}

#[test]
fn a_record_that_names_what_is_not_there_is_refused_until_it_is() {
    let server = Server::start();
    let mut stream = server.open_run("early", &server.producer);
    let (content, attachment, path) = sample(700);
    stream.draft();
    stream.write(naming(attachment));
    let lines = stream.lines();
    let refused = server.post_lines(&lines, Some(&server.producer));
    assert_eq!(
        (refused.status, code(&refused).as_str()),
        (422, "attachment-missing"),
        "{}",
        refused.text()
    );
    let problem: Value = refused.json();
    assert_eq!(problem["line"], 2);
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("`manifest`") && detail.contains(&path),
        "{detail}"
    );
    assert_eq!(server.count(&stream), stream.acknowledged(), "all or none");

    let put = server.send("put", &path, Some(&server.producer), None, &content);
    assert_eq!(put.status, 201);
    server.take(&mut stream);

    // The right name with another size is no attachment that is here.
    stream.write(naming(Attachment {
        bytes: 701,
        ..attachment
    }));
    let refused = server.post_lines(&stream.lines(), Some(&server.producer));
    assert_eq!(code(&refused), "attachment-missing");
    assert!(
        refused.text().contains("has 700 bytes"),
        "{}",
        refused.text()
    );
    stream.discard();
    stream.write(naming(attachment));
    server.take(&mut stream);
}

#[test]
fn what_is_not_the_bytes_of_its_name_is_not_kept() {
    let server = Server::start();
    let producer = Some(server.producer.as_str());
    let (content, _, path) = sample(10_000);
    let mut flipped = content.clone();
    flipped[9_999] ^= 1;
    for wrong in [&flipped[..], &content[..9_999], b""] {
        let answer = server.send("put", &path, producer, None, wrong);
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (422, "attachment-mismatch"),
            "{}",
            answer.text()
        );
    }
    let long = "ab".repeat(33);
    for name in ["x", "AB", &"AB".repeat(32), &long] {
        for method in ["put", "get"] {
            let path = format!("/v1/attachments/{name}");
            let answer = server.send(method, &path, Some(&server.admin), None, b"x");
            assert_eq!(
                (answer.status, code(&answer).as_str()),
                (400, "bad-path"),
                "{method} {name}"
            );
        }
    }
    // Nothing of all this is left, not even half-written.
    assert_eq!(
        server.ask("get", &path, Some(&server.reader), None).status,
        404
    );
    nothing_half_written(&server);
}

fn nothing_half_written(server: &Server) {
    let tmp = server.dir.path().join("tmp");
    eventually(|| (std::fs::read_dir(&tmp).unwrap().count() == 0).then_some(()));
}

/// Sends the beginning of a request to put an attachment.
fn begin(server: &Server, path: &str, headers: &str, body: &[u8]) -> std::net::TcpStream {
    let mut stream = server.connect();
    let head = format!(
        "PUT {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n{headers}\r\n",
        server.producer
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    stream
}

#[test]
fn one_that_is_too_long_stalls_or_breaks_off_leaves_nothing() {
    let server = Server::start_with(server::Options {
        body_stall: Duration::from_millis(300),
        ..server::Options::default()
    });
    let (content, _, path) = sample(100_000);
    let answer = |mut stream: std::net::TcpStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let too_long = begin(&server, &path, "content-length: 268435457\r\n", b"");
    let said = answer(too_long);
    assert!(said.contains("body-too-large"), "{said}");

    let stalled = begin(
        &server,
        &path,
        "content-length: 100000\r\n",
        &content[..50_000],
    );
    let said = answer(stalled);
    assert!(said.contains("body-stalled"), "{said}");

    let broken = begin(&server, &path, "transfer-encoding: chunked\r\n", b"zz\r\n");
    let said = answer(broken);
    assert!(said.starts_with("HTTP/1.1 400"), "{said}");

    // A sender that goes away, just before the end and long before.
    for sent in [99_999, 10] {
        drop(begin(
            &server,
            &path,
            "content-length: 100000\r\n",
            &content[..sent],
        ));
    }
    nothing_half_written(&server);
    assert_eq!(
        server.ask("get", &path, Some(&server.reader), None).status,
        404
    );
    let put = server.send("put", &path, Some(&server.producer), None, &content);
    assert_eq!(put.status, 201);
}

#[test]
fn only_so_many_arrive_at_one_time() {
    let server = Server::start();
    let (content, _, path) = sample(1_000);
    let lines = "content-length: 1000\r\n";
    let begin_one = || begin(&server, &path, lines, &content[..10]);
    let mut held: Vec<_> = (0..15).map(|_| begin_one()).collect();
    // One that arrives while the whole one has the last place is itself refused, so another is begun each time.
    let refused = eventually(|| {
        held.push(begin_one());
        let answer = server.send("put", &path, Some(&server.producer), None, &content);
        (answer.status == 503).then_some(answer)
    });
    assert_eq!(code(&refused), "overloaded");
    assert!(!refused.header("retry-after").is_empty());
    // Records are taken all the same, and there is room again once the others have gone.
    let mut stream = server.open_run("meanwhile", &server.producer);
    stream.draft();
    server.take(&mut stream);
    drop(held);
    eventually(|| {
        let answer = server.send("put", &path, Some(&server.producer), None, &content);
        (answer.status < 300).then_some(())
    });
}

#[test]
fn the_client_puts_and_reads_them() {
    let server = Server::start();
    let producer = server.client(&server.producer);
    let reader = server.client(&server.reader);
    for bytes in [0, 9, (2 << 20) + 1] {
        let (content, expected, _) = sample(bytes);
        let mut source = Cursor::new(content.clone());
        source.set_position(3);
        let put = producer.put_attachment(&mut source).unwrap();
        assert_eq!(put, expected);
        let mut found = Vec::new();
        assert_eq!(
            reader.attachment(&put.sha256, &mut found).unwrap(),
            put.bytes
        );
        assert!(found == content);
    }
    let (content, expected, _) = sample(3 << 20);
    let mut source = Cursor::new(&content);
    let refused = reader.put_attachment(&mut source).unwrap_err();
    assert_eq!(refused.problem().unwrap().status, 403, "{refused}");
    let missing = reader.attachment(&expected.sha256, &mut Vec::new());
    assert_eq!(missing.unwrap_err().problem().unwrap().status, 404);
    // A source that is not what was said of it.
    let mut short = Cursor::new(&content[..3_000_000]);
    let failed = producer.put_attachment_as(&expected, &mut short);
    assert!(matches!(failed, Err(ClientError::Upload(_))), "{failed:?}");
    let mut other = Cursor::new(vec![0; 3 << 20]);
    let failed = producer.put_attachment_as(&expected, &mut other);
    assert_eq!(
        failed.unwrap_err().problem().unwrap().code,
        "attachment-mismatch"
    );
    // Nobody is there.
    let nobody = client::Client::new("http://127.0.0.1:1", None)
        .unwrap()
        .with_retry(RetryPolicy::NEVER);
    let failed = nobody.put_attachment(&mut Cursor::new(b"x"));
    assert!(
        matches!(failed, Err(ClientError::Unavailable { .. })),
        "{failed:?}"
    );
}

#[test]
fn an_attachment_that_was_changed_behind_the_server_is_noticed_by_whoever_reads_it() {
    let server = Server::start();
    let (content, expected, path) = sample(4_000);
    let put = server.send("put", &path, Some(&server.producer), None, &content);
    assert_eq!(put.status, 201);
    let name = expected.sha256.to_string();
    let file = server
        .dir
        .path()
        .join("attachments")
        .join(&name[..2])
        .join(&name);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[17] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let reader = server.client(&server.reader);
    let failed = reader.attachment(&expected.sha256, &mut Vec::new());
    assert!(
        matches!(failed, Err(ClientError::Unexpected { .. })),
        "{failed:?}"
    );
    // The same put again mends it.
    let put = server.send("put", &path, Some(&server.producer), None, &content);
    assert_eq!(put.status, 200);
    reader
        .attachment(&expected.sha256, &mut Vec::new())
        .unwrap();
}
