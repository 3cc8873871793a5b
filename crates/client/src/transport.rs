//! One request and its retries. Knows HTTP, and nothing of records.

use std::fmt;
use std::io::{self, Read, Seek};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use ureq::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, RETRY_AFTER,
};
use ureq::http::{Method, Request, Response, StatusCode, request};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, DefaultConnector};
use ureq::{Agent, Body, SendBody};

use crate::error::{ClientError, Problem};
use crate::joined::JoinedConnector;
use crate::retry::RetryPolicy;

/// The most bytes of an answer that is held in memory. The largest is 1,000 records of 64 KiB.
const MAX_ANSWER_BYTES: u64 = 128 << 20;
/// How long a request's body may take to be sent.
const SEND_TIME: Duration = Duration::from_mins(1);
/// A long body gets more time: as much as this many bytes a second take, which is the least that a server waits for.
const SLOWEST_RATE: u64 = 64 << 10;
/// Bodies beyond this are sent once the server has said that it wants them.
const EXPECT_BYTES: u64 = 1 << 20;

/// What a request carries.
#[derive(Clone, Copy)]
pub(crate) struct Payload<'a> {
    pub(crate) media_type: &'static str,
    pub(crate) bytes: &'a [u8],
}

#[derive(Clone)]
pub(crate) struct Transport {
    agent: Agent,
    base: String,
    token: Option<String>,
    retry: RetryPolicy,
}

/// How long each part of a request may take.
pub(crate) struct Patience {
    connect: Duration,
    send: Duration,
    answer: Duration,
}

impl Patience {
    /// For what is to be done.
    const USUAL: Self = Self {
        connect: Duration::from_secs(5),
        send: SEND_TIME,
        answer: Duration::from_secs(30),
    };
    /// For a question that somebody waits for and that can go without an answer.
    pub(crate) const SHORT: Self = Self {
        connect: Duration::from_secs(1),
        send: Duration::from_secs(1),
        answer: Duration::from_secs(2),
    };
}

impl Transport {
    pub(crate) fn new(url: &str, token: Option<&str>) -> Result<Self, ClientError> {
        Self::with_patience(url, token, &Patience::USUAL)
    }

    pub(crate) fn with_patience(
        url: &str,
        token: Option<&str>,
        patience: &Patience,
    ) -> Result<Self, ClientError> {
        let base = url.trim_end_matches('/');
        let uri: ureq::http::Uri = base.parse().map_err(|_| ClientError::Url {
            url: url.to_owned(),
        })?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(ClientError::Url {
                url: url.to_owned(),
            });
        }
        // The authorities that the system trusts, or `SSL_CERT_FILE` names.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            // A redirect would carry records, or a token, to where nobody meant them to go.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("rlhf-audit/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(patience.connect))
            .timeout_send_body(Some(patience.send))
            .timeout_recv_response(Some(patience.answer))
            .build();
        let connector = DefaultConnector::new().chain(JoinedConnector);
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        Ok(Self {
            agent,
            base: base.to_owned(),
            token: token.map(str::to_owned),
            retry: RetryPolicy::default(),
        })
    }

    pub(crate) fn set_retry(&mut self, retry: RetryPolicy) {
        self.retry = retry;
    }

    pub(crate) fn set_token(&mut self, token: Option<&str>) {
        self.token = token.map(str::to_owned);
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Sends until there is an answer, and gives back a success (2xx) or what the server refused.
    /// `again`: doing it twice is doing it once, so it may be sent again without an answer.
    pub(crate) fn send(
        &self,
        method: &Method,
        path: &str,
        payload: Option<Payload<'_>>,
        again: bool,
    ) -> Result<Response<Body>, ClientError> {
        let url = format!("{}{path}", self.base);
        self.try_until_answered(&url, again, &mut || Ok(self.once(method, &url, payload)))
    }

    /// Sends the first so many bytes of `source`, for each try from its beginning. Sending them twice is sending them once.
    pub(crate) fn upload(
        &self,
        method: &Method,
        path: &str,
        bytes: u64,
        source: &mut (impl Read + Seek),
    ) -> Result<Response<Body>, ClientError> {
        let url = format!("{}{path}", self.base);
        self.try_until_answered(&url, true, &mut || {
            source.rewind().map_err(ClientError::Upload)?;
            let mut source = Watched {
                source: &mut *source,
                left: bytes,
                fault: None,
            };
            let sent = self.once_from(method, &url, bytes, &mut source);
            // Whoever cannot read need not try again.
            source
                .fault
                .map_or(Ok(sent), |fault| Err(ClientError::Upload(fault)))
        })
    }

    fn try_until_answered(
        &self,
        url: &str,
        again: bool,
        once: &mut dyn FnMut() -> Result<Result<Response<Body>, ureq::Error>, ClientError>,
    ) -> Result<Response<Body>, ClientError> {
        let began = Instant::now();
        let mut attempt = 0;
        loop {
            let (why, asked) = match once()? {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) if is_temporary(response.status()) => {
                    let asked = retry_after(&response);
                    (refusal(response, url)?.to_string(), asked)
                }
                Ok(response) => return Err(ClientError::Refused(refusal(response, url)?)),
                Err(ureq::Error::BadUri(_) | ureq::Error::Http(_)) => {
                    return Err(ClientError::Url {
                        url: url.to_owned(),
                    });
                }
                Err(error) if again || never_arrived(&error) => (error.to_string(), None),
                Err(error) => {
                    return Err(ClientError::Unavailable {
                        what: url.to_owned(),
                        why: error.to_string(),
                        asked: None,
                    });
                }
            };
            match self.retry.rest(attempt, began.elapsed(), asked) {
                Some(rest) => std::thread::sleep(rest),
                None => {
                    return Err(ClientError::Unavailable {
                        what: url.to_owned(),
                        why,
                        asked,
                    });
                }
            }
            attempt += 1;
        }
    }

    /// Sends, and reads the answer as JSON.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        payload: Option<Payload<'_>>,
        again: bool,
    ) -> Result<T, ClientError> {
        let bytes = self.bytes(method, path, payload, again)?;
        serde_json::from_slice(&bytes).map_err(|error| self.unexpected(path, error.to_string()))
    }

    /// Sends, and reads the answer whole. An answer that breaks off is asked for again.
    pub(crate) fn bytes(
        &self,
        method: &Method,
        path: &str,
        payload: Option<Payload<'_>>,
        again: bool,
    ) -> Result<Vec<u8>, ClientError> {
        let began = Instant::now();
        let mut attempt = 0;
        loop {
            let mut response = self.send(method, path, payload, again)?;
            let error = match read(&mut response) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            let rest = self
                .retry
                .rest(attempt, began.elapsed(), None)
                .filter(|_| again);
            match rest {
                Some(rest) => std::thread::sleep(rest),
                None => {
                    return Err(ClientError::Unavailable {
                        what: format!("{}{path}", self.base),
                        why: format!("its answer broke off: {error}"),
                        asked: None,
                    });
                }
            }
            attempt += 1;
        }
    }

    /// Sends, and reads the answer as text.
    pub(crate) fn text(&self, path: &str) -> Result<String, ClientError> {
        let bytes = self.bytes(&Method::GET, path, None, true)?;
        String::from_utf8(bytes)
            .map_err(|_| self.unexpected(path, "the answer is not UTF-8".into()))
    }

    pub(crate) fn unexpected(&self, path: &str, why: String) -> ClientError {
        ClientError::Unexpected {
            what: format!("{}{path}", self.base),
            why,
        }
    }

    fn once(
        &self,
        method: &Method,
        url: &str,
        payload: Option<Payload<'_>>,
    ) -> Result<Response<Body>, ureq::Error> {
        let request = self.request(method, url);
        match payload {
            Some(Payload { media_type, bytes }) => self
                .agent
                .run(request.header(CONTENT_TYPE, media_type).body(bytes)?),
            None => self.agent.run(request.body(())?),
        }
    }

    fn once_from(
        &self,
        method: &Method,
        url: &str,
        bytes: u64,
        source: &mut dyn Read,
    ) -> Result<Response<Body>, ureq::Error> {
        let mut request = self
            .request(method, url)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, bytes);
        if bytes > EXPECT_BYTES {
            // Who is refused learns it before the bytes are on their way, and not by a broken connection.
            request = request.header(EXPECT, "100-continue");
        }
        let request = request.body(SendBody::from_reader(source))?;
        let patience = SEND_TIME + Duration::from_secs(bytes / SLOWEST_RATE);
        let request = self.agent.configure_request(request);
        self.agent
            .run(request.timeout_send_body(Some(patience)).build())
    }

    fn request(&self, method: &Method, url: &str) -> request::Builder {
        let request = Request::builder()
            .method(method.clone())
            .uri(url)
            .header(ACCEPT, "*/*");
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }
}

