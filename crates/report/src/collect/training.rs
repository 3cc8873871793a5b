//! What training did: series over steps, scores, saved models, evaluations.

use record::{
    Kind,
    kinds::{EvaluationCompleted, MetricLogged, ModelCheckpoint, PolicyUpdated, RewardScored},
};

use super::At;
use crate::{
    ReportError,
    card::{Checkpoint, CheckpointFile, Evaluation, Training},
};

/// As many metrics are shown; a run that logs more has them in its records.
const MAX_METRICS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct TrainingTally {
    card: Training,
    scores: f64,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) evaluations: Vec<Evaluation>,
}

impl TrainingTally {
    pub(super) fn take(&mut self, kind: Kind, at: &At<'_>) -> Result<(), ReportError> {
        match kind {
            Kind::RewardScored => {
                let body: RewardScored = at.body()?;
                self.card.scored.count(at.index);
                self.scores += body.reward;
                if let Some(model) = body.reward_model {
                    self.card
                        .reward_models
                        .entry(model)
                        .or_default()
                        .count(at.index);
                }
            }
            Kind::PolicyUpdated => {
                let body: PolicyUpdated = at.body()?;
                self.card.updates.count(at.index);
                for (series, value) in [
                    (&mut self.card.reward, body.reward_mean),
                    (&mut self.card.kl, body.kl),
                    (&mut self.card.loss, body.loss),
                ] {
                    if let Some(value) = value {
                        series.add(body.step, value, at.index);
                    }
                }
            }
            Kind::MetricLogged => {
                let body: MetricLogged = at.body()?;
                for (name, value) in body.metrics {
                    let known = self.card.metrics.contains_key(&name);
                    if known || self.card.metrics.len() < MAX_METRICS {
                        self.card.metrics.insert(name, at.cite(value));
                    }
                }
            }
            Kind::ModelCheckpoint => self.checkpoint(at)?,
            _ => {
                let body: EvaluationCompleted = at.body()?;
                self.evaluations.push(Evaluation {
                    name: body.name,
                    dataset: body.dataset,
                    model: body.model,
                    step: body.step,
                    samples: body.samples,
                    metrics: body.metrics,
                    evidence: at.evidence(),
                });
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self, at: &At<'_>) -> Result<(), ReportError> {
        let body: ModelCheckpoint = at.body()?;
        let files = body.files.into_iter().map(|file| CheckpointFile {
            name: file.name,
            bytes: file.bytes,
            sha256: file.sha256.to_string(),
        });
        self.checkpoints.push(Checkpoint {
            name: body.name,
            step: body.step,
            parameters: body.parameters,
            parent: body.parent,
            files: files.collect(),
            evidence: at.evidence(),
        });
        Ok(())
    }

    pub(super) fn finish(mut self) -> Training {
        for series in [
            &mut self.card.reward,
            &mut self.card.kl,
            &mut self.card.loss,
        ] {
            series.finish();
        }
        let scored = self.card.scored.value;
        self.card.mean_score = (scored > 0)
            .then(|| self.scores / scored as f64)
            // The greatest doubles have no sum.
            .filter(|mean| mean.is_finite());
        self.card
    }
}
