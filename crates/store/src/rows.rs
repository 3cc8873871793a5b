//! What rows hold, whatever the database: numbers, bytes of fixed lengths, and why a transaction is rolled back.

use crate::error::StoreError;

/// A value that this program never writes.
#[derive(Debug)]
pub(crate) struct Damaged(pub(crate) String);

/// Why a transaction was rolled back; `E` is the database's own error.
#[derive(Debug)]
pub(crate) enum Fault<E> {
    Database(E),
    Damaged(String),
    /// What the contract refuses.
    Refused(StoreError),
}

impl<E> From<StoreError> for Fault<E> {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl<E> From<Damaged> for Fault<E> {
    fn from(Damaged(reason): Damaged) -> Self {
        Self::Damaged(reason)
    }
}

impl From<rusqlite::Error> for Fault<rusqlite::Error> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<tokio_postgres::Error> for Fault<tokio_postgres::Error> {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

/// An unsigned number as databases have them.
pub(crate) fn stored(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::TooLarge {
        what: "a number",
        found: value,
        limit: i64::MAX as u64,
    })
}

/// An unsigned number as it was stored.
pub(crate) fn loaded(value: i64) -> Result<u64, Damaged> {
    u64::try_from(value)
        .map_err(|_| Damaged(format!("{value} stands where a number from 0 on should")))
}

/// Bytes of a fixed length, as they were stored.
pub(crate) fn fixed<const N: usize>(bytes: Vec<u8>) -> Result<[u8; N], Damaged> {
    <[u8; N]>::try_from(bytes)
        .map_err(|bytes| Damaged(format!("{} bytes stand where {N} should", bytes.len())))
}

/// `limit` as databases take it.
pub(crate) fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
