//! `rlhf-audit bundle`: a run in one file.

use std::io::Write as _;
use std::path::PathBuf;

use client::BundleParts;
use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::place::{PlaceArgs, client_failure};

/// Write a run into one file with which it is verified offline
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run's name or id
    run: String,
    /// The file to write; an existing one is replaced
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Put the sealed values into it, in the clear, so that their commitments can be checked too
    #[arg(long)]
    openings: bool,
    /// Leave the attachments out, which may be large; `verify` says which are missing
    #[arg(long)]
    without_attachments: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let place = args.place.open()?;
    let parts = BundleParts {
        openings: args.openings,
        attachments: !args.without_attachments,
    };
    let bytes = write(&place.client, &args.run, parts, &args.output)?;
    if json {
        println!(
            "{}",
            json!({ "bundle": args.output, "bytes": bytes, "openings": args.openings })
        );
    } else {
        println!("Wrote {} ({bytes} bytes).", args.output.display());
        println!(
            "Check it, anywhere: rlhf-audit verify {} --policy POLICY",
            args.output.display()
        );
    }
    Ok(Outcome::True)
}

/// Downloads into a file beside `output` and moves it there when it is whole.
pub(crate) fn write(
    client: &client::Client,
    run: &str,
    parts: BundleParts,
    output: &std::path::Path,
) -> Result<u64, Failure> {
    let cannot =
        |e: std::io::Error| Failure::unavailable(format!("cannot write {}: {e}", output.display()));
    let directory = output
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or_else(|| std::path::Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(cannot)?;
    let bytes = {
        let mut buffered = std::io::BufWriter::new(file.as_file_mut());
        let bytes = client
            .bundle_with(run, parts, &mut buffered)
            .map_err(client_failure)?;
        buffered.flush().map_err(cannot)?;
        bytes
    };
    file.as_file().sync_all().map_err(cannot)?;
    file.persist(output).map_err(|e| cannot(e.error))?;
    Ok(bytes)
}
