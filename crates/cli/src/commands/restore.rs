//! `rlhf-audit restore`: a ledger from a backup.

use std::path::{Path, PathBuf};

use backup::{Aim, Open, Place};
use ledger::Restored;
use serde_json::json;

use super::backup::{KeyArgs, failure};
use crate::location::{LocationArgs, object_options};
use crate::outcome::{Failure, Outcome};
use crate::place::ledger_options;
use crate::progress;

/// Runs that are printed; `--json` has all.
const MAX_PRINTED: usize = 50;

/// Put a ledger back from a backup, verify it, and say exactly which records are in it; nothing is overwritten
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the backups are, as `rlhf-audit backup --to` was told
    #[arg(value_name = "DIR|s3|gs|az://BUCKET/PREFIX")]
    from: String,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    location: LocationArgs,
    /// The backup to put back, as --list names it [default: the newest]
    #[arg(long, value_name = "POINT")]
    point: Option<String>,
    /// List the backups, and do no more
    #[arg(long, conflicts_with_all = ["check", "expect", "accept_loss", "point"])]
    list: bool,
    /// Read the backup from end to end, hold its records against the checkpoint that the log signed, and do no more
    #[arg(long, conflicts_with_all = ["expect", "accept_loss"])]
    check: bool,
    /// Write the files that were backed up beside the ledger (`backup --with`) below a new or empty directory, each at the path
    /// it had, and do no more
    #[arg(long, value_name = "DIR", conflicts_with_all = ["list", "check", "expect", "accept_loss"])]
    files_to: Option<PathBuf>,
    /// The newest checkpoint of the log that anybody holds (a witness, a client, an auditor): what it covers and the backup
    /// lacks is named, and the ledger is not put to use
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Put the ledger to use although records that were acknowledged may be missing. What it appends then contradicts
    /// checkpoints that others may hold, and witnesses refuse it
    #[arg(long)]
    accept_loss: bool,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let options = object_options();
    let open = Open {
        place: &args.from,
        options: &options,
        key: args.key.key()?,
    };
    let place = Place::to_read(&open).map_err(failure)?;
    if args.list {
        return list(&place, json);
    }
    if args.check {
        return check(&place, args, json);
    }
    if let Some(dir) = &args.files_to {
        return files(&place, args, dir, json);
    }
    if args.expect.is_none() && !args.accept_loss {
        return Err(Failure::input(
            "a backup does not say whether its log went on after it was made: a ledger that is behind what was published \
             forks the log",
        )
        .with_hint(
            "give the newest checkpoint that a witness, a client or an auditor holds with --expect FILE; or say \
             --accept-loss, where nobody has a later one or the loss is known",
        ));
    }
    let expected = args.expect.as_ref().map(|path| {
        std::fs::read(path)
            .map_err(|e| Failure::unavailable(format!("cannot read {}: {e}", path.display())))
    });
    let expected = expected.transpose()?;
    let location = args.location.location();
    let aim = Aim {
        location: &location,
        point: args.point.as_deref(),
        expected: expected.as_deref(),
        accept_loss: args.accept_loss,
    };
    let bar = progress::objects();
    let restored = backup::restore(&place, &aim, &ledger_options(), &|done, all| {
        bar.set_length(all);
        bar.set_position(done);
        true
    });
    bar.finish_and_clear();
    let restored = restored.map_err(failure)?;
    if json {
        println!("{}", json!(restored));
    } else {
        print(&restored, args);
    }
    Ok(if restored.made {
        Outcome::True
    } else {
        Outcome::False
    })
}

fn list(place: &Place, json: bool) -> Result<Outcome, Failure> {
    let points = place.points().map_err(failure)?;
    let mut all_read = true;
    let mut listed = Vec::new();
    for point in &points {
        match place.info(point) {
            Ok(info) => {
                if !json {
                    println!(
                        "{point}  {} records, {} of them published, root {}; {} files beside the ledger",
                        info.size + info.unpublished,
                        info.size,
                        info.root,
                        info.files
                    );
                }
                listed.push(json!(info));
            }
            Err(error) => {
                all_read = false;
                if !json {
                    println!("{point}  cannot be read: {error}");
                }
                listed.push(json!({ "point": point, "error": error.to_string() }));
            }
        }
    }
    if json {
        println!("{}", json!({ "points": listed }));
    } else if points.is_empty() {
        println!("No backup has been completed here.");
    }
    Ok(if all_read {
        Outcome::True
    } else {
        Outcome::False
    })
}

