//! `rlhf-audit migrate`: a ledger from one place to another.

use std::path::PathBuf;

use ledger::{Ledger, Location};
use serde_json::json;
use tlog::Policy;

use crate::location::{LocationArgs, object_options};
use crate::outcome::{Failure, Outcome};
use crate::place::{Place, ledger_failure, ledger_options};
use crate::progress;

/// Copy a ledger to another place, and verify it there; the old place stays as it is
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    from: LocationArgs,
    /// The new directory; it gets the keys, and all that has no URL
    #[arg(long, value_name = "DIR")]
    to_data_dir: PathBuf,
    /// The PostgreSQL database that takes journal, checkpoint and index
    #[arg(
        long,
        value_name = "URL",
        env = "RLHF_AUDIT_TO_DATABASE_URL",
        hide_env_values = true
    )]
    to_database_url: Option<String>,
    /// The object store that takes tiles, sealed values and documents
    #[arg(long, value_name = "URL")]
    to_objects: Option<String>,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let from = args.from.location();
    let to = Location {
        dir: args.to_data_dir.clone(),
        database_url: args.to_database_url.clone(),
        objects_url: args.to_objects.clone(),
        object_options: object_options(),
    };
    // Drawn on a terminal alone.
    let bar = progress::objects();
    let migrated = Ledger::migrate(&from, &to, &ledger_options(), &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let migrated = migrated.map_err(ledger_failure)?;

    let ledger = Ledger::open_at(&to, ledger_options()).map_err(ledger_failure)?;
    let policy = Policy::parse(ledger.policy().as_bytes()).map_err(Failure::unavailable)?;
    let opener = ledger.opener();
    let place = Place::serve(ledger)?;
    let source = place.log()?;
    let options = verify::Options {
        openings: Some(&opener),
        ..verify::Options::default()
    };
    let report = verify::log(&source, &policy, &options).map_err(Failure::unavailable)?;
    place.close()?;
    if json {
        let copied = json!({
            "records": migrated.records, "objects": migrated.objects, "bytes": migrated.bytes,
            "subject_keys": migrated.subject_keys, "tokens": migrated.tokens, "jobs": migrated.jobs,
        });
        println!("{}", json!({ "copied": copied, "verified": report }));
    } else {
        println!(
            "Copied {} records in {} objects ({} bytes), {} subject keys, {} tokens and {} open jobs (those of the past are left behind); verified at the new place:",
            migrated.records,
            migrated.objects,
            migrated.bytes,
            migrated.subject_keys,
            migrated.tokens,
            migrated.jobs
        );
        print!("{report}");
        println!(
            "The old place is as it was. Serve it no more: two copies that both grow are a fork."
        );
    }
    Ok(match report.verdict().exit_code() {
        0 => Outcome::True,
        _ => Outcome::False,
    })
}
