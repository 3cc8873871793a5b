//! Telling somebody: an alert as JSON, by `POST` to a URL.

use std::thread;
use std::time::Duration;

use ureq::tls::{RootCerts, TlsConfig};

use crate::alert::Alert;

/// Tries at one look; what is left is tried again at the next.
const TRIES: u32 = 3;
const FIRST_REST: Duration = Duration::from_millis(500);

/// Where alerts go.
#[derive(Clone, Debug)]
pub(crate) struct Webhook {
    url: String,
    agent: ureq::Agent,
}

impl Webhook {
    pub(crate) fn new(url: &str) -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
        let agent = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .user_agent(concat!("rlhf-audit/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(Duration::from_secs(10)))
            .build()
            .into();
        Self {
            url: url.to_owned(),
            agent,
        }
    }

    /// Sends one alert; any 2xx answer takes it.
    pub(crate) fn send(&self, alert: &Alert) -> Result<(), String> {
        let mut why = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                thread::sleep(FIRST_REST * 4_u32.pow(attempt - 1));
            }
            match self.agent.post(&self.url).send_json(alert) {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => why = format!("it answered {}", answer.status()),
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }
}
