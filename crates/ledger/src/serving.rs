//! What a server needs of its ledger besides records: the files it hands out, and the clock and
//! randomness that everything here goes by.

use std::sync::Arc;

use record::{Clock, Entropy};
use tlog::TileId;

use crate::LedgerError;
use crate::ledger::Ledger;

impl Ledger {
    /// The bytes of a tile or entry bundle as the store has them; `None` if it is not there (any
    /// more).
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tile(&self, id: TileId) -> Result<Option<Vec<u8>>, LedgerError> {
        Ok(self
            .shared()
            .reader
            .objects
            .get(&format!("log/{}", id.path()))?)
    }

    /// The clock that the ledger was opened with.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared().clock)
    }

    /// The randomness that the ledger was opened with.
    pub fn entropy(&self) -> Arc<dyn Entropy> {
        Arc::clone(&self.shared().entropy)
    }
}
