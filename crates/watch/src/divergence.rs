//! When the reward rises while a held-out evaluation falls: the reward model is being pleased, not the people behind it.
//!
//! Whether a handful of values rises or falls is asked of the Mann-Kendall test (Mann 1945), which looks at signs of
//! differences only: no scale, no distribution.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::recent::{Recent, evidence};
use crate::settings::DivergenceSettings;

/// Evaluations' metrics of a run that are followed.
const MOST_METRICS: usize = 32;
/// Names with one of these are better when higher.
const HIGHER: &[&str] = &[
    "accurac",
    "win_rate",
    "win-rate",
    "winrate",
    "win rate",
    "score",
    "reward",
    "pass@",
    "mean@",
    "best@",
    "maj@",
    "exact_match",
    "f1",
    "bleu",
    "rouge",
];
/// And with one of these when lower.
const LOWER: &[&str] = &["loss", "perplexity", "ppl", "error", "toxicity"];
/// Neither: what it took, and how wide it scattered.
const NEITHER: &[&str] = &["runtime", "per_second", "std", "steps", "samples", "time"];
/// Best and latest are means of so many.
const MEAN_OF: usize = 3;

/// 1: the higher the better; -1: the lower; `None`: nobody knows.
fn sense(name: &str) -> Option<f64> {
    let name = name.to_ascii_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    match () {
        () if has(NEITHER) => None,
        () if has(LOWER) => Some(-1.0),
        () if has(HIGHER) => Some(1.0),
        () => None,
    }
}

/// What stood when an evaluation was recorded.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Point {
    /// The evaluation's record, and the latest that told the reward.
    index: u64,
    reward_index: u64,
    /// The result, such that higher is better.
    result: f64,
    reward: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Divergence {
    /// By evaluation and metric.
    metrics: BTreeMap<String, Recent<Point>>,
}

impl Divergence {
    /// An evaluation, and the reward's level at that time with the record that last told it.
    pub(crate) fn take(
        &mut self,
        index: u64,
        evaluation: &str,
        results: &BTreeMap<String, f64>,
        (reward_index, reward): (u64, f64),
        settings: &DivergenceSettings,
    ) -> Option<Vec<u64>> {
        let mut found = None;
        for (name, value) in results {
            let Some(sense) = sense(name) else { continue };
            let name = format!("{evaluation}\n{name}");
            if self.metrics.len() >= MOST_METRICS && !self.metrics.contains_key(&name) {
                continue;
            }
            let point = Point {
                index,
                reward_index,
                result: sense * value,
                reward,
            };
            let points = self.metrics.entry(name).or_default();
            points.push(point, settings.window);
            if found.is_none() && has_diverged(points, settings) {
                let indices = points.iter().flat_map(|p| [p.reward_index, p.index]);
                found = Some(evidence(indices));
            }
        }
        found
    }
}

fn has_diverged(points: &Recent<Point>, settings: &DivergenceSettings) -> bool {
    let results: Vec<f64> = points.iter().map(|point| point.result).collect();
    let rewards: Vec<f64> = points.iter().map(|point| point.reward).collect();
    let Some((best, latest)) = best_and_latest(&results) else {
        return false;
    };
    let scale = best.abs().max(latest.abs());
    best - latest > settings.fall * scale
        && mann_kendall(&results) <= -settings.z
        && mann_kendall(&rewards) >= settings.z
}

fn best_and_latest(results: &[f64]) -> Option<(f64, f64)> {
    let mut means = results
        .windows(MEAN_OF)
        .map(|window| window.iter().sum::<f64>() / MEAN_OF as f64);
    Some((means.clone().reduce(f64::max)?, means.next_back()?))
}

/// The normal score of the Mann-Kendall test, continuity corrected, without correction for ties: positive where values rise.
fn mann_kendall(values: &[f64]) -> f64 {
    let mut s = 0.0;
    for (at, later) in values.iter().enumerate() {
        for earlier in &values[..at] {
            s += f64::from(i8::from(later > earlier) - i8::from(later < earlier));
        }
    }
    let n = values.len() as f64;
    let variance = n * (n - 1.0) * (2.0 * n + 5.0) / 18.0;
    if s.abs() < 0.5 || variance <= 0.0 {
        return 0.0;
    }
    (s - s.signum()) / variance.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_that_of_the_textbook() {
        // Ten values in order: S = 45, variance 125, so 44 / 11.18.
        let rising: Vec<f64> = (0..10).map(f64::from).collect();
        assert!((mann_kendall(&rising) - 3.935_5).abs() < 1e-3);
        let falling: Vec<f64> = rising.iter().map(|value| -value).collect();
        assert!((mann_kendall(&falling) + 3.935_5).abs() < 1e-3);
        assert!(mann_kendall(&[1.0; 10]).abs() < f64::EPSILON);
        assert!(mann_kendall(&[]).abs() < f64::EPSILON);
    }

    fn first(result: impl Fn(f64) -> f64, reward: impl Fn(f64) -> f64, name: &str) -> Option<u64> {
        let (mut divergence, settings) = (Divergence::default(), DivergenceSettings::default());
        (0..40u32).find_map(|at| {
            let x = f64::from(at);
            let results = [(name.to_owned(), result(x))].into();
            let reward = (1_000 + u64::from(at), reward(x));
            divergence.take(u64::from(at), "held-out", &results, reward, &settings)?;
            Some(u64::from(at))
        })
    }

    #[test]
    fn it_takes_both_to_diverge() {
        let peaks = |x: f64| 0.7 - 0.01 * (x - 15.0).max(0.0);
        assert!(first(peaks, |x| x / 10.0, "win_rate").is_some_and(|at| at > 18));
        assert_eq!(first(peaks, |x| 4.0 - x / 10.0, "win_rate"), None);
        assert_eq!(first(|x| 0.5 + x / 100.0, |x| x / 10.0, "win_rate"), None);
    }

    #[test]
    fn a_loss_is_better_when_lower_and_a_runtime_neither() {
        let rises = |x: f64| 1.0 + 0.1 * x;
        assert!(first(rises, |x| x, "eval_loss").is_some());
        assert_eq!(first(rises, |x| x, "eval_accuracy"), None);
        assert_eq!(first(|x| 9.0 - 0.1 * x, |x| x, "eval_runtime"), None);
        assert_eq!(first(|x| 9.0 - 0.1 * x, |x| x, "eval_mystery"), None);
    }
}
