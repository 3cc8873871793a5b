//! One event told to one target. The target may hear of it more than once, under the same id.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Kind, text};
use crate::Tools;
use crate::attempt::Attempt;
use crate::error::Fault;
use crate::notify::{self, Message};

/// The kind's name.
pub(crate) const NAME: &str = "notification";

pub(crate) struct Notification;

#[derive(Deserialize)]
struct Payload {
    target: String,
    message: Message,
}

impl Kind for Notification {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Some hours, with the pauses there are.
    fn tries(&self) -> u64 {
        40
    }

    fn key(&self, payload: &Value) -> Result<String, String> {
        let id = text(&payload["message"], "id")?;
        Ok(format!("{id}/{}", text(payload, "target")?))
    }

    fn once(&self) -> bool {
        true
    }

    fn is_possible(&self, tools: &Tools) -> bool {
        !tools.settings().targets.is_empty()
    }

    fn may_be_asked_for(&self) -> bool {
        false
    }

    fn make(&self, attempt: &Attempt<'_>) -> Result<Value, Fault> {
        let payload: Payload = attempt.payload()?;
        let settings = attempt.tools.settings();
        let mut targets = settings.targets.iter();
        let target = targets.find(|target| target.name() == payload.target);
        let Some(target) = target else {
            return Err(Fault::Retry(format!(
                "this worker knows no target `{}`; give all workers the same configuration",
                payload.target
            )));
        };
        let ledger = &attempt.tools.ledger;
        notify::send(
            target,
            &payload.message,
            ledger.origin(),
            ledger.clock().now(),
        )?;
        Ok(json!({ "target": payload.target }))
    }
}
