//! One method for each thing a server does.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use record::kinds::StreamEnd;
use record::{RunId, StreamName, Submission};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::http::Method;

use crate::error::ClientError;
use crate::memory::{Guard, Memory, Seen};
use crate::retry::RetryPolicy;
use crate::transport::{Patience, Payload, Transport};
use crate::types::{
    Appended, ApprovalSummary, BundleParts, CardFormat, FreshHook, HookSummary, IssuedToken, Job,
    JobPage, JobQuery, LoggedRecord, NewHook, NewRun, NewToken, Receipt, RecordPage, RecordQuery,
    RunPage, RunSummary, Sink, StreamSummary, TokenSummary, Wait, WantedToken,
};

/// Publishing takes a quarter of a second.
const POLL: Duration = Duration::from_millis(20);

/// A ledger's server. Clones share its connections, which are kept open between calls.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
    guard: Option<Arc<Guard>>,
}

impl Client {
    /// A client of the server at `url` (`http://host:port`, perhaps with a path). Nothing is sent
    /// yet. Without a token only what is public answers.
    ///
    /// # Errors
    /// [`ClientError::Url`].
    pub fn new(url: &str, token: Option<&str>) -> Result<Self, ClientError> {
        Ok(Self {
            transport: Transport::new(url, token)?,
            guard: None,
        })
    }

