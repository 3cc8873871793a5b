//! Hooks: what Label Studio and Argilla deliver, once and again, in order and out of it, and what of it
//! is in the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use ureq::http::Request;

use crate::support::{Answer, Server, SystemClock, code, eventually};
use record::Clock as _;

const INTERFACE: &str = r#"<View>
  <Text name="prompt" value="$prompt"/>
  <Text name="a" value="$a"/><Text name="b" value="$b"/>
  <Pairwise name="better" toName="a,b"/>
  <Rating name="stars" toName="a" maxRating="5"/>
  <TextArea name="reason" toName="a"/>
</View>"#;
/// In base64, as Argilla shows it.
const ARGILLA: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

struct Hook<'a> {
    server: &'a Server,
    name: &'a str,
    secret: String,
}

impl<'a> Hook<'a> {
    fn add(server: &'a Server, name: &'a str, platform: &str, target: (&str, &str)) -> Self {
        let mut body = json!({ "name": name, "platform": platform, target.0: target.1 });
        if platform == "argilla" {
            body["secret"] = json!(ARGILLA);
        }
        let answer = server.ask("post", "/v1/hooks", Some(&server.admin), Some(body));
        assert_eq!(answer.status, 201, "{}", answer.text());
        let secret = answer.json()["secret"]
            .as_str()
            .unwrap_or(ARGILLA)
            .to_owned();
        Self {
            server,
            name,
            secret,
        }
    }

    fn again(server: &'a Server, of: &Hook<'_>, name: &'a str) -> Self {
        Self {
            server,
            name,
            secret: of.secret.clone(),
        }
    }

    /// As Label Studio delivers.
    fn shows(&self, payload: &Value) -> Answer {
        let path = format!("/v1/hooks/{}", self.name);
        let body = payload.to_string();
        self.server.send(
            "post",
            &path,
            Some(&self.secret),
            Some("application/json"),
            body.as_bytes(),
        )
    }

    /// As Argilla delivers.
    fn signs(&self, payload: &Value) -> Answer {
        let seconds = SystemClock.now().0 / 1_000_000;
        self.signs_at(payload, seconds)
    }

    fn signs_at(&self, payload: &Value, seconds: i64) -> Answer {
        let (id, body) = ("msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", payload.to_string());
        let key = STANDARD.decode(&self.secret).unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{id}.{seconds}.{body}").as_bytes());
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let request = Request::post(format!("{}/v1/hooks/{}", self.server.url, self.name))
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", signature);
        self.server.run(request.body(body).unwrap())
    }

    /// What came of a delivery that was taken: recorded, superseded, withdrawn.
    #[track_caller]
    fn took(answer: &Answer) -> (u64, u64, u64) {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let json = answer.json();
        let number = |name: &str| json[name].as_u64().unwrap();
        (
            number("recorded"),
            number("superseded"),
            number("withdrawn"),
        )
    }
}

/// An event of Label Studio, with what it says of people and projects beside what is wanted.
fn studio(action: &str, annotation: Value) -> Value {
    let key = if action == "ANNOTATIONS_DELETED" {
        "annotations"
    } else {
        "annotation"
    };
    let mut event = json!({
        "action": action,
        "project": {
            "id": 2, "title": "Feedback", "label_config": INTERFACE,
            "token": "9105a1d897e52286", "task_data_password": "hunter2", "created_by": 1,
        },
        "task": {
            "id": 19, "data": { "prompt": "When?", "a": "At ten.", "b": "At nine." },
            "meta": { "worker": "ann@example.com" }, "project": 2,
        },
    });
    event[key] = annotation;
    event
}

#[expect(clippy::needless_pass_by_value, reason = "made for the call")]
fn annotated(id: u64, at: &str, result: Value) -> Value {
    json!({
        "id": id, "result": result, "was_cancelled": false, "ground_truth": false,
        "created_at": "2026-11-20T09:00:00.000000Z", "updated_at": at, "lead_time": 12.5,
        "unique_id": "7b5f6d0e-3f5f-4a51-8c29-2d3ef0a6a6a1", "task": 19, "project": 2,
        "completed_by": 4711, "updated_by": 4711, "last_created_by": null,
    })
}

