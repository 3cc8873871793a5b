//! What is kept of one open run, and which rule hears of which record.

use std::collections::BTreeSet;

use record::kinds::{
    EvaluationCompleted, FindingRaised, MetricLogged, PolicyUpdated, RewardScored,
};
use record::{Kind, Record, Timestamp};
use serde::{Deserialize, Serialize};

use crate::annotations::{Annotations, Said};
use crate::collapse::Collapse;
use crate::divergence::Divergence;
use crate::drift::Drift;
use crate::finding::{Cause, Hit};
use crate::rule::Rule;
use crate::settings::Settings;
use crate::signals::{SCORED, Scores, Series, Signal};
use crate::stall::Stall;

/// The phase of metrics that are of training, where one is named.
const TRAINING: &str = "train";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    kl: Series<Drift>,
    reward: Series<Drift>,
    /// The record that last told the reward.
    reward_at: u64,
    scores: Scores,
    length: Series<Collapse>,
    entropy: Series<Collapse>,
    divergence: Divergence,
    annotations: Annotations,
    pub(crate) stall: Stall,
    /// Causes that were found: none is found twice.
    found: BTreeSet<Cause>,
}

impl Run {
    /// What the rules say of a record that they have not said before.
    pub(crate) fn take(
        &mut self,
        index: u64,
        record: &Record<'_>,
        now: Timestamp,
        settings: &Settings,
    ) -> Vec<Hit> {
        let kind = record.kind();
        let trains = matches!(kind, Some(Kind::PolicyUpdated | Kind::MetricLogged));
        self.stall.take(index, record.time(), now, trains);
        let mut hits = Vec::new();
        match kind {
            Some(Kind::PolicyUpdated) => {
                if let Ok(update) = record.decode::<PolicyUpdated>() {
                    for signal in Signal::ALL {
                        self.hear(
                            signal,
                            index,
                            signal.in_update(&update),
                            settings,
                            &mut hits,
                        );
                    }
                }
            }
            Some(Kind::MetricLogged) => {
                if let Ok(logged) = record.decode::<MetricLogged>()
                    && logged
                        .phase
                        .as_deref()
                        .is_none_or(|phase| phase == TRAINING)
                {
                    for signal in Signal::ALL {
                        let value = signal.in_metrics(&logged.metrics);
                        self.hear(signal, index, value, settings, &mut hits);
                    }
                }
            }
            Some(Kind::RewardScored) => {
                if let Ok(scored) = record.decode::<RewardScored>()
                    && let Some(mean) = self.scores.add(scored.reward)
                {
                    self.hear(
                        Signal::Reward,
                        index,
                        Some((SCORED, mean)),
                        settings,
                        &mut hits,
                    );
                }
            }
            Some(Kind::EvaluationCompleted) => {
                if let Ok(evaluation) = record.decode::<EvaluationCompleted>() {
                    hits.extend(self.evaluated(index, &evaluation, settings));
                }
            }
            _ => {
                if let Some(said) = Said::of(record) {
                    self.annotations.take(index, &said, settings, &mut hits);
                }
            }
        }
        hits.retain(|hit| self.found.insert(hit.cause.clone()));
        hits
    }

    fn hear(
        &mut self,
        signal: Signal,
        index: u64,
        value: Option<(u8, f64)>,
        settings: &Settings,
        hits: &mut Vec<Hit>,
    ) {
        let Some((rank, value)) = value else { return };
        match signal {
            Signal::Kl => drifted(
                &mut self.kl,
                rank,
                Rule::KlDrift,
                index,
                value,
                &settings.kl,
                hits,
            ),
            Signal::Reward => {
                let (series, by) = (&mut self.reward, &settings.reward);
                drifted(series, rank, Rule::RewardDrift, index, value, by, hits);
                self.reward_at = index;
            }
            Signal::Length => {
                let found = self
                    .length
                    .from(rank)
                    .and_then(|c| c.take(index, value, &settings.length));
                hits.extend(found.map(|evidence| collapsed(Rule::LengthCollapse, evidence)));
            }
            Signal::Entropy => {
                let found = self
                    .entropy
                    .from(rank)
                    .and_then(|c| c.take(index, value, &settings.entropy));
                hits.extend(found.map(|evidence| collapsed(Rule::EntropyCollapse, evidence)));
            }
        }
    }

    fn evaluated(
        &mut self,
        index: u64,
        evaluation: &EvaluationCompleted,
        settings: &Settings,
    ) -> Option<Hit> {
        let reward = (self.reward_at, self.reward.detector.level()?);
        let (name, results) = (&evaluation.name, &evaluation.metrics);
        let evidence = self
            .divergence
            .take(index, name, results, reward, &settings.divergence)?;
        Some(collapsed(Rule::RewardEvaluation, evidence))
    }

    /// A finding of this run stands in the log.
    pub(crate) fn said(&mut self, rule: Rule, body: &FindingRaised) {
        let last = body.evidence.as_deref().and_then(<[u64]>::last).copied();
        let subject = match rule {
            Rule::RunStalled => {
                if let Some(last) = last {
                    self.stall.said(last);
                }
                return;
            }
            Rule::AnnotatorSpeed | Rule::AnnotatorSide => last
                .and_then(|last| self.annotations.annotator_of(last))
                .map(|name| name.to_string()),
            Rule::KlDrift | Rule::RewardDrift => body.detail.clone(),
            // Which criterion it was of is known to whoever found it.
            Rule::AgreementFalling => None,
            Rule::RewardEvaluation | Rule::LengthCollapse | Rule::EntropyCollapse => {
                Some(String::new())
            }
        };
        if let Some(subject) = subject {
            self.found.insert(Cause::new(rule, subject));
        }
    }
}

fn drifted(
    series: &mut Series<Drift>,
    rank: u8,
    rule: Rule,
    index: u64,
    value: f64,
    settings: &crate::DriftSettings,
    hits: &mut Vec<Hit>,
) {
    let found = series
        .from(rank)
        .and_then(|drift| drift.take(index, value, settings));
    hits.extend(found.map(|(direction, evidence)| Hit {
        cause: Cause::new(rule, direction.as_str()),
        detail: Some(direction.as_str().to_owned()),
        evidence,
    }));
}

fn collapsed(rule: Rule, evidence: Vec<u64>) -> Hit {
    Hit {
        cause: Cause::new(rule, ""),
        detail: None,
        evidence,
    }
}
