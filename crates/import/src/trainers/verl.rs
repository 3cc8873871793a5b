//! verl: the lines of its file logger, and of the files of rollouts that it dumps.
//!
//! The file logger (`verl/utils/tracking.py`) writes `{"step": 3, "data": {"actor/pg_loss": 0.1, …}}`, one line a step,
//! numbers that are not finite as null, or `NaN` before verl used orjson. Its training steps and its validations come in
//! the same lines, told apart by their names: `val-core/…`, `val-aux/…` and `val/…` are validation's.
//!
//! Rollouts (`trainer.rollout_data_dir`, `trainer.validation_data_dir`) are in `<step>.jsonl`: `input`, `output`, `score`,
//! `step`, `gts` and whatever the reward function returned beside the score.

use record::Draft;
use record::kinds::{Batch, EvaluationCompleted, PolicyUpdated, RewardScored};
use serde_json::{Map, Value};

use super::numbers::{Numbers, logged, number};
use super::sealing::seal;
use super::{Entry, Unreadable, python};
use crate::fields::{Fields, found, kind_of};

/// What validation's metrics begin with.
const VALIDATION: [&str; 3] = ["val-core/", "val-aux/", "val/"];
/// What only an update of the policy leaves: `actor/entropy` alone comes from log-probabilities.
const UPDATED: [&str; 7] = [
    "actor/pg_loss",
    "actor/loss",
    "actor/grad_norm",
    "actor/lr",
    "train/loss",
    "train/grad_norm",
    "train/lr",
];
const LOSS: [&str; 3] = ["actor/loss", "actor/pg_loss", "train/loss"];
const LEARNING_RATE: [&str; 2] = ["actor/lr", "train/lr"];
const GRADIENT_NORM: [&str; 2] = ["actor/grad_norm", "train/grad_norm"];
/// From the reference policy; `actor/ppo_kl` is from the one that sampled.
const KL: [&str; 2] = ["actor/kl_loss", "actor/reward_kl_penalty"];
/// The older name is of the same number.
const ENTROPY: [&str; 2] = ["actor/entropy", "actor/entropy_loss"];
const REWARD_MEAN: [&str; 2] = ["critic/rewards/mean", "critic/score/mean"];
const EPOCH: [&str; 1] = ["training/epoch"];

/// The step that a line of the file logger is of, and its data.
#[derive(Debug)]
pub struct LogLine {
    /// The step of training; validation before it has 0.
    pub step: u64,
    data: Map<String, Value>,
}

