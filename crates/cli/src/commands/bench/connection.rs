//! One kept-alive connection over which requests go one after the other.
//!
//! Neither the client crate nor hyper: the load shares its cores with the server it measures, so that whatever it spends
//! on a request is missing there. This is a write and a read a request and little more, as in other load tools. For the
//! same reason there is no TLS here.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::outcome::Failure;

/// Longer than any server here lets an append wait.
const PATIENCE: Duration = Duration::from_mins(1);
/// More than any answer to an append has.
const MAX_HEADERS: usize = 64;
/// An answer has some 130 bytes a record, for at most 9,999 records.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Where the requests of a load go.
#[derive(Debug, Clone)]
pub(super) struct Address {
    socket: SocketAddr,
    /// What every request begins with, up to the value of its content-length.
    head: String,
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
        let path = format!("{slash}{}/v1/records", prefix.trim_end_matches('/'));
        let authorization = token.map_or_else(String::new, |token| {
            format!("authorization: Bearer {token}\r\n")
        });
        if [host, &path, &authorization]
            .iter()
            .any(|part| part.trim_end().contains(char::is_control))
        {
            return Err(bad(
                "address or token hold characters that have no place in a request",
            ));
        }
        Ok(Self {
            socket,
            head: format!(
                "POST {path} HTTP/1.1\r\nhost: {host}\r\n{authorization}content-type: application/x-ndjson\r\n\
                 content-length: "
            ),
        })
    }
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    /// 2xx.
    Done(&'a [u8]),
    /// 429 or 503: come again, after so long.
    Later(Duration),
    /// Another status: the same again would end the same.
    Refused(u16, &'a [u8]),
    /// No answer. It may have been done.
    Broken(String),
}

/// A connection that is made again when it breaks.
pub(super) struct Connection<'a> {
    address: &'a Address,
    stream: Option<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(address: &'a Address) -> Self {
        Self {
            address,
            stream: None,
            request: Vec::new(),
            answer: Vec::new(),
        }
    }

    /// Appends NDJSON lines.
    pub(super) async fn append(&mut self, lines: &[u8]) -> Answer<'_> {
        let sent = tokio::time::timeout(PATIENCE, self.send(lines)).await;
        let why = match sent {
            Ok(Ok(head)) => return self.read(&head),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        self.stream = None;
        Answer::Broken(why)
    }

    async fn send(&mut self, lines: &[u8]) -> std::io::Result<Head> {
        self.request.clear();
        self.request.extend_from_slice(self.address.head.as_bytes());
        self.request
            .extend_from_slice(format!("{}\r\n\r\n", lines.len()).as_bytes());
        self.request.extend_from_slice(lines);
        self.answer.clear();
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.address.socket).await?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        stream.write_all(&self.request).await?;
        let mut head = None;
        loop {
            if stream.read_buf(&mut self.answer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if head.is_none() {
                head = Head::parse(&self.answer).map_err(std::io::Error::other)?;
            }
            if let Some(head) = head.take_if(|head| self.answer.len() >= head.end + head.body) {
                if head.last {
                    self.stream = None;
                }
                return Ok(head);
            }
        }
    }

    fn read(&self, head: &Head) -> Answer<'_> {
        let body = self
            .answer
            .get(head.end..head.end + head.body)
            .unwrap_or_default();
        match head.status {
            200..=299 => Answer::Done(body),
            429 | 503 => Answer::Later(Duration::from_secs(head.retry_after.unwrap_or(1))),
            status => Answer::Refused(status, body),
        }
    }
}

/// What matters of an answer's head.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Where the body begins.
    end: usize,
    /// How many bytes that has.
    body: usize,
    /// In seconds.
    retry_after: Option<u64>,
    /// The server closes the connection after it.
    last: bool,
}

impl Head {
    /// `None` where it is not there to its end.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let end = match response.parse(bytes) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(format!("the answer is no HTTP: {error}")),
        };
        let value = |name: &str| {
            let header = response
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(header.value).ok().map(str::trim)
        };
        let body = value("content-length")
            .and_then(|length| length.parse().ok())
            .filter(|length| *length <= MAX_ANSWER_BYTES)
            .ok_or("the answer does not say how long it is; load the server itself, not a proxy before it")?;
        Ok(Some(Self {
            status: response.code.unwrap_or(0),
            end,
            body,
            retry_after: value("retry-after").and_then(|seconds| seconds.parse().ok()),
            last: value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_without_tls_is_loaded() {
        let path = |url: &str| {
            Address::of_appends(url, None).map(|address| {
                address
                    .head
                    .split(' ')
                    .nth(1)
                    .unwrap_or_default()
                    .to_owned()
            })
        };
        assert_eq!(path("http://127.0.0.1:8000").unwrap(), "/v1/records");
        assert_eq!(path("http://127.0.0.1/a/b/").unwrap(), "/a/b/v1/records");
        assert_eq!(path("http://[::1]").unwrap(), "/v1/records");
        assert_eq!(path("https://127.0.0.1").unwrap_err().exit_code(), 2);
        assert_eq!(path("127.0.0.1:8000").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_token_cannot_smuggle_a_header() {
        assert!(Address::of_appends("http://127.0.0.1", Some("rat_x")).is_ok());
        assert!(Address::of_appends("http://127.0.0.1", Some("rat_x\r\nx: y")).is_err());
    }

    #[test]
    fn an_answer_is_read_once_its_head_is_whole() {
        let answer =
            b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 3\r\n\r\nabc";
        for cut in 0..answer.len() - 3 {
            assert_eq!(Head::parse(&answer[..cut]), Ok(None), "{cut}");
        }
        let head = Head::parse(answer).unwrap().unwrap();
        assert_eq!(
            (head.status, head.body, head.retry_after, head.last),
            (503, 3, Some(2), false)
        );
        assert_eq!(&answer[head.end..], b"abc");
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(Head::parse(b"220 smtp ready\r\n\r\n").is_err());
    }
}
