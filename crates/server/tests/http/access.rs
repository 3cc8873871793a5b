//! What tokens are made of, whom they let in to what, and what the log says of it.

use client::{ApprovalSummary, ClientError, IssuedToken, WantedToken};
use record::Timestamp;
use record::kinds::AnnotationDemonstration;
use record::{Clock as _, Draft, Subject};
use serde_json::{Value, json};
use server::Options;

use crate::support::{Server, SystemClock, code, eventually};

fn wanted(name: &str, role: &str) -> WantedToken {
    WantedToken {
        name: name.into(),
        role: role.into(),
        ..WantedToken::default()
    }
}

fn auditor(parts: &[&str], runs: &[String]) -> WantedToken {
    WantedToken {
        parts: parts.iter().map(|it| (*it).to_owned()).collect(),
        runs: runs.to_vec(),
        ..wanted("auditor", "auditor")
    }
}

#[track_caller]
fn made(server: &Server, wanted: &WantedToken) -> client::NewToken {
    match server.client(&server.admin).issue_token(wanted).unwrap() {
        IssuedToken::Made(token) => token,
        IssuedToken::Asked(asked) => panic!("{asked:?}"),
    }
}

fn status(server: &Server, path: &str, token: &str) -> u16 {
    server.ask("get", path, Some(token), None).status
}

/// The bodies of the records of this kind in the scope `ledger`.
fn noted(server: &Server, kind: &str) -> Vec<Value> {
    let records = server.records_of("ledger", kind);
    records
        .into_iter()
        .map(|(_, it)| it["body"].clone())
        .collect()
}

