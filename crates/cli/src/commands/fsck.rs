//! `rlhf-audit fsck`: look through a ledger for damage, and repair what follows from the rest.

use ledger::{Finding, FsckReport, Ledger};
use serde_json::json;

use crate::location::LocationArgs;
use crate::outcome::{Failure, Outcome};
use crate::place::{ledger_failure, ledger_options};

/// Findings that are printed; `--json` has all.
const MAX_PRINTED: usize = 50;

/// Look through a stopped ledger for damage
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    location: LocationArgs,
    /// Make again what follows from the rest: hash tiles, index, log/checkpoint. What was there goes to lost+found/.
    /// Entries, sealed values, journal, keys and the database's checkpoint are never touched
    #[arg(long)]
    repair: bool,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let report = Ledger::fsck(&args.location.location(), &ledger_options(), args.repair)
        .map_err(ledger_failure)?;
    let sound = report.is_sound();
    if json {
        let mut object = serde_json::to_value(&report).map_err(Failure::input)?;
        object["sound"] = json!(sound);
        println!("{object}");
    } else {
        print(&report, args.repair);
    }
    Ok(if sound { Outcome::True } else { Outcome::False })
}

fn print(report: &FsckReport, repair: bool) {
    println!(
        "Looked through {} records in {} entry bundles, {} sealed values, {} attachments; {} records wait in the journal.",
        report.size, report.bundles, report.sealed_values, report.attachments, report.unpublished
    );
    for finding in report.findings.iter().take(MAX_PRINTED) {
        print_finding(finding);
    }
    if let Some(more) = report.findings.len().checked_sub(MAX_PRINTED + 1) {
        println!("  and {} more; --json lists them", more + 1);
    }
    for what in &report.unchecked {
        println!("  unchecked  {what}");
    }
    for note in &report.notes {
        println!("  note       {note}");
    }
    if let Some(lost) = &report.lost_and_found {
        println!("What was taken away is in {lost}/.");
    }
    let (repaired, left): (Vec<_>, Vec<_>) = report.findings.iter().partition(|f| f.repaired);
    if report.is_sound() && repaired.is_empty() {
        println!(
            "Nothing is wrong. What the records mean, and who signed them, is `rlhf-audit verify`'s to say."
        );
    } else if report.is_sound() {
        println!("{} findings, all repaired.", repaired.len());
    } else {
        println!(
            "{} findings, {} repaired.",
            report.findings.len(),
            repaired.len()
        );
        if !repair && left.iter().any(|finding| finding.derived) {
            println!("What can be made again is by `rlhf-audit fsck --repair`.");
        }
    }
}

fn print_finding(finding: &Finding) {
    let state = if finding.repaired {
        "repaired"
    } else {
        "WRONG"
    };
    println!("  {state:<9}  {}: {}", finding.what, finding.detail);
    if !finding.repaired {
        println!("             {}", finding.advice);
    }
}
