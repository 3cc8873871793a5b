//! How many annotations were made when.

use record::Timestamp;
use serde::Serialize;

/// How many bars a histogram has at most.
const MAX_BINS: i64 = 48;

/// Lengths of a bar, in microseconds: such that its ends are readable times.
const SECOND: i64 = 1_000_000;
const WIDTHS: [i64; 26] = [
    SECOND / 1_000,
    SECOND / 500,
    SECOND / 200,
    SECOND / 100,
    SECOND / 50,
    SECOND / 20,
    SECOND / 10,
    SECOND / 5,
    SECOND / 2,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    30 * SECOND,
    60 * SECOND,
    5 * 60 * SECOND,
    10 * 60 * SECOND,
    30 * 60 * SECOND,
    3_600 * SECOND,
    3 * 3_600 * SECOND,
    6 * 3_600 * SECOND,
    12 * 3_600 * SECOND,
    86_400 * SECOND,
    7 * 86_400 * SECOND,
    30 * 86_400 * SECOND,
    365 * 86_400 * SECOND,
];

/// One bar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bin {
    /// When it begins; the next one's beginning is its end.
    pub from: String,
    /// How many fall into it.
    pub count: u64,
}

/// Counts over time in bars of equal length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Histogram {
    /// The length of a bar in microseconds.
    pub width_us: i64,
    /// The bars, without gaps from the first to the last that has anything.
    pub bins: Vec<Bin>,
}

impl Histogram {
    /// Bars over `times`, of which there may be none; they need not be sorted.
    pub(crate) fn of(times: &[Timestamp]) -> Self {
        let micros = || times.iter().map(|time| time.as_micros());
        let (Some(first), Some(last)) = (micros().min(), micros().max()) else {
            return Self::default();
        };
        let years = 365 * 86_400 * SECOND;
        let fits = |width: &i64| last.div_euclid(*width) - first.div_euclid(*width) < MAX_BINS;
        let mut width = WIDTHS.into_iter().find(fits).unwrap_or(years);
        while !fits(&width) {
            width *= 2;
        }
        let begin = first.div_euclid(width);
        let count = usize::try_from(last.div_euclid(width) - begin + 1).unwrap_or(1);
        let mut counts = vec![0_u64; count];
        for time in micros() {
            if let Some(count) = usize::try_from(time.div_euclid(width) - begin)
                .ok()
                .and_then(|i| counts.get_mut(i))
            {
                *count += 1;
            }
        }
        let bins = counts
            .into_iter()
            .zip(begin..)
            .map(|(count, bin)| Bin {
                from: Timestamp(bin * width).to_string(),
                count,
            })
            .collect();
        Self {
            width_us: width,
            bins,
        }
    }

    /// The length of a bar in words.
    pub fn width(&self) -> String {
        let units = [
            (86_400 * SECOND, "d"),
            (3_600 * SECOND, "h"),
            (60 * SECOND, "min"),
        ];
        for (unit, name) in units {
            if self.width_us >= unit && self.width_us % unit == 0 {
                return format!("{} {name}", self.width_us / unit);
            }
        }
        if self.width_us >= SECOND {
            format!("{} s", self.width_us / SECOND)
        } else {
            format!("{} ms", self.width_us / 1_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_falls_into_one_bar() {
        let times: Vec<_> = (0..500)
            .map(|i| Timestamp(1_000_000_000 + i * i * 37_000))
            .collect();
        let histogram = Histogram::of(&times);
        assert_eq!(histogram.bins.iter().map(|bin| bin.count).sum::<u64>(), 500);
        assert!(histogram.bins.len() <= 48 && histogram.bins.len() > 10);
        assert!(histogram.bins.first().unwrap().count > 0);
        assert!(histogram.bins.last().unwrap().count > 0);
    }

    #[test]
    fn none_one_and_the_ends_of_time() {
        assert!(Histogram::of(&[]).bins.is_empty());
        assert_eq!(Histogram::of(&[Timestamp(-5)]).bins.len(), 1);
        let all = Histogram::of(&[Timestamp::MIN, Timestamp::MAX]);
        assert_eq!(all.bins.iter().map(|bin| bin.count).sum::<u64>(), 2);
        assert_eq!(
            Histogram {
                width_us: 7_200_000_000,
                bins: vec![]
            }
            .width(),
            "2 h"
        );
    }
}
