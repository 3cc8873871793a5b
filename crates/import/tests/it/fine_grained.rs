use std::{collections::BTreeMap, fs::File};

use import::{Format, inspect};
use serde_json::json;

use crate::seen::{Seen, data, drafts, read, shared, source, written};

fn hand_made() -> Vec<Seen> {
    let file = File::open(data("fine_grained.json")).unwrap();
    written(drafts(read(file, Format::FineGrainedRlhf)))
}

fn kinds(seen: &[Seen]) -> BTreeMap<&'static str, usize> {
    seen.iter().fold(BTreeMap::new(), |mut kinds, seen| {
        *kinds.entry(seen.kind).or_default() += 1;
        kinds
    })
}

#[test]
fn a_row_becomes_what_its_author_said() {
    let seen = hand_made();
    assert_eq!(
        kinds(&seen),
        BTreeMap::from([
            ("annotation.correction", 2),
            ("annotation.critique", 3),
            ("annotation.preference", 12),
        ])
    );
    let choices: Vec<_> = seen[..6]
        .iter()
        .map(|s| s.body["choice"].as_str().unwrap())
        .collect();
    assert_eq!(choices, ["b", "no_preference", "a", "a", "a", "a"]);
    assert_eq!(
        seen[4].body,
        json!({
            "choice": "a",
            "item": "r0/p2-p4",
            "source": { "dataset": "tests", "row": 0, "part": 4 },
        })
    );
    assert_eq!(seen[4].sealed["response_a"], "At nine.");
    assert_eq!(seen[4].sealed["response_b"], "It does not.");
    assert_eq!(seen[4].sealed["prompt"], "When does the ferry leave?");
}

#[test]
fn spans_and_missing_information_are_critiques_of_the_first_answer() {
    let seen = hand_made();
    assert_eq!(
        seen[6].body,
        json!({
            "category": "wrong-grounding",
            "item": "r0/p1",
            "source": { "dataset": "tests", "row": 0, "part": 6 },
        })
    );
    let critique = json!({ "start": 13, "end": 16, "explanation": "nine, not ten" });
    assert_eq!(seen[6].sealed["critique"], critique);
    assert_eq!(
        seen[6].sealed["response"],
        "It leaves at ten, and the harbour is old."
    );
    assert_eq!(seen[8].body["category"], "missing-answer");
    assert_eq!(
        seen[8].sealed["critique"],
        json!({ "passage_id": 0, "sentence_id": [1] })
    );
    assert_eq!(seen[9].kind, "annotation.correction");
    assert_eq!(seen[9].sealed["corrected"], "It leaves at nine.");
    assert_eq!(
        seen[9].sealed["original"],
        "It leaves at ten, and the harbour is old."
    );
}

/// Resuming is skipping, which needs the same drafts in the same order.
#[test]
fn the_same_file_gives_the_same_drafts() {
    let again = || {
        let file = File::open(data("fine_grained.json")).unwrap();
        drafts(read(file, Format::FineGrainedRlhf))
    };
    assert_eq!(again(), again());
}

#[test]
fn the_published_file_has_the_published_counts() {
    let Some(path) = shared("fine-grained-rlhf/dev_feedback.json.gz") else {
        return;
    };
    let file = File::open(&path).unwrap();
    let inspection = inspect(file, source(Format::FineGrainedRlhf), |_| {}).unwrap();
    assert!(inspection.is_clean(), "{:?}", inspection.errors.first());
    assert_eq!(
        (inspection.rows, inspection.drafts),
        (500, 3_000 + 500 + 1_373 + 842)
    );
    assert_eq!(inspection.file.bytes, path.metadata().unwrap().len());

    let drafts = drafts(read(File::open(&path).unwrap(), Format::FineGrainedRlhf));
    let seen = written(drafts);
    assert_eq!(
        kinds(&seen),
        BTreeMap::from([
            ("annotation.correction", 500),
            ("annotation.critique", 1_373 + 842),
            ("annotation.preference", 3_000),
        ])
    );
    let undecided = seen
        .iter()
        .filter(|s| s.body["choice"] == "no_preference")
        .count();
    assert_eq!(3_000 - undecided, 2_616);
    let missing = seen
        .iter()
        .filter_map(|s| s.body["category"].as_str())
        .filter(|category| category.starts_with("missing-"))
        .count();
    assert_eq!(missing, 842);
}
