//! [`MetaStore`](crate::MetaStore) in one SQLite file: write-ahead log, `synchronous=FULL`, so that a commit is durable
//! when it returns.
//!
//! One connection writes, and a few read beside it without waiting for it.

mod checkpoint;
mod index;
mod jobs;
mod keys;
mod leases;
mod schema;
mod tokens;
mod update;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, ffi};

use crate::dir::sync_dir;
use crate::error::{Result, StoreError};
use crate::rows::{at_most, fixed, loaded, stored};

/// How many idle connections are kept for reading; more are opened while they are needed.
const IDLE_READERS: usize = 4;
/// How long to wait for another process that has the file locked (a backup, a curious `sqlite3`).
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A [`MetaStore`](crate::MetaStore) in a file of this machine.
#[derive(Debug)]
pub struct SqliteMeta {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

impl SqliteMeta {
    /// Opens the database, makes it if it is missing, and brings an older schema up to date.
    ///
    /// # Errors
    /// [`NewerSchema`](StoreError::NewerSchema) if a newer version of this program has changed it such that this one can
    /// no longer use it; otherwise as the database fails.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error| sort(path, "open the database", error);
        // SQLite would make it readable for everybody; its log and shared memory take the same mode.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| StoreError::io("create", path, source))?;
        let mut writer = Connection::open(path).map_err(failed)?;
        configure(&writer).map_err(failed)?;
        // secure_delete overwrites what is deleted: an erased key must not linger in a free page.
        writer
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 4000;")
            .map_err(failed)?;
        schema::migrate(path, &mut writer, &schema::STEPS)?;
        // The log's name has to be durable before the first commit in it is. SQLite syncs it too, and does not mind if
        // that fails.
        sync_dir(
            path.parent()
                .filter(|dir| !dir.as_os_str().is_empty())
                .unwrap_or(Path::new(".")),
        )?;
        Ok(Self {
            path: path.to_path_buf(),
            writer: Mutex::new(writer),
            readers: Mutex::new(Vec::new()),
        })
    }

    /// Opens the database of a ledger that another process may be writing to, to read it: nothing is made, nothing is
    /// brought up to date, and every write is refused.
    ///
    /// # Errors
    /// [`OlderSchema`](StoreError::OlderSchema) or [`NewerSchema`](StoreError::NewerSchema) if another version of this
    /// program has written it; otherwise as the database fails.
    pub fn open_beside(path: &Path) -> Result<Self> {
        let failed = |error| sort(path, "open the database", error);
        // Not read-only: where nobody else has it open, its log is recovered by whoever comes.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let writer = Connection::open_with_flags(path, flags).map_err(failed)?;
        configure(&writer).map_err(failed)?;
        writer
            .execute_batch("PRAGMA query_only = ON;")
            .map_err(failed)?;
        schema::check(path, &writer, &schema::STEPS)?;
        Ok(Self {
            path: path.to_path_buf(),
            writer: Mutex::new(writer),
            readers: Mutex::new(Vec::new()),
        })
    }

    /// Runs `work` in a transaction that is committed if it succeeds. Serialised among threads and processes.
    fn write<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let run = || {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|fault| self.fault(action, fault))
    }

    /// Runs `work` on a connection of its own. It sees every write that returned before.
    fn read<T>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T> {
        let idle = self
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let run = || {
            let mut reader = match idle {
                Some(reader) => reader,
                None => self.new_reader()?,
            };
            // One transaction: several queries see one state.
            let transaction = reader.transaction()?;
            let value = work(&transaction)?;
            drop(transaction);
            let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
            if readers.len() < IDLE_READERS {
                readers.push(reader);
            }
            Ok(value)
        };
        run().map_err(|fault| self.fault(action, fault))
    }

    fn new_reader(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&self.path, flags)?;
        configure(&reader)?;
        Ok(reader)
    }

    fn fault(&self, action: &'static str, fault: Fault) -> StoreError {
        match fault {
            Fault::Database(error) => sort(&self.path, action, error),
            Fault::Damaged(reason) => StoreError::CorruptDatabase {
                path: self.path.clone(),
                reason,
            },
            Fault::Refused(error) => error,
        }
    }
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -8000;",
    )
}

/// Why a transaction was rolled back.
type Fault = crate::rows::Fault<rusqlite::Error>;

fn sort(path: &Path, action: &'static str, error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode;
    let path = path.to_path_buf();
    let source = std::io::Error::other(error.to_string());
    let extended = error.sqlite_error().map(|error| error.extended_code);
    if let Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) = extended {
        return StoreError::SyncFailed { path, source };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { path, source },
        // What it shares with other processes could not grow.
        _ if extended == Some(ffi::SQLITE_IOERR_SHMSIZE) => StoreError::Full { path, source },
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
            StoreError::Denied {
                action,
                path,
                source,
            }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::CorruptDatabase {
            path,
            reason: error.to_string(),
        },
        _ => StoreError::Database {
            action,
            path,
            source: Box::new(error),
        },
    }
}
