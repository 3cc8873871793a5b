//! Attachments on their way: files named by their SHA-256, which this process has taken or found when it was opened.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use record::{Attachment, Sha256};
use sha2::Digest as _;

use super::batch::Batch;
use super::core::{Core, lock};
use super::dir::{create, names, remove, sync_dir};
use super::error::SpoolError;
use super::options::Durability;

/// The most bytes an attachment may have, as servers take it: 256 MiB.
const MAX_ATTACHMENT_BYTES: u64 = 256 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// Those that this process sends.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<BTreeMap<Sha256, OnDisk>>);

#[derive(Clone, Copy, Debug)]
struct OnDisk {
    bytes: u64,
    /// When the server had it.
    sent: Option<Instant>,
}

impl Kept {
    /// Takes over what is in the directory.
    pub(super) fn find(&self, core: &Core) -> Result<(), SpoolError> {
        for path in names(&core.layout.attachments())? {
            let name = path.file_name().and_then(|name| name.to_str());
            let (Some(sha256), Ok(metadata)) = (name.and_then(Sha256::parse), fs::metadata(&path))
            else {
                continue;
            };
            let bytes = metadata.len();
            let known = lock(&self.0).insert(sha256, OnDisk { bytes, sent: None });
            if known.is_none() {
                core.room.force(bytes);
            }
        }
        Ok(())
    }

    /// How many bytes lie here that other processes answer for.
    pub(super) fn of_others(&self, core: &Core) -> u64 {
        let paths = names(&core.layout.attachments()).unwrap_or_default();
        let others = paths.iter().filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.and_then(Sha256::parse)
                .is_some_and(|sha256| !self.has(&sha256))
        });
        others
            .filter_map(|path| fs::metadata(path).ok())
            .map(|metadata| metadata.len())
            .sum()
    }

    /// Those that are not sent.
    pub(super) fn unsent(&self) -> Vec<Attachment> {
        let kept = lock(&self.0);
        let unsent = kept.iter().filter(|(_, on_disk)| on_disk.sent.is_none());
        unsent
            .map(|(sha256, on_disk)| Attachment {
                bytes: on_disk.bytes,
                sha256: *sha256,
            })
            .collect()
    }

    pub(super) fn any_unsent(&self) -> bool {
        lock(&self.0).values().any(|on_disk| on_disk.sent.is_none())
    }

    /// Whether any was sent and lies here still.
    pub(super) fn any_sent(&self) -> bool {
        lock(&self.0).values().any(|on_disk| on_disk.sent.is_some())
    }

    /// Sends those that a batch names once more, where they are here. `false` where none is.
    pub(super) fn send_again(&self, core: &Core, batch: &Batch) -> bool {
        let mut any = false;
        for sha256 in &batch.attachments {
            let Ok(metadata) = fs::metadata(path(core, sha256)) else {
                continue;
            };
            any = true;
            let on_disk = OnDisk {
                bytes: metadata.len(),
                sent: None,
            };
            if lock(&self.0).insert(*sha256, on_disk).is_none() {
                core.room.force(metadata.len());
            }
        }
        any
    }

    /// Whether this process answers for it, sent or not.
    pub(super) fn has(&self, sha256: &Sha256) -> bool {
        lock(&self.0).contains_key(sha256)
    }

    pub(super) fn sent(&self, sha256: &Sha256) {
        if let Some(on_disk) = lock(&self.0).get_mut(sha256) {
            on_disk.sent = Some(Instant::now());
        }
    }

    /// Deletes what the server had before `looked`.
    pub(super) fn delete_sent(&self, core: &Core, looked: Instant) -> Result<(), SpoolError> {
        let mut kept = lock(&self.0);
        let mut result = Ok(());
        kept.retain(|sha256, on_disk| {
            if on_disk.sent.is_none_or(|sent| sent >= looked) {
                return true;
            }
            let removed = remove(&path(core, sha256));
            let gone = removed.is_ok();
            result = removed;
            if gone {
                core.room.give_back(on_disk.bytes);
            }
            !gone
        });
        result
    }
}

pub(super) fn path(core: &Core, sha256: &Sha256) -> PathBuf {
    core.layout.attachments().join(sha256.to_string())
}

/// Takes what a reader gives, of which `bytes` are expected.
pub(super) fn take(
    core: &Core,
    source: &mut dyn Read,
    bytes: u64,
) -> Result<Attachment, SpoolError> {
    core.check_open()?;
    if bytes > MAX_ATTACHMENT_BYTES {
        return Err(too_large(bytes));
    }
    let reserved = core.reserve(bytes)?;
    let temporary = core.layout.temporary();
    let copied = copy(core, source, &temporary).and_then(|attachment| {
        let path = path(core, &attachment.sha256);
        fs::rename(&temporary, &path).map_err(SpoolError::disk("write", &path))?;
        if core.options.durability == Durability::Machine {
            sync_dir(&core.layout.attachments())?;
        }
        Ok(attachment)
    });
    let attachment = match copied {
        Ok(attachment) => attachment,
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
    };
    let on_disk = OnDisk {
        bytes: attachment.bytes,
        sent: None,
    };
    let known = lock(&core.attachments.0).insert(attachment.sha256, on_disk);
    // The same bytes are there once.
    reserved.keep(if known.is_some() { 0 } else { attachment.bytes });
    core.bell.ring();
    Ok(attachment)
}

fn copy(core: &Core, source: &mut dyn Read, to: &Path) -> Result<Attachment, SpoolError> {
    let mut file = create(to).map_err(SpoolError::disk("create", to))?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(SpoolError::disk("read what is to be attached as", to)(
                    error,
                ));
            }
        };
        bytes += read as u64;
        if bytes > MAX_ATTACHMENT_BYTES {
            return Err(too_large(bytes));
        }
        hasher.update(&buffer[..read]);
        file.write_all(&buffer[..read])
            .map_err(SpoolError::disk("write", to))?;
    }
    if core.options.durability == Durability::Machine {
        file.sync_all().map_err(SpoolError::disk("sync", to))?;
    }
    Ok(Attachment {
        bytes,
        sha256: Sha256(hasher.finalize().into()),
    })
}

/// Takes a copy of a file.
pub(super) fn take_file(core: &Core, path: &Path) -> Result<Attachment, SpoolError> {
    let mut file = File::open(path).map_err(SpoolError::disk("open", path))?;
    let metadata = file.metadata().map_err(SpoolError::disk("read", path))?;
    take(core, &mut file, metadata.len())
}

fn too_large(bytes: u64) -> SpoolError {
    SpoolError::TooLarge {
        what: "the attachment".to_owned(),
        bytes,
        limit_bytes: MAX_ATTACHMENT_BYTES,
        instead: "no server takes more; attach it in pieces",
    }
}
