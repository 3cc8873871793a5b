//! A time-stamping authority's word on the published checkpoint (RFC 3161). A checkpoint that has one gets no other.

use ledger::StampError;
use serde_json::{Value, json};

use super::Kind;
use crate::Tools;
use crate::attempt::Attempt;
use crate::error::Fault;

pub(crate) struct Timestamp;

impl Kind for Timestamp {
    fn name(&self) -> &'static str {
        "timestamp"
    }

    fn is_possible(&self, tools: &Tools) -> bool {
        tools.authority.is_some()
    }

    fn make(&self, attempt: &Attempt<'_>) -> Result<Value, Fault> {
        let Some(authority) = &attempt.tools.authority else {
            return Err(Fault::Retry(
                "this worker knows no time-stamping authority; start it with --tsa".to_owned(),
            ));
        };
        match attempt.tools.ledger.timestamp(&**authority) {
            Ok(Some(info)) => Ok(json!({
                "size": info.size,
                "before": info.before.to_string(),
                "authority": info.authority,
            })),
            // It has one already, or there is nothing to stamp.
            Ok(None) | Err(StampError::Empty) => Ok(json!({ "size": null })),
            Err(error) => Err(error.into()),
        }
    }
}
