//! The journal: what is acknowledged and not yet published.
//!
//! The unit is the *group*: all that was waiting when the sequencer took its turn, made durable with one write and one
//! sync. Until publication the journal is the truth; then the entry bundles are, and what they cover is discarded.

mod file;
mod frame;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;

pub use file::{FileJournal, JournalOptions};
pub use frame::{Entries, MAX_PAYLOAD_BYTES, MAX_PRINCIPAL_BYTES, MAX_RECORD_BYTES};
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

/// Keeps groups from acknowledgement to publication. It has one writer.
pub trait Journal: Send {
    /// The index the next group starts at.
    fn next_index(&self) -> u64;

    /// Appends a group that starts at `first_index`, which is [`next_index`](Self::next_index). Once it returns, all
    /// its entries are durable; a group is kept whole or not at all.
    ///
    /// # Errors
    /// [`Full`](crate::StoreError::Full), [`Io`](crate::StoreError::Io), [`Denied`](crate::StoreError::Denied),
    /// [`TooLarge`](crate::StoreError::TooLarge) and [`NotNext`](crate::StoreError::NotNext): nothing was kept, and the
    /// journal can be used as before. [`SyncFailed`](crate::StoreError::SyncFailed): unknown whether it was kept; every
    /// later append is refused as [`Poisoned`](crate::StoreError::Poisoned), and the process has to stop.
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