/// A source of known length that keeps why it failed: to the connection that is one failure like another.
struct Watched<R> {
    source: R,
    left: u64,
    fault: Option<io::Error>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).map_or(out.len(), |left| left.min(out.len()));
        match self.source.read(&mut out[..room]) {
            Ok(0) if room > 0 => {
                let missing = format!("it ended {} bytes before it should", self.left);
                self.fault = Some(io::Error::new(io::ErrorKind::UnexpectedEof, missing));
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(read) => {
                self.left -= read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.fault = Some(error);
                Err(kind.into())
            }
        }
    }
}

impl fmt::Debug for Transport {
    /// Without the token: what is printed ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

fn read(response: &mut Response<Body>) -> Result<Vec<u8>, ureq::Error> {
    response
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_vec()
}

/// The statuses that ask to come again: too many requests, and those of a server or proxy that is
/// not up, yet or any more.
fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// Whether the request surely never reached the server.
fn never_arrived(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Timeout(timeout) => {
            matches!(timeout, ureq::Timeout::Resolve | ureq::Timeout::Connect)
        }
        ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

/// RFC 9110 §10.2.3, in seconds; a date is not honoured, since the clocks may differ.
fn retry_after(response: &Response<Body>) -> Option<Duration> {
    let seconds = response
        .headers()
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

fn refusal(mut response: Response<Body>, url: &str) -> Result<Problem, ClientError> {
    let status = response.status();
    let bytes = read(&mut response).unwrap_or_default();
    match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) if !problem.code.is_empty() => Ok(Problem {
            status: status.as_u16(),
            ..problem
        }),
        _ if is_temporary(status) => Ok(Problem {
            status: status.as_u16(),
            code: "unavailable".to_owned(),
            detail: status.to_string(),
            line: None,
        }),
        // A proxy on the way; the ledger itself says more.
        _ if status == StatusCode::PAYLOAD_TOO_LARGE => Ok(Problem {
            status: status.as_u16(),
            code: "body-too-large".to_owned(),
            detail: format!(
                "{url} takes no request of this size; raise the limit of the proxy there"
            ),
            line: None,
        }),
        _ => Err(ClientError::Unexpected {
            what: url.to_owned(),
            why: format!("status {status} without a problem document"),
        }),
    }
}