#[test]
fn an_auditor_reads_the_parts_of_the_runs_that_its_token_names() {
    let server = Server::start();
    let mine = server.open_run("mine", &server.producer);
    let other = server.open_run("other", &server.producer);
    server.published();
    let (mine, other) = (mine.run.to_string(), other.run.to_string());
    let of = |parts: &[&str]| made(&server, &auditor(parts, &["mine".to_owned()])).token;
    let (documents, aggregates, records) =
        (of(&["documents"]), of(&["aggregates"]), of(&["records"]));
    let run = |run: &str| format!("/v1/runs/{run}");
    for (path, expected) in [
        // Path, then who gets it: documents, aggregates, records.
        ("/card", [200, 403, 403]),
        ("/card?format=json", [200, 200, 403]),
        ("/streams", [403, 200, 200]),
        ("/bundle", [403, 403, 200]),
        ("/bundle?openings=true", [403, 403, 403]),
        ("", [200, 200, 200]),
    ] {
        for (token, expected) in [&documents, &aggregates, &records]
            .into_iter()
            .zip(expected)
        {
            assert_eq!(
                status(&server, &(run(&mine) + path), token),
                expected,
                "{path}"
            );
            // Of other runs it is not even told that they are there, by name or id.
            assert_eq!(status(&server, &(run(&other) + path), token), 404, "{path}");
            assert_eq!(
                status(&server, &(run("other") + path), token),
                404,
                "{path}"
            );
        }
    }
    let page = server.ask("get", "/v1/runs", Some(&documents), None).json();
    let listed: Vec<_> = page["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(listed, ["mine"]);

    let index = |scope: &str| server.records_of(scope, "stream.opened")[0].0;
    for (path, expected) in [
        (format!("/v1/records?run={mine}"), 200),
        (format!("/v1/records?run={other}"), 403),
        ("/v1/records".to_owned(), 403),
        ("/v1/records?run=ledger".to_owned(), 403),
        (format!("/v1/records/{}", index(&mine)), 200),
        (format!("/v1/records/{}", index(&other)), 403),
        (format!("/v1/records/{}", index("ledger")), 403),
        ("/log/tile/entries/000.p/1".to_owned(), 403),
        (format!("/v1/attachments/{}", "ab".repeat(32)), 403),
    ] {
        assert_eq!(status(&server, &path, &records), expected, "{path}");
        assert_eq!(status(&server, &path, &documents), 403, "{path}");
    }
}

#[test]
fn a_producer_is_shown_its_own_runs() {
    let server = Server::start();
    let theirs = server.open_run("theirs", &server.producer).run.to_string();
    let other = made(&server, &wanted("other", "producer")).token;
    let ours = server.open_run("ours", &other).run.to_string();
    let page = server.ask("get", "/v1/runs", Some(&other), None).json();
    let listed: Vec<_> = page["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["run"])
        .collect();
    assert_eq!(listed, [&json!(ours)]);
    assert_eq!(status(&server, "/v1/runs/theirs", &other), 404);
    assert_eq!(status(&server, "/v1/runs/ours", &other), 200);
    // By the id, which nobody guesses, it learns where the run stands, and then that it may not append.
    assert_eq!(status(&server, &format!("/v1/runs/{theirs}"), &other), 200);
}

#[test]
fn what_auditors_read_is_in_the_log() {
    let server = Server::start();
    let mut stream = server.open_run("read", &server.producer);
    let draft = Draft::new(AnnotationDemonstration::new());
    stream.write(draft.seal("response", &json!("an answer"), Subject::Run));
    server.take(&mut stream);
    server.published();
    let run = stream.run.to_string();
    let parts = ["aggregates", "records", "sealed"];
    let token = made(&server, &auditor(&parts, std::slice::from_ref(&run)));
    let holder = server.client(&token.token);

    // Sealed values are given once the log says so.
    let mut bytes = Vec::new();
    holder.bundle(&run, true, &mut bytes).unwrap();
    let opened = noted(&server, "access.read");
    let [opened] = &opened[..] else {
        panic!("{opened:?}")
    };
    assert_eq!(opened["by"], token.id);
    assert_eq!(
        (&opened["part"], &opened["run"]),
        (&json!("sealed"), &json!(run))
    );
    assert_eq!(opened["reads"], 1);

    let index = server.records_of(&run, "run.started")[0].0;
    for _ in 0..20 {
        assert_eq!(
            status(&server, &format!("/v1/records?run={run}"), &token.token),
            200
        );
        assert_eq!(
            status(&server, &format!("/v1/records/{index}"), &token.token),
            200
        );
        assert_eq!(
            status(&server, &format!("/v1/runs/{run}/streams"), &token.token),
            200
        );
    }
    // Readers and admins are not auditors.
    assert_eq!(status(&server, "/v1/records", &server.reader), 200);
    assert_eq!(status(&server, "/v1/records", &server.admin), 200);
    // The rest is gathered: a record for each part, not one for each read. The bundle was of records too.
    let sum = |all: &[Value], part: &str| -> u64 {
        let reads = all.iter().filter(|it| it["part"] == part);
        reads.map(|it| it["reads"].as_u64().unwrap()).sum()
    };
    let all = eventually(|| {
        let all = noted(&server, "access.read");
        (sum(&all, "records") == 41 && sum(&all, "aggregates") == 20).then_some(all)
    });
    assert!(all.len() < 10, "{all:?}");
    let holds = |span: &Value| {
        let (first, count) = (
            span["first"].as_u64().unwrap(),
            span["count"].as_u64().unwrap(),
        );
        (first..first + count).contains(&index)
    };
    let mut spans = all.iter().filter_map(|it| it["spans"].as_array()).flatten();
    assert!(spans.any(holds), "{all:?}");
    server.verified();
}

/// What is gathered when the server stops is recorded too.
#[test]
fn a_server_that_stops_records_what_was_read_last() {
    let server = Server::start();
    server.start_run("read");
    server.published();
    assert_eq!(status(&server, "/v1/records", &server.auditor), 200);
    let server = server.restarted();
    let read = noted(&server, "access.read");
    assert_eq!(read.len(), 1, "{read:?}");
    assert_eq!(read[0]["part"], "records");
}

#[test]
fn every_change_of_tokens_is_recorded_and_what_limits_them_is_shown() {
    let server = Server::start();
    let admin = server.client(&server.admin);
    let run = server.start_run("scoped").run.to_string();
    let soon = Timestamp(SystemClock.now().0 + 3_600_000_000);
    let body = WantedToken {
        expires: Some(soon),
        ..auditor(&["documents", "records"], &["scoped".to_owned()])
    };
    let body = made(&server, &body);
    let trainer = WantedToken {
        records_per_day: Some(1_000),
        bytes_per_day: Some(1 << 20),
        ..wanted("trainer", "producer")
    };
    let trainer = made(&server, &trainer);
    let shown = admin.token(&body.id).unwrap();
    assert_eq!(
        (shown.role.as_str(), shown.state.as_str(), shown.expires),
        ("auditor", "valid", Some(soon))
    );
    assert_eq!(shown.parts, ["documents", "records"]);
    assert_eq!(
        (&shown.runs[..], shown.last_used),
        (&[run.clone()][..], None)
    );
    assert_eq!(status(&server, "/v1/runs", &body.token), 200);
    assert!(admin.token(&body.id).unwrap().last_used.is_some());
    let shown = admin.token(&trainer.id).unwrap();
    assert_eq!(
        (shown.records_per_day, shown.bytes_per_day),
        (Some(1_000), Some(1 << 20))
    );
    admin.revoke_token(&body.id).unwrap();
    // A second time is no change.
    admin.revoke_token(&body.id).unwrap();
    assert_eq!(admin.token(&body.id).unwrap().state, "revoked");
    assert_eq!(status(&server, "/v1/runs", &body.token), 401);

    let changes = noted(&server, "access.changed");
    let said: Vec<_> = changes
        .iter()
        .map(|it| (&it["change"], &it["token"]))
        .collect();
    assert_eq!(
        said,
        [
            (&json!("created"), &json!(body.id)),
            (&json!("created"), &json!(trainer.id)),
            (&json!("revoked"), &json!(body.id)),
        ]
    );
    assert_eq!(changes[0]["runs"], json!([run]));
    assert_eq!(changes[0]["parts"], json!(["documents", "records"]));
    assert_eq!(changes[0]["expires"], json!(soon.to_string()));
    let log = server.everything();
    assert!(
        !log.contains("rat_") && !log.contains("trainer"),
        "secrets and names stay out"
    );
    server.verified();
}

#[test]
fn what_does_not_fit_together_is_no_token() {
    let server = Server::start();
    let past = Timestamp(SystemClock.now().0 - 1);
    let no_run = auditor(&["records"], &["nobody".to_owned()]);
    for (new, status, expected) in [
        (wanted("x", "root"), 422, "bad-object"),
        (wanted("", "reader"), 422, "bad-object"),
        (wanted("x", "auditor"), 422, "bad-object"),
        (auditor(&["everything"], &[]), 422, "bad-object"),
        (no_run, 404, "not-found"),
        (
            WantedToken {
                parts: vec!["records".into()],
                ..wanted("x", "reader")
            },
            422,
            "bad-object",
        ),
        (
            WantedToken {
                records_per_day: Some(1),
                ..wanted("x", "reader")
            },
            422,
            "bad-object",
        ),
        (
            WantedToken {
                records_per_day: Some(0),
                ..wanted("x", "producer")
            },
            422,
            "bad-object",
        ),
        (
            WantedToken {
                expires: Some(past),
                ..wanted("x", "reader")
            },
            422,
            "bad-object",
        ),
        (
            WantedToken {
                succeeds: Some("t-nobody".into()),
                ..wanted("x", "reader")
            },
            404,
            "not-found",
        ),
        (
            WantedToken {
                request: Some("r-x".into()),
                ..wanted("x", "reader")
            },
            422,
            "bad-object",
        ),
    ] {
        let before = server.ledger.tokens().unwrap().len();
        let body = serde_json::to_value(&new).unwrap();
        let answer = server.ask("post", "/v1/tokens", Some(&server.admin), Some(body));
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (status, expected),
            "{new:?}: {}",
            answer.text()
        );
        assert_eq!(server.ledger.tokens().unwrap().len(), before);
    }
    let unknown = json!({"name": "x", "role": "reader", "scope": "all"});
    let answer = server.ask("post", "/v1/tokens", Some(&server.admin), Some(unknown));
    assert_eq!(answer.status, 422, "{}", answer.text());
}

#[test]
fn a_token_that_succeeds_another_goes_on_with_its_runs() {
    let server = Server::start();
    let first = made(&server, &wanted("trainer", "producer"));
    let mut stream = server.open_run("long", &first.token);
    let admin = server.client(&server.admin);
    let second = WantedToken {
        succeeds: Some(first.id.clone()),
        ..wanted("trainer, next year", "producer")
    };
    let second = made(&server, &second);
    admin.revoke_token(&first.id).unwrap();
    stream.draft();
    let lines = stream.lines();
    assert_eq!(server.post_lines(&lines, Some(&first.token)).status, 401);
    let other = made(&server, &wanted("other", "producer")).token;
    assert_eq!(server.post_lines(&lines, Some(&other)).status, 403);
    let answer = server.post_lines(&lines, Some(&second.token));
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(admin.token(&second.id).unwrap().succeeds, Some(first.id));
}

fn asked(issued: IssuedToken) -> ApprovalSummary {
    match issued {
        IssuedToken::Asked(asked) => asked,
        IssuedToken::Made(token) => panic!("{token:?}"),
    }
}

#[test]
fn a_new_admin_takes_two() {
    let server = Server::start_with(Options {
        require_approval: true,
        ..Options::default()
    });
    let (_, other) = server
        .ledger
        .create_token("second admin", ledger::Role::Admin, None)
        .map(|(secret, token)| (token.id, secret))
        .unwrap();
    let (first, second) = (server.client(&server.admin), server.client(&other));
    let refused = |result: Result<ApprovalSummary, ClientError>| {
        result.unwrap_err().problem().unwrap().code.clone()
    };
    let third = wanted("third", "admin");
    let request = asked(first.issue_token(&third).unwrap());
    assert_eq!(
        (request.wanted.as_str(), request.state.as_str()),
        ("admin-token", "pending")
    );
    assert_eq!(
        refused(first.decide(&request.request, true)),
        "not-approved"
    );
    let with = |wanted: &WantedToken| WantedToken {
        request: Some(request.request.clone()),
        ..wanted.clone()
    };
    let code_of = |result: Result<IssuedToken, ClientError>| {
        result.unwrap_err().problem().unwrap().code.clone()
    };
    assert_eq!(code_of(first.issue_token(&with(&third))), "not-approved");
    assert_eq!(
        second.decide(&request.request, true).unwrap().state,
        "approved"
    );
    // It is for just that, for whoever asked, and once.
    assert_eq!(
        code_of(first.issue_token(&with(&wanted("fourth", "admin")))),
        "not-approved"
    );
    assert_eq!(code_of(second.issue_token(&with(&third))), "not-approved");
    let IssuedToken::Made(token) = first.issue_token(&with(&third)).unwrap() else {
        panic!("no token")
    };
    assert_eq!(status(&server, "/v1/tokens", &token.token), 200);
    assert_eq!(code_of(first.issue_token(&with(&third))), "not-approved");
    // Others need nobody's approval.
    assert!(matches!(
        first.issue_token(&wanted("reader", "reader")).unwrap(),
        IssuedToken::Made(_)
    ));
    let rejected = asked(second.issue_token(&wanted("fifth", "admin")).unwrap());
    assert_eq!(
        first.decide(&rejected.request, false).unwrap().state,
        "rejected"
    );
    assert_eq!(
        refused(first.decide(&rejected.request, true)),
        "not-approved"
    );
    let states: Vec<_> = first
        .approvals()
        .unwrap()
        .into_iter()
        .map(|it| it.state)
        .collect();
    assert_eq!(states, ["used", "rejected"]);
    let changes = noted(&server, "access.changed");
    let said: Vec<_> = changes
        .iter()
        .map(|it| it["change"].as_str().unwrap())
        .collect();
    assert_eq!(
        said,
        [
            "requested",
            "approved",
            "created",
            "created",
            "requested",
            "rejected"
        ]
    );
    assert_eq!(changes[2]["request"], json!(request.request));
}
