//! Asking a time-stamping authority over HTTP (RFC 3161, section 3.4). What is asked and answered is
//! `verify::timestamp`'s.

use std::io::Read as _;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

use crate::error::ClientError;

/// The longest answer that is read.
const MAX_ANSWER_BYTES: u64 = 1 << 16;
/// In all. Nothing but a timestamp waits for it, and a server that stops waits no longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A time-stamping authority at a URL. One request, one answer: trying again is the caller's.
#[derive(Clone, Debug)]
pub struct TimeStampingAuthority {
    url: String,
    agent: Agent,
}

impl TimeStampingAuthority {
    /// The authority at `url`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`] if that is no http:// or https:// URL.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let bad = || ClientError::Url {
            url: url.to_owned(),
        };
        let uri: ureq::http::Uri = url.parse().map_err(|_| bad())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(bad());
        }
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
        let agent = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .user_agent(concat!("rlhf-audit/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        Ok(Self {
            url: url.to_owned(),
            agent,
        })
    }

    /// Sends a `TimeStampReq` (DER) and gives the `TimeStampResp`, unread.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unavailable`].
    pub fn ask(&self, request: &[u8]) -> Result<Vec<u8>, ClientError> {
        let unavailable = |why: String| ClientError::Unavailable {
            what: self.url.clone(),
            why,
            asked: None,
        };
        let response = self
            .agent
            .post(&self.url)
            .header("content-type", "application/timestamp-query")
            .header("accept", "application/timestamp-reply")
            .send(request)
            .map_err(|e| unavailable(e.to_string()))?;
        if response.status().as_u16() != 200 {
            return Err(unavailable(format!("it answered {}", response.status())));
        }
        let mut answer = Vec::new();
        response
            .into_body()
            .into_reader()
            .take(MAX_ANSWER_BYTES + 1)
            .read_to_end(&mut answer)
            .map_err(|e| unavailable(e.to_string()))?;
        Ok(answer)
    }
}
