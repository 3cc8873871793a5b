//! Reading a request body: bounded in size, and given up where the sender stalls.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Body as _, Frame, SizeHint};
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::problem::Problem;
use crate::refusals::OVERLOADED_SECONDS;
use axum::http::StatusCode;

/// The most bytes one request body may hold: 24 MiB, twice what the ledger takes of records and
/// sealed values, since JSON writes some characters as several. An import sends 4 MiB at a time.
pub const MAX_BODY_BYTES: usize = 2 * ledger::MAX_REQUEST_BYTES;

/// What a handler left of a body is read up to this, so that the connection can go on.
const MAX_DRAINED_BYTES: u64 = 64 << 10;
/// And for this long.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// A body that arrives more slowly than this on average, in bytes a second, is given up like one that has stalled: else
/// a client that sends a byte now and then would hold its connection for ever.
const MIN_RATE: u64 = 4 << 10;

/// As [`MIN_RATE`], for a body that holds a place among few while it arrives.
pub(crate) const MIN_RATE_LARGE: u64 = 64 << 10;

/// The memory that all request bodies may take at one time, so that a flood of them is turned away and not by the kernel.
#[derive(Debug)]
pub(crate) struct Room(Arc<Semaphore>);

/// The part of it that one body takes, until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Taken(Option<OwnedSemaphorePermit>);

/// Room is counted in these.
const ROOM_UNIT: usize = 1 << 10;

impl Room {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / ROOM_UNIT)))
    }

    /// Takes room for so many bytes; `None`: there is none.
    pub(crate) fn take(&self, bytes: usize) -> Option<Taken> {
        let mut taken = Taken::default();
        self.enlarge(&mut taken, bytes).then_some(taken)
    }

    /// Enlarges `taken` to `bytes`. `false`: there is no room.
    fn enlarge(&self, taken: &mut Taken, bytes: usize) -> bool {
        let units = bytes.div_ceil(ROOM_UNIT);
        let more = units
            - taken
                .0
                .as_ref()
                .map_or(0, OwnedSemaphorePermit::num_permits);
        let Ok(permit) = Arc::clone(&self.0).try_acquire_many_owned(more as u32) else {
            return false;
        };
        match &mut taken.0 {
            Some(before) => before.merge(permit),
            none => *none = Some(permit),
        }
        true
    }
}

/// Reads a body whole.
///
/// # Errors
/// 413 beyond `limit` bytes (at once where the sender declares its length), 408 where nothing
/// arrives for `stall` or too little, 400 where the sender breaks off.
pub(crate) async fn read(
    mut body: Body,
    limit: usize,
    stall: Duration,
) -> Result<Vec<u8>, Problem> {
    let unbounded = Room::new(Semaphore::MAX_PERMITS);
    let (bytes, _) = read_into(&mut body, limit, stall, &unbounded).await?;
    Ok(bytes)
}

/// As [`read`], with the bytes' share of `room`: to be kept for as long as they are.
///
/// # Errors
/// As [`read`], and 503 where there is no room.
pub(crate) async fn read_into<B>(
    body: &mut B,
    limit: usize,
    stall: Duration,
    room: &Room,
) -> Result<(Vec<u8>, Taken), Problem>
where
    B: http_body::Body<Data = Bytes, Error: Display> + Unpin,
{
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > limit {
        return Err(too_large(limit));
    }
    let mut taken = Taken::default();
    // A declared length is not believed: memory follows bytes that have arrived.
    let mut bytes = Vec::with_capacity(declared.min(16 << 10));
    let mut pieces = Pieces::new(body, stall, MIN_RATE);
    while let Some(data) = pieces.next().await? {
        let length = bytes.len() + data.len();
        if length > limit {
            return Err(too_large(limit));
        }
        if length > bytes.capacity() {
            // Ahead of the bytes, as a vector grows: what is counted is what is taken of memory.
            let most = if declared > 0 { declared } else { limit };
            let capacity = most.min(2 * bytes.capacity()).max(length);
            if !room.enlarge(&mut taken, capacity) {
                return Err(no_room());
            }
            bytes.reserve_exact(capacity - bytes.len());
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, taken))
}

/// A body piece by piece, as they arrive.
pub(crate) struct Pieces<B> {
    body: B,
    stall: Duration,
    /// Bytes a second, on average.
    min_rate: u64,
    began: Instant,
    arrived: u64,
}

