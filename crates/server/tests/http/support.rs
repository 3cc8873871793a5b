//! A server of its own for each test, and producers to feed it.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::{Client, NewRun, RetryPolicy, RunSummary};
use ledger::{Ledger, Role};
use record::kinds::{AnnotationDemonstration, MetricLogged, ReadPart, RunStarted};
use record::{
    Clock, Draft, Entropy, ProducerName, PublicKey, RunId, Scope, SigningKey, StreamName,
    StreamWriter, Subject, Submission, Timestamp,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use ureq::http::{Method, Request};

/// The machine's clock.
#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the server under test keeps real time"
    )]
    fn now(&self) -> Timestamp {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(now.as_micros()).unwrap())
    }
}

/// The machine's random numbers.
#[derive(Debug)]
pub(crate) struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(
        clippy::disallowed_methods,
        reason = "ids of one test must differ from another's"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).unwrap();
    }
}

/// A server that stops, and a directory that goes, when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) admin: String,
    pub(crate) producer: String,
    pub(crate) reader: String,
    /// Of every part of every run.
    pub(crate) auditor: String,
    pub(crate) witness: String,
    /// Where health and metrics are, if not with the rest.
    pub(crate) operation: Option<SocketAddr>,
    agent: ureq::Agent,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), server::ServerError>>>,
    pub(crate) dir: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(server::Options::default())
    }

    pub(crate) fn start_with(options: server::Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = ledger::Options::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
        settings.publish_interval = Duration::from_millis(20);
        let ledger = Ledger::create(dir.path(), settings).unwrap();
        Self::start_on(dir, ledger, options)
    }

    /// A server of a ledger that the test has made, in a directory that goes with it.
    pub(crate) fn start_on(
        dir: tempfile::TempDir,
        ledger: Ledger,
        options: server::Options,
    ) -> Self {
        let ledger = Arc::new(ledger);
        let token = |name: &str, role| ledger.create_token(name, role, None).unwrap().0;
        let (admin, producer, reader, witness) = (
            token("admin", Role::Admin),
            token("producer", Role::Producer),
            token("reader", Role::Reader),
            token("witness", Role::Witness),
        );
        let everything = ledger::NewToken {
            reach: Some(ledger::Reach {
                runs: None,
                parts: [
                    ReadPart::Aggregates,
                    ReadPart::Documents,
                    ReadPart::Records,
                    ReadPart::Sealed,
                ]
                .into(),
            }),
            ..ledger::NewToken::new("auditor", Role::Auditor)
        };
        let auditor = ledger.issue_token(&everything).unwrap().0;
        let (stop, stopped) = oneshot::channel::<()>();
        let (bound, address) = std::sync::mpsc::channel();
        let served = Arc::clone(&ledger);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            runtime.unwrap().block_on(async move {
                let bind = || tokio::net::TcpListener::bind("127.0.0.1:0");
                let main = bind().await.unwrap();
                let operation = if options.operation_apart {
                    Some(bind().await.unwrap())
                } else {
                    None
                };
                let apart = operation.as_ref().map(|it| it.local_addr().unwrap());
                bound.send((main.local_addr().unwrap(), apart)).unwrap();
                let shutdown = async move { drop(stopped.await) };
                let listeners = server::Listeners { main, operation };
                server::serve_at(listeners, served, options, shutdown).await
            })
        });
        let (address, operation) = address.recv().unwrap();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .new_agent();
        Self {
            url: format!("http://{address}"),
            address,
            ledger,
            admin,
            producer,
            reader,
            auditor,
            witness,
            operation,
            agent,
            stop: Some(stop),
            thread: Some(thread),
            dir,
        }
    }

    /// The same ledger under another server process, as it were: nothing is left in memory.
    pub(crate) fn restarted(mut self) -> Self {
        self.stop();
        self.ledger.close().unwrap();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        drop(self);
        let mut settings = ledger::Options::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
        settings.publish_interval = Duration::from_millis(20);
        // The last handle on the old one may be on its way out still.
        let ledger = eventually(|| Ledger::open(dir.path(), settings.clone()).ok());
        Self::start_on(dir, ledger, server::Options::default())
    }

    /// The records of a run, or of the scope `ledger`, of this kind, with their indices.
    pub(crate) fn records_of(&self, scope: &str, kind: &str) -> Vec<(u64, Value)> {
        self.published();
        let mut path = format!("/v1/records?run={scope}&kind={kind}&limit=1000");
        let mut found = Vec::new();
        loop {
            let page = self.ask("get", &path, Some(&self.reader), None).json();
            for one in page["records"].as_array().unwrap() {
                found.push((one["index"].as_u64().unwrap(), one["record"].clone()));
            }
            match page["next"].as_u64() {
                None => return found,
                Some(next) => {
                    path = format!("/v1/records?run={scope}&kind={kind}&limit=1000&after={next}");
                }
            }
        }
    }

    /// The whole log as text.
    pub(crate) fn everything(&self) -> String {
        let size = self.published();
        let read = |index| String::from_utf8(self.ledger.read(index).unwrap()).unwrap();
        (0..size).map(read).collect()
    }

    /// What a record sealed.
    pub(crate) fn opened(&self, index: u64) -> Value {
        let mut opened = serde_json::Map::new();
        for field in self.ledger.openings(index).unwrap() {
            if let ledger::SealedState::Opened { value, .. } = field.state {
                opened.insert(field.field, serde_json::from_slice(&value).unwrap());
            }
        }
        Value::Object(opened)
    }

    /// Verifies the whole log, sealed values too.
    pub(crate) fn verified(&self) {
        self.published();
        let source = verify::Source::directory(self.dir.path()).unwrap();
        let policy = tlog::Policy::parse(self.ledger.policy().as_bytes()).unwrap();
        let opener = self.ledger.opener();
        let options = verify::Options {
            openings: Some(&opener),
            ..verify::Options::default()
        };
        let report = verify::log(&source, &policy, &options).unwrap();
        assert_eq!(report.verdict(), verify::Verdict::Verified, "{report}");
    }

    /// Tells the server to stop and waits until it has.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }

    pub(crate) fn client(&self, token: &str) -> Client {
        Client::new(&self.url, Some(token))
            .unwrap()
            .with_retry(RetryPolicy::NEVER)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    /// Asks with a body that suits the path, or with the one given.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> Answer {
        let body = body.unwrap_or_else(|| match path {
            "/v1/runs" => json!({"name": "asked"}),
            "/v1/tokens" => json!({"name": "asked", "role": "reader"}),
            "/v1/approvals" => json!({"rotate": "log"}),
            path if path.starts_with("/v1/approvals/") => json!({"approve": true}),
            path if path.ends_with("/seal") => json!({"status": "completed"}),
            _ => json!({}),
        });
        if method == "post" {
            let bytes = serde_json::to_vec(&body).unwrap();
            self.send(method, path, token, Some("application/json"), &bytes)
        } else {
            self.send(method, path, token, None, b"")
        }
    }

    pub(crate) fn post_lines(&self, lines: &[u8], token: Option<&str>) -> Answer {
        self.send(
            "post",
            "/v1/records",
            token,
            Some("application/x-ndjson"),
            lines,
        )
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        media_type: Option<&str>,
        body: &[u8],
    ) -> Answer {
        let method: Method = method.to_uppercase().parse().unwrap();
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(media_type) = media_type {
            request = request.header("content-type", media_type);
        }
        if matches!(method, Method::GET | Method::HEAD | Method::DELETE) {
            self.run(request.body(()).unwrap())
        } else {
            self.run(request.body(body).unwrap())
        }
    }

    /// Asks with a request as it is.
    pub(crate) fn run(&self, request: Request<impl ureq::AsSendBody>) -> Answer {
        let response = self.agent.run(request).unwrap();
        let (parts, body) = response.into_parts();
        let mut bytes = Vec::new();
        body.into_with_config()
            .reader()
            .read_to_end(&mut bytes)
            .unwrap();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: bytes,
        }
    }

    /// Starts a run that the server owns.
    pub(crate) fn start_run(&self, name: &str) -> RunSummary {
        let run = NewRun {
            name: name.to_owned(),
            ..NewRun::default()
        };
        self.client(&self.producer).create_run(&run).unwrap()
    }

    /// Opens a run from its first stream, as a producer with its own key does.
    pub(crate) fn open_run(&self, name: &str, token: &str) -> Stream {
        let run = RunId::generate(&SystemClock, &SystemEntropy);
        let mut stream = Self::stream_of(run, "trainer", token);
        let owner = stream.writer.public_key();
        stream.write(Draft::new(RunStarted::new(name.to_owned(), owner)));
        self.take(&mut stream);
        stream
    }

    /// A stream that is not open yet.
    pub(crate) fn stream_of(run: RunId, name: &str, token: &str) -> Stream {
        let mut seed = [0; 32];
        SystemEntropy.fill(&mut seed);
        let writer = StreamWriter::open(
            Scope::Run(run),
            StreamName::parse(name).unwrap(),
            ProducerName::parse("tests").unwrap(),
            SigningKey::from_bytes(&seed),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
        );
        Stream {
            run,
            token: token.to_owned(),
            key: SigningKey::from_bytes(&seed),
            writer,
            waiting: Vec::new(),
            acknowledged: 0,
            at: None,
        }
    }

    /// Sends what waits in `stream`, which has to be good.
    #[track_caller]
    pub(crate) fn take(&self, stream: &mut Stream) {
        let answer = self.post_lines(&stream.lines(), Some(&stream.token));
        assert_eq!(answer.status, 201, "{}", answer.text());
        stream.sent();
    }

    /// Waits until all that has an index is published, and says how much that is.
    pub(crate) fn published(&self) -> u64 {
        let size = self.ledger.status().sequenced;
        eventually(|| (self.ledger.status().published >= size).then_some(size))
    }

    /// How many records of the stream's run the log has.
    pub(crate) fn count(&self, stream: &Stream) -> usize {
        self.published();
        let mut query = client::RecordQuery {
            run: Some(stream.run.to_string()),
            limit: Some(1_000),
            ..client::RecordQuery::default()
        };
        let reader = self.client(&self.reader);
        let mut count = 0;
        loop {
            let page = reader.records(&query).unwrap();
            count += page.records.len();
            query.after = page.next;
            if query.after.is_none() {
                return count;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A failed assertion is under way perhaps; its message matters more.
            drop(thread.join());
        }
    }
}

