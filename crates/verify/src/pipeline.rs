//! Work done on all cores and handed over in order, in bounded memory.
//!
//! Each thread claims a piece, turns it into an item (the heavy part, in parallel) and puts the item
//! into a reorder buffer; whoever completes the sequence consumes what is ready, in order. There is
//! no thread of its own for that, so `threads` threads use `threads` cores. The consumer may hand
//! back jobs (signatures) that no order binds; threads take them before they claim new pieces, so
//! they do not pile up. Nobody starts on a piece more than [`WINDOW`] per thread ahead of the
//! consumer, which bounds the buffer.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::VerifyError;

/// Pieces per thread between the consumer and the furthest claim.
const WINDOW: u64 = 8;

/// What a pipeline is made of. Pieces are numbered from 0 in the order they are claimed.
pub(crate) trait Work: Sync {
    /// What is claimed: a number, or bytes read in sequence.
    type Piece: Send;
    /// What a piece becomes.
    type Item: Send;
    /// What the consumer hands back.
    type Job: Send;
    /// A thread's own buffers.
    type Scratch: Default;

    /// The next piece, or `None` at the end. Called under the pipeline's lock.
    fn claim(&self, number: u64) -> Result<Option<Self::Piece>, VerifyError>;
    /// The heavy part.
    fn produce(
        &self,
        piece: Self::Piece,
        scratch: &mut Self::Scratch,
    ) -> Result<Self::Item, VerifyError>;
    /// A job that the consumer handed back.
    fn job(&self, job: Self::Job);
}

/// Runs `work` to its end, giving each item to `consume` in order.
///
/// # Errors
///
/// The first error of any stage; the rest is then left undone.
pub(crate) fn run<W, C>(work: &W, threads: NonZeroUsize, consume: C) -> Result<(), VerifyError>
where
    W: Work,
    C: FnMut(W::Item, &mut Vec<W::Job>) -> Result<(), VerifyError> + Send,
{
    let shared = Shared::<W> {
        state: Mutex::new(State {
            claimed: 0,
            consumed: 0,
            ready: BTreeMap::new(),
            jobs: Vec::new(),
            exhausted: false,
            draining: false,
            stopped: false,
            error: None,
        }),
        changed: Condvar::new(),
        window: WINDOW * threads.get() as u64,
    };
    let consume = Mutex::new(consume);
    thread::scope(|scope| {
        for _ in 1..threads.get() {
            scope.spawn(|| shared.worker(work, &consume));
        }
        shared.worker(work, &consume);
    });
    let state = shared
        .state
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    state.error.map_or(Ok(()), Err)
}

struct State<W: Work> {
    claimed: u64,
    consumed: u64,
    ready: BTreeMap<u64, W::Item>,
    jobs: Vec<W::Job>,
    exhausted: bool,
    draining: bool,
    stopped: bool,
    error: Option<VerifyError>,
}

struct Shared<W: Work> {
    state: Mutex<State<W>>,
    changed: Condvar,
    window: u64,
}

/// Wakes the others when a thread dies of a defect, so that the panic is seen and not a hang.
struct StopOnPanic<'a, W: Work>(&'a Shared<W>);

impl<W: Work> Drop for StopOnPanic<'_, W> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().stopped = true;
            self.0.changed.notify_all();
        }
    }
}

enum Next<W: Work> {
    Job(W::Job),
    Piece(u64, W::Piece),
    End,
}

