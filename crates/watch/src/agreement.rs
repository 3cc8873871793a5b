//! How far annotators agree who judged the same items, and whether they agree less than they did.
//!
//! Krippendorff's alpha over the latest items that two or more have judged, from the coincidences of values (K. Krippendorff,
//! *Computing Krippendorff's Alpha-Reliability*, 2011), missing values allowed. 1: all agree; 0: as chance would have it.
//! `report` has it for model cards, over whole runs.

use std::collections::{BTreeMap, VecDeque};

use record::Pseudonym;
use serde::{Deserialize, Serialize};

use crate::recent::{Recent, evidence};
use crate::settings::AgreementSettings;

/// Items that one annotator has judged so far and that are waited with for a second.
const MOST_OPEN: usize = 256;
/// The most judgements of an item that are kept.
const MOST_JUDGEMENTS: usize = 16;

/// How far two values are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Values are names: equal or not.
    Nominal,
    /// Values have an order: by how many lie between them.
    Ordinal,
}

/// Krippendorff's alpha over units, each the values that one item was given; `None` where no unit has two, or all
/// values are alike.
pub fn alpha(metric: Metric, units: &[Vec<f64>]) -> Option<f64> {
    let units = || units.iter().filter(|unit| unit.len() > 1);
    let mut values: Vec<f64> = units().flatten().copied().collect();
    let n = values.len() as f64;
    values.sort_by(f64::total_cmp);
    let counts: Vec<(f64, f64)> = values
        .chunk_by(|a, b| a.total_cmp(b).is_eq())
        .map(|group| (group[0], group.len() as f64))
        .collect();
    if counts.len() < 2 {
        return None;
    }
    let place = |value: f64| counts.partition_point(|(known, _)| known.total_cmp(&value).is_lt());
    let apart = |a: usize, b: usize| distance(metric, &counts, a.min(b), a.max(b));
    let mut observed = 0.0;
    for unit in units() {
        let places: Vec<usize> = unit.iter().map(|value| place(*value)).collect();
        let mut sum = 0.0;
        for (at, a) in places.iter().enumerate() {
            for b in &places[at + 1..] {
                sum += 2.0 * apart(*a, *b);
            }
        }
        observed += sum / (unit.len() - 1) as f64;
    }
    let mut expected = 0.0;
    for a in 0..counts.len() {
        for b in a + 1..counts.len() {
            expected += 2.0 * counts[a].1 * counts[b].1 * apart(a, b);
        }
    }
    Some(1.0 - (n - 1.0) * observed / expected)
}

/// The squared difference of two values by their places, `a` not after `b`.
fn distance(metric: Metric, counts: &[(f64, f64)], a: usize, b: usize) -> f64 {
    match metric {
        _ if a == b => 0.0,
        Metric::Nominal => 1.0,
        Metric::Ordinal => {
            let between: f64 = counts[a..=b].iter().map(|(_, count)| count).sum();
            let steps = between - f64::midpoint(counts[a].1, counts[b].1);
            steps * steps
        }
    }
}

