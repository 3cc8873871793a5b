//! The wish to end: Ctrl-C or SIGTERM. A second one ends the process at once, which loses nothing either.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::outcome::Failure;

/// Hears signals.
pub(crate) struct Stop {
    wishes: Receiver<()>,
    wished: Cell<bool>,
}

impl Stop {
    /// Hears them from now on.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let (wish, wishes) = sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Failure::unavailable)?;
        let heard = {
            let _inside = runtime.enter();
            let heard = signal(SignalKind::interrupt())
                .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
            heard.map_err(Failure::unavailable)?
        };
        std::thread::spawn(move || {
            let (mut interrupt, mut terminate) = heard;
            runtime.block_on(async {
                next(&mut interrupt, &mut terminate).await;
                // Nobody waits any more where the command has ended meanwhile.
                let _ = wish.send(());
                next(&mut interrupt, &mut terminate).await;
                std::process::exit(130);
            });
        });
        Ok(Self {
            wishes,
            wished: Cell::new(false),
        })
    }

    /// Whether somebody wishes it; waits so long for it.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        if !self.wished.get() {
            let heard = match self.wishes.recv_timeout(patience) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(patience);
                    false
                }
            };
            self.wished.set(heard);
        }
        self.wished.get()
    }

    /// Whether somebody wishes it.
    pub(crate) fn is_wished(&self) -> bool {
        self.wait(Duration::ZERO)
    }
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
