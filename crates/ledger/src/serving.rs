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

    /// The change of the log's keys of this number, from 1 on, as others follow it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn rotation_file(&self, number: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        let key = format!("log/rotations/{number}");
        Ok(self.shared().reader.objects.get(&key)?)
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
