//! How far annotators agree who judged the same items.
//!
//! Two figures: the share of pairs of judgements on one item that are equal, which everybody
//! understands, and Krippendorff's alpha, which takes off what chance alone would give. Alpha is 1
//! where all agree, 0 where they agree as chance would have it, and may be negative. It is computed
//! from the coincidences of values as in K. Krippendorff, *Computing Krippendorff's
//! Alpha-Reliability* (2011), missing values allowed.

use std::collections::BTreeMap;

use serde::Serialize;
use tlog::LeafIndex;

use crate::evidence::{Cited, Evidence};

/// As many annotators, those with the most judgements, are compared with each other one by one.
pub(crate) const MATRIX: usize = 12;

/// When two values differ, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Values are names: equal or not.
    Nominal,
    /// Values are numbers: the square of their difference.
    Interval,
}

/// Agreement on one kind of annotation by one criterion.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// The kind of annotation.
    pub kind: String,
    /// The criterion, where annotations name one.
    pub criterion: Option<String>,
    /// How values are compared for alpha.
    pub metric: Metric,
    /// How many items somebody judged.
    pub items: u64,
    /// How many items at least two annotators judged; everything below is about these.
    pub shared_items: u64,
    /// The judgements on shared items, one an annotator and item (the last, where there are more).
    pub judgements: Cited<u64>,
    /// How many pairs of judgements on the same item there are.
    pub pairs: u64,
    /// The share of them that are equal, from 0 to 1; none where there is no pair.
    pub equal_pairs: Option<f64>,
    /// Krippendorff's alpha; none where there is no pair, or where all judgements are alike, which
    /// leaves nothing for chance to be measured by.
    pub alpha: Option<f64>,
    /// Each annotator with all others, those with the most judgements first.
    pub annotators: Vec<AnnotatorAgreement>,
    /// Each two of the first dozen annotators, where they share an item.
    pub matrix: Vec<PairAgreement>,
}

/// How often one annotator agrees with the others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnnotatorAgreement {
    /// The annotator's pseudonym.
    pub annotator: String,
    /// The annotator's judgements on shared items.
    pub judgements: Cited<u64>,
    /// The share of pairs with another's judgement that are equal, from 0 to 1.
    pub equal_pairs: f64,
}

/// How often two annotators agree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairAgreement {
    /// The place of one in [`Agreement::annotators`].
    pub a: usize,
    /// The place of the other, which is greater.
    pub b: usize,
    /// How many items both judged.
    pub items: u64,
    /// The share of them on which they agree, from 0 to 1.
    pub equal: f64,
}

/// What one annotator said of one item.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judgement {
    pub(crate) item: u32,
    pub(crate) annotator: u32,
    pub(crate) value: f64,
    pub(crate) index: LeafIndex,
}

