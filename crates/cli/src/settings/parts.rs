//! What the configuration file has beside options: tables of schedules, of who is told, and of thresholds.
//!
//! No secret stands in them: a webhook's and a mail relay's are in files that they name, read by [`Parts::work`].

mod keeping;
mod notices;
mod schedules;
mod unknown;

use std::path::{Path, PathBuf};

use jobs::Patience;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use toml::Table;

use self::keeping::{BackupEntry, ExportEntry};
use self::notices::{MailEntry, WebhookEntry};
use self::schedules::ScheduleEntry;
use crate::duration::duration;
use crate::outcome::Failure;

/// The tables of the configuration file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Parts {
    /// The file itself, where there is one.
    #[serde(skip)]
    pub(super) file: Option<PathBuf>,
    /// A job that is added again and again; one with the name of a usual one takes its place
    schedule: Vec<ScheduleEntry>,
    /// An address to which events are posted
    webhook: Vec<WebhookEntry>,
    /// A mail relay, and who gets mail through it
    mail: Vec<MailEntry>,
    /// How long something may take before somebody is told
    patience: PatienceEntry,
    /// Where backups go
    backup: Option<BackupEntry>,
    /// Where exports go
    export: Option<ExportEntry>,
    /// Thresholds of the rules that watch over training
    watch: server::WatchSettings,
}

/// How long something may take before somebody is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct PatienceEntry {
    /// From a durable record to a checkpoint that covers it, such as 5m
    checkpoint: String,
    /// From a checkpoint to a quorum of cosignatures, where there are witnesses
    cosignature: String,
}

impl Default for PatienceEntry {
    fn default() -> Self {
        Self {
            checkpoint: "5m".to_owned(),
            cosignature: "15m".to_owned(),
        }
    }
}

impl PatienceEntry {
    fn patience(&self) -> Result<Patience, String> {
        let time = |what: &str, text: &str| {
            duration(text).map_err(|error| format!("patience.{what}: `{text}`: {error}"))
        };
        Ok(Patience {
            checkpoint: time("checkpoint", &self.checkpoint)?,
            cosignature: time("cosignature", &self.cosignature)?,
        })
    }
}

/// One value of a part, as it is shown.
pub(crate) struct Told {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) secret: bool,
    /// The file says it, not the program.
    pub(crate) given: bool,
}

impl Parts {
    /// The JSON Schema of the tables.
    pub(crate) fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// What the tables are called; no option is called so.
    pub(crate) const NAMES: [&str; 7] = [
        "backup", "export", "mail", "patience", "schedule", "watch", "webhook",
    ];

    /// Reads the tables.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(crate) fn read(tables: &Table) -> Result<Self, Vec<String>> {
        let faults = unknown::of(tables, &Self::schema());
        if !faults.is_empty() {
            return Err(faults);
        }
        let value = toml::Value::Table(tables.clone());
        let parts: Self = value.try_into().map_err(|error: toml::de::Error| {
            let text = error.to_string();
            let words: Vec<&str> = text.split_whitespace().collect();
            vec![words.join(" ")]
        })?;
        let faults = parts.faults();
        if faults.is_empty() {
            Ok(parts)
        } else {
            Err(faults)
        }
    }

    fn faults(&self) -> Vec<String> {
        let schedules = self.schedule.iter().map(|entry| entry.schedule().map(drop));
        let patience = self.patience.patience().map(drop);
        let watch = self.watch.check().map_err(|e| format!("watch.{e}"));
        let backup = self.backup.as_ref().map_or(Ok(()), BackupEntry::check);
        let export = self.export.as_ref().map_or(Ok(()), ExportEntry::check);
        let rest = [patience, watch, backup, export];
        let notices = notices::checks(&self.webhook, &self.mail);
        schedules
            .chain(notices)
            .chain(rest)
            .filter_map(Result::err)
            .collect()
    }

    /// What jobs are done with; reads the files that hold secrets.
    ///
    /// # Errors
    /// Such a file cannot be read, or holds none.
    pub(crate) fn work(&self) -> Result<jobs::Settings, Failure> {
        Ok(jobs::Settings {
            schedules: schedules::all(&self.schedule).map_err(Failure::input)?,
            targets: notices::targets(&self.webhook, &self.mail)?,
            patience: self.patience.patience().map_err(Failure::input)?,
            backup: self
                .backup
                .as_ref()
                .map(|backup| backup.plan(self.file()))
                .transpose()?,
            export: self.export.as_ref().map(ExportEntry::plan).transpose()?,
        })
    }

    /// The file that says it.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The thresholds of the watch over training.
    pub(crate) fn watch(&self) -> server::WatchSettings {
        self.watch.clone()
    }

    /// Everything that a command has from here.
    pub(crate) fn told(&self, command: &str) -> Vec<Told> {
        let mut told = Vec::new();
        if !matches!(command, "serve" | "worker" | "scheduler" | "jobs run") {
            return told;
        }
        schedules::told(&self.schedule, &mut told);
        notices::told(&self.webhook, &self.mail, &mut told);
        keeping::told(self.backup.as_ref(), self.export.as_ref(), &mut told);
        beside_default("patience", &self.patience, &mut told);
        if command == "serve" {
            beside_default("watch", &self.watch, &mut told);
        }
        told
    }
}