/// The standard error of alpha, from what it comes to without each item in turn (Tukey's jackknife).
fn standard_error(metric: Metric, units: &[Vec<f64>]) -> f64 {
    let mut rest = units.to_vec();
    let mut without = Vec::with_capacity(units.len());
    for at in 0..units.len() {
        let left_out = std::mem::take(&mut rest[at]);
        without.extend(alpha(metric, &rest));
        rest[at] = left_out;
    }
    let n = without.len() as f64;
    let mean = without.iter().sum::<f64>() / n;
    let squares: f64 = without.iter().map(|one| (one - mean) * (one - mean)).sum();
    if n > 1.0 {
        ((n - 1.0) / n * squares).sqrt()
    } else {
        0.0
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Judgement {
    annotator: Pseudonym,
    value: f64,
    index: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Item {
    name: String,
    judgements: Vec<Judgement>,
}

impl Item {
    /// An annotator's last word on an item is the one that stands.
    fn add(&mut self, judgement: Judgement) {
        let same = |known: &Judgement| known.annotator == judgement.annotator;
        match self.judgements.iter().position(same) {
            Some(at) => self.judgements[at] = judgement,
            None if self.judgements.len() < MOST_JUDGEMENTS => self.judgements.push(judgement),
            None => {}
        }
    }
}

/// The agreement on one kind of annotation by one criterion.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Agreement {
    /// Judged by one annotator, by name, and the names in the order in which they came.
    open: BTreeMap<String, Judgement>,
    order: VecDeque<String>,
    /// The latest that two or more have judged.
    shared: Recent<Item>,
    /// How many were added to those since alpha was last looked at.
    added: u32,
    /// Alpha of the first window, and its standard error.
    first: Option<(f64, f64)>,
}

impl Agreement {
    pub(crate) fn take(
        &mut self,
        metric: Metric,
        item: &str,
        (annotator, value, index): (Pseudonym, f64, u64),
        settings: &AgreementSettings,
    ) -> Option<Vec<u64>> {
        let judgement = Judgement {
            annotator,
            value,
            index,
        };
        if let Some(known) = self.shared.0.iter_mut().find(|known| known.name == item) {
            known.add(judgement);
            return None;
        }
        match self.open.remove(item) {
            Some(one) if one.annotator != annotator => {
                let (name, judgements) = (item.to_owned(), vec![one, judgement]);
                self.shared.push(Item { name, judgements }, settings.window);
                self.added += 1;
                self.look(metric, settings)
            }
            known => {
                if known.is_none() {
                    self.order.push_back(item.to_owned());
                }
                self.open.insert(item.to_owned(), judgement);
                // Names of items that are shared by now stay in the order until they come to its head.
                while self.order.len() > MOST_OPEN {
                    let oldest = self.order.pop_front()?;
                    self.open.remove(&oldest);
                }
                None
            }
        }
    }

    fn look(&mut self, metric: Metric, settings: &AgreementSettings) -> Option<Vec<u64>> {
        if self.shared.len() < settings.window || self.added < settings.every {
            return None;
        }
        self.added = 0;
        let values = |item: &Item| item.judgements.iter().map(|judged| judged.value).collect();
        let units: Vec<Vec<f64>> = self.shared.iter().map(values).collect();
        let now = alpha(metric, &units)?;
        let (first, first_error) = *self
            .first
            .get_or_insert_with(|| (now, standard_error(metric, &units)));
        if now >= settings.below || first - now < settings.fall {
            return None;
        }
        if first - now < settings.z * first_error.hypot(standard_error(metric, &units)) {
            return None;
        }
        let disputed = self.shared.iter().filter(|item| {
            let value = item.judgements[0].value;
            item.judgements
                .iter()
                .any(|judged| judged.value.total_cmp(&value).is_ne())
        });
        Some(evidence(disputed.flat_map(|item| {
            item.judgements.iter().map(|judged| judged.index)
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows are observers, `.` is a missing value; gives units.
    fn units(rows: &[&str]) -> Vec<Vec<f64>> {
        let rows: Vec<Vec<char>> = rows
            .iter()
            .map(|row| row.split_whitespace().flat_map(str::chars).collect())
            .collect();
        (0..rows[0].len())
            .map(|unit| {
                let said = rows.iter().map(|row| row[unit]).filter(|said| *said != '.');
                said.map(|said| f64::from(u32::from(said))).collect()
            })
            .collect()
    }

    #[track_caller]
    fn assert_alpha(metric: Metric, rows: &[&str], expected: f64) {
        let alpha = alpha(metric, &units(rows)).unwrap();
        assert!((alpha - expected).abs() < 0.000_5, "{metric:?}: {alpha}");
    }

    /// Krippendorff (2011), section A: binary data, two observers, no missing data.
    #[test]
    fn binary_data_of_two_observers() {
        let rows = ["0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"];
        assert_alpha(Metric::Nominal, &rows, 0.095);
    }

    /// Section B: nominal data, two observers, no missing data.
    #[test]
    fn nominal_data_of_two_observers() {
        let rows = ["a a b b d c c c e d d a", "b a b b b c c c e d d d"];
        assert_alpha(Metric::Nominal, &rows, 0.692);
    }

    /// Section C: any number of observers, missing data; the values for nominal and ordinal data.
    #[test]
    fn four_observers_with_missing_values() {
        let rows = [
            "1 2 3 3 2 1 4 1 2 . . .",
            "1 2 3 3 2 2 4 1 2 5 . 3",
            ". 3 3 3 2 3 4 2 2 5 1 .",
            "1 2 3 3 2 4 4 1 2 5 1 .",
        ];
        assert_alpha(Metric::Nominal, &rows, 0.743);
        assert_alpha(Metric::Ordinal, &rows, 0.815);
    }

    #[test]
    fn where_nothing_can_differ_there_is_no_alpha() {
        assert_eq!(alpha(Metric::Nominal, &[]), None);
        assert_eq!(alpha(Metric::Ordinal, &units(&["1 1 1", "1 1 1"])), None);
        assert_eq!(alpha(Metric::Nominal, &units(&["1 2 .", ". . 3"])), None);
    }

    fn annotator(number: u8) -> Pseudonym {
        Pseudonym::parse(&format!(
            "p-0{}",
            char::from(b'a' + number).to_string().repeat(25)
        ))
        .unwrap()
    }

    #[test]
    fn a_fall_is_found_in_items_that_came_between_others() {
        let (mut agreement, settings) = (Agreement::default(), AgreementSettings::default());
        let mut found = None;
        for item in 0..400u64 {
            let name = format!("item-{item}");
            let value = (item % 2) as f64;
            // From item 200 on the second annotator says what comes to mind.
            let other = if item < 200 {
                value
            } else {
                (item / 2 % 2) as f64
            };
            for (who, value) in [(0, value), (1, other)] {
                let index = 2 * item + u64::from(who);
                let judgement = (annotator(who), value, index);
                if let Some(evidence) = agreement.take(Metric::Nominal, &name, judgement, &settings)
                {
                    found = found.or(Some((item, evidence)));
                }
            }
        }
        let (item, evidence) = found.unwrap();
        assert!((200..300).contains(&item), "{item}");
        assert!(evidence.iter().all(|index| *index >= 400), "{evidence:?}");
    }

    #[test]
    fn one_annotator_alone_shares_nothing_and_fills_nothing() {
        let (mut agreement, settings) = (Agreement::default(), AgreementSettings::default());
        for item in 0..10_000u32 {
            let judgement = (annotator(0), f64::from(item % 3), u64::from(item));
            let name = format!("item-{}", item % 5_000);
            assert_eq!(
                agreement.take(Metric::Nominal, &name, judgement, &settings),
                None
            );
        }
        assert!(agreement.open.len() <= MOST_OPEN && agreement.order.len() <= MOST_OPEN);
    }
}
