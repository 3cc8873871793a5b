//! Latencies as people read them: some percentiles of a histogram that keeps three digits of each.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// How long something took, many times.
#[derive(Debug, Clone)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Self {
        let mut histogram = Histogram::new(3).expect("three digits are allowed");
        // It grows with what it is given, so that no latency is cut short.
        histogram.auto(true);
        Self(histogram)
    }

    pub(super) fn add(&mut self, took: Duration) {
        // A histogram that grows takes whatever a duration can be.
        let _ = self
            .0
            .record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        // Both resize themselves, so there is room for whatever the other holds.
        let _ = self.0.add(&other.0);
    }

    /// Milliseconds.
    fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1_000.0
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "p50": self.at(0.5), "p90": self.at(0.9), "p99": self.at(0.99), "p99_9": self.at(0.999),
            "max": self.0.max() as f64 / 1_000.0,
        })
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            self.at(0.5),
            self.at(0.9),
            self.at(0.99),
            self.at(0.999),
            self.0.max() as f64 / 1_000.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_added() {
        let (mut even, mut odd) = (Latencies::new(), Latencies::new());
        for n in 1..=1_000 {
            let half = if n % 2 == 0 { &mut even } else { &mut odd };
            half.add(Duration::from_millis(n));
        }
        even.merge(&odd);
        assert_eq!(even.0.len(), 1_000);
        for (name, expected) in [("p50", 500.0), ("p99", 990.0), ("max", 1_000.0)] {
            let seen = even.json()[name].as_f64().unwrap();
            assert!((seen - expected).abs() < expected / 500.0, "{name}: {seen}");
        }
    }
}
