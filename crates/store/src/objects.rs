//! Objects: whole byte strings under a key, most of which never change.

mod dir;
mod key;
mod remote;

pub use dir::DirObjects;
pub use key::check_key;
pub use remote::{RemoteObjects, is_object_store};

use std::io::{Cursor, Read};

use crate::error::{Result, StoreError};

/// An object that is read piece by piece.
pub struct OpenObject {
    /// How many bytes it has.
    pub bytes: u64,
    /// Those bytes. One that ends before them, or fails, is not the object.
    pub reader: Box<dyn Read + Send>,
}

impl std::fmt::Debug for OpenObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenObject")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

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

    /// Writes an object from `source`, to its end, in bounded memory, and gives its size in bytes. Durable once it
    /// returns. For objects whose key follows from their bytes: one that is there is written anew and not compared,
    /// which also mends it.
    ///
    /// # Errors
    /// [`Source`](StoreError::Source) where `source` failed: nothing was written. Any other: unknown whether it is
    /// there, but whole if so; writing it again is safe.
    fn put_from(&self, key: &str, source: &mut dyn Read) -> Result<u64> {
        check_key(key)?;
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).map_err(StoreError::Source)?;
        self.replace(key, &bytes)?;
        Ok(bytes.len() as u64)
    }

    /// An object to be read in bounded memory, if it is there. For objects that never change.
    ///
    /// # Errors
    /// If it cannot be looked for; reading it may fail later.
    fn open_object(&self, key: &str) -> Result<Option<OpenObject>> {
        Ok(self.get(key)?.map(|bytes| OpenObject {
            bytes: bytes.len() as u64,
            reader: Box::new(Cursor::new(bytes)),
        }))
    }

    /// The size in bytes of an object, if it is there. It is durable once this returns, also where whoever writes it
    /// has not been told so yet.
    ///
    /// # Errors
    /// If it cannot be looked for, or not be made durable.
    fn confirm(&self, key: &str) -> Result<Option<u64>> {
        Ok(self.open_object(key)?.map(|object| object.bytes))
    }

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
