//! What leaves the server in quantity, counted byte by byte as it does.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;

use crate::metrics::Metrics;

/// What is counted, by route.
const EXPORTS: &[(&str, &str)] = &[
    ("/log/tile/entries/{*index}", "entries"),
    ("/v1/attachments/{sha256}", "attachment"),
    ("/v1/records", "records"),
    ("/v1/records/{index}", "records"),
    ("/v1/runs/{run}/bundle", "bundle"),
    ("/v1/runs/{run}/card", "card"),
];

/// The answer, with its bytes counted if it is an export.
pub(crate) fn counted(
    metrics: &Metrics,
    method: &str,
    route: &str,
    response: Response,
) -> Response {
    let export = EXPORTS.iter().find(|(path, _)| *path == route);
    match export {
        Some((_, what)) if method == "GET" && response.status().is_success() => {
            let counter = metrics.exported(what);
            response.map(|inner| Body::new(Counted { inner, counter }))
        }
        _ => response,
    }
}

struct Counted {
    inner: Body,
    counter: Counter,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.counter.inc_by(data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
