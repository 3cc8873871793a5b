//! Waiting as Python knows it: seconds, or `None` for as long as it takes; and Ctrl-C ends it.

use std::time::{Duration, Instant};

use client::spool::SpoolError;
use pyo3::prelude::*;

use crate::errors::Raise;

/// As long as it takes: a hundred years.
const FOREVER: Duration = Duration::from_hours(100 * 365 * 24);
/// After so long somebody who pressed Ctrl-C is heard.
const PIECE: Duration = Duration::from_millis(250);

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

/// Does what waits, and may be asked again: without the interpreter's lock, and piece by piece.
pub(crate) fn piecewise<T: Send>(
    py: Python<'_>,
    timeout: Duration,
    ask: impl Fn(Duration) -> Result<T, SpoolError> + Sync,
) -> PyResult<T> {
    let began = Instant::now();
    loop {
        let left = timeout.saturating_sub(began.elapsed());
        match py.detach(|| ask(left.min(PIECE))) {
            Err(SpoolError::Timeout { .. }) if left > PIECE => py.check_signals()?,
            Err(SpoolError::Timeout {
                waiting_records,
                last_error,
                ..
            }) => {
                let waited = began.elapsed();
                let error = SpoolError::Timeout {
                    waited,
                    waiting_records,
                    last_error,
                };
                return Err(Raise::from(error).into());
            }
            done => return done.map_err(|error| Raise::from(error).into()),
        }
    }
}
