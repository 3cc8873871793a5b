//! Commands that record as long as they run: over a spool, so that what they accepted is on disk and arrives once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use client::Client;
use client::spool::{
    Durability, RunSpec, Spool, SpoolError, SpoolOptions, SpooledStream, WhenFull,
};
use record::kinds::RunStatus;
use record::{ProducerName, RunId};
use serde_json::json;

use crate::commands::run::parse_config;
use crate::environment::{SystemClock, SystemEntropy};
use crate::outcome::Failure;
use crate::place::{Place, PlaceArgs, client_failure};
use crate::producer::{PRODUCER, SOFTWARE, stream_name};

/// How long the end waits for the server to take what is left.
const FLUSH_WITHIN: Duration = Duration::from_mins(1);

/// Which run is recorded, and over which spool.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The run's name or id
    #[arg(long, required_unless_present = "name", conflicts_with = "name")]
    pub(crate) run: Option<String>,
    /// Start a run of this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The experiment that the new run belongs to
    #[arg(long, requires = "name")]
    experiment: Option<String>,
    /// The model that is trained
    #[arg(long, requires = "name")]
    model: Option<String>,
    /// A setting to record of the new run, as NAME=VALUE; may be repeated
    #[arg(long = "config", value_name = "NAME=VALUE", requires = "name")]
    config: Vec<String>,
    /// Seal the run at the end, as completed, failed or aborted
    #[arg(long, value_name = "STATUS", num_args = 0..=1, default_missing_value = "completed", value_parser = status)]
    pub(crate) seal: Option<RunStatus>,
    /// The most bytes that may wait for the server
    #[arg(long, value_name = "BYTES", default_value_t = client::spool::DEFAULT_LIMIT_BYTES)]
    spool_limit: u64,
    #[command(flatten)]
    place: PlaceArgs,
}

/// A spool, and the ledger behind it.
pub(crate) struct Spooled {
    pub(crate) spool: Spool,
    place: Place,
}

impl RunArgs {
    /// As the user called the run.
    pub(crate) fn called(&self) -> &str {
        self.run
            .as_deref()
            .or(self.name.as_deref())
            .unwrap_or_default()
    }

    /// Opens the spool in `dir`. The server need not be there.
    pub(crate) fn open(
        &self,
        dir: &Path,
        durability: Durability,
        when_full: WhenFull,
    ) -> Result<Spooled, Failure> {
        let place = self.place.open_unseen()?;
        let producer = ProducerName::parse(PRODUCER)
            .ok_or_else(|| Failure::input(format!("`{PRODUCER}` is no producer's name")))?;
        let mut options = SpoolOptions::new(
            dir,
            self.place.target(&place)?,
            producer,
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
        );
        options.limit_bytes = self.spool_limit;
        options.when_full = when_full;
        options.durability = durability;
        options.key = Some(self.place.producer_key()?);
        options.software = Some(SOFTWARE.to_owned());
        let spool = Spool::open(options).map_err(spool_failure)?;
        Ok(Spooled { spool, place })
    }

    /// The run that these arguments name, if they do not start one.
    pub(crate) fn find(&self, spooled: &Spooled) -> Result<Option<RunId>, Failure> {
        let Some(run) = &self.run else {
            return Ok(None);
        };
        if let Some(id) = RunId::parse(run) {
            return Ok(Some(id));
        }
        let found = spooled.client().run(run).map_err(client_failure)?;
        Ok(Some(found.run))
    }

    /// Starts the run.
    pub(crate) fn start(&self, spooled: &Spooled, stream: &str) -> Result<SpooledStream, Failure> {
        let mut spec = RunSpec::new(self.called(), stream_name(stream)?);
        spec.experiment.clone_from(&self.experiment);
        spec.model.clone_from(&self.model);
        spec.config = parse_config(&self.config)?;
        spooled.spool.start_run(spec).map_err(spool_failure)
    }
}

impl Spooled {
    /// For questions.
    pub(crate) fn client(&self) -> &Client {
        &self.place.client
    }

    /// A stream of a run.
    pub(crate) fn join(&self, run: RunId, stream: &str) -> Result<SpooledStream, Failure> {
        self.spool.join_run(run, stream).map_err(spool_failure)
    }

    /// Waits until the ledger has everything, and seals the run if that is wished.
    pub(crate) fn close(
        self,
        stream: &SpooledStream,
        seal: Option<RunStatus>,
    ) -> Result<(), Failure> {
        self.spool.flush(FLUSH_WITHIN).map_err(spool_failure)?;
        if let Some(status) = seal {
            stream.seal(status, FLUSH_WITHIN).map_err(spool_failure)?;
        }
        self.spool.close(FLUSH_WITHIN).map_err(spool_failure)?;
        self.place.close()
    }
}

/// Where a spool is kept unless the user says where: beside what it is for.
pub(crate) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".audit");
    PathBuf::from(name)
}

/// A spool that does not do what it is asked.
pub(crate) fn spool_failure(error: SpoolError) -> Failure {
    match error {
        SpoolError::Unavailable(error) | SpoolError::Server(error) => client_failure(*error),
        error @ SpoolError::Contradiction { .. } => Failure::untrue(error),
        error @ (SpoolError::Record { .. }
        | SpoolError::Kind { .. }
        | SpoolError::TooLarge { .. }
        | SpoolError::Closed { .. }
        | SpoolError::Name { .. }
        | SpoolError::Refused { .. }) => Failure::input(error),
        error @ SpoolError::Timeout { .. } => Failure::unavailable(error)
            .with_hint("nothing is lost: give the same command again once the server is back"),
        error => Failure::unavailable(error),
    }
}

fn status(text: &str) -> Result<RunStatus, String> {
    serde_json::from_value(json!(text))
        .map_err(|_| "expected completed, failed or aborted".to_owned())
}
