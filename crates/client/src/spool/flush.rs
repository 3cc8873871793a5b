//! Waiting until everything is acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::{Core, Halt};
use super::error::SpoolError;
use super::outgoing::Outgoing;

/// Signs every stream, and waits until all that was accepted is acknowledged.
pub(super) fn flush(core: &Core, timeout: Duration) -> Result<(), SpoolError> {
    let began = Instant::now();
    let looks = core.report().looks;
    let _urgent = core.bell.urge();
    let signed = sign(core);
    wait(core, looks, began, timeout)?;
    if signed.is_err() {
        // There is room by now, if there ever is.
        sign(core)?;
        wait(core, looks, began, timeout)?;
    }
    Ok(())
}

/// Signs every stream as far as it is written.
fn sign(core: &Core) -> Result<(), SpoolError> {
    let streams = core.streams().clone();
    let mut result = Ok(());
    for stream in streams {
        result = result.and(stream.sign(core, Duration::ZERO));
    }
    result
}

/// `looks` is how often it had been looked for what dead processes left.
fn wait(core: &Core, looks: u64, began: Instant, timeout: Duration) -> Result<(), SpoolError> {
    let mut targets: Option<Vec<(Arc<Outgoing>, u64)>> = None;
    let done = core.moved.wait_until(began + timeout, || {
        if let Some(error) = halted(core) {
            return Some(Err(error));
        }
        // What processes left that have died since belongs to it.
        if core.report().looks == looks && !core.bell.is_stopped() {
            return None;
        }
        let targets = targets.get_or_insert_with(|| {
            let streams = core.streams().clone();
            let target = |stream: Arc<Outgoing>| {
                let next_seq = stream.queue().next_seq;
                (stream, next_seq)
            };
            streams.into_iter().map(target).collect()
        });
        let waits = |(stream, target): &(Arc<Outgoing>, u64)| {
            // Where the server does not take what another process left, that is not this one's to wait for.
            let given_up = stream.is_adopted() && stream.is_stuck();
            !given_up && stream.queue().acked < *target
        };
        if targets.iter().any(waits) || core.attachments.any_unsent() {
            // Nobody sends it any more.
            return core.bell.is_stopped().then(|| core.check_open());
        }
        Some(refused(core).map_or(Ok(()), Err))
    });
    done.unwrap_or_else(|| {
        let streams = core.streams().clone();
        let waiting = streams.iter().map(|stream| stream.queue().waiting());
        Err(SpoolError::Timeout {
            waited: began.elapsed(),
            waiting_records: waiting.sum(),
            last_error: core.last_error(),
        })
    })
}

/// Why nothing is sent any more.
pub(super) fn halted(core: &Core) -> Option<SpoolError> {
    Some(match core.report().halted.clone()? {
        Halt::Contradiction { what, evidence } => SpoolError::Contradiction { what, evidence },
        Halt::Ended(problem) => SpoolError::Refused {
            stream: "every stream".to_owned(),
            problem,
            kept: core.layout.streams(),
        },
    })
}

fn refused(core: &Core) -> Option<SpoolError> {
    let (stream, problem, kept) = core.report().refused.clone()?;
    Some(SpoolError::Refused {
        stream,
        problem,
        kept,
    })
}
