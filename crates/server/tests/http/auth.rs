//! Who may do what: every route, every role, cell by cell.

use std::collections::BTreeSet;

use crate::support::{Server, code};

/// `-` without a token, `P`roducer, `R`eader, `A`dmin: a letter is there where the caller gets in. `!`: no
/// token of this server gets in, only what proves itself otherwise.
const TABLE: &str = "
    get    /                           -PRA
    get    /docs                       -PRA
    get    /openapi.json               -PRA
    get    /health                     -PRA
    get    /health/live                -PRA
    get    /health/ready               -PRA
    get    /metrics                    -PRA
    get    /log/checkpoint             -PRA
    get    /log/checkpoint.cosigned    -PRA
    get    /log/policy                 -PRA
    get    /log/rotations/{number}     -PRA
    get    /log/tile/{level}/{index}   -PRA
    get    /log/tile/entries/{index}   RA
    get    /log/timestamps/{name}      -PRA
    get    /log/policy                 -PRA
    post   /v1/runs                    PA
    get    /v1/runs                    PRA
    get    /v1/runs/{run}              PRA
    get    /v1/runs/{run}/streams      PRA
    post   /v1/runs/{run}/seal         PA
    get    /v1/runs/{run}/bundle       RA
    get    /v1/runs/{run}/card         RA
    post   /v1/runs/{run}/card         A
    post   /v1/records                 PA
    get    /v1/records                 RA
    get    /v1/records/{index}         RA
    get    /v1/records/{index}/proof   PRA
    get    /v1/findings                RA
    put    /v1/attachments/{sha256}    PA
    get    /v1/attachments/{sha256}    RA
    post   /v1/hooks                   A
    get    /v1/hooks                   A
    post   /v1/hooks/{name}            !
    delete /v1/hooks/{name}            A
    post   /v1/tokens                  A
    get    /v1/tokens                  A
    delete /v1/tokens/{id}             A
";

fn cells() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TABLE.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?, words.next()?))
    })
}

#[test]
fn every_cell_of_the_table_holds() {
    let server = Server::start();
    let run = server.start_run("table").run;
    for (method, path, admitted) in cells() {
        let path = path
            .replace("{run}", run.as_str())
            .replace("tile/{level}/{index}", "tile/0/000.p/1")
            .replace("entries/{index}", "entries/000.p/1")
            .replace("{index}", "0")
            .replace("{sha256}", &"ab".repeat(32))
            .replace("{id}", "nobody")
            .replace("{name}", "nobody");
        for (letter, token) in [
            ('-', None),
            ('P', Some(&server.producer)),
            ('R', Some(&server.reader)),
            ('A', Some(&server.admin)),
        ] {
            let answer = server.ask(method, &path, token.map(String::as_str), None);
            let status = answer.status;
            let cell = format!("{method} {path} as {letter}: {status}");
            if admitted == "!" {
                assert_eq!(status, 401, "{cell}");
                assert_eq!(code(&answer), "unproven-delivery", "{cell}");
            } else if admitted.contains(letter) {
                assert!(status != 401 && status != 403, "{cell} {}", answer.text());
                assert!(status < 500, "{cell} {}", answer.text());
            } else if letter == '-' {
                assert_eq!(status, 401, "{cell}");
                assert_eq!(code(&answer), "unauthenticated", "{cell}");
                assert_eq!(
                    answer.header("www-authenticate"),
                    r#"Bearer realm="rlhf-audit""#
                );
            } else {
                assert_eq!(status, 403, "{cell}");
                assert_eq!(code(&answer), "forbidden", "{cell}");
            }
        }
    }
}

#[test]
fn the_table_the_router_and_the_document_name_the_same_routes() {
    let here: BTreeSet<_> = cells()
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    let router: BTreeSet<_> = server::ROUTES
        .iter()
        .map(|rule| format!("{} {}", rule.method, rule.path))
        .collect();
    assert_eq!(here, router);
    let document: serde_json::Value = serde_json::from_str(&server::openapi_json()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            documented.insert(format!("{method} {path}"));
            let admitted = cells()
                .find(|cell| cell.0 == method && cell.1 == path)
                .unwrap()
                .2;
            let roles: BTreeSet<char> = operation["security"][0]["token"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|role| {
                    role.as_str()
                        .unwrap()
                        .to_uppercase()
                        .chars()
                        .next()
                        .unwrap()
                })
                .collect();
            let expected: BTreeSet<char> = if admitted.contains(['-', '!']) {
                BTreeSet::new()
            } else {
                admitted.chars().collect()
            };
            assert_eq!(roles, expected, "{method} {path}");
        }
    }
    assert_eq!(here, documented);
}

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
