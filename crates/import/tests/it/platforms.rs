//! Exports of annotation platforms, as they write them.

use std::collections::BTreeSet;
use std::fs;

use import::{Format, Row, RowError, Settings, Source, rows};
use serde_json::{Value, json};

use crate::seen::{Seen, data, drafts, source, written};

const ANN: &str = "9b0b3b4e-6a51-4c83-9a10-4a7f2f9c1d11";

fn settings(format: Format, name: &str) -> Settings {
    format.settings(&fs::read(data(name)).unwrap()).unwrap()
}

fn read(format: Format, text: &str, settings: Settings) -> Vec<Result<Row, RowError>> {
    let source = Source {
        settings,
        ..source(format)
    };
    rows(text.as_bytes(), source).unwrap().collect()
}

fn file(format: Format, name: &str, settings_name: &str) -> Vec<Seen> {
    let text = fs::read_to_string(data(name)).unwrap();
    written(drafts(read(format, &text, settings(format, settings_name))))
}

fn label_studio(name: &str) -> Vec<Seen> {
    file(Format::LabelStudio, name, "label_studio.xml")
}

fn argilla(name: &str) -> Vec<Seen> {
    file(Format::Argilla, name, "argilla_settings.json")
}

fn refused(format: Format, row: &Value, settings: Settings) -> String {
    let error = read(format, &row.to_string(), settings)
        .remove(0)
        .unwrap_err();
    error.to_string()
}

/// By the question it answers.
#[track_caller]
fn of<'a>(seen: &'a [Seen], criterion: &str) -> &'a Seen {
    let found = seen.iter().find(|seen| seen.body["criterion"] == criterion);
    found.unwrap_or_else(|| panic!("nothing answers {criterion}"))
}

#[test]
fn a_pairwise_task_is_a_preference_with_its_reason() {
    let seen = label_studio("label_studio.json");
    let preference = &seen[0];
    assert_eq!(preference.kind, "annotation.preference");
    let mut body = preference.body.clone();
    let pseudonym = body["annotator"].take();
    assert!(pseudonym.as_str().unwrap().starts_with("p-"), "{pseudonym}");
    assert_eq!(
        body,
        json!({
            "annotator": null,
            "at": "2026-11-20T09:14:48.100000Z",
            "choice": "b",
            "criterion": "comparison",
            "duration_ms": 37_130,
            "item": "t19/a17",
            "source": { "dataset": "tests", "part": 0, "row": 0 },
        })
    );
    assert_eq!(
        serde_json::to_value(&preference.sealed).unwrap(),
        json!({
            "annotator_id": 3,
            "prompt": "When does the ferry leave?",
            "rationale": "The first one invents a ferry.",
            "response_a": "At ten, from pier 4.",
            "response_b": "At nine.",
        })
    );
    // The skipped one says nothing, and the next task is by somebody else.
    assert_eq!(seen[1].body["item"], "t20/a21");
    assert_ne!(seen[1].body["annotator"], pseudonym);
}

#[test]
fn every_type_of_result_is_kept() {
    let seen = label_studio("label_studio.json");
    let rating = of(&seen, "helpfulness");
    assert_eq!(
        (&rating.body["value"], &rating.body["scale"]),
        (&json!(6), &json!({ "min": 1, "max": 7 }))
    );
    assert_eq!(rating.sealed["response"], "At ten, from pier 4.");
    assert_eq!(rating.sealed["prompt"], "When does the ferry leave?");
    let flags: Vec<_> = seen
        .iter()
        .filter(|it| it.body["criterion"] == "flags")
        .collect();
    let categories: Vec<_> = flags.iter().map(|it| &it.body["category"]).collect();
    assert_eq!(categories, ["Unsafe", "made-up"]);
    assert_eq!(flags[0].body["target"], "answer1");
    let edited = of(&seen, "edited");
    assert_eq!(edited.kind, "annotation.correction");
    assert_eq!(edited.sealed["original"], "At ten, from pier 4.");
    assert_eq!(edited.sealed["corrected"], "At nine, from pier 4.");
    let own = of(&seen, "own");
    assert_eq!(own.kind, "annotation.demonstration");
    assert_eq!(own.sealed["response"], "It leaves at nine.");
    assert_eq!(own.sealed["prompt"], "When does the ferry leave?");
    assert_eq!(of(&seen, "comment").body["category"], "comment");
    let span = of(&seen, "spans");
    assert_eq!(
        (&span.body["category"], &span.body["target"]),
        (&json!("Wrong"), &json!("answer2"))
    );
    assert_eq!(span.sealed["critique"]["end"], 2);
    let order = of(&seen, "order");
    // In the order of the task: a is second, b third, c first.
    assert_eq!(order.body["ranks"], json!([2, 3, 1]));
    assert_eq!(order.sealed["responses"][2]["id"], "c");
    let when = of(&seen, "when");
    assert_eq!(
        (when.kind, &when.body["category"]),
        ("annotation.critique", &json!("datetime"))
    );
    assert_eq!(when.sealed["critique"], json!({ "datetime": "2026-11-20" }));
    assert_eq!(seen.len(), 10);
}

