//! Names come from producers and may say anything.

use std::collections::BTreeMap;

use record::{
    Draft,
    kinds::{DatasetRegistered, EvaluationCompleted, RunStarted},
};
use serde_json::json;
use testkit::log::{LogBuilder, SeededEntropy, StepClock};

use crate::runs::Written;

const NAME: &str =
    "<script>alert(1)</script>\" onload='x' | `a` [b](javascript:c) $d$ <!-- --- \u{202e}";

fn hostile() -> Written {
    let mut log = LogBuilder::new(4).without_enrolments();
    let run = record::RunId::generate(&StepClock::new(1), &SeededEntropy::new(3));
    let mut owner = log.stream(run.into(), "trainer", "p", 1).software(NAME);
    let mut body = RunStarted::new(NAME.to_owned(), owner.public_key());
    body.model = Some(NAME.to_owned());
    body.experiment = Some(NAME.to_owned());
    body.config = Some(BTreeMap::from([(NAME.to_owned(), json!(NAME))]));
    log.write(&mut owner, Draft::new(body));
    let dataset = DatasetRegistered::new(1, NAME.into(), NAME.into(), record::Sha256([0; 32]));
    log.write(&mut owner, Draft::new(dataset));
    let metrics = BTreeMap::from([(NAME.to_owned(), f64::MAX)]);
    log.write(
        &mut owner,
        Draft::new(EvaluationCompleted::new(metrics, NAME.into())),
    );
    Written { log, run }
}

#[test]
fn no_name_becomes_markup() {
    let card = hostile().card();
    let html = card.html().unwrap();
    assert!(!html.contains("<script"));
    assert!(!html.contains("onload='"));
    assert!(!html.contains("<!-- "));
    assert!(!html.contains('\u{202e}'));
    assert!(html.matches("&lt;script&gt;").count() > 8);
    // One opening tag more than comes from the template would be an attribute's or a name's.
    assert_eq!(
        html.matches("<title>").count(),
        html.matches("</title>").count()
    );
}

#[test]
fn no_name_ends_a_cell_or_a_line_or_the_metadata() {
    let markdown = hostile().card().markdown().unwrap();
    let (yaml, text) = markdown
        .strip_prefix("---\n")
        .unwrap()
        .split_once("\n---\n")
        .unwrap();
    assert!(
        yaml.lines()
            .next()
            .unwrap()
            .starts_with("model_name: \"<script>")
    );
    assert!(yaml.lines().next().unwrap().ends_with("\\u202e\""));
    assert!(!yaml.contains("datasets"), "no such name on a hub");
    assert!(
        !text.contains("<script") && !text.contains("b](javascript") && !text.contains('\u{202e}')
    );
    // Within a table every line has as many cells as its head.
    let mut cells = None;
    for line in text.lines() {
        let bars = line.replace("\\|", "").matches('|').count();
        match cells {
            Some(cells) if bars > 0 => assert_eq!(bars, cells, "{line}"),
            _ => cells = (bars > 0).then_some(bars),
        }
    }
}
