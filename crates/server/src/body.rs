//! Reading a request body: bounded in size, and given up where the sender stalls.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Body as _, Frame, SizeHint};

use crate::problem::Problem;
use axum::http::StatusCode;

/// The most bytes one request body may hold: 24 MiB, twice what the ledger takes of records and
/// sealed values, since JSON writes some characters as several. An import sends 4 MiB at a time.
pub const MAX_BODY_BYTES: usize = 2 * ledger::MAX_REQUEST_BYTES;

/// What a handler left of a body is read up to this, so that the connection can go on.
const MAX_DRAINED_BYTES: u64 = 64 << 10;
/// And for this long.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Reads a body whole.
///
/// # Errors
/// 413 beyond `limit` bytes (at once where the sender declares its length), 408 where nothing
/// arrives for `stall`, 400 where the sender breaks off.
pub(crate) async fn read(body: Body, limit: usize, stall: Duration) -> Result<Vec<u8>, Problem> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > limit {
        return Err(too_large(limit));
    }
    // A declared length is only believed up to a point: memory follows bytes that have arrived.
    let mut bytes = Vec::with_capacity(declared.min(1 << 20));
    let mut body = pin!(body);
    loop {
        let next = std::future::poll_fn(|context| body.as_mut().poll_frame(context));
        let frame = tokio::time::timeout(stall, next)
            .await
            .map_err(|_| stalled(stall))?;
        let Some(frame) = frame else { return Ok(bytes) };
        let frame = frame.map_err(|error| {
            Problem::bad_request(
                "broken-body",
                format!(
                    "the request body broke off after {} bytes: {error}; send it again",
                    bytes.len()
                ),
            )
        })?;
        // Trailers say nothing this server would act on.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&data);
    }
}

/// A request's body, lent to its handler: what the handler leaves unread can be drained.
///
/// A connection whose request is not read to its end cannot be used again, and a client that still
/// holds it would find it closed under its next request.
pub(crate) struct Lent(Arc<Mutex<Body>>);

impl Lent {
    /// The body to hand to the handler, and the hold on it.
    pub(crate) fn lend(body: Body) -> (Body, Self) {
        let shared = Arc::new(Mutex::new(body));
        (Body::new(Self(Arc::clone(&shared))), Self(shared))
    }

    /// Reads what is left, where that is little and comes soon. `false`: the connection is lost.
    pub(crate) async fn drain(mut self) -> bool {
        if self.is_end_stream() {
            return true;
        }
        if self.size_hint().lower() > MAX_DRAINED_BYTES {
            return false;
        }
        let drained = async {
            let mut bytes = 0;
            loop {
                match std::future::poll_fn(|context| Pin::new(&mut self).poll_frame(context)).await
                {
                    None => return true,
                    Some(Err(_)) => return false,
                    Some(Ok(frame)) => {
                        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                    }
                }
                if bytes > MAX_DRAINED_BYTES {
                    return false;
                }
            }
        };
        tokio::time::timeout(DRAIN_TIME, drained)
            .await
            .unwrap_or(false)
    }

    fn lock(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().size_hint()
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::too_large(
        "body-too-large",
        format!(
            "a request body may hold at most {limit} bytes here; send the records in several requests"
        ),
    )
}

fn stalled(stall: Duration) -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body-stalled",
        format!(
            "no byte of the body arrived for {} seconds; send the request again",
            stall.as_secs()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body of frames, with nothing said about its length, that then ends or stalls.
    struct Frames(Vec<&'static [u8]>, bool);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match self.0.pop() {
                Some(data) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))),
                None if self.1 => Poll::Pending,
                None => Poll::Ready(None),
            }
        }
    }

    async fn code(body: Frames, limit: usize) -> Result<Vec<u8>, String> {
        read(Body::new(body), limit, Duration::from_millis(20))
            .await
            .map_err(|problem| problem.code().to_owned())
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_limit_and_no_further() {
        assert_eq!(
            code(Frames(vec![b"cd", b"ab"], false), 4).await,
            Ok(b"abcd".to_vec())
        );
        assert_eq!(
            code(Frames(vec![b"cd", b"ab"], false), 3).await,
            Err("body-too-large".into())
        );
        let declared = read(Body::from(vec![0; 5]), 4, Duration::from_secs(1)).await;
        assert_eq!(declared.unwrap_err().status(), 413);
    }

    #[tokio::test]
    async fn a_stalled_body_is_given_up() {
        assert_eq!(
            code(Frames(vec![b"ab"], true), 9).await,
            Err("body-stalled".into())
        );
    }

    #[tokio::test]
    async fn what_a_handler_leaves_is_drained_if_it_is_little() {
        let left = |body: Body| async move {
            let (handed, held) = Lent::lend(body);
            drop(handed);
            held.drain().await
        };
        assert!(left(Body::empty()).await);
        assert!(left(Body::from(vec![0; 1_000])).await);
        assert!(!left(Body::from(vec![0; 100_000])).await);
        assert!(left(Body::new(Frames(vec![b"ab", b"cd"], false))).await);
        let (handed, held) = Lent::lend(Body::new(Frames(vec![b"cd", b"ab"], false)));
        assert_eq!(
            read(handed, 9, Duration::from_secs(1)).await.unwrap(),
            b"abcd"
        );
        assert!(held.drain().await);
    }
}
