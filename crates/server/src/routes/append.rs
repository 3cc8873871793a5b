//! POST /v1/records.

use std::fmt::Display;
use std::sync::LazyLock;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::State as Extracted;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use ledger::Receipt;
use memchr::memmem::Finder;
use record::Submission;

use crate::api::{self, AppendParams, Appended, Wait};
use crate::auth::{Caller, Holder, Metered};
use crate::body;
use crate::extract::{Params, media_type, unsupported_media_type};
use crate::lines;
use crate::problem::Problem;
use crate::state::State;

/// Where records are appended.
pub(crate) const PATH: &str = "/v1/records";

/// The most records whose proofs one answer holds: each is some 5 kB, mostly the checkpoint.
const MAX_PROOFS: usize = 1_000;

/// Bodies beyond this are read into records on a thread that may be busy for a while (it takes
/// about a microsecond a record); handing a single record over would cost more than reading it.
const INLINE_BYTES: usize = 256 << 10;

/// How a line with sealed values begins, and a record with attachments. Those too are left to a thread
/// that may wait: a subject seen for the first time gets a key, which has to be in the database first;
/// an attachment named for the first time is looked for in the store. Inside of a string these would be
/// escaped.
static SLOW: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| {
    [
        Finder::new(b"{\"openings\":"),
        Finder::new(b"{\"attachments\":"),
    ]
});

