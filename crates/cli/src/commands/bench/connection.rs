//! One kept-alive connection over which requests go one after the other.
//!
//! Not the client crate: that one blocks a thread for each connection, and with many of them this machine would
//! measure its own scheduler. For the same reason there is no TLS here.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::outcome::Failure;

/// Longer than any server here lets an append wait.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where the requests of a load go.
#[derive(Debug, Clone)]
pub(super) struct Address {
    socket: SocketAddr,
    host: String,
    path: String,
    authorization: Option<String>,
}

impl Address {
    /// `/v1/records` of the server at `url`.
    pub(super) fn of_appends(url: &str, token: Option<&str>) -> Result<Self, Failure> {
        let bad = |why: &str| {
            Failure::input(format!("cannot load {url}: {why}"))
                .with_hint("give the server itself, such as http://127.0.0.1:8000, not what encrypts before it")
        };
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| bad("it is not an http:// address"))?;
        let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let with_port = if host.ends_with(']') || !host.contains(':') {
            format!("{host}:80")
        } else {
            host.to_owned()
        };
        let socket = std::net::ToSocketAddrs::to_socket_addrs(&with_port)
            .map_err(|e| Failure::unavailable(format!("cannot find {host}: {e}")))?
            .next()
            .ok_or_else(|| bad("no such host"))?;
        let slash = if prefix.is_empty() { "" } else { "/" };
        Ok(Self {
            socket,
            host: host.to_owned(),
            path: format!("{slash}{}/v1/records", prefix.trim_end_matches('/')),
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }
}

/// What a request came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// 2xx.
    Done(Bytes),
    /// 429 or 503: come again, after so long.
    Later(Duration),
    /// Another status: the same again would end the same.
    Refused(u16, Bytes),
    /// No answer. It may have been done.
    Broken(String),
}

/// A connection that is made again when it breaks.
pub(super) struct Connection<'a> {
    address: &'a Address,
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(address: &'a Address) -> Self {
        Self {
            address,
            sender: None,
        }
    }

    /// Appends NDJSON lines.
    pub(super) async fn append(&mut self, lines: Bytes) -> Answer {
        match tokio::time::timeout(PATIENCE, self.send(lines)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.sender = None;
                Answer::Broken(error.to_string())
            }
            Err(_) => {
                self.sender = None;
                Answer::Broken(format!("no answer within {} s", PATIENCE.as_secs()))
            }
        }
    }

    async fn send(
        &mut self,
        lines: Bytes,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        if self
            .sender
            .as_ref()
            .is_none_or(http1::SendRequest::is_closed)
        {
            self.sender = Some(self.connect().await?);
        }
        let sender = self.sender.as_mut().ok_or("not connected")?;
        sender.ready().await?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.address.path)
            .header(HOST, &self.address.host)
            .header(CONTENT_TYPE, "application/x-ndjson");
        if let Some(value) = &self.address.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let response = sender.send_request(request.body(Full::new(lines))?).await?;
        let status = response.status();
        let asked = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.into_body().collect().await?.to_bytes();
        Ok(match status.as_u16() {
            200..=299 => Answer::Done(body),
            429 | 503 => Answer::Later(Duration::from_secs(asked.unwrap_or(1))),
            status => Answer::Refused(status, body),
        })
    }

    async fn connect(
        &self,
    ) -> Result<http1::SendRequest<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.address.socket).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the sender, or with the server; what was under way is then told so.
        tokio::spawn(connection);
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_without_tls_is_loaded() {
        let path = |url: &str| Address::of_appends(url, None).map(|address| address.path);
        assert_eq!(path("http://127.0.0.1:8000").unwrap(), "/v1/records");
        assert_eq!(path("http://127.0.0.1/a/b/").unwrap(), "/a/b/v1/records");
        assert_eq!(path("http://[::1]").unwrap(), "/v1/records");
        assert_eq!(path("https://127.0.0.1").unwrap_err().exit_code(), 2);
        assert_eq!(path("127.0.0.1:8000").unwrap_err().exit_code(), 2);
    }
}
