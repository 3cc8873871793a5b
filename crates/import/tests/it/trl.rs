use std::fs::File;

use import::Format;
use serde_json::{Value, json};

use crate::seen::{Seen, data, drafts, read, read_text, written};

fn hand_made() -> Vec<Seen> {
    written(drafts(read(
        File::open(data("trl.jsonl")).unwrap(),
        Format::Trl,
    )))
}

fn user(content: &str) -> Value {
    json!({ "role": "user", "content": content })
}

fn assistant(content: &str) -> Value {
    json!({ "role": "assistant", "content": content })
}

#[test]
fn every_documented_shape_is_a_preference_or_a_rating() {
    let seen = hand_made();
    let sealed = |row: usize| {
        let values = &seen[row].sealed;
        (
            values["prompt"].clone(),
            values["response_a"].clone(),
            values["response_b"].clone(),
        )
    };
    // Explicit and implicit prompt as texts.
    assert_eq!(
        sealed(0),
        (json!("The sky is"), json!(" blue."), json!(" green."))
    );
    assert_eq!(sealed(1), sealed(0));
    // The same as messages; the last row repeats the prompt as a text, which TRL leaves aside.
    let (blue, green) = (
        json!([assistant("It is blue.")]),
        json!([assistant("It is green.")]),
    );
    for row in [2, 3, 6] {
        let prompt = json!([user("What color is the sky?")]);
        assert_eq!(
            sealed(row),
            (prompt, blue.clone(), green.clone()),
            "row {row}"
        );
        assert_eq!(seen[row].body["choice"], "a");
    }
}

#[test]
fn labels_are_ratings_of_one_or_nothing() {
    let seen = hand_made();
    assert_eq!(
        seen[4].body,
        json!({
            "criterion": "label",
            "item": "r4",
            "scale": { "min": 0, "max": 1 },
            "source": { "dataset": "tests", "row": 4 },
            "value": 1,
        })
    );
    assert_eq!(seen[4].sealed["response"], " blue.");
    assert_eq!(seen[5].body["value"], 0);
    assert_eq!(
        seen[5].sealed["prompt"],
        json!([user("What color is the sky?")])
    );
}

#[test]
fn texts_are_split_between_characters_and_may_have_nothing_in_common() {
    let rows = [
        json!({ "chosen": "naïve é", "rejected": "naïve è" }),
        json!({ "chosen": "yes", "rejected": "no" }),
        json!({ "chosen": "the same", "rejected": "the same and more" }),
    ];
    let text = rows.map(|row| row.to_string()).join("\n");
    let seen = written(drafts(read_text(&text, Format::Trl)));
    // The space before what differs belongs to the responses.
    assert_eq!(seen[0].sealed["prompt"], "naïve");
    assert_eq!(seen[0].sealed["response_b"], " è");
    assert!(!seen[1].sealed.contains_key("prompt"));
    assert_eq!(seen[2].sealed["response_a"], "");
    assert_eq!(seen[2].sealed["response_b"], " and more");
}

#[test]
fn tool_calls_and_parts_are_kept_as_they_are() {
    let messages = json!([
        { "role": "assistant", "tool_calls": [{ "type": "function" }] },
        { "role": "tool", "content": [{ "type": "text", "text": "12" }] },
        { "role": "assistant", "content": null, "tool_calls": [] },
    ]);
    let row = json!({ "prompt": [user("?")], "chosen": messages, "rejected": [assistant("no")] });
    let seen = written(drafts(read_text(&row.to_string(), Format::Trl)));
    assert_eq!(seen[0].sealed["response_a"], messages);
}

#[test]
fn what_is_no_such_shape_is_said_by_field() {
    let message = json!([user("?")]);
    for (row, field, expected, found) in [
        (
            json!({ "chosen": "a" }),
            Some("rejected"),
            "a text or a list of messages",
            "no such field",
        ),
        (
            json!({ "chosen": "a", "rejected": message }),
            Some("rejected"),
            "a text, as chosen is",
            "a list of messages",
        ),
        (
            json!({ "prompt": message, "chosen": "a", "rejected": "b" }),
            Some("prompt"),
            "a text, as chosen and rejected are",
            "a list of messages",
        ),
        (
            json!({ "prompt": "a", "completion": "b", "label": "yes" }),
            Some("label"),
            "true or false",
            "a text",
        ),
        (
            json!({ "prompt": "a", "completion": "b", "label": 1 }),
            Some("label"),
            "true or false",
            "1",
        ),
        (
            json!({ "prompt": "a", "completion": "b" }),
            Some("label"),
            "true or false",
            "no such field",
        ),
        (
            json!({ "prompt": [], "completion": message, "label": true }),
            Some("prompt"),
            "a list of at least one message",
            "an empty list",
        ),
        (
            json!({ "chosen": [user("?"), { "role": 1, "content": "x" }], "rejected": message }),
            Some("chosen[1].role"),
            "a text",
            "a number",
        ),
        (
            json!({ "chosen": [{ "role": "user", "content": 3 }], "rejected": message }),
            Some("chosen[0].content"),
            "a text",
            "a number",
        ),
        (
            json!({ "text": "a" }),
            None,
            "chosen and rejected, or prompt, completion and label",
            "none of them",
        ),
        (
            json!({ "chosen": "a", "rejected": "b", "label": true }),
            None,
            "either chosen and rejected, or completion and label",
            "fields of both",
        ),
    ] {
        let error = read_text(&row.to_string(), Format::Trl)
            .remove(0)
            .unwrap_err();
        assert_eq!(
            (
                error.field.as_deref(),
                error.expected.as_str(),
                error.found.as_str()
            ),
            (field, expected, found),
            "{row}"
        );
    }
}
