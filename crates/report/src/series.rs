//! Values over steps of training, thinned so that a run of any length fits into a page.

use serde::Serialize;
use tlog::LeafIndex;

use crate::evidence::{Cited, Evidence};

/// As many points are kept before every second is dropped.
const MAX_POINTS: usize = 4_096;

/// One value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// The step of training.
    pub step: u64,
    /// The value.
    pub value: f64,
    /// The log index of the record that says it.
    pub index: u64,
}

/// One quantity over the steps of training.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Series {
    /// The first value.
    pub first: Option<Cited<f64>>,
    /// The last value.
    pub last: Option<Cited<f64>>,
    /// The least value.
    pub min: Option<Cited<f64>>,
    /// The greatest value.
    pub max: Option<Cited<f64>>,
    /// Every record that has a value.
    pub evidence: Evidence,
    /// The points, by step; only every `every`-th where there are more than some thousands.
    pub points: Vec<Point>,
    /// How many values stand behind one point.
    pub every: u64,
}

impl Series {
    pub(crate) fn add(&mut self, step: u64, value: f64, index: LeafIndex) {
        let here = || Some(Cited::at(value, index));
        if self.first.is_none() {
            self.first = here();
            self.every = 1;
        }
        self.last = here();
        if self.min.as_ref().is_none_or(|min| value < min.value) {
            self.min = here();
        }
        if self.max.as_ref().is_none_or(|max| value > max.value) {
            self.max = here();
        }
        let before = self.evidence.records();
        self.evidence.add(index);
        if before.is_multiple_of(self.every) {
            self.points.push(Point {
                step,
                value,
                index: index.get(),
            });
        }
        if self.points.len() > MAX_POINTS {
            let mut keep = false;
            self.points.retain(|_| {
                keep = !keep;
                keep
            });
            self.every *= 2;
        }
    }

    /// Sorts by step, since streams of several ranks are interleaved in the log.
    pub(crate) fn finish(&mut self) {
        self.points.sort_by_key(|point| (point.step, point.index));
    }

    /// There is no value.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_series_is_thinned_but_its_ends_are_exact() {
        let mut series = Series::default();
        for i in 0..20_000_u64 {
            series.add(i, if i == 7_777 { -1.0 } else { i as f64 }, LeafIndex(i));
        }
        series.finish();
        assert!(series.points.len() <= MAX_POINTS);
        assert_eq!(series.every, 8);
        assert!(
            series
                .points
                .iter()
                .all(|p| p.step.is_multiple_of(series.every))
        );
        assert_eq!(series.evidence.records(), 20_000);
        assert_eq!(series.last.as_ref().map(|l| l.value), Some(19_999.0));
        assert_eq!(series.min, Some(Cited::at(-1.0, LeafIndex(7_777))));
    }
}
