//! For whoever watches over what is published: the place it has come to, and whose turn it is among several servers.
//!
//! Not here: what it looks at, and what it finds odd.

use std::time::Duration;

use record::RunId;

use crate::LedgerError;
use crate::ledger::Ledger;

/// The setting's name, and the lease's.
const WATCH: &str = "watch";

impl Ledger {
    /// A name for one watcher among those of several servers: random.
    pub fn watcher(&self) -> String {
        let shared = self.shared();
        RunId::generate(&*shared.clock, &*shared.entropy).to_string()
    }

    /// What a watcher kept last.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn watch_kept(&self) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(self.shared().meta.kv_get(WATCH)?)
    }

    /// Keeps what a watcher knows, in place of what was kept before.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn keep_watch(&self, known: &[u8]) -> Result<(), LedgerError> {
        Ok(self.shared().meta.kv_put(WATCH, known)?)
    }

    /// Whether it is `watcher`'s turn for so long: always, where one server has the ledger. A turn spares double
    /// work; a watcher that was frozen may believe in one that is over.
    ///
    /// # Errors
    /// The database does not say: ask again.
    pub fn may_watch(&self, watcher: &str, time: Duration) -> Result<bool, LedgerError> {
        if self.0.dir.is_some() {
            return Ok(true);
        }
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Ok(self.shared().meta.take_lease(WATCH, watcher, millis)?)
    }

    /// Gives up the turn.
    ///
    /// # Errors
    /// It runs out by itself.
    pub fn end_watch(&self, watcher: &str) -> Result<(), LedgerError> {
        if self.0.dir.is_none() {
            self.shared().meta.release_lease(WATCH, watcher)?;
        }
        Ok(())
    }
}
