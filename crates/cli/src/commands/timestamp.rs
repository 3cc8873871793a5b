//! `rlhf-audit timestamp`: a third party's word on when the checkpoint existed.

use std::path::PathBuf;

use client::TimeStampingAuthority;
use ledger::StampError;
use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::place::{client_failure, ledger_failure, open_ledger};

/// Have the checkpoint stamped by a time-stamping authority (RFC 3161), now
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The authority's URL
    #[arg(long, value_name = "URL", env = "RLHF_AUDIT_TSA")]
    tsa: String,
    /// The ledger's directory; a running server stamps by itself (`serve --tsa`)
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./audit-data",
        env = "RLHF_AUDIT_DATA_DIR"
    )]
    data_dir: PathBuf,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let authority = Authority::new(&args.tsa)?;
    let ledger = open_ledger(&args.data_dir)?;
    // Closing publishes what opening found, and the checkpoint of that is the one to stamp.
    ledger.close().map_err(ledger_failure)?;
    let stamped = ledger.timestamp(&authority).map_err(|error| match error {
        StampError::Empty => Failure::input(error),
        error => Failure::unavailable(error),
    })?;
    let place = args.data_dir.join("log/timestamps");
    match stamped {
        Some(info) if json => println!(
            "{}",
            json!({
                "size": info.size,
                "before": info.before.to_string(),
                "authority": info.authority,
                "file": place.join(format!("{}.tsr", info.size)),
            })
        ),
        Some(info) => {
            println!(
                "The first {} entries existed before {}, says {}.",
                info.size, info.before, info.authority
            );
            println!(
                "Check it: rlhf-audit verify {} --policy POLICY --tsa-ca ROOTS",
                args.data_dir.display()
            );
        }
        None if json => println!("{}", json!({ "size": null })),
        None => println!(
            "The checkpoint has a timestamp already: {}",
            place.display()
        ),
    }
    Ok(Outcome::True)
}

/// The authority for a ledger.
pub(crate) struct Authority(TimeStampingAuthority);

impl Authority {
    pub(crate) fn new(url: &str) -> Result<Self, Failure> {
        TimeStampingAuthority::new(url)
            .map(Self)
            .map_err(client_failure)
    }
}

impl ledger::TimestampAuthority for Authority {
    fn ask(&self, request: &[u8]) -> Result<Vec<u8>, String> {
        self.0.ask(request).map_err(|error| error.to_string())
    }
}
