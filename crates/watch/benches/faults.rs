//! Precision and recall of the rules, over made-up runs with planted faults and runs without any. Prints a table; asserts nothing.
//!
//! `RUNS=200 cargo bench -p rlhf-audit-watch`

#![expect(
    clippy::unwrap_used,
    reason = "what cannot be made up ends the measurement"
)]

mod synthetic;

use std::time::Instant;

use watch::Settings;

fn main() {
    let runs = std::env::var("RUNS")
        .ok()
        .and_then(|runs| runs.parse().ok())
        .unwrap_or(200);
    let began = Instant::now();
    let (tallies, disturbed) = synthetic::measure(runs, &Settings::default());
    let kinds = synthetic::FAULTS.len() as u64;
    println!(
        "{runs} runs with each of {kinds} faults, {runs} without: {:.1?}",
        began.elapsed()
    );
    println!(
        "| rule | planted | found | recall | false alarms | precision | median delay in updates |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (rule, mut tally) in tallies {
        let delay = tally.median_delay();
        println!(
            "| `{}` | {} | {} | {:.3} | {} | {:.3} | {} |",
            rule.name(),
            tally.planted,
            tally.found,
            tally.recall(),
            tally.false_alarms,
            tally.precision(),
            delay,
        );
    }
    println!("{disturbed} of {runs} runs without a fault have a finding");
}
