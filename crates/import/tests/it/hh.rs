use std::fs::File;

use import::Format;
use serde_json::json;

use crate::seen::{Seen, data, drafts, read, read_text, written};

fn hand_made() -> Vec<Seen> {
    written(drafts(read(
        File::open(data("hh.jsonl")).unwrap(),
        Format::HhRlhf,
    )))
}

#[test]
fn the_last_turns_are_the_responses_and_what_comes_before_the_prompt() {
    let seen = hand_made();
    assert_eq!(seen.len(), 4);
    assert_eq!(
        seen[1].body,
        json!({ "choice": "a", "item": "r1", "source": { "dataset": "tests", "row": 1 } })
    );
    assert_eq!(seen[0].sealed["response_a"], "The sea rising and falling.");
    assert_eq!(seen[0].sealed["response_b"], "A soap.");
    assert_eq!(
        seen[1].sealed["prompt"],
        json!([
            { "role": "user", "content": "Hi" },
            { "role": "assistant", "content": "Hello! " },
            { "role": "user", "content": "Name a fruit.\n\nShort, please." },
        ])
    );
    assert_eq!(seen[1].sealed["response_a"], "Fig.");
}

#[test]
fn transcripts_that_part_early_keep_all_their_turns() {
    let seen = hand_made();
    assert_eq!(
        seen[2].sealed["prompt"],
        json!([{ "role": "user", "content": "Hi" }])
    );
    assert_eq!(seen[2].sealed["response_a"], "Hello.");
    assert_eq!(
        seen[2].sealed["response_b"],
        json!([
            { "role": "assistant", "content": "Go away." },
            { "role": "user", "content": "Why?" },
            { "role": "assistant", "content": "No." },
        ])
    );
}

#[test]
fn transcripts_that_are_alike_still_have_a_response() {
    let seen = hand_made();
    assert_eq!(seen[3].sealed["response_a"], "Same.");
    assert_eq!(seen[3].sealed["response_b"], "Same.");
}

#[test]
fn what_is_no_transcript_is_said_by_field() {
    let good = r"\n\nHuman: a\n\nAssistant: b";
    for (chosen, rejected, field, found) in [
        ("Human: a", good, "chosen", "a text that begins otherwise"),
        (
            good,
            r"\n\nHuman: a",
            "rejected",
            r"\n\nHuman: as the last turn",
        ),
        (good, "", "rejected", "a text that begins otherwise"),
    ] {
        let row = format!(r#"{{"chosen": "{chosen}", "rejected": "{rejected}"}}"#);
        let error = read_text(&row, Format::HhRlhf).remove(0).unwrap_err();
        assert_eq!(
            (error.field.as_deref(), error.found.as_str()),
            (Some(field), found)
        );
    }
}
