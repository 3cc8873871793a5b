//! `[[schedule]]`: what is done when.

use jobs::{Schedule, When};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Told, flat};
use crate::duration::duration;

/// A job that is added again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ScheduleEntry {
    /// Its name, by which it is remembered when it was last due
    name: String,
    /// The kind of job
    kind: Option<String>,
    /// From one to the next, such as 10m; counted from 1970
    every: Option<String>,
    /// A cron pattern in UTC, in place of `every`
    cron: Option<String>,
    /// What the job is told
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    payload: Map<String, Value>,
    /// It is not followed
    #[serde(default)]
    off: bool,
}

impl ScheduleEntry {
    /// The schedule; `None` where it is off.
    pub(super) fn schedule(&self) -> Result<Option<Schedule>, String> {
        if self.off {
            return Ok(None);
        }
        let name = &self.name;
        let wrong = |why: String| format!("the schedule `{name}`: {why}");
        let when = match (&self.every, &self.cron) {
            (Some(every), None) => duration(every)
                .map(When::Every)
                .map_err(|error| wrong(format!("`{every}`: {error}")))?,
            (None, Some(cron)) => When::cron(cron).map_err(|error| wrong(error.to_string()))?,
            _ => {
                return Err(wrong(
                    "give either every = \"10m\" or cron = \"…\"".to_owned(),
                ));
            }
        };
        let kind = self.kind.clone();
        let kind = kind.ok_or_else(|| wrong("it lacks `kind`".to_owned()))?;
        if !jobs::is_kind(&kind) {
            return Err(wrong(format!("no kind of job is called `{kind}`")));
        }
        Ok(Some(Schedule {
            name: name.clone(),
            kind,
            payload: Value::Object(self.payload.clone()),
            when,
        }))
    }
}

/// The usual schedules with these over them.
pub(super) fn all(entries: &[ScheduleEntry]) -> Result<Vec<Schedule>, String> {
    let mut schedules = Schedule::usual();
    for entry in entries {
        schedules.retain(|schedule| schedule.name != entry.name);
        schedules.extend(entry.schedule()?);
    }
    Ok(schedules)
}

/// What holds, and where it is from.
pub(super) fn told(entries: &[ScheduleEntry], told: &mut Vec<Told>) {
    for entry in entries {
        let mut values = Vec::new();
        let mut value = serde_json::to_value(entry).unwrap_or_default();
        if let Some(members) = value.as_object_mut() {
            members.remove("name");
            members.retain(|name, value| name != "off" || *value == true);
        }
        flat(&format!("schedule.{}", entry.name), &value, &mut values);
        told.extend(values.into_iter().map(|(key, value)| Told {
            key,
            value,
            secret: false,
            given: true,
        }));
    }
    for schedule in Schedule::usual() {
        if entries.iter().any(|entry| entry.name == schedule.name) {
            continue;
        }
        let (word, when) = match &schedule.when {
            When::Every(time) => ("every", format!("{}s", time.as_secs())),
            When::Cron(cron) => ("cron", cron.as_str().to_owned()),
        };
        let name = &schedule.name;
        let mut row = |word: &str, value: String| {
            told.push(Told {
                key: format!("schedule.{name}.{word}"),
                value,
                secret: false,
                given: false,
            });
        };
        row("kind", schedule.kind.clone());
        row(word, when);
        if !schedule.payload.is_null() {
            row("payload", schedule.payload.to_string());
        }
    }
}