/// Append records
///
/// All of the request's records are recorded, or none. The answer comes when they are on disk.
/// Sending the same bytes again is harmless: they get the index they have (`duplicate`), and
/// where nothing was new the status is 200.
///
/// A line is a record's canonical JSON (RFC 8785), or, where it has sealed values,
/// `{"openings":{field:{"key","subject","value"}},"record":…}` with the record's bytes verbatim.
#[utoipa::path(
    post,
    path = "/v1/records",
    operation_id = "appendRecords",
    tag = "Records",
    params(AppendParams),
    request_body(
        description = "One record as `application/json`, or at most 9,999 as NDJSON; at most 12 MiB of records and sealed values, in a body of at most 24 MiB",
        content(
            (Object = "application/json"),
            (String = "application/x-ndjson"),
        )
    ),
    responses(
        (status = 201, description = "Recorded and durable", body = Appended),
        (status = 200, description = "All of them were recorded before", body = Appended),
        (status = 400, description = "`not-canonical`, `invalid-record`, `empty-line`, `no-records`, `several-lines`", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "`forbidden`: another producer started this run", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`seq-gap`, `wrong-prev`, `conflict` (other bytes have this place), `run-sealed`, `bad-stream`, `bad-run`", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`, `too-many-records`, `request-too-large`, `record-too-large` (one record)", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "`unsupported-media-type`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`unknown-kind`, `unknown-version`, `invalid-openings`, `opening-mismatch`, `attachment-missing`, `bad-signature`, `bad-seal`", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "`too-many-requests`, `quota-exceeded`: come again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `unavailable`: come again after `Retry-After`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["producer", "admin"]))
)]
pub(crate) async fn append(
    Extracted(state): Extracted<State>,
    Caller(principal): Caller,
    metered: Option<Extension<Metered>>,
    Params(params): Params<AppendParams>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, Problem> {
    let published = params.wait == Some(Wait::Published);
    let holder = Holder {
        principal,
        meter: metered.map(|Extension(Metered(meter))| meter),
    };
    append_body(&state, &holder, published, &headers, &mut body).await
}

/// See [`append`], which is this behind axum's extractors.
pub(crate) async fn append_body<B>(
    state: &State,
    Holder { principal, meter }: &Holder,
    published: bool,
    headers: &HeaderMap,
    body: &mut B,
) -> Result<Response, Problem>
where
    B: http_body::Body<Data = Bytes, Error: Display> + Unpin,
{
    let form = Form::of(headers)?;
    if let Some(meter) = meter {
        meter.quota()?;
    }
    let _under_way = state.appends().begin();
    let stall = state.options().body_stall;
    let (bytes, taken) = body::read_into(body, body::MAX_BODY_BYTES, stall, state.room()).await?;

    let length = bytes.len() as u64;
    let arrived = Instant::now();
    let slow = |begin: &Finder<'_>| begin.find(&bytes).is_some();
    let light = bytes.len() <= INLINE_BYTES && !SLOW.iter().any(slow);
    let alone = state.appends().is_alone() && state.ledger().is_resting();
    let ticket = if light && !alone {
        let submissions = read(state, arrived, form, &bytes, published)?;
        state.ledger().submit(&submissions, principal)?
    } else if light {
        // Nobody is writing or about to: this thread writes, and spares the sender two changes of thread. With several
        // senders that would be one change for each, and groups of one.
        tokio::task::block_in_place(|| -> Result<_, Problem> {
            let submissions = read(state, arrived, form, &bytes, published)?;
            Ok(state.ledger().submit_blocking(&submissions, principal)?)
        })?
    } else {
        let (state, principal) = (state.clone(), principal.clone());
        let submitted = tokio::task::spawn_blocking(move || -> Result<_, Problem> {
            // Room is given back once the bytes are, also where the sender has gone.
            let _taken = taken;
            let submissions = read(&state, arrived, form, &bytes, published)?;
            Ok(state.ledger().submit(&submissions, &principal)?)
        });
        submitted
            .await
            .map_err(|error| Problem::internal(&error))??
    };
    let receipts = ticket.await.map_err(Problem::from)?;

    let new = receipts.iter().filter(|receipt| !receipt.duplicate).count() as u64;
    state.metrics().appended(new);
    if let Some(meter) = meter
        && new > 0
    {
        meter.appended(new, length);
    }
    state.metrics().sequenced(arrived.elapsed());
    let status = if new == 0 {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let mut answer = Appended {
        records: receipts.iter().map(api::Receipt::new).collect(),
        published: None,
    };
    if published {
        answer.published = Some(prove(state, &receipts, &mut answer.records).await?);
    }
    Ok((status, Json(answer)).into_response())
}

#[derive(Clone, Copy)]
enum Form {
    One,
    Lines,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        match media_type(headers) {
            Some("application/json") => Ok(Self::One),
            Some("application/x-ndjson") => Ok(Self::Lines),
            _ => Err(unsupported_media_type(
                headers,
                "application/json (one record) or application/x-ndjson (one on each line)",
            )),
        }
    }
}

fn read<'a>(
    state: &State,
    arrived: Instant,
    form: Form,
    bytes: &'a [u8],
    published: bool,
) -> Result<Vec<Submission<&'a [u8]>>, Problem> {
    let submissions = match form {
        Form::One => lines::one(bytes)?,
        Form::Lines => lines::many(bytes)?,
    };
    if published && submissions.len() > MAX_PROOFS {
        return Err(Problem::too_large(
            "too-many-proofs",
            format!(
                "wait=published answers with a proof for each record, {MAX_PROOFS} at most, and \
                 this request holds {}; nothing was recorded",
                submissions.len()
            ),
        ));
    }
    state.metrics().accepted(arrived.elapsed());
    Ok(submissions)
}

/// Waits until a checkpoint covers the receipts, and adds their proofs. `false`: it took too long.
async fn prove(
    state: &State,
    receipts: &[Receipt],
    answers: &mut [api::Receipt],
) -> Result<bool, Problem> {
    let Some(last) = receipts.iter().map(|receipt| receipt.index).max() else {
        return Ok(true);
    };
    if !state.published(last + 1).await {
        return Ok(false);
    }
    let indices: Vec<u64> = receipts.iter().map(|receipt| receipt.index).collect();
    let proofs: Vec<String> = state
        .blocking(move |ledger| {
            indices
                .into_iter()
                .map(|index| ledger.proof(index))
                .collect::<Result<_, _>>()
        })
        .await?;
    for (answer, proof) in answers.iter_mut().zip(proofs) {
        answer.proof = Some(proof);
    }
    Ok(true)
}
