//! `log_rewards`: what a reward model, or a reward function, made of responses.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use record::kinds::RewardScored;
use record::{Draft, Entropy, Subject};
use serde_json::Value;

use crate::annotations::{Drafts, opaque_name};
use crate::columns::{self, Columns, Optional};
use crate::errors::Raise;

/// The scores of one call.
pub(crate) struct Rewards {
    scored: Vec<Scored>,
    reward_model: Option<String>,
    step: Option<u64>,
}

struct Scored {
    reward: f64,
    components: Vec<(String, f64)>,
    item: Option<String>,
    prompt: Option<Value>,
    response: Option<Value>,
}

impl Rewards {
    /// Reads the columns of a call. Those named in `components` are what the rewards are made of.
    pub(crate) fn read(
        given: &Bound<'_, PyDict>,
        components: &Bound<'_, PyDict>,
    ) -> Result<Self, Raise> {
        let mut columns = Columns::new(given);
        let rewards = columns.required("rewards", columns::number)?;
        let mut prompts: Optional<Value> =
            columns.optional("prompts", columns::is_text, columns::content)?;
        let mut responses = columns.optional("responses", |_| false, columns::content)?;
        let mut items = columns.optional("items", |_| false, columns::text)?;
        let reward_model = match columns.scalar("reward_model")? {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err(Raise::input("reward_model: expected a name")),
        };
        let step = match columns.scalar("step")? {
            None => None,
            Some(step) => Some(step.as_u64().ok_or_else(|| {
                Raise::input(format!(
                    "step: expected an integer, 0 or more, found {step}"
                ))
            })?),
        };
        let mut parts = Vec::new();
        let mut named = Columns::new(components);
        for name in components.keys() {
            let name = columns::text(&name, "components")?;
            let values = named.required(&name, columns::number)?;
            if values.len() != rewards.len() {
                return Err(Raise::input(format!(
                    "the lengths differ: rewards has {}, components[{name:?}] has {}",
                    rewards.len(),
                    values.len()
                )));
            }
            parts.push((name, values));
        }
        let scored = |(row, reward)| Scored {
            reward,
            components: (parts.iter())
                .map(|(name, values)| (name.clone(), values[row]))
                .collect(),
            item: items.take(row),
            prompt: prompts.take(row),
            response: responses.take(row),
        };
        Ok(Self {
            scored: rewards.into_iter().enumerate().map(scored).collect(),
            reward_model,
            step,
        })
    }

    /// The records to be.
    pub(crate) fn drafts(self, entropy: &dyn Entropy) -> Drafts {
        let mut drafts = Vec::with_capacity(self.scored.len());
        let mut items = Vec::with_capacity(self.scored.len());
        for scored in self.scored {
            let item = scored.item.unwrap_or_else(|| opaque_name(entropy));
            let mut body = RewardScored::new(scored.reward);
            body.components =
                (!scored.components.is_empty()).then(|| scored.components.into_iter().collect());
            body.item = Some(item.clone());
            body.reward_model.clone_from(&self.reward_model);
            body.step = self.step;
            let mut draft = Draft::new(body);
            for (field, value) in [("prompt", &scored.prompt), ("response", &scored.response)] {
                if let Some(value) = value {
                    draft = draft.seal(field, value, Subject::Run);
                }
            }
            drafts.push(draft);
            items.push(item);
        }
        Drafts { drafts, items }
    }
}