/// Both figures and their evidence; `names` are the annotators' pseudonyms.
pub(crate) fn measure(
    kind: &str,
    criterion: Option<String>,
    metric: Metric,
    mut judgements: Vec<Judgement>,
    names: &[String],
) -> Agreement {
    judgements.sort_by_key(|j| (j.item, j.annotator, j.index));
    // The last of an annotator's judgements on an item is the one that stands.
    judgements.reverse();
    judgements.dedup_by_key(|j| (j.item, j.annotator));
    judgements.reverse();
    let units: Vec<&[Judgement]> = judgements.chunk_by(|a, b| a.item == b.item).collect();
    let items = units.len() as u64;
    let shared: Vec<&[Judgement]> = units.into_iter().filter(|unit| unit.len() > 1).collect();

    let mut evidence = Evidence::default();
    let mut pairs = Tally::default();
    let mut by_annotator: BTreeMap<u32, (Cited<u64>, Tally)> = BTreeMap::new();
    let mut by_two: BTreeMap<(u32, u32), Tally> = BTreeMap::new();
    let mut indices: Vec<LeafIndex> = shared.iter().copied().flatten().map(|j| j.index).collect();
    indices.sort_unstable();
    for index in indices {
        evidence.add(index);
    }
    for unit in &shared {
        for (i, a) in unit.iter().enumerate() {
            by_annotator
                .entry(a.annotator)
                .or_default()
                .0
                .count(a.index);
            for b in &unit[i + 1..] {
                let equal = same(a.value, b.value);
                pairs.add(equal);
                for annotator in [a.annotator, b.annotator] {
                    by_annotator.entry(annotator).or_default().1.add(equal);
                }
                let two = (a.annotator.min(b.annotator), a.annotator.max(b.annotator));
                by_two.entry(two).or_default().add(equal);
            }
        }
    }
    let mut ranked: Vec<_> = by_annotator.into_iter().collect();
    ranked.sort_by(|(a, (ja, _)), (b, (jb, _))| {
        jb.value
            .cmp(&ja.value)
            .then_with(|| names[*a as usize].cmp(&names[*b as usize]))
    });
    let matrix = matrix(
        &ranked.iter().map(|(who, _)| *who).collect::<Vec<_>>(),
        &by_two,
    );
    let annotators = ranked
        .into_iter()
        .map(|(who, (judgements, tally))| AnnotatorAgreement {
            annotator: names[who as usize].clone(),
            judgements,
            equal_pairs: tally.share().unwrap_or(0.0),
        })
        .collect();
    Agreement {
        kind: kind.to_owned(),
        criterion,
        metric,
        items,
        shared_items: shared.len() as u64,
        judgements: Cited {
            value: evidence.records(),
            evidence,
        },
        pairs: pairs.all,
        equal_pairs: pairs.share(),
        alpha: alpha(metric, &shared),
        annotators,
        matrix,
    }
}

fn matrix(ranked: &[u32], by_two: &BTreeMap<(u32, u32), Tally>) -> Vec<PairAgreement> {
    let shown = &ranked[..ranked.len().min(MATRIX)];
    let mut matrix = Vec::new();
    for (a, who) in shown.iter().enumerate() {
        for (b, other) in shown.iter().enumerate().skip(a + 1) {
            let two = (*who.min(other), *who.max(other));
            if let Some((tally, equal)) = by_two.get(&two).and_then(|t| Some((t, t.share()?))) {
                matrix.push(PairAgreement {
                    a,
                    b,
                    items: tally.all,
                    equal,
                });
            }
        }
    }
    matrix
}

#[derive(Debug, Default)]
struct Tally {
    all: u64,
    equal: u64,
}

impl Tally {
    fn add(&mut self, equal: bool) {
        self.all += 1;
        self.equal += u64::from(equal);
    }

    fn share(&self) -> Option<f64> {
        (self.all > 0).then(|| self.equal as f64 / self.all as f64)
    }
}

/// Values are compared as recorded: ratings are what somebody chose, not what was computed.
fn same(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq()
}

fn distance(metric: Metric, a: f64, b: f64) -> f64 {
    match metric {
        Metric::Nominal => f64::from(u8::from(!same(a, b))),
        Metric::Interval => (a - b) * (a - b),
    }
}

