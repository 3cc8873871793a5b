//! What a server's log has in it, and what it never has.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use common::logged::{Logged, send};
use common::{ADMIN, Desk, eventually};
use serde_json::Value;
use testkit::services;

const PASSPHRASE: &str = "a horse eats no cucumber salad";
const PASSWORD: &str = "pw-7f3d9c-of-the-database";
const PROMPT: &str = "What is the number of my account 4711-0815?";

/// Each line of a log, which has to be JSON.
fn lines(log: &str) -> Vec<Value> {
    let parse =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    log.lines().map(parse).collect()
}

#[test]
fn lines_are_json_and_name_the_request_and_its_trace() {
    let desk = Desk::new();
    let variables = [
        ("RLHF_AUDIT_ADMIN_TOKEN", ADMIN),
        ("RUST_LOG", "server=debug"),
    ];
    let mut server = Logged::start(&desk, &["--port", "0"], &variables);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("x-request-id", "mine-1"), ("traceparent", parent.as_str())];
    send(&format!("{}/health", server.url), "GET", &headers, "");
    eventually("it is logged", || server.log().contains("mine-1"));
    assert!(server.stop().success());
    let all = lines(&server.log());
    for line in &all {
        for member in ["timestamp", "level", "target", "message"] {
            assert!(line[member].is_string(), "{member} in {line}");
        }
    }
    let answered = all
        .iter()
        .find(|line| line["message"] == "answered")
        .unwrap();
    assert_eq!(answered["request_id"], "mine-1", "{answered}");
    assert_eq!(answered["trace_id"], trace, "{answered}");
    assert_eq!(answered["route"], "/health", "{answered}");
    assert_eq!(
        (&answered["level"], &answered["status"]),
        (&"DEBUG".into(), &200.into()),
        "{answered}"
    );
}

#[test]
fn a_terminals_format_can_be_had_anywhere() {
    let desk = Desk::new();
    let args = ["--port", "0", "--log-format", "text", "--log-level", "info"];
    let mut server = Logged::start(&desk, &args, &[("RLHF_AUDIT_ADMIN_TOKEN", ADMIN)]);
    assert!(server.stop().success());
    let log = server.log();
    assert!(
        log.contains("rlhf-audit: serving") && log.contains(" INFO server::serve"),
        "{log}"
    );
    assert!(
        desk.fails(2, &["serve", "--log-level", "lots=of=it"])
            .contains("lots=of=it")
    );
}

#[test]
fn no_secret_and_no_sealed_value_is_ever_logged() {
    let postgres = services::postgres();
    let database = postgres.new_schema();
    postgres.sql(&format!("CREATE DATABASE {database}"));
    let plain = postgres.url();
    let base = plain.trim_end_matches("/postgres");
    let url = format!(
        "{}/{database}",
        base.replace("postgres@", &format!("postgres:{PASSWORD}@"))
    );
    let variables = [
        ("RLHF_AUDIT_ADMIN_TOKEN", ADMIN),
        ("RLHF_AUDIT_DATABASE_URL", url.as_str()),
        ("RLHF_AUDIT_KEY_PASSPHRASE", PASSPHRASE),
        ("RLHF_AUDIT_LOG_LEVEL", "trace"),
    ];
    let desk = Desk::new();
    let made = desk
        .command(&["init", "--encrypt-keys"])
        .envs(variables)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let mut server = Logged::start(&desk, &["--port", "0"], &variables);
    let bearer = format!("Bearer {ADMIN}");
    let token = ("authorization", bearer.as_str());
    let url = |path: &str| format!("{}{path}", server.url);

    // What goes well: a token, a run, sealed values, everything that reads them.
    let new = r#"{"name":"trainer","role":"producer"}"#;
    let json = ("content-type", "application/json");
    let (status, made) = send(&url("/v1/tokens"), "POST", &[token, json], new);
    assert_eq!(status, 201, "{made}");
    let made: Value = serde_json::from_str(&made).unwrap();
    let second = made["token"].as_str().unwrap().to_owned();
    let (place, event) = (
        ["--server", &server.url, "--token", &second],
        format!(
            r#"{{"kind":"annotation.preference","body":{{"choice":"a","item":"q1"}},"sealed":{{"prompt":"{PROMPT}","response_a":"{PROMPT}","response_b":"no"}}}}"#
        ),
    );
    desk.ok(&[&["run", "start", "--name", "first"][..], &place].concat());
    let appended = desk.run_with(
        &[&["append", "--run", "first"][..], &place].concat(),
        event.as_bytes(),
    );
    assert!(
        appended.status.success(),
        "{}",
        String::from_utf8_lossy(&appended.stderr)
    );
    for path in [
        "/v1/runs/first/bundle?openings=true",
        "/v1/runs/first/card",
        "/v1/records",
        "/metrics",
    ] {
        let (status, body) = send(&url(path), "GET", &[token], "");
        assert_eq!(status, 200, "{path}: {body}");
    }

    misused(&server.url, &event, token, &second);
    let id = made["id"].as_str().unwrap();
    let (status, _) = send(&url(&format!("/v1/tokens/{id}")), "DELETE", &[token], "");
    assert!((200..300).contains(&status), "{status}");
    server.signal("HUP");
    eventually("it is read", || {
        server.log().contains("the configuration was read again")
    });
    assert!(server.stop().success(), "{}", server.log());

    let log = server.log();
    assert!(
        lines(&log).len() > 20,
        "nothing was logged that could tell: {log}"
    );
    assert!(
        log.contains("\"TRACE\"") || log.contains("\"DEBUG\""),
        "{log}"
    );
    for (what, secret) in [
        ("the admin's token", ADMIN),
        ("a token", &second),
        ("the passphrase", PASSPHRASE),
        ("the database's password", PASSWORD),
        ("a sealed prompt", PROMPT),
    ] {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{what} is in the log: {line:?}");
    }
}

/// Broken bodies with the prompt in them, tokens in wrong places, names that are none.
fn misused(server: &str, event: &str, admin: (&str, &str), token: &str) {
    let json = ("content-type", "application/json");
    let named = format!(r#"{{"name":"{PROMPT}","role":"{PROMPT}"}}"#);
    for (path, body) in [
        ("/v1/records", event),
        ("/v1/records", &event[..event.len() - 2]),
        ("/v1/runs", event),
        ("/v1/tokens", &named),
        ("/v1/hooks", event),
        ("/api/2.0/mlflow/runs/create", event),
        ("/v1/hooks/none", event),
    ] {
        let (status, _) = send(&format!("{server}{path}"), "POST", &[admin, json], body);
        assert!(status < 500, "{path}: {status}");
    }
    for scheme in ["Basic", "Token", "Bearer x"] {
        let wrong = format!("{scheme} {token}");
        let url = format!("{server}/v1/runs");
        let (status, _) = send(&url, "GET", &[("authorization", &wrong)], "");
        assert_eq!(status, 401, "{scheme}");
    }
}
