//! Objects in S3 (or what speaks it), Google Cloud Storage or Azure Blob.
//!
//! These answer late, twice, wrongly or not at all, and a write that failed may have been done. So an object that never
//! changes is written under the condition that there is none, and after *any* failure it is read back and compared: the
//! same bytes are a success, whoever wrote them. A store that ignores the condition is found by a probe when it is opened,
//! and refused.
//!
//! All retries are made here and not by the client, so that there is one place that knows how long they may take.

mod large;
mod location;
mod probe;

pub use location::is_object_store;

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStoreExt, PutMode, PutPayload};

use super::{ObjectStore, OpenObject, check_key};
use crate::error::{Result, StoreError};
use crate::net::{Net, pause_after};

/// How many requests of one call are under way at once.
const CONCURRENT: usize = 32;
/// How long a request is tried again after failures that may pass. One that hangs ends by the client's own limits,
/// `location.rs`.
const RETRY: Duration = Duration::from_secs(10);
/// How much of a server's message is passed on.
const SAID_CHARS: usize = 400;

/// An [`ObjectStore`] reached over a network; key = path below the prefix of its URL.
#[derive(Clone)]
pub struct RemoteObjects {
    net: Arc<Net>,
    inner: Arc<Inner>,
}

/// What is asked of a client.
trait Client: object_store::ObjectStore + MultipartStore {}

impl<T: object_store::ObjectStore + MultipartStore> Client for T {}

struct Inner {
    client: Arc<dyn Client>,
    prefix: Path,
    server: String,
}

impl RemoteObjects {
    /// Opens `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`, the prefix being optional, and
    /// makes sure that it does what is relied on: two small objects are written to it and removed.
    ///
    /// Options are those of the `object_store` crate, named like the environment variables that other tools take
    /// (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_KEY`), in any case;
    /// names that it does not know are passed over. An endpoint with `http://` is taken at its word.
    ///
    /// # Errors
    /// [`BadConfig`](StoreError::BadConfig) for a URL or an option that cannot be;
    /// [`ConditionIgnored`](StoreError::ConditionIgnored) for a store that overwrites what it should not;
    /// [`Refused`](StoreError::Refused) and [`Unavailable`](StoreError::Unavailable).
    pub fn open(url: &str, options: &[(String, String)]) -> Result<Self> {
        Self::open_on(Arc::new(Net::new()?), url, options)
    }

    /// As [`open`](Self::open), to read alone: nothing is written, and nothing made sure of.
    ///
    /// # Errors
    /// [`BadConfig`](StoreError::BadConfig) for a URL or an option that cannot be.
    pub fn open_to_read(url: &str, options: &[(String, String)]) -> Result<Self> {
        Ok(Self {
            net: Arc::new(Net::new()?),
            inner: Arc::new(location::connect(url, options)?),
        })
    }

    pub(crate) fn open_on(net: Arc<Net>, url: &str, options: &[(String, String)]) -> Result<Self> {
        let objects = Self {
            net,
            inner: Arc::new(location::connect(url, options)?),
        };
        let inner = Arc::clone(&objects.inner);
        objects.wait("probe", async move { probe::probe(&inner).await })?;
        Ok(objects)
    }

    /// Where the objects are, without secrets.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    fn wait<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let failed = || {
            self.inner
                .unavailable(action, "the thread that talks to it failed")
        };
        self.net.wait(work).unwrap_or_else(|| Err(failed()))
    }
}

impl fmt::Debug for RemoteObjects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("RemoteObjects")
            .field(&self.inner.server)
            .finish()
    }
}

impl ObjectStore for RemoteObjects {
    fn put_many(&self, objects: &[(&str, &[u8])]) -> Result<()> {
        for (key, _) in objects {
            check_key(key)?;
        }
        // Bytes are copied when their turn comes, so that no more are held than are on their way.
        let (done, outcomes) = mpsc::channel();
        let (mut waiting, mut under_way) = (objects.iter(), 0);
        let mut outcome = Ok(());
        loop {
            while outcome.is_ok()
                && under_way < CONCURRENT
                && let Some((key, bytes)) = waiting.next()
            {
                let (inner, done) = (Arc::clone(&self.inner), done.clone());
                let (key, payload) = ((*key).to_owned(), PutPayload::from(bytes.to_vec()));
                under_way += 1;
                self.net.spawn(async move {
                    let _ = done.send(inner.create(&key, payload).await);
                });
            }
            if under_way == 0 {
                return outcome;
            }
            let ended = outcomes.recv().unwrap_or_else(|_| {
                Err(self
                    .inner
                    .unavailable("write objects", "its threads have ended"))
            });
            under_way -= 1;
            // A conflict says more than what else went wrong.
            match (&outcome, ended) {
                (Ok(()), ended) => outcome = ended,
                (Err(_), Err(conflict @ StoreError::Conflict { .. })) => outcome = Err(conflict),
                (Err(_), _) => {}
            }
        }
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        check_key(key)?;
        let inner = Arc::clone(&self.inner);
        let (key, payload) = (key.to_owned(), PutPayload::from(bytes.to_vec()));
        self.wait("replace an object", async move {
            inner.replace(&key, payload).await
        })
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        check_key(key)?;
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        self.wait("read an object", async move { inner.read(&key).await })
    }

    fn put_from(&self, key: &str, source: &mut dyn Read) -> Result<u64> {
        check_key(key)?;
        self.put_large(key, source)
    }

