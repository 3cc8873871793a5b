//! How long to wait, as Python says it: seconds, or `None` for as long as it takes.

use std::time::Duration;

use crate::errors::Raise;

/// As long as it takes: a hundred years.
const FOREVER: Duration = Duration::from_hours(100 * 365 * 24);

/// A duration.
pub(crate) fn duration(seconds: Option<f64>, name: &str) -> Result<Duration, Raise> {
    let Some(seconds) = seconds else {
        return Ok(FOREVER);
    };
    if seconds >= FOREVER.as_secs_f64() {
        return Ok(FOREVER);
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        Raise::input(format!(
            "{name}: expected seconds, 0 or more, found {seconds}"
        ))
    })
}
