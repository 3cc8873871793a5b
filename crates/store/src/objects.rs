//! Objects: whole byte strings under a key, most of which never change.

mod dir;
mod key;
mod remote;

pub use dir::DirObjects;
pub use key::check_key;
pub use remote::RemoteObjects;

use crate::error::Result;

/// Keeps tiles, sealed values, attachments and documents.
///
/// A key is a relative path as [`check_key`] has it. All methods may be called from several threads at once. What was
/// written is read back at once, whole or not at all: no reader sees half an object, also not after a power loss.
pub trait ObjectStore: Send + Sync {
    /// Writes an object that never changes. The same bytes again are `Ok`. Durable once it returns.
    ///
    /// # Errors
    /// [`Conflict`](crate::StoreError::Conflict) if the key holds other bytes, which stay. Any other error: unknown
    /// whether it is there; writing it again is safe.
    fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.put_many(&[(key, bytes)])
    }

    /// Writes objects that never change, in no particular order. The same bytes again are `Ok`. Once it returns, all
    /// are durable.
    ///
    /// # Errors
    /// As [`put`](Self::put); any part of them may have been written.
    fn put_many(&self, objects: &[(&str, &[u8])]) -> Result<()>;

    /// Writes an object that may change: a reader sees either the old bytes or the new. Durable once it returns.
    ///
    /// # Errors
    /// Unknown whether it was replaced; doing so again is safe.
    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()>;

    /// An object's bytes, if it is there.
    ///
    /// # Errors
    /// If it cannot be read.
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>>;

    /// All keys below a prefix (`""`, or whole path segments such as `tile/0`), sorted by their bytes.
    ///
    /// # Errors
    /// If they cannot be listed.
    fn list(&self, prefix: &str) -> Result<Vec<String>>;

    /// Removes an object; one that is not there is no error. It need not be durable: what is deleted is superseded.
    ///
    /// # Errors
    /// If it cannot be removed.
    fn delete(&self, key: &str) -> Result<()>;
}
