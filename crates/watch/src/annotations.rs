//! Who annotates, and how: speed, side, agreement.

use std::collections::BTreeMap;

use record::kinds::{
    AnnotationCorrection, AnnotationCritique, AnnotationDemonstration, AnnotationPreference,
    AnnotationRanking, AnnotationRating, AnnotatorType, Choice,
};
use record::{Kind, Pseudonym, Record, Timestamp};
use serde::{Deserialize, Serialize};

use crate::agreement::{Agreement, Metric};
use crate::finding::{Cause, Hit};
use crate::recent::{Recent, evidence};
use crate::rule::Rule;
use crate::settings::{Settings, SideSettings, SpeedSettings};

/// Kinds and criteria of a run whose agreement is followed.
const MOST_CRITERIA: usize = 16;

/// What an annotation says, of what is looked at.
pub(crate) struct Said {
    annotator: Pseudonym,
    annotator_type: Option<AnnotatorType>,
    at: Option<Timestamp>,
    criterion: Option<String>,
    duration_ms: Option<u64>,
    item: Option<String>,
    value: Option<f64>,
    /// Which side was preferred.
    side: Option<usize>,
    kind: Kind,
}

macro_rules! said {
    ($kind:expr, $body:expr, $value:expr, $side:expr) => {{
        let body = $body;
        Said {
            annotator: body.annotator?,
            annotator_type: body.annotator_type,
            at: body.at,
            criterion: body.criterion,
            duration_ms: body.duration_ms,
            item: body.item,
            value: $value,
            side: $side,
            kind: $kind,
        }
    }};
}

impl Said {
    /// `None`: no annotation, or nobody's.
    pub(crate) fn of(record: &Record<'_>) -> Option<Self> {
        let kind = record.kind()?;
        Some(match kind {
            Kind::AnnotationPreference => {
                let body: AnnotationPreference = record.decode().ok()?;
                let (value, side) = match body.choice {
                    Choice::A => (0.0, Some(0)),
                    Choice::B => (1.0, Some(1)),
                    Choice::NoPreference => (2.0, None),
                };
                said!(kind, body, Some(value), side)
            }
            Kind::AnnotationRating => {
                let body: AnnotationRating = record.decode().ok()?;
                let value = Some(body.value);
                said!(kind, body, value, None)
            }
            Kind::AnnotationRanking => {
                said!(kind, record.decode::<AnnotationRanking>().ok()?, None, None)
            }
            Kind::AnnotationCorrection => {
                said!(
                    kind,
                    record.decode::<AnnotationCorrection>().ok()?,
                    None,
                    None
                )
            }
            Kind::AnnotationCritique => {
                said!(
                    kind,
                    record.decode::<AnnotationCritique>().ok()?,
                    None,
                    None
                )
            }
            Kind::AnnotationDemonstration => {
                said!(
                    kind,
                    record.decode::<AnnotationDemonstration>().ok()?,
                    None,
                    None
                )
            }
            _ => return None,
        })
    }

