//! What verl writes and what OpenRLHF asks, as records.

use import::trainers::openrlhf::{self, Body};
use import::trainers::verl::{LogLine, rollout};
use import::trainers::{Entry, Unreadable};
use serde_json::{Value, json};

use crate::seen::{Seen, written};

const LIMIT: usize = 1 << 20;

fn logged(line: &str) -> Vec<Seen> {
    let line = LogLine::read(line.as_bytes()).unwrap();
    written(line.entry(None, "log, line 1").drafts)
}

fn of_kind<'s>(seen: &'s [Seen], kind: &str) -> Vec<&'s Seen> {
    seen.iter().filter(|seen| seen.kind == kind).collect()
}

#[test]
fn a_step_is_its_metrics_its_update_and_its_evaluation() {
    // As orjson writes it: what is not finite is null.
    let seen = logged(
        r#"{"step":7,"data":{"actor/pg_loss":0.25,"actor/lr":1e-06,"actor/grad_norm":1.5,"actor/kl_loss":0.001,
        "actor/entropy":0.75,"critic/rewards/mean":0.5,"critic/score/mean":0.6,"training/epoch":1,
        "training/global_step":7,"actor/ppo_kl":null,"val-core/openai/gsm8k/acc/mean@1":0.4,
        "val-aux/num_turns/mean":2}}"#,
    );
    let kinds: Vec<&str> = seen.iter().map(|seen| seen.kind).collect();
    assert_eq!(
        kinds,
        [
            "metric.logged",
            "policy.updated",
            "evaluation.completed",
            "incident.reported"
        ]
    );
    assert_eq!(seen[0].body["step"], 7);
    assert_eq!(seen[0].body["metrics"]["actor/kl_loss"], 0.001);
    assert_eq!(seen[0].body["metrics"].as_object().unwrap().len(), 9);
    assert_eq!(
        seen[1].body,
        json!({
            "step": 7, "loss": 0.25, "learning_rate": 1e-6, "gradient_norm": 1.5, "kl": 0.001, "entropy": 0.75,
            "reward_mean": 0.5, "epoch": 1,
        })
    );
    assert_eq!(
        seen[2].body,
        json!({
            "name": "validation", "step": 7,
            "metrics": { "val-core/openai/gsm8k/acc/mean@1": 0.4, "val-aux/num_turns/mean": 2 },
        })
    );
    assert_eq!(seen[3].body, json!({ "incident": "metric-not-finite" }));
    let said = seen[3].sealed["description"].as_str().unwrap();
    assert!(
        said.contains("log, line 1") && said.contains("actor/ppo_kl"),
        "{said}"
    );
}

