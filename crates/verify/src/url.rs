//! A log read over HTTP: `<prefix>/checkpoint` and `<prefix>/tile/…`, as C2SP tlog-tiles serves it.

use std::io::Read;
use std::thread;
use std::time::Duration;

use crate::VerifyError;

/// Tries before a server that answers 429 or 5xx, or not at all, counts as unavailable.
const TRIES: u32 = 4;

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
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(1)))
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
        let mut why = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                thread::sleep(Duration::from_millis(100 << (2 * attempt)));
            }
            match self.get(&url, limit, into) {
                Ok(Answer::Found) => return Ok(true),
                Ok(Answer::Missing) => return Ok(false),
                Ok(Answer::Refused(status)) => {
                    return Err(VerifyError::Unavailable {
                        what: url,
                        why: format!(
                            "the server answered {status}; entry bundles need a token of role reader"
                        ),
                    });
                }
                Ok(Answer::Later(status)) => why = format!("the server answered {status}"),
                Err(e) => why = e.to_string(),
            }
        }
        Err(VerifyError::Unavailable { what: url, why })
    }

    fn get(&self, url: &str, limit: usize, into: &mut Vec<u8>) -> Result<Answer, ureq::Error> {
        into.clear();
        let mut request = self.agent.get(url);
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        let response = request.call()?;
        match response.status().as_u16() {
            200 => {
                let body = response.into_body().into_reader();
                body.take(limit as u64 + 1).read_to_end(into)?;
                Ok(Answer::Found)
            }
            404 | 410 => Ok(Answer::Missing),
            status @ (429 | 500..=599) => Ok(Answer::Later(status)),
            status => Ok(Answer::Refused(status)),
        }
    }
}

enum Answer {
    Found,
    Missing,
    Later(u16),
    Refused(u16),
}
