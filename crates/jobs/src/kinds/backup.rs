//! A backup into the place that the worker is told of. One that was begun since the job was added is enough.

use backup::{BackupError, Open, Place, Source};
use record::Timestamp;
use serde_json::{Value, json};

use super::Kind;
use crate::Tools;
use crate::attempt::Attempt;
use crate::error::Fault;

pub(crate) struct Backup;

impl Kind for Backup {
    fn name(&self) -> &'static str {
        "backup"
    }

    fn is_possible(&self, tools: &Tools) -> bool {
        tools.settings().backup.is_some()
    }

    fn make(&self, attempt: &Attempt<'_>) -> Result<Value, Fault> {
        let settings = attempt.tools.settings();
        let Some(plan) = &settings.backup else {
            return Err(Fault::Retry(
                "this worker knows no place for backups; say [backup] in its configuration file"
                    .to_owned(),
            ));
        };
        let open = Open {
            place: &plan.place,
            options: &plan.options,
            key: plan.key.clone(),
        };
        if let Some(done) = since(&open, attempt.job.created)? {
            return Ok(done);
        }
        let ledger = &attempt.tools.ledger;
        let source = Source {
            location: &attempt.tools.location,
            with: &plan.with,
        };
        let made = backup::make(
            source,
            &open,
            &*ledger.clock(),
            &*ledger.entropy(),
            &|done, all| attempt.progress(done, all).is_ok(),
        );
        match made {
            Ok(made) => serde_json::to_value(made).map_err(|e| Fault::Dead(e.to_string())),
            Err(BackupError::Stopped) => {
                let (done, total) = attempt.heart.progress();
                Err(attempt
                    .progress(done, total)
                    .err()
                    .unwrap_or(Fault::Stopping))
            }
            Err(error) => Err(fault(&error)),
        }
    }
}

fn fault(error: &BackupError) -> Fault {
    if error.is_input() && !matches!(error, BackupError::NoBackup { .. }) {
        Fault::Dead(error.to_string())
    } else {
        Fault::Retry(error.to_string())
    }
}

/// The newest backup, if it was begun after this moment, in milliseconds since 1970: an earlier attempt made it.
fn since(open: &Open<'_>, created: i64) -> Result<Option<Value>, Fault> {
    let place = match Place::to_read(open) {
        Ok(place) => place,
        Err(BackupError::NoBackup { .. }) => return Ok(None),
        Err(error) => return Err(fault(&error)),
    };
    let Some(newest) = place.points().map_err(|error| fault(&error))?.pop() else {
        return Ok(None);
    };
    match place.info(&newest) {
        Ok(info) if info.time > Timestamp(created.saturating_mul(1_000)).to_string() => {
            Ok(Some(json!(info)))
        }
        Ok(_) => Ok(None),
        // The next one is made all the more.
        Err(error) if error.is_damage() => Ok(None),
        Err(error) => Err(fault(&error)),
    }
}
