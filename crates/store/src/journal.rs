//! The journal: what is acknowledged and not yet published.
//!
//! The unit is the *group*: all that was waiting when the sequencer took its turn, made durable with one write and one
//! sync. Until publication the journal is the truth; then the entry bundles are, and what they cover is discarded.

mod file;
pub(crate) mod frame;
mod inspect;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;

pub use file::{FileJournal, JournalOptions};
pub use frame::{Entries, MAX_PAYLOAD_BYTES, MAX_PRINCIPAL_BYTES, MAX_RECORD_BYTES};
pub use inspect::{Inspection, inspect};
pub use recovery::Recovery;

use crate::error::Result;

/// One record with what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalEntry<'a> {
    /// The record's canonical bytes, at most [`MAX_RECORD_BYTES`].
    pub record: &'a [u8],
    /// Its sealed values, encrypted; empty for none.
    pub sealed: &'a [u8],
    /// Who sent it, at most [`MAX_PRINCIPAL_BYTES`].
    pub principal: &'a [u8],
}

/// A group, as read back.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// The index of its first record.
    pub first_index: u64,
    /// How many records it has, at least 1.
    pub count: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> Group<'a> {
    /// Its entries, in order.
    pub fn entries(&self) -> Entries<'a> {
        Entries::new(self.payload)
    }
}

/// Keeps groups from acknowledgement to publication.
///
/// An embedded journal has one writer. A shared one (a table in a database) has a handle in each of several processes;
/// their appends take turns: [`begin`](Self::begin) waits for the turn and shows what others appended meanwhile,
/// [`append_group`](Self::append_group) or [`release`](Self::release) ends it. The turn only spares lost races: even
/// without one, a group that does not continue the journal is refused.
pub trait Journal: Send {
    /// The index the next group starts at, as far as this handle knows.
    fn next_index(&self) -> u64;

    /// Whether other processes append too. Then failures are those of a network, and nothing is fatal.
    fn is_shared(&self) -> bool {
        false
    }

    /// Takes the turn at a shared journal, which waits (a few seconds at most) for whoever has it; shows the groups
    /// that were appended at or after [`next_index`](Self::next_index), in order, which then counts them. Whoever
    /// dies or freezes during its turn loses it within seconds. Does nothing for an embedded journal.
    ///
    /// # Errors
    /// [`NotNext`](crate::StoreError::NotNext) if groups in between were discarded already: read the published log,
    /// then [`restart`](Self::restart). [`Unavailable`](crate::StoreError::Unavailable): nobody's turn was taken. The
    /// visitor's own errors end the turn; then `next_index` is where it was.
    fn begin(&mut self, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()> {
        let _ = visit;
        Ok(())
    }

    /// Shows the groups that were appended to a shared journal at or after [`next_index`](Self::next_index) so far, in
    /// order, which then counts them. Takes no turn, so it waits for nobody and nobody for it; whatever is being appended
    /// meanwhile is shown next time. Does nothing for an embedded journal.
    ///
    /// # Errors
    /// As [`begin`](Self::begin); then `next_index` is where it was.
    fn follow(&mut self, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()> {
        let _ = visit;
        Ok(())
    }

    /// Ends a turn without a group. Never fails: a turn whose connection is lost has ended.
    fn release(&mut self) {}

    /// Makes [`next_index`](Self::next_index) `index`, which is known from elsewhere: the next [`begin`](Self::begin)
    /// shows what follows. Does nothing for an embedded journal.
    fn restart(&mut self, index: u64) {
        let _ = index;
    }

    /// Appends a group that starts at `first_index`, which is [`next_index`](Self::next_index). Once it returns, all
    /// its entries are durable; a group is kept whole or not at all.
    ///
    /// # Errors
    /// [`Full`](crate::StoreError::Full), [`Io`](crate::StoreError::Io), [`Denied`](crate::StoreError::Denied),
    /// [`TooLarge`](crate::StoreError::TooLarge) and [`NotNext`](crate::StoreError::NotNext): nothing was kept, and the
    /// journal can be used as before. [`SyncFailed`](crate::StoreError::SyncFailed): unknown whether it was kept; every
    /// later append is refused as [`Poisoned`](crate::StoreError::Poisoned), and the process has to stop.
    /// [`Unavailable`](crate::StoreError::Unavailable), of shared journals: unknown whether it was kept, but the next
    /// [`begin`](Self::begin) that succeeds shows it if it was, and nothing can keep it after that.
    fn append_group(&mut self, first_index: u64, entries: &[JournalEntry<'_>]) -> Result<()>;

    /// Shows every kept group that has an entry at or after `from`, in order. The first may start before `from`.
    ///
    /// # Errors
    /// [`NotNext`](crate::StoreError::NotNext) if what `from` names was discarded or never written; the visitor's own
    /// errors end the replay.
    fn replay(&self, from: u64, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<()>;

    /// Allows everything before `index` to be forgotten; how much of it is, and when, is the journal's affair.
    ///
    /// # Errors
    /// If it could not be removed; the journal can be used as before.
    fn discard_before(&mut self, index: u64) -> Result<()>;
}
