//! The end of a run, as far as its owner's stream has to do with it: the wish, which is kept, and the record.

use std::path::Path;

use record::Hash;
use record::kinds::{RunStatus, StreamEnd};
use serde::{Deserialize, Serialize};

use super::core::Core;
use super::dir::{self, read_json};
use super::error::SpoolError;
use super::frame::HEADER_BYTES;
use super::outgoing::{Ending, Outgoing, State};
use crate::error::Problem;
use crate::types::Receipt;

const SEAL: &str = "seal.json";

/// Where the spool's `run.sealed` stands, to take it back if another stream has grown meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct SealWritten {
    pub(super) seq: u64,
    /// Where its frame begins in the last segment.
    pub(super) offset: u64,
    pub(super) payload_bytes: u64,
}

/// The wish to seal a run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct SealWish {
    pub(super) status: RunStatus,
}

/// Whether the run of a stream's directory is to be sealed.
pub(super) fn seal_wish(dir: &Path) -> Result<Option<SealWish>, SpoolError> {
    read_json(&dir.join(SEAL))
}

impl Outgoing {
    /// Keeps the wish to seal the run.
    pub(super) fn wish_to_seal(&self, core: &Core, status: RunStatus) -> Result<(), SpoolError> {
        let mut writer = self.writer();
        match &writer.state {
            State::Open if writer.stream.is_some() && self.scope.run().is_some() => {}
            // Asked again, after a timeout.
            State::Sealing { .. } | State::Ended(Ending::Sealed(_)) => return Ok(()),
            state => return Err(self.closed(state)),
        }
        let path = self.dir.join(SEAL);
        core.layout.write_json(&path, &SealWish { status }, true)?;
        writer.not_sealed = None;
        writer.state = State::Sealing {
            status,
            written: None,
        };
        drop(writer);
        core.bell.ring();
        Ok(())
    }

    /// The wish is fulfilled.
    pub(super) fn sealed(&self, receipt: Receipt) {
        let _ = dir::remove(&self.dir.join(SEAL));
        self.writer().state = State::Ended(Ending::Sealed(receipt));
    }

    /// The wish cannot be fulfilled: the stream goes on as if it had not been.
    pub(super) fn not_sealed(&self, problem: Problem) {
        let _ = dir::remove(&self.dir.join(SEAL));
        let mut writer = self.writer();
        writer.not_sealed = Some(problem);
        writer.state = State::Open;
    }

    /// What the run is to be sealed as, if it is.
    pub(super) fn wished(&self) -> Option<RunStatus> {
        match self.writer().state {
            State::Sealing { status, .. } => Some(status),
            _ => None,
        }
    }

    /// Whether it ends for good with what is acknowledged.
    pub(super) fn is_sealed(&self) -> bool {
        matches!(self.writer().state, State::Ended(Ending::Sealed(_)))
    }

    /// Seals the run: `others` are the ends of its other streams. Everything in this stream is acknowledged.
    pub(super) fn seal(&self, core: &Core, others: Vec<StreamEnd>) -> Result<(), SpoolError> {
        let mut guard = self.writer();
        let writer = &mut *guard;
        let (State::Sealing { status, .. }, Some(stream)) = (&writer.state, &mut writer.stream)
        else {
            return Ok(());
        };
        let status = *status;
        let mark = stream.mark();
        let seq = stream.next_seq();
        let sealed = stream
            .seal(status, others)
            .map_err(|source| SpoolError::Record { at: 0, source })?;
        let payload_bytes = match self.put_own(core, writer, seq, &sealed) {
            Ok(bytes) => bytes,
            Err(error) => {
                if let Some(stream) = &mut writer.stream {
                    stream.rewind(mark);
                }
                return Err(error);
            }
        };
        let end = writer.tail.segment().map_or(0, |segment| segment.bytes);
        let written = Some(SealWritten {
            seq,
            offset: end.saturating_sub(HEADER_BYTES as u64 + payload_bytes),
            payload_bytes,
        });
        writer.state = State::Sealing { status, written };
        Ok(())
    }

    /// Takes back a `run.sealed` that the server refused since another stream has grown; `head` is what it is chained to.
    pub(super) fn unseal(&self, core: &Core, head: Hash, unsigned: u64) -> Result<(), SpoolError> {
        let mut guard = self.writer();
        let writer = &mut *guard;
        let State::Sealing {
            status,
            written: Some(seal),
        } = writer.state
        else {
            return Ok(());
        };
        writer.tail.take_back(seal.offset)?;
        let stream = self.resume(core, seal.seq, head, unsigned);
        writer.stream = Some(stream);
        writer.state = State::Sealing {
            status,
            written: None,
        };
        let mut queue = self.queue();
        queue.next_seq = seal.seq;
        if let Some(last) = queue.segments.back_mut() {
            last.bytes = seal.offset;
        }
        core.room.give_back(seal.payload_bytes);
        queue.waiting_bytes = queue.waiting_bytes.saturating_sub(seal.payload_bytes);
        queue.since = None;
        Ok(())
    }
}
