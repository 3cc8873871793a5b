//! Attachments: public values too large for a record, by the SHA-256 of their bytes.

use std::io::{self, Read};

use axum::Json;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::State as Extracted;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use ledger::{AttachmentError, StoredAttachment};
use record::kinds::ReadPart;
use record::{MAX_ATTACHMENT_BYTES, Sha256};
use tokio::sync::mpsc;

use crate::api::{File, KeptAttachment};
use crate::auth::Caller;
use crate::body::{self, Pieces};
use crate::extract::Named;
use crate::problem::Problem;
use crate::reach::permit;
use crate::state::State;
use crate::stream;

/// Pieces under way between the connection and the disk.
const PIECES: usize = 4;
/// What one upload is counted with among request bodies: its pieces and the store's buffers.
const ROOM_BYTES: usize = 2 << 20;
/// It is named by its bytes; but it was handed to one reader, and no shared cache may pass it on.
const PRIVATE_FOR_EVER: &str = "private, max-age=31536000, immutable";

/// Put an attachment
///
/// The bytes whose SHA-256 is in the path, as they are, at most 256 MiB. Records may name them once this has answered:
/// they are durable then. The same again is harmless.
#[utoipa::path(
    put,
    path = "/v1/attachments/{sha256}",
    operation_id = "putAttachment",
    tag = "Attachments",
    params(("sha256" = String, Path, description = "64 lower-case hexadecimal digits")),
    request_body(description = "The bytes", content_type = "application/octet-stream", content = File),
    responses(
        (status = 201, description = "Kept and durable", body = KeptAttachment),
        (status = 200, description = "It was there before; durable", body = KeptAttachment),
        (status = 400, description = "`bad-path`: no SHA-256; `broken-body`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`attachment-mismatch`: the bytes are not those of the name", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `unavailable`: come again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["producer", "admin"]))
)]
pub(crate) async fn put(
    Extracted(state): Extracted<State>,
    Named(sha256): Named<String>,
    body: Body,
) -> Result<(StatusCode, Json<KeptAttachment>), Problem> {
    let sha256 = name(&sha256)?;
    if body.size_hint().lower() > MAX_ATTACHMENT_BYTES {
        return Err(AttachmentError::TooLarge.into());
    }
    let _place = state.upload().ok_or_else(body::no_room)?;
    let _taken = state.room().take(ROOM_BYTES).ok_or_else(body::no_room)?;
    let stall = state.options().body_stall;
    let kept = keep(
        &state,
        sha256,
        Pieces::new(body, stall, body::MIN_RATE_LARGE),
    )
    .await?;
    let status = if kept.fresh {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let answer = KeptAttachment {
        sha256: sha256.to_string(),
        bytes: kept.bytes,
    };
    Ok((status, Json(answer)))
}

/// Hands the pieces to a thread that may wait for the disk.
async fn keep(
    state: &State,
    sha256: Sha256,
    mut pieces: Pieces<Body>,
) -> Result<StoredAttachment, Problem> {
    let (sender, receiver) = mpsc::channel(PIECES);
    let ledger = state.ledger_handle();
    let keeping = tokio::task::spawn_blocking(move || {
        let mut source = Arriving {
            receiver,
            piece: Bytes::new(),
        };
        ledger.put_attachment(sha256, &mut source)
    });
    loop {
        let piece = match pieces.next().await {
            Ok(Some(piece)) => Ok(piece),
            Ok(None) => break,
            Err(problem) => {
                // Without this the end of the channel would be taken for the end of the bytes.
                let _ = sender.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
                return Err(problem);
            }
        };
        if sender.send(piece).await.is_err() {
            // It wants no more, and says why.
            break;
        }
    }
    drop(sender);
    keeping
        .await
        .map_err(|error| Problem::internal(&error))?
        .map_err(Problem::from)
}

/// The bytes as they arrive.
struct Arriving {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let read = self.piece.split_to(out.len().min(self.piece.len()));
        out[..read.len()].copy_from_slice(&read);
        Ok(read.len())
    }
}

/// Read an attachment
///
/// The bytes as they were put. Whoever reads them can hash them: their SHA-256 is their name.
#[utoipa::path(
    get,
    path = "/v1/attachments/{sha256}",
    operation_id = "readAttachment",
    tag = "Attachments",
    params(("sha256" = String, Path, description = "64 lower-case hexadecimal digits")),
    responses(
        (status = 200, description = "The bytes", body = File, content_type = "application/octet-stream"),
        (status = 400, description = "`bad-path`: no SHA-256", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "auditor", "admin"]))
)]
pub(crate) async fn read(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    Named(sha256): Named<String>,
) -> Result<Response, Problem> {
    let sha256 = name(&sha256)?;
    permit(&principal, &[ReadPart::Records], None)?;
    let found = state
        .blocking(move |ledger| ledger.attachment(&sha256))
        .await?;
    let mut object = found.ok_or_else(|| {
        Problem::not_found(
            "not-found",
            format!("no attachment has the SHA-256 {sha256}"),
        )
    })?;
    state.note_read(&principal, ReadPart::Records, None, None)?;
    let bytes = object.bytes;
    let body = stream::body(move |out| {
        let copied = io::copy(&mut object.reader, out);
        copied.map(drop).map_err(|error| Problem::internal(&error))
    })
    .await?;
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, bytes.to_string()),
        (CACHE_CONTROL, PRIVATE_FOR_EVER.to_owned()),
    ];
    Ok((headers, body).into_response())
}

fn name(text: &str) -> Result<Sha256, Problem> {
    Sha256::parse(text).ok_or_else(|| {
        Problem::bad_request(
            "bad-path",
            format!(
                "`{}` is no SHA-256; expected 64 lower-case hexadecimal digits",
                text.chars().take(80).collect::<String>()
            ),
        )
    })
}