fn files(place: &Place, args: &Args, dir: &Path, json: bool) -> Result<Outcome, Failure> {
    let written = backup::restore_files(place, args.point.as_deref(), dir).map_err(failure)?;
    if json {
        println!("{}", json!({ "files": written }));
    } else if written.is_empty() {
        println!("No file beside the ledger is in this backup.");
    } else {
        for path in &written {
            println!("{}", path.display());
        }
    }
    Ok(Outcome::True)
}

fn check(place: &Place, args: &Args, json: bool) -> Result<Outcome, Failure> {
    let bar = progress::objects();
    let checked = backup::check(place, args.point.as_deref(), &|done, all| {
        bar.set_length(all);
        bar.set_position(done);
        true
    });
    bar.finish_and_clear();
    let checked = checked.map_err(failure)?;
    if json {
        println!("{}", json!(checked));
    } else if checked.sound {
        println!(
            "{} is whole: {} records hash to the root that the log signed, {}.",
            checked.info.point, checked.info.size, checked.computed_root
        );
    } else {
        println!(
            "{} is NOT what the log signed: its records hash to {}, the checkpoint says {}.",
            checked.info.point, checked.computed_root, checked.info.root
        );
    }
    Ok(if checked.sound {
        Outcome::True
    } else {
        Outcome::False
    })
}

fn print(restored: &Restored, args: &Args) {
    println!("{}", restored.origin);
    match restored.size {
        0 => println!("  published    no record, root {}", restored.root),
        size => println!(
            "  published    records 0 to {}, root {}",
            size - 1,
            restored.root
        ),
    }
    if restored.unpublished > 0 {
        println!(
            "  acknowledged records {} to {}, which the first start publishes",
            restored.size,
            restored.next_index - 1
        );
    }
    println!(
        "  besides      {} subject keys, {} tokens, {} open jobs",
        restored.subject_keys, restored.tokens, restored.jobs
    );
    let streams = restored
        .runs
        .iter()
        .flat_map(|run| run.streams.iter().map(move |stream| (run, stream)));
    for (run, stream) in streams.clone().take(MAX_PRINTED) {
        println!(
            "  {}  {}/{}: {} records, head {}",
            run.name.as_deref().unwrap_or("ledger"),
            run.run,
            stream.stream,
            stream.records,
            stream.head
        );
    }
    let more = streams.count().saturating_sub(MAX_PRINTED);
    if more > 0 {
        println!("  and {more} streams more; --json lists them");
    }
    for finding in &restored.check.findings {
        println!("  WRONG  {}: {}", finding.what, finding.detail);
    }
    for what in &restored.check.unchecked {
        println!("  unchecked  {what}");
    }
    if let Some(expected) = &restored.expected {
        if expected.missing > 0 {
            println!(
                "  MISSING  records {} to {}: the checkpoint of {} records covers them, and this backup was made before",
                restored.next_index,
                expected.size - 1,
                expected.size
            );
        } else if expected.agrees == Some(false) {
            println!(
                "  CONTRADICTED  the records here do not hash to the root of the checkpoint of {} records: it is of another history",
                expected.size
            );
        } else {
            println!(
                "  nothing is missing that the checkpoint of {} records covers",
                expected.size
            );
        }
    }
    let dir = args.location.data_dir.display();
    if !restored.made {
        println!("It is NOT put to use: {dir} is no ledger. Remove it, or give another backup.");
        if restored.check.is_sound()
            && let Some(expected) = restored.expected.as_ref().filter(|e| e.missing > 0)
        {
            println!(
                "Look for what is missing first: the old server's disk, a mirror, the clients' spools. A ledger that goes on from \
                 {} contradicts the checkpoint of {}: to do so all the same, give --accept-loss; better is a new ledger that \
                 names this one (docs/operations/backup.md).",
                restored.next_index, expected.size
            );
        }
        return;
    }
    println!(
        "It holds together, and {dir} is a ledger. Its first start records that it was restored (incident.reported)."
    );
    if restored.expected.as_ref().is_none_or(|e| !e.is_met()) {
        println!(
            "WARNING: what the old ledger published beyond record {} is contradicted by what this one appends. Witnesses and clients \
             that hold a later checkpoint refuse it. Never serve the old one again.",
            restored.next_index.saturating_sub(1)
        );
    } else {
        println!("Never serve the old one again: two copies that both grow are a fork.");
    }
}
