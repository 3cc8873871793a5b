//! One record on its way through the ledger.

use std::sync::Arc;

use bytes::Bytes;
use record::chain::Link;
use record::{Kind, Record, Scope, StreamName, Timestamp};
use tlog::Hash;

/// Where a record belongs and what it is: as much as is needed once its bytes were checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) scope: Scope,
    pub(crate) stream: StreamName,
    pub(crate) seq: u64,
    pub(crate) prev: Option<Hash>,
    pub(crate) kind: Kind,
    pub(crate) time: Timestamp,
}

impl Place {
    /// The place of a record of a known kind.
    pub(crate) fn of(record: &Record<'_>) -> Option<Self> {
        Some(Self {
            scope: record.scope(),
            stream: *record.stream(),
            seq: record.seq(),
            prev: record.prev(),
            kind: record.kind()?,
            time: record.time(),
        })
    }

    /// What a chain looks at.
    pub(crate) fn link(&self) -> Link {
        Link {
            stream: self.stream,
            seq: self.seq,
            prev: self.prev,
            kind: self.kind,
        }
    }
}

/// A record that was checked, and what goes with it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Canonical bytes.
    pub(crate) bytes: Bytes,
    /// The record's name.
    pub(crate) leaf: Hash,
    /// Its sealed values, encrypted, as they will lie on disk; empty where there are none.
    pub(crate) sealed: Bytes,
    /// Where it belongs.
    pub(crate) place: Place,
    /// Who opened the stream, where this record does that. Not in the log, but in the journal.
    pub(crate) by: Option<Arc<str>>,
}

impl Entry {
    /// The same with bytes of its own, for whoever keeps it beyond its request.
    pub(crate) fn apart(&self) -> Self {
        Self {
            bytes: Bytes::copy_from_slice(&self.bytes),
            ..self.clone()
        }
    }

    /// What it weighs in queues, in bytes.
    pub(crate) fn weight(&self) -> usize {
        // A stream's opening may bring an enrolment with it.
        let added = if self.place.kind == Kind::StreamOpened {
            1_024
        } else {
            0
        };
        self.bytes.len() + self.sealed.len() + added + 256
    }
}
