//! The latest checkpoint, and the object that is served.

use tlog::{Checkpoint, Hash};

use super::{Check, Fault};
use crate::LedgerError;

impl Check<'_> {
    /// Size and root that the database's checkpoint signs; `None` where there is none to go by.
    pub(super) fn checkpoint(&mut self) -> Result<Option<(u64, Hash)>, LedgerError> {
        let place = self.place;
        let what = "the latest checkpoint in the database";
        let Some(stored) = place.meta.latest_checkpoint()? else {
            self.found(Fault::Checkpoint, what, "it is not there");
            return Ok(None);
        };
        let checked = match place.policy.check(&stored.note) {
            Ok(verified) => verified.checkpoint,
            Err(error) => {
                self.found(Fault::Checkpoint, what, error.to_string());
                return Ok(None);
            }
        };
        if (checked.size.0, checked.root) != (stored.size, stored.root) {
            let detail = format!(
                "its note signs {} records, the row says {}, or another root",
                checked.size.0, stored.size
            );
            self.found(Fault::Checkpoint, what, detail);
            return Ok(None);
        }
        self.served(&checked)?;
        Ok(Some((stored.size, stored.root)))
    }

    /// Whether the latest is beside `log/checkpoint`, since what is shown waits for witnesses.
    fn waits(&self, latest: &Checkpoint) -> Result<bool, LedgerError> {
        let Some(note) = self.place.objects.get("log/checkpoint.published")? else {
            return Ok(false);
        };
        let published = self.place.policy.check(&note);
        Ok(published.is_ok_and(|published| published.checkpoint == *latest))
    }

    /// Holds `log/checkpoint` against the database's. Cosignatures may have been added to it since.
    fn served(&mut self, latest: &Checkpoint) -> Result<(), LedgerError> {
        let what = "log/checkpoint";
        let size = latest.size.0;
        let Some(note) = self.place.objects.get(what)? else {
            if self.waits(latest)? {
                return Ok(());
            }
            self.plan.checkpoint = self.found(Fault::CheckpointObject, what, "it is not there");
            return Ok(());
        };
        let served = match self.place.policy.check(&note) {
            Ok(verified) => verified.checkpoint,
            Err(error) => {
                self.plan.checkpoint = self.found(Fault::CheckpointObject, what, error.to_string());
                return Ok(());
            }
        };
        let seen = served.size.0;
        if (seen, served.root) == (size, latest.root) {
            return Ok(());
        }
        if seen < size && self.waits(latest)? {
            return Ok(());
        }
        if seen < size {
            let detail = format!("it covers {seen} records, the database's {size}");
            self.plan.checkpoint = self.found(Fault::CheckpointObject, what, detail);
        } else {
            let detail = format!(
                "it is signed and covers {seen} records with root {}, the database's {size} with root {}",
                served.root, latest.root
            );
            self.found(Fault::CheckpointFork, what, detail);
        }
        Ok(())
    }
}
