//! What waits for the sequencer: bounded, so that a flood is turned away at the door and not by the
//! kernel.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use record::Draft;
use tokio::sync::oneshot;

use crate::SubmitError;
use crate::entry::Entry;
use crate::principal::Principal;
use crate::ticket::AppendResult;

/// Most requests that wait. Each waits for one group before it, so more would wait for seconds.
const MAX_REQUESTS: usize = 8_192;
/// Most bytes of records and sealed values that wait.
const MAX_BYTES: usize = 64 << 20;
/// Most bytes in one group, and so in one request. The journal takes 16 MiB; the rest is for what the
/// server adds itself (enrolments, findings).
pub(crate) const MAX_GROUP_BYTES: usize = 12 << 20;

/// Something for the sequencer to do.
pub(crate) enum Request {
    /// Append a producer's records.
    Append {
        entries: Vec<Entry>,
        principal: Principal,
        /// A server built them, and another may have been first: no attempt at anything.
        contested: bool,
        reply: oneshot::Sender<AppendResult>,
    },
    /// Append to the server's own stream.
    Own {
        draft: Box<Draft>,
        /// Only where it got no record of this kind since it had so many records.
        since: Option<u64>,
        reply: oneshot::Sender<AppendResult>,
    },
}

impl Request {
    /// Where the answer goes.
    pub(crate) fn reply(self) -> oneshot::Sender<AppendResult> {
        match self {
            Self::Append { reply, .. } | Self::Own { reply, .. } => reply,
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Append { entries, .. } => entries.iter().map(Entry::weight).sum(),
            Self::Own { .. } => 1_024,
        }
    }
}

/// The queue's contents under its lock.
#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    bytes: usize,
    stop: Option<SubmitError>,
    woken: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

/// Why [`Queue::wait`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There is work, or somebody called.
    Work,
    /// The deadline came first.
    Deadline,
    /// The ledger is closing and nothing waits any more.
    Closed,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts `request` where the next turn takes it. Wakes nobody: [`Queue::wake`] does.
    ///
    /// # Errors
    /// No room, or the ledger has stopped.
    pub(crate) fn push(&self, request: Request) -> Result<(), SubmitError> {
        let weight = request.weight();
        let mut waiting = self.lock();
        if let Some(stop) = &waiting.stop {
            return Err(stop.clone());
        }
        let over = waiting.bytes + weight > MAX_BYTES && !waiting.requests.is_empty();
        if over || waiting.requests.len() >= MAX_REQUESTS {
            return Err(SubmitError::Overloaded {
                waiting: waiting.requests.len(),
            });
        }
        waiting.bytes += weight;
        waiting.requests.push_back(request);
        Ok(())
    }

    /// Calls the thread that waits.
    pub(crate) fn wake(&self) {
        self.lock().woken = true;
        self.filled.notify_one();
    }

    /// Waits for work, or to be woken, until `deadline`.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Waited {
        let mut waiting = self.lock();
        while waiting.requests.is_empty() {
            if waiting.stop.is_some() {
                return Waited::Closed;
            }
            if waiting.woken {
                break;
            }
            waiting = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return Waited::Deadline,
                Some(left) => {
                    self.filled
                        .wait_timeout(waiting, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .filled
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
        waiting.woken = false;
        Waited::Work
    }

    /// Takes what makes a group; nothing where nothing waits.
    pub(crate) fn take(&self) -> Vec<Request> {
        let mut waiting = self.lock();
        let mut taken = Vec::with_capacity(waiting.requests.len());
        let mut bytes = 0;
        while let Some(weight) = waiting.requests.front().map(Request::weight) {
            if bytes + weight > MAX_GROUP_BYTES && bytes > 0 {
                break;
            }
            bytes += weight;
            taken.extend(waiting.requests.pop_front());
        }
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        taken
    }

    /// Turns everything away from now on, with `reason`; the first reason stays.
    pub(crate) fn stop(&self, reason: SubmitError) {
        let mut waiting = self.lock();
        waiting.stop.get_or_insert(reason);
        drop(waiting);
        self.filled.notify_all();
    }

    /// Why it was stopped, if it was.
    pub(crate) fn stopped(&self) -> Option<SubmitError> {
        self.lock().stop.clone()
    }

    /// The ledger failed.
    pub(crate) fn failed(&self) -> bool {
        matches!(self.stopped(), Some(SubmitError::Failed { .. }))
    }

    /// Requests that wait now.
    pub(crate) fn len(&self) -> usize {
        self.lock().requests.len()
    }

    /// Drops what waits: those who wait for an answer learn that there will be none.
    pub(crate) fn clear(&self) {
        let requests = std::mem::take(&mut self.lock().requests);
        drop(requests);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::kinds::FindingRaised;

    fn request() -> Request {
        let (reply, _) = oneshot::channel();
        let draft = Box::new(Draft::new(FindingRaised::new("test".to_owned())));
        Request::Own {
            draft,
            since: None,
            reply,
        }
    }

    #[test]
    fn what_does_not_fit_is_turned_away_and_what_is_taken_makes_room() {
        let queue = Queue::default();
        for _ in 0..MAX_REQUESTS {
            queue.push(request()).unwrap();
        }
        let full = SubmitError::Overloaded {
            waiting: MAX_REQUESTS,
        };
        assert_eq!(queue.push(request()), Err(full));
        assert_eq!(queue.wait(None), Waited::Work);
        assert_eq!(queue.take().len(), MAX_REQUESTS);
        queue.push(request()).unwrap();
    }

    #[test]
    fn a_stopped_queue_says_why_and_is_emptied_first() {
        let queue = Queue::default();
        queue.push(request()).unwrap();
        queue.stop(SubmitError::Closed);
        queue.stop(SubmitError::Failed {
            reason: "later".to_owned(),
        });
        assert_eq!(queue.push(request()), Err(SubmitError::Closed));
        assert_eq!(queue.wait(None), Waited::Work);
        assert_eq!(queue.take().len(), 1);
        assert_eq!(queue.wait(None), Waited::Closed);
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let queue = Queue::default();
        assert_eq!(queue.wait(Some(Instant::now())), Waited::Deadline);
    }

    #[test]
    fn a_call_is_heard_once_though_nothing_waits() {
        let queue = Queue::default();
        queue.wake();
        assert_eq!(queue.wait(None), Waited::Work);
        assert!(queue.take().is_empty());
        assert_eq!(queue.wait(Some(Instant::now())), Waited::Deadline);
    }
}