impl<B> Pieces<B>
where
    B: http_body::Body<Data = Bytes, Error: Display> + Unpin,
{
    /// The pieces of `body`, which may stall for so long and no longer.
    pub(crate) fn new(body: B, stall: Duration, min_rate: u64) -> Self {
        Self {
            body,
            stall,
            min_rate,
            began: Instant::now(),
            arrived: 0,
        }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// 408 where nothing arrives or too little, 400 where the sender breaks off.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let earned = Duration::from_secs(self.arrived / self.min_rate);
            let deadline = (self.began + self.stall + earned).min(Instant::now() + self.stall);
            let mut body = Pin::new(&mut self.body);
            let next = std::future::poll_fn(|context| body.as_mut().poll_frame(context));
            let frame = tokio::time::timeout_at(deadline, next)
                .await
                .map_err(|_| stalled(self.stall))?;
            let Some(frame) = frame else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| {
                Problem::bad_request(
                    "broken-body",
                    format!(
                        "the request body broke off after {} bytes: {error}; send it again",
                        self.arrived
                    ),
                )
            })?;
            // Trailers say nothing this server would act on.
            if let Ok(data) = frame.into_data() {
                self.arrived += data.len() as u64;
                return Ok(Some(data));
            }
        }
    }
}

/// What a body was that nobody keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest {
    /// How many bytes it had.
    pub(crate) bytes: u64,
    /// Their SHA-256.
    pub(crate) sha256: [u8; 32],
}

/// Reads a body through, of any length, and keeps its digest.
///
/// # Errors
/// 408 where nothing arrives for `stall` or too little, 400 where the sender breaks off.
pub(crate) async fn digest(body: Body, stall: Duration) -> Result<Digest, Problem> {
    let mut hash = Sha256::new();
    let mut bytes: u64 = 0;
    let mut pieces = Pieces::new(body, stall, MIN_RATE);
    while let Some(data) = pieces.next().await? {
        bytes += data.len() as u64;
        hash.update(&data);
    }
    let sha256 = hash.finalize().into();
    Ok(Digest { bytes, sha256 })
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

    /// See [`drain`].
    pub(crate) async fn drain(mut self) -> bool {
        drain(&mut self).await
    }

    fn lock(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what is left of a body, where that is little and comes soon. `false`: the connection is lost.
pub(crate) async fn drain<B>(body: &mut B) -> bool
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    if body.is_end_stream() {
        return true;
    }
    if body.size_hint().lower() > MAX_DRAINED_BYTES {
        return false;
    }
    let drained = async {
        let mut bytes = 0;
        loop {
            match std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
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

pub(crate) fn no_room() -> Problem {
    Problem::unavailable(
        "overloaded",
        "too many request bodies are under way at once; nothing of this one was recorded, send it again",
        OVERLOADED_SECONDS,
    )
}

fn stalled(stall: Duration) -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body-stalled",
        format!(
            "no byte of the body arrived for {} seconds, or too few in all; send the request again",
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
    async fn a_body_that_nobody_keeps_leaves_its_digest() {
        let stall = Duration::from_millis(20);
        let read = |frames| digest(Body::new(frames), stall);
        let found = read(Frames(vec![b"cd", b"ab"], false)).await.unwrap();
        assert_eq!((found.bytes, found.sha256), (4, tlog::sha256(b"abcd")));
        let stalled = read(Frames(vec![b"ab"], true)).await.unwrap_err();
        assert_eq!(stalled.code(), "body-stalled");
    }

    #[tokio::test]
    async fn a_stalled_body_is_given_up() {
        assert_eq!(
            code(Frames(vec![b"ab"], true), 9).await,
            Err("body-stalled".into())
        );
    }

    /// A byte each ten milliseconds, for ever.
    struct Drip(tokio::time::Interval);

    impl http_body::Body for Drip {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            let byte = || Some(Ok(Frame::data(Bytes::from_static(b"x"))));
            self.0.poll_tick(context).map(|_| byte())
        }
    }

    #[tokio::test]
    async fn a_body_that_only_drips_is_given_up() {
        let drip = Drip(tokio::time::interval(Duration::from_millis(10)));
        let read = read(Body::new(drip), 1_000_000, Duration::from_millis(200)).await;
        assert_eq!(read.unwrap_err().code(), "body-stalled");
    }

    #[tokio::test]
    async fn bodies_share_their_room_and_give_it_back() {
        static FRAME: [u8; 40 << 10] = [0; 40 << 10];
        let room = Room::new(100 << 10);
        let of = async |bytes: usize| {
            let mut body = Frames(vec![&FRAME; bytes / FRAME.len()], false);
            read_into(&mut body, 1 << 20, Duration::from_secs(1), &room).await
        };
        let (first, taken) = of(80 << 10).await.unwrap();
        assert_eq!(first.len(), 80 << 10);
        let refused = of(40 << 10).await.unwrap_err();
        assert_eq!((refused.status(), refused.code()), (503, "overloaded"));
        drop(taken);
        of(80 << 10).await.unwrap();
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