#[test]
fn a_step_that_trained_no_policy_updates_none() {
    // While the critic warms up, verl knows the policy's entropy all the same.
    let seen = logged(r#"{"step":1,"data":{"actor/entropy":0.5,"critic/vf_loss":0.1}}"#);
    assert_eq!(of_kind(&seen, "policy.updated").len(), 0);
    let seen = logged(r#"{"step":1,"data":{"train/loss":0.5,"train/grad_norm":NaN}}"#);
    let updates = of_kind(&seen, "policy.updated");
    assert_eq!(updates[0].body, json!({ "step": 1, "loss": 0.5 }));
    assert_eq!(logged(r#"{"step":0,"data":{}}"#).len(), 0);
}

#[test]
fn more_metrics_than_a_record_holds_are_several_records() {
    let long = "é".repeat(120);
    let mut data = serde_json::Map::new();
    for number in 0..1_000 {
        data.insert(format!("{long}/{number}"), json!(number));
        data.insert(format!("val-aux/{number}"), json!(number));
    }
    let seen = logged(&json!({ "step": 1, "data": data }).to_string());
    for (kind, at_least) in [("metric.logged", 5), ("evaluation.completed", 4)] {
        let records = of_kind(&seen, kind);
        assert!(records.len() >= at_least);
        let names = records
            .iter()
            .map(|seen| seen.body["metrics"].as_object().unwrap().len());
        assert_eq!(names.sum::<usize>(), 1_000, "{kind}");
    }
    assert_eq!(
        seen.len(),
        of_kind(&seen, "metric.logged").len() + of_kind(&seen, "evaluation.completed").len()
    );
}

#[test]
fn what_no_record_holds_is_an_incident() {
    let name = "n".repeat(129);
    let line = json!({ "step": 1, "data": { "": 1, (name.clone()): 2, "a\nb": 3, "text": "x", "list": [1], "on": true } });
    let seen = logged(&line.to_string());
    assert_eq!(seen[0].body["metrics"], json!({ "on": 1 }));
    assert_eq!(seen[1].body["incident"], "metric-left-out");
    let said = seen[1].sealed["description"].as_str().unwrap();
    for left_out in [name.as_str(), "text", "list"] {
        assert!(said.contains(left_out), "{said}");
    }
}

#[test]
fn lines_that_are_none_say_what_was_expected() {
    let why = |line: &str| LogLine::read(line.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        why(r#"{"step":1,"data":{"a":0."#),
        "expected one JSON object, found a line that breaks off"
    );
    assert_eq!(why("[1]"), "expected a JSON object, found an array");
    assert_eq!(
        why(r#"{"data":{}}"#),
        "expected a whole number from 0 at `step`, found no such field"
    );
    assert_eq!(
        why(r#"{"step":-1,"data":{}}"#),
        "expected a whole number from 0 at `step`, found -1"
    );
    assert_eq!(
        why(r#"{"step":1,"data":[]}"#),
        "expected an object at `data`, found an array"
    );
    assert_eq!(
        why(r#"{"step":1}"#),
        "expected an object at `data`, found no such field"
    );
}

fn rolled(line: &str) -> Result<Vec<Seen>, Unreadable> {
    Ok(written(
        rollout(line.as_bytes(), 4, "rollouts/4.jsonl:1", "4.jsonl, line 1")?.drafts,
    ))
}

#[test]
fn a_rollout_is_a_score_with_prompt_and_response_sealed() {
    let seen = rolled(
        r#"{"input": "Wie viel?\n", "output": "Fünf \ud83d\ude00", "gts": "5", "score": 0.5, "step": 4, "acc": true,
        "format": 0.25, "pred": "5", "none": null}"#,
    )
    .unwrap();
    assert_eq!(
        seen[0].body,
        json!({
            "reward": 0.5, "item": "rollouts/4.jsonl:1", "step": 4, "components": { "acc": 1, "format": 0.25 },
        })
    );
    assert_eq!(seen[0].sealed["prompt"], "Wie viel?\n");
    assert_eq!(seen[0].sealed["response"], "Fünf 😀");
    assert_eq!(seen.len(), 1);
}

#[test]
fn rewards_that_are_no_numbers_are_incidents() {
    for score in ["NaN", "Infinity", "-Infinity", "null"] {
        let line = format!(r#"{{"input": "q", "output": "secret", "score": {score}}}"#);
        let seen = rolled(&line).unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].body, json!({ "incident": "reward-not-finite" }));
        assert!(
            !seen[0].sealed["description"]
                .as_str()
                .unwrap()
                .contains("secret")
        );
    }
    let seen = rolled(r#"{"input": "q", "output": "a", "score": 1, "part": Infinity}"#).unwrap();
    assert_eq!(seen[0].body["step"], 4);
    assert_eq!(seen[1].body, json!({ "incident": "metric-not-finite" }));
    for (line, expected) in [
        (
            r#"{"input": "q", "output": "a", "score": "1"}"#,
            "a number at `score`",
        ),
        (r#"{"input": "q", "output": "a"}"#, "a number at `score`"),
        (r#"{"input": "q", "score": 1}"#, "a response at `output`"),
        (
            r#"{"input": "q", "output": "a", "score": 1, "step": "x"}"#,
            "a whole number from 0 at `step`",
        ),
    ] {
        assert_eq!(rolled(line).unwrap_err().expected, expected);
    }
}

#[test]
fn a_response_that_is_too_long_leaves_its_score() {
    let long = "a".repeat(record::MAX_SEALED_BYTES);
    let line = json!({ "input": "q", "output": long, "score": 1 }).to_string();
    let seen = rolled(&line).unwrap();
    assert_eq!(seen[0].body["reward"], 1);
    assert_eq!(seen[0].sealed.len(), 1);
    assert_eq!(
        seen[1].body,
        json!({ "incident": "value-not-sealed", "detail": "response" })
    );
}

fn called(request: &Value, answer: &str) -> Result<Vec<Seen>, Unreadable> {
    let request = request.to_string();
    let plain = |bytes| Body {
        bytes,
        encoding: None,
    };
    let entry: Entry = openrlhf::call(
        plain(request.as_bytes()),
        plain(answer.as_bytes()),
        "call",
        Some("rm"),
        LIMIT,
    )?;
    assert_eq!(
        entry.counts.rewards + entry.counts.incidents,
        entry.drafts.len() as u64
    );
    Ok(written(entry.drafts))
}

#[test]
fn each_query_of_a_call_is_a_score() {
    let request =
        json!({ "query": ["Q1? A1", "other"], "prompts": ["Q1? ", "Q2?"], "labels": ["l", null] });
    let answer = r#"{"rewards": [0.5, [-1]], "scores": [1, 0], "extra_logs": {"len": [2, 5], "not": [1], "t": "x"}}"#;
    let seen = called(&request, answer).unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        seen[0].body,
        json!({ "reward": 0.5, "item": "call/0", "reward_model": "rm", "components": { "scores": 1, "len": 2 } })
    );
    assert_eq!(seen[0].sealed["prompt"], "Q1? ");
    assert_eq!(seen[0].sealed["response"], "A1");
    assert_eq!(seen[1].body["reward"], -1);
    assert_eq!(seen[1].sealed["response"], "other");
    // As older versions ask, and as one query may be answered.
    let seen = called(&json!({ "query": ["q"] }), r#"{"rewards": 0.25}"#).unwrap();
    assert_eq!(seen[0].body["reward"], 0.25);
    assert_eq!(seen[0].sealed["response"], "q");
    assert!(!seen[0].sealed.contains_key("prompt"));
    let seen = called(&json!({ "query": ["q", "r"] }), r#"{"rewards": [NaN, 1]}"#).unwrap();
    assert_eq!(seen[0].body["incident"], "reward-not-finite");
    assert_eq!(seen[1].body["item"], "call/1");
}

#[test]
fn a_call_that_cannot_be_read_says_what_was_expected() {
    let why = |request: Value, answer: &str| called(&request, answer).unwrap_err().to_string();
    let query = json!({ "query": ["q"] });
    assert_eq!(
        why(query.clone(), r#"{"rewards": [1, 2]}"#),
        "expected 1 rewards, as many as queries, found 2"
    );
    assert_eq!(
        why(query.clone(), "<html>"),
        "expected JSON in the answer, found something else"
    );
    assert_eq!(
        why(query.clone(), "[1]"),
        "expected a JSON object in the answer, found an array"
    );
    assert_eq!(
        why(query, r#"{"rewards": ["1"]}"#),
        "expected a number at `rewards[0]`, found a text"
    );
    assert_eq!(
        why(json!({ "queries": [] }), r#"{"rewards": []}"#),
        "expected a list of texts at `query`, found no such field"
    );
}

#[test]
fn packed_bodies_are_unpacked() {
    use std::io::Write as _;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(br#"{"rewards": [1]}"#).unwrap();
    let packed = packed.finish().unwrap();
    let request = Body {
        bytes: br#"{"query": ["q"]}"#,
        encoding: None,
    };
    let answer = |encoding| Body {
        bytes: &packed,
        encoding,
    };
    let read = |encoding| openrlhf::call(request, answer(encoding), "c", None, LIMIT);
    assert_eq!(read(Some("gzip")).unwrap().counts.rewards, 1);
    assert!(read(Some("br")).is_err());
    assert!(read(None).is_err());
}
