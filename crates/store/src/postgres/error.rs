//! What a failure of the database means.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::Fault;
use crate::error::StoreError;

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sorted {
    /// The connection, or the server's will to serve, is gone; another connection may do.
    Lost,
    /// It took too long: a lock, a statement, or a deadlock.
    Late,
    /// The disk is full.
    Full,
    /// The database is damaged.
    Corrupt,
    /// The user may not, or is not who it says.
    Refused,
    /// Anything else, which trying again does not mend.
    Other,
}

impl Sorted {
    pub(super) fn of(error: &Error) -> Self {
        let Some(code) = error.code() else {
            // Not said by the server: the connection was not made, or was cut. What was sent wrongly, and a certificate
            // that does not do, stay so.
            let cut = |error: &std::io::Error| {
                !matches!(
                    error.kind(),
                    std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput
                )
            };
            let source = error.source().and_then(|source| source.downcast_ref());
            return if error.is_closed() || source.is_some_and(cut) {
                Self::Lost
            } else {
                Self::Other
            };
        };
        match code.code().as_bytes() {
            // Shut down, crashed, starting, a standby, killed while idle; all connections taken; a protocol in pieces.
            [b'0', b'8', ..] | [b'5', b'7', b'P', ..] => Self::Lost,
            _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION
                || *code == SqlState::TOO_MANY_CONNECTIONS
                || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
                || *code == SqlState::NO_ACTIVE_SQL_TRANSACTION =>
            {
                Self::Lost
            }
            _ if *code == SqlState::LOCK_NOT_AVAILABLE
                || *code == SqlState::QUERY_CANCELED
                || *code == SqlState::T_R_SERIALIZATION_FAILURE
                || *code == SqlState::T_R_DEADLOCK_DETECTED
                || *code == SqlState::OUT_OF_MEMORY
                || *code == SqlState::CONFIGURATION_LIMIT_EXCEEDED =>
            {
                Self::Late
            }
            _ if *code == SqlState::DISK_FULL => Self::Full,
            [b'X', b'X', b'0', b'0', b'1' | b'2'] => Self::Corrupt,
            [b'2', b'8', ..] => Self::Refused,
            _ if *code == SqlState::INSUFFICIENT_PRIVILEGE => Self::Refused,
            _ => Self::Other,
        }
    }
}

/// What the trait's caller is told.
pub(super) fn store_error(server: &str, action: &'static str, fault: Fault) -> StoreError {
    let error = match fault {
        Fault::Refused(error) => return error,
        Fault::Damaged(reason) => {
            return StoreError::CorruptDatabase {
                path: server.into(),
                reason,
            };
        }
        Fault::Database(error) => error,
    };
    match Sorted::of(&error) {
        Sorted::Lost | Sorted::Late => StoreError::Unavailable {
            action,
            server: server.to_owned(),
            reason: said(&error),
        },
        Sorted::Full => StoreError::Full {
            path: server.into(),
            source: std::io::Error::new(std::io::ErrorKind::StorageFull, said(&error)),
        },
        Sorted::Corrupt => StoreError::CorruptDatabase {
            path: server.into(),
            reason: said(&error),
        },
        Sorted::Refused => StoreError::Refused {
            action,
            server: server.to_owned(),
            reason: said(&error),
        },
        Sorted::Other => StoreError::Database {
            action,
            path: server.into(),
            source: Box::new(std::io::Error::other(said(&error))),
        },
    }
}

/// The server's message without details, which may quote values; or the chain of causes.
fn said(error: &Error) -> String {
    if let Some(database) = error.as_db_error() {
        return format!("{} ({})", database.message(), database.code().code());
    }
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
