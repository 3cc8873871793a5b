//! One call, passed on.

use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::body::{AnswerBody, RequestBody, StreamedBody};
use super::problem::problem;
use super::reward::OnError;
use super::serve::Forwarder;
use super::upstream::Upstream;
use super::watch::{Copied, Fate, Watched};

/// What is between two neighbours only (RFC 9110 §7.6.1), and what the proxy answers itself.
const HOP_BY_HOP: [&str; 8] = [
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Forwarder {
    /// Passes a call on, and its answer back.
    pub(super) async fn forward(&self, call: Request<Incoming>) -> Response<AnswerBody> {
        // A reward is asked for by POST; what else there may be is health and documentation.
        let watched = (call.method() == Method::POST)
            .then(|| Watched::new(self.auditor.clone(), Copied::new(call.headers())));
        let request = match self.prepare(call, watched.as_ref()) {
            Ok(request) => request,
            Err(why) => return problem(StatusCode::BAD_REQUEST, "bad-request", &why),
        };
        let asked = tokio::time::timeout(self.timeout, ask(&self.upstream, request)).await;
        match asked {
            Ok(Ok(answer)) => self.answer(answer, watched).await,
            Ok(Err(why)) => {
                let detail = format!(
                    "the reward model at {} did not answer: {why}; start it, or give another --upstream",
                    self.upstream
                );
                let status = StatusCode::BAD_GATEWAY;
                self.fail(
                    watched,
                    Fate::Unreachable,
                    status,
                    "upstream-unreachable",
                    &detail,
                )
                .await
            }
            Err(_) => {
                let detail = format!(
                    "the reward model at {} did not answer within {} s (--timeout)",
                    self.upstream,
                    self.timeout.as_secs()
                );
                let status = StatusCode::GATEWAY_TIMEOUT;
                self.fail(watched, Fate::TimedOut, status, "upstream-slow", &detail)
                    .await
            }
        }
    }

    /// The call as the upstream gets it.
    fn prepare(
        &self,
        call: Request<Incoming>,
        watched: Option<&Watched>,
    ) -> Result<Request<RequestBody>, String> {
        let (mut parts, inner) = call.into_parts();
        let path: PathAndQuery = self
            .upstream
            .path(&parts.uri)
            .parse()
            .map_err(|e| format!("the path cannot be passed on: {e}"))?;
        parts.uri = Uri::from(path);
        strip(&mut parts.headers);
        parts.headers.remove(EXPECT);
        let host = HeaderValue::try_from(&self.upstream.authority).map_err(|e| e.to_string())?;
        parts.headers.insert(HOST, host);
        let copy = watched.map(|watched| watched.request.clone());
        Ok(Request::from_parts(parts, RequestBody { inner, copy }))
    }

    async fn answer(
        &self,
        answer: Response<Incoming>,
        watched: Option<Watched>,
    ) -> Response<AnswerBody> {
        let (mut parts, body) = answer.into_parts();
        strip(&mut parts.headers);
        let status = parts.status.as_u16();
        let mut copied = Copied::new(&parts.headers);
        let watched = match (watched, self.on_error) {
            (Some(watched), OnError::Refuse) => watched,
            (watched, _) => {
                let body = StreamedBody::new(body, status, copied, watched);
                return Response::from_parts(parts, AnswerBody::Streamed(body));
            }
        };
        let mut body = body;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => copied.push(frame.data_ref().map_or(&[], |data| data)),
                Err(error) => {
                    let detail = format!("the reward model broke off within its answer: {error}");
                    let status = StatusCode::BAD_GATEWAY;
                    return self
                        .fail(
                            Some(watched),
                            Fate::Broken,
                            status,
                            "upstream-broke-off",
                            &detail,
                        )
                        .await;
                }
            }
        }
        let too_long = copied.too_long;
        let bytes = copied.bytes.clone();
        let fate = Fate::Answered {
            status,
            answer: copied,
        };
        match watched.record(fate).await {
            Ok(()) if too_long => problem(
                StatusCode::BAD_GATEWAY,
                "answer-too-long",
                "the reward model's answer is longer than what can be recorded, and is refused (--on-error refuse)",
            ),
            Ok(()) => Response::from_parts(parts, AnswerBody::Whole(Full::from(bytes))),
            Err(why) => not_recorded(&why),
        }
    }

    /// Says what went wrong, recorded like an answer.
    async fn fail(
        &self,
        watched: Option<Watched>,
        fate: Fate,
        status: StatusCode,
        code: &str,
        detail: &str,
    ) -> Response<AnswerBody> {
        match (watched, self.on_error) {
            (Some(watched), OnError::Pass) => watched.end(fate),
            (Some(watched), OnError::Refuse) => {
                if let Err(why) = watched.record(fate).await {
                    return not_recorded(&why);
                }
            }
            (None, _) => {}
        }
        problem(status, code, detail)
    }
}

fn not_recorded(why: &str) -> Response<AnswerBody> {
    let detail = format!("the call cannot be recorded, and is refused (--on-error refuse): {why}");
    problem(StatusCode::SERVICE_UNAVAILABLE, "not-recorded", &detail)
}

/// Over a connection of its own: one that is kept may be closed by the other side in the moment it is used, and no call
/// shall fail of that.
async fn ask(
    upstream: &Upstream,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, String> {
    let stream = TcpStream::connect((upstream.host.as_str(), upstream.port))
        .await
        .map_err(|error| error.to_string())?;
    // Without it, the end of a small request may wait for the other side's acknowledgement.
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends with the answer; what goes wrong with it, the answer says too.
    tokio::spawn(connection);
    sender
        .send_request(request)
        .await
        .map_err(|error| error.to_string())
}

/// Takes away what concerns the neighbour only, and what it says does.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}
