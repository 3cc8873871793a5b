//! What a record says of how training goes: the same four numbers under the names that trainers give them.

use std::collections::BTreeMap;

use record::kinds::PolicyUpdated;
use serde::{Deserialize, Serialize};

/// A number that training is watched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Kl,
    Reward,
    Length,
    Entropy,
}

impl Signal {
    pub(crate) const ALL: [Self; 4] = [Self::Kl, Self::Reward, Self::Length, Self::Entropy];

    /// Its names in metrics, the best first: TRL's, verl's, OpenRLHF's.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Kl => &[
                "objective/kl",
                "kl",
                "actor/kl_loss",
                "actor/reward_kl_penalty",
            ],
            Self::Reward => &[
                "reward",
                "objective/scores",
                "objective/rlhf_reward",
                "critic/rewards/mean",
                "critic/score/mean",
            ],
            Self::Length => &[
                "completions/mean_length",
                "response_length/mean",
                "response_length",
            ],
            Self::Entropy => &[
                "objective/entropy",
                "entropy",
                "policy/entropy_avg",
                "actor/entropy",
                "actor/entropy_loss",
            ],
        }
    }

    /// From metrics, with how good the name is.
    pub(crate) fn in_metrics(self, metrics: &BTreeMap<String, f64>) -> Option<(u8, f64)> {
        (1..)
            .zip(self.names())
            .find_map(|(rank, name)| Some((rank, *metrics.get(*name)?)))
    }

    /// From an update, whose own fields are best.
    pub(crate) fn in_update(self, update: &PolicyUpdated) -> Option<(u8, f64)> {
        let own = match self {
            Self::Kl => update.kl,
            Self::Reward => update.reward_mean,
            Self::Length => None,
            Self::Entropy => update.entropy,
        };
        own.map(|value| (0, value))
            .or_else(|| self.in_metrics(update.metrics.as_ref()?))
    }
}

/// A series from the best source there is: a trainer says the same in several places.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Series<D> {
    rank: Option<u8>,
    pub(crate) detector: D,
}

impl<D: Default> Series<D> {
    /// The detector, where it is to hear of a value from this source. A better source begins it anew.
    pub(crate) fn from(&mut self, rank: u8) -> Option<&mut D> {
        match self.rank {
            Some(known) if known < rank => return None,
            Some(known) if known == rank => {}
            _ => {
                self.rank = Some(rank);
                self.detector = D::default();
            }
        }
        Some(&mut self.detector)
    }
}

/// The rank of rewards that were scored one by one: worse than any mean a trainer gives.
pub(crate) const SCORED: u8 = u8::MAX;
/// So many of them make a mean.
const BLOCK: u32 = 64;

/// Rewards on their way into a mean.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Scores {
    count: u32,
    sum: f64,
}

impl Scores {
    /// The mean, at the last of a block.
    pub(crate) fn add(&mut self, reward: f64) -> Option<f64> {
        self.count += 1;
        self.sum += reward;
        (self.count == BLOCK).then(|| std::mem::take(self).sum / f64::from(BLOCK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_trl_and_verl_are_known_and_the_updates_own_fields_come_first() {
        let metrics = [
            ("kl", 0.1),
            ("reward", 1.0),
            ("actor/entropy", 0.5),
            ("response_length/mean", 120.0),
        ];
        let metrics: BTreeMap<String, f64> =
            metrics.map(|(name, value)| (name.to_owned(), value)).into();
        let values = Signal::ALL.map(|signal| signal.in_metrics(&metrics).unwrap().1);
        assert_eq!(values.map(|value| (10.0 * value) as i64), [1, 10, 1_200, 5]);
        let mut update = PolicyUpdated::new(3);
        update.kl = Some(0.2);
        update.metrics = Some(metrics);
        assert_eq!(Signal::Kl.in_update(&update), Some((0, 0.2)));
        assert_eq!(Signal::Length.in_update(&update), Some((2, 120.0)));
    }

    #[test]
    fn a_better_source_begins_a_series_anew_and_a_worse_one_is_not_heard() {
        let mut series = Series::<Vec<u8>>::default();
        series.from(3).unwrap().push(3);
        assert!(series.from(4).is_none());
        series.from(0).unwrap().push(0);
        assert_eq!(series.detector, [0]);
        assert!(series.from(3).is_none());
    }
}
