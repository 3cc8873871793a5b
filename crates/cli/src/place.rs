//! Where the ledger is that a command works on: a data directory on this machine, or a server.
//!
//! A data directory is opened and served to this very process over loopback, so that every command goes through the
//! one interface that every user has, and there is one path to test. The session's token never leaves the process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::spool::Target;
use client::{Client, ClientError, Memory, RetryPolicy};
use ledger::{Ledger, LedgerError};
use record::SigningKey;
use server::{Embedded, EmbeddedError};

use crate::environment::{SystemClock, SystemEntropy};
use crate::location::LocationArgs;
use crate::outcome::Failure;
use crate::passphrase;

/// How long somebody at a terminal waits for a server that does not answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Where the ledger is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PlaceArgs {
    #[command(flatten)]
    pub(crate) location: LocationArgs,
    /// Talk to the server at this URL instead of opening the directory
    #[arg(long, value_name = "URL", env = "RLHF_AUDIT_SERVER")]
    pub(crate) server: Option<String>,
    /// The token for the server
    #[arg(
        long,
        value_name = "TOKEN",
        env = "RLHF_AUDIT_TOKEN",
        hide_env_values = true,
        requires = "server"
    )]
    pub(crate) token: Option<String>,
    /// The producer's signing key, made at its first use [default: keys/producer.ed25519 in the directory, or with
    /// --server ~/.config/rlhf-audit/producer.ed25519]
    #[arg(long, value_name = "FILE", env = "RLHF_AUDIT_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// Where the last checkpoint that each server showed is remembered: a server that shows one that does not follow
    /// from it is refused [default: ~/.config/rlhf-audit]
    #[arg(long, value_name = "DIR", env = "RLHF_AUDIT_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The log's policy, instead of trusting the keys that the server gives at first
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(crate) policy: Option<PathBuf>,
}

/// An opened place: a client, and the server behind it where that is our own.
pub(crate) struct Place {
    pub(crate) client: Client,
    embedded: Option<Embedded>,
}

impl PlaceArgs {
    /// Opens the place.
    pub(crate) fn open(&self) -> Result<Place, Failure> {
        match &self.server {
            Some(url) => {
                let client = Client::new(url, self.token.as_deref())
                    .map_err(client_failure)?
                    .with_retry(RetryPolicy {
                        total: PATIENCE,
                        ..RetryPolicy::default()
                    });
                let client = self.remembering(client)?;
                Ok(Place {
                    client,
                    embedded: None,
                })
            }
            None => self.open_embedded(),
        }
    }

    /// Where this user's state is kept, if anywhere.
    pub(crate) fn state(&self) -> Option<PathBuf> {
        self.state_dir.clone().or_else(configuration)
    }

    /// Opens the place without asking the server anything: for a spool, which is a witness of its own.
    pub(crate) fn open_unseen(&self) -> Result<Place, Failure> {
        match &self.server {
            Some(url) => {
                let client = Client::new(url, self.token.as_deref()).map_err(client_failure)?;
                Ok(Place {
                    client: client.with_retry(RetryPolicy {
                        total: PATIENCE,
                        ..RetryPolicy::default()
                    }),
                    embedded: None,
                })
            }
            None => self.open_embedded(),
        }
    }

    /// The place as a spool's server. What it showed is remembered beside what is spooled.
    pub(crate) fn target(&self, place: &Place) -> Result<Target, Failure> {
        let own = place.embedded.as_ref().map(Embedded::token);
        let token = own.or(self.token.as_deref()).map(str::to_owned);
        let mut target = Target::new(place.client.url(), token);
        let policy = self.policy.as_deref().map(crate::policy::read);
        target.policy = policy.transpose()?;
        Ok(target)
    }

    /// Makes the client a witness of the server's log.
    fn remembering(&self, client: Client) -> Result<Client, Failure> {
        let Some(dir) = self.state() else {
            eprintln!(
                "rlhf-audit: there is no home directory to remember checkpoints in, so a log that is rewritten goes \
                 unnoticed here; name a directory with --state-dir"
            );
            return Ok(client);
        };
        let mut memory = Memory::new(dir);
        if let Some(path) = &self.policy {
            memory = memory.with_policy(crate::policy::read(path)?);
        }
        match client.clone().remembering(memory) {
            // Nobody asked for it to be kept there.
            Err(error @ ClientError::Memory { .. }) if self.state_dir.is_none() => {
                eprintln!(
                    "rlhf-audit: {error}; a log that is rewritten goes unnoticed here; name a directory with --state-dir"
                );
                Ok(client)
            }
            remembering => remembering.map_err(client_failure),
        }
    }

