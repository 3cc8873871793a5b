//! The learning in the demo: a Bradley–Terry reward model fitted to comparisons, and a softmax policy improved
//! against it under a KL penalty. Small enough to read, and truly computed.
//!
//! Sources: Bradley and Terry (1952) for the model of comparisons; Williams (1992) for the policy gradient; the KL
//! penalty towards a reference policy as in Ziegler et al. (2019, arXiv 1909.08593).

use rand::RngExt;
use rand::rngs::ChaCha12Rng;

use super::world::{ANSWERS, Answer, Choice, Comparison, FEATURES, Question, World, dot, sigmoid};

/// A reward that is linear in an answer's features.
#[derive(Debug, Clone)]
pub(super) struct RewardModel {
    pub(super) weights: [f64; FEATURES],
    /// Mean log loss over the comparisons it was fitted to, in nats.
    pub(super) loss: f64,
    /// Share of the decided comparisons that it orders as the annotator did.
    pub(super) accuracy: f64,
}

impl RewardModel {
    /// Fits P(first preferred) = sigmoid(r(first) − r(second)) by gradient descent on the log loss with a small ridge.
    /// Comparisons without a preference carry no information under the model and are left out.
    pub(super) fn fit(world: &World, comparisons: &[Comparison]) -> Self {
        let pairs: Vec<([f64; FEATURES], f64)> = comparisons
            .iter()
            .filter(|c| c.choice != Choice::NoPreference)
            .map(|c| {
                let answers = &world.questions[c.question].answers;
                let (first, second) = (&answers[c.first].features, &answers[c.second].features);
                let difference = std::array::from_fn(|i| first[i] - second[i]);
                (
                    difference,
                    if c.choice == Choice::First { 1.0 } else { 0.0 },
                )
            })
            .collect();
        let count = pairs.len().max(1) as f64;
        let mut weights = [0.0; FEATURES];
        for _ in 0..600 {
            let mut gradient = weights.map(|w| 1e-3 * w);
            for (difference, label) in &pairs {
                let error = sigmoid(dot(&weights, difference)) - label;
                for (g, d) in gradient.iter_mut().zip(difference) {
                    *g += error * d / count;
                }
            }
            for (w, g) in weights.iter_mut().zip(gradient) {
                *w -= 2.0 * g;
            }
        }
        let (mut loss, mut right) = (0.0, 0_u32);
        for (difference, label) in &pairs {
            let p = sigmoid(dot(&weights, difference));
            loss -= (label * p.ln() + (1.0 - label) * (1.0 - p).ln()) / count;
            right += u32::from((p > 0.5) == (*label > 0.5));
        }
        Self {
            weights,
            loss,
            accuracy: f64::from(right) / count,
        }
    }

    /// The reward of an answer.
    pub(super) fn score(&self, answer: &Answer) -> f64 {
        dot(&self.weights, &answer.features)
    }
}

/// A softmax over the candidate answers of each question.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) logits: Vec<[f64; ANSWERS]>,
}

/// An answer that the policy gave during an update, and what it was worth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) question: usize,
    pub(super) answer: usize,
    pub(super) reward: f64,
}

/// What one update did.
#[derive(Debug, Clone)]
pub(super) struct Update {
    pub(super) samples: Vec<Sample>,
    pub(super) reward_mean: f64,
    pub(super) reward_std: f64,
    /// The surrogate loss, −E[advantage · log π].
    pub(super) loss: f64,
    /// KL(π ‖ reference) after the update, mean over the questions, in nats.
    pub(super) kl: f64,
    /// Entropy of the policy after the update, mean over the questions, in nats.
    pub(super) entropy: f64,
    /// L2 norm of the gradient of the loss.
    pub(super) gradient_norm: f64,
}

impl Policy {
    /// The reference policy: it talks like somebody who was never corrected, and slightly prefers to go on at length.
    pub(super) fn reference(questions: &[Question]) -> Self {
        let logits = questions
            .iter()
            .map(|q| std::array::from_fn(|k| 0.6 * q.answers[k].features[3]))
            .collect();
        Self { logits }
    }

    /// Each question's distribution over its answers.
    pub(super) fn probabilities(&self) -> Vec<[f64; ANSWERS]> {
        self.logits.iter().map(softmax).collect()
    }

