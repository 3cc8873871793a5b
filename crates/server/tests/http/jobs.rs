//! Jobs over HTTP: added, seen, requeued, counted. Nobody works here but the test.

use store::{Claim, JobEnd};

use crate::support::{Server, code};

#[test]
fn jobs_are_added_seen_and_requeued() {
    let server = Server::start();
    let admin = Some(server.admin.as_str());
    let ask = |method: &str, path: &str, body: Option<&str>| {
        let body = body.map(|text| serde_json::from_str(text).unwrap());
        server.ask(method, path, admin, body)
    };
    let added = ask(
        "post",
        "/v1/jobs",
        Some(r#"{"kind":"integrity","payload":{"whole":true}}"#),
    );
    assert_eq!(added.status, 202, "{}", added.text());
    let id = added.json()["id"].as_str().unwrap().to_owned();
    let again = ask("post", "/v1/jobs", Some(r#"{"kind":"integrity"}"#));
    assert_eq!((again.status, code(&again).as_str()), (409, "job-open"));
    for bad in [
        r#"{"kind":"nothing"}"#,
        r#"{"kind":"integrity-range","payload":{"range":0}}"#,
        r#"{"kind":"model-card"}"#,
    ] {
        let refused = ask("post", "/v1/jobs", Some(bad));
        assert_eq!(refused.status, 422, "{bad}: {}", refused.text());
    }
    let shown = ask("get", &format!("/v1/jobs/{id}"), None).json();
    assert_eq!(
        (&shown["state"], &shown["payload"]["whole"]),
        (&"queued".into(), &true.into())
    );

    let requeue = format!("/v1/jobs/{id}/requeue");
    let early = ask("post", &requeue, Some("{}"));
    assert_eq!((early.status, code(&early).as_str()), (409, "job-not-dead"));
    let store = server.ledger.work();
    let claim = Claim {
        holder: "the test",
        kinds: &["integrity"],
        lease: 60_000,
        id: Some(&id),
    };
    let taken = store.claim_job(&claim).unwrap().unwrap();
    let reason = "the disk is on fire".to_owned();
    assert!(
        store
            .end_job(&id, taken.attempt, &JobEnd::Dead { reason })
            .unwrap()
    );
    let dead = ask("get", "/v1/jobs?state=dead&kind=integrity", None).json();
    assert_eq!(dead["jobs"][0]["reason"], "the disk is on fire");
    let metrics = ask("get", "/metrics", None).text();
    for line in [
        r#"rlhf_audit_jobs{kind="integrity",state="dead"} 1"#,
        r#"rlhf_audit_job_outcomes_total{kind="integrity",outcome="dead"} 1"#,
        "rlhf_audit_integrity_faults 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line} in {metrics}"
        );
    }
    let requeued = ask("post", &requeue, Some("{}"));
    assert_eq!(requeued.status, 200, "{}", requeued.text());
    assert_eq!(requeued.json()["requeues"], 1);
    assert_eq!(ask("get", "/v1/jobs/nobody", None).status, 404);
    for bad in ["state=asleep", "limit=0", "limit=1001", "nobody=1"] {
        let refused = ask("get", &format!("/v1/jobs?{bad}"), None);
        assert_eq!(
            (refused.status, code(&refused).as_str()),
            (400, "bad-parameter"),
            "{bad}"
        );
    }
}