/// What the server said.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// The code of a problem document.
#[track_caller]
pub(crate) fn code(answer: &Answer) -> String {
    assert_eq!(
        answer.header("content-type"),
        "application/problem+json",
        "{}",
        answer.text()
    );
    answer.json()["code"].as_str().unwrap().to_owned()
}

/// A producer's stream, with records written and not yet acknowledged.
pub(crate) struct Stream {
    pub(crate) run: RunId,
    token: String,
    key: SigningKey,
    pub(crate) writer: StreamWriter,
    waiting: Vec<Submission>,
    acknowledged: usize,
    /// Where the acknowledged part ends: `None` before its first record.
    at: Option<(u64, record::Hash)>,
}

impl Stream {
    /// Writes a record of a metric.
    pub(crate) fn draft(&mut self) {
        self.write(metric());
    }

    pub(crate) fn write(&mut self, draft: Draft) {
        self.waiting.extend(self.writer.write(draft).unwrap());
    }

    /// What waits, as lines; it goes on waiting.
    pub(crate) fn lines(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for submission in &self.waiting {
            out.extend(submission.to_line());
            out.push(b'\n');
        }
        out
    }

    pub(crate) fn submissions(&self) -> &[Submission] {
        &self.waiting
    }

    /// What waited was acknowledged.
    pub(crate) fn sent(&mut self) {
        self.acknowledged += self.waiting.len();
        self.waiting.clear();
        self.at = self
            .writer
            .head()
            .map(|head| (self.writer.next_seq(), head));
    }