/// 1 - observed / expected disagreement over units of at least two judgements.
fn alpha(metric: Metric, units: &[&[Judgement]]) -> Option<f64> {
    let mut values: Vec<f64> = units.iter().copied().flatten().map(|j| j.value).collect();
    let n = values.len() as f64;
    let mut observed = 0.0;
    for unit in units {
        let mut differences = 0.0;
        for (i, a) in unit.iter().enumerate() {
            for b in &unit[i + 1..] {
                differences += 2.0 * distance(metric, a.value, b.value);
            }
        }
        observed += differences / (unit.len() - 1) as f64;
    }
    // Values that are equal count together, so that this is quick for any number of judgements.
    values.sort_by(f64::total_cmp);
    let groups: Vec<(f64, f64)> = values
        .chunk_by(|a, b| same(*a, *b))
        .map(|g| (g[0], g.len() as f64))
        .collect();
    let expected = match metric {
        Metric::Nominal => n * n - groups.iter().map(|(_, count)| count * count).sum::<f64>(),
        Metric::Interval => {
            // Sum of squared differences of all pairs, about the mean lest digits cancel out.
            let mean = groups.iter().map(|(v, count)| v * count).sum::<f64>() / n;
            2.0 * n
                * groups
                    .iter()
                    .map(|(v, count)| count * (v - mean) * (v - mean))
                    .sum::<f64>()
        }
    };
    (groups.len() > 1)
        .then(|| 1.0 - (n - 1.0) * observed / expected)
        .filter(|alpha| alpha.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of Krippendorff (2011), section E: four observers, twelve units, missing
    /// values. Rows are observers; 0 stands for a missing value.
    const OBSERVERS: [[u8; 12]; 4] = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
        [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
    ];

    fn example() -> (Vec<Judgement>, Vec<String>) {
        let mut judgements = Vec::new();
        for (annotator, row) in (0..).zip(OBSERVERS) {
            for (item, value) in (0..).zip(row) {
                if value > 0 {
                    let index = LeafIndex(judgements.len() as u64);
                    let value = f64::from(value);
                    judgements.push(Judgement {
                        item,
                        annotator,
                        value,
                        index,
                    });
                }
            }
        }
        (judgements, ["A", "B", "C", "D"].map(str::to_owned).to_vec())
    }

    #[test]
    fn alpha_is_that_of_krippendorffs_example() {
        let (judgements, names) = example();
        for (metric, expected) in [(Metric::Nominal, 0.743), (Metric::Interval, 0.849)] {
            let agreement = measure("k", None, metric, judgements.clone(), &names);
            let alpha = agreement.alpha.unwrap();
            assert!((alpha - expected).abs() < 0.000_5, "{metric:?}: {alpha}");
            assert_eq!((agreement.items, agreement.shared_items), (12, 11));
            // 40 values that can be paired: all 41 but the single one of unit 12.
            assert_eq!(agreement.judgements.value, 40);
        }
    }

    #[test]
    fn pairs_are_counted_by_hand() {
        let (judgements, names) = example();
        let agreement = measure("k", None, Metric::Nominal, judgements, &names);
        // Units of four: 2, 3, 4, 5, 6, 7, 8, 9 (6 pairs each); of three: 1, 10; of two: 11.
        assert_eq!(agreement.pairs, 8 * 6 + 2 * 3 + 1);
        // Unequal: three in units 2 and 8, all six in unit 6.
        assert_eq!(agreement.equal_pairs, Some((55.0 - 12.0) / 55.0));
        assert_eq!(agreement.annotators.len(), 4);
        assert_eq!(agreement.matrix.len(), 6);
        let ab = agreement
            .matrix
            .iter()
            .find(|p| {
                let two = [p.a, p.b].map(|i| agreement.annotators[i].annotator.as_str());
                two == ["A", "B"] || two == ["B", "A"]
            })
            .unwrap();
        assert_eq!((ab.items, ab.equal), (9, 8.0 / 9.0));
    }

    #[test]
    fn order_does_not_matter_and_the_last_judgement_stands() {
        let (mut judgements, names) = example();
        let before = measure("k", None, Metric::Nominal, judgements.clone(), &names);
        judgements.reverse();
        assert_eq!(
            measure("k", None, Metric::Nominal, judgements.clone(), &names),
            before
        );
        let mut again = judgements[0];
        again.index = LeafIndex(1_000);
        again.value = 9.0;
        judgements.insert(3, again);
        let after = measure("k", None, Metric::Nominal, judgements, &names);
        assert_eq!(after.judgements.value, 40);
        assert!(
            after
                .judgements
                .evidence
                .ranges()
                .any(|(_, last)| last == LeafIndex(1_000))
        );
        assert!(after.alpha.unwrap() < before.alpha.unwrap());
    }

    #[test]
    fn where_there_is_nothing_to_compare_there_is_no_figure() {
        let none = measure("k", None, Metric::Nominal, Vec::new(), &[]);
        assert_eq!((none.equal_pairs, none.alpha, none.pairs), (None, None, 0));
        let judgement = |annotator, index| Judgement {
            item: 0,
            annotator,
            value: 1.0,
            index: LeafIndex(index),
        };
        let names = ["A".to_owned(), "B".to_owned()];
        let alike = measure(
            "k",
            None,
            Metric::Nominal,
            vec![judgement(0, 0), judgement(1, 1)],
            &names,
        );
        assert_eq!((alike.equal_pairs, alike.alpha), (Some(1.0), None));
    }
}
