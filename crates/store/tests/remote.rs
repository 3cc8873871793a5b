//! Object stores that lie, stall, break off and come back.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use store::{ObjectStore, RemoteObjects, StoreError};
use testkit::services::{self, BUCKET, Fault, Proxy};

/// An S3 that fails as the test says, behind a client that is not patient.
fn s3() -> (Proxy, RemoteObjects) {
    let server = services::s3();
    let proxy = Proxy::start(server.port());
    let url = format!("s3://{BUCKET}/{}", server.new_prefix());
    let objects = RemoteObjects::open(&url, &hasty(&proxy)).unwrap();
    (proxy, objects)
}

fn hasty(proxy: &Proxy) -> Vec<(String, String)> {
    let mut options = services::s3_options(proxy.port());
    options.push(("AWS_READ_TIMEOUT".to_owned(), "1 second".to_owned()));
    options.push(("AWS_PAGER".to_owned(), "of no interest".to_owned()));
    options
}

const ERROR_500: &str =
    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\nConnection: close\r\n\r\noops!";
const ERROR_503: &str = "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const ERROR_403: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const CUT_BODY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nLast-Modified: Tue, 24 Nov 2026 00:00:00 GMT\r\n\
                        ETag: \"x\"\r\nConnection: close\r\n\r\nhalf of it";