    /// One step of policy gradient on reward − `kl_weight` · log(π/reference), with the batch's mean as baseline.
    pub(super) fn update(
        &mut self,
        world: &World,
        reward_model: &RewardModel,
        reference: &Self,
        step: &Step,
        rng: &mut ChaCha12Rng,
    ) -> Update {
        let before = self.probabilities();
        let anchor = reference.probabilities();
        let samples: Vec<Sample> = (0..step.batch)
            .map(|_| {
                let question = rng.random_range(0..world.questions.len());
                let answer = draw(&before[question], rng.random());
                let reward = reward_model.score(&world.questions[question].answers[answer]);
                Sample {
                    question,
                    answer,
                    reward,
                }
            })
            .collect();
        let n = samples.len() as f64;
        let penalised = |s: &Sample| {
            let ratio = before[s.question][s.answer] / anchor[s.question][s.answer];
            s.reward - step.kl_weight * ratio.ln()
        };
        let baseline = samples.iter().map(penalised).sum::<f64>() / n;
        let mut gradient = vec![[0.0; ANSWERS]; self.logits.len()];
        let mut loss = 0.0;
        for s in &samples {
            let advantage = penalised(s) - baseline;
            loss -= advantage * before[s.question][s.answer].ln() / n;
            for (k, g) in gradient[s.question].iter_mut().enumerate() {
                let indicator = if k == s.answer { 1.0 } else { 0.0 };
                *g -= advantage * (indicator - before[s.question][k]) / n;
            }
        }
        for (logits, g) in self.logits.iter_mut().zip(&gradient) {
            for (l, g) in logits.iter_mut().zip(g) {
                *l -= step.learning_rate * g;
            }
        }
        let reward_mean = samples.iter().map(|s| s.reward).sum::<f64>() / n;
        let variance = samples
            .iter()
            .map(|s| (s.reward - reward_mean).powi(2))
            .sum::<f64>()
            / n;
        let gradient_norm = gradient.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        let after = self.probabilities();
        Update {
            samples,
            reward_mean,
            reward_std: variance.sqrt(),
            loss,
            kl: mean_kl(&after, &anchor),
            entropy: mean_entropy(&after),
            gradient_norm,
        }
    }
}

/// The settings of an update.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// Answers sampled.
    pub(super) batch: usize,
    /// Step size on the logits.
    pub(super) learning_rate: f64,
    /// Weight of the KL penalty, in reward per nat.
    pub(super) kl_weight: f64,
}

fn softmax(logits: &[f64; ANSWERS]) -> [f64; ANSWERS] {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights = logits.map(|l| (l - top).exp());
    let total: f64 = weights.iter().sum();
    weights.map(|w| w / total)
}

fn draw(probabilities: &[f64; ANSWERS], mut at: f64) -> usize {
    for (k, p) in probabilities.iter().enumerate() {
        at -= p;
        if at < 0.0 {
            return k;
        }
    }
    ANSWERS - 1
}

fn mean_kl(p: &[[f64; ANSWERS]], q: &[[f64; ANSWERS]]) -> f64 {
    let total: f64 = p
        .iter()
        .flatten()
        .zip(q.iter().flatten())
        .map(|(p, q)| p * (p / q).ln())
        .sum();
    total / p.len() as f64
}

fn mean_entropy(p: &[[f64; ANSWERS]]) -> f64 {
    -p.iter().flatten().map(|p| p * p.ln()).sum::<f64>() / p.len() as f64
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn trained(seed: u64) -> (World, RewardModel, Policy, Policy, Vec<Update>) {
        let world = World::new(seed);
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let model = RewardModel::fit(&world, &world.comparisons(&mut rng));
        let reference = Policy::reference(&world.questions);
        let mut policy = reference.clone();
        let step = Step {
            batch: 48,
            learning_rate: 6.0,
            kl_weight: 0.4,
        };
        let updates = (0..40)
            .map(|_| policy.update(&world, &model, &reference, &step, &mut rng))
            .collect();
        (world, model, reference, policy, updates)
    }

    #[test]
    fn the_reward_model_learns_that_correctness_matters_more_than_length() {
        let (_, model, ..) = trained(3);
        assert!(
            model.weights[0] > model.weights[3] + 0.5,
            "{:?}",
            model.weights
        );
        assert!(model.accuracy > 0.7, "{}", model.accuracy);
        assert!(
            model.loss < std::f64::consts::LN_2,
            "no better than a coin: {}",
            model.loss
        );
    }

    #[test]
    fn training_raises_true_quality_and_moves_away_from_the_reference() {
        let (world, _, reference, policy, updates) = trained(3);
        let gain = world.mean_quality(&policy.probabilities())
            - world.mean_quality(&reference.probabilities());
        assert!(gain > 0.3, "gained only {gain}");
        assert!(updates[39].kl > updates[0].kl);
        assert!(
            updates
                .iter()
                .all(|u| u.kl >= 0.0 && u.entropy >= 0.0 && u.gradient_norm.is_finite())
        );
    }
}
