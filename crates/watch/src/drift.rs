//! When a series has left its course.
//!
//! Training has a course: reward and divergence rise, and level off. So values are not held against a fixed mean but against
//! Holt's forecast (level and trend, exponentially weighted), and Page's cumulative sums add up what it did not
//! foresee, less an allowance `k`, until they reach `h`. Both are in units of the noise, which is estimated from the differences
//! of neighbours, as for charts of individual values (Montgomery, *Statistical Quality Control*), so that the course itself is
//! not taken for noise. While a sum is past half its way the forecast goes on as it was: it must not learn what it is
//! about to call odd.

use serde::{Deserialize, Serialize};

use crate::recent::{MOST_EVIDENCE, Recent, evidence};
use crate::settings::DriftSettings;

/// The weight of the newest difference in the noise.
const NOISE_WEIGHT: f64 = 0.05;
/// Values more than this off, in units of the noise, count for no more where something is learned.
const BOUND: f64 = 3.0;
/// However far off: so few values are never a finding.
const FEWEST: f64 = 4.0;
/// So many values until the noise is known well enough to bound by it.
const BOUNDED_FROM: u64 = 10;

/// Where a series went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

impl Direction {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// One of the two sums, and the records since it was last nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Cusum {
    sum: f64,
    since: Recent<u64>,
}

impl Cusum {
    /// Whether it has come to `h`.
    fn add(&mut self, value: f64, index: u64, h: f64) -> bool {
        self.sum = (self.sum + value).max(0.0);
        if self.sum > 0.0 {
            self.since.push(index, MOST_EVIDENCE);
        } else {
            self.since.clear();
        }
        self.sum >= h
    }

    fn restart(&mut self) -> Vec<u64> {
        evidence(std::mem::take(self).since.0)
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Drift {
    seen: u64,
    level: f64,
    trend: f64,
    /// The variance of the noise.
    noise: f64,
    last: f64,
    up: Cusum,
    down: Cusum,
}

impl Drift {
    /// The level, once there is one.
    pub(crate) fn level(&self) -> Option<f64> {
        (self.seen > 0).then_some(self.level)
    }

    pub(crate) fn take(
        &mut self,
        index: u64,
        value: f64,
        settings: &DriftSettings,
    ) -> Option<(Direction, Vec<u64>)> {
        self.seen += 1;
        if self.seen == 1 {
            self.level = value;
            self.last = value;
            return None;
        }
        let scale = self.scale(settings);
        self.learn_noise(value, scale);
        let forecast = self.level + self.trend;
        let off = value - forecast;
        if self.seen <= settings.warm_up {
            self.learn(forecast, off, settings);
            return None;
        }
        let most = settings.k + settings.h / FEWEST;
        let score = (off / scale).clamp(-most, most);
        let up = self.up.add(score - settings.k, index, settings.h);
        let down = self.down.add(-score - settings.k, index, settings.h);
        if self.up.sum.max(self.down.sum) > settings.h / 2.0 {
            self.level = forecast;
        } else {
            self.learn(forecast, off.clamp(-BOUND * scale, BOUND * scale), settings);
        }
        if !up && !down {
            return None;
        }
        let (rose, fell) = (self.up.restart(), self.down.restart());
        // The new course is the one to hold what follows against.
        (self.level, self.trend) = (value, 0.0);
        Some(if up {
            (Direction::Up, rose)
        } else {
            (Direction::Down, fell)
        })
    }

    fn scale(&self, settings: &DriftSettings) -> f64 {
        self.noise
            .sqrt()
            .max(settings.floor * self.level.abs())
            .max(f64::MIN_POSITIVE)
    }

    fn learn_noise(&mut self, value: f64, scale: f64) {
        let mut step = value - self.last;
        self.last = value;
        if self.seen > BOUNDED_FROM {
            let most = BOUND * std::f64::consts::SQRT_2 * scale;
            step = step.clamp(-most, most);
        }
        // The variance of a difference is twice that of the noise.
        self.noise += weight(NOISE_WEIGHT, self.seen - 1) * (step * step / 2.0 - self.noise);
    }

    fn learn(&mut self, forecast: f64, off: f64, settings: &DriftSettings) {
        let alpha = weight(settings.alpha, self.seen);
        self.level = forecast + alpha * off;
        self.trend += alpha * settings.beta * off;
    }
}

/// Of the first values each counts the same.
fn weight(weight: f64, seen: u64) -> f64 {
    weight.max(1.0 / seen.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A little unrest that repeats itself.
    fn noise(at: u64) -> f64 {
        [0.3, -0.8, 0.5, 1.0, -0.6, -0.9, 0.1, 0.7, -0.4, 0.1][(at * 7 % 10) as usize]
    }

    fn first(series: impl Iterator<Item = f64>) -> Option<(u64, Direction, Vec<u64>)> {
        let (mut drift, settings) = (Drift::default(), DriftSettings::default());
        (0..).zip(series).find_map(|(at, value)| {
            let (direction, evidence) = drift.take(at, value, &settings)?;
            Some((at, direction, evidence))
        })
    }

    #[test]
    fn a_course_that_rises_and_levels_off_is_none() {
        let series = (0..2_000).map(|at| 10.0 * (1.0 - (-(at as f64) / 60.0).exp()) + noise(at));
        assert_eq!(first(series), None);
    }

    #[test]
    fn a_step_is_found_soon_and_its_records_named() {
        let series = (0..400).map(|at| if at < 200 { 10.0 } else { 16.0 } + noise(at));
        let (at, direction, evidence) = first(series).unwrap();
        assert!((200..230).contains(&at), "{at}");
        assert_eq!(direction, Direction::Up);
        assert_eq!(evidence.last(), Some(&at));
        assert!(evidence[0] >= 195, "{evidence:?}");
    }

    #[test]
    fn a_fall_that_goes_on_and_on_is_found() {
        let series = (0..400).map(|at| 10.0 - 0.6 * (at as f64 - 200.0).max(0.0) + noise(at));
        let (at, direction, _) = first(series).unwrap();
        assert!((200..260).contains(&at), "{at}");
        assert_eq!(direction, Direction::Down);
    }

    #[test]
    fn one_value_far_off_is_no_drift() {
        let series = (0..400).map(|at| if at == 200 { 22.0 } else { 10.0 } + noise(at));
        assert_eq!(first(series), None);
    }
}