    /// The same client with another patience.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.transport.set_retry(retry);
        self
    }

    /// The same client with another token.
    #[must_use]
    pub fn with_token(mut self, token: Option<&str>) -> Self {
        self.transport.set_token(token);
        self
    }

    /// A client for questions that can go without an answer: it asks once and waits two seconds.
    pub(crate) fn hasty(url: &str, token: Option<&str>) -> Result<Self, ClientError> {
        let mut transport = Transport::with_patience(url, token, &Patience::SHORT)?;
        transport.set_retry(RetryPolicy::NEVER);
        Ok(Self {
            transport,
            guard: None,
        })
    }

    /// The same client as a witness of its server: looks now whether the log has grown from what was
    /// remembered, and goes on looking once a second for as long as the client lives.
    ///
    /// # Errors
    /// [`ClientError::Contradiction`] where it has not; appends end in that too, once it is found.
    /// [`ClientError::Memory`]; and as every call.
    pub fn remembering(mut self, memory: Memory) -> Result<Self, ClientError> {
        self.guard = Some(Arc::new(Guard::start(&self.transport, memory)?));
        Ok(self)
    }

    /// Whether the server has contradicted itself while this client lived: to be asked when all is
    /// done.
    ///
    /// # Errors
    /// [`ClientError::Contradiction`], or what kept the client from looking.
    pub fn conclude(&self) -> Result<(), ClientError> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.conclude())
    }

    /// Looks now, once, whether the log has grown from what is remembered.
    pub(crate) fn look(&self) -> Result<(), ClientError> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.look())
    }

    /// As far as is known by now, without looking.
    pub(crate) fn doubted(&self) -> Result<(), ClientError> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.check())
    }

    /// The last look that found nothing wrong.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.guard.as_ref().and_then(|guard| guard.seen())
    }

    /// The server's address, without a slash at its end.
    pub fn url(&self) -> &str {
        self.transport.base()
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Starts a run on the server's own stream.
    ///
    /// # Errors
    /// As every call. After [`ClientError::Unavailable`] the run may have been started.
    pub fn create_run(&self, run: &NewRun) -> Result<RunSummary, ClientError> {
        self.post("/v1/runs", run, false)
    }

    /// One page of runs, oldest first, after the run `after`.
    ///
    /// # Errors
    /// As every call.
    pub fn runs(&self, after: Option<&str>, limit: usize) -> Result<RunPage, ClientError> {
        let mut path = format!("/v1/runs?limit={limit}");
        if let Some(after) = after {
            path.push_str("&after=");
            path.push_str(&encode(after));
        }
        self.get(&path)
    }

    /// A run by its id, or by its name where only one has it.
    ///
    /// # Errors
    /// As every call.
    pub fn run(&self, run: &str) -> Result<RunSummary, ClientError> {
        self.get(&format!("/v1/runs/{}", encode(run)))
    }

    /// How far each stream of a run, or of the scope `ledger`, is.
    ///
    /// # Errors
    /// As every call.
    pub fn streams(&self, run: &str) -> Result<Vec<StreamSummary>, ClientError> {
        #[derive(serde::Deserialize)]
        struct Streams {
            streams: Vec<StreamSummary>,
        }
        let page: Streams = self.get(&format!("/v1/runs/{}/streams", encode(run)))?;
        Ok(page.streams)
    }

    /// How far one stream is; `None` where it has not been opened.
    ///
    /// # Errors
    /// As every call.
    pub fn stream_head(
        &self,
        run: RunId,
        stream: &StreamName,
    ) -> Result<Option<StreamSummary>, ClientError> {
        match self.streams(run.as_str()) {
            Ok(streams) => Ok(streams.into_iter().find(|found| found.stream == *stream)),
            Err(ClientError::Refused(problem)) if problem.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the streams of a run end, all but one, as a `run.sealed` in that one lists them.
    ///
    /// # Errors
    /// As every call.
    pub fn other_ends(&self, run: RunId, own: StreamName) -> Result<Vec<StreamEnd>, ClientError> {
        let streams = self.streams(run.as_str())?.into_iter();
        Ok(streams
            .filter(|stream| stream.stream != own)
            .map(|stream| stream.end())
            .collect())
    }

    /// Seals a run that the server owns; `status` is `completed`, `failed` or `aborted`.
    ///
    /// # Errors
    /// As every call.
    pub fn seal_run(&self, run: &str, status: &str) -> Result<Receipt, ClientError> {
        let path = format!("/v1/runs/{}/seal", encode(run));
        self.post(&path, &json!({"status": status}), false)
    }

    /// Appends records. Sent again on its own where the connection breaks or the server is busy:
    /// (run, stream, seq) makes that harmless.
    ///
    /// # Errors
    /// As every call; all of the records are recorded, or none.
    pub fn append(&self, submissions: &[Submission], wait: Wait) -> Result<Appended, ClientError> {
        let mut lines = Vec::new();
        for submission in submissions {
            lines.extend_from_slice(&submission.to_line());
            lines.push(b'\n');
        }
        self.append_lines(&lines, wait)
    }

    /// Appends records that are in the form of submission lines already (NDJSON).
    ///
    /// # Errors
    /// As every call; all of the records are recorded, or none.
    pub fn append_lines(&self, lines: &[u8], wait: Wait) -> Result<Appended, ClientError> {
        if let Some(guard) = &self.guard {
            guard.check()?;
        }
        let path = match wait {
            Wait::Durable => "/v1/records",
            Wait::Published => "/v1/records?wait=published",
        };
        let payload = Payload {
            media_type: "application/x-ndjson",
            bytes: lines,
        };
        self.transport
            .json(&Method::POST, path, Some(payload), true)
    }

    /// One page of records, by index.
    ///
    /// # Errors
    /// As every call.
    pub fn records(&self, query: &RecordQuery) -> Result<RecordPage, ClientError> {
        let mut pairs = Vec::new();
        if let Some(run) = &query.run {
            pairs.push(format!("run={}", encode(run)));
        }
        if let Some(kind) = &query.kind {
            pairs.push(format!("kind={}", encode(kind)));
        }
        if let Some(after) = query.after {
            pairs.push(format!("after={after}"));
        }
        if let Some(limit) = query.limit {
            pairs.push(format!("limit={limit}"));
        }
        self.get(&format!("/v1/records?{}", pairs.join("&")))
    }

    /// The record at `index`.
    ///
    /// # Errors
    /// As every call.
    pub fn record(&self, index: u64) -> Result<LoggedRecord, ClientError> {
        self.get(&format!("/v1/records/{index}"))
    }

    /// A C2SP tlog-proof of the record at `index`.
    ///
    /// # Errors
    /// As every call; 404 with the code `not-published` until a checkpoint covers it.
    pub fn proof(&self, index: u64) -> Result<String, ClientError> {
        self.transport.text(&format!("/v1/records/{index}/proof"))
    }

    /// Waits until a published checkpoint covers the record at `index`, and gives its proof; `None` where that takes
    /// longer than `patience`.
    ///
    /// # Errors
    /// As every call.
    pub fn published(&self, index: u64, patience: Duration) -> Result<Option<String>, ClientError> {
        let began = Instant::now();
        loop {
            match self.proof(index) {
                Ok(proof) => return Ok(Some(proof)),
                Err(ClientError::Refused(problem)) if problem.code == "not-published" => {}
                Err(error) => return Err(error),
            }
            if began.elapsed() >= patience {
                return Ok(None);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Downloads a run's bundle, with the openings of its sealed values where `openings` (admin
    /// only). Returns the bytes written; what was written before an error is not a bundle.
    ///
    /// # Errors
    /// As every call, and [`ClientError::Download`].
    pub fn bundle(
        &self,
        run: &str,
        openings: bool,
        out: &mut impl Write,
    ) -> Result<u64, ClientError> {
        let parts = BundleParts {
            openings,
            ..BundleParts::default()
        };
        self.bundle_with(run, parts, out)
    }

    /// As [`Client::bundle`], with the parts that are named.
    ///
    /// # Errors
    /// As [`Client::bundle`].
    pub fn bundle_with(
        &self,
        run: &str,
        parts: BundleParts,
        out: &mut impl Write,
    ) -> Result<u64, ClientError> {
        let BundleParts {
            openings,
            attachments,
        } = parts;
        let mut path = format!("/v1/runs/{}/bundle?openings={openings}", encode(run));
        if !attachments {
            path.push_str("&attachments=false");
        }
        self.download(&path, "bundle", &mut |piece| out.write_all(piece))
    }

    /// Shows what is at `path`, piece by piece, and gives how many bytes that was.
    pub(crate) fn download(
        &self,
        path: &str,
        what: &str,
        show: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, ClientError> {
        let response = self.transport.send(&Method::GET, path, None, true)?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 64 << 10];
        let mut shown = 0;
        loop {
            let read = match io::Read::read(&mut body, &mut buffer) {
                Ok(0) => return Ok(shown),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(ClientError::Unavailable {
                        what: format!("{}{path}", self.url()),
                        why: format!("the {what} broke off after {shown} bytes: {error}"),
                        asked: None,
                    });
                }
            };
            show(&buffer[..read]).map_err(ClientError::Download)?;
            shown += read as u64;
        }
    }

    /// A run's model card, from the records as they stand.
    ///
    /// # Errors
    /// As every call.
    pub fn card(&self, run: &str, format: CardFormat) -> Result<String, ClientError> {
        self.transport.text(&format!(
            "/v1/runs/{}/card?format={}",
            encode(run),
            format.name()
        ))
    }

    /// Issues a run's model card: its digests are recorded (`document.issued`), and its files are
    /// in the answer.
    ///
    /// # Errors
    /// As every call.
    pub fn issue_card(&self, run: &str) -> Result<Value, ClientError> {
        self.post(&format!("/v1/runs/{}/card", encode(run)), &json!({}), false)
    }

    /// Makes a token.
    ///
    /// # Errors
    /// As every call.
    pub fn create_token(&self, name: &str, role: &str) -> Result<NewToken, ClientError> {
        self.post("/v1/tokens", &json!({"name": name, "role": role}), false)
    }

    /// Makes a token with all that one can have, or asks for one.
    ///
    /// # Errors
    /// As every call.
    pub fn issue_token(&self, wanted: &WantedToken) -> Result<IssuedToken, ClientError> {
        self.post("/v1/tokens", wanted, false)
    }

    /// One token, without its secret.
    ///
    /// # Errors
    /// As every call; 404 where there is none of this id.
    pub fn token(&self, id: &str) -> Result<TokenSummary, ClientError> {
        self.get(&format!("/v1/tokens/{}", encode(id)))
    }

    /// Asks for another admin's approval of a change of a key: `log`, `operator`, `producer` or `deployment`.
    ///
    /// # Errors
    /// As every call.
    pub fn ask_rotation(&self, purpose: &str) -> Result<ApprovalSummary, ClientError> {
        self.post("/v1/approvals", &json!({"rotate": purpose}), false)
    }

    /// What admins have asked for, decided or not.
    ///
    /// # Errors
    /// As every call.
    pub fn approvals(&self) -> Result<Vec<ApprovalSummary>, ClientError> {
        #[derive(serde::Deserialize)]
        struct Approvals {
            requests: Vec<ApprovalSummary>,
        }
        let page: Approvals = self.get("/v1/approvals")?;
        Ok(page.requests)
    }

    /// Agrees to what another admin asked for, or refuses it.
    ///
    /// # Errors
    /// As every call; 409 where it is decided, or was asked for with the same token.
    pub fn decide(&self, request: &str, approve: bool) -> Result<ApprovalSummary, ClientError> {
        let path = format!("/v1/approvals/{}", encode(request));
        self.post(&path, &json!({"approve": approve}), false)
    }

    /// All tokens, without their secrets.
    ///
    /// # Errors
    /// As every call.
    pub fn tokens(&self) -> Result<Vec<TokenSummary>, ClientError> {
        #[derive(serde::Deserialize)]
        struct Tokens {
            tokens: Vec<TokenSummary>,
        }
        let page: Tokens = self.get("/v1/tokens")?;
        Ok(page.tokens)
    }

    /// Revokes a token, at once and for good.
    ///
    /// # Errors
    /// As every call.
    pub fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        let path = format!("/v1/tokens/{}", encode(id));
        self.transport
            .bytes(&Method::DELETE, &path, None, true)
            .map(drop)
    }

    /// Jobs, the newest first.
    ///
    /// # Errors
    /// As every call.
    pub fn jobs(&self, query: &JobQuery) -> Result<JobPage, ClientError> {
        let mut path = "/v1/jobs?".to_owned();
        for (name, value) in [
            ("state", &query.state),
            ("kind", &query.kind),
            ("parent", &query.parent),
            ("before", &query.before),
        ] {
            if let Some(value) = value {
                let _ = write!(path, "{name}={}&", encode(value));
            }
        }
        let _ = write!(path, "limit={}", query.limit.unwrap_or(100));
        self.get(&path)
    }

    /// A job.
    ///
    /// # Errors
    /// As every call; 404 where there is none of this id.
    pub fn job(&self, id: &str) -> Result<Job, ClientError> {
        self.get(&format!("/v1/jobs/{}", encode(id)))
    }

    /// Has a job done; gives its id.
    ///
    /// # Errors
    /// As every call; 409 where one about the same is open.
    pub fn add_job(&self, kind: &str, payload: &serde_json::Value) -> Result<String, ClientError> {
        #[derive(serde::Deserialize)]
        struct Asked {
            id: String,
        }
        let body = json!({ "kind": kind, "payload": payload });
        let asked: Asked = self.post("/v1/jobs", &body, false)?;
        Ok(asked.id)
    }

    /// Has a dead job tried again.
    ///
    /// # Errors
    /// As every call; 409 where it is not dead.
    pub fn requeue_job(&self, id: &str) -> Result<Job, ClientError> {
        self.post(
            &format!("/v1/jobs/{}/requeue", encode(id)),
            &json!({}),
            false,
        )
    }

    /// Makes a hook: an address to which an annotation platform delivers.
    ///
    /// # Errors
    /// As every call; 409 where one of its name is there.
    pub fn create_hook(&self, hook: &NewHook) -> Result<FreshHook, ClientError> {
        let body = serde_json::to_value(hook).unwrap_or_default();
        self.post("/v1/hooks", &body, false)
    }

    /// All hooks, without their secrets.
    ///
    /// # Errors
    /// As every call.
    pub fn hooks(&self) -> Result<Vec<HookSummary>, ClientError> {
        #[derive(serde::Deserialize)]
        struct Hooks {
            hooks: Vec<HookSummary>,
        }
        let page: Hooks = self.get("/v1/hooks")?;
        Ok(page.hooks)
    }

    /// Removes a hook at once; what was recorded stays.
    ///
    /// # Errors
    /// As every call; 404 where there is none of this name.
    pub fn remove_hook(&self, name: &str) -> Result<(), ClientError> {
        let path = format!("/v1/hooks/{}", encode(name));
        self.transport
            .bytes(&Method::DELETE, &path, None, true)
            .map(drop)
    }

    /// The latest published checkpoint: a signed note (C2SP tlog-checkpoint).
    ///
    /// # Errors
    /// As every call; 404 before the first record is published.
    pub fn checkpoint(&self) -> Result<String, ClientError> {
        self.transport.text("/log/checkpoint")
    }

    /// The policy that the log gives of itself (C2SP tlog-policy): whoever takes it trusts the server on first use.
    ///
    /// # Errors
    /// As every call.
    pub fn policy(&self) -> Result<String, ClientError> {
        self.transport.text("/log/policy")
    }

    /// The bytes of a tile, or of an entry bundle (readers only).
    ///
    /// # Errors
    /// As every call; 404 where the log has no such tile, or has a full one in its place.
    pub fn tile(&self, id: tlog::TileId) -> Result<Vec<u8>, ClientError> {
        let path = format!("/log/{}", id.path());
        self.transport.bytes(&Method::GET, &path, None, true)
    }

    /// The server's own account of itself.
    ///
    /// # Errors
    /// As every call.
    pub fn health(&self) -> Result<Value, ClientError> {
        self.get("/health")
    }

    /// The server's numbers, as a Prometheus scrapes them.
    ///
    /// # Errors
    /// As every call.
    pub fn metrics(&self) -> Result<String, ClientError> {
        self.transport.text("/metrics")
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.transport.json(&Method::GET, path, None, true)
    }

    fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
        again: bool,
    ) -> Result<T, ClientError> {
        let bytes = serde_json::to_vec(body)
            .map_err(|error| self.transport.unexpected(path, error.to_string()))?;
        let payload = Payload {
            media_type: "application/json",
            bytes: &bytes,
        };
        self.transport
            .json(&Method::POST, path, Some(payload), again)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("transport", &self.transport)
            .field("remembering", &self.guard.is_some())
            .finish()
    }
}

impl Sink for Client {
    fn append(&mut self, submissions: Vec<Submission>) -> Result<Vec<Receipt>, ClientError> {
        Client::append(self, &submissions, Wait::Durable).map(|appended| appended.records)
    }
}

/// Percent-encodes all that is not unreserved (RFC 3986 §2.3): a name in a path stays one segment.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(encode("safety v2/é?"), "safety%20v2%2F%C3%A9%3F");
        assert_eq!(encode("01J-._~"), "01J-._~");
    }

    #[test]
    fn only_http_addresses_are_taken() {
        for good in ["http://localhost:8000", "https://audit.example/ledger/"] {
            assert!(Client::new(good, None).is_ok(), "{good}");
        }
        for bad in ["localhost:8000", "ftp://x", "/data", "", "http://"] {
            assert!(
                matches!(Client::new(bad, None), Err(ClientError::Url { .. })),
                "{bad}"
            );
        }
        let client = Client::new("http://h/", Some("rat_secret")).unwrap();
        assert_eq!(client.url(), "http://h");
        assert!(!format!("{client:?}").contains("secret"));
    }
}
