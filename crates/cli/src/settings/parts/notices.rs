//! `[[webhook]]` and `[[mail]]`: who is told when something is wrong.

use std::path::{Path, PathBuf};

use jobs::{EVENTS, Mail, MailTls, Relay, Target, Webhook};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Told, flat};
use crate::outcome::Failure;

/// An address to which events are posted.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct WebhookEntry {
    /// Its name, unlike that of any other webhook or relay
    name: String,
    /// The address. Who knows it may often post to it, so it is never shown
    #[schemars(extend("writeOnly" = true))]
    url: String,
    /// A file with the secret that signs: `whsec_` and base64 of 24 to 64 bytes
    secret_file: PathBuf,
    /// Of which events; none: all
    #[serde(default)]
    events: Vec<String>,
}

impl std::fmt::Debug for WebhookEntry {
    /// Without the URL.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookEntry")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A mail relay, and who gets mail through it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct MailEntry {
    /// Its name, unlike that of any other webhook or relay
    name: String,
    /// The relay's name, which its certificate has too
    host: String,
    /// Its port, where it is not the usual one
    port: Option<u16>,
    /// How the connection is protected
    #[serde(default)]
    tls: TlsEntry,
    /// Who logs in, with `password-file`
    user: Option<String>,
    /// A file with the password
    password_file: Option<PathBuf>,
    /// The sender's address
    from: String,
    /// The receivers' addresses
    to: Vec<String>,
    /// Of which events; none: all
    #[serde(default)]
    events: Vec<String>,
}

/// How the connection to a relay is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum TlsEntry {
    /// TLS from the first byte, port 465
    #[default]
    Tls,
    /// TLS after STARTTLS, port 587; without it nothing is sent
    StartTls,
    /// None, port 25: for a relay on this machine
    None,
}

/// What can be said of them without the files that they name.
pub(super) fn checks(webhooks: &[WebhookEntry], mails: &[MailEntry]) -> Vec<Result<(), String>> {
    let names: Vec<&String> = webhooks
        .iter()
        .map(|hook| &hook.name)
        .chain(mails.iter().map(|mail| &mail.name))
        .collect();
    let mut twice = Ok(());
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            twice = Err(format!("two targets are called `{name}`"));
        }
    }
    let webhooks = webhooks.iter().map(WebhookEntry::check);
    let mails = mails
        .iter()
        .map(|mail| mail.mail(mail.password_file.as_ref().map(|_| "")).map(drop));
    webhooks.chain(mails).chain([twice]).collect()
}

/// The targets, with their secrets.
pub(super) fn targets(
    webhooks: &[WebhookEntry],
    mails: &[MailEntry],
) -> Result<Vec<Target>, Failure> {
    let mut targets = Vec::new();
    for entry in webhooks {
        let secret = secret(&entry.secret_file)?;
        let hook = Webhook::new(&entry.name, &entry.url, &secret, entry.events.clone());
        targets.push(Target::Webhook(hook.map_err(Failure::input)?));
    }
    for entry in mails {
        let password = entry.password_file.as_deref().map(secret).transpose()?;
        let mail = entry.mail(password.as_deref()).map_err(Failure::input)?;
        targets.push(Target::Mail(Box::new(mail)));
    }
    Ok(targets)
}

/// What the file says of them; where to post to is nobody's business.
pub(super) fn told(webhooks: &[WebhookEntry], mails: &[MailEntry], told: &mut Vec<Told>) {
    let webhooks = webhooks.iter().map(|hook| {
        (
            format!("webhook.{}", hook.name),
            serde_json::to_value(hook).unwrap_or_default(),
        )
    });
    let mails = mails.iter().map(|mail| {
        (
            format!("mail.{}", mail.name),
            serde_json::to_value(mail).unwrap_or_default(),
        )
    });
    for (path, mut value) in webhooks.chain(mails) {
        if let Some(members) = value.as_object_mut() {
            members.remove("name");
        }
        let mut values = Vec::new();
        flat(&path, &value, &mut values);
        let url = format!("{path}.url");
        told.extend(values.into_iter().map(|(key, value)| Told {
            secret: key == url,
            key,
            value,
            given: true,
        }));
    }
}

fn secret(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::unavailable(format!("cannot read {}: {error}", path.display()))
    })?;
    Ok(text.trim().to_owned())
}

fn are_events(name: &str, events: &[String]) -> Result<(), String> {
    let unknown = events
        .iter()
        .find(|event| !EVENTS.contains(&event.as_str()));
    unknown.map_or(Ok(()), |unknown| {
        let all = EVENTS.join(", ");
        Err(format!(
            "the target `{name}` wants `{unknown}`, and there is no such event; the events are {all}"
        ))
    })
}

impl WebhookEntry {
    fn check(&self) -> Result<(), String> {
        if !(self.url.starts_with("https://") || self.url.starts_with("http://")) {
            let name = &self.name;
            return Err(format!(
                "the webhook `{name}` has no http:// or https:// URL"
            ));
        }
        are_events(&self.name, &self.events)
    }
}

impl MailEntry {
    fn mail(&self, password: Option<&str>) -> Result<Mail, String> {
        are_events(&self.name, &self.events)?;
        let login = match (self.user.as_deref(), password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => {
                let name = &self.name;
                return Err(format!(
                    "the mail target `{name}` has one of user and password-file; give both or none"
                ));
            }
        };
        let relay = Relay {
            host: &self.host,
            port: self.port,
            tls: match self.tls {
                TlsEntry::Tls => MailTls::Tls,
                TlsEntry::StartTls => MailTls::StartTls,
                TlsEntry::None => MailTls::None,
            },
            login,
        };
        let events = self.events.clone();
        Mail::new(&self.name, relay, &self.from, &self.to, events).map_err(|e| e.to_string())
    }
}
