//! Receipts: proofs of the log for records of ours, asked for once they are published, checked, and kept.
//!
//! An acknowledgement says at which index a record is; the log promises that it is published there. The records of a
//! stream are chained by their hashes, so the last one stands for all before it: a proof is taken of the newest now and
//! then, and at the end. A promise that is not kept is written down (see [`evidence`](super::evidence)).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use record::{Hash, RecordHash, Scope, StreamName, Timestamp};
use serde::{Deserialize, Serialize};
use tlog::TlogProof;
use tlog::proof::verify_inclusion;

use super::core::Core;
use super::dir::{Lock, Purpose, make_dir, names, read, read_json, remove};
use super::error::SpoolError;
use super::outgoing::Outgoing;
use super::status::KeptReceipt;
use crate::client::Client;
use crate::error::ClientError;
use crate::memory::{Published, Seen};

/// A stream's proofs are taken so far apart.
const TAKE_EVERY: Duration = Duration::from_secs(10);
/// So many proofs of a stream are kept: each is evidence for all records before it.
const KEPT: usize = 16;

const RECORD: &str = "record";
const ACK: &str = "ack.json";
const PROOF: &str = "tlog-proof";

/// What an acknowledgement promises.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) seq: u64,
    pub(super) index: u64,
    pub(super) leaf: Hash,
    pub(super) record: Vec<u8>,
    pub(super) acknowledged: Instant,
}

/// An acknowledgement, as it is kept until there is a proof.
#[derive(Debug, Serialize, Deserialize)]
struct Ack {
    index: u64,
    leaf_hash: RecordHash,
    time: Timestamp,
}

/// How a promise was broken.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) what: String,
    /// As an incident's detail has it.
    pub(super) detail: &'static str,
    pub(super) pieces: Vec<(&'static str, String)>,
    pub(super) promise: Promise,
    /// The log has signed what cannot be: nothing more is sent to it.
    pub(super) untrue: bool,
}

/// The promises of one stream.
#[derive(Debug)]
pub(super) struct Receipts {
    dir: PathBuf,
    /// Of the record that was acknowledged last.
    newest: Option<Promise>,
    /// The one that a proof is waited for.
    asked: Option<Promise>,
    taken: Option<Instant>,
    /// This server gives no proofs to this token.
    refused: bool,
}

impl Receipts {
    /// With what an earlier process was still waiting for.
    pub(super) fn open(core: &Core, scope: Scope, stream: StreamName) -> Self {
        let dir = core.layout.receipts(scope, stream);
        let mut receipts = Self {
            dir,
            newest: None,
            asked: None,
            taken: None,
            refused: false,
        };
        let seqs = receipts.seqs(ACK).unwrap_or_default();
        receipts.asked = seqs.last().and_then(|seq| receipts.reopen(*seq));
        receipts
    }

    /// What dead processes were still waiting for, of streams that nobody here has.
    pub(super) fn left(core: &Core) -> Vec<Self> {
        let mut left = Vec::new();
        for scopes in names(&core.layout.all_receipts()).unwrap_or_default() {
            for dir in names(&scopes).unwrap_or_default() {
                let name = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
                let scope = name(&scopes).and_then(|name| Scope::parse(&name));
                let stream = name(&dir).and_then(|name| StreamName::parse(&name));
                let (Some(scope), Some(stream)) = (scope, stream) else {
                    continue;
                };
                let here = |known: &Arc<Outgoing>| (known.scope, known.name) == (scope, stream);
                let at = core.layout.stream(scope, stream);
                // Whoever has the stream asks.
                let written = core.streams().iter().any(here)
                    || (at.exists() && !matches!(Lock::take(&at, Purpose::Sends), Ok(Some(_))));
                if !written {
                    left.push(Self::open(core, scope, stream));
                }
            }
        }
        left.retain(Self::waits);
        left
    }

