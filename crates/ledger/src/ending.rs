//! A ledger's end and its beginning as another's successor.

use std::time::Duration;

use record::kinds::{LedgerClosed, LedgerContinued};
use record::{Draft, Kind, Scope, StreamName};

use crate::LedgerError;
use crate::ledger::Ledger;
use crate::read::Query;

/// How long the final checkpoint may take.
const PATIENCE: Duration = Duration::from_secs(30);

impl Ledger {
    /// Ends the ledger for good: its last record says so, nothing is appended any more, everything can
    /// be read. Gives that record's index; the final checkpoint is published by [`Ledger::close`].
    ///
    /// # Errors
    /// [`LedgerError::Ended`] if it was ended before; the record could not be written.
    pub fn end(&self, body: LedgerClosed) -> Result<u64, LedgerError> {
        if let Some(index) = self.ended()? {
            return Err(LedgerError::Ended { index });
        }
        let receipts = self.record_own(Draft::new(body))?.wait()?;
        let receipt = receipts.first().ok_or_else(|| {
            LedgerError::corrupt("the server's own stream", "it took no ledger.closed")
        })?;
        Ok(receipt.index)
    }

    /// The index of the record that ended the ledger, if one did.
    ///
    /// # Errors
    /// The index or the log cannot be read.
    pub fn ended(&self) -> Result<Option<u64>, LedgerError> {
        let shared = self.shared();
        let closed = {
            let mut state = shared.state();
            state.scope(&*shared.meta, Scope::Ledger)?.chain.closed()
        };
        if !closed {
            return Ok(None);
        }
        // The record is among the last; what is not published yet soon is.
        self.wait_published(self.status().sequenced, PATIENCE);
        let query = Query {
            scope: Some(Scope::Ledger),
            kind: Some(Kind::LedgerClosed),
            limit: 1,
            ..Query::default()
        };
        let page = self.query(&query)?;
        Ok(page.records.first().map(|(index, _)| *index))
    }

    /// Says, first of all, which log this one goes on from; once.
    pub(crate) fn begin(&self, predecessor: LedgerContinued) -> Result<(), LedgerError> {
        if self
            .stream_head(Scope::Ledger, StreamName::SERVER)?
            .is_none()
        {
            self.record_own(Draft::new(predecessor))?.wait()?;
        }
        Ok(())
    }
}
