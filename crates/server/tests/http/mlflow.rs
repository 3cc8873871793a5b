//! MLflow's tracking API as its clients send it. The real client's turn is in `cli/tests/mlflow.rs`.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::Ledger;
use serde_json::{Value, json};
use ureq::http::Request;

use crate::support::{Answer, Server, SystemClock, SystemEntropy, eventually};

const NOW: i64 = 1_795_420_800_000;

/// A client with one of the server's tokens.
struct Client<'a> {
    server: &'a Server,
    token: &'a str,
}

impl<'a> Client<'a> {
    fn of(server: &'a Server) -> Self {
        Self {
            server,
            token: &server.producer,
        }
    }

    fn with(server: &'a Server, token: &'a str) -> Self {
        Self { server, token }
    }

    fn get(&self, path: &str) -> Answer {
        let path = format!("/api/2.0/mlflow/{path}");
        self.server.send("get", &path, Some(self.token), None, b"")
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("post", &format!("/api/2.0/mlflow/{path}"), body)
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        self.server.send(
            method,
            path,
            Some(self.token),
            Some("application/json"),
            body.as_bytes(),
        )
    }

    #[track_caller]
    fn ok(&self, path: &str, body: &Value) -> Value {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "made for the call")]
    fn start(&self, experiment: &str, more: Value) -> String {
        let mut body =
            json!({ "experiment_id": experiment, "user_id": "alice", "start_time": NOW });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let answer = self.ok("runs/create", &body);
        answer["run"]["info"]["run_id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn run(&self, run: &str) -> Value {
        let answer = self.get(&format!("runs/get?run_id={run}&run_uuid={run}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["run"].clone()
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Answer {
        let path = format!("/api/2.0/mlflow-artifacts/artifacts/{path}");
        self.server.send(
            "put",
            &path,
            Some(self.token),
            Some("application/octet-stream"),
            bytes,
        )
    }
}

/// The error code of MLflow's form.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    let json = answer.json();
    assert_eq!(json["error_code"], code, "{json}");
    let members: Vec<_> = json.as_object().unwrap().keys().collect();
    assert_eq!(members, ["error_code", "message"]);
    json["message"].as_str().unwrap().to_owned()
}

/// The value under a key in one of MLflow's lists.
fn value<'a>(list: &'a Value, key: &str) -> Option<&'a Value> {
    let found = list.as_array().unwrap().iter().find(|it| it["key"] == key);
    found.map(|it| &it["value"])
}

fn metric(key: &str, value: impl Into<Value>, step: i64) -> Value {
    json!({ "key": key, "value": value.into(), "timestamp": NOW + step, "step": step })
}

#[test]
fn every_route_lets_in_who_may_and_refuses_in_mlflows_form() {
    let server = Server::start();
    let run = Client::of(&server).start("0", json!({}));
    for prefix in server::MLFLOW_PREFIXES {
        for rule in server::MLFLOW_ROUTES {
            let path = rule
                .path
                .replace("{id}", &format!("m-{}-1", run.to_lowercase()));
            let path = path.replace("{*path}", &format!("0/{run}/artifacts/a"));
            let path = format!("{prefix}{path}");
            for (role, token) in [
                (None, None),
                (Some(ledger::Role::Producer), Some(&server.producer)),
                (Some(ledger::Role::Reader), Some(&server.reader)),
                (Some(ledger::Role::Admin), Some(&server.admin)),
            ] {
                let token = token.map(String::as_str);
                let answer =
                    server.send(rule.method, &path, token, Some("application/json"), b"{}");
                let cell = format!("{} {path} as {role:?}: {}", rule.method, answer.text());
                if role.is_none() {
                    refused(&answer, 401, "UNAUTHENTICATED");
                    assert!(
                        answer.header("www-authenticate").starts_with("Bearer"),
                        "{cell}"
                    );
                } else if rule.access.admits(role) {
                    assert!(answer.status != 401, "{cell}");
                    assert!(answer.status < 502, "{cell}");
                } else {
                    let message = refused(&answer, 403, "PERMISSION_DENIED");
                    assert!(message.contains("role reader"), "{cell}");
                }
            }
        }
    }
}

