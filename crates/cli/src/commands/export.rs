//! `rlhf-audit export`: the log as tables, for whatever reads Parquet, CSV or JSON Lines.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use client::RecordQuery;
use export::{Export, ExportError, Format, Manifest, Row, Setup};
use indicatif::{ProgressBar, ProgressStyle};
use record::{Kind, RecordHash, Scope, leaf_hash};
use serde_json::json;
use tlog::{Checkpoint, SignedNote};

use crate::location::object_options;
use crate::outcome::{Failure, Outcome};
use crate::place::{Place, PlaceArgs, client_failure, ledger_failure};

/// Records, and runs, asked for at a time.
const PAGE: usize = 1_000;

/// Write published records into tables: Parquet, CSV or JSON Lines
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to write: a directory or an object store (s3://, gs:// or az://, bucket and prefix), new, empty, or that of
    /// an export that was interrupted, which goes on
    #[arg(value_name = "DIR|s3|gs|az://BUCKET/PREFIX")]
    output: String,
    /// parquet, csv or jsonl
    #[arg(long, default_value_t = Format::Parquet)]
    format: Format,
    /// The records of this run alone: its name or id
    #[arg(long)]
    run: Option<String>,
    /// Write sealed values too, in the clear, as columns opened_…; for whoever has the ledger itself
    #[arg(long, conflicts_with = "server")]
    openings: bool,
    /// Begin another file after so many records of a run and kind
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records_per_file: u64,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let place = args.place.open()?;
    let manifest = write(args, &place, json)?;
    place.close()?;
    if json {
        let mut told = serde_json::to_value(&manifest).map_err(Failure::unavailable)?;
        told["output"] = json!(args.output);
        println!("{told}");
    } else {
        println!(
            "Exported {} records in {} files to {}, at the checkpoint of {} records.",
            manifest.records,
            manifest.files.len(),
            args.output,
            manifest.log_size
        );
    }
    Ok(Outcome::True)
}

fn write(args: &Args, place: &Place, json: bool) -> Result<Manifest, Failure> {
    let client = &place.client;
    let run = args.run.as_deref().map(|run| client.run(run)).transpose();
    let only = run.map_err(client_failure)?.map(|run| run.run);
    let setup = Setup {
        format: args.format,
        openings: args.openings,
        run: only,
        records_per_file: args.records_per_file,
    };
    let latest = client.checkpoint().map_err(client_failure)?;
    let begun = Export::begin_at(&args.output, &object_options(), setup, latest.as_bytes());
    let mut export = begun.map_err(failure)?;
    let (at, newest) = (
        checkpoint(export.checkpoint())?,
        checkpoint(latest.as_bytes())?,
    );
    if at.origin != newest.origin || at.size > newest.size {
        return Err(Failure::input(format!(
            "{} was begun with {} at {} records; this log is {} at {}",
            args.output, at.origin, at.size, newest.origin, newest.size
        )));
    }
    let (whole, records) = export.kept();
    if whole > 0 && !json {
        eprintln!("rlhf-audit: going on after {whole} whole files");
    }
    let bar = progress(json, at.size.0);
    bar.inc(records);
    let reading = Reading {
        place,
        size: at.size.0,
        openings: args.openings,
        bar: &bar,
    };
    let scopes = match only {
        Some(run) => vec![Scope::Run(run)],
        None => scopes(place)?,
    };
    for scope in scopes {
        for kind in Kind::ALL {
            reading.table(&mut export, scope, *kind)?;
        }
    }
    let manifest = export.finish(&at.origin, at.size.0).map_err(failure)?;
    bar.finish_and_clear();
    if only.is_none() && manifest.records != at.size.0 {
        let told = format!("{} of {} records were exported", manifest.records, at.size);
        return Err(Failure::unavailable(told).with_hint(
            "the index does not find the others; build it again with `rlhf-audit reindex`",
        ));
    }
    Ok(manifest)
}

/// The reading of tables.
struct Reading<'a> {
    place: &'a Place,
    size: u64,
    openings: bool,
    bar: &'a ProgressBar,
}

impl Reading<'_> {
    /// Exports the records of a run and kind, from where the export stands.
    fn table(&self, export: &mut Export, scope: Scope, kind: Kind) -> Result<(), Failure> {
        let mut query = RecordQuery {
            run: Some(scope.to_string()),
            kind: Some(kind.name().to_owned()),
            after: export.table(scope, kind).map_err(failure)?,
            limit: Some(PAGE),
        };
        loop {
            let page = self.place.client.records(&query).map_err(client_failure)?;
            for logged in &page.records {
                let index = logged.index;
                // What came after the checkpoint belongs to a later export.
                if index >= self.size {
                    return Ok(());
                }
                let bytes = logged.record.get().as_bytes();
                if RecordHash::from(leaf_hash(bytes)) != logged.leaf_hash {
                    let told = format!("record {index} is not what its leaf hash says");
                    return Err(Failure::untrue(told));
                }
                let opened = &self.opened(index)?;
                let row = Row {
                    index,
                    bytes,
                    opened,
                };
                export.add(&row).map_err(failure)?;
                self.bar.inc(1);
            }
            if page.next.is_none() {
                return Ok(());
            }
            query.after = page.next;
        }
    }

    /// The sealed values of a record, as JSON by field, where they were asked for and are not destroyed.
    fn opened(&self, index: u64) -> Result<BTreeMap<String, String>, Failure> {
        let mut opened = BTreeMap::new();
        if let Some(ledger) = self.place.ledger().filter(|_| self.openings) {
            for field in ledger.openings(index).map_err(ledger_failure)? {
                if let ledger::SealedState::Opened { value, .. } = field.state {
                    let value = String::from_utf8_lossy(&value).into_owned();
                    opened.insert(field.field, value);
                }
            }
        }
        Ok(opened)
    }
}

/// The scope `ledger`, and all runs.
fn scopes(place: &Place) -> Result<Vec<Scope>, Failure> {
    let mut scopes = vec![Scope::Ledger];
    let mut after = None;
    loop {
        let page = place.client.runs(after.as_deref(), PAGE);
        let page = page.map_err(client_failure)?;
        scopes.extend(page.runs.iter().map(|run| Scope::Run(run.run)));
        if page.next.is_none() {
            return Ok(scopes);
        }
        after = page.next;
    }
}

fn checkpoint(note: &[u8]) -> Result<Checkpoint, Failure> {
    let note = SignedNote::parse(note).map_err(Failure::unavailable)?;
    Checkpoint::parse(note.text()).map_err(Failure::unavailable)
}

fn failure(error: ExportError) -> Failure {
    match error {
        ExportError::Occupied { .. } => Failure::input(error),
        ExportError::Store(error) => ledger_failure(error.into()),
        other => Failure::unavailable(other),
    }
}

fn progress(json: bool, records: u64) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{wide_bar} {human_pos}/{human_len} records, {eta} left";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(records).with_style(style)
}
