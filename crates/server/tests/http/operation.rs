//! Running the server: health, metrics, documentation, headers, limits, stopping.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use crate::support::{Server, code, eventually};

#[test]
fn health_and_metrics_follow_the_log() {
    let server = Server::start();
    let mut stream = server.open_run("measured", &server.producer);
    for _ in 0..10 {
        stream.draft();
    }
    server.take(&mut stream);
    let size = server.ledger.status().sequenced;
    let health = eventually(|| {
        let health = server.ask("get", "/health", None, None);
        assert_eq!(health.status, 200, "{}", health.text());
        (health.json()["published_size"] == size).then(|| health.json())
    });
    assert_eq!(health["status"], "ok");
    assert_eq!(health["log_size"], size);
    assert!(
        health["checkpoint_age_seconds"].as_f64().unwrap() < 60.0,
        "{health}"
    );
    for path in ["/health/live", "/health/ready"] {
        let answer = server.ask("get", path, None, None);
        assert_eq!(
            (answer.status, answer.json()["status"].as_str()),
            (200, Some("ok")),
            "{path}"
        );
    }
    let ready = server.ask("get", "/health/ready", None, None).json();
    for part in ["index", "objects"] {
        let part = &ready["parts"][part];
        assert_eq!(part["status"], "ok", "{ready}");
        assert!(
            part["latency_ms"].as_f64().is_some_and(|took| took > 0.0),
            "{ready}"
        );
    }
    let summary = health["summary"].as_str().unwrap();
    assert!(summary.ends_with("all is well"), "{summary}");
    let metrics = server.ask("get", "/metrics", None, None).text();
    let value = |name: &str| -> f64 {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} in\n{metrics}"))[name.len()..]
            .trim()
            .parse()
            .unwrap()
    };
    assert!(value("rlhf_audit_log_size").eq(&(size as f64)));
    assert!(value("rlhf_audit_published_size").eq(&(size as f64)));
    assert!(value("rlhf_audit_records_appended_total") >= 12.0);
    assert!(value("rlhf_audit_journal_groups_total") >= 1.0);
    assert!(value("rlhf_audit_process_resident_memory_bytes") > 1e6);
    assert!(
        metrics.contains(r#"route="/v1/records",status="201""#),
        "requests are counted by route and status:\n{metrics}"
    );
    let run = stream.run.to_string();
    assert!(
        !metrics.contains(&run) && !health.to_string().contains(&run),
        "{metrics}"
    );
}

#[test]
fn the_checked_in_document_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let current = server::openapi_json();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == current,
        "docs/openapi.json is not current: run this test with UPDATE=1"
    );
    let served = Server::start().ask("get", "/openapi.json", None, None);
    assert_eq!(served.text(), current);
}

#[test]
fn operation_ids_are_unique() {
    let document: serde_json::Value = serde_json::from_str(&server::openapi_json()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let mut ids: Vec<&str> = paths
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn pages_are_pages_and_everything_carries_strict_headers() {
    let server = Server::start();
    for path in ["/", "/docs"] {
        let answer = server.ask("get", path, None, None);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "text/html; charset=utf-8")
        );
        assert!(
            answer
                .header("content-security-policy")
                .contains("style-src 'unsafe-inline'")
        );
    }
    for path in ["/", "/docs", "/health", "/metrics", "/v1/runs", "/nowhere"] {
        let answer = server.ask("get", path, None, None);
        assert!(
            answer
                .header("content-security-policy")
                .starts_with("default-src 'none'"),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert!(!answer.header("x-request-id").is_empty(), "{path}");
        assert!(!answer.header("cache-control").is_empty(), "{path}");
    }
}

#[test]
fn a_method_a_path_does_not_have_is_named_in_allow() {
    let server = Server::start();
    let answer = server.ask("delete", "/v1/records", Some(&server.admin), None);
    assert_eq!(
        (answer.status, code(&answer).as_str()),
        (405, "method-not-allowed")
    );
    for method in ["GET", "POST"] {
        assert!(
            answer.header("allow").contains(method),
            "{}",
            answer.header("allow")
        );
    }
}

#[test]
fn a_body_that_stalls_and_headers_that_never_end_are_given_up() {
    let server = Server::start_with(server::Options {
        header_timeout: Duration::from_millis(300),
        body_stall: Duration::from_millis(300),
        ..server::Options::default()
    });
    let mut stalled = server.connect();
    write!(
        stalled,
        "POST /v1/records HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: 100\r\n\r\n{{",
        server.producer
    )
    .unwrap();
    let mut slow = server.connect();
    write!(slow, "GET /health HTTP/1.1\r\nhost: x\r\nx-slow").unwrap();
    let mut answer = String::new();
    stalled.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("body-stalled"), "{answer}");
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert!(
        !rest.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&rest)
    );
    assert_eq!(server.ask("get", "/health", None, None).status, 200);
}

#[test]
fn a_request_under_way_is_finished_before_the_server_stops() {
    let mut server = Server::start();
    let mut open = server.connect();
    let mut stream = server.open_run("finished", &server.producer);
    stream.draft();
    let lines = stream.lines();
    // The head and half the body are in; the server waits for the rest.
    write!(
        open,
        "POST /v1/records HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        server.producer,
        lines.len(),
    )
    .unwrap();
    let mut go_on = [0; 25];
    open.read_exact(&mut go_on).unwrap();
    assert!(
        go_on.starts_with(b"HTTP/1.1 100 "),
        "{}",
        String::from_utf8_lossy(&go_on)
    );
    let address = server.address;
    let stopping = std::thread::spawn(move || {
        server.stop();
        server
    });
    eventually(|| std::net::TcpStream::connect(address).is_err().then_some(()));
    open.write_all(&lines).unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    drop(stopping.join().unwrap());
}

#[test]
fn no_auth_lets_local_callers_in_and_nobody_else() {
    let server = Server::start_with(server::Options {
        no_auth: true,
        ..server::Options::default()
    });
    assert_eq!(server.ask("get", "/v1/tokens", None, None).status, 200);
    let mut rebound = server.connect();
    write!(
        rebound,
        "GET /v1/tokens HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    rebound.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.contains("foreign-host"),
        "{answer}"
    );

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let refused = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let options = server::Options {
            no_auth: true,
            ..server::Options::default()
        };
        server::serve(
            listener,
            server.ledger.clone(),
            options,
            std::future::pending(),
        )
        .await
    });
    assert!(matches!(
        refused,
        Err(server::ServerError::NoAuthBeyondLoopback { .. })
    ));
}