#[test]
fn a_token_comes_as_a_bearer_or_as_a_password() {
    let server = Server::start();
    let ask = |path: &str, credentials: &str| {
        let request =
            Request::get(format!("{}{path}", server.url)).header("authorization", credentials);
        server.run(request.body(()).unwrap())
    };
    let path = "/api/2.0/mlflow/experiments/get?experiment_id=0";
    let basic = |password: &str| format!("Basic {}", STANDARD.encode(format!("mlflow:{password}")));
    assert_eq!(ask(path, &basic(&server.reader)).status, 200);
    assert_eq!(ask(path, &format!("Bearer {}", server.reader)).status, 200);
    refused(&ask(path, &basic("rat_x")), 401, "UNAUTHENTICATED");
    refused(&ask(path, "Basic !"), 401, "UNAUTHENTICATED");
    // Nowhere else: a browser would keep it and send it for everything.
    assert_eq!(ask("/v1/runs", &basic(&server.reader)).status, 401);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn a_run_is_logged_read_back_and_sealed() {
    let server = Server::start();
    let client = Client::of(&server);
    let experiment = client.ok("experiments/create", &json!({ "name": "alignment" }));
    let experiment = experiment["experiment_id"].as_str().unwrap();
    let tags = json!([
        { "key": "mlflow.user", "value": "alice" },
        { "key": "mlflow.source.name", "value": "/home/alice/train.py" },
        { "key": "mlflow.source.type", "value": "LOCAL" },
        { "key": "mlflow.runName", "value": "dpo-1" },
    ]);
    let run = client.start(experiment, json!({ "run_name": "dpo-1", "tags": tags }));
    let batch = json!({
        "run_id": run,
        "params": [
            { "key": "learning_rate", "value": "5e-05" }, { "key": "optim", "value": "adamw_torch" },
            { "key": "output_dir", "value": "/home/alice/out" }, { "key": "system_prompt", "value": "Be kind." },
        ],
        "metrics": [
            metric("loss", 0.5, 1), metric("rewards/margins", -0.25, 1), metric("loss", 0.25, 2),
            metric("grad_norm", "NaN", 2), metric("kl", "Infinity", 2),
        ],
        "tags": [{ "key": "stage", "value": "pilot" }],
    });
    client.ok("runs/log-batch", &batch);
    let records = server
        .ledger
        .run(record::RunId::parse(&run).unwrap())
        .unwrap()
        .records;
    // What is sent again is recorded once.
    client.ok("runs/log-batch", &batch);
    client.ok(
        "runs/log-metric",
        &json!({ "run_id": run, "key": "loss", "value": 0.5, "timestamp": NOW + 1, "step": 1 }),
    );
    client.ok(
        "runs/log-parameter",
        &json!({ "run_id": run, "key": "optim", "value": "adamw_torch" }),
    );
    client.ok(
        "runs/set-tag",
        &json!({ "run_id": run, "key": "stage", "value": "pilot" }),
    );
    let again = server
        .ledger
        .run(record::RunId::parse(&run).unwrap())
        .unwrap()
        .records;
    let signed = server.records_of(&run, "stream.signed").len() as u64;
    assert!(again - records <= signed, "{records} became {again}");

    let read = client.run(&run);
    let info = &read["info"];
    assert_eq!(
        (
            &info["status"],
            &info["run_name"],
            &info["experiment_id"],
            &info["start_time"]
        ),
        (
            &json!("RUNNING"),
            &json!("dpo-1"),
            &json!(experiment),
            &json!(NOW)
        )
    );
    assert_ne!(info["user_id"], "alice");
    let data = &read["data"];
    assert_eq!(
        value(&data["params"], "learning_rate"),
        Some(&json!("5e-05"))
    );
    assert_eq!(
        value(&data["params"], "system_prompt"),
        Some(&json!("Be kind."))
    );
    assert_eq!(value(&data["metrics"], "loss"), Some(&json!(0.25)));
    assert_eq!(value(&data["metrics"], "grad_norm"), Some(&json!("NaN")));
    assert_eq!(value(&data["tags"], "stage"), Some(&json!("pilot")));
    assert_eq!(value(&data["tags"], "mlflow.user"), None);

    let described = server.records_of(&run, "run.described");
    assert_eq!(
        described[1].1["body"]["config"],
        json!({ "learning_rate": "5e-05", "optim": "adamw_torch" })
    );
    assert_eq!(
        described[0].1["body"]["tags"],
        json!({ "mlflow.source.type": "LOCAL" })
    );
    let logged = server.records_of(&run, "metric.logged");
    assert_eq!(
        logged[0].1["body"],
        json!({ "metrics": { "loss": 0.5, "rewards/margins": -0.25 }, "step": 1 })
    );
    assert_eq!(logged[0].1["time"], "2026-11-23T08:00:00.001000Z");
    let diverged = server.records_of(&run, "metric.diverged");
    assert_eq!(
        diverged[0].1["body"]["metrics"],
        json!({ "grad_norm": "nan", "kl": "infinity" })
    );

    let updated = client.ok(
        "runs/update",
        &json!({ "run_id": run, "status": "FINISHED", "end_time": NOW + 9 }),
    );
    assert_eq!(updated["run_info"]["status"], "FINISHED");
    assert!(updated["run_info"]["end_time"].is_i64());
    let sealed = &server.records_of(&run, "run.sealed")[0].1;
    assert_eq!(
        (&sealed["body"]["status"], &sealed["stream"]),
        (&json!("completed"), &json!("mlflow"))
    );
    // I8: nobody's name, nobody's folder, no prompt.
    let all = server.everything();
    for secret in ["alice", "Be kind", "pilot", "train.py"] {
        assert!(!all.contains(secret), "{secret}");
    }
    server.verified();
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table reads best in one piece")]
fn a_param_keeps_its_value_and_limits_are_said() {
    let server = Server::start();
    let client = Client::of(&server);
    let run = client.start("0", json!({}));
    let param = |key: &str, value: &str| json!({ "run_id": run, "key": key, "value": value });
    client.ok("runs/log-parameter", &param("note", "secret words"));
    let answer = client.post("runs/log-parameter", &param("note", "other words"));
    let message = refused(&answer, 400, "INVALID_PARAMETER_VALUE");
    assert!(
        message.contains("`note`") && !message.contains("words"),
        "{message}"
    );
    let params = |n: usize| json!({ "run_id": run, "params": (0..n).map(|n| json!({ "key": format!("p{n}"), "value": "1" })).collect::<Vec<_>>() });
    client.ok("runs/log-batch", &params(100));
    let metrics = |n: i64| json!({ "run_id": run, "metrics": (0..n).map(|n| metric("m", n, n)).collect::<Vec<_>>() });
    client.ok("runs/log-batch", &metrics(1_000));
    let long = "x".repeat(129);
    for (path, body, says) in [
        (
            "runs/log-batch",
            params(101),
            "params has 101 entries, expected at most 100",
        ),
        ("runs/log-batch", metrics(1_001), "metrics has 1001 entries"),
        ("runs/log-parameter", param(&long, "1"), "129 characters"),
        (
            "runs/log-parameter",
            param("a\nb", "1"),
            "control character",
        ),
        ("runs/log-parameter", param("", "1"), "0 characters"),
        (
            "runs/log-parameter",
            param("long", &"x".repeat(6_001)),
            "6001 characters, expected at most 6000",
        ),
        (
            "runs/log-batch",
            json!({ "run_id": run, "metrics": [metric("m", 1, -1)] }),
            "the step -1",
        ),
        (
            "runs/log-batch",
            json!({ "run_id": run, "metrics": [{ "key": "m", "value": 1, "timestamp": i64::MAX }] }),
            "timestamp",
        ),
        (
            "runs/log-batch",
            json!({ "run_id": run, "metrics": [{ "key": "m", "value": "much" }] }),
            "expected a number",
        ),
        ("runs/log-batch", json!({ "metrics": [] }), "run_id"),
        (
            "runs/update",
            json!({ "run_id": run, "status": "DONE" }),
            "FINISHED",
        ),
        (
            "experiments/create",
            json!({ "name": long }),
            "129 characters",
        ),
        (
            "runs/search",
            json!({ "experiment_ids": ["0"], "filter": "loss" }),
            "token",
        ),
        (
            "runs/search",
            json!({ "experiment_ids": ["0"], "max_results": 0 }),
            "max_results",
        ),
    ] {
        let message = refused(&client.post(path, &body), 400, "INVALID_PARAMETER_VALUE");
        assert!(message.contains(says), "{message}\nshould say: {says}");
    }
    // Nothing of a batch is recorded where something of it is refused.
    let half = json!({ "run_id": run, "params": [{ "key": "new", "value": "1" }], "metrics": [metric("m", 1, -1)] });
    refused(
        &client.post("runs/log-batch", &half),
        400,
        "INVALID_PARAMETER_VALUE",
    );
    assert_eq!(value(&client.run(&run)["data"]["params"], "new"), None);
    refused(
        &client.get("runs/get?run_id=nobody"),
        404,
        "RESOURCE_DOES_NOT_EXIST",
    );
    refused(
        &client.get("experiments/get?experiment_id=7"),
        404,
        "RESOURCE_DOES_NOT_EXIST",
    );
    refused(
        &client.post("runs/create", &json!({ "experiment_id": "7" })),
        404,
        "RESOURCE_DOES_NOT_EXIST",
    );
    refused(
        &client.get("model-versions/search"),
        404,
        "ENDPOINT_NOT_FOUND",
    );
    refused(&client.get("runs/create"), 404, "ENDPOINT_NOT_FOUND");
    for never in [
        "runs/delete",
        "runs/restore",
        "experiments/delete",
        "experiments/update",
    ] {
        refused(
            &client.post(never, &json!({ "run_id": run })),
            501,
            "NOT_IMPLEMENTED",
        );
    }
    refused(
        &server.send(
            "post",
            "/api/2.0/mlflow/runs/create",
            Some(&server.producer),
            None,
            b"{",
        ),
        400,
        "INVALID_PARAMETER_VALUE",
    );
    server.verified();
}

#[test]
fn a_producer_sees_its_own_runs_and_a_reader_all_but_what_is_sealed() {
    let server = Server::start();
    let client = Client::of(&server);
    let run = client.start("0", json!({ "run_name": "mine" }));
    client.ok(
        "runs/log-parameter",
        &json!({ "run_id": run, "key": "system_prompt", "value": "Be kind." }),
    );
    client.ok(
        "runs/log-parameter",
        &json!({ "run_id": run, "key": "beta", "value": "0.1" }),
    );
    client.put(
        &format!("0/{run}/artifacts/notes of ann.txt").replace(' ', "%20"),
        b"x",
    );
    client.put(&format!("0/{run}/artifacts/plot.png"), b"x");
    let other = server
        .client(&server.admin)
        .create_token("other", "producer")
        .unwrap()
        .token;
    let other = Client::with(&server, &other);
    refused(
        &other.get(&format!("runs/get?run_id={run}")),
        403,
        "PERMISSION_DENIED",
    );
    let log = json!({ "run_id": run, "key": "beta", "value": "0.1" });
    refused(
        &other.post("runs/log-parameter", &log),
        403,
        "PERMISSION_DENIED",
    );
    refused(
        &other.put(&format!("0/{run}/artifacts/a"), b"x"),
        403,
        "PERMISSION_DENIED",
    );
    let found = other.ok("runs/search", &json!({ "experiment_ids": ["0"] }));
    assert_eq!(found["runs"], json!([]));

    let reader = Client::with(&server, &server.reader);
    let read = reader.run(&run);
    assert_eq!(
        value(&read["data"]["params"], "system_prompt"),
        Some(&json!("(sealed)"))
    );
    assert_eq!(value(&read["data"]["params"], "beta"), Some(&json!("0.1")));
    let files = |client: &Client<'_>| {
        client.get(&format!("artifacts/list?run_id={run}")).json()["files"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((files(&client), files(&reader)), (2, 1));
    // Nobody finds out by asking.
    let guess = json!({ "experiment_ids": ["0"], "filter": "params.system_prompt = 'Be kind.'" });
    assert_eq!(reader.ok("runs/search", &guess)["runs"], json!([]));
    assert_eq!(
        client.ok("runs/search", &guess)["runs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        Client::with(&server, &server.admin).ok("runs/search", &guess)["runs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn everything_is_there_after_a_restart() {
    let server = Server::start();
    let client = Client::of(&server);
    let tags = json!([{ "key": "team", "value": "blue" }]);
    let experiment = client.ok(
        "experiments/create",
        &json!({ "name": "alignment", "tags": tags }),
    );
    let experiment = experiment["experiment_id"].as_str().unwrap().to_owned();
    client.ok(
        "experiments/set-experiment-tag",
        &json!({ "experiment_id": experiment, "key": "goal", "value": "kindness" }),
    );
    let run = client.start(&experiment, json!({ "run_name": "one" }));
    let secret = json!({ "run_id": run, "key": "note", "value": "some words" });
    client.ok("runs/log-parameter", &secret);
    client.ok("runs/log-batch", &json!({ "run_id": run, "metrics": [metric("loss", 0.5, 1), metric("loss", "-Infinity", 2)] }));
    client.put(
        &format!("{experiment}/{run}/artifacts/checkpoint-2/model.safetensors"),
        b"weights",
    );
    let before = client.run(&run);
    let token = server.producer.clone();
    let server = server.restarted();
    // The token of before is the run's.
    let client = Client::with(&server, &token);
    assert_eq!(client.run(&run), before);
    client.ok("runs/log-parameter", &secret);
    client.ok(
        "runs/log-batch",
        &json!({ "run_id": run, "metrics": [metric("loss", 0.5, 1), metric("loss", 0.25, 3)] }),
    );
    let history = client.get(&format!("metrics/get-history?run_id={run}&metric_key=loss"));
    let values: Vec<Value> = history.json()["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["value"].clone())
        .collect();
    assert_eq!(values, [json!(0.5), json!("-Infinity"), json!(0.25)]);
    let found = client
        .get("experiments/get-by-name?experiment_name=alignment")
        .json();
    let found = &found["experiment"];
    assert_eq!(found["experiment_id"], json!(experiment));
    assert_eq!(
        (value(&found["tags"], "team"), value(&found["tags"], "goal")),
        (Some(&json!("blue")), Some(&json!("kindness")))
    );
    client.ok("runs/update", &json!({ "run_id": run, "status": "FAILED" }));
    let files = &server.records_of(&run, "model.checkpoint")[0].1["body"];
    assert_eq!(
        (&files["name"], &files["files"][0]["name"], &files["step"]),
        (
            &json!("checkpoint-2"),
            &json!("model.safetensors"),
            &json!(2)
        )
    );
    server.verified();
}

#[test]
fn what_comes_after_the_end_is_late_and_the_end_stays() {
    let server = Server::start();
    let client = Client::of(&server);
    let run = client.start("0", json!({}));
    let update =
        |status: &str| client.post("runs/update", &json!({ "run_id": run, "status": status }));
    assert_eq!(update("KILLED").status, 200);
    assert_eq!(
        server.records_of(&run, "run.sealed")[0].1["body"]["status"],
        "aborted"
    );
    // A client that takes a run up again says that it runs, and ends it once more.
    assert_eq!(update("RUNNING").json()["run_info"]["status"], "KILLED");
    assert_eq!(update("KILLED").status, 200);
    assert!(refused(&update("FINISHED"), 409, "RESOURCE_CONFLICT").contains("sealed as aborted"));
    let late = json!({
        "run_id": run, "metrics": [metric("eval/loss", 0.5, 9)],
        "params": [{ "key": "eval_batch", "value": "8" }], "tags": [{ "key": "note", "value": "late words" }],
    });
    client.ok("runs/log-batch", &late);
    client.ok("runs/log-batch", &late);
    client.put(&format!("0/{run}/artifacts/report.html"), b"<html>");
    let check = |server: &Server, token: &str| {
        let client = Client::with(server, token);
        let read = client.run(&run);
        assert_eq!(
            value(&read["data"]["metrics"], "eval/loss"),
            Some(&json!(0.5))
        );
        assert_eq!(
            value(&read["data"]["params"], "eval_batch"),
            Some(&json!("8"))
        );
        assert_eq!(
            value(&read["data"]["tags"], "note"),
            Some(&json!("late words"))
        );
        let files = client.get(&format!("artifacts/list?run_id={run}")).json();
        assert_eq!(files["files"][0]["path"], "report.html");
        let history = client
            .get(&format!(
                "metrics/get-history?run_id={run}&metric_key=eval/loss"
            ))
            .json();
        assert_eq!(history["metrics"].as_array().unwrap().len(), 1);
    };
    check(&server, &server.producer);
    let records = server.records_of("ledger", "metric.logged");
    assert_eq!(records.len(), 1);
    assert_eq!(
        (&records[0].1["stream"], &records[0].1["body"]["run"]),
        (&json!("mlflow"), &json!(run))
    );
    // Another token's run, in the same stream.
    let other = server
        .client(&server.admin)
        .create_token("other", "producer")
        .unwrap()
        .token;
    let theirs = Client::with(&server, &other);
    let second = theirs.start("0", json!({}));
    theirs.ok(
        "runs/update",
        &json!({ "run_id": second, "status": "FINISHED" }),
    );
    theirs.ok(
        "runs/log-batch",
        &json!({ "run_id": second, "metrics": [metric("eval/loss", 0.25, 9)] }),
    );
    check(&server, &server.producer);
    let token = server.producer.clone();
    let server = server.restarted();
    check(&server, &token);
    Client::with(&server, &token).ok("runs/log-batch", &late);
    assert_eq!(server.records_of("ledger", "metric.logged").len(), 2);
    server.verified();
}

#[test]
fn a_start_that_looks_the_same_is_another_run_unless_its_answer_cannot_have_come() {
    let server = Server::start();
    let client = Client::of(&server);
    let more = json!({ "tags": [{ "key": "mlflow.source.name", "value": "train.py" }] });
    // Two of a sweep that start in the same millisecond are two.
    let (first, second) = (
        client.start("0", more.clone()),
        client.start("0", more.clone()),
    );
    assert_ne!(first, second);
    client.ok(
        "runs/log-batch",
        &json!({ "run_id": first, "metrics": [metric("loss", 1, 1)] }),
    );
    client.ok(
        "runs/update",
        &json!({ "run_id": first, "status": "FINISHED" }),
    );
    let token = server.producer.clone();
    let server = server.restarted();
    let client = Client::with(&server, &token);
    // Whoever asks again after the restart had no answer: the run is there, and nothing was done to it.
    assert_eq!(client.start("0", more.clone()), second);
    assert_eq!(client.start("0", more.clone()), second);
    client.ok(
        "runs/log-batch",
        &json!({ "run_id": second, "metrics": [metric("loss", 1, 1)] }),
    );
    let third = client.start("0", more.clone());
    assert!(![&first, &second].contains(&&third));
    let other = server
        .client(&server.admin)
        .create_token("other", "producer")
        .unwrap()
        .token;
    assert_ne!(
        Client::with(&server, &other).start("0", more.clone()),
        third
    );
    assert_ne!(client.start("0", json!({ "start_time": NOW + 1 })), third);
}

#[test]
fn a_start_whose_client_went_away_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = ledger::Options::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
    // Long enough for a client to go while the server looks for the experiment in the published log.
    settings.publish_interval = Duration::from_secs(1);
    let ledger = Ledger::create(dir.path(), settings).unwrap();
    let server = Server::start_on(dir, ledger, server::Options::default());
    let client = Client::of(&server);
    let experiment =
        client.ok("experiments/create", &json!({ "name": "slow" }))["experiment_id"].clone();
    // An experiment of which this server has not read yet, in a log that is not published yet.
    let path = "/v1/runs";
    let started = json!({ "name": "elsewhere", "experiment": "new" });
    assert_eq!(
        server
            .ask("post", path, Some(&server.producer), Some(started))
            .status,
        201
    );
    let id = {
        let digest = tlog::sha256(b"rlhf-audit-trail/experiment/v1\nnew");
        record::Sha256(digest).to_string()[..32].to_owned()
    };
    let body = json!({ "experiment_id": id, "start_time": NOW, "run_name": "lost" }).to_string();
    let mut stream = server.connect();
    write!(
        stream,
        "POST /api/2.0/mlflow/runs/create HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{body}",
        server.producer,
        body.len()
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    drop(stream);
    let lost = eventually(|| server.ledger.find_run("lost").ok());
    let again = client.start(&id, json!({ "run_name": "lost" }));
    assert_eq!(again, lost.id.to_string());
    // It was answered now: the next is another.
    assert_ne!(client.start(&id, json!({ "run_name": "lost" })), again);
    assert!(experiment.is_string());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table reads best in one piece")]
fn experiments_and_runs_are_found() {
    let server = Server::start();
    let client = Client::of(&server);
    let create = |name: &str| {
        client.ok("experiments/create", &json!({ "name": name }))["experiment_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (a, b) = (create("alpha"), create("beta"));
    refused(
        &client.post("experiments/create", &json!({ "name": "alpha" })),
        400,
        "RESOURCE_ALREADY_EXISTS",
    );
    assert_eq!(
        client.get("experiments/get?experiment_id=0").json()["experiment"]["name"],
        "Default"
    );
    refused(
        &client.get("experiments/get-by-name?experiment_name=gamma"),
        404,
        "RESOURCE_DOES_NOT_EXIST",
    );
    let search = |body: Value| {
        let found = client.ok("experiments/search", &body);
        let names: Vec<String> = found["experiments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect();
        (names, found["next_page_token"].as_str().map(str::to_owned))
    };
    let named = json!({ "filter": "name LIKE '%a'", "order_by": ["name DESC"] });
    assert_eq!(search(named).0, ["beta", "alpha"]);
    let (page, next) = search(json!({ "order_by": ["name"], "max_results": 2 }));
    assert_eq!(page, ["Default", "alpha"]);
    let (page, next) =
        search(json!({ "order_by": ["name"], "max_results": 2, "page_token": next }));
    assert_eq!((page, next), (vec!["beta".to_owned()], None));
    assert!(search(json!({ "view_type": "DELETED_ONLY" })).0.is_empty());

    let mut runs = Vec::new();
    for (n, experiment) in [(1, &a), (2, &a), (3, &b)] {
        let run = client.start(
            experiment,
            json!({ "run_name": format!("run-{n}"), "start_time": NOW + n }),
        );
        client.ok("runs/log-batch", &json!({
            "run_id": run, "metrics": [metric("loss", 1.0 / n as f64, 1)],
            "params": [{ "key": "beta", "value": format!("0.{n}") }, { "key": "note", "value": format!("note {n}") }],
        }));
        runs.push(run);
    }
    client.ok(
        "runs/update",
        &json!({ "run_id": runs[0], "status": 3, "run_name": "renamed" }),
    );
    let search = |body: Value| {
        let found = client.ok("runs/search", &body);
        found["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["info"]["run_name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let both = json!([a, b]);
    for (filter, order, expected) in [
        ("", json!([]), vec!["run-3", "run-2", "renamed"]),
        (
            "metrics.loss <= 0.5",
            json!(["metrics.loss DESC"]),
            vec!["run-2", "run-3"],
        ),
        ("params.note = 'note 2'", json!([]), vec!["run-2"]),
        ("attributes.status = 'FINISHED'", json!([]), vec!["renamed"]),
        (
            "attributes.run_name LIKE 'run-%'",
            json!(["start_time"]),
            vec!["run-2", "run-3"],
        ),
        (
            "tags.mlflow.runName = 'renamed'",
            json!([]),
            vec!["renamed"],
        ),
        ("params.missing = '1'", json!([]), vec![]),
    ] {
        let found = search(json!({ "experiment_ids": both, "filter": filter, "order_by": order }));
        assert_eq!(found, expected, "{filter}");
    }
    assert_eq!(search(json!({ "experiment_ids": [b] })), ["run-3"]);
    assert!(search(json!({ "experiment_ids": both, "run_view_type": "DELETED_ONLY" })).is_empty());
    // The web page's prefix is another name for the same.
    let answer = client.send(
        "post",
        "/ajax-api/2.0/mlflow/runs/search",
        &json!({ "experiment_ids": [b] }),
    );
    assert_eq!(answer.json()["runs"].as_array().unwrap().len(), 1);
    // A run that was not started here belongs to its experiment as well.
    server.start_run("plain");
    let admin = Client::with(&server, &server.admin);
    let found = admin.ok("runs/search", &json!({ "experiment_ids": ["0"] }));
    assert_eq!(found["runs"][0]["info"]["run_name"], "plain");
}

#[test]
fn the_history_of_a_metric_comes_in_pages() {
    let server = Server::start();
    let client = Client::of(&server);
    let run = client.start("0", json!({}));
    for step in 0..5 {
        client.ok("runs/log-batch", &json!({ "run_id": run, "metrics": [metric("loss", step, step), metric("kl", 0.5, step)] }));
    }
    let mut token = String::new();
    let mut steps = Vec::new();
    for pages in 1.. {
        let page = client
            .get(&format!(
                "metrics/get-history?run_id={run}&metric_key=loss&max_results=2&page_token={token}"
            ))
            .json();
        steps.extend(
            page["metrics"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["step"].as_i64().unwrap()),
        );
        token = page["next_page_token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            assert_eq!(pages, 3);
            break;
        }
    }
    assert_eq!(steps, [0, 1, 2, 3, 4]);
    let nothing = client
        .get(&format!(
            "metrics/get-history?run_id={run}&metric_key=other"
        ))
        .json();
    assert_eq!(nothing["metrics"], json!([]));
    refused(
        &client.get(&format!(
            "metrics/get-history?run_id={run}&metric_key=loss&page_token=x"
        )),
        400,
        "INVALID_PARAMETER_VALUE",
    );
}

#[test]
fn files_leave_their_digests() {
    let server = Server::start();
    let client = Client::of(&server);
    let run = client.start("0", json!({}));
    let at = |path: &str| format!("0/{run}/artifacts/{path}");
    assert_eq!(
        client
            .put(&at("model/model.safetensors"), b"weights")
            .status,
        200
    );
    assert_eq!(
        client
            .put(&at("model/model.safetensors"), b"weights")
            .status,
        200
    );
    assert_eq!(client.put(&at("model/config.json"), b"{}").status, 200);
    assert_eq!(
        client
            .put(&at("plots/reward.png"), &vec![7; 3 << 20])
            .status,
        200
    );
    let logged = server.records_of(&run, "artifact.logged");
    assert_eq!(logged.len(), 3);
    let digest = record::Sha256(tlog::sha256(b"weights")).to_string();
    assert_eq!(
        logged[0].1["body"],
        json!({ "bytes": 7, "path": "model/model.safetensors", "sha256": digest })
    );
    // A file that is written again is another: both are in the log, the latest is listed.
    assert_eq!(
        client.put(&at("model/config.json"), b"{\"a\":1}").status,
        200
    );
    let listed = client
        .get(&format!("artifacts/list?run_id={run}&path=model"))
        .json();
    assert_eq!(
        listed["files"],
        json!([
            { "path": "model/config.json", "is_dir": false, "file_size": 7 },
            { "path": "model/model.safetensors", "is_dir": false, "file_size": 7 },
        ])
    );
    let below = server.send(
        "get",
        &format!("/api/2.0/mlflow-artifacts/artifacts?path=0/{run}/artifacts"),
        Some(&server.producer),
        None,
        b"",
    );
    assert_eq!(
        below.json()["files"],
        json!([{ "path": "model", "is_dir": true }, { "path": "plots", "is_dir": true }])
    );
    let given = server.send(
        "get",
        &format!(
            "/api/2.0/mlflow-artifacts/artifacts/{}",
            at("model/model.safetensors")
        ),
        Some(&server.producer),
        None,
        b"",
    );
    assert!(refused(&given, 501, "NOT_IMPLEMENTED").contains(&digest));
    for bad in ["a/../b", "a//b", "a%0Ab", "a%5Cb", &"x".repeat(513)] {
        refused(&client.put(&at(bad), b"x"), 400, "INVALID_PARAMETER_VALUE");
    }
    refused(
        &client.put(&format!("0/{run}/elsewhere/a"), b"x"),
        501,
        "NOT_IMPLEMENTED",
    );
    client.ok(
        "runs/update",
        &json!({ "run_id": run, "status": "FINISHED" }),
    );
    let checkpoints = server.records_of(&run, "model.checkpoint");
    assert_eq!(checkpoints.len(), 1);
    let names: Vec<&Value> = checkpoints[0].1["body"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["name"])
        .collect();
    assert_eq!(names, ["config.json", "model.safetensors"]);
    server.verified();
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn models_are_folders_of_their_run() {
    let server = Server::start();
    let client = Client::of(&server);
    let run = client.start("0", json!({}));
    client.ok(
        "runs/log-parameter",
        &json!({ "run_id": run, "key": "beta", "value": "0.1" }),
    );
    let wanted = json!({
        "experiment_id": "0", "name": "policy", "model_type": "dpo", "source_run_id": run,
        "params": [{ "key": "beta", "value": "0.1" }, { "key": "depth", "value": "3" }],
        "tags": [{ "key": "mlflow.user", "value": "alice" }, { "key": "kind", "value": "adapter" }],
    });
    let model = client.ok("logged-models", &wanted)["model"].clone();
    let id = model["info"]["model_id"].as_str().unwrap().to_owned();
    assert_eq!(
        (&model["info"]["name"], &model["info"]["status"]),
        (&json!("policy"), &json!("LOGGED_MODEL_PENDING"))
    );
    assert_eq!(
        model["info"]["tags"],
        json!([{ "key": "kind", "value": "adapter" }])
    );
    client.ok(
        "runs/outputs",
        &json!({ "run_id": run, "models": [{ "model_id": id, "step": 5 }] }),
    );
    let folder = model["info"]["artifact_uri"]
        .as_str()
        .unwrap()
        .strip_prefix("mlflow-artifacts:/")
        .unwrap()
        .to_owned();
    assert_eq!(
        client
            .put(&format!("{folder}/adapter.safetensors"), b"w")
            .status,
        200
    );
    let path = format!("/api/2.0/mlflow/logged-models/{id}");
    let ready = client.send(
        "patch",
        &path,
        &json!({ "model_id": id, "status": "LOGGED_MODEL_READY" }),
    );
    assert_eq!(
        ready.json()["model"]["info"]["status"],
        "LOGGED_MODEL_READY"
    );
    client.send(
        "patch",
        &format!("{path}/tags"),
        &json!({ "tags": [{ "key": "kind", "value": "merged" }] }),
    );
    client.send(
        "post",
        &format!("{path}/params"),
        &json!({ "params": [{ "key": "rank", "value": "8" }] }),
    );
    let token = server.producer.clone();
    let server = server.restarted();
    let client = Client::with(&server, &token);
    let model = client.get(&format!("logged-models/{id}")).json()["model"].clone();
    assert_eq!(
        model["info"]["tags"],
        json!([{ "key": "kind", "value": "merged" }])
    );
    let params = &model["data"]["params"];
    assert_eq!(
        (
            value(params, "beta"),
            value(params, "depth"),
            value(params, "rank")
        ),
        (Some(&json!("0.1")), Some(&json!("3")), Some(&json!("8")))
    );
    let found = client.ok(
        "logged-models/search",
        &json!({ "experiment_ids": ["0"], "filter": "name = 'policy'" }),
    );
    assert_eq!(found["models"][0]["info"]["model_id"], json!(id));
    let nothing = client.ok(
        "logged-models/search",
        &json!({ "experiment_ids": ["0"], "filter": "name = 'other'" }),
    );
    assert_eq!(nothing["models"], json!([]));
    let read = client.run(&run);
    assert_eq!(
        read["outputs"]["model_outputs"],
        json!([{ "model_id": id, "step": 5 }])
    );
    assert!(!read["data"]["tags"].to_string().contains("loggedModel"));
    refused(
        &client.get("logged-models/m-x"),
        404,
        "RESOURCE_DOES_NOT_EXIST",
    );
    refused(
        &client.post("logged-models", &json!({ "name": "x" })),
        501,
        "NOT_IMPLEMENTED",
    );
    client.ok(
        "runs/update",
        &json!({ "run_id": run, "status": "FINISHED" }),
    );
    assert_eq!(
        server.records_of(&run, "model.checkpoint")[0].1["body"]["name"],
        format!("models/{id}")
    );
    assert!(!server.everything().contains("alice"));
    server.verified();
}

#[test]
fn inputs_and_taken_off_tags_are_kept_as_they_are() {
    let server = Server::start();
    let client = Client::of(&server);
    let run = client.start("0", json!({}));
    let dataset = json!({
        "tags": [{ "key": "mlflow.data.context", "value": "training" }],
        "dataset": { "name": "prefs", "digest": "9ce7", "source_type": "local", "source": "/home/alice/prefs.csv", "schema": "{}" },
    });
    client.ok(
        "runs/log-inputs",
        &json!({ "run_id": run, "datasets": [dataset] }),
    );
    client.ok(
        "runs/log-inputs",
        &json!({ "run_id": run, "datasets": [dataset] }),
    );
    assert_eq!(
        client.run(&run)["inputs"]["dataset_inputs"],
        json!([dataset])
    );
    client.ok(
        "runs/log-model",
        &json!({ "run_id": run, "model_json": "{\"artifact_path\":\"model\"}" }),
    );
    client.ok(
        "runs/set-tag",
        &json!({ "run_id": run, "key": "stage", "value": "pilot" }),
    );
    client.ok("runs/delete-tag", &json!({ "run_id": run, "key": "stage" }));
    let tags = client.run(&run)["data"]["tags"].clone();
    assert_eq!(value(&tags, "stage"), None);
    assert!(
        value(&tags, "mlflow.log-model.history")
            .unwrap()
            .as_str()
            .unwrap()
            .contains("artifact_path")
    );
    refused(
        &client.post("runs/delete-tag", &json!({ "run_id": run, "key": "stage" })),
        404,
        "RESOURCE_DOES_NOT_EXIST",
    );
    let token = server.producer.clone();
    let server = server.restarted();
    assert_eq!(
        Client::with(&server, &token).run(&run)["data"]["tags"],
        tags
    );
    assert!(!server.everything().contains("alice"));
    server.verified();
}