    /// The producer's signing key, made where there is none.
    pub(crate) fn producer_key(&self) -> Result<SigningKey, Failure> {
        let path = self.producer_key_path()?;
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            std::fs::create_dir_all(parent).map_err(|e| {
                Failure::unavailable(format!("cannot create {}: {e}", parent.display()))
            })?;
        }
        let seed = if path.exists() {
            ledger::keys::read_with(&path, &passphrase::given())
        } else {
            ledger::keys::create(&path, &SystemEntropy)
        };
        seed.map(|seed| SigningKey::from_bytes(&seed))
            .map_err(ledger_failure)
    }

    /// With a server, the key is the user's own and lies in the user's configuration.
    fn producer_key_path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.key {
            return Ok(path.clone());
        }
        if self.server.is_none() {
            return Ok(self
                .location
                .data_dir
                .join("keys")
                .join(ledger::keys::PRODUCER_ED25519));
        }
        let configuration = configuration().ok_or_else(|| {
            Failure::input("there is no home directory to keep a producer's key in")
                .with_hint("name a key file with --key")
        })?;
        Ok(configuration.join(ledger::keys::PRODUCER_ED25519))
    }

    fn open_embedded(&self) -> Result<Place, Failure> {
        Place::serve(self.location.open()?)
    }
}

/// Where this user's keys and memories lie.
fn configuration() -> Option<PathBuf> {
    let directory = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")))?;
    Some(directory.join("rlhf-audit"))
}

/// Opens the ledger in a data directory.
pub(crate) fn open_ledger(data_dir: &Path) -> Result<Ledger, Failure> {
    Ledger::open(data_dir, ledger_options()).map_err(ledger_failure)
}

/// The options of a ledger that is opened by a process beside its servers, which publish.
pub(crate) fn standby_options() -> ledger::Options {
    let mut options = ledger_options();
    options.standby = true;
    // Nobody waits for what it publishes, and every look takes from what the servers have.
    options.publish_interval = std::time::Duration::from_secs(1);
    options
}

/// The options of every ledger that the command line opens.
pub(crate) fn ledger_options() -> ledger::Options {
    let mut options = ledger::Options::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
    options.passphrase = passphrase::given();
    options
}

impl Place {
    /// Serves a ledger to this process over loopback.
    pub(crate) fn serve(ledger: Ledger) -> Result<Self, Failure> {
        let embedded = Embedded::serve(ledger, &SystemEntropy).map_err(embedded_failure)?;
        let client =
            Client::new(&embedded.url(), Some(embedded.token())).map_err(client_failure)?;
        Ok(Self {
            client,
            embedded: Some(embedded),
        })
    }

    /// The log, as an auditor with a reader's token sees it.
    pub(crate) fn log(&self) -> Result<verify::Source, Failure> {
        let token = self.embedded.as_ref().map(Embedded::token);
        verify::Source::url(&format!("{}/log", self.client.url()), token)
            .map_err(Failure::unavailable)
    }

    /// The ledger itself, where it is open in this process.
    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.embedded.as_ref().map(Embedded::ledger)
    }

    /// Finishes: what was acknowledged is published before this returns, and a server that contradicted itself
    /// meanwhile is told of.
    pub(crate) fn close(mut self) -> Result<(), Failure> {
        self.client.conclude().map_err(client_failure)?;
        match self.embedded.take() {
            Some(embedded) => embedded.close().map_err(embedded_failure),
            None => Ok(()),
        }
    }
}

/// A failed call, with what to do where that is known.
pub(crate) fn client_failure(error: ClientError) -> Failure {
    match &error {
        ClientError::Refused(problem) if problem.status == 401 => {
            Failure::input(&error).with_hint("give a token with --token or RLHF_AUDIT_TOKEN")
        }
        ClientError::Contradiction { .. } => Failure::untrue(&error).with_hint(
            "keep the evidence, and ask whoever runs the log; what it acknowledges is worth nothing until this is \
             explained",
        ),
        ClientError::Refused(_) | ClientError::Url { .. } | ClientError::Record(_) => {
            Failure::input(error)
        }
        _ => Failure::unavailable(error),
    }
}

/// A ledger that could not be opened or closed.
pub(crate) fn ledger_failure(error: LedgerError) -> Failure {
    match error {
        LedgerError::PassphraseWrong { .. }
        | LedgerError::PassphraseShort
        | LedgerError::Rotation { .. }
        | LedgerError::Approval { .. }
        | LedgerError::Ended { .. } => Failure::input(error),
        error => {
            let remedy = remedy(&error);
            let failure = Failure::unavailable(error);
            match remedy {
                Some(remedy) => failure.with_hint(remedy),
                None => failure,
            }
        }
    }
}

/// What an operator does about stores that cannot be used.
fn remedy(error: &LedgerError) -> Option<String> {
    if error.is_denied() {
        let user = rustix::process::geteuid().as_raw();
        return Some(format!(
            "this runs as user {user}, who has to be able to write there: chown -R {user} the directory, or mount it \
             writable; in a container that is the volume, or choose its owner with --user"
        ));
    }
    if error.is_unavailable() {
        return Some(
            "see that it runs and that this machine reaches it; `rlhf-audit doctor database objects` tries it alone"
                .to_owned(),
        );
    }
    None
}

/// A ledger that could not be served, or not be closed.
fn embedded_failure(error: EmbeddedError) -> Failure {
    match error {
        EmbeddedError::Ledger(error) => ledger_failure(error),
        error => Failure::unavailable(error),
    }
}
