//! Tokens that are not good, and whose runs are whose. Every route by role: `table.rs`.

use crate::support::{Server, code};

#[test]
fn a_bad_or_revoked_token_is_nobodys() {
    let server = Server::start();
    for token in [
        "rat_",
        "x",
        "rat_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        let answer = server.ask("get", "/v1/runs", Some(token), None);
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (401, "invalid-token"),
            "{token}"
        );
        assert!(answer.header("www-authenticate").contains("invalid_token"));
    }
    let admin = server.client(&server.admin);
    let made = admin.create_token("short-lived", "reader").unwrap();
    assert!(
        made.token.starts_with("rat_") && made.token.len() == 47,
        "{}",
        made.token
    );
    let reads = || {
        server
            .ask("get", "/v1/records", Some(&made.token), None)
            .status
    };
    assert_eq!(reads(), 200);
    let listed = admin.tokens().unwrap();
    let found = listed.iter().find(|token| token.id == made.id).unwrap();
    assert_eq!(
        (found.name.as_str(), found.role.as_str()),
        ("short-lived", "reader")
    );
    let page = server
        .ask("get", "/v1/tokens", Some(&server.admin), None)
        .text();
    assert!(!page.contains("rat_"), "a list of tokens shows a secret");
    admin.revoke_token(&made.id).unwrap();
    assert_eq!(reads(), 401);
}

#[test]
fn a_producer_appends_to_its_own_runs_only() {
    let server = Server::start();
    let mut theirs = server.open_run("theirs", &server.producer);
    let other = server
        .client(&server.admin)
        .create_token("other", "producer")
        .unwrap()
        .token;
    theirs.draft();
    let answer = server.post_lines(&theirs.lines(), Some(&other));
    assert_eq!(
        (answer.status, code(&answer).as_str()),
        (403, "forbidden"),
        "{}",
        answer.text()
    );
    let answer = server.post_lines(&theirs.lines(), Some(&server.producer));
    assert_eq!(answer.status, 201, "{}", answer.text());
    theirs.sent();
    theirs.draft();
    let answer = server.post_lines(&theirs.lines(), Some(&server.admin));
    assert_eq!(
        answer.status,
        201,
        "an admin may append to any run: {}",
        answer.text()
    );
}