fn prefers(side: &str) -> Value {
    json!({ "from_name": "better", "to_name": "better", "type": "pairwise", "value": { "selected": side } })
}

fn stars(stars: u64) -> Value {
    json!({ "from_name": "stars", "to_name": "a", "type": "rating", "value": { "rating": stars } })
}

const FIRST: &str = "2026-11-20T09:00:01.000000Z";
const SECOND: &str = "2026-11-20T09:00:02.000000Z";
const THIRD: &str = "2026-11-20T09:00:03.000000Z";

#[test]
fn label_studio_creates_updates_and_deletes() {
    let server = Server::start();
    let run = server.start_run("feedback").run.to_string();
    let hook = Hook::add(&server, "studio", "label-studio", ("run", "feedback"));
    let created = studio(
        "ANNOTATION_CREATED",
        annotated(17, FIRST, json!([prefers("left"), stars(4)])),
    );
    assert_eq!(Hook::took(&hook.shows(&created)), (2, 0, 0));
    // The same again, and the same under the other name of the event.
    assert_eq!(Hook::took(&hook.shows(&created)), (0, 0, 0));
    let mut list = created.clone();
    list["action"] = json!("ANNOTATIONS_CREATED");
    list["annotation"] = json!([created["annotation"]]);
    list["task"] = json!([created["task"]]);
    assert_eq!(Hook::took(&hook.shows(&list)), (0, 0, 0));

    // Another choice, and no rating any more.
    let updated = studio(
        "ANNOTATION_UPDATED",
        annotated(17, SECOND, json!([prefers("right")])),
    );
    assert_eq!(Hook::took(&hook.shows(&updated)), (1, 1, 1));
    assert_eq!(Hook::took(&hook.shows(&updated)), (0, 0, 0));
    // What is delivered late is old.
    assert_eq!(Hook::took(&hook.shows(&created)), (0, 0, 0));

    let preferences = server.records_of(&run, "annotation.preference");
    let choices: Vec<&Value> = preferences
        .iter()
        .map(|(_, it)| &it["body"]["choice"])
        .collect();
    assert_eq!(choices, ["a", "b"]);
    let first = &preferences[0].1;
    assert_eq!(first["stream"], "hook-studio");
    assert_eq!(
        (
            &first["body"]["item"],
            &first["body"]["at"],
            &first["body"]["duration_ms"]
        ),
        (&json!("t19/a17"), &json!(FIRST), &json!(12_500))
    );
    assert_eq!(
        server.opened(preferences[0].0),
        json!({ "annotator_id": 4711, "prompt": "When?", "response_a": "At ten.", "response_b": "At nine." })
    );
    let superseded = &server.records_of(&run, "annotation.superseded")[0].1["body"];
    let name = |index: u64| {
        server
            .client(&server.reader)
            .record(index)
            .unwrap()
            .leaf_hash
            .to_string()
    };
    assert_eq!(superseded["record"], name(preferences[0].0));
    assert_eq!(superseded["by"], name(preferences[1].0));
    assert_eq!(superseded["annotator"], first["body"]["annotator"]);

    let deleted = studio("ANNOTATIONS_DELETED", json!([{ "id": 17 }, { "id": 99 }]));
    assert_eq!(Hook::took(&hook.shows(&deleted)), (0, 0, 1));
    assert_eq!(Hook::took(&hook.shows(&deleted)), (0, 0, 0));
    assert_eq!(server.records_of(&run, "annotation.withdrawn").len(), 2);
    // It was deleted, not its older versions alone: they do not come back.
    assert_eq!(Hook::took(&hook.shows(&updated)), (0, 0, 0));

    // I8: nothing of the payload's secrets or people is anywhere in the clear.
    let all = server.everything();
    for secret in [
        "4711",
        "ann@example.com",
        "9105a1d897e52286",
        "hunter2",
        "7b5f6d0e",
        "When?",
        "At ten.",
    ] {
        assert!(!all.contains(secret), "{secret}");
    }
    server.verified();
}

