//! What every handler shares.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use ledger::{Ledger, Principal};

use crate::catalogue::PROBLEMS;
use crate::docs;
use crate::metrics::Metrics;
use crate::observe::RequestIds;
use crate::openapi::openapi_json;
use crate::options::Options;
use crate::problem::Problem;

/// A ledger, and what the server adds to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct State(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ledger: Arc<Ledger>,
    options: Options,
    metrics: Metrics,
    request_ids: RequestIds,
    pages: Pages,
    began: Instant,
}

/// What is the same for every caller, made once.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) openapi: Bytes,
    pub(crate) docs: Bytes,
    pub(crate) index: Bytes,
}

impl State {
    /// The state of a server of `ledger`.
    pub fn new(ledger: Arc<Ledger>, options: Options) -> Self {
        let openapi = openapi_json();
        let document = serde_json::from_str(&openapi).unwrap_or_default();
        let pages = Pages {
            docs: docs::render(&document, PROBLEMS).into(),
            index: docs::index(ledger.origin()).into(),
            openapi: openapi.into(),
        };
        Self(Arc::new(Inner {
            ledger,
            options,
            metrics: Metrics::new(),
            request_ids: RequestIds::new(),
            pages,
            began: Instant::now(),
        }))
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(crate) fn ledger_handle(&self) -> Arc<Ledger> {
        Arc::clone(&self.0.ledger)
    }

    pub(crate) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn request_ids(&self) -> &RequestIds {
        &self.0.request_ids
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.0.pages
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.0.began.elapsed()
    }

    /// Whose token this is; `None`: nobody's.
    pub(crate) async fn principal(&self, token: &str) -> Result<Option<Principal>, Problem> {
        Ok(self.ledger().authenticate(token)?)
    }

    /// The latest published checkpoint, as it is signed.
    pub(crate) fn checkpoint_note(&self) -> Option<Vec<u8>> {
        self.ledger().checkpoint().map(|published| published.note.to_vec())
    }

    /// Asks the ledger something that reads a disk, on a thread that may wait for it.
    pub(crate) async fn blocking<T, E>(
        &self,
        ask: impl FnOnce(&Ledger) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        E: Into<Problem> + Send + 'static,
    {
        let ledger = self.ledger_handle();
        let answer = tokio::task::spawn_blocking(move || ask(&ledger)).await;
        answer
            .map_err(|error| Problem::internal(&error))?
            .map_err(Into::into)
    }
}
