//! `rlhf-audit prove`: a record and the proof that it is in the log.

use std::path::PathBuf;

use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::place::{PlaceArgs, client_failure};

/// Show a record and prove that it is in the log
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A log index or a range of them, as a model card names them: 17, #17 or #17-#23
    #[arg(value_name = "INDEX", value_parser = parse_range)]
    range: (u64, u64),
    /// Write the proof (c2sp.org/tlog-proof) of a single index here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let (first, last) = args.range;
    if args.output.is_some() && first != last {
        return Err(Failure::input(
            "a proof file holds one proof; give a single index with -o",
        ));
    }
    let place = args.place.open()?;
    let mut proven = Vec::new();
    for index in first..=last {
        let logged = place.client.record(index).map_err(client_failure)?;
        let proof = place.client.proof(index).map_err(client_failure)?;
        if let Some(path) = &args.output {
            std::fs::write(path, &proof).map_err(|e| {
                Failure::unavailable(format!("cannot write {}: {e}", path.display()))
            })?;
        }
        if json {
            proven.push(json!({ "index": index, "leaf_hash": logged.leaf_hash, "record": logged.record, "proof": proof }));
        } else {
            println!("#{index}  {}", logged.leaf_hash);
            println!("{}", logged.record);
            println!();
            println!("{proof}");
        }
    }
    if json {
        println!("{}", json!({ "records": proven }));
    }
    Ok(Outcome::True)
}

fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let text = text.trim_matches(['[', ']']);
    let number = |part: &str| {
        part.trim_start_matches('#')
            .parse::<u64>()
            .map_err(|_| format!("`{part}` is no log index"))
    };
    let (first, last) = match text.split_once(['-', '–']) {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if first > last {
        return Err(format!("{first} comes after {last}"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_read_as_a_model_card_writes_it() {
        for (text, range) in [
            ("17", (17, 17)),
            ("#17", (17, 17)),
            ("[#1204–#1310]", (1204, 1310)),
            ("3-5", (3, 5)),
        ] {
            assert_eq!(parse_range(text), Ok(range), "{text}");
        }
        for wrong in ["", "x", "5-3", "#", "1-2-3", "-1"] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
    }
}