#[test]
fn nothing_about_people_or_projects_is_taken_over() {
    for seen in [label_studio("label_studio.json"), argilla("argilla.json")] {
        for one in &seen {
            let all = format!(
                "{} {}",
                one.body,
                serde_json::to_string(&one.sealed).unwrap()
            );
            for secret in ["@example.com", "Otator", "customer", "3a1b-tasks"] {
                assert!(!all.contains(secret), "{secret} in {all}");
            }
        }
    }
}

#[test]
fn the_minimal_export_says_the_same() {
    let seen = label_studio("label_studio_min.json");
    let preference = of(&seen, "comparison");
    assert_eq!(preference.body["choice"], "a");
    assert_eq!(preference.body["item"], "t19/a17");
    assert_eq!(preference.sealed["annotator_id"], 3);
    assert_eq!(preference.sealed["response_b"], "At nine.");
    // Three verdicts: whose reason it is cannot be said.
    assert_eq!(of(&seen, "reason").kind, "annotation.critique");
    assert_eq!(of(&seen, "order").body["ranks"], json!([2, 1]));
    let flags = seen.iter().filter(|it| it.body["criterion"] == "flags");
    assert_eq!(
        flags
            .map(|it| it.body["category"].clone())
            .collect::<Vec<_>>(),
        ["Unsafe", "Unsafe", "made-up"]
    );
}

#[test]
fn what_the_interface_does_not_offer_is_not_in_the_clear() {
    let row = json!({
        "id": 1,
        "data": { "text": "Hello" },
        "annotations": [{
            "id": 2,
            "result": [{
                "from_name": "which", "to_name": "text", "type": "choices",
                "value": { "choices": ["Ms Doe of 4 Sea Road"] },
            }],
        }],
    });
    let seen = written(drafts(read(
        Format::LabelStudio,
        &row.to_string(),
        Settings::None,
    )));
    assert_eq!(seen[0].body["category"], "choices");
    assert_eq!(seen[0].sealed["critique"], "Ms Doe of 4 Sea Road");
    assert!(!seen[0].body.to_string().contains("Doe"));
}

#[test]
fn what_label_studio_does_not_write_is_said_by_field() {
    let annotated = |result: Value| {
        json!({
            "id": 1, "data": { "prompt": "?", "answers": [{ "text": "a" }, { "text": "b" }] },
            "annotations": [{ "id": 2, "result": [result] }],
        })
    };
    let result = |name: &str, kind: &str, value: Value| {
        annotated(json!({ "from_name": name, "to_name": "answer1", "type": kind, "value": value }))
    };
    let interface = || settings(Format::LabelStudio, "label_studio.xml");
    for (row, settings, says) in [
        (
            json!({ "id": 1 }),
            interface(),
            "expected a task with `annotations` (JSON) or an annotation with `annotation_id` (JSON-MIN), found neither",
        ),
        (
            json!({ "id": -1, "data": {}, "annotations": [] }),
            interface(),
            "field `id`: expected a whole number from 0, found -1",
        ),
        (
            json!({ "id": 1, "data": {}, "annotations": [7] }),
            interface(),
            "field `annotations[0]`: expected an object, found a number",
        ),
        (
            result("comparison", "pairwise", json!({ "selected": "middle" })),
            interface(),
            "field `annotations[0].result[0].value.selected`: expected left or right, found a text",
        ),
        (
            result("comparison", "pairwise", json!({ "selected": "left" })),
            Settings::None,
            "expected a control of the labeling interface; give the interface's XML with --settings, found none of that name",
        ),
        (
            result("helpfulness", "rating", json!({ "rating": 8 })),
            interface(),
            "value.rating`: expected a number on the interface's scale, 1 to 7, found 8",
        ),
        (
            result("stars", "rating", json!({ "rating": 8 })),
            Settings::None,
            "--settings",
        ),
        (
            result("order", "ranker", json!({ "ranker": ["x"] })),
            interface(),
            "field `data`: expected what `candidates` of the labeling interface shows, found no such field",
        ),
        (
            result("flags", "choices", json!({ "choices": "Unsafe" })),
            interface(),
            "value.choices`: expected an array, found a text",
        ),
        (
            result("comment", "textarea", json!({ "text": [1, 2] })),
            interface(),
            "value.text`: expected a list of texts",
        ),
        (
            annotated(json!({ "from_name": "flags", "value": {} })),
            interface(),
            "result[0].type`: expected a text, found no such field",
        ),
        (
            json!({ "id": 1, "data": {}, "annotations": [{ "id": 2, "result": [], "updated_at": "soon" }] }),
            interface(),
            "updated_at`: expected a time, found a text",
        ),
        (
            json!({ "id": 1, "data": {}, "annotations": [{ "id": 2, "result": [], "completed_by": "ann" }] }),
            interface(),
            "completed_by`: expected the number of a person, found a text",
        ),
    ] {
        let error = refused(Format::LabelStudio, &row, settings);
        assert!(error.contains(says), "{error}\nshould say: {says}");
    }
}

