//! Attachments: public values too large for a record, which names them by their SHA-256. They are kept as objects
//! under that name, durable before any record that names them is admitted.
//!
//! Not here: what they hold. To a ledger they are bytes.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{PoisonError, RwLock};

use record::{MAX_ATTACHMENT_BYTES, Record, Sha256};
use sha2::Digest as _;
use store::{OpenObject, StoreError};
use thiserror::Error;

use crate::error::{AppendCode, AppendError, LedgerError};
use crate::ledger::Ledger;
use crate::shared::Shared;

/// How a record begins that names any: in canonical form this is its first member.
pub(crate) const NAMES_ATTACHMENTS: &[u8] = b"{\"attachments\":";
/// Where they lie.
pub(crate) const PREFIX: &str = "attachments";
/// How many are known to be there without looking; some 100 bytes each.
const MAX_KNOWN: usize = 65_536;

/// An attachment was not kept. Nothing of it is there, unless it was there before.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachmentError {
    /// The bytes are not those of the name.
    #[error("the bytes that came have the SHA-256 {found}, not {expected}; send those of the name")]
    Mismatch {
        /// The name.
        expected: Sha256,
        /// What the bytes hash to.
        found: Sha256,
    },
    /// There are too many of them.
    #[error("an attachment has at most {MAX_ATTACHMENT_BYTES} bytes, and more came; split it")]
    TooLarge,
    /// They ended before their end.
    #[error("the attachment broke off: {0}; send it again")]
    Source(io::Error),
    /// The disk is full. Once there is room, the same can be put again.
    #[error("the attachment was not kept: {0}")]
    NoRoom(StoreError),
    /// The ledger or its stores failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// What became of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredAttachment {
    /// How many bytes it has.
    pub bytes: u64,
    /// It was not there before.
    pub fresh: bool,
}

impl Ledger {
    /// Keeps an attachment: what `source` has to its end, whose SHA-256 has to be `sha256`. Durable once this returns,
    /// and the same again is harmless. Blocks, and holds a few hundred kilobytes of it at a time.
    ///
    /// # Errors
    /// [`AttachmentError`]: nothing was kept.
    pub fn put_attachment(
        &self,
        sha256: Sha256,
        source: &mut dyn Read,
    ) -> Result<StoredAttachment, AttachmentError> {
        let shared = self.shared();
        if let Some(stopped) = shared.queue.stopped() {
            return Err(LedgerError::from(stopped).into());
        }
        if let Some(index) = self.ended()? {
            return Err(LedgerError::Ended { index }.into());
        }
        let (objects, key) = (&*shared.reader.objects, key(&sha256));
        let known = objects.open_object(&key).map_err(LedgerError::from)?;
        let mut checked = Checked::new(source, sha256);
        let written = objects.put_from(&key, &mut checked);
        let bytes = match shared.judge("an attachment", written) {
            Ok(bytes) => bytes,
            Err(StoreError::Source(error)) => {
                return Err(checked.fault.unwrap_or(AttachmentError::Source(error)));
            }
            Err(error @ StoreError::Full { .. }) => return Err(AttachmentError::NoRoom(error)),
            Err(error) => return Err(LedgerError::from(error).into()),
        };
        shared.attachments.remember(sha256, bytes);
        Ok(StoredAttachment {
            bytes,
            fresh: known.is_none(),
        })
    }

    /// An attachment, to be read in bounded memory; `None` if it is not there. Whether its bytes are still those of its
    /// name is for whoever reads them to see.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn attachment(&self, sha256: &Sha256) -> Result<Option<OpenObject>, LedgerError> {
        Ok(self.shared().reader.objects.open_object(&key(sha256))?)
    }
}

/// The object that an attachment is. In 256 directories, so that none gets too long.
pub(crate) fn key(sha256: &Sha256) -> String {
    let name = sha256.to_string();
    format!("{PREFIX}/{}/{name}", &name[..2])
}

/// The attachment that an object is.
pub(crate) fn parse_key(object: &str) -> Option<Sha256> {
    let name = object.rsplit('/').next()?;
    Sha256::parse(name).filter(|sha256| key(sha256) == object)
}

/// A source held against a name while it is read: at its end it fails if the name is another's.
struct Checked<'a> {
    source: &'a mut dyn Read,
    expected: Sha256,
    hasher: sha2::Sha256,
    bytes: u64,
    /// Why it failed, where that is not the source's doing.
    fault: Option<AttachmentError>,
}

impl<'a> Checked<'a> {
    fn new(source: &'a mut dyn Read, expected: Sha256) -> Self {
        Self {
            source,
            expected,
            hasher: sha2::Sha256::new(),
            bytes: 0,
            fault: None,
        }
    }

    fn fail(&mut self, fault: AttachmentError) -> io::Error {
        let error = io::Error::other(fault.to_string());
        self.fault = Some(fault);
        error
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(out)?;
        self.hasher.update(&out[..read]);
        self.bytes += read as u64;
        if self.bytes > MAX_ATTACHMENT_BYTES {
            return Err(self.fail(AttachmentError::TooLarge));
        }
        if read == 0 && !out.is_empty() {
            let found = Sha256(self.hasher.clone().finalize().into());
            if found != self.expected {
                let expected = self.expected;
                return Err(self.fail(AttachmentError::Mismatch { expected, found }));
            }
        }
        Ok(read)
    }
}

/// What is known to be there, with its size. Attachments are never removed.
#[derive(Default)]
pub(crate) struct Attachments {
    known: RwLock<HashMap<Sha256, u64>>,
}

impl Attachments {
    fn remember(&self, sha256: Sha256, bytes: u64) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(sha256, bytes);
    }

    fn recall(&self, sha256: &Sha256) -> Option<u64> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(sha256).copied()
    }
}

/// Whether all that a record names is there, and durable; in the caller's thread. `line` is its place in the request.
pub(crate) fn check(shared: &Shared, record: &Record<'_>, line: usize) -> Result<(), AppendError> {
    for (name, bytes, sha256) in record.attachments() {
        let held = match shared.attachments.recall(&sha256) {
            Some(held) => Some(held),
            None => look(shared, sha256, line)?,
        };
        let reason = match held {
            Some(held) if held == bytes => continue,
            Some(held) => {
                format!(
                    "attachment `{name}`: {sha256} has {held} bytes, and the record says {bytes}"
                )
            }
            None => format!(
                "attachment `{name}` is not here: put the {bytes} bytes with the SHA-256 {sha256} first \
                 (PUT /v1/attachments/{sha256}), then send the record again"
            ),
        };
        return Err(AppendError::at(line, AppendCode::AttachmentMissing, reason));
    }
    Ok(())
}

fn look(shared: &Shared, sha256: Sha256, line: usize) -> Result<Option<u64>, AppendError> {
    let confirmed = shared.reader.objects.confirm(&key(&sha256));
    let held = shared
        .judge("an attachment", confirmed)
        .map_err(|error| AppendError::at(line, AppendCode::Unavailable, error))?;
    if let Some(bytes) = held {
        shared.attachments.remember(sha256, bytes);
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_has_one_place() {
        let sha256 = Sha256([0xab; 32]);
        let place = key(&sha256);
        assert_eq!(place, format!("attachments/ab/{}", "ab".repeat(32)));
        assert_eq!(parse_key(&place), Some(sha256));
        for other in [
            format!("attachments/aa/{sha256}"),
            format!("attachments/{sha256}"),
            format!("documents/ab/{sha256}"),
            "attachments/ab/AB".to_owned(),
            String::new(),
        ] {
            assert_eq!(parse_key(&other), None, "{other}");
        }
    }
}
