//! A ledger of the tool's own with something in it.

use std::time::Duration;

use super::drive::{self, Plan};
use super::host::Host;
use super::load::Form;
use crate::outcome::Failure;

/// Appends so many records of 500 bytes as fast as that goes.
pub(super) fn fill(host: &Host, records: u64) -> Result<(), Failure> {
    let plan = Plan {
        clients: 8,
        batch: 500,
        time: Duration::MAX,
        records: Some(records),
        rate: None,
        form: Form {
            bytes: 500,
            sealed: false,
        },
    };
    drive::drive(host, &plan).map(drop)
}

/// Whether nothing was ever loaded into it.
pub(super) fn is_empty(host: &Host) -> bool {
    // A new ledger has published nothing, or a checkpoint of an empty log.
    let note = host.patient_client().ok().and_then(|c| c.checkpoint().ok());
    let size = note.and_then(|note| note.lines().nth(1)?.parse::<u64>().ok());
    size.unwrap_or(0) == 0
}