#[test]
fn what_was_delivered_is_known_after_a_restart() {
    let server = Server::start();
    let run = server.start_run("feedback").run.to_string();
    let hook = Hook::add(&server, "studio", "label-studio", ("run", &run));
    let created = studio(
        "ANNOTATION_CREATED",
        annotated(17, FIRST, json!([prefers("left")])),
    );
    let other = studio(
        "ANNOTATION_CREATED",
        annotated(18, FIRST, json!([prefers("left")])),
    );
    hook.shows(&created);
    hook.shows(&other);
    let secret = Hook {
        server: &server,
        name: "studio",
        secret: hook.secret.clone(),
    }
    .secret;
    let server = server.restarted();
    let hook = Hook {
        server: &server,
        name: "studio",
        secret,
    };
    assert_eq!(Hook::took(&hook.shows(&created)), (0, 0, 0));
    let updated = studio(
        "ANNOTATION_UPDATED",
        annotated(17, SECOND, json!([prefers("right")])),
    );
    assert_eq!(Hook::took(&hook.shows(&updated)), (1, 1, 0));
    let deleted = studio("ANNOTATIONS_DELETED", json!([{ "id": 18 }]));
    assert_eq!(Hook::took(&hook.shows(&deleted)), (0, 0, 1));
    // The person has kept the pseudonym.
    let records = server.records_of(&run, "annotation.preference");
    let people: std::collections::BTreeSet<_> = records
        .iter()
        .map(|(_, it)| it["body"]["annotator"].as_str().unwrap())
        .collect();
    assert_eq!((records.len(), people.len()), (3, 1));
    server.verified();
}

#[test]
fn versions_that_arrive_out_of_order_are_all_recorded_and_the_latest_stands() {
    let server = Server::start();
    let run = server.start_run("feedback").run.to_string();
    let hook = Hook::add(&server, "studio", "label-studio", ("run", &run));
    let version = |at: &str, side: &str| {
        studio(
            "ANNOTATION_UPDATED",
            annotated(17, at, json!([prefers(side)])),
        )
    };
    assert_eq!(Hook::took(&hook.shows(&version(THIRD, "right"))), (1, 0, 0));
    assert_eq!(Hook::took(&hook.shows(&version(FIRST, "left"))), (1, 1, 0));
    assert_eq!(Hook::took(&hook.shows(&version(SECOND, "left"))), (1, 1, 0));
    let preferences = server.records_of(&run, "annotation.preference");
    let name = |index: u64| {
        server
            .client(&server.reader)
            .record(index)
            .unwrap()
            .leaf_hash
            .to_string()
    };
    let latest = name(preferences[0].0);
    for (_, superseded) in server.records_of(&run, "annotation.superseded") {
        assert_eq!(superseded["body"]["by"], json!(latest));
    }
}

#[test]
fn what_is_skipped_says_nothing_and_takes_back_what_was_said() {
    let server = Server::start();
    let run = server.start_run("feedback").run.to_string();
    let hook = Hook::add(&server, "studio", "label-studio", ("run", &run));
    let mut skipped = annotated(17, FIRST, json!([]));
    skipped["was_cancelled"] = json!(true);
    assert_eq!(
        Hook::took(&hook.shows(&studio("ANNOTATION_CREATED", skipped))),
        (0, 0, 0)
    );
    let said = studio(
        "ANNOTATION_UPDATED",
        annotated(17, SECOND, json!([prefers("left"), stars(2)])),
    );
    assert_eq!(Hook::took(&hook.shows(&said)), (2, 0, 0));
    let mut skipped = annotated(17, THIRD, json!([prefers("left")]));
    skipped["was_cancelled"] = json!(true);
    let skipped = studio("ANNOTATION_UPDATED", skipped);
    assert_eq!(Hook::took(&hook.shows(&skipped)), (0, 0, 2));
    assert_eq!(Hook::took(&hook.shows(&skipped)), (0, 0, 0));
    // A task that is deleted takes its annotations along.
    let said = studio(
        "ANNOTATION_CREATED",
        annotated(18, FIRST, json!([prefers("left")])),
    );
    hook.shows(&said);
    let gone = json!({ "action": "TASKS_DELETED", "tasks": [{ "id": 19 }, { "id": 20 }], "project": { "id": 2 } });
    assert_eq!(Hook::took(&hook.shows(&gone)), (0, 0, 1));
    // And what is of no concern is taken note of by nobody.
    for action in ["PROJECT_UPDATED", "TASKS_CREATED", "LABEL_LINK_CREATED"] {
        let answer = hook.shows(&json!({ "action": action, "project": { "id": 2 } }));
        assert_eq!(Hook::took(&answer), (0, 0, 0), "{action}");
        assert!(answer.json()["ignored"].is_string(), "{action}");
    }
}