#[test]
fn a_record_of_argilla_is_what_each_person_said() {
    let seen = argilla("argilla.json");
    let first = &seen[0];
    assert_eq!(first.kind, "annotation.preference");
    assert_eq!(first.body["choice"], "b");
    assert_eq!(first.body["item"], "5c1f4a5e-9d6b-4e0c-9f43-0a2b3c4d5e6f");
    assert_eq!(first.sealed["rationale"], "Ten is wrong.");
    assert_eq!(first.sealed["response_b"], "At nine.");
    assert_eq!(first.sealed["prompt"], "When does the ferry leave?");
    assert_eq!(first.sealed["annotator_id"], ANN);
    assert_eq!(
        (&seen[1].body["choice"], &seen[1].body["criterion"]),
        (&json!("a"), &json!("preference"))
    );
    assert_ne!(seen[1].body["annotator"], first.body["annotator"]);
    let quality = of(&seen, "quality");
    assert_eq!(quality.body["annotator"], first.body["annotator"]);
    assert_eq!(quality.body["scale"], json!({ "min": 1, "max": 5 }));
    assert_eq!(
        quality.sealed["response"],
        json!({ "response-1": "At noon.", "response-2": "It does not." })
    );
    assert_eq!(of(&seen, "order").body["ranks"], json!([2, 1]));
    assert_eq!(of(&seen, "corrected").kind, "annotation.correction");
    assert_eq!(of(&seen, "spans").sealed["response"], "It does not.");
    // The name of the question says which field it is about; who answered is not known.
    let stars = of(&seen, "response-1-stars");
    assert_eq!(
        (&stars.sealed["response"], stars.body.get("annotator")),
        (&json!("At noon."), None)
    );
    let flags: BTreeSet<_> = seen
        .iter()
        .filter(|it| it.body["criterion"] == "flags")
        .map(|it| it.body["category"].as_str().unwrap())
        .collect();
    assert_eq!(flags, BTreeSet::from(["other", "unsafe"]));
}

#[test]
fn records_of_the_api_say_when_and_whether() {
    let seen = argilla("argilla_api.jsonl");
    assert_eq!(seen.len(), 1, "a draft says nothing");
    assert_eq!(seen[0].body["at"], "2026-11-20T09:14:48.100000Z");
    assert_eq!(
        seen[0].body["item"],
        "5c1f4a5e-9d6b-4e0c-9f43-0a2b3c4d5e6f/aa1f4a5e-9d6b-4e0c-9f43-0a2b3c4d5e6f"
    );
}

#[test]
fn what_argilla_does_not_write_is_said_by_field() {
    let questions = || settings(Format::Argilla, "argilla_settings.json");
    let answered = |question: &str, value: Value| {
        json!({
            "id": "1", "fields": { "instruction": "?", "response-1": "a", "response-2": "b" },
            "responses": { question: [{ "value": value, "user_id": ANN }] },
        })
    };
    for (row, settings, says) in [
        (
            json!({ "id": "1", "fields": {} }),
            questions(),
            "field `responses`: expected responses by question, or a list of them, found no such field",
        ),
        (
            answered("quality", json!(9)),
            questions(),
            "responses.quality`: expected a number on the question's scale, 1 to 5, found 9",
        ),
        (
            answered("quality", json!(4)),
            Settings::None,
            "expected a text, or Argilla's settings.json with --settings, which says what was asked, found 4",
        ),
        (
            answered("preference", json!(["response-1"])),
            questions(),
            "responses.preference`: expected an answer of its question's type, found an array",
        ),
        (
            answered("order", json!(["response-1", "response-1"])),
            questions(),
            "expected 2 to 256 of the question's words, best first or with ranks",
        ),
        (
            answered("order", json!([{ "value": "response-1", "rank": 0 }])),
            questions(),
            "best first or with ranks",
        ),
        (
            json!({ "id": "x", "fields": {}, "responses": [] }),
            questions(),
            "field `id`: expected a UUID, found another text",
        ),
    ] {
        let error = refused(Format::Argilla, &row, settings);
        assert!(error.contains(says), "{error}\nshould say: {says}");
    }
}

#[test]
fn files_of_settings_are_refused_where_they_are_none() {
    for (format, bytes, says) in [
        (
            Format::LabelStudio,
            &b"<View>"[..],
            "field `label_config`: expected a labeling interface",
        ),
        (
            Format::LabelStudio,
            b"\xff",
            "bytes that are not UTF-8 after byte 0",
        ),
        (
            Format::Argilla,
            b"[]",
            "expected a JSON object, found an array",
        ),
        (
            Format::Argilla,
            br#"{"questions": [{"name": "a", "settings": {"type": "rating", "options": []}}]}"#,
            "field `questions[0].settings.options`: expected two numbers or more, found none",
        ),
        (
            Format::Trl,
            b"{}",
            "only label-studio and argilla have them",
        ),
    ] {
        let error = format.settings(bytes).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// Resuming is skipping, which needs the same drafts in the same order.
#[test]
fn reading_again_gives_the_same() {
    assert_eq!(
        label_studio("label_studio.json"),
        label_studio("label_studio.json")
    );
    assert_eq!(argilla("argilla.json"), argilla("argilla.json"));
}
