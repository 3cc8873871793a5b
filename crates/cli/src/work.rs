//! What a process needs that does jobs: where the bell is, and what the configuration file says of schedules and of who
//! is told when something is wrong.

use std::sync::Arc;

use jobs::{Queue, Tools};
use ledger::{Ledger, Location, TimestampAuthority};
use record::Entropy as _;

use crate::commands::timestamp::Authority;
use crate::environment::SystemEntropy;
use crate::outcome::Failure;
use crate::place::ledger_failure;
use crate::settings::{MOVED_JOBS, Parts};

/// What all have that add or do jobs.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WorkArgs {
    /// Wake workers through this Redis. Without one they look through the database; nothing is lost with it
    #[arg(
        long,
        value_name = "redis://HOST:PORT",
        env = "RLHF_AUDIT_REDIS_URL",
        hide_env_values = true
    )]
    redis_url: Option<String>,
    /// Where schedules, webhooks and mail were once
    #[arg(long, value_name = "FILE", hide = true, value_parser = moved)]
    jobs_config: Option<String>,
}

fn moved(_: &str) -> Result<String, &'static str> {
    Err(MOVED_JOBS)
}

/// What was read, before there is a ledger.
pub(crate) struct Plan {
    redis_url: Option<String>,
    settings: jobs::Settings,
}

impl WorkArgs {
    /// What is done, with the secrets that it takes.
    pub(crate) fn plan(&self, parts: &Parts) -> Result<Plan, Failure> {
        Ok(Plan {
            redis_url: self.redis_url.clone(),
            settings: parts.work()?,
        })
    }
}

impl Plan {
    /// What jobs of this ledger are done with.
    pub(crate) fn tools(
        self,
        ledger: &Ledger,
        location: &Location,
        tsa: Option<&str>,
    ) -> Result<Arc<Tools>, Failure> {
        let queue = match &self.redis_url {
            None => Queue::of(ledger),
            Some(url) => Queue::with_redis(ledger, url).map_err(Failure::input)?,
        };
        let authority = tsa.map(Authority::new).transpose()?;
        let authority = authority.map(|a| Arc::new(a) as Arc<dyn TimestampAuthority>);
        let tools = Tools::new(
            ledger.clone(),
            location.clone(),
            queue,
            authority,
            self.settings,
        );
        Ok(Arc::new(tools))
    }
}

/// Takes schedules, webhooks and mail from a configuration that was read again.
pub(crate) fn adjust(tools: &Tools, parts: &Parts) {
    match parts.work() {
        Ok(settings) => tools.adjust(settings),
        Err(error) => {
            tracing::error!(%error, "schedules, webhooks and mail stay as they were");
        }
    }
}

/// A name that no other process has: this machine's and a random one.
pub(crate) fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let mut random = [0; 4];
    SystemEntropy.fill(&mut random);
    let random = u32::from_le_bytes(random);
    let host = if host.is_empty() { "worker" } else { host };
    format!("{host}-{}-{random:08x}", std::process::id())
}

/// A ledger that could not be opened beside others.
pub(crate) fn shared_failure(error: ledger::LedgerError) -> Failure {
    let in_use = error.is_in_use();
    let failure = ledger_failure(error);
    if in_use {
        return failure.with_hint(
            "on the embedded stores `rlhf-audit serve` does the jobs itself; processes of their own need --database-url",
        );
    }
    failure
}
