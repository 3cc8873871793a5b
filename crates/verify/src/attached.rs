//! Attachments held against the SHA-256 by which records name them: those that are at hand. One that is not is
//! counted and named, and no failure: whoever hands out a log need not hand out what it points at.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use record::{MAX_ATTACHMENT_BYTES, Sha256};
use sha2::Digest as _;

use crate::bundle::{FormatError, Reader};
use crate::model::Models;
use crate::report::{Check, Failure, Report};
use crate::{Options, Source, VerifyError};

/// How much is read and hashed at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// An attachment as a record names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamedAttachment {
    pub(crate) index: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: Sha256,
}

/// All that the records name, and where they first do.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    named: BTreeMap<Sha256, Vec<Named>>,
}

/// A size that records give for a name: all the same, unless a record says what is not true.
#[derive(Clone, Copy, Debug)]
struct Named {
    bytes: u64,
    index: u64,
}

/// What an attachment came to.
struct Found {
    bytes: u64,
    sha256: Sha256,
}

impl Attached {
    pub(crate) fn take(&mut self, named: Vec<NamedAttachment>) {
        for NamedAttachment {
            index,
            bytes,
            sha256,
        } in named
        {
            let sizes = self.named.entry(sha256).or_default();
            if !sizes.iter().any(|known| known.bytes == bytes) {
                sizes.push(Named { bytes, index });
            }
        }
    }

    /// Looks for each where the log is.
    pub(crate) fn check_log(
        &self,
        source: &Source,
        options: &Options<'_>,
        models: &Models<'_>,
        report: &mut Report,
    ) -> Result<(), VerifyError> {
        let manifests = models.manifests();
        let names: Vec<&Sha256> = self.named.keys().collect();
        let threads = options.threads().get().min(names.len());
        let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        let work = || -> Result<(), VerifyError> {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(name) = names.get(at) else {
                    return Ok(());
                };
                let mut keep = manifests.contains(name).then(Vec::new);
                let found = look(source, name, keep.as_mut())?;
                compare(models, name, found.as_ref(), keep);
                let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
                outcomes.insert(**name, found);
            }
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut outcome = work();
            for other in others {
                let theirs = other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                outcome = outcome.and(theirs);
            }
            outcome
        })?;
        let outcomes = outcomes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        self.report(&outcomes, report);
        Ok(())
    }

    /// Reads those that a bundle holds, behind its entries.
    pub(crate) fn check_bundle<R: Read>(
        &self,
        reader: &mut Reader<R>,
        models: &Models<'_>,
        report: &mut Report,
    ) -> Result<(), FormatError> {
        let manifests = models.manifests();
        let mut outcomes = BTreeMap::new();
        let mut read = || {
            while let Some(attached) = reader.next_attachment()? {
                let name = Sha256(attached.sha256);
                if !self.named.contains_key(&name) {
                    return Err(FormatError::Broken {
                        expected: "attachments that the bundle's records name",
                        found: name.to_string(),
                    });
                }
                let mut keep = manifests.contains(&name).then(Vec::new);
                let found = hash(&mut |buffer| reader.piece(buffer), keep.as_mut())?;
                compare(models, &name, Some(&found), keep);
                outcomes.insert(name, Some(found));
            }
            Ok(())
        };
        let read = read();
        self.report(&outcomes, report);
        read
    }

    fn report(&self, outcomes: &BTreeMap<Sha256, Option<Found>>, report: &mut Report) {
        report.counts.attachments += self.named.len() as u64;
        for (name, sizes) in &self.named {
            let Some(found) = outcomes.get(name).and_then(Option::as_ref) else {
                report.absent_attachments.push(|| name.to_string());
                continue;
            };
            report.counts.attachments_checked += 1;
            report.counts.attachment_bytes += found.bytes;
            for named in sizes {
                if found.sha256 == *name && found.bytes == named.bytes {
                    continue;
                }
                let failure = Failure::new(
                    Check::Attachment,
                    format!("{} bytes with the SHA-256 {name}", named.bytes),
                    format!("{} bytes with the SHA-256 {}", found.bytes, found.sha256),
                );
                report.fail(failure.at(named.index));
            }
        }
    }
}

/// Hands on a manifest that is what its name says.
fn compare(models: &Models<'_>, name: &Sha256, found: Option<&Found>, kept: Option<Vec<u8>>) {
    if let (Some(found), Some(bytes)) = (found, kept)
        && found.sha256 == *name
    {
        models.manifest(*name, &bytes);
    }
}

/// Reads the attachment of this name, if it is there; keeps its bytes where asked to.
fn look(
    source: &Source,
    name: &Sha256,
    keep: Option<&mut Vec<u8>>,
) -> Result<Option<Found>, VerifyError> {
    let Some(reader) = source.attachment(name)? else {
        return Ok(None);
    };
    // One byte more than there may be is enough to see that it is another.
    let mut reader = reader.take(MAX_ATTACHMENT_BYTES + 1);
    let mut read = |buffer: &mut [u8]| loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    };
    let found = hash(&mut read, keep);
    found.map(Some).map_err(|error| VerifyError::Unavailable {
        what: format!("attachment {name}"),
        why: error.to_string(),
    })
}

fn hash<E>(
    read: &mut dyn FnMut(&mut [u8]) -> Result<usize, E>,
    mut keep: Option<&mut Vec<u8>>,
) -> Result<Found, E> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut hasher = sha2::Sha256::new();
    let mut bytes = 0;
    loop {
        match read(&mut buffer)? {
            0 => break,
            length => {
                hasher.update(&buffer[..length]);
                if let Some(kept) = &mut keep {
                    kept.extend_from_slice(&buffer[..length]);
                }
                bytes += length as u64;
            }
        }
    }
    Ok(Found {
        bytes,
        sha256: Sha256(hasher.finalize().into()),
    })
}