    /// Forgets what waits, and goes back to the last acknowledged record.
    pub(crate) fn discard(&mut self) {
        self.waiting.clear();
        let (next_seq, head) = self.at.unwrap();
        self.writer = StreamWriter::resume(
            self.writer.scope(),
            self.writer.stream(),
            self.key.clone(),
            next_seq,
            head,
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
        );
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// Three good lines, to be made bad.
    pub(crate) fn three(&mut self) -> Vec<Vec<u8>> {
        self.discard();
        let drafts = (0..3).flat_map(|_| self.writer.write(metric()).unwrap());
        drafts
            .take(3)
            .map(|submission| submission.to_line())
            .collect()
    }

    /// A good signature over the acknowledged part.
    pub(crate) fn signed(&mut self) -> Vec<u8> {
        self.discard();
        self.writer.sign().unwrap().to_line()
    }

    /// A good record with a sealed value.
    pub(crate) fn sealed(&mut self) -> Vec<u8> {
        self.discard();
        let draft = Draft::new(AnnotationDemonstration::new()).seal(
            "response",
            &json!("an answer"),
            Subject::Run,
        );
        self.writer.write(draft).unwrap()[0].to_line()
    }
}

/// A metric of a quarter.
pub(crate) fn metric() -> Draft {
    Draft::new(MetricLogged::new([("loss".to_owned(), 0.25)].into()))
}

/// The public key of a fresh signing key.
pub(crate) fn fresh_key() -> PublicKey {
    let mut seed = [0; 32];
    SystemEntropy.fill(&mut seed);
    PublicKey::from(&SigningKey::from_bytes(&seed))
}

/// Asks until the answer is there, for as long as a slow machine may take.
#[track_caller]
pub(crate) fn eventually<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let began = std::time::Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}
