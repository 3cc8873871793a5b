//! `rlhf-audit append`: events from standard input become records.

use std::io::BufRead as _;

use record::Draft;
use serde_json::{Value, json};

use crate::outcome::{Failure, Outcome};
use crate::place::{PlaceArgs, client_failure};
use crate::producer::Producer;

/// The longest line that is read: a record and the largest sealed values a kind has room for.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// Record events read from standard input, one JSON object a line:
/// {"kind":"…","body":{…},"sealed":{"prompt":"…"}}
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run's name or id
    #[arg(long)]
    run: String,
    /// The stream to write to; it is opened at its first use
    #[arg(long, default_value = "cli")]
    stream: String,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let drafts = read_drafts(std::io::stdin().lock())?;
    if drafts.is_empty() {
        return Err(Failure::input("standard input held no events")
            .with_hint(r#"one a line: {"kind":"metric.logged","body":{"metrics":{"loss":0.5}}}"#));
    }
    let place = args.place.open()?;
    let found = place.client.run(&args.run).map_err(client_failure)?;
    let key = args.place.producer_key()?;
    let (mut producer, _) = Producer::resume(&place.client, found.run, &args.stream, key)?;
    let count = drafts.len();
    for draft in drafts {
        producer.record(draft)?;
    }
    let written = producer.close()?;
    place.close()?;
    if json {
        println!(
            "{}",
            json!({
                "run": found.run, "events": count, "records": written.records,
                "first": written.first, "last": written.last,
            })
        );
    } else if let (Some(first), Some(last)) = (written.first, written.last) {
        println!(
            "Recorded {count} events of {} as #{first} to #{last} (with what the stream adds).",
            found.name
        );
    }
    Ok(Outcome::True)
}

/// All events, checked; a bad one means that none is recorded.
fn read_drafts(mut input: impl std::io::BufRead) -> Result<Vec<Draft>, Failure> {
    let mut drafts = Vec::new();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let read = (&mut input)
            .take_line(&mut line)
            .map_err(|e| Failure::input(format!("standard input, line {number}: {e}")))?;
        if read == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(&line).map_err(|e| {
            Failure::input(format!(
                "standard input, line {number}: {e}; nothing was recorded"
            ))
        })?;
        let draft = Draft::from_json(&value).map_err(|e| {
            Failure::input(format!(
                "standard input, line {number}: {e}; nothing was recorded"
            ))
        })?;
        drafts.push(draft);
    }
    Ok(drafts)
}

trait TakeLine {
    fn take_line(self, line: &mut String) -> std::io::Result<usize>;
}

impl<R: std::io::BufRead> TakeLine for &mut R {
    fn take_line(self, line: &mut String) -> std::io::Result<usize> {
        use std::io::Read as _;
        let read = self.take(MAX_LINE_BYTES).read_line(line)?;
        if read as u64 == MAX_LINE_BYTES && !line.ends_with('\n') {
            return Err(std::io::Error::other(format!(
                "the line is longer than {MAX_LINE_BYTES} bytes"
            )));
        }
        Ok(read)
    }
}