#[test]
fn a_hook_of_an_experiment_starts_a_run_and_the_next_after_it() {
    let server = Server::start();
    let hook = Hook::add(
        &server,
        "studio",
        "label-studio",
        ("experiment", "alignment"),
    );
    let created = |id: u64| {
        studio(
            "ANNOTATION_CREATED",
            annotated(id, FIRST, json!([prefers("left")])),
        )
    };
    assert_eq!(Hook::took(&hook.shows(&created(17))), (1, 0, 0));
    assert_eq!(Hook::took(&hook.shows(&created(18))), (1, 0, 0));
    let runs = server.client(&server.reader).runs(None, 10).unwrap().runs;
    assert_eq!(runs.len(), 1);
    assert_eq!(
        (runs[0].name.as_str(), runs[0].experiment.as_deref()),
        ("studio", Some("alignment"))
    );
    let first = runs[0].run.to_string();
    let path = format!("/v1/runs/{first}/seal");
    let answer = server.ask(
        "post",
        &path,
        Some(&server.admin),
        Some(json!({ "status": "completed" })),
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
    // A new annotation is the next run's; a change of an old one is late in the first.
    assert_eq!(Hook::took(&hook.shows(&created(19))), (1, 0, 0));
    assert_eq!(
        server
            .client(&server.reader)
            .runs(None, 10)
            .unwrap()
            .runs
            .len(),
        2
    );
    let updated = studio(
        "ANNOTATION_UPDATED",
        annotated(17, SECOND, json!([prefers("right")])),
    );
    assert_eq!(Hook::took(&hook.shows(&updated)), (1, 1, 0));
    assert_eq!(Hook::took(&hook.shows(&updated)), (0, 0, 0));
    let late = server.records_of("ledger", "annotation.preference");
    assert_eq!(late.len(), 1);
    assert_eq!(
        (&late[0].1["body"]["run"], &late[0].1["stream"]),
        (&json!(first), &json!("hook-studio"))
    );

    let secret = hook.secret.clone();
    let server = server.restarted();
    let hook = Hook {
        server: &server,
        name: "studio",
        secret,
    };
    assert_eq!(Hook::took(&hook.shows(&updated)), (0, 0, 0));
    assert_eq!(Hook::took(&hook.shows(&created(19))), (0, 0, 0));
    let deleted = studio("ANNOTATIONS_DELETED", json!([{ "id": 17 }, { "id": 19 }]));
    assert_eq!(Hook::took(&hook.shows(&deleted)), (0, 0, 2));
    server.verified();
}

#[expect(clippy::needless_pass_by_value, reason = "made for the call")]
fn argilla(event: &str, response: Value) -> Value {
    json!({ "type": event, "version": 1, "timestamp": "2026-11-20T09:00:01.000000Z", "data": response })
}

/// A response as the server of Argilla 2.8 sends it.
#[expect(clippy::needless_pass_by_value, reason = "made for the call")]
fn response(id: u8, at: &str, status: &str, values: Value) -> Value {
    json!({
        "id": format!("aa1f4a5e-9d6b-4e0c-9f43-0a2b3c4d5e{id:02x}"),
        "values": values, "status": status,
        "record": {
            "id": "5c1f4a5e-9d6b-4e0c-9f43-0a2b3c4d5e6f", "status": "pending",
            "fields": { "prompt": "When?", "response-1": "At ten.", "response-2": "At nine." },
            "metadata": { "email": "ann@example.com" }, "external_id": "customer-4711",
            "dataset": {
                "id": "1f0e1c1e-0000-4000-8000-000000000000", "name": "feedback", "guidelines": "Be fair.",
                "workspace": { "id": "1f0e1c1e-0000-4000-8000-000000000009", "name": "ann" },
                "questions": [
                    { "name": "better", "title": "Better", "settings": { "type": "label_selection", "options": [
                        { "value": "response-1", "text": "First" }, { "value": "response-2", "text": "Second" } ] } },
                    { "name": "quality", "title": "Quality", "settings": { "type": "rating",
                        "options": [{ "value": 1 }, { "value": 5 }] } },
                ],
                "fields": [], "metadata_properties": [], "vectors_settings": [],
            },
        },
        "user": {
            "id": "9b0b3b4e-6a51-4c83-9a10-4a7f2f9c1d11", "first_name": "Ann", "last_name": "Otator",
            "username": "ann", "role": "annotator",
        },
        "inserted_at": "2026-11-20T09:00:00.000000", "updated_at": at,
    })
}

#[test]
fn argilla_creates_updates_and_deletes() {
    let server = Server::start();
    let run = server.start_run("feedback").run.to_string();
    let hook = Hook::add(&server, "argilla", "argilla", ("run", "feedback"));
    let values = json!({ "better": { "value": "response-2" }, "quality": { "value": 4 } });
    let created = argilla(
        "response.created",
        response(1, "2026-11-20T09:00:01.000000", "submitted", values),
    );
    assert_eq!(Hook::took(&hook.signs(&created)), (2, 0, 0));
    // Argilla draws another id for each try; what it delivers is the same.
    assert_eq!(Hook::took(&hook.signs(&created)), (0, 0, 0));
    let values = json!({ "better": { "value": "response-1" }, "quality": { "value": 4 } });
    let updated = argilla(
        "response.updated",
        response(1, "2026-11-20T09:00:02.000000", "submitted", values),
    );
    assert_eq!(Hook::took(&hook.signs(&updated)), (2, 2, 0));
    let discarded = response(1, "2026-11-20T09:00:03.000000", "discarded", Value::Null);
    assert_eq!(
        Hook::took(&hook.signs(&argilla("response.updated", discarded))),
        (0, 0, 2)
    );
    let draft = response(
        2,
        "2026-11-20T09:00:01.000000",
        "draft",
        json!({ "quality": { "value": 1 } }),
    );
    assert_eq!(
        Hook::took(&hook.signs(&argilla("response.created", draft.clone()))),
        (0, 0, 0)
    );
    let submitted = response(
        2,
        "2026-11-20T09:00:02.000000",
        "submitted",
        json!({ "quality": { "value": 1 } }),
    );
    assert_eq!(
        Hook::took(&hook.signs(&argilla("response.updated", submitted.clone()))),
        (1, 0, 0)
    );
    assert_eq!(
        Hook::took(&hook.signs(&argilla("response.deleted", submitted.clone()))),
        (0, 0, 1)
    );
    assert_eq!(
        Hook::took(&hook.signs(&argilla("response.deleted", submitted))),
        (0, 0, 0)
    );
    let completed = hook.signs(&argilla("record.completed", draft["record"].clone()));
    assert_eq!(Hook::took(&completed), (0, 0, 0));
    assert!(completed.json()["ignored"].is_string());

    let preferences = server.records_of(&run, "annotation.preference");
    assert_eq!(preferences.len(), 2);
    assert_eq!(
        server.opened(preferences[0].0),
        json!({
            "annotator_id": "9b0b3b4e-6a51-4c83-9a10-4a7f2f9c1d11",
            "prompt": "When?", "response_a": "At ten.", "response_b": "At nine.",
        })
    );
    let all = server.everything();
    for secret in [
        "9b0b3b4e",
        "Otator",
        "ann@example.com",
        "customer-4711",
        "Be fair",
    ] {
        assert!(!all.contains(secret), "{secret}");
    }
    server.verified();
}

#[test]
fn a_record_that_argilla_deletes_takes_its_responses_along() {
    let server = Server::start();
    server.start_run("feedback");
    let hook = Hook::add(&server, "argilla", "argilla", ("run", "feedback"));
    let one = |id: u8| {
        response(
            id,
            "2026-11-20T09:00:01.000000",
            "submitted",
            json!({ "quality": { "value": 1 } }),
        )
    };
    for id in [1, 2] {
        assert_eq!(
            Hook::took(&hook.signs(&argilla("response.created", one(id)))),
            (1, 0, 0)
        );
    }
    let deleted = argilla("record.deleted", one(1)["record"].clone());
    assert_eq!(Hook::took(&hook.signs(&deleted)), (0, 0, 2));
}

#[test]
fn a_delivery_that_proves_nothing_is_refused_before_it_is_looked_at() {
    let server = Server::start();
    server.start_run("feedback");
    let studio_hook = Hook::add(&server, "studio", "label-studio", ("run", "feedback"));
    let argilla_hook = Hook::add(&server, "argilla", "argilla", ("run", "feedback"));
    let created = studio(
        "ANNOTATION_CREATED",
        annotated(17, FIRST, json!([prefers("left")])),
    );
    let refused = |answer: Answer| {
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (401, "unproven-delivery")
        );
    };
    for secret in ["", "hook_x", &server.admin, &argilla_hook.secret] {
        let hook = Hook {
            server: &server,
            name: "studio",
            secret: secret.to_owned(),
        };
        refused(hook.shows(&created));
    }
    // Not a word about which hooks there are.
    refused(Hook::again(&server, &studio_hook, "nobody").shows(&created));
    let event = argilla(
        "response.created",
        response(1, "2026-11-20T09:00:01", "submitted", json!({})),
    );
    refused(argilla_hook.shows(&event));
    let now = SystemClock.now().0 / 1_000_000;
    refused(argilla_hook.signs_at(&event, now - 3_600));
    refused(argilla_hook.signs_at(&event, now + 3_600));
    let other = Hook {
        server: &server,
        name: "argilla",
        secret: STANDARD.encode("another key"),
    };
    refused(other.signs(&event));
    assert_eq!(Hook::took(&argilla_hook.signs(&event)), (0, 0, 0));
}

