//! What the server finds odd, from a record that arrives to the finding that is listed.

use record::Draft;
use record::kinds::{FindingRaised, PolicyUpdated};
use serde_json::Value;

use crate::support::{Server, Stream, code, eventually};

/// So many updates at this divergence.
fn updates(server: &Server, stream: &mut Stream, count: u64, kl: f64) {
    for step in 0..count {
        let mut update = PolicyUpdated::new(step);
        update.kl = Some(kl + 0.1 * (step * 7 % 10) as f64);
        stream.write(Draft::new(update));
    }
    server.take(stream);
}

fn findings(server: &Server, filter: &str) -> Vec<Value> {
    let path = format!("/v1/findings{filter}");
    let answer = server.ask("get", &path, Some(&server.reader), None);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["findings"].as_array().unwrap().clone()
}

/// Waits until the watch has looked at all that is recorded, and at what that led to.
fn watched(server: &Server) {
    eventually(|| {
        let size = server.ledger.status().sequenced;
        let metrics = server.ask("get", "/metrics", None, None).text();
        let seen = format!("rlhf_audit_watched_size {size}");
        metrics.lines().any(|line| line == seen).then_some(())
    });
}

/// What a scrape says of a rule.
fn counted(server: &Server, rule: &str) -> u64 {
    let metrics = server.ask("get", "/metrics", None, None).text();
    let name = format!(r#"rlhf_audit_findings_total{{rule="{rule}"}} "#);
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{name} in {metrics}"))
        .parse()
        .unwrap()
}

#[test]
fn a_drift_is_found_once_listed_and_counted_whatever_restarts() {
    let server = Server::start();
    let mut stream = server.open_run("drifts", &server.producer);
    updates(&server, &mut stream, 80, 5.0);
    let before = server.published();
    updates(&server, &mut stream, 30, 11.0);
    let found = eventually(|| findings(&server, "").pop());
    let run = stream.run.to_string();
    assert_eq!(found["rule"], "kl-drift");
    assert_eq!(found["detail"], "up");
    assert_eq!(found["severity"], "warning");
    assert_eq!(found["run"], run.as_str());
    for index in found["evidence"].as_array().unwrap() {
        assert!(index.as_u64().unwrap() >= before, "{found}");
    }
    watched(&server);
    assert_eq!(counted(&server, "kl-drift"), 1);
    assert_eq!(counted(&server, "reward-drift"), 0);

    // It goes on as it was, under another server too, and one that has lost what the watch knew.
    updates(&server, &mut stream, 30, 11.0);
    watched(&server);
    let mut server = server.restarted();
    watched(&server);
    server.stop();
    server
        .ledger
        .keep_watch(b"nothing anybody could read")
        .unwrap();
    let server = server.restarted();
    watched(&server);
    assert_eq!(findings(&server, ""), [found]);
    // Those of before are not this server's.
    assert_eq!(counted(&server, "kl-drift"), 0);
    server.verified();
}

#[test]
fn findings_are_filtered_by_run_and_rule_and_come_in_pages() {
    let server = Server::start();
    let runs: Vec<String> = ["one", "two", "three"]
        .iter()
        .map(|name| {
            let mut stream = server.open_run(name, &server.producer);
            updates(&server, &mut stream, 80, 5.0);
            updates(&server, &mut stream, 10, 11.0);
            stream.run.to_string()
        })
        .collect();
    eventually(|| (findings(&server, "").len() == 3).then_some(()));
    for run in &runs {
        let of_run = findings(&server, &format!("?run={run}&rule=kl-drift"));
        assert_eq!(of_run.len(), 1);
        assert_eq!(of_run[0]["run"], run.as_str());
    }
    assert_eq!(findings(&server, "?rule=run-stalled").len(), 0);
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let path = format!("/v1/findings?limit=1{after}");
        let page = server.ask("get", &path, Some(&server.reader), None).json();
        seen.extend(page["findings"].as_array().unwrap().clone());
        match page["next"].as_u64() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, findings(&server, ""));
    for bad in ["?run=ledger", "?limit=0", "?rul=kl-drift"] {
        let answer = server.ask(
            "get",
            &format!("/v1/findings{bad}"),
            Some(&server.reader),
            None,
        );
        assert_eq!(code(&answer), "bad-parameter", "{bad}");
    }
}

#[test]
fn what_a_producer_calls_a_finding_is_not_listed_and_silences_nothing() {
    let server = Server::start();
    let mut stream = server.open_run("silenced", &server.producer);
    let mut forged = FindingRaised::new("kl-drift".to_owned());
    forged.detail = Some("up".to_owned());
    forged.run = Some(stream.run);
    stream.write(Draft::new(forged));
    updates(&server, &mut stream, 80, 5.0);
    watched(&server);
    assert_eq!(findings(&server, "").len(), 0);
    updates(&server, &mut stream, 10, 11.0);
    eventually(|| (findings(&server, "").len() == 1).then_some(()));
}

#[test]
fn a_server_that_is_not_to_watch_does_not() {
    let server = Server::start_with(server::Options {
        watch: None,
        ..server::Options::default()
    });
    let mut stream = server.open_run("unwatched", &server.producer);
    updates(&server, &mut stream, 80, 5.0);
    updates(&server, &mut stream, 30, 11.0);
    server.published();
    let size = server.ledger.status().sequenced;
    // What there is to find is found by the next server, which watches.
    assert_eq!(findings(&server, "").len(), 0);
    let server = server.restarted();
    let found = eventually(|| findings(&server, "").pop());
    assert!(found["index"].as_u64().unwrap() >= size);
}