impl LogLine {
    /// Reads a line.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(line: &[u8]) -> Result<Self, Unreadable> {
        let value = read_json(line)?;
        let fields = Fields::of_row(&value)?;
        let step = fields.count("step")?;
        match value.get("data") {
            Some(Value::Object(data)) => Ok(Self {
                step,
                data: data.clone(),
            }),
            Some(other) => Err(Unreadable::new("an object at `data`", kind_of(other))),
            None => Err(Unreadable::new("an object at `data`", "no such field")),
        }
    }

    /// Its records: each metric under its own name, the update of the policy, the evaluation. `rollouts` is how many
    /// rollouts of this step were recorded, where that is known; `place` is how incidents call the line.
    pub fn entry(&self, rollouts: Option<u64>, place: &str) -> Entry {
        let (mut training, mut validation) = (Numbers::default(), Numbers::default());
        for (name, value) in &self.data {
            let validates = VALIDATION.iter().any(|start| name.starts_with(start));
            let numbers = if validates {
                &mut validation
            } else {
                &mut training
            };
            numbers.take(name, value);
        }
        let mut entry = Entry::default();
        self.log(&training, &mut entry);
        self.update(&training, rollouts, &mut entry);
        self.evaluate(&validation, &mut entry);
        training.report(&mut entry, place);
        validation.report(&mut entry, place);
        entry
    }

    fn log(&self, training: &Numbers, entry: &mut Entry) {
        let epoch = training.first(&EPOCH);
        let bodies = logged(training, |body| {
            body.step = Some(self.step);
            body.epoch = epoch;
            body.phase = Some("train".to_owned());
        });
        entry.drafts.extend(bodies.into_iter().map(Draft::new));
        entry.counts.metrics += training.finite.len() as u64;
    }

    fn update(&self, training: &Numbers, rollouts: Option<u64>, entry: &mut Entry) {
        if !UPDATED.iter().any(|name| training.has(name)) {
            return;
        }
        let mut body = PolicyUpdated::new(self.step);
        body.batch = rollouts.filter(|count| *count > 0).map(Batch::new);
        body.entropy = training.first(&ENTROPY);
        body.epoch = training.first(&EPOCH);
        body.gradient_norm = training.first(&GRADIENT_NORM);
        body.kl = training.first(&KL);
        body.learning_rate = training.first(&LEARNING_RATE);
        body.loss = training.first(&LOSS);
        body.reward_mean = training.first(&REWARD_MEAN);
        entry.drafts.push(Draft::new(body));
        entry.counts.updates += 1;
    }

    fn evaluate(&self, validation: &Numbers, entry: &mut Entry) {
        for part in validation.parts() {
            let mut body = EvaluationCompleted::new(part, "validation".to_owned());
            body.step = Some(self.step);
            entry.drafts.push(Draft::new(body));
        }
        entry.counts.metrics += validation.finite.len() as u64;
        entry.counts.evaluations += u64::from(!validation.finite.is_empty());
    }
}

/// The record of one rollout. `item` is the name that the record gives it, `step` the one of its file, for lines that
/// have none; `place` is how incidents call the line.
///
/// # Errors
/// [`Unreadable`].
pub fn rollout(line: &[u8], step: u64, item: &str, place: &str) -> Result<Entry, Unreadable> {
    let value = read_json(line)?;
    let fields = Fields::of_row(&value)?;
    let input = fields.any("input", "a prompt")?;
    let output = fields.any("output", "a response")?;
    let score = fields.any("score", "a number")?;
    let Some(reward) = number(score) else {
        return Err(Unreadable::new("a number at `score`", found(score)));
    };
    let step = if fields.has("step") {
        fields.count("step")?
    } else {
        step
    };
    let mut entry = Entry::default();
    let mut components = components(&value);
    if reward.is_finite() {
        let mut body = RewardScored::new(reward);
        body.item = Some(item.to_owned());
        body.step = Some(step);
        body.components = components.one_part();
        let mut draft = Draft::new(body);
        for (field, value) in [("prompt", input), ("response", output)] {
            if !value.is_null() {
                draft = seal(draft, field, value, &mut entry, place);
            }
        }
        entry.drafts.insert(0, draft);
        entry.counts.rewards += 1;
    } else {
        let what = format!("{place}: the score of {item} at step {step} is no finite number");
        entry.incident("reward-not-finite", None, &what);
    }
    components.report(&mut entry, place);
    Ok(entry)
}

/// What the reward function returned beside the score, of which texts and lists are nobody's numbers.
fn components(rollout: &Value) -> Numbers {
    const OWN: [&str; 5] = ["input", "output", "score", "step", "gts"];
    let mut numbers = Numbers::default();
    for (name, value) in rollout.as_object().into_iter().flatten() {
        // Python's None is no number that went wrong.
        let is_number = !value.is_null() && number(value).is_some();
        if is_number && !OWN.contains(&name.as_str()) {
            numbers.take(name, value);
        }
    }
    numbers
}

fn read_json(line: &[u8]) -> Result<Value, Unreadable> {
    python::parse(line).map_err(|error| {
        // Not the parser's words: they may quote the line.
        let found = if error.is_eof() {
            "a line that breaks off".to_owned()
        } else {
            format!("no JSON at byte {} of the line", error.column())
        };
        Unreadable::new("one JSON object", found)
    })
}