#[test]
fn what_cannot_be_understood_is_refused_and_the_log_knows_of_it() {
    let server = Server::start();
    server.start_run("feedback");
    let hook = Hook::add(&server, "studio", "label-studio", ("run", "feedback"));
    let good = studio(
        "ANNOTATION_CREATED",
        annotated(17, FIRST, json!([prefers("left")])),
    );
    let without = |path: &[&str]| {
        let mut payload = good.clone();
        let (last, parents) = path.split_last().unwrap();
        let parent = parents
            .iter()
            .fold(&mut payload, |value, name| &mut value[*name]);
        parent.as_object_mut().unwrap().remove(*last);
        payload
    };
    let cases = [
        (json!([]), "expected a JSON object, found an array"),
        (json!({ "action": "ANNOTATION_CREATED" }), "Send payload"),
        (without(&["task"]), "field `task`"),
        (
            without(&["project", "label_config"]),
            "field `project.label_config`",
        ),
        (without(&["annotation", "id"]), "field `annotation.id`"),
        (without(&["annotation", "updated_at"]), "created_at"),
        (
            studio(
                "ANNOTATION_CREATED",
                annotated(17, FIRST, json!([stars(9)])),
            ),
            "1 to 5, found 9",
        ),
        (
            studio("ANNOTATIONS_DELETED", json!([{ "id": "x" }])),
            "annotations[0].id",
        ),
    ];
    let mut refused = 0;
    for (payload, says) in &cases {
        let answer = hook.shows(payload);
        if *says == "created_at" {
            // An annotation that was never changed says when it was made.
            assert_eq!(Hook::took(&answer), (1, 0, 0));
            continue;
        }
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (422, "bad-payload"),
            "{}",
            answer.text()
        );
        assert!(
            answer.text().contains(says),
            "{} should say {says}",
            answer.text()
        );
        // A second try is the same refusal.
        assert_eq!(hook.shows(payload).status, 422);
        refused += 1;
    }
    let path = "/v1/hooks/studio";
    let answer = server.send(
        "post",
        path,
        Some(&hook.secret),
        None,
        b"{\"action\": \"x\",,}",
    );
    assert_eq!(
        (answer.status, code(&answer).as_str()),
        (422, "bad-payload"),
        "{}",
        answer.text()
    );
    let incidents = server.records_of("ledger", "incident.reported");
    assert_eq!(incidents.len(), refused + 1);
    let body = &incidents[0].1["body"];
    assert_eq!(
        (&body["incident"], &body["detail"], &body["stream"]),
        (
            &json!("delivery-refused"),
            &json!("label-studio"),
            &json!("hook-studio")
        )
    );
}

