//! How much anybody may ask for: quotas of producers, rates of tokens and addresses, wrong tokens.

use client::{ClientError, RetryPolicy, WantedToken};
use server::{Options, Rate, TrustedProxies};
use ureq::http::Request;

use crate::support::{Answer, Server, code};

#[track_caller]
fn too_many(answer: &Answer, expected: &str) {
    assert_eq!(
        (answer.status, code(answer).as_str()),
        (429, expected),
        "{}",
        answer.text()
    );
    assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
}

fn token(server: &Server, wanted: &WantedToken) -> String {
    match server.client(&server.admin).issue_token(wanted).unwrap() {
        client::IssuedToken::Made(token) => token.token,
        client::IssuedToken::Asked(asked) => panic!("{asked:?}"),
    }
}

#[test]
fn a_producer_appends_no_more_than_its_quota_and_nobody_else_is_held_back() {
    let server = Server::start();
    let wanted = WantedToken {
        name: "small".into(),
        role: "producer".into(),
        records_per_day: Some(10),
        ..WantedToken::default()
    };
    let small = token(&server, &wanted);
    let mut stream = server.open_run("small", &small);
    // Two records opened the run; while anything is left a request passes whole.
    for _ in 0..12 {
        stream.draft();
    }
    let first = stream.lines();
    server.take(&mut stream);
    stream.draft();
    too_many(
        &server.post_lines(&stream.lines(), Some(&small)),
        "quota-exceeded",
    );
    // Also what is sent again, where it is counted, and what is written by other ways.
    too_many(&server.post_lines(&first, Some(&small)), "quota-exceeded");
    let again = server.ask("post", "/v1/runs", Some(&small), None);
    too_many(&again, "quota-exceeded");
    let create = "/api/2.0/mlflow/runs/create";
    let mlflow = server.send("post", create, Some(&small), None, b"{}");
    assert_eq!(mlflow.status, 429);
    assert_eq!(mlflow.json()["error_code"], "REQUEST_LIMIT_EXCEEDED");
    // It may still look where its run stands.
    let run = format!("/v1/runs/{}", stream.run);
    assert_eq!(server.ask("get", &run, Some(&small), None).status, 200);
    let mut other = server.open_run("other", &server.producer);
    other.draft();
    server.take(&mut other);
    // A client takes it for a reason to come again, and not for a refusal.
    let client = server.client(&small).with_retry(RetryPolicy::NEVER);
    let kept_out = client.append(stream.submissions(), client::Wait::Durable);
    assert!(
        matches!(
            kept_out,
            Err(ClientError::Unavailable { asked: Some(_), .. })
        ),
        "{kept_out:?}"
    );
}

#[test]
fn bytes_are_counted_too_and_have_to_be_announced() {
    let server = Server::start();
    let wanted = WantedToken {
        name: "small".into(),
        role: "producer".into(),
        bytes_per_day: Some(3_000),
        ..WantedToken::default()
    };
    let small = token(&server, &wanted);
    let put = |byte: u8| {
        let bytes = vec![byte; 2_000];
        let name = record::Sha256(tlog::sha256(&bytes));
        let path = format!("/v1/attachments/{name}");
        server.send("put", &path, Some(&small), None, &bytes)
    };
    assert_eq!(put(1).status, 201);
    assert_eq!(put(2).status, 201);
    too_many(&put(3), "quota-exceeded");

    let wanted = WantedToken {
        bytes_per_day: Some(1 << 40),
        ..wanted
    };
    let large = token(&server, &wanted);
    let unsaid = ureq::SendBody::from_owned_reader(std::io::Cursor::new(b"{}".to_vec()));
    let request = Request::post(format!("{}/v1/runs", server.url))
        .header("authorization", format!("Bearer {large}"))
        .header("content-type", "application/json");
    let answer = server.run(request.body(unsaid).unwrap());
    assert_eq!(
        (answer.status, code(&answer).as_str()),
        (411, "length-required")
    );
}

