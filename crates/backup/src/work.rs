//! The same for many objects, several at a time: disks and object stores like that.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use crate::Progress;
use crate::error::BackupError;

/// How many at a time.
const HANDS: usize = 8;

/// Does `work` for each item; gives what came of it, in the order of the items.
pub(crate) fn each<T: Sync, R: Send>(
    items: &[T],
    progress: Progress<'_>,
    work: impl Fn(&T) -> Result<R, BackupError> + Sync,
) -> Result<Vec<R>, BackupError> {
    let (next, done, stop) = (
        AtomicUsize::new(0),
        AtomicU64::new(0),
        AtomicBool::new(false),
    );
    let failed = Mutex::new(None);
    let fail = |error: BackupError| {
        stop.store(true, Ordering::Relaxed);
        if let Ok(mut failed) = failed.lock() {
            failed.get_or_insert(error);
        }
    };
    let all = items.len() as u64;
    let hand = || {
        let mut results = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            match work(item) {
                Ok(result) => results.push((at, result)),
                Err(error) => fail(error),
            }
            if !progress(done.fetch_add(1, Ordering::Relaxed) + 1, all) {
                fail(BackupError::Stopped);
            }
        }
        results
    };
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let hands: Vec<_> = (0..HANDS.min(items.len()))
            .map(|_| scope.spawn(hand))
            .collect();
        let results = hands.into_iter().flat_map(|hand| {
            hand.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        results.collect()
    });
    match failed.into_inner() {
        Ok(None) => {}
        Ok(Some(error)) => return Err(error),
        Err(_) => return Err(BackupError::Stopped),
    }
    results.sort_unstable_by_key(|(at, _)| *at);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}