    fn reopen(&self, seq: u64) -> Option<Promise> {
        let ack: Ack = read_json(&self.path(seq, ACK)).ok()??;
        let record = read(&self.path(seq, RECORD)).ok()??;
        Some(Promise {
            seq,
            index: ack.index,
            leaf: ack.leaf_hash.into(),
            record,
            acknowledged: Instant::now(),
        })
    }

    pub(super) fn acknowledged(&mut self, promise: Promise) {
        if !self.refused {
            self.newest = Some(promise);
        }
    }

    /// Whether a proof is still to come.
    pub(super) fn waits(&self) -> bool {
        self.newest.is_some() || self.asked.is_some()
    }

    /// Asks for the proof that is due.
    pub(super) fn tend(
        &mut self,
        core: &Core,
        client: &Client,
        seen: &Seen,
        finishing: bool,
    ) -> Result<(), Box<Broken>> {
        let due = finishing || self.taken.is_none_or(|taken| taken.elapsed() >= TAKE_EVERY);
        if self.asked.is_none()
            && due
            && let Some(promise) = self.newest.take()
        {
            // Kept, so that it is not forgotten with this process; without room it is remembered.
            let _ = self.keep_ack(core, &promise);
            self.asked = Some(promise);
            self.taken = Some(Instant::now());
        }
        let Some(promise) = self.asked.take() else {
            return Ok(());
        };
        let published = seen.published.as_deref();
        let covered =
            published.is_some_and(|published| published.checkpoint.size.0 > promise.index);
        let mut trouble = "no checkpoint covers it".to_owned();
        if let (true, Some(published)) = (covered, published) {
            match client.proof(promise.index) {
                Ok(text) => match check(&text, &promise, published) {
                    Ok(()) => {
                        if self.keep_proof(core, &promise, &text).is_err() {
                            self.asked = Some(promise);
                        }
                        return Ok(());
                    }
                    Err(Doubt::Untrue(why)) => {
                        return Err(broken(
                            promise,
                            "wrong-proof",
                            &why,
                            true,
                            vec![("proof", text)],
                        ));
                    }
                    Err(Doubt::Unreadable(why)) => trouble = why,
                },
                Err(ClientError::Refused(problem)) if problem.status == 403 => {
                    self.refused = true;
                    return Ok(());
                }
                // It is published; that it cannot be asked for now is no broken promise.
                Err(_) => {
                    self.asked = Some(promise);
                    return Ok(());
                }
            }
        }
        // Only time in which the log was looked at counts.
        let waited = seen.began.saturating_duration_since(promise.acknowledged);
        if waited < core.options.publish_within {
            self.asked = Some(promise);
            return Ok(());
        }
        let _ = remove(&self.path(promise.seq, ACK));
        let checkpoint = published.map_or(String::new(), |published| published.note.clone());
        let pieces = vec![("checkpoint", checkpoint)];
        Err(broken(promise, "not-published", &trouble, false, pieces))
    }

    fn keep_ack(&self, core: &Core, promise: &Promise) -> Result<(), SpoolError> {
        make_dir(&self.dir)?;
        let path = self.path(promise.seq, RECORD);
        core.layout.write(&path, &promise.record, false)?;
        let ack = Ack {
            index: promise.index,
            leaf_hash: promise.leaf.into(),
            time: core.options.clock.now(),
        };
        core.layout
            .write_json(&self.path(promise.seq, ACK), &ack, false)
    }

    fn keep_proof(&self, core: &Core, promise: &Promise, text: &str) -> Result<(), SpoolError> {
        make_dir(&self.dir)?;
        let record = self.path(promise.seq, RECORD);
        if !record.exists() {
            core.layout.write(&record, &promise.record, false)?;
        }
        let path = self.path(promise.seq, PROOF);
        core.layout.write(&path, text.as_bytes(), false)?;
        remove(&self.path(promise.seq, ACK))?;
        let seqs = self.seqs(PROOF)?;
        for seq in &seqs[..seqs.len().saturating_sub(KEPT)] {
            remove(&self.path(*seq, PROOF))?;
            remove(&self.path(*seq, RECORD))?;
        }
        Ok(())
    }

