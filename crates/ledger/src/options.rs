//! What a ledger is opened with, and the file that says what it is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use record::kinds::{KeyPurpose, LedgerContinued};
use record::{Clock, Entropy, RunId};
use serde::{Deserialize, Serialize};

use crate::LedgerError;
use crate::cosign::Witnessing;
use crate::keys::Passphrase;

/// The version of the directory's layout.
const FORMAT: u32 = 1;

/// What a ledger is created or opened with.
#[derive(Clone)]
pub struct Options {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Draws keys, nonces and ids.
    pub entropy: Arc<dyn Entropy>,
    /// The least time between two checkpoints: 250 ms.
    pub publish_interval: Duration,
    /// Leave publishing to the other servers of a shared ledger, and do it only where none of them has for two seconds: for
    /// processes that have other work to do.
    pub standby: bool,
    /// The log's origin, for a new ledger; by default `rlhf-audit.internal/` and a random ULID.
    pub origin: Option<String>,
    /// Whose cosignatures the published checkpoints are to get.
    pub witnesses: Option<Witnessing>,
    /// What decrypts key files that are encrypted.
    pub passphrase: Arc<Passphrase>,
    /// Encrypt the keys of a new ledger under the passphrase.
    pub encrypt_keys: bool,
    /// The log that a new ledger goes on from.
    pub predecessor: Option<LedgerContinued>,
    /// The ledger is opened to change these keys, which [`crate::Ledger::rotate`] does: a key of this
    /// purpose that waits to take its place is no obstacle.
    pub rotating: Option<KeyPurpose>,
}

impl Options {
    /// The usual options.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            clock,
            entropy,
            publish_interval: Duration::from_millis(250),
            standby: false,
            origin: None,
            witnesses: None,
            passphrase: Arc::new(Passphrase::none()),
            encrypt_keys: false,
            predecessor: None,
            rotating: None,
        }
    }

    /// The origin of a new log: unique to it, so that no two logs can be taken for each other.
    pub(crate) fn new_origin(&self) -> String {
        self.origin.clone().unwrap_or_else(|| {
            let id = RunId::generate(&*self.clock, &*self.entropy);
            format!("rlhf-audit.internal/{}", id.as_str().to_ascii_lowercase())
        })
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("publish_interval", &self.publish_interval)
            .field("standby", &self.standby)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// `ledger.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The layout's version.
    format: u32,
    /// The log's origin.
    pub(crate) origin: String,
    /// The log it goes on from, which its first own record says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) predecessor: Option<LedgerContinued>,
}

impl Manifest {
    pub(crate) fn new(origin: String, predecessor: Option<LedgerContinued>) -> Self {
        Self {
            format: FORMAT,
            origin,
            predecessor,
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Two plain members always serialise.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|e| LedgerError::corrupt("ledger.json", e))?;
        if manifest.format == FORMAT {
            Ok(manifest)
        } else {
            let reason = format!(
                "format {} is not {FORMAT}, use its program",
                manifest.format
            );
            Err(LedgerError::corrupt("ledger.json", reason))
        }
    }
}
