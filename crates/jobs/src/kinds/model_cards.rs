//! Has a model card issued for every sealed run that has none.

use serde_json::{Value, json};

use super::{Kind, ModelCardJob};
use crate::attempt::Attempt;
use crate::cards;
use crate::error::Fault;
use crate::queue::new_job;

/// Runs looked at at a time.
const PAGE: usize = 1_000;

pub(crate) struct ModelCards;

impl Kind for ModelCards {
    fn name(&self) -> &'static str {
        "model-cards"
    }

    fn make(&self, attempt: &Attempt<'_>) -> Result<Value, Fault> {
        let tools = attempt.tools;
        // The log remembers what was issued for longer than jobs are remembered.
        let issued = cards::issued(&tools.ledger)?;
        let (mut after, mut looked, mut added) = (None, 0_u64, 0_u64);
        loop {
            let runs = tools.ledger.runs(after, PAGE)?;
            let Some(last) = runs.last() else {
                return Ok(json!({ "runs": looked, "added": added }));
            };
            after = Some(last.id);
            let wanting = runs
                .iter()
                .filter(|run| run.sealed_index.is_some() && !issued.contains(&run.id));
            for run in wanting {
                let payload = json!({ "run": run.id.as_str() });
                let mut new = new_job(&tools.ledger, &ModelCardJob, payload, None)
                    .map_err(|error| Fault::Retry(error.to_string()))?;
                new.once = true;
                added += u64::from(tools.queue.put(&new)?);
            }
            looked += runs.len() as u64;
            attempt.progress(looked, 0)?;
        }
    }
}
