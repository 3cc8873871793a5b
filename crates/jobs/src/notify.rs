//! Who is told when something is wrong, and how: webhooks and mail. Each event to each target is a job.

mod mail;
mod webhook;

use record::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use mail::{Mail, MailTls, Relay};
pub use webhook::Webhook;

use crate::Tools;
use crate::error::Fault;
use crate::kinds::Notification;
use crate::queue::new_job;

/// A check found that the log does not hold together.
pub(crate) const INTEGRITY_FAILED: &str = "integrity.failed";
/// Something in the records looks odd.
pub(crate) const FINDING_RAISED: &str = "finding.raised";
/// A job failed for good.
pub(crate) const JOB_DEAD: &str = "job.dead";
/// Records are durable, and no checkpoint covers them.
pub(crate) const CHECKPOINT_STALE: &str = "checkpoint.stale";
/// No quorum of witnesses has cosigned what is published.
pub(crate) const COSIGNATURE_MISSING: &str = "cosignature.missing";

/// Everything that somebody may be told of.
pub const EVENTS: [&str; 5] = [
    INTEGRITY_FAILED,
    FINDING_RAISED,
    JOB_DEAD,
    CHECKPOINT_STALE,
    COSIGNATURE_MISSING,
];

/// A target that cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// A secret that is none.
    #[error("the secret of the webhook `{0}` is not whsec_ and base64 of 24 to 64 bytes")]
    Secret(String),
    /// An address that is none.
    #[error("`{0}` is no mail address: {1}")]
    Address(String, String),
    /// A relay that cannot be used.
    #[error("the mail relay {0}: {1}")]
    Relay(String, String),
}

/// Who is told, and of what.
#[derive(Debug)]
pub enum Target {
    /// By HTTP.
    Webhook(Webhook),
    /// By SMTP.
    Mail(Box<Mail>),
}

impl Target {
    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Webhook(hook) => &hook.name,
            Self::Mail(mail) => &mail.name,
        }
    }

    fn wants(&self, event: &str) -> bool {
        let events = match self {
            Self::Webhook(hook) => &hook.events,
            Self::Mail(mail) => &mail.events,
        };
        events.is_empty() || events.iter().any(|wanted| wanted == event)
    }
}

/// Something to be told.
#[derive(Debug)]
pub(crate) struct Event {
    /// Its name: the same thing has the same, however often it is seen.
    pub(crate) id: String,
    /// Which of [`EVENTS`].
    pub(crate) name: &'static str,
    /// More. Nothing personal.
    pub(crate) data: Value,
}

/// What is sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) event: String,
    /// When it was seen first.
    pub(crate) time: String,
    pub(crate) data: Value,
}

/// Adds a job for each target that wants to hear of it. Gives how many were added.
pub(crate) fn raise(tools: &Tools, event: &Event) -> Result<u64, Fault> {
    let message = Message {
        id: event.id.clone(),
        event: event.name.to_owned(),
        time: tools.ledger.clock().now().to_string(),
        data: event.data.clone(),
    };
    let mut added = 0;
    let settings = tools.settings();
    for target in settings.targets.iter().filter(|t| t.wants(event.name)) {
        let payload = json!({ "target": target.name(), "message": message });
        let new = new_job(&tools.ledger, &Notification, payload, None)
            .map_err(|error| Fault::Retry(error.to_string()))?;
        added += u64::from(tools.queue.put(&new)?);
    }
    if added > 0 || settings.targets.is_empty() {
        tracing::warn!(event = event.name, id = event.id, data = %event.data, told = added, "something is wrong");
    }
    Ok(added)
}

/// Sends a message of the ledger `origin` to a target.
pub(crate) fn send(
    target: &Target,
    message: &Message,
    origin: &str,
    now: Timestamp,
) -> Result<(), Fault> {
    match target {
        Target::Webhook(hook) => hook.send(message, origin, now),
        Target::Mail(mail) => mail.send(message, origin, now),
    }
}
