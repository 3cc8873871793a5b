//! An answer whose bytes a blocking writer makes while they are sent.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::Frame;
use tokio::sync::mpsc;

use crate::problem::Problem;

/// Bytes gathered before they are handed over.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks under way: what a slow reader keeps in memory is this times [`CHUNK_BYTES`].
const CHUNKS: usize = 4;

/// Runs `write` on a thread that may block and answers with what it writes. An error before the
/// first chunk is full becomes a problem document; a later one breaks the answer off, so that no
/// client takes it for whole.
///
/// # Errors
/// What `write` ended in before anything was sent.
pub(crate) async fn body(
    write: impl FnOnce(&mut ChunkWriter) -> Result<(), Problem> + Send + 'static,
) -> Result<Body, Problem> {
    let (sender, mut receiver) = mpsc::channel(CHUNKS);
    tokio::task::spawn_blocking(move || {
        let mut writer = ChunkWriter {
            buffer: Vec::with_capacity(CHUNK_BYTES),
            sender,
        };
        let end = write(&mut writer).and_then(|()| {
            // The receiver is gone only when the client is: nobody is left to tell.
            writer.flush().map_err(|error| Problem::internal(&error))
        });
        if let Err(problem) = end {
            let _ = writer.sender.blocking_send(Chunk::Failed(problem));
        }
    });
    let first = match receiver.recv().await {
        Some(Chunk::Failed(problem)) => return Err(problem),
        Some(Chunk::Data(bytes)) => Some(bytes),
        None => None,
    };
    Ok(Body::new(Chunks { first, receiver }))
}

enum Chunk {
    Data(Bytes),
    Failed(Problem),
}

/// Where the blocking side writes.
pub(crate) struct ChunkWriter {
    buffer: Vec<u8>,
    sender: mpsc::Sender<Chunk>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK_BYTES));
        self.sender
            .blocking_send(Chunk::Data(Bytes::from(chunk)))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client went away"))
    }
}

struct Chunks {
    first: Option<Bytes>,
    receiver: mpsc::Receiver<Chunk>,
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        self.receiver.poll_recv(context).map(|chunk| {
            chunk.map(|chunk| match chunk {
                Chunk::Data(bytes) => Ok(Frame::data(bytes)),
                Chunk::Failed(problem) => Err(format!("{problem:?}").into()),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body;
    use std::time::Duration;

    async fn read(body: Body) -> Result<Vec<u8>, Problem> {
        body::read(body, usize::MAX, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn what_is_written_arrives_in_order() {
        let all: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let sent = all.clone();
        let body = super::body(move |out| {
            sent.chunks(777)
                .try_for_each(|chunk| out.write_all(chunk))
                .unwrap();
            Ok(())
        });
        assert_eq!(read(body.await.unwrap()).await.unwrap(), all);
    }

    #[tokio::test]
    async fn an_early_error_is_a_problem_and_a_late_one_breaks_the_answer() {
        let early = super::body(|_| Err(Problem::not_found("no-run", "none"))).await;
        assert_eq!(early.unwrap_err().code(), "no-run");
        let late = super::body(|out| {
            out.write_all(&vec![0; CHUNK_BYTES]).unwrap();
            Err(Problem::not_found("no-run", "none"))
        });
        assert_eq!(
            read(late.await.unwrap()).await.unwrap_err().code(),
            "broken-body"
        );
    }
}