/// The values of a table, and whether they are the program's own.
fn beside_default<T: Serialize + Default>(name: &str, table: &T, told: &mut Vec<Told>) {
    // Texts and numbers always serialise.
    let [usual, found] =
        [&T::default(), table].map(|table| serde_json::to_value(table).unwrap_or_default());
    let mut default = Vec::new();
    flat(name, &usual, &mut default);
    let mut values = Vec::new();
    flat(name, &found, &mut values);
    told.extend(values.into_iter().map(|(key, value)| Told {
        given: !default.contains(&(key.clone(), value.clone())),
        key,
        value,
        secret: false,
    }));
}

/// The values of a table, each under its path.
fn flat(path: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (name, member) in members {
                flat(&format!("{path}.{name}"), member, into);
            }
        }
        Value::Array(items) => {
            let texts = items.iter().map(|item| match item {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            into.push((path.to_owned(), texts.collect::<Vec<_>>().join(",")));
        }
        Value::String(text) => into.push((path.to_owned(), text.clone())),
        other => into.push((path.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Parts, String> {
        let table: Table = text.parse().unwrap();
        Parts::read(&table).map_err(|faults| faults.join("; "))
    }

    #[test]
    fn schedules_are_added_replaced_and_switched_off() {
        let parts = read(
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
            [patience]
            checkpoint = "90s"
            [watch.kl]
            h = 30
            "#,
        )
        .unwrap();
        let work = parts.work().unwrap();
        let mut names: Vec<_> = work.schedules.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["cards", "integrity-whole", "watch"]);
        assert_eq!(work.patience.checkpoint.as_secs(), 90);
        assert_eq!(work.patience.cosignature.as_secs(), 900);
        assert!((parts.watch().kl.h - 30.0).abs() < f64::EPSILON);
        let told = parts.told("serve");
        let told = |key: &str| {
            let told = told.iter().find(|told| told.key == key);
            told.map(|told| (told.value.as_str(), told.given))
        };
        assert_eq!(told("schedule.watch.every"), Some(("30s", true)));
        assert_eq!(told("schedule.integrity.off"), Some(("true", true)));
        assert_eq!(
            told("schedule.integrity-whole.cron"),
            Some(("17 3 * * *", false))
        );
        assert_eq!(told("watch.kl.h"), Some(("30.0", true)));
        assert_eq!(told("watch.kl.k"), Some(("2.0", false)));
        assert_eq!(told("patience.cosignature"), Some(("15m", false)));
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
            (
                "[[webhook]]\nname = \"x\"\nurl = \"http://h\"\nsecret-file = \"s\"\nevents = [\"oops\"]",
                "oops",
            ),
            (
                "[[webhook]]\nname = \"x\"\nurl = \"ftp://h\"\nsecret-file = \"s\"",
                "http://",
            ),
            (
                "[[webhook]]\nname = \"x\"\nurl = \"http://h\"\nsecret = \"hush\"\nsecret-file = \"s\"",
                "`webhook[0].secret`",
            ),
            (
                "[[webhook]]\nname = \"x\"\nurl = \"http://h\"",
                "secret-file",
            ),
            ("[patience]\ncheckpoint = \"soon\"", "patience.checkpoint"),
            ("[watch.kl]\nalhpa = 1", "did you mean `alpha`?"),
            ("[watch.kl]\nalpha = 2", "watch.kl.alpha"),
            ("[watch]\nruns = \"many\"", "runs"),
            ("watch = 3", "watch"),
        ] {
            let refused = read(text).err().unwrap_or_default();
            assert!(refused.contains(named), "{text}: {refused}");
            assert!(!refused.contains("hush"), "{refused}");
        }
        let mut both = String::new();
        for _ in 0..2 {
            both += "[[webhook]]\nname = \"x\"\nurl = \"http://h\"\nsecret-file = \"s\"\n";
        }
        assert!(
            read(&both)
                .unwrap_err()
                .contains("two targets are called `x`")
        );
    }
}
