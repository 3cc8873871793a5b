//! A run's model card: its files become attachments, and their digests a `document.issued`, once a job.

use ledger::LedgerError;
use record::kinds::DocumentIssued;
use record::{Kind as RecordKind, RunId, Sha256};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Kind, text};
use crate::attempt::Attempt;
use crate::cards;
use crate::error::Fault;
use crate::once;

pub(crate) struct ModelCardJob;

#[derive(Deserialize)]
struct Payload {
    run: String,
    since: u64,
}

impl Kind for ModelCardJob {
    fn name(&self) -> &'static str {
        "model-card"
    }

    fn key(&self, payload: &Value) -> Result<String, String> {
        text(payload, "run")
    }

    fn make(&self, attempt: &Attempt<'_>) -> Result<Value, Fault> {
        let payload: Payload = attempt.payload()?;
        let ledger = &attempt.tools.ledger;
        let run = match RunId::parse(&payload.run) {
            Some(id) => ledger.run(id),
            None => ledger.find_run(&payload.run),
        };
        let run = run.map_err(|error| match error {
            LedgerError::Store(_) => Fault::from(error),
            error => Fault::Dead(error.to_string()),
        })?;
        let run = run.id;
        let issue = cards::Issue::of(ledger, run)?;
        attempt.progress(1, 3)?;
        for file in issue.files() {
            let digest = Sha256(tlog::sha256(file.content.as_bytes()));
            ledger.put_attachment(digest, &mut file.content.as_bytes())?;
        }
        attempt.progress(2, 3)?;
        let is_it = |record: &record::Record<'_>| {
            record.is(RecordKind::DocumentIssued)
                && record
                    .decode::<DocumentIssued>()
                    .is_ok_and(|issued| issued.run == run && issued.document == cards::DOCUMENT)
        };
        let index = once::record(ledger, payload.since, is_it, || issue.draft())?;
        // An earlier attempt may have recorded an earlier state of the run: the log says which.
        let recorded = ledger.read(index).ok();
        let files = recorded.as_deref().and_then(files).unwrap_or_default();
        Ok(json!({ "run": run.as_str(), "index": index, "files": files }))
    }
}

/// What a `document.issued` says of its files.
fn files(bytes: &[u8]) -> Option<Value> {
    let record: Value = serde_json::from_slice(bytes).ok()?;
    Some(record["body"]["files"].clone())
}
