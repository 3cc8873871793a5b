//! When something is due again.

use std::str::FromStr as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use croner::Cron;
use serde_json::Value;

/// A job that is added again and again.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// Its name, by which it is remembered when it was last due.
    pub name: String,
    /// The kind of job.
    pub kind: String,
    /// What the job is told.
    pub payload: Value,
    /// When.
    pub when: When,
}

/// When something is due.
#[derive(Debug, Clone)]
pub enum When {
    /// At every multiple of this, counted from 1970-01-01T00:00:00Z.
    Every(Duration),
    /// As cron has it, in UTC.
    Cron(Box<Cron>),
}

/// A schedule that is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{pattern}` is no cron pattern: {reason}; expected minute, hour, day, month, weekday, such as `17 3 * * *`"
)]
pub struct ScheduleError {
    /// What was given.
    pattern: String,
    /// What is wrong with it.
    reason: String,
}

impl When {
    /// Reads a cron pattern.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn cron(pattern: &str) -> Result<Self, ScheduleError> {
        Cron::from_str(pattern)
            .map(|cron| Self::Cron(Box::new(cron)))
            .map_err(|error| ScheduleError {
                pattern: pattern.to_owned(),
                reason: error.to_string(),
            })
    }

    /// The latest time up to `now` (both in milliseconds since 1970) that is due and was not used, where `last` was the
    /// last that was. However many were missed, it is one. What was never used is due at once.
    pub fn due(&self, last: Option<i64>, now: i64) -> Option<i64> {
        let latest = match self {
            Self::Every(time) => {
                let every = i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1);
                now - now.rem_euclid(every)
            }
            Self::Cron(cron) => {
                // Patterns know whole seconds; a fraction would be carried over to what is found.
                let now = DateTime::<Utc>::from_timestamp_millis(now - now.rem_euclid(1_000))?;
                let latest = cron.find_previous_occurrence(&now, true).ok()?;
                latest.timestamp_millis()
            }
        };
        last.is_none_or(|last| last < latest).then_some(latest)
    }
}

impl Schedule {
    /// What is done where nobody says otherwise.
    pub fn usual() -> Vec<Self> {
        let every = |name: &str, kind: &str, minutes| Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            payload: Value::Null,
            when: When::Every(Duration::from_mins(minutes)),
        };
        let mut all = vec![
            every("integrity", crate::kinds::INTEGRITY, 10),
            every("watch", crate::kinds::WATCH, 1),
        ];
        if let Ok(when) = When::cron("17 3 * * *") {
            all.push(Self {
                name: "integrity-whole".to_owned(),
                kind: crate::kinds::INTEGRITY.to_owned(),
                payload: serde_json::json!({ "whole": true }),
                when,
            });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn missed_times_are_one() {
        let every = When::Every(Duration::from_mins(10));
        assert_eq!(every.due(None, 25 * MINUTE), Some(20 * MINUTE));
        assert_eq!(every.due(Some(20 * MINUTE), 29 * MINUTE), None);
        assert_eq!(every.due(Some(20 * MINUTE), 75 * MINUTE), Some(70 * MINUTE));
        assert_eq!(every.due(Some(70 * MINUTE), 75 * MINUTE), None);
    }

    #[test]
    fn cron_is_in_utc() {
        let nightly = When::cron("17 3 * * *").unwrap();
        let (day, at) = (24 * 60 * MINUTE, 197 * MINUTE);
        assert_eq!(nightly.due(None, 10 * day + at), Some(10 * day + at));
        assert_eq!(nightly.due(Some(10 * day + at), 11 * day + at - 1), None);
        assert_eq!(
            nightly.due(Some(10 * day + at), 14 * day),
            Some(13 * day + at)
        );
        assert!(When::cron("61 3 * * *").is_err());
        assert!(When::cron("soon").is_err());
    }

    #[test]
    fn the_usual_schedules_are_of_kinds_that_there_are() {
        let usual = Schedule::usual();
        assert_eq!(usual.len(), 3);
        assert!(usual.iter().all(|s| crate::is_kind(&s.kind)));
    }
}