#[test]
fn a_store_that_ignores_the_condition_is_refused() {
    // It lacks headers that Google's always has, so it gets them on the way.
    let proxy = Proxy::start(services::careless_gcs().port());
    proxy.add_headers("ETag: \"x\"\r\nLast-Modified: Tue, 24 Nov 2026 00:00:00 GMT\r\n");
    let options = services::gcs_options(proxy.port());
    let refused = RemoteObjects::open(&format!("gs://{BUCKET}/log"), &options);
    let error = refused.unwrap_err();
    assert!(
        matches!(error, StoreError::ConditionIgnored { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("If-None-Match"), "{error}");

    // The same S3, once without the header on its way.
    let server = services::s3();
    let proxy = Proxy::start(server.port());
    let url = format!("s3://{BUCKET}/{}", server.new_prefix());
    proxy.plan(
        "if-none-match: *",
        usize::MAX,
        Fault::Replace("if-none-match", "xx-none-match"),
    );
    let refused = RemoteObjects::open(&url, &hasty(&proxy));
    assert!(
        matches!(refused, Err(StoreError::ConditionIgnored { .. })),
        "{refused:?}"
    );
    assert!(proxy.struck() >= 2);
    proxy.heal();
    // Nothing is left of the probes.
    let objects = RemoteObjects::open(&url, &hasty(&proxy)).unwrap();
    assert_eq!(objects.list("").unwrap(), [""; 0]);
}

#[test]
fn a_write_that_failed_may_have_been_done() {
    let (proxy, objects) = s3();
    let (ours, theirs) = (&b"ours"[..], &b"theirs"[..]);
    for (key, fault) in [
        ("done/answer-lost", Fault::LoseAnswer),
        ("done/answer-cut", Fault::CutAnswer(12)),
        ("undone/request-lost", Fault::Lose),
        ("undone/500", Fault::Answer(ERROR_500)),
        ("undone/503", Fault::Answer(ERROR_503)),
        ("undone/hangs", Fault::Hang),
    ] {
        let struck = proxy.struck();
        proxy.plan("PUT ", 1, fault.clone());
        objects.put(key, ours).unwrap();
        assert_eq!(proxy.struck(), struck + 1, "{key}");
        assert_eq!(objects.get(key).unwrap().as_deref(), Some(ours), "{key}");
        // Whatever becomes of the request, other bytes are in nobody's place.
        proxy.plan("PUT ", 1, fault.clone());
        let refused = objects.put(key, theirs);
        assert!(
            matches!(refused, Err(StoreError::Conflict { .. })),
            "{key}: {refused:?}"
        );
        assert_eq!(objects.get(key).unwrap().as_deref(), Some(ours), "{key}");
        proxy.plan("PUT ", 1, fault);
        objects.replace("checkpoint", key.as_bytes()).unwrap();
        let checkpoint = objects.get("checkpoint").unwrap();
        assert_eq!(checkpoint.as_deref(), Some(key.as_bytes()));
    }
}

#[test]
fn parts_of_a_large_object_are_sent_again_and_read_again() {
    let (proxy, objects) = s3();
    let bytes: Vec<u8> = (0..(17 << 20) as u32).map(|n| (n / 5) as u8).collect();
    let hurt = [
        Fault::LoseAnswer,
        Fault::Lose,
        Fault::Answer(ERROR_500),
        Fault::Answer(ERROR_503),
    ];
    for (number, fault) in hurt.into_iter().enumerate() {
        // Beginning, parts, completion.
        for request in ["POST ", "PUT ", "?uploadId="] {
            let key = format!("large/{number}{}", request.trim_matches(['?', '=', ' ']));
            let struck = proxy.struck();
            proxy.plan(request, 2, fault.clone());
            let written = objects.put_from(&key, &mut bytes.as_slice()).unwrap();
            assert_eq!(written, bytes.len() as u64, "{key} {fault:?}");
            // Where a completion was done and its answer lost, that is found by looking.
            assert!(proxy.struck() > struck, "{key} {fault:?}");
            proxy.heal();
            let struck = proxy.struck();
            proxy.plan("GET ", 1, fault.clone());
            let mut object = objects.open_object(&key).unwrap().unwrap();
            let mut found = Vec::new();
            std::io::Read::read_to_end(&mut object.reader, &mut found).unwrap();
            assert!(found == bytes, "{key} {fault:?}");
            assert_eq!(proxy.struck(), struck + 1, "{key} {fault:?}");
        }
    }
    // Where the store refuses, nothing is there, and nothing is left begun.
    proxy.plan("PUT ", 1, Fault::Answer(ERROR_403));
    let refused = objects.put_from("large/refused", &mut bytes.as_slice());
    assert!(
        matches!(refused, Err(StoreError::Refused { .. })),
        "{refused:?}"
    );
    assert_eq!(objects.confirm("large/refused").unwrap(), None);
}

#[test]
fn a_read_that_breaks_off_is_read_again() {
    let (proxy, objects) = s3();
    let bytes = vec![7; 300_000];
    objects.put("tile/entries/000", &bytes).unwrap();
    for fault in [
        Fault::CutAnswer(1000),
        Fault::CutAnswer(200_000),
        Fault::LoseAnswer,
        Fault::Answer(CUT_BODY),
        Fault::Answer(ERROR_500),
        Fault::Answer(ERROR_503),
        Fault::Hang,
    ] {
        let struck = proxy.struck();
        proxy.plan("GET ", 1, fault.clone());
        let found = objects.get("tile/entries/000").unwrap();
        assert!(found.as_ref() == Some(&bytes), "{fault:?}");
        proxy.plan("GET ", 1, fault.clone());
        assert_eq!(objects.list("tile").unwrap(), ["tile/entries/000"]);
        assert_eq!(proxy.struck(), struck + 2, "{fault:?}");
    }
    proxy.plan("DELETE ", 1, Fault::LoseAnswer);
    proxy.plan("POST ", 1, Fault::LoseAnswer);
    objects.delete("tile/entries/000").unwrap();
    assert_eq!(objects.get("tile/entries/000").unwrap(), None);
}

#[test]
fn a_store_that_stays_away_is_unavailable_and_comes_back() {
    let (proxy, objects) = s3();
    let keys: Vec<_> = (0..100)
        .map(|number| format!("tile/0/{number:03}"))
        .collect();
    let all: Vec<_> = keys
        .iter()
        .map(|key| (key.as_str(), key.as_bytes()))
        .collect();
    objects.put_many(&all[..50]).unwrap();
    proxy.plan("/ledger", usize::MAX, Fault::Answer(ERROR_503));
    std::thread::scope(|scope| {
        let asked: Vec<_> = [
            scope.spawn(|| objects.put_many(&all)),
            scope.spawn(|| objects.replace("checkpoint", b"bytes")),
            scope.spawn(|| objects.get("tile/0/000").map(drop)),
            scope.spawn(|| objects.list("").map(drop)),
            scope.spawn(|| objects.delete("tile/0/000")),
        ]
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
        for outcome in asked {
            let error = outcome.unwrap_err();
            assert!(error.is_unavailable(), "{error:?}");
            let text = error.to_string();
            assert!(
                text.contains("s3://ledger/") && text.contains("503") && text.contains("attempts"),
                "{text}"
            );
        }
    });
    proxy.heal();
    objects.put_many(&all).unwrap();
    assert_eq!(objects.list("tile").unwrap(), keys);
}

#[test]
fn a_store_that_says_no_is_not_asked_again() {
    let (proxy, objects) = s3();
    for text in ["PUT ", "GET "] {
        proxy.plan(text, 1, Fault::Answer(ERROR_403));
    }
    let (put, got) = (objects.put("a", b"bytes"), objects.get("a"));
    assert_eq!(proxy.struck(), 2);
    for error in [put.unwrap_err(), got.unwrap_err()] {
        assert!(matches!(error, StoreError::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("credentials"), "{error}");
    }
    let options = services::s3_options(proxy.port());
    let missing = RemoteObjects::open("s3://nobody-has-this/log", &options);
    assert!(
        matches!(missing, Err(StoreError::Refused { .. })),
        "{missing:?}"
    );
    for url in [
        "ledger",
        "file:///tmp",
        "s3://",
        "s3:///log",
        "s3://key:secret@ledger/log",
        "s3://ledger/a//b",
        "s3://ledger/../b",
        "s3://ledger/log?region=x",
    ] {
        let bad = RemoteObjects::open(url, &options);
        let text = format!("{bad:?}");
        assert!(
            matches!(bad, Err(StoreError::BadConfig { .. })),
            "{url}: {text}"
        );
        assert!(!text.contains("secret"), "{text}");
    }
    let broken = [("AWS_TIMEOUT".to_owned(), "soon".to_owned())];
    let bad = RemoteObjects::open("s3://ledger/log", &broken);
    assert!(matches!(bad, Err(StoreError::BadConfig { .. })), "{bad:?}");
}
