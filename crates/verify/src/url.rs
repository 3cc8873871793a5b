//! A log read over HTTP: `<prefix>/checkpoint` and `<prefix>/tile/…`, as C2SP tlog-tiles serves it.

use std::io::Read;
use std::thread;
use std::time::Duration;

use ureq::Body;
use ureq::http::{HeaderValue, Response};
use ureq::tls::{RootCerts, TlsConfig};

use crate::VerifyError;

/// Tries before a server that answers 429 or 5xx, or not at all, counts as unavailable.
const TRIES: u32 = 4;
/// How long a file of the log may take, and how long an attachment.
const FILE_TIME: Duration = Duration::from_mins(1);
const ATTACHMENT_TIME: Duration = Duration::from_mins(15);

/// A URL prefix and how to ask there.
#[derive(Clone, Debug)]
pub struct UrlSource {
    prefix: String,
    authorization: Option<String>,
    agent: ureq::Agent,
}

impl UrlSource {
    pub(crate) fn new(prefix: &str, token: Option<&str>) -> Result<Self, VerifyError> {
        if !(prefix.starts_with("http://") || prefix.starts_with("https://")) {
            return Err(VerifyError::Usage(format!(
                "{prefix} is no http:// or https:// URL"
            )));
        }
        // The authorities that the system trusts, or `SSL_CERT_FILE` names.
        let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
        let agent = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_idle_connections_per_host(64)
            .build()
            .into();
        Ok(Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
            authorization: token.map(|token| format!("Bearer {token}")),
            agent,
        })
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn read(
        &self,
        path: &str,
        limit: usize,
        into: &mut Vec<u8>,
    ) -> Result<bool, VerifyError> {
        let url = format!("{}/{path}", self.prefix);
        self.ask(&url, FILE_TIME, |status, response| match status {
            200 => {
                into.clear();
                let body = response.into_body().into_reader();
                body.take(limit as u64 + 1).read_to_end(into)?;
                Ok(Answer::Is(true))
            }
            404 | 410 => Ok(Answer::Is(false)),
            status => Ok(Answer::of(status)),
        })
    }

    /// An attachment, where the prefix is a server's `/log`. A server that has none of its own there, or hands them out
    /// to others only, has none.
    pub(crate) fn attachment(
        &self,
        name: &str,
    ) -> Result<Option<Box<dyn Read + Send>>, VerifyError> {
        let Some(server) = self.prefix.strip_suffix("/log") else {
            return Ok(None);
        };
        let url = format!("{server}/v1/attachments/{name}");
        self.ask(&url, ATTACHMENT_TIME, |status, response| match status {
            // Some servers answer every path with a page.
            200 if response
                .headers()
                .get("content-type")
                .is_some_and(is_octets) =>
            {
                Ok(Answer::Is(Some(
                    Box::new(response.into_body().into_reader()) as Box<dyn Read + Send>,
                )))
            }
            429 | 500..=599 => Ok(Answer::Later(status)),
            _ => Ok(Answer::Is(None)),
        })
    }

    fn ask<T>(
        &self,
        url: &str,
        time: Duration,
        mut read: impl FnMut(u16, Response<Body>) -> Result<Answer<T>, ureq::Error>,
    ) -> Result<T, VerifyError> {
        let mut why = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                thread::sleep(Duration::from_millis(100 << (2 * attempt)));
            }
            let answer = self
                .get(url, time)
                .and_then(|response| read(response.status().as_u16(), response));
            match answer {
                Ok(Answer::Is(found)) => return Ok(found),
                Ok(Answer::Refused(status)) => {
                    return Err(VerifyError::Unavailable {
                        what: url.to_owned(),
                        why: format!(
                            "the server answered {status}; entry bundles need a token of role reader"
                        ),
                    });
                }
                Ok(Answer::Later(status)) => why = format!("the server answered {status}"),
                Err(e) => why = e.to_string(),
            }
        }
        Err(VerifyError::Unavailable {
            what: url.to_owned(),
            why,
        })
    }

    fn get(&self, url: &str, time: Duration) -> Result<Response<Body>, ureq::Error> {
        let mut request = self.agent.get(url);
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        let request = request.config().timeout_global(Some(time));
        request.build().call()
    }
}

fn is_octets(media_type: &HeaderValue) -> bool {
    media_type.as_bytes() == b"application/octet-stream"
}

enum Answer<T> {
    Is(T),
    Later(u16),
    Refused(u16),
}

impl<T> Answer<T> {
    fn of(status: u16) -> Self {
        match status {
            429 | 500..=599 => Self::Later(status),
            status => Self::Refused(status),
        }
    }
}
