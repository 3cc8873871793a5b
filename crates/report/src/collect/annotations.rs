//! What people said: counted as it comes, judged at the end, when it is known what still counts.

use std::collections::{BTreeMap, HashMap};

use record::{
    Hash, Kind, Pseudonym, RecordHash, Timestamp,
    kinds::{
        AnnotationCorrection, AnnotationCritique, AnnotationDemonstration, AnnotationPreference,
        AnnotationRanking, AnnotationRating, AnnotationSuperseded, AnnotationWithdrawn, Choice,
        Source,
    },
};
use tlog::LeafIndex;

use super::At;
use crate::{
    ReportError,
    agreement::{self, Judgement, Metric},
    card::Annotations,
    evidence::{Cited, Evidence},
    histogram::Histogram,
};

#[derive(Debug, Default)]
pub(super) struct AnnotationTally {
    said: Vec<Said>,
    /// The place in `said` of the record with this leaf hash.
    by_hash: HashMap<Hash, u32>,
    /// Those that no longer count, by the leaf hash that a record names.
    withdrawn: Vec<RecordHash>,
    superseded: Vec<RecordHash>,
    consents: Cited<u64>,
    annotators: Names,
    items: Names,
    criteria: Names,
    categories: Names,
    datasets: Names,
}

/// What is kept of an annotation.
#[derive(Debug)]
struct Said {
    index: LeafIndex,
    kind: Kind,
    time: Timestamp,
    annotator: Option<u32>,
    item: Option<u32>,
    criterion: Option<u32>,
    dataset: Option<u32>,
    says: Says,
}

#[derive(Debug, Clone, Copy)]
enum Says {
    Choice(Choice),
    Rating(f64),
    Category(u32),
    Other,
}

