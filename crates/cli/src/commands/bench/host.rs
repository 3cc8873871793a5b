//! Where the load goes: a server that is there, or a ledger of the tool's own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use client::{Client, RetryPolicy};
use tlog::Policy;
use verify::{Options, Source, Verdict};

use super::own::Own;
use crate::outcome::Failure;
use crate::place::client_failure;
use crate::policy;

/// How long a server that does not answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the load goes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct HostArgs {
    /// Load the server at this URL (http://) instead of a ledger that is made for it and thrown away
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "data_dir",
        requires = "policy"
    )]
    server: Option<String>,
    /// The token for the server: of a producer for `append`, of a reader for `read`; an admin's does for both
    #[arg(
        long,
        value_name = "TOKEN",
        env = "RLHF_AUDIT_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// The server's policy file, with which what was read is checked
    #[arg(long, value_name = "FILE", requires = "server")]
    policy: Option<PathBuf>,
    /// Keep the ledger in this directory, or go on with the one that is there
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Make the ledger that is thrown away below this directory: it decides which disk is measured [default: the
    /// system's directory for temporary files]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["server", "data_dir"])]
    below: Option<PathBuf>,
}

/// An opened host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) url: String,
    pub(super) token: Option<String>,
    pub(super) policy: Policy,
    /// The server that the tool has started, if it has.
    pub(super) own: Option<Own>,
}

impl HostArgs {
    /// A ledger of the tool's own.
    pub(super) fn own(data_dir: Option<&Path>, below: Option<&Path>) -> Self {
        Self {
            server: None,
            token: None,
            policy: None,
            data_dir: data_dir.map(Path::to_owned),
            below: below.map(Path::to_owned),
        }
    }

    pub(super) fn open(&self) -> Result<Host, Failure> {
        if let Some(url) = &self.server {
            let path = self.policy.as_deref().unwrap_or(Path::new("policy"));
            return Ok(Host {
                url: url.trim_end_matches('/').to_owned(),
                token: self.token.clone(),
                policy: policy::read(path)?,
                own: None,
            });
        }
        let own = Own::start(self.data_dir.as_deref(), self.below.as_deref())?;
        Ok(Host {
            url: own.url.clone(),
            token: Some(own.token.clone()),
            policy: policy::read(&own.dir().join("policy"))?,
            own: Some(own),
        })
    }
}

impl Host {
    /// A client that tries once: what a server under load turns away is counted, not hidden.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.url, self.token.as_deref())
            .map(|client| client.with_retry(RetryPolicy::NEVER))
            .map_err(client_failure)
    }

    /// A client that has patience, for what comes before and after the load.
    pub(super) fn patient_client(&self) -> Result<Client, Failure> {
        let patience = RetryPolicy {
            total: PATIENCE,
            ..RetryPolicy::default()
        };
        Client::new(&self.url, self.token.as_deref())
            .map(|client| client.with_retry(patience))
            .map_err(client_failure)
    }

    /// What people are told it is.
    pub(super) fn name(&self) -> String {
        match &self.own {
            Some(own) => format!("a server of its own on {}", own.dir().display()),
            None => self.url.clone(),
        }
    }

    /// Stops the server, where it is the tool's own, and verifies the whole log.
    pub(super) fn verify(&mut self) -> Result<Verdict, Failure> {
        let source = match &mut self.own {
            Some(own) => {
                own.stop()?;
                Source::directory(own.dir())
            }
            None => Source::url(&format!("{}/log", self.url), self.token.as_deref()),
        };
        let source = source.map_err(Failure::unavailable)?;
        let report = verify::log(&source, &self.policy, &Options::default())
            .map_err(Failure::unavailable)?;
        if report.verdict() == Verdict::Failed {
            eprint!("{report}");
        }
        Ok(report.verdict())
    }
}

/// A verdict as it is printed.
pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Verified => "verified",
        Verdict::Failed => "failed",
        Verdict::Incomplete => "incomplete",
        Verdict::NothingToCheck => "nothing to check",
    }
}