#[test]
fn a_token_that_asks_too_often_is_told_to_wait_and_others_are_not() {
    let server = Server::start_with(Options {
        identity_rate: Some(Rate {
            per_second: 0.01,
            burst: 3,
        }),
        ..Options::default()
    });
    for _ in 0..3 {
        let answer = server.ask("get", "/v1/runs", Some(&server.reader), None);
        assert_eq!(answer.status, 200);
    }
    let answer = server.ask("get", "/v1/runs", Some(&server.reader), None);
    too_many(&answer, "too-many-requests");
    let answer = server.ask("get", "/v1/runs", Some(&server.admin), None);
    assert_eq!(answer.status, 200);
    // Appends pass the router by, and the limit not.
    for _ in 0..3 {
        server.post_lines(b"{}", Some(&server.producer));
    }
    let answer = server.post_lines(b"{}", Some(&server.producer));
    too_many(&answer, "too-many-requests");
    let answer = server.ask("get", "/log/policy", None, None);
    assert_eq!(answer.status, 200, "what is public is not a token's");
}

#[test]
fn an_address_is_counted_by_the_word_of_trusted_proxies_alone() {
    let limited = |trusted: &[&str]| {
        let trusted: Vec<_> = trusted.iter().map(|it| (*it).to_owned()).collect();
        Server::start_with(Options {
            address_rate: Some(Rate {
                per_second: 0.01,
                burst: 2,
            }),
            trusted_proxies: TrustedProxies::parse(&trusted).unwrap(),
            ..Options::default()
        })
    };
    let ask = |server: &Server, path: &str, forwarded: &str| {
        let request = Request::get(format!("{}{path}", server.url));
        server.run(
            request
                .header("x-forwarded-for", forwarded)
                .body(())
                .unwrap(),
        )
    };
    let server = limited(&["127.0.0.0/8"]);
    for left in ["198.51.100.1", "198.51.100.2"] {
        let forwarded = format!("{left}, 203.0.113.9");
        assert_eq!(ask(&server, "/log/policy", &forwarded).status, 200);
    }
    // What it writes to the left of its address does not make it another.
    too_many(
        &ask(&server, "/log/policy", "198.51.100.3, 203.0.113.9"),
        "too-many-requests",
    );
    assert_eq!(ask(&server, "/log/policy", "203.0.113.10").status, 200);
    assert_eq!(ask(&server, "/health", "203.0.113.9").status, 200);
    let with_token = server.ask("get", "/v1/runs", Some(&server.reader), None);
    assert_eq!(with_token.status, 200);

    let server = limited(&["10.0.0.0/8"]);
    for forwarded in ["203.0.113.1", "203.0.113.2"] {
        assert_eq!(ask(&server, "/log/policy", forwarded).status, 200);
    }
    too_many(
        &ask(&server, "/log/policy", "203.0.113.3"),
        "too-many-requests",
    );
}

#[test]
fn after_many_wrong_tokens_unknown_ones_are_not_looked_at() {
    let server = Server::start_with(Options {
        failure_rate: Rate {
            per_second: 0.01,
            burst: 3,
        },
        ..Options::default()
    });
    assert_eq!(
        server
            .ask("get", "/v1/runs", Some(&server.reader), None)
            .status,
        200
    );
    let wrong = format!("rat_{}", "A".repeat(43));
    for _ in 0..3 {
        let answer = server.ask("get", "/v1/runs", Some(&wrong), None);
        assert_eq!(answer.status, 401);
    }
    too_many(
        &server.ask("get", "/v1/runs", Some(&wrong), None),
        "too-many-requests",
    );
    too_many(&server.post_lines(b"{}", Some(&wrong)), "too-many-requests");
    // Who was let in goes on.
    assert_eq!(
        server
            .ask("get", "/v1/runs", Some(&server.reader), None)
            .status,
        200
    );
}