impl<W: Work> Shared<W> {
    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<W>>) -> MutexGuard<'a, State<W>> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn worker<C>(&self, work: &W, consume: &Mutex<C>)
    where
        C: FnMut(W::Item, &mut Vec<W::Job>) -> Result<(), VerifyError> + Send,
    {
        let _guard = StopOnPanic(self);
        let mut scratch = W::Scratch::default();
        loop {
            let outcome = match self.next(work) {
                Ok(Next::End) => return,
                Ok(Next::Job(job)) => {
                    work.job(job);
                    Ok(())
                }
                Ok(Next::Piece(number, piece)) => work
                    .produce(piece, &mut scratch)
                    .and_then(|item| self.hand_over(number, item, consume)),
                Err(e) => Err(e),
            };
            if let Err(error) = outcome {
                let mut state = self.lock();
                state.stopped = true;
                state.error.get_or_insert(error);
                self.changed.notify_all();
                return;
            }
        }
    }

    /// A job if there is one, else a piece if one may be claimed, else waits for either.
    fn next(&self, work: &W) -> Result<Next<W>, VerifyError> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return Ok(Next::End);
            }
            if let Some(job) = state.jobs.pop() {
                return Ok(Next::Job(job));
            }
            if state.exhausted {
                if state.consumed == state.claimed {
                    return Ok(Next::End);
                }
            } else if state.claimed < state.consumed + self.window {
                let number = state.claimed;
                if let Some(piece) = work.claim(number)? {
                    state.claimed += 1;
                    return Ok(Next::Piece(number, piece));
                }
                state.exhausted = true;
                self.changed.notify_all();
                continue;
            }
            state = self.wait(state);
        }
    }

    /// Puts an item into the reorder buffer and, unless somebody is at it, consumes what is in order.
    fn hand_over<C>(
        &self,
        number: u64,
        item: W::Item,
        consume: &Mutex<C>,
    ) -> Result<(), VerifyError>
    where
        C: FnMut(W::Item, &mut Vec<W::Job>) -> Result<(), VerifyError> + Send,
    {
        let mut state = self.lock();
        state.ready.insert(number, item);
        if state.draining {
            return Ok(());
        }
        state.draining = true;
        let mut consume = consume.lock().unwrap_or_else(PoisonError::into_inner);
        let mut jobs = Vec::new();
        loop {
            let next = state.consumed;
            let Some(item) = state.ready.remove(&next) else {
                break;
            };
            drop(state);
            let outcome = consume(item, &mut jobs);
            state = self.lock();
            state.consumed += 1;
            state.jobs.append(&mut jobs);
            self.changed.notify_all();
            if outcome.is_err() {
                // Nobody may take up where this one stopped.
                state.stopped = true;
                return outcome;
            }
        }
        state.draining = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Squares {
        count: u64,
        jobs: AtomicU64,
        fail_at: Option<u64>,
    }

    impl Work for Squares {
        type Piece = u64;
        type Item = (u64, u64);
        type Job = u64;
        type Scratch = ();

        fn claim(&self, number: u64) -> Result<Option<u64>, VerifyError> {
            Ok((number < self.count).then_some(number))
        }

        fn produce(&self, piece: u64, (): &mut ()) -> Result<(u64, u64), VerifyError> {
            if self.fail_at == Some(piece) {
                return Err(VerifyError::Usage("asked to".into()));
            }
            // Uneven work, so that items are finished out of order.
            let mut x = piece;
            for _ in 0..(piece % 7) * 1000 {
                x = x.wrapping_mul(31).wrapping_add(7);
            }
            std::hint::black_box(x);
            Ok((piece, piece * piece))
        }

        fn job(&self, job: u64) {
            self.jobs.fetch_add(job, Ordering::Relaxed);
        }
    }

    #[test]
    fn items_arrive_in_order_and_every_job_is_done() {
        for threads in [1, 2, 5] {
            let work = Squares {
                count: 1000,
                jobs: AtomicU64::new(0),
                fail_at: None,
            };
            let mut seen = Vec::new();
            run(
                &work,
                NonZeroUsize::new(threads).unwrap(),
                |(n, square), jobs| {
                    seen.push((n, square));
                    jobs.push(n);
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(seen, (0..1000).map(|n| (n, n * n)).collect::<Vec<_>>());
            assert_eq!(work.jobs.into_inner(), 999 * 1000 / 2);
        }
    }

    #[test]
    fn an_error_of_any_stage_ends_it() {
        let threads = NonZeroUsize::new(3).unwrap();
        let work = Squares {
            count: 1000,
            jobs: AtomicU64::new(0),
            fail_at: Some(500),
        };
        assert!(run(&work, threads, |_, _| Ok(())).is_err());
        let work = Squares {
            count: 1000,
            jobs: AtomicU64::new(0),
            fail_at: None,
        };
        let mut seen = 0;
        let outcome = run(&work, threads, |(n, _), _| {
            seen += 1;
            if n == 10 {
                Err(VerifyError::Usage("enough".into()))
            } else {
                Ok(())
            }
        });
        assert!(outcome.is_err());
        assert_eq!(seen, 11);
    }
}
