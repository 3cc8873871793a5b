//! What `cargo bench -p rlhf-audit-watch` measures, on a small scale and always the same.

use watch::{Rule, Settings};

use crate::synthetic;

const RUNS: u64 = 6;

#[test]
fn planted_faults_are_found_and_little_else_is() {
    let (mut tallies, disturbed) = synthetic::measure(RUNS, &Settings::default());
    assert_eq!(tallies.len(), Rule::ALL.len());
    let mut false_alarms = 0;
    for (rule, tally) in &mut tallies {
        assert_eq!(u64::from(tally.planted), RUNS, "{rule:?}");
        assert!(tally.recall() > 0.8, "{rule:?}: {}", tally.recall());
        assert!(tally.precision() > 0.7, "{rule:?}: {}", tally.precision());
        assert!(tally.median_delay() < 120, "{rule:?}");
        false_alarms += tally.false_alarms;
    }
    assert!(false_alarms <= 2, "{false_alarms} false alarms in 60 runs");
    assert!(disturbed <= 1, "{disturbed} of {RUNS} runs without a fault");
}

#[test]
fn a_rule_that_is_off_finds_nothing() {
    let settings = Settings {
        off: vec!["kl-drift".to_owned()],
        ..Settings::default()
    };
    let found = |settings: &Settings| {
        let outcome = synthetic::outcome(0, Some(Rule::KlDrift), settings);
        outcome.findings.iter().any(|f| f.rule == Rule::KlDrift)
    };
    assert!(found(&Settings::default()));
    assert!(!found(&settings));
}
