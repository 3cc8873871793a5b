//! Producers that remember what they sent and what they were told, and hold the log against it.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use client::{Client, ClientError, Receipt, RetryPolicy, Wait};
use record::kinds::{AnnotationPreference, Choice, MetricLogged, RunStarted};
use record::{
    Attachment, Clock, Draft, Entropy, Hash, ProducerName, Pseudonym, RunId, Scope, Sha256,
    SigningKey, StreamName, StreamWriter, Subject, Submission, Timestamp,
};
use serde_json::json;
use testkit::log::SeededEntropy;
use tlog::tile::tiles_for_size;
use tlog::{EntryBundle, TileLevel, TreeSize};

use super::{ADMIN, Desk, Server};

/// The machine's clock.
#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the server under test keeps real time"
    )]
    fn now(&self) -> Timestamp {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        Timestamp(i64::try_from(now.as_micros()).unwrap())
    }
}

/// Numbers that follow from a seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(Arc<SeededEntropy>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(SeededEntropy::new(seed)))
    }

    /// A number below `end`.
    pub(crate) fn below(&self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }
}

/// A client that asks once.
pub(crate) fn client(url: &str) -> Client {
    Client::new(url, Some(ADMIN))
        .unwrap()
        .with_retry(RetryPolicy::NEVER)
}

/// One stream's producer.
pub(crate) struct Producer {
    writer: StreamWriter,
    dice: Dice,
    annotator: Pseudonym,
    /// Sent and not answered, or not sent yet: sent again until it is answered.
    pending: Vec<Submission>,
    /// What the pending records name: put before them, each time.
    unput: Vec<Vec<u8>>,
    /// Now and then a record names an attachment.
    attaching: bool,
    /// Attachments that acknowledged records name.
    pub(crate) attached: u64,
    /// The last request that was answered, with its answer.
    last: Option<(Vec<Submission>, Vec<Receipt>)>,
    /// Leaf hash and index of every record that was acknowledged.
    pub(crate) acknowledged: Vec<(Hash, u64)>,
    /// Sealed values of these records.
    pub(crate) sealed: u64,
    /// Requests that had been recorded although nobody was told.
    pub(crate) recorded_unheard: u64,
}

impl Producer {
    /// The producers of one run; the first of them starts it.
    pub(crate) fn crew(count: u8, seed: u64) -> Vec<Self> {
        let dice = Dice::new(seed);
        let run = RunId::generate(&SystemClock, &*dice.0);
        (0..count)
            .map(|n| {
                let stream = if n == 0 { "owner" } else { &format!("rank{n}") };
                let mut key = [0; 32];
                dice.0.fill(&mut key);
                let mut writer = StreamWriter::open(
                    Scope::Run(run),
                    StreamName::parse(stream).unwrap(),
                    ProducerName::parse("soak").unwrap(),
                    SigningKey::from_bytes(&key),
                    Arc::new(SystemClock),
                    dice.0.clone(),
                );
                let started = RunStarted::new("soak".to_owned(), writer.public_key());
                let pending = match n {
                    0 => writer.write(Draft::new(started)).unwrap(),
                    _ => Vec::new(),
                };
                Self {
                    writer,
                    annotator: Pseudonym::generate(&*dice.0),
                    dice: dice.clone(),
                    pending,
                    unput: Vec::new(),
                    attaching: false,
                    attached: 0,
                    last: None,
                    acknowledged: Vec::new(),
                    sealed: 0,
                    recorded_unheard: 0,
                }
            })
            .collect()
    }

    /// Lets records name attachments.
    pub(crate) fn attaching(mut self) -> Self {
        self.attaching = true;
        self
    }

    /// Sends what is pending, or the next request: up to `most` records, sealed values among them. Gives how many
    /// records were acknowledged. After an error the same bytes are sent by the next call.
    pub(crate) fn send(&mut self, client: &Client, most: u64) -> Result<usize, ClientError> {
        let wait = match self.dice.below(8) {
            0 => Wait::Published,
            _ => Wait::Durable,
        };
        self.send_and(client, most, wait)
    }

    /// As [`send`](Self::send), and waits for what is asked.
    pub(crate) fn send_and(
        &mut self,
        client: &Client,
        most: u64,
        wait: Wait,
    ) -> Result<usize, ClientError> {
        self.prepare(most);
        for content in &self.unput {
            client.put_attachment(&mut Cursor::new(content))?;
        }
        let receipts = client.append(&self.pending, wait)?.records;
        self.attached += std::mem::take(&mut self.unput).len() as u64;
        assert_eq!(receipts.len(), self.pending.len());
        let known = receipts.iter().filter(|receipt| receipt.duplicate).count();
        assert!(
            known == 0 || known == receipts.len(),
            "I5: a part of a request was recorded: {receipts:?}"
        );
        self.recorded_unheard += u64::from(known > 0);
        for (sent, receipt) in self.pending.iter().zip(&receipts) {
            let leaf = tlog::leaf_hash(&sent.record);
            assert_eq!(Hash::from(receipt.leaf_hash), leaf);
            self.acknowledged.push((leaf, receipt.index));
            self.sealed += sent.openings.len() as u64;
        }
        let count = receipts.len();
        self.last = Some((std::mem::take(&mut self.pending), receipts));
        Ok(count)
    }

    /// What the next call of [`send`](Self::send) sends.
    pub(crate) fn lines(&mut self, most: u64) -> Vec<u8> {
        self.prepare(most);
        let lines = self.pending.iter().map(|record| {
            let mut line = record.to_line();
            line.push(b'\n');
            line
        });
        lines.flatten().collect()
    }

