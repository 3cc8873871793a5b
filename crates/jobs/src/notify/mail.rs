//! Mail, by SMTP. A message is a few headers of our own making and a text in base64, so that no server in between has
//! anything to encode.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Address, SmtpTransport, Transport};
use record::Timestamp;

use super::{Message, NotifyError};
use crate::error::Fault;

/// How long the relay may take for each step.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most characters of a line of base64 (RFC 2045).
const LINE: usize = 76;

/// How the connection to the relay is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// TLS from the first byte, port 465.
    Tls,
    /// TLS after `STARTTLS`, port 587; without it nothing is sent.
    StartTls,
    /// None, port 25: for a relay on this machine.
    None,
}

/// Who gets mail, and through which relay.
pub struct Mail {
    /// What it is called.
    pub name: String,
    /// Of which events; none: all.
    pub events: Vec<String>,
    envelope: Envelope,
    relay: String,
    transport: SmtpTransport,
}

/// What a relay is reached with.
#[derive(Debug, Clone, Copy)]
pub struct Relay<'a> {
    /// Its name.
    pub host: &'a str,
    /// Its port, if not the usual one.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub tls: MailTls,
    /// User and password.
    pub login: Option<(&'a str, &'a str)>,
}

impl Mail {
    /// Mail from `from` to all of `to`.
    ///
    /// # Errors
    /// [`NotifyError`].
    pub fn new(
        name: impl Into<String>,
        relay: Relay<'_>,
        from: &str,
        to: &[String],
        events: Vec<String>,
    ) -> Result<Self, NotifyError> {
        let address = |text: &str| {
            text.parse::<Address>()
                .map_err(|error| NotifyError::Address(text.to_owned(), error.to_string()))
        };
        let to: Vec<Address> = to
            .iter()
            .map(|text| address(text))
            .collect::<Result<_, _>>()?;
        let envelope = Envelope::new(Some(address(from)?), to)
            .map_err(|error| NotifyError::Address("to".to_owned(), error.to_string()))?;
        let unusable = |error: lettre::transport::smtp::Error| {
            NotifyError::Relay(relay.host.to_owned(), error.to_string())
        };
        let mut builder = match relay.tls {
            MailTls::Tls => SmtpTransport::relay(relay.host).map_err(unusable)?,
            MailTls::StartTls => SmtpTransport::starttls_relay(relay.host).map_err(unusable)?,
            MailTls::None => SmtpTransport::builder_dangerous(relay.host),
        };
        builder = builder.timeout(Some(PATIENCE));
        if let Some(port) = relay.port {
            builder = builder.port(port);
        }
        if let Some((user, password)) = relay.login {
            builder = builder.credentials(Credentials::new(user.to_owned(), password.to_owned()));
        }
        Ok(Self {
            name: name.into(),
            events,
            envelope,
            relay: relay.host.to_owned(),
            transport: builder.build(),
        })
    }

    pub(super) fn send(
        &self,
        message: &Message,
        origin: &str,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let mail = self.written(message, origin, now);
        match self.transport.send_raw(&self.envelope, mail.as_bytes()) {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(Fault::Dead(format!(
                "the relay {} refuses the mail: {error}",
                self.relay
            ))),
            Err(error) => Err(Fault::Retry(format!(
                "the relay {} did not take the mail: {error}",
                self.relay
            ))),
        }
    }

    /// The message as it is sent (RFC 5322).
    fn written(&self, message: &Message, origin: &str, now: Timestamp) -> String {
        let (event, host) = (&message.event, plain(origin));
        let data = serde_json::to_string_pretty(&message.data).unwrap_or_default();
        let text = format!(
            "{event} at {origin}, seen {}.\n\n{data}\n\nWhat it means and what to do: docs/operations/jobs.md.\n",
            message.time
        );
        let written = DateTime::<Utc>::from_timestamp_micros(now.0).unwrap_or_default();
        let from = self
            .envelope
            .from()
            .map_or(String::new(), ToString::to_string);
        let to: Vec<String> = self.envelope.to().iter().map(ToString::to_string).collect();
        let mut mail = format!(
            "From: {from}\r\nTo: {}\r\nSubject: [rlhf-audit] {event} at {host}\r\nDate: {}\r\nMessage-ID: <{}@{host}>\r\n\
             Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n",
            to.join(",\r\n "),
            written.to_rfc2822(),
            // A mail that comes twice is the same.
            plain(&message.id),
        );
        let encoded = STANDARD.encode(text);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE));
            mail.push_str(line);
            mail.push_str("\r\n");
            rest = after;
        }
        mail
    }
}

/// What may stand in a header and in a message's id.
fn plain(origin: &str) -> String {
    let keep = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
            c
        } else {
            '.'
        }
    };
    origin.chars().map(keep).collect()
}

impl std::fmt::Debug for Mail {
    /// Without addresses and password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail")
            .field("name", &self.name)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_short_lines_and_no_header_of_others() {
        let relay = Relay {
            host: "localhost",
            port: Some(25),
            tls: MailTls::None,
            login: None,
        };
        let to = ["ops@example.org".to_owned(), "more@example.org".to_owned()];
        let mail = Mail::new("mail", relay, "audit@example.org", &to, Vec::new()).unwrap();
        let message = Message {
            id: "dead-1\r\nBcc: x".to_owned(),
            event: "job.dead".to_owned(),
            time: "2026-11-23T08:00:00Z".to_owned(),
            data: serde_json::json!({ "reason": "ü\r\n.\r\n".repeat(90) }),
        };
        let text = mail.written(&message, "log.example/one", Timestamp(0));
        assert!(text.is_ascii());
        assert!(text.split("\r\n").all(|line| line.len() <= 98), "{text}");
        assert!(
            text.contains("\r\nTo: ops@example.org,\r\n more@example.org\r\n"),
            "{text}"
        );
        assert!(
            text.contains("\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\n"),
            "{text}"
        );
        assert!(!text.contains("\nBcc"), "{text}");
        assert!(Mail::new("mail", relay, "nobody", &to, Vec::new()).is_err());
        assert!(Mail::new("mail", relay, "audit@example.org", &[], Vec::new()).is_err());
    }
}
