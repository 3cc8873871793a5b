//! What a process needs that does jobs: where the bell is, who is told when something is wrong, what is done when.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use export::Format;
use jobs::{
    BackupPlan, EVENTS, ExportPlan, Mail, MailTls, Patience, Queue, Relay, Schedule, Target, Tools,
    Webhook, When,
};
use ledger::{Ledger, Location, TimestampAuthority};
use record::Entropy as _;
use serde::Deserialize;

use crate::commands::timestamp::Authority;
use crate::duration::duration;
use crate::environment::SystemEntropy;
use crate::location::object_options;
use crate::outcome::Failure;
use crate::passphrase;
use crate::place::ledger_failure;

/// What all have that add or do jobs.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WorkArgs {
    /// Wake workers through this Redis. Without one they look through the database; nothing is lost with it
    #[arg(
        long,
        value_name = "redis://HOST:PORT",
        env = "RLHF_AUDIT_REDIS_URL",
        hide_env_values = true
    )]
    redis_url: Option<String>,
    /// Schedules, webhooks and mail, as docs/operations/jobs.md has them
    #[arg(long, value_name = "FILE", env = "RLHF_AUDIT_JOBS_CONFIG")]
    jobs_config: Option<PathBuf>,
}

/// What was read, before there is a ledger.
pub(crate) struct Plan {
    redis_url: Option<String>,
    targets: Vec<Target>,
    pub(crate) schedules: Vec<Schedule>,
    patience: Patience,
    backup: Option<BackupEntry>,
    export: Option<ExportEntry>,
}

impl WorkArgs {
    /// Reads the configuration.
    pub(crate) fn plan(&self) -> Result<Plan, Failure> {
        let file = match &self.jobs_config {
            None => File::default(),
            Some(path) => {
                let wrong = |error: &dyn std::fmt::Display| {
                    Failure::input(format!("{}: {error}", path.display()))
                };
                let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
                toml::from_str(&text).map_err(|error| wrong(&error))?
            }
        };
        file.plan(self.redis_url.clone())
    }
}

impl Plan {
    /// What jobs of this ledger are done with.
    pub(crate) fn tools(
        self,
        ledger: &Ledger,
        location: &Location,
        tsa: Option<&str>,
    ) -> Result<(Arc<Tools>, Vec<Schedule>), Failure> {
        let queue = match &self.redis_url {
            None => Queue::of(ledger),
            Some(url) => Queue::with_redis(ledger, url).map_err(Failure::input)?,
        };
        let authority = tsa.map(Authority::new).transpose()?;
        let tools = Tools {
            ledger: ledger.clone(),
            queue,
            targets: self.targets,
            authority: authority.map(|a| Arc::new(a) as Arc<dyn TimestampAuthority>),
            patience: self.patience,
            backup: self.backup.map(|entry| entry.plan(location)).transpose()?,
            export: self.export.map(|entry| ExportPlan {
                place: entry.to,
                options: object_options(),
                format: entry.format,
            }),
        };
        Ok((Arc::new(tools), self.schedules))
    }
}

/// A name that no other process has: this machine's and a random one.
pub(crate) fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let mut random = [0; 4];
    SystemEntropy.fill(&mut random);
    let random = u32::from_le_bytes(random);
    let host = if host.is_empty() { "worker" } else { host };
    format!("{host}-{}-{random:08x}", std::process::id())
}

/// A ledger that could not be opened beside others.
pub(crate) fn shared_failure(error: ledger::LedgerError) -> Failure {
    let in_use = error.is_in_use();
    let failure = ledger_failure(error);
    if in_use {
        return failure.with_hint(
            "on the embedded stores `rlhf-audit serve` does the jobs itself; processes of their own need --database-url",
        );
    }
    failure
}

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    schedule: Vec<ScheduleEntry>,
    webhook: Vec<WebhookEntry>,
    mail: Vec<MailEntry>,
    watch: WatchEntry,
    backup: Option<BackupEntry>,
    export: Option<ExportEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportEntry {
    /// A directory, or an object store.
    to: String,
    #[serde(default = "parquet", deserialize_with = "format")]
    format: Format,
}

fn parquet() -> Format {
    Format::Parquet
}

