//! Objects too large to be held in memory: written in parts, read in ranges.
//!
//! Parts are sent one after the other, each with retries of its own. Nobody sees an object before its upload is
//! completed; an upload that was begun and broke off is aborted where the store still answers, and else left to the
//! store's own rule for those (a lifecycle rule that ends incomplete uploads after a day is a good thing to have).

use std::io::{self, Read};
use std::sync::Arc;

use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{Error, MultipartId, ObjectStoreExt as _, PutPayload};

use super::{Inner, RemoteObjects};
use crate::error::{Result, StoreError};

/// The length of a part but for the last, and of what is read at a time. S3 takes no less than 5 MiB, and at most
/// 10,000 parts.
const PART_BYTES: usize = 8 << 20;
const WRITE: &str = "write an object in parts";

impl RemoteObjects {
    /// Writes what `source` has: in one request if it is short.
    pub(super) fn put_large(&self, key: &str, source: &mut dyn Read) -> Result<u64> {
        let first = part(source)?;
        if first.len() < PART_BYTES {
            let bytes = first.len() as u64;
            let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
            self.wait(
                WRITE,
                async move { inner.replace(&key, first.into()).await },
            )?;
            return Ok(bytes);
        }
        let upload = Upload::begin(self, key)?;
        let sent = upload.send(first, source);
        if sent.is_err() {
            upload.abort();
        }
        sent
    }
}

/// The next bytes of `source`: fewer than a part's only at its end.
fn part(source: &mut dyn Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source
        .take(PART_BYTES as u64)
        .read_to_end(&mut bytes)
        .map_err(StoreError::Source)?;
    Ok(bytes)
}

/// An upload that was begun.
struct Upload<'a> {
    objects: &'a RemoteObjects,
    path: Path,
    id: MultipartId,
}

impl<'a> Upload<'a> {
    fn begin(objects: &'a RemoteObjects, key: &str) -> Result<Self> {
        let path = objects.inner.path(key);
        let (inner, to) = (Arc::clone(&objects.inner), path.clone());
        let id = objects.wait(WRITE, async move {
            let mut attempts = inner.attempts(WRITE);
            loop {
                match inner.client.create_multipart(&to).await {
                    Ok(id) => return Ok(id),
                    Err(failed) => attempts.again(failed).await?,
                }
            }
        })?;
        Ok(Self { objects, path, id })
    }

    /// Sends all parts, the first of which was read already, and completes the upload.
    fn send(&self, first: Vec<u8>, source: &mut dyn Read) -> Result<u64> {
        let mut bytes = 0;
        let mut parts = Vec::new();
        let mut next = first;
        while !next.is_empty() {
            bytes += next.len() as u64;
            parts.push(self.send_part(parts.len(), next.into())?);
            next = part(source)?;
        }
        self.complete(parts, bytes)?;
        Ok(bytes)
    }

    fn send_part(&self, number: usize, payload: PutPayload) -> Result<PartId> {
        let (inner, path, id) = self.handles();
        self.objects.wait(WRITE, async move {
            let mut attempts = inner.attempts(WRITE);
            loop {
                let put = inner.client.put_part(&path, &id, number, payload.clone());
                match put.await {
                    Ok(part) => return Ok(part),
                    Err(failed) => attempts.again(failed).await?,
                }
            }
        })
    }

    fn complete(&self, parts: Vec<PartId>, bytes: u64) -> Result<()> {
        let (inner, path, id) = self.handles();
        self.objects.wait(WRITE, async move {
            let mut attempts = inner.attempts(WRITE);
            loop {
                let complete = inner.client.complete_multipart(&path, &id, parts.clone());
                let Err(failed) = complete.await else {
                    return Ok(());
                };
                // It may have been done, and its upload be unknown since.
                match inner.client.head(&path).await {
                    Ok(found) if found.size == bytes => return Ok(()),
                    _ => attempts.again(failed).await?,
                }
            }
        })
    }

    fn abort(&self) {
        let (inner, path, id) = self.handles();
        let aborted = self.objects.wait(WRITE, async move {
            let aborted = inner.client.abort_multipart(&path, &id).await;
            aborted.map_err(|error| inner.unavailable(WRITE, error.to_string()))
        });
        if let Err(error) = aborted {
            tracing::warn!(%error, path = %self.path, "an upload that broke off could not be aborted");
        }
    }

    fn handles(&self) -> (Arc<Inner>, Path, MultipartId) {
        let inner = Arc::clone(&self.objects.inner);
        (inner, self.path.clone(), self.id.clone())
    }
}

impl Inner {
    /// Writes an object, whatever was there.
    pub(super) async fn replace(&self, key: &str, payload: PutPayload) -> Result<()> {
        let path = self.path(key);
        let mut attempts = self.attempts("replace an object");
        loop {
            match self.client.put(&path, payload.clone()).await {
                Ok(_) => return Ok(()),
                Err(failed) => attempts.again(failed).await?,
            }
        }
    }

    /// An object's size, if it is there.
    pub(super) async fn size(&self, key: &str) -> Result<Option<u64>> {
        let path = self.path(key);
        let mut attempts = self.attempts("look for an object");
        loop {
            match self.client.head(&path).await {
                Ok(found) => return Ok(Some(found.size)),
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(failed) => attempts.again(failed).await?,
            }
        }
    }

    /// So many bytes of an object.
    async fn range(&self, key: &str, range: std::ops::Range<u64>) -> Result<Vec<u8>> {
        let path = self.path(key);
        let mut attempts = self.attempts("read an object");
        loop {
            match self.client.get_range(&path, range.clone()).await {
                Ok(bytes) => return Ok(bytes.into()),
                Err(failed) => attempts.again(failed).await?,
            }
        }
    }
}

/// Reads an object range by range.
pub(super) struct Reader {
    objects: RemoteObjects,
    key: String,
    bytes: u64,
    /// Where the next range begins.
    next: u64,
    /// What was read and not yet handed out.
    held: io::Cursor<Vec<u8>>,
}

impl Reader {
    pub(super) fn new(objects: RemoteObjects, key: &str, bytes: u64) -> Self {
        Self {
            objects,
            key: key.to_owned(),
            bytes,
            next: 0,
            held: io::Cursor::default(),
        }
    }

    fn fetch(&mut self) -> Result<()> {
        let end = self.bytes.min(self.next + PART_BYTES as u64);
        let (inner, key) = (Arc::clone(&self.objects.inner), self.key.clone());
        let range = self.next..end;
        let held = self.objects.wait(
            "read an object",
            async move { inner.range(&key, range).await },
        )?;
        self.next += held.len() as u64;
        self.held = io::Cursor::new(held);
        Ok(())
    }
}

impl Read for Reader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.held.read(out)?;
        if read > 0 || out.is_empty() || self.next >= self.bytes {
            return Ok(read);
        }
        self.fetch().map_err(io::Error::other)?;
        self.held.read(out)
    }
}
