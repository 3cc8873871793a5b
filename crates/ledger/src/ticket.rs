//! What a caller holds between handing records in and learning where they went.
//!
//! Works for a thread that blocks and for a task that awaits, and needs no runtime for either.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tlog::Hash;
use tokio::sync::oneshot;

use crate::error::{AppendCode, AppendError};

/// Where one record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The record's index in the log, from 0.
    pub index: u64,
    /// The record's name: SHA-256 of 0x00 and its bytes.
    pub leaf_hash: Hash,
    /// The very same bytes were in the log before; `index` is where they first went.
    pub duplicate: bool,
}

/// What an append ends in: one receipt per record in the order handed in, or the reason why
/// none of them was recorded.
pub type AppendResult = Result<Vec<Receipt>, AppendError>;

/// A request that is under way. Dropping it does not take the request back.
#[derive(Debug)]
pub struct Ticket(Inner);

#[derive(Debug)]
enum Inner {
    Done(Option<AppendResult>),
    Waiting(oneshot::Receiver<AppendResult>),
}

impl Ticket {
    pub(crate) fn done(result: AppendResult) -> Self {
        Self(Inner::Done(Some(result)))
    }

    pub(crate) fn pair() -> (oneshot::Sender<AppendResult>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(Inner::Waiting(receiver)))
    }

    /// Blocks until the records are durable.
    ///
    /// # Errors
    /// Why none of the request's records was recorded.
    ///
    /// # Panics
    /// Inside an async runtime: await the ticket there.
    pub fn wait(self) -> AppendResult {
        match self.0 {
            Inner::Done(result) => result.unwrap_or_else(|| Err(gone())),
            Inner::Waiting(receiver) => receiver.blocking_recv().unwrap_or_else(|_| Err(gone())),
        }
    }
}

impl Future for Ticket {
    type Output = AppendResult;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<AppendResult> {
        match &mut self.0 {
            Inner::Done(result) => Poll::Ready(result.take().unwrap_or_else(|| Err(gone()))),
            Inner::Waiting(receiver) => Pin::new(receiver)
                .poll(context)
                .map(|r| r.unwrap_or_else(|_| Err(gone()))),
        }
    }
}

/// The sequencer went away without an answer: whether the records are durable is unknown.
fn gone() -> AppendError {
    AppendError::whole(
        AppendCode::Unavailable,
        "the ledger stopped, or its database did, before it answered; send the same bytes again to \
         learn whether they were recorded",
    )
}
