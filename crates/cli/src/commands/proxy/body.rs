//! Bodies on their way through: passed on frame by frame, as they come, with a copy taken.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use super::watch::{Copied, Fate, Watched};

/// A request's body.
pub(super) struct RequestBody {
    pub(super) inner: Incoming,
    pub(super) copy: Option<Arc<Mutex<Copied>>>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let (Some(Ok(frame)), Some(copy)) = (&frame, &self.copy)
            && let Some(data) = frame.data_ref()
        {
            copy.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer's body.
pub(super) enum AnswerBody {
    /// The upstream's, as it comes.
    Streamed(StreamedBody),
    /// One that is here.
    Whole(Full<Bytes>),
}

/// The upstream's answer, and the call it is to.
pub(super) struct StreamedBody {
    inner: Incoming,
    status: u16,
    answer: Copied,
    watched: Option<Watched>,
}

impl StreamedBody {
    pub(super) fn new(
        inner: Incoming,
        status: u16,
        answer: Copied,
        watched: Option<Watched>,
    ) -> Self {
        let mut body = Self {
            inner,
            status,
            answer,
            watched,
        };
        body.look_for_the_end();
        body
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(data), Some(_)) = (frame.data_ref(), &self.watched) {
                    self.answer.push(data);
                }
                self.look_for_the_end();
            }
            Some(Err(_)) => self.end(false),
            None => self.end(true),
        }
        Poll::Ready(frame)
    }

    /// With the last byte that was announced, nobody asks for more.
    fn look_for_the_end(&mut self) {
        if self.inner.is_end_stream() {
            self.end(true);
        }
    }

    fn end(&mut self, whole: bool) {
        let Some(watched) = self.watched.take() else {
            return;
        };
        watched.end(if whole {
            Fate::Answered {
                status: self.status,
                answer: std::mem::take(&mut self.answer),
            }
        } else {
            Fate::Broken
        });
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Streamed(body) => body.poll_frame(context),
            Self::Whole(body) => Pin::new(body)
                .poll_frame(context)
                .map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streamed(body) => body.inner.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streamed(body) => body.inner.size_hint(),
            Self::Whole(body) => body.size_hint(),
        }
    }
}
