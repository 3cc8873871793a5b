//! `rlhf-audit card`: a run's model card, issued and recorded.

use std::path::PathBuf;

use client::CardFormat;
use serde_json::{Value, json};

use crate::outcome::{Failure, Outcome};
use crate::place::{PlaceArgs, client_failure};

/// Issue a run's model card
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run's name or id
    run: String,
    /// The file to write; .md, .html or .json decides the format. Without it, Markdown goes to the terminal
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show a draft and record nothing
    #[arg(long)]
    draft: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let format = match args
        .output
        .as_ref()
        .and_then(|path| path.extension())
        .and_then(|e| e.to_str())
    {
        Some("html" | "htm") => CardFormat::Html,
        Some("json") => CardFormat::Json,
        Some("md" | "markdown") => CardFormat::Markdown,
        None if args.output.is_none() => {
            if json {
                CardFormat::Json
            } else {
                CardFormat::Markdown
            }
        }
        _ => {
            return Err(Failure::input(
                "the card's file must end in .md, .html or .json",
            ));
        }
    };
    let place = args.place.open()?;
    let (text, index) = if args.draft {
        (
            place
                .client
                .card(&args.run, format)
                .map_err(client_failure)?,
            None,
        )
    } else {
        let issued = place.client.issue_card(&args.run).map_err(client_failure)?;
        let text = file_text(&issued, format).ok_or_else(|| {
            Failure::unavailable("the server's answer has no such card; is it of this version?")
        })?;
        (text, issued.get("index").and_then(Value::as_u64))
    };
    place.close()?;
    let Some(path) = &args.output else {
        print!("{text}");
        return Ok(Outcome::True);
    };
    std::fs::write(path, &text)
        .map_err(|e| Failure::unavailable(format!("cannot write {}: {e}", path.display())))?;
    if json {
        println!(
            "{}",
            json!({ "card": path, "bytes": text.len(), "document_issued": index })
        );
    } else {
        println!("Wrote {}.", path.display());
        if let Some(index) = index {
            println!(
                "Its digest is record #{index}: rlhf-audit verify --document {}",
                path.display()
            );
        }
    }
    Ok(Outcome::True)
}

/// The text of one of the issued files.
pub(crate) fn file_text(issued: &Value, format: CardFormat) -> Option<String> {
    let media_type = match format {
        CardFormat::Markdown => "text/markdown",
        CardFormat::Html => "text/html",
        CardFormat::Json => "application/json",
    };
    issued.get("files")?.as_array()?.iter().find_map(|file| {
        let found = file.get("media_type")?.as_str()?.starts_with(media_type);
        if found {
            Some(file.get("content")?.as_str()?.to_owned())
        } else {
            None
        }
    })
}