    fn path(&self, seq: u64, extension: &str) -> PathBuf {
        self.dir.join(format!("{seq:020}.{extension}"))
    }

    /// The seqs of which there is such a file, in order.
    fn seqs(&self, extension: &str) -> Result<Vec<u64>, SpoolError> {
        let paths = names(&self.dir)?;
        let seqs = paths.iter().filter_map(|path| {
            let (seq, found) = path.file_name()?.to_str()?.split_once('.')?;
            seq.parse().ok().filter(|_| found == extension)
        });
        Ok(seqs.collect())
    }
}

/// The proofs that are kept of a stream, the oldest first.
pub(super) fn kept(
    core: &Core,
    scope: Scope,
    stream: StreamName,
) -> Result<Vec<KeptReceipt>, SpoolError> {
    let receipts = Receipts {
        dir: core.layout.receipts(scope, stream),
        newest: None,
        asked: None,
        taken: None,
        refused: false,
    };
    let mut kept = Vec::new();
    for seq in receipts.seqs(PROOF)? {
        let (record, proof) = (receipts.path(seq, RECORD), receipts.path(seq, PROOF));
        // The sender may have deleted it meanwhile.
        let (Some(bytes), Some(text)) = (read(&record)?, read(&proof)?) else {
            continue;
        };
        let parsed = TlogProof::parse(&text).map_err(|error| SpoolError::Damaged {
            path: proof.clone(),
            offset: 0,
            why: error.to_string(),
        })?;
        kept.push(KeptReceipt {
            scope,
            stream,
            seq,
            index: parsed.index.get(),
            leaf_hash: record::leaf_hash(&bytes).into(),
            record,
            proof,
        });
    }
    Ok(kept)
}

/// Why a proof proves nothing.
enum Doubt {
    /// It may be another's answer, or signed by a key that is not known yet.
    Unreadable(String),
    /// The log has signed another tree than it promised.
    Untrue(String),
}

fn check(text: &str, promise: &Promise, published: &Published) -> Result<(), Doubt> {
    let unreadable = |why: &dyn std::fmt::Display| Doubt::Unreadable(format!("its proof: {why}"));
    let proof = TlogProof::parse(text.as_bytes()).map_err(|error| unreadable(&error))?;
    let mut why = String::new();
    let signed = published.policies.iter().find_map(|policy| {
        policy
            .check_log(proof.checkpoint.as_bytes())
            .map_err(|error| why = error.to_string())
            .ok()
    });
    let signed = signed.ok_or_else(|| unreadable(&why))?.checkpoint;
    if proof.index.get() != promise.index {
        return Err(Doubt::Unreadable(format!(
            "its proof is of index {}",
            proof.index.get()
        )));
    }
    let shown = &published.checkpoint;
    if shown.size == signed.size && shown.root != signed.root {
        return Err(Doubt::Untrue(format!(
            "the log has signed two trees of {} records",
            signed.size
        )));
    }
    verify_inclusion(
        proof.index,
        signed.size,
        &promise.leaf,
        &signed.root,
        &proof.hashes,
    )
    .map_err(|error| Doubt::Untrue(error.to_string()))
}

fn broken(
    promise: Promise,
    detail: &'static str,
    why: &str,
    untrue: bool,
    mut pieces: Vec<(&'static str, String)>,
) -> Box<Broken> {
    let ack = serde_json::json!({
        "seq": promise.seq,
        "index": promise.index,
        "leaf_hash": RecordHash::from(promise.leaf),
    });
    pieces.push(("acknowledged.json", ack.to_string()));
    pieces.push((
        "record",
        String::from_utf8_lossy(&promise.record).into_owned(),
    ));
    let what = format!(
        "the log acknowledged the record {} at index {} and does not prove it: {why}",
        RecordHash::from(promise.leaf),
        promise.index
    );
    Box::new(Broken {
        what,
        detail,
        pieces,
        promise,
        untrue,
    })
}
