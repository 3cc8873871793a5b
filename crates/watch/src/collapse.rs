//! When a series has collapsed: its fast mean has fallen far below its slow one, and stays there.
//!
//! Length and entropy fall in many a training; what is odd is that they fall faster than the slow mean can follow.

use serde::{Deserialize, Serialize};

use crate::recent::{MOST_EVIDENCE, Recent, evidence};
use crate::settings::CollapseSettings;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Collapse {
    seen: u64,
    slow: f64,
    fast: f64,
    /// The records since the fast mean came to lie too low.
    low: Recent<u64>,
}

impl Collapse {
    pub(crate) fn take(
        &mut self,
        index: u64,
        value: f64,
        settings: &CollapseSettings,
    ) -> Option<Vec<u64>> {
        self.seen += 1;
        let even = 1.0 / self.seen as f64;
        self.slow += settings.slow.max(even) * (value - self.slow);
        self.fast += settings.fast.max(even) * (value - self.fast);
        let low = self.seen > settings.warm_up
            && self.slow > 0.0
            && self.fast < settings.ratio * self.slow;
        if !low {
            self.low.clear();
            return None;
        }
        let room = MOST_EVIDENCE.max(settings.persist as usize);
        self.low.push(index, room);
        (self.low.len() >= settings.persist as usize).then(|| evidence(self.low.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(series: impl Iterator<Item = f64>) -> Option<(u64, Vec<u64>)> {
        let (mut collapse, settings) = (Collapse::default(), CollapseSettings::default());
        (0..)
            .zip(series)
            .find_map(|(at, value)| Some((at, collapse.take(at, value, &settings)?)))
    }

    #[test]
    fn a_sudden_fall_is_found_with_the_records_that_show_it() {
        let series = (0..300).map(|at| if at < 150 { 220.0 } else { 20.0 });
        let (at, evidence) = first(series).unwrap();
        assert!((154..170).contains(&at), "{at}");
        assert_eq!(evidence, (at - 4..=at).collect::<Vec<_>>());
    }

    #[test]
    fn a_slow_decline_to_a_tenth_is_none() {
        assert_eq!(
            first((0..1_500).map(|at| (-(f64::from(at)) / 650.0).exp())),
            None
        );
    }

    #[test]
    fn a_few_low_values_are_none() {
        let series = (0..300).map(|at| if at % 100 < 97 { 200.0 } else { 10.0 });
        assert_eq!(first(series), None);
    }
}