#[test]
fn hooks_are_made_once_listed_without_secrets_and_removed() {
    let server = Server::start();
    server.start_run("feedback");
    let hook = Hook::add(&server, "studio", "label-studio", ("run", "feedback"));
    assert!(
        hook.secret.starts_with("hook_") && hook.secret.len() == 48,
        "{}",
        hook.secret
    );
    let ask = |body: Value| server.ask("post", "/v1/hooks", Some(&server.admin), Some(body));
    for (body, status, says) in [
        (
            json!({ "name": "studio", "platform": "label-studio", "run": "feedback" }),
            409,
            "hook-exists",
        ),
        (
            json!({ "name": "x", "platform": "prodigy", "run": "feedback" }),
            422,
            "bad-object",
        ),
        (
            json!({ "name": "x", "platform": "label-studio", "run": "nowhere" }),
            404,
            "not-found",
        ),
        (
            json!({ "name": "x", "platform": "label-studio" }),
            422,
            "bad-object",
        ),
        (
            json!({ "name": "x", "platform": "label-studio", "run": "feedback", "experiment": "e" }),
            422,
            "bad-object",
        ),
        (
            json!({ "name": "x.y", "platform": "label-studio", "run": "feedback" }),
            422,
            "bad-object",
        ),
        (
            json!({ "name": "x", "platform": "argilla", "run": "feedback" }),
            422,
            "bad-object",
        ),
        (
            json!({ "name": "x", "platform": "argilla", "run": "feedback", "secret": "!" }),
            422,
            "bad-object",
        ),
        (
            json!({ "name": "x", "platform": "label-studio", "run": "feedback", "secret": "short" }),
            422,
            "bad-object",
        ),
        (
            json!({ "name": "x", "platform": "label-studio", "run": "feedback", "token": "y" }),
            422,
            "bad-object",
        ),
    ] {
        let answer = ask(body.clone());
        assert_eq!(
            (answer.status, code(&answer).as_str()),
            (status, says),
            "{body}: {}",
            answer.text()
        );
    }
    let own = json!({ "name": "own", "platform": "label-studio", "experiment": "e", "secret": "sixteen characters" });
    let made = ask(own);
    assert_eq!(made.status, 201);
    assert!(made.json().get("secret").is_none());

    let client = server.client(&server.admin);
    let names: Vec<String> = client
        .hooks()
        .unwrap()
        .into_iter()
        .map(|hook| hook.name)
        .collect();
    assert_eq!(names, ["own", "studio"]);
    let listed = server
        .ask("get", "/v1/hooks", Some(&server.admin), None)
        .text();
    assert!(
        !listed.contains(&hook.secret) && !listed.contains("sixteen"),
        "{listed}"
    );
    client.remove_hook("studio").unwrap();
    assert_eq!(
        server
            .ask("delete", "/v1/hooks/studio", Some(&server.admin), None)
            .status,
        404
    );
    let created = studio(
        "ANNOTATION_CREATED",
        annotated(17, FIRST, json!([prefers("left")])),
    );
    assert_eq!(hook.shows(&created).status, 401);
}

#[test]
fn a_stream_at_rest_is_signed() {
    let server = Server::start();
    let run = server.start_run("feedback").run;
    let hook = Hook::add(&server, "studio", "label-studio", ("run", "feedback"));
    let created = |id: u64| {
        studio(
            "ANNOTATION_CREATED",
            annotated(id, FIRST, json!([prefers("left")])),
        )
    };
    Hook::took(&hook.shows(&created(17)));
    let unsigned = || {
        let streams = server.client(&server.reader).streams(run.as_str()).unwrap();
        streams
            .iter()
            .find(|it| it.stream.as_str() == "hook-studio")
            .unwrap()
            .unsigned
    };
    eventually(|| (unsigned() == 0).then_some(()));
    // And goes on from there.
    assert_eq!(Hook::took(&hook.shows(&created(18))), (1, 0, 0));
    eventually(|| (unsigned() == 0).then_some(()));
}
