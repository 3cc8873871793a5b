//! The published log as tables, in a folder of its own at the place that the worker is told of. An attempt that was
//! interrupted is gone on with, at its checkpoint.

use std::collections::BTreeMap;

use export::{Export, ExportError, Row, Setup};
use ledger::{Ledger, LedgerError, Query};
use record::{Kind as RecordKind, Scope};
use serde_json::{Value, json};
use tlog::{Checkpoint, SignedNote};

use super::Kind;
use crate::Tools;
use crate::attempt::Attempt;
use crate::error::Fault;

const PAGE: usize = 1_000;
const RECORDS_PER_FILE: u64 = 1_000_000;

pub(crate) struct ExportJob;

impl Kind for ExportJob {
    fn name(&self) -> &'static str {
        "export"
    }

    fn is_possible(&self, tools: &Tools) -> bool {
        tools.settings().export.is_some()
    }

    fn make(&self, attempt: &Attempt<'_>) -> Result<Value, Fault> {
        let settings = attempt.tools.settings();
        let Some(plan) = &settings.export else {
            return Err(Fault::Retry(
                "this worker knows no place for exports; say [export] in its configuration file"
                    .to_owned(),
            ));
        };
        let ledger = &attempt.tools.ledger;
        let published = ledger.checkpoint().ok_or_else(|| {
            Fault::Retry("no checkpoint is published yet, so there is nothing to export".to_owned())
        })?;
        let place = format!("{}/{}", plan.place.trim_end_matches('/'), attempt.job.id);
        let setup = Setup {
            format: plan.format,
            openings: false,
            run: None,
            records_per_file: RECORDS_PER_FILE,
        };
        let begun = Export::begin_at(&place, &plan.options, setup, &published.note);
        let mut export = match begun {
            Ok(export) => export,
            // The attempt that finished it was not heard.
            Err(error) if error.is_whole() => return Ok(json!({ "output": place })),
            Err(error) => return Err(fault(&error)),
        };
        let at = checkpoint(export.checkpoint())?;
        let (_, mut done) = export.kept();
        for scope in scopes(ledger)? {
            for kind in RecordKind::ALL {
                let after = export.table(scope, *kind).map_err(|e| fault(&e))?;
                let mut query = Query {
                    scope: Some(scope),
                    kind: Some(*kind),
                    after,
                    limit: PAGE,
                };
                done = table(attempt, &mut export, &mut query, (done, at.size.0))?;
            }
        }
        let manifest = export
            .finish(&at.origin, at.size.0)
            .map_err(|e| fault(&e))?;
        if manifest.records != at.size.0 {
            let told = format!(
                "{} of {} records were exported; build the index again with `rlhf-audit reindex`",
                manifest.records, at.size
            );
            return Err(Fault::Dead(told));
        }
        Ok(json!({
            "output": place,
            "records": manifest.records,
            "files": manifest.files.len(),
            "bytes": manifest.files.iter().map(|file| file.bytes).sum::<u64>(),
        }))
    }
}

/// Exports the records that a query finds below the checkpoint's size; gives how many are done.
fn table(
    attempt: &Attempt<'_>,
    export: &mut Export,
    query: &mut Query,
    (mut done, size): (u64, u64),
) -> Result<u64, Fault> {
    let opened = &BTreeMap::new();
    loop {
        let page = attempt.tools.ledger.query(query)?;
        for (index, bytes) in &page.records {
            if *index >= size {
                return Ok(done);
            }
            let row = Row {
                index: *index,
                bytes,
                opened,
            };
            export.add(&row).map_err(|e| fault(&e))?;
            done += 1;
        }
        attempt.progress(done, size)?;
        if page.next.is_none() {
            return Ok(done);
        }
        query.after = page.next;
    }
}

fn scopes(ledger: &Ledger) -> Result<Vec<Scope>, LedgerError> {
    let (mut scopes, mut after) = (vec![Scope::Ledger], None);
    loop {
        let runs = ledger.runs(after, PAGE)?;
        let Some(last) = runs.last() else {
            return Ok(scopes);
        };
        after = Some(last.id);
        scopes.extend(runs.iter().map(|run| Scope::Run(run.id)));
    }
}

fn checkpoint(note: &[u8]) -> Result<Checkpoint, Fault> {
    let bad = |error: &dyn std::fmt::Display| {
        Fault::Dead(format!("the export's checkpoint is none: {error}"))
    };
    let note = SignedNote::parse(note).map_err(|e| bad(&e))?;
    Checkpoint::parse(note.text()).map_err(|e| bad(&e))
}

fn fault(error: &ExportError) -> Fault {
    match error {
        ExportError::Record { .. } => Fault::Dead(error.to_string()),
        _ => Fault::Retry(error.to_string()),
    }
}