/// Texts by number, so that each is kept once.
#[derive(Debug, Default)]
struct Names {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Names {
    fn number(&mut self, name: String) -> u32 {
        if let Some(number) = self.numbers.get(&name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    fn name(&self, number: u32) -> &str {
        self.names.get(number as usize).map_or("", String::as_str)
    }
}

/// The members that all annotations share, of those that the card wants.
struct Shared {
    annotator: Option<Pseudonym>,
    at: Option<Timestamp>,
    criterion: Option<String>,
    item: Option<String>,
    source: Option<Source>,
}

macro_rules! shared {
    ($body:expr) => {
        Shared {
            annotator: $body.annotator,
            at: $body.at,
            criterion: $body.criterion,
            item: $body.item,
            source: $body.source,
        }
    };
}

impl AnnotationTally {
    pub(super) fn take(&mut self, kind: Kind, at: &At<'_>) -> Result<(), ReportError> {
        let (shared, says) = match kind {
            Kind::ConsentRecorded => {
                self.consents.count(at.index);
                return Ok(());
            }
            Kind::AnnotationWithdrawn => {
                self.withdrawn
                    .push(at.body::<AnnotationWithdrawn>()?.record);
                return Ok(());
            }
            Kind::AnnotationSuperseded => {
                self.superseded
                    .push(at.body::<AnnotationSuperseded>()?.record);
                return Ok(());
            }
            Kind::AnnotationPreference => {
                let body: AnnotationPreference = at.body()?;
                (shared!(body), Says::Choice(body.choice))
            }
            Kind::AnnotationRating => {
                let body: AnnotationRating = at.body()?;
                (shared!(body), Says::Rating(body.value))
            }
            Kind::AnnotationCritique => {
                let body: AnnotationCritique = at.body()?;
                let category = self.categories.number(body.category);
                (shared!(body), Says::Category(category))
            }
            Kind::AnnotationRanking => (shared!(at.body::<AnnotationRanking>()?), Says::Other),
            Kind::AnnotationCorrection => {
                (shared!(at.body::<AnnotationCorrection>()?), Says::Other)
            }
            _ => (shared!(at.body::<AnnotationDemonstration>()?), Says::Other),
        };
        let place = self.said.len() as u32;
        self.by_hash.insert(at.record.leaf_hash(), place);
        self.said.push(Said {
            index: at.index,
            kind,
            time: shared.at.unwrap_or_else(|| at.record.time()),
            annotator: shared
                .annotator
                .map(|who| self.annotators.number(who.to_string())),
            item: shared.item.map(|item| self.items.number(item)),
            criterion: shared
                .criterion
                .map(|criterion| self.criteria.number(criterion)),
            dataset: shared
                .source
                .map(|source| self.datasets.number(source.dataset)),
            says,
        });
        Ok(())
    }

    /// Annotations by the data set they say they were read from.
    pub(super) fn by_dataset(&self) -> BTreeMap<String, Cited<u64>> {
        let mut counts: BTreeMap<String, Cited<u64>> = BTreeMap::new();
        for said in &self.said {
            if let Some(dataset) = said.dataset {
                let name = self.datasets.name(dataset).to_owned();
                counts.entry(name).or_default().count(said.index);
            }
        }
        counts
    }

    pub(super) fn finish(self) -> Annotations {
        let mut card = Annotations {
            consents: self.consents.clone(),
            ..Annotations::default()
        };
        let mut gone = vec![false; self.said.len()];
        for (hashes, count) in [
            (&self.withdrawn, &mut card.withdrawn),
            (&self.superseded, &mut card.superseded),
        ] {
            for hash in hashes {
                let place = self
                    .by_hash
                    .get(&Hash::from(*hash))
                    .map(|place| *place as usize);
                if let Some(place) = place {
                    gone[place] = true;
                    count.count(self.said[place].index);
                }
            }
        }
        let mut annotators = Evidence::default();
        let mut seen = vec![false; self.annotators.names.len()];
        let mut times = Vec::with_capacity(self.said.len());
        for (said, gone) in self.said.iter().zip(&gone) {
            card.total.count(said.index);
            card.kinds
                .entry(said.kind.name().to_owned())
                .or_default()
                .count(said.index);
            if *gone {
                continue;
            }
            times.push(said.time);
            card.over_time_evidence.add(said.index);
            match said.annotator {
                Some(who) => {
                    seen[who as usize] = true;
                    annotators.add(said.index);
                }
                None => card.anonymous.count(said.index),
            }
            match said.says {
                Says::Choice(choice) => {
                    card.choices
                        .entry(choice.to_string())
                        .or_default()
                        .count(said.index);
                }
                Says::Category(category) => {
                    let name = self.categories.name(category).to_owned();
                    card.categories.entry(name).or_default().count(said.index);
                }
                Says::Rating(_) | Says::Other => {}
            }
        }
        let annotating = seen.into_iter().filter(|seen| *seen).count() as u64;
        card.annotators = Cited {
            value: annotating,
            evidence: annotators,
        };
        card.over_time = Histogram::of(&times);
        card.agreement = self.agreement(&gone);
        card
    }

    /// Agreement of each kind and criterion on which two annotators judged the same item.
    fn agreement(&self, gone: &[bool]) -> Vec<agreement::Agreement> {
        let mut groups: BTreeMap<(Kind, Option<&str>), Vec<Judgement>> = BTreeMap::new();
        for (said, gone) in self.said.iter().zip(gone) {
            let value = match said.says {
                Says::Choice(Choice::A) => 0.0,
                Says::Choice(Choice::B) => 1.0,
                Says::Choice(Choice::NoPreference) => 2.0,
                Says::Rating(value) => value,
                Says::Category(_) | Says::Other => continue,
            };
            let (false, Some(annotator), Some(item)) = (gone, said.annotator, said.item) else {
                continue;
            };
            let criterion = said
                .criterion
                .map(|criterion| self.criteria.name(criterion));
            let judgement = Judgement {
                item,
                annotator,
                value,
                index: said.index,
            };
            groups
                .entry((said.kind, criterion))
                .or_default()
                .push(judgement);
        }
        groups
            .into_iter()
            .map(|((kind, criterion), judgements)| {
                let metric = match kind {
                    Kind::AnnotationRating => Metric::Interval,
                    _ => Metric::Nominal,
                };
                let criterion = criterion.map(str::to_owned);
                agreement::measure(
                    kind.name(),
                    criterion,
                    metric,
                    judgements,
                    &self.annotators.names,
                )
            })
            .filter(|agreement| agreement.shared_items > 0)
            .collect()
    }
}