    fn prepare(&mut self, most: u64) {
        if self.pending.is_empty() {
            for _ in 0..=self.dice.below(most) {
                let draft = self.draft();
                let draft = self.attach(draft);
                self.pending.extend(self.writer.write(draft).unwrap());
            }
        }
    }

    fn attach(&mut self, draft: Draft) -> Draft {
        if !self.attaching || self.dice.below(12) > 0 {
            return draft;
        }
        // Mostly short, sometimes longer than what a store syncs at a time; never the same twice.
        let length = match self.dice.below(10) {
            0 => 9_000_000,
            _ => self.dice.below(50_000),
        };
        let mut content = self.dice.below(u64::MAX).to_le_bytes().to_vec();
        content.resize(content.len() + length as usize, 7);
        let attachment = Attachment {
            bytes: content.len() as u64,
            sha256: Sha256(tlog::sha256(&content)),
        };
        self.unput.push(content);
        draft.attach("content", attachment)
    }

    fn draft(&mut self) -> Draft {
        if self.dice.below(3) > 0 {
            let loss = self.dice.below(1 << 40) as f64;
            return Draft::new(MetricLogged::new([("loss".to_owned(), loss)].into()));
        }
        // Now and then a person whose key has to be made first.
        if self.dice.below(4) == 0 {
            self.annotator = Pseudonym::generate(&*self.dice.0);
        }
        let mut body = AnnotationPreference::new(Choice::A);
        body.annotator = Some(self.annotator);
        Draft::new(body)
            .seal("prompt", &json!("what is kept?"), Subject::Run)
            .seal("response_a", &json!("what is synced"), Subject::Run)
            .seal("response_b", &json!("what is written"), Subject::Run)
            .seal(
                "annotator_id",
                &json!("jane@example.org"),
                Subject::Person(self.annotator),
            )
    }

    /// The last answer is still true: the same bytes have the same indices.
    pub(crate) fn repeat(&self, client: &Client) -> Result<(), ClientError> {
        if let Some((sent, told)) = &self.last {
            let again = client.append(sent, Wait::Durable)?.records;
            assert!(
                again.iter().all(|receipt| receipt.duplicate),
                "an acknowledged record was lost: {again:?}"
            );
            let places = |receipts: &[Receipt]| -> Vec<u64> {
                receipts.iter().map(|receipt| receipt.index).collect()
            };
            assert_eq!(places(&again), places(told));
        }
        Ok(())
    }
}

/// A server that works answers everybody at last and ends in peace; then the log is checked from end to end. Gives its
/// size.
pub(crate) fn settle(desk: &Desk, crew: &mut [Producer]) -> u64 {
    let server = Server::start(desk);
    let client = client(&server.url);
    for producer in &mut *crew {
        producer.repeat(&client).unwrap();
        producer.send(&client, 3).unwrap();
    }
    server.stop();
    account(desk, crew)
}

/// Everything the producers were told is in `./audit-data` of a stopped server, once and at its index; the log holds, has
/// grown from what was kept in `./kept` if there is any, and every sealed value opens. Gives the log's size.
fn account(desk: &Desk, producers: &[Producer]) -> u64 {
    for producer in producers {
        assert!(producer.pending.is_empty(), "something was never answered");
    }
    let mut args = vec!["verify", "audit-data", "--policy", "audit-data/policy"];
    args.extend(["--openings", "--remember", "kept"]);
    if desk.path("kept").exists() {
        args.extend(["--since", "kept"]);
    }
    let report = desk.json(&args);
    assert_eq!(report["verdict"], "verified", "{report}");
    let counts = &report["counts"];
    let sealed: u64 = producers.iter().map(|producer| producer.sealed).sum();
    assert_eq!(counts["commitments"], sealed, "{report}");
    assert_eq!(counts["opened"], sealed, "an opening was lost: {report}");

    // Put before it was named, so there if the record is.
    let attached: u64 = producers.iter().map(|producer| producer.attached).sum();
    assert_eq!(counts["attachments"], attached, "{report}");
    assert_eq!(counts["attachments_checked"], attached, "{report}");

    let leaves = leaves(&desk.path("audit-data/log"));
    let mut places = HashMap::new();
    for (leaf, index) in leaves.iter().zip(0_u64..) {
        let before = places.insert(*leaf, index);
        assert_eq!(before, None, "record {index} is there twice");
    }
    for (leaf, index) in producers.iter().flat_map(|one| &one.acknowledged) {
        assert_eq!(places.get(leaf), Some(index), "an acknowledged record");
    }
    leaves.len() as u64
}

/// The leaf hashes of a log's records, from its entry bundles.
fn leaves(log: &Path) -> Vec<Hash> {
    let note = std::fs::read_to_string(log.join("checkpoint")).unwrap();
    let size = note.lines().nth(1).unwrap().parse().unwrap();
    let mut leaves = Vec::new();
    let bundles = tiles_for_size(TreeSize(size)).filter(|id| id.level() == TileLevel::Entries);
    for id in bundles {
        let bytes = std::fs::read(log.join(id.path())).unwrap();
        let bundle = EntryBundle::parse(&bytes, id.width()).unwrap();
        leaves.extend(bundle.into_iter().map(tlog::leaf_hash));
    }
    assert_eq!(leaves.len() as u64, size);
    leaves
}