    /// Models and rules are fast, and that is all right.
    fn by_a_machine(&self) -> bool {
        matches!(
            self.annotator_type,
            Some(AnnotatorType::Model | AnnotatorType::Rule)
        )
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Annotator {
    /// The latest preferences: index and side.
    choices: Recent<(u64, usize)>,
    sides: [u64; 2],
    /// The latest decisions whose time is known: index, and whether it was too short.
    paces: Recent<(u64, bool)>,
    /// When the last one was made.
    at: Option<i64>,
    /// The last annotation's index.
    last: u64,
}

impl Annotator {
    /// Whether it was decided too fast; `None`: nobody knows. A platform that takes a whole page at once gives
    /// the same time to all of it, which says nothing.
    fn pace(&mut self, said: &Said, settings: &SpeedSettings) -> Option<bool> {
        let before = self.at;
        self.at = said.at.map(|at| at.0).or(before);
        let millis = said.duration_ms.or_else(|| {
            let gap = said.at?.0.checked_sub(before?)?;
            u64::try_from(gap)
                .ok()
                .filter(|gap| *gap > 0)
                .map(|gap| gap / 1_000)
        })?;
        Some(millis < settings.millis)
    }

    fn is_fast(&self, settings: &SpeedSettings) -> bool {
        let fast = self.paces.iter().filter(|(_, fast)| *fast).count();
        self.paces.len() >= settings.window
            && fast as f64 >= settings.share * self.paces.len() as f64
    }

    /// The side that is always preferred, where that cannot be chance. `all` are everybody's preferences.
    fn side(&self, all: [u64; 2], settings: &SideSettings) -> Option<usize> {
        let others = [0, 1].map(|side: usize| all[side].saturating_sub(self.sides[side]));
        let count = others[0] + others[1];
        if self.choices.len() < settings.window || count < settings.others {
            return None;
        }
        (0..2).find(|side| {
            let n = self.choices.len();
            let on = self
                .choices
                .iter()
                .filter(|(_, other)| other == side)
                .count();
            // As often as others choose it; where they always do, sides have a meaning in this run.
            let likely = (others[*side] + 1) as f64 / (count + 2) as f64;
            on as f64 >= settings.share * n as f64 && at_least(on, n, likely) < settings.p
        })
    }
}

/// The probability of `on` or more of `n`, each with probability `p` (neither 0 nor 1).
fn at_least(on: usize, n: usize, p: f64) -> f64 {
    let mut term = p.powi(i32::try_from(n).unwrap_or(i32::MAX));
    let mut sum = term;
    for k in (on..n).rev() {
        term *= (k + 1) as f64 / (n - k) as f64 * (1.0 - p) / p;
        sum += term;
    }
    sum
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Annotations {
    annotators: BTreeMap<Pseudonym, Annotator>,
    /// Preferences for each side, of all annotators.
    sides: [u64; 2],
    /// By kind and criterion.
    agreement: BTreeMap<String, Agreement>,
}

impl Annotations {
    pub(crate) fn take(
        &mut self,
        index: u64,
        said: &Said,
        settings: &Settings,
        hits: &mut Vec<Hit>,
    ) {
        self.make_room(said.annotator, settings.annotators);
        let who = self.annotators.entry(said.annotator).or_default();
        who.last = index;
        if let Some(side) = said.side {
            self.sides[side] += 1;
            who.sides[side] += 1;
            who.choices.push((index, side), settings.side.window);
            if let Some(side) = who.side(self.sides, &settings.side) {
                hits.push(Hit {
                    cause: Cause::new(Rule::AnnotatorSide, said.annotator.to_string()),
                    detail: Some(["a", "b"][side].to_owned()),
                    evidence: evidence(who.choices.iter().map(|(index, _)| *index)),
                });
            }
        }
        if !said.by_a_machine()
            && let Some(fast) = who.pace(said, &settings.speed)
        {
            who.paces.push((index, fast), settings.speed.window);
            if who.is_fast(&settings.speed) {
                let fast = who.paces.iter().filter(|(_, fast)| *fast);
                hits.push(Hit {
                    cause: Cause::new(Rule::AnnotatorSpeed, said.annotator.to_string()),
                    detail: None,
                    evidence: evidence(fast.map(|(index, _)| *index).chain([index])),
                });
            }
        }
        self.agree(index, said, settings, hits);
    }

    fn agree(&mut self, index: u64, said: &Said, settings: &Settings, hits: &mut Vec<Hit>) {
        let (Some(item), Some(value)) = (&said.item, said.value) else {
            return;
        };
        let metric = match said.kind {
            Kind::AnnotationRating => Metric::Ordinal,
            _ => Metric::Nominal,
        };
        let criterion = said.criterion.as_deref().unwrap_or_default();
        let key = format!("{}\n{criterion}", said.kind);
        if self.agreement.len() >= MOST_CRITERIA && !self.agreement.contains_key(&key) {
            return;
        }
        let agreement = self.agreement.entry(key.clone()).or_default();
        let judgement = (said.annotator, value, index);
        if let Some(evidence) = agreement.take(metric, item, judgement, &settings.agreement) {
            let kind = said.kind.name().rsplit('.').next().unwrap_or_default();
            hits.push(Hit {
                cause: Cause::new(Rule::AgreementFalling, key),
                detail: Some(kind.to_owned()),
                evidence,
            });
        }
    }

    /// Whose annotation the finding rests on that has this one as its last.
    pub(crate) fn annotator_of(&self, index: u64) -> Option<Pseudonym> {
        let has = |who: &Annotator| {
            who.choices.iter().any(|(known, _)| *known == index)
                || who.paces.iter().any(|(known, _)| *known == index)
        };
        self.annotators
            .iter()
            .find_map(|(name, who)| has(who).then_some(*name))
    }

    /// Forgets who has been quiet longest, where there would be too many.
    fn make_room(&mut self, coming: Pseudonym, most: usize) {
        if self.annotators.len() < most || self.annotators.contains_key(&coming) {
            return;
        }
        let quiet = self.annotators.iter().min_by_key(|(_, who)| who.last);
        if let Some(name) = quiet.map(|(name, _)| *name) {
            self.annotators.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_the_binomial_distribution() {
        // 1/1024 for all of ten, 11/1024 for nine or more, 56/1024 for eight or more.
        for (on, expected) in [(10, 1.0), (9, 11.0), (8, 56.0), (0, 1_024.0)] {
            let tail = at_least(on, 10, 0.5);
            assert!((tail - expected / 1_024.0).abs() < 1e-12, "{on}: {tail}");
        }
    }

    fn annotator(number: u8) -> Pseudonym {
        let letter = char::from(b'a' + number).to_string();
        Pseudonym::parse(&format!("p-0{}", letter.repeat(25))).unwrap()
    }

    fn said(who: u8, side: usize, millis: u64) -> Said {
        Said {
            annotator: annotator(who),
            annotator_type: None,
            at: None,
            criterion: None,
            duration_ms: Some(millis),
            item: None,
            value: None,
            side: Some(side),
            kind: Kind::AnnotationPreference,
        }
    }

    fn rules(said: impl Iterator<Item = Said>) -> Vec<(Rule, Option<String>)> {
        let (mut annotations, mut hits) = (Annotations::default(), Vec::new());
        for (index, said) in (0..).zip(said) {
            annotations.take(index, &said, &Settings::default(), &mut hits);
        }
        hits.dedup_by(|a, b| a.cause == b.cause);
        hits.into_iter()
            .map(|hit| (hit.cause.rule, hit.detail))
            .collect()
    }

    #[test]
    fn who_always_takes_the_same_side_is_found_where_others_do_not() {
        let mixed = (0..200).map(|at| match at % 2 {
            0 => said(0, 1, 9_000),
            _ => said(1, at / 2 % 2, 9_000),
        });
        assert_eq!(rules(mixed), [(Rule::AnnotatorSide, Some("b".to_owned()))]);
    }

    #[test]
    fn where_the_chosen_response_always_stands_first_nobody_is_found() {
        assert_eq!(
            rules((0..600u16).map(|at| said((at % 3) as u8, 0, 9_000))),
            []
        );
        // Nor is somebody who is alone: sides may mean something.
        assert_eq!(rules((0..600).map(|_| said(0, 0, 9_000))), []);
    }

    #[test]
    fn machine_speed_is_found_and_machines_may_have_it() {
        let fast = |at: u64| {
            said(
                0,
                (at % 2) as usize,
                if at.is_multiple_of(20) { 5_000 } else { 300 },
            )
        };
        assert_eq!(rules((0..60).map(fast)), [(Rule::AnnotatorSpeed, None)]);
        let model = (0..60).map(|at| Said {
            annotator_type: Some(AnnotatorType::Model),
            ..fast(at)
        });
        assert_eq!(rules(model), []);
        assert_eq!(rules((0..60).map(|at| said(0, at % 2, 1_500))), []);
    }

    #[test]
    fn without_durations_the_times_of_decisions_tell_and_one_time_for_a_page_does_not() {
        let apart = |micros: i64| {
            (0..60).map(move |at| Said {
                duration_ms: None,
                at: Some(Timestamp(1_795_420_800_000_000 + at * micros)),
                ..said(0, usize::from(at % 2 == 1), 0)
            })
        };
        assert_eq!(rules(apart(400_000)), [(Rule::AnnotatorSpeed, None)]);
        assert_eq!(rules(apart(0)), []);
        assert_eq!(rules(apart(2_000_000)), []);
    }
}
