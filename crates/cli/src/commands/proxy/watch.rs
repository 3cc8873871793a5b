//! One call, watched from its first byte to its last: a copy of what was said, for the record.

use std::sync::{Arc, Mutex, PoisonError};

use super::audit::Auditor;

/// The most bytes of a request, or of an answer, that are read for the record: 16 MiB. What is longer is passed on all
/// the same.
pub(super) const MAX_COPIED_BYTES: usize = 16 << 20;

/// A copy of a body.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) bytes: Vec<u8>,
    /// Whether it was longer than what is copied; then there is none.
    pub(super) too_long: bool,
    /// Its `content-encoding`.
    pub(super) encoding: Option<String>,
}

impl Copied {
    pub(super) fn new(headers: &hyper::HeaderMap) -> Self {
        let encoding = headers.get(hyper::header::CONTENT_ENCODING);
        let encoding = encoding.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        Self {
            encoding,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        if self.too_long || self.bytes.len() + data.len() > MAX_COPIED_BYTES {
            self.too_long = true;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(data);
        }
    }
}

/// What became of a call.
#[derive(Debug)]
pub(super) enum Fate {
    /// It was answered.
    Answered {
        /// The status.
        status: u16,
        /// What was answered.
        answer: Copied,
    },
    /// The upstream could not be reached, or hung up before it answered.
    Unreachable,
    /// The upstream took too long.
    TimedOut,
    /// The upstream hung up within its answer.
    Broken,
    /// The caller hung up.
    Abandoned,
}

/// A call that has ended.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request: Copied,
    pub(super) fate: Fate,
}

/// A call that is going on. Dropped before its end, it was abandoned.
pub(super) struct Watched {
    auditor: Auditor,
    pub(super) request: Arc<Mutex<Copied>>,
    ended: bool,
}

impl Watched {
    pub(super) fn new(auditor: Auditor, request: Copied) -> Self {
        Self {
            auditor,
            request: Arc::new(Mutex::new(request)),
            ended: false,
        }
    }

    /// Hands the call over to be recorded.
    pub(super) fn end(mut self, fate: Fate) {
        let call = self.take(fate);
        self.auditor.note(call);
    }

    /// Has the call recorded now, or says why it cannot be.
    pub(super) async fn record(mut self, fate: Fate) -> Result<(), String> {
        let call = self.take(fate);
        self.auditor.record(call).await
    }

    fn take(&mut self, fate: Fate) -> Call {
        self.ended = true;
        let mut request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        Call {
            request: std::mem::take(&mut *request),
            fate,
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.ended {
            let call = self.take(Fate::Abandoned);
            self.auditor.note(call);
        }
    }
}
