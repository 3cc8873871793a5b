//! One witness: where it is, whose cosignatures are expected from there, and how it has answered.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use record::Timestamp;
use tlog::{Policy, VerifierKey};
use ureq::tls::{RootCerts, TlsConfig};

/// A witness that does not answer is asked at least this often.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// How a witness has answered so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// When it last cosigned.
    pub(crate) last_success: Option<Timestamp>,
    /// The size that it cosigned last.
    pub(crate) size: Option<u64>,
    /// Requests that brought one.
    pub(crate) cosignatures: u64,
    /// Requests that brought no cosignature.
    pub(crate) failures: u64,
    /// Why the last one did not.
    pub(crate) error: Option<String>,
}

impl Report {
    /// It was never asked, or has not answered yet.
    pub(super) fn is_untried(&self) -> bool {
        self.size.is_none() && self.failures == 0
    }
}

/// An address from which cosignatures come.
#[derive(Debug)]
pub(crate) struct Witness {
    name: String,
    url: String,
    keys: Vec<VerifierKey>,
    agent: ureq::Agent,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    report: Report,
    busy: bool,
    /// The size that the witness is known to have: the next proof starts there.
    knows: Option<u64>,
    /// Failures in a row.
    row: u32,
    /// It is left alone until then.
    rest_until: Option<Instant>,
}

/// The witnesses of a policy that have a URL, one for each URL.
pub(super) fn of(policy: &Policy, origin: &str) -> Vec<Witness> {
    let mut found: Vec<Witness> = Vec::new();
    for witness in policy.witnesses().filter(|w| w.key.name() != origin) {
        let Some(url) = &witness.url else { continue };
        let url = String::from_utf8_lossy(url);
        let url = url.trim_end_matches('/');
        let name = String::from_utf8_lossy(&witness.name);
        if let Some(known) = found.iter_mut().find(|known| known.url == url) {
            // One witness with two keys.
            known.name = format!("{}+{name}", known.name);
            known.keys.push(witness.key.clone());
            continue;
        }
        found.push(Witness {
            name: name.into_owned(),
            url: url.to_owned(),
            keys: vec![witness.key.clone()],
            agent: agent(),
            state: Mutex::default(),
        });
    }
    found
}

fn agent() -> ureq::Agent {
    // The authorities that the system trusts, or `SSL_CERT_FILE` names.
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
    ureq::Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(Duration::from_secs(2)))
        .timeout_global(Some(Duration::from_secs(5)))
        .user_agent(concat!("rlhf-audit/", env!("CARGO_PKG_VERSION")))
        .build()
        .into()
}

impl Witness {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    pub(super) fn agent(&self) -> &ureq::Agent {
        &self.agent
    }

    pub(crate) fn report(&self) -> Report {
        self.state().report.clone()
    }

    pub(super) fn knows(&self) -> Option<u64> {
        self.state().knows
    }

    pub(super) fn learn(&self, size: u64) {
        self.state().knows = Some(size);
    }

    /// Whether to ask it about a log of `size` records now. If so it is busy until
    /// [`Witness::answered`].
    pub(super) fn is_due(&self, size: u64, now: Instant) -> bool {
        let mut state = self.state();
        let due = !state.busy
            && state.report.size.is_none_or(|cosigned| cosigned < size)
            && state.rest_until.is_none_or(|until| until <= now);
        state.busy |= due;
        due
    }

    /// It has answered: with a cosignature of so many records, with nothing new, or not.
    pub(super) fn answered(
        &self,
        outcome: Result<Option<u64>, String>,
        now: Timestamp,
        interval: Duration,
    ) {
        let mut state = self.state();
        state.busy = false;
        match outcome {
            Ok(size) => {
                state.row = 0;
                state.rest_until = None;
                state.report.error = None;
                state.report.last_success = Some(now);
                if let Some(size) = size {
                    state.knows = Some(size);
                    state.report.size = Some(size);
                    state.report.cosignatures += 1;
                }
            }
            Err(why) => {
                if state.report.error.as_ref() != Some(&why) {
                    tracing::warn!(witness = self.name, why, "no cosignature");
                }
                let rest = interval.saturating_mul(1 << state.row.min(8));
                state.rest_until = Some(Instant::now() + rest.min(LONGEST_REST.max(interval)));
                state.row = state.row.saturating_add(1);
                state.report.failures += 1;
                state.report.error = Some(why);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