fn format<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupEntry {
    /// A directory, or an object store.
    to: String,
    key_file: Option<PathBuf>,
    /// Nothing is encrypted.
    #[serde(default)]
    plain: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleEntry {
    name: String,
    kind: Option<String>,
    every: Option<String>,
    cron: Option<String>,
    #[serde(default)]
    payload: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    off: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookEntry {
    name: String,
    url: String,
    secret_file: PathBuf,
    #[serde(default)]
    events: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MailEntry {
    name: String,
    host: String,
    port: Option<u16>,
    #[serde(default)]
    tls: TlsEntry,
    user: Option<String>,
    password_file: Option<PathBuf>,
    from: String,
    to: Vec<String>,
    #[serde(default)]
    events: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TlsEntry {
    #[default]
    Tls,
    StartTls,
    None,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WatchEntry {
    checkpoint: Option<String>,
    cosignature: Option<String>,
}

impl File {
    fn plan(self, redis_url: Option<String>) -> Result<Plan, Failure> {
        let mut schedules = Schedule::usual();
        for entry in self.schedule {
            schedules.retain(|schedule| schedule.name != entry.name);
            if !entry.off {
                schedules.push(entry.schedule()?);
            }
        }
        let mut targets = Vec::new();
        for entry in self.webhook {
            targets.push(Target::Webhook(entry.webhook()?));
        }
        for entry in self.mail {
            targets.push(Target::Mail(Box::new(entry.mail()?)));
        }
        for (at, target) in targets.iter().enumerate() {
            if targets[..at]
                .iter()
                .any(|other| other.name() == target.name())
            {
                let name = target.name();
                return Err(Failure::input(format!("two targets are called `{name}`")));
            }
        }
        let mut patience = Patience::default();
        if let Some(time) = &self.watch.checkpoint {
            patience.checkpoint = time_of("watch.checkpoint", time)?;
        }
        if let Some(time) = &self.watch.cosignature {
            patience.cosignature = time_of("watch.cosignature", time)?;
        }
        Ok(Plan {
            redis_url,
            targets,
            schedules,
            patience,
            backup: self.backup,
            export: self.export,
        })
    }
}

impl BackupEntry {
    fn plan(self, location: &Location) -> Result<BackupPlan, Failure> {
        let key = match (&self.key_file, self.plain) {
            (Some(path), false) => {
                let seed = ledger::keys::read_with(path, &passphrase::given());
                let seed = seed.map_err(ledger_failure)?;
                backup::Key::new(&seed)
            }
            (None, true) => backup::Key::plain(),
            _ => {
                return Err(Failure::input(
                    "[backup] wants key_file = \"…\", or plain = true to encrypt nothing, private keys included",
                ));
            }
        };
        Ok(BackupPlan {
            location: location.clone(),
            place: self.to,
            options: object_options(),
            key,
        })
    }
}

fn time_of(what: &str, text: &str) -> Result<Duration, Failure> {
    duration(text).map_err(|error| Failure::input(format!("{what}: `{text}`: {error}")))
}

fn secret(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::unavailable(format!("cannot read {}: {error}", path.display()))
    })?;
    Ok(text.trim().to_owned())
}

fn checked(name: &str, events: Vec<String>) -> Result<Vec<String>, Failure> {
    match events
        .iter()
        .find(|event| !EVENTS.contains(&event.as_str()))
    {
        None => Ok(events),
        Some(unknown) => Err(Failure::input(format!(
            "the target `{name}` wants `{unknown}`, and there is no such event"
        ))
        .with_hint(format!("the events are {}", EVENTS.join(", ")))),
    }
}

impl ScheduleEntry {
    fn schedule(self) -> Result<Schedule, Failure> {
        let name = self.name;
        let wrong = |why: String| Failure::input(format!("the schedule `{name}`: {why}"));
        let when = match (&self.every, &self.cron) {
            (Some(every), None) => When::Every(time_of(&format!("the schedule `{name}`"), every)?),
            (None, Some(cron)) => When::cron(cron).map_err(|error| wrong(error.to_string()))?,
            _ => {
                return Err(wrong(
                    "give either every = \"10m\" or cron = \"…\"".to_owned(),
                ));
            }
        };
        let kind = self
            .kind
            .ok_or_else(|| wrong("it lacks `kind`".to_owned()))?;
        if !jobs::is_kind(&kind) {
            return Err(wrong(format!("no kind of job is called `{kind}`")));
        }
        Ok(Schedule {
            name,
            kind,
            payload: serde_json::Value::Object(self.payload),
            when,
        })
    }
}

impl WebhookEntry {
    fn webhook(self) -> Result<Webhook, Failure> {
        if !(self.url.starts_with("https://") || self.url.starts_with("http://")) {
            return Err(Failure::input(format!(
                "the webhook `{}` has no http:// or https:// URL",
                self.name
            )));
        }
        let events = checked(&self.name, self.events)?;
        Webhook::new(self.name, self.url, &secret(&self.secret_file)?, events)
            .map_err(Failure::input)
    }
}

impl MailEntry {
    fn mail(self) -> Result<Mail, Failure> {
        let events = checked(&self.name, self.events)?;
        let password = self.password_file.as_deref().map(secret).transpose()?;
        let login = match (&self.user, &password) {
            (Some(user), Some(password)) => Some((user.as_str(), password.as_str())),
            (None, None) => None,
            _ => {
                let name = &self.name;
                return Err(Failure::input(format!(
                    "the mail target `{name}` has one of user and password_file; give both or none"
                )));
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
        Mail::new(self.name, relay, &self.from, &self.to, events).map_err(Failure::input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        file.plan(None).map_err(|failure| failure.to_string())
    }

    #[test]
    fn schedules_are_added_replaced_and_switched_off() {
        let read = plan(
            r#"
            [[schedule]]
            name = "integrity"
            off = true
            [[schedule]]
            name = "watch"
            kind = "watch"
            every = "30s"
            [[schedule]]
            name = "cards"
            kind = "model-cards"
            cron = "0 4 * * *"
            [watch]
            checkpoint = "90s"
            "#,
        )
        .unwrap();
        let mut names: Vec<_> = read.schedules.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["cards", "integrity-whole", "watch"]);
        assert_eq!(read.patience.checkpoint, Duration::from_secs(90));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, named) in [
            ("[[schedule]]\nname = \"x\"\nkind = \"watch\"", "every"),
            (
                "[[schedule]]\nname = \"x\"\nkind = \"nope\"\nevery = \"1m\"",
                "nope",
            ),
            (
                "[[schedule]]\nname = \"x\"\nkind = \"watch\"\ncron = \"x\"",
                "cron",
            ),
            (
                "[[schedule]]\nname = \"x\"\nkind = \"watch\"\nevery = \"1w\"",
                "1w",
            ),
            ("[[webhoock]]\nname = \"x\"", "webhoock"),
            (
                "[[webhook]]\nname = \"x\"\nurl = \"http://h\"\nsecret_file = \"s\"\nevents = [\"oops\"]",
                "oops",
            ),
        ] {
            let refused = plan(text).err().unwrap_or_default();
            assert!(refused.contains(named), "{text}: {refused}");
        }
    }
}
