//! The check of one range of the log: a part of `integrity`. What it finds is its result; telling of it is the whole's.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Kind;
use crate::attempt::Attempt;
use crate::error::Fault;
use crate::integrity;

pub(crate) struct IntegrityRange;

#[derive(Deserialize)]
struct Payload {
    range: u64,
}

impl IntegrityRange {
    /// What such a job is told.
    pub(crate) fn payload(parent: &str, range: u64) -> Value {
        json!({ "of": parent, "range": range })
    }
}

impl Kind for IntegrityRange {
    fn name(&self) -> &'static str {
        "integrity-range"
    }

    fn key(&self, payload: &Value) -> Result<String, String> {
        let parent = super::text(payload, "of")?;
        let range = payload["range"]
            .as_u64()
            .ok_or("needs to be told `range`")?;
        Ok(format!("{parent}/{range}"))
    }

    fn once(&self) -> bool {
        true
    }

    fn may_be_asked_for(&self) -> bool {
        false
    }

    fn make(&self, attempt: &Attempt<'_>) -> Result<Value, Fault> {
        let payload: Payload = attempt.payload()?;
        let found = integrity::range(attempt, payload.range)?;
        serde_json::to_value(found).map_err(|error| Fault::Dead(error.to_string()))
    }
}