    fn open_object(&self, key: &str) -> Result<Option<OpenObject>> {
        let Some(bytes) = self.confirm(key)? else {
            return Ok(None);
        };
        let reader = Box::new(large::Reader::new(self.clone(), key, bytes));
        Ok(Some(OpenObject { bytes, reader }))
    }

    fn confirm(&self, key: &str) -> Result<Option<u64>> {
        check_key(key)?;
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        self.wait("look for an object", async move { inner.size(&key).await })
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        if !prefix.is_empty() {
            check_key(prefix)?;
        }
        let (inner, prefix) = (Arc::clone(&self.inner), prefix.to_owned());
        self.wait("list objects", async move { inner.list(&prefix).await })
    }

    fn delete(&self, key: &str) -> Result<()> {
        check_key(key)?;
        let (inner, key) = (Arc::clone(&self.inner), key.to_owned());
        self.wait("delete an object", async move { inner.delete(&key).await })
    }
}

impl Inner {
    fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(Path::from(key).parts()).collect()
    }

    /// Writes an object that is not there, or is there already with the same bytes.
    async fn create(&self, key: &str, payload: PutPayload) -> Result<()> {
        let path = self.path(key);
        let mut attempts = self.attempts("write an object");
        loop {
            let put = self
                .client
                .put_opts(&path, payload.clone(), PutMode::Create.into());
            let Err(failed) = put.await else {
                return Ok(());
            };
            // Whatever it says: it may have been written, by this attempt or by somebody else.
            if !for_good(&failed) {
                match self.client_read(&path).await {
                    Ok(Some(present)) => return same(key, &present, &payload),
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%error, key, "an object could not be read back"),
                }
            }
            attempts.again(failed).await?;
        }
    }

    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(key);
        let mut attempts = self.attempts("read an object");
        loop {
            match self.client_read(&path).await {
                Ok(found) => return Ok(found),
                Err(failed) => attempts.again(failed).await?,
            }
        }
    }

    /// One attempt to read an object, whole.
    async fn client_read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        let object = match self.client.get(path).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            object => object?,
        };
        let size = object.meta.size;
        let bytes = object.bytes().await?;
        if bytes.len() as u64 != size {
            return Err(Error::Generic {
                store: "object",
                source: format!("{} of {size} bytes came", bytes.len()).into(),
            });
        }
        Ok(Some(bytes.into()))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let path = if prefix.is_empty() {
            self.prefix.clone()
        } else {
            self.path(prefix)
        };
        let mut attempts = self.attempts("list objects");
        let found: Vec<ObjectMeta> = loop {
            match self.client.list(Some(&path)).try_collect().await {
                Ok(found) => break found,
                Err(failed) => attempts.again(failed).await?,
            }
        };
        let root = self.prefix.as_ref();
        let key = |object: ObjectMeta| {
            let key = object.location.as_ref();
            let below = key.strip_prefix(root).unwrap_or(key);
            below.trim_start_matches('/').to_owned()
        };
        let mut keys: Vec<_> = found.into_iter().map(key).collect();
        keys.retain(|key| !key.starts_with(probe::PROBES));
        keys.sort_unstable();
        Ok(keys)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key);
        let mut attempts = self.attempts("delete an object");
        loop {
            match self.client.delete(&path).await {
                Ok(()) | Err(Error::NotFound { .. }) => return Ok(()),
                Err(failed) => attempts.again(failed).await?,
            }
        }
    }

    fn attempts(&self, action: &'static str) -> Attempts<'_> {
        Attempts {
            inner: self,
            action,
            begun: Instant::now(),
            made: 0,
        }
    }

    fn unavailable(&self, action: &'static str, reason: impl Into<String>) -> StoreError {
        StoreError::Unavailable {
            action,
            server: self.server.clone(),
            reason: reason.into(),
        }
    }
}

/// Attempts at one request.
struct Attempts<'a> {
    inner: &'a Inner,
    action: &'static str,
    begun: Instant,
    made: u32,
}

impl Attempts<'_> {
    /// Waits before the next attempt, unless there is to be none.
    async fn again(&mut self, failed: Error) -> Result<()> {
        let pause = pause_after(self.made);
        self.made += 1;
        if for_good(&failed) {
            return Err(StoreError::Refused {
                action: self.action,
                server: self.inner.server.clone(),
                reason: said(&failed),
            });
        }
        if self.begun.elapsed() + pause > RETRY {
            let reason = format!("{} (attempts: {})", said(&failed), self.made);
            return Err(self.inner.unavailable(self.action, reason));
        }
        tracing::debug!(server = self.inner.server, action = self.action, error = %failed, "to be tried again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Whether asking again would be answered the same way.
fn for_good(error: &Error) -> bool {
    matches!(
        error,
        Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::NotFound { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::InvalidPath { .. }
            | Error::UnknownConfigurationKey { .. }
    )
}

/// On one line, and not the whole page that some servers send.
fn said(error: &Error) -> String {
    let text = error.to_string();
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(SAID_CHARS) {
        words.truncate(end);
        words.push('…');
    }
    words
}

fn same(key: &str, present: &[u8], payload: &PutPayload) -> Result<()> {
    let mut rest = present;
    let equal = payload.content_length() == present.len()
        && payload.iter().all(|part| {
            let (start, end) = rest.split_at(part.len());
            rest = end;
            start == part.as_ref()
        });
    if equal {
        return Ok(());
    }
    Err(StoreError::Conflict {
        what: format!("object `{key}`"),
    })
}
