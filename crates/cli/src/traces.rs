//! Traces of requests, to an OpenTelemetry collector (OTLP over HTTP) where one is configured.
//!
//! The server knows spans and headers alone: what is of OpenTelemetry is here, and only where it is asked for.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;

use axum::http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use ureq::tls::{RootCerts, TlsConfig};

/// What spans come from.
const NAME: &str = "rlhf-audit";
/// How long a collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Sends spans to the collector at this URL from now on.
pub(crate) fn start(endpoint: &str) -> Result<SdkTracer, String> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Post::new())
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(PATIENCE)
        .build()
        .map_err(|error| error.to_string())?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(Resource::builder().with_service_name(NAME).build())
        .build();
    let tracer = provider.tracer(NAME);
    let _ = PROVIDER.set(provider);
    Ok(tracer)
}

/// What a server does with each request's span, where traces are followed.
pub(crate) fn follows() -> Option<server::Trace> {
    PROVIDER.get().map(|_| join as server::Trace)
}

/// Sends what is left.
pub(crate) fn finish() {
    if let Some(provider) = PROVIDER.get()
        && let Err(error) = provider.shutdown()
    {
        tracing::warn!(%error, "some spans did not reach the collector");
    }
}

/// Makes the span part of the caller's trace (W3C Trace Context), and the trace known to the log.
fn join(span: &Span, headers: &HeaderMap) {
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    let _ = span.set_parent(parent);
    let context = span.context();
    let trace = context.span().span_context().trace_id();
    span.record("trace_id", trace.to_string());
}

/// The HTTP client that the rest of the program has.
#[derive(Debug)]
struct Post(ureq::Agent);

impl Post {
    fn new() -> Self {
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
        let config = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build();
        Self(config.into())
    }
}

impl HttpClient for Post {
    fn send_bytes<'a, 'r>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'r>>
    where
        'a: 'r,
        Self: 'r,
    {
        // The exporter has a thread of its own, which may wait.
        let sent = || -> Result<Response<Bytes>, HttpError> {
            let (parts, body) = request.into_parts();
            let request = Request::from_parts(parts, body.to_vec());
            let (parts, mut body) = self.0.run(request)?.into_parts();
            let body = body.read_to_vec()?;
            Ok(Response::from_parts(parts, body.into()))
        };
        let sent = sent();
        Box::pin(std::future::ready(sent))
    }
}
