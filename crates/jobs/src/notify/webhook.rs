//! Webhooks, signed as <https://www.standardwebhooks.com> has it: HMAC-SHA256 over id, time and body.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use record::Timestamp;
use serde_json::json;
use sha2::Sha256;
use ureq::tls::{RootCerts, TlsConfig};
use zeroize::Zeroizing;

use super::{Message, NotifyError};
use crate::error::Fault;

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// What secrets begin with.
const PREFIX: &str = "whsec_";
/// How long a secret's key is.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// An address to which events are posted.
pub struct Webhook {
    /// What it is called.
    pub name: String,
    /// Which events; none: all.
    pub events: Vec<String>,
    url: String,
    key: Zeroizing<Vec<u8>>,
}

impl Webhook {
    /// The webhook `name` at `url`; `secret` is `whsec_` and base64, which the receiver has too.
    ///
    /// # Errors
    /// [`NotifyError::Secret`].
    pub fn new(
        name: impl Into<String>,
        url: impl Into<String>,
        secret: &str,
        events: Vec<String>,
    ) -> Result<Self, NotifyError> {
        let name = name.into();
        let secret = secret.trim();
        let key = STANDARD
            .decode(secret.strip_prefix(PREFIX).unwrap_or(secret))
            .ok()
            .filter(|key| KEY_BYTES.contains(&key.len()))
            .ok_or_else(|| NotifyError::Secret(name.clone()))?;
        Ok(Self {
            name,
            events,
            url: url.into(),
            key: Zeroizing::new(key),
        })
    }

    pub(super) fn send(
        &self,
        message: &Message,
        origin: &str,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let body = json!({
            "type": message.event,
            "timestamp": message.time,
            "ledger": origin,
            "data": message.data,
        })
        .to_string();
        let seconds = now.0.div_euclid(1_000_000).to_string();
        // The authorities that the system trusts, or `SSL_CERT_FILE` names.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
        let agent = ureq::Agent::new_with_config(
            ureq::Agent::config_builder()
                .tls_config(tls.build())
                .timeout_global(Some(PATIENCE))
                .http_status_as_error(false)
                .max_redirects(0)
                .build(),
        );
        let answer = agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", &seconds)
            .header(
                "webhook-signature",
                self.signature(&message.id, &seconds, &body)?,
            )
            .send(body.as_str());
        let failed = |why: String| Fault::Retry(format!("the webhook `{}` {why}", self.name));
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            // Gone, and meant to be: the receiver has ended the subscription.
            Ok(answer) if answer.status() == 410 => Err(Fault::Dead(format!(
                "the webhook `{}` answered 410: it wants no more",
                self.name
            ))),
            Ok(answer) => Err(failed(format!("answered {}", answer.status()))),
            Err(error) => Err(failed(format!("could not be reached: {error}"))),
        }
    }

    fn signature(&self, id: &str, seconds: &str, body: &str) -> Result<String, Fault> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .map_err(|error| Fault::Dead(error.to_string()))?;
        for part in [id, ".", seconds, ".", body] {
            mac.update(part.as_bytes());
        }
        Ok(format!(
            "v1,{}",
            STANDARD.encode(mac.finalize().into_bytes())
        ))
    }
}

impl std::fmt::Debug for Webhook {
    /// Without the key, and without the URL, in which there may be another secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example that the specification's own libraries test with.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        let hook = Webhook::new("ops", "http://localhost", SECRET, Vec::new()).unwrap();
        let signature = hook.signature(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(
            signature.unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert!(!format!("{hook:?}").contains("MfKQ"));
    }

    #[test]
    fn secrets_have_enough_bytes() {
        for secret in ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!"] {
            assert!(Webhook::new("ops", "http://localhost", secret, Vec::new()).is_err());
        }
    }
}
