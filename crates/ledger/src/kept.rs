//! What a ledger is besides its objects, in a form of its own that no kind of store decides: what a backup holds.
//!
//! Everything that follows from the log is left out: index, hash tiles' index, runs. What is not in the log is in it: subject
//! keys, tokens, settings, who started what, and the jobs that are open.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use store::{
    JobFilter, JobState, JobStore, MetaStore, NewJob, SubjectKey, SubjectKeyRow, TokenRow,
};
use zeroize::Zeroize;

use crate::LedgerError;
use crate::state::read_stream_row;

/// How many rows are read at a time.
const PAGE: usize = 1_000;

/// Bytes, which JSON has as base64. Wiped when dropped: some are keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        STANDARD.encode(&self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// Something with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) bytes: Bytes,
}

/// A ledger at one moment, but for its tiles, sealed values, attachments and documents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// `ledger.json`.
    pub(crate) manifest: Bytes,
    /// The policy that auditors get.
    pub(crate) policy: Bytes,
    /// The latest checkpoint, whole.
    pub(crate) note: Bytes,
    /// The log's origin.
    pub origin: String,
    /// How many records the checkpoint covers.
    pub size: u64,
    /// Its root, base64.
    pub root: String,
    /// The files below `keys/`, by their paths there.
    pub(crate) keys: Vec<Named>,
    pub(crate) settings: Vec<Named>,
    /// Objects of the log that are no tiles: checkpoints that are shown, rotations, timestamps.
    pub(crate) served: Vec<Named>,
    /// Records from `size` on: acknowledged, and in no checkpoint yet.
    pub(crate) unpublished: Vec<KeptEntry>,
    pub(crate) subject_keys: Vec<KeptSubjectKey>,
    pub(crate) tokens: Vec<KeptToken>,
    /// Who started each run.
    pub(crate) runs: Vec<KeptRun>,
    /// Who opened each stream.
    pub(crate) streams: Vec<KeptStream>,
    /// Jobs that are not done.
    pub(crate) jobs: Vec<KeptJob>,
}

impl Kept {
    /// How many records it has: those of the checkpoint and those that no checkpoint covers yet.
    pub fn records(&self) -> u64 {
        self.size + self.unpublished.len() as u64
    }

    /// Its checkpoint, which the log's keys have signed.
    ///
    /// # Errors
    /// They have not, or it is of another tree.
    pub fn signed(&self) -> Result<tlog::Checkpoint, LedgerError> {
        let bad = |reason: &dyn fmt::Display| LedgerError::corrupt("the kept checkpoint", reason);
        let checked = self.checked(&self.note.0).map_err(|e| bad(&e))?;
        if (checked.size.0, checked.root.to_string()) == (self.size, self.root.clone()) {
            Ok(checked)
        } else {
            Err(bad(&"its note is of another tree"))
        }
    }

    /// A checkpoint that the keys in the policy have signed.
    pub(crate) fn checked(&self, note: &[u8]) -> Result<tlog::Checkpoint, tlog::PolicyError> {
        let policy = tlog::Policy::parse(&self.policy.0)?;
        Ok(policy.check_log(note)?.checkpoint)
    }
}

/// A record that no checkpoint covers yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptEntry {
    pub(crate) record: Bytes,
    pub(crate) sealed: Bytes,
    pub(crate) principal: Bytes,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptSubjectKey {
    scope: String,
    subject: String,
    id: Bytes,
    wrapped: Option<Bytes>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptToken {
    id: String,
    name: String,
    role: String,
    hash: Bytes,
    created: i64,
    expires: Option<i64>,
    revoked: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptRun {
    pub(crate) run: String,
    pub(crate) principal: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptStream {
    pub(crate) scope: String,
    pub(crate) stream: String,
    pub(crate) principal: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptJob {
    id: String,
    kind: String,
    key: String,
    parent: Option<String>,
    payload: String,
    tries: u64,
}

pub(crate) fn subject_keys(meta: &dyn MetaStore) -> Result<Vec<KeptSubjectKey>, LedgerError> {
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let page = meta.list_subject_keys(after.as_ref(), PAGE)?;
        let Some(last) = page.last() else {
            return Ok(keys);
        };
        after = Some(last.key.id);
        keys.extend(page.into_iter().map(|row| KeptSubjectKey {
            scope: row.scope,
            subject: row.subject,
            id: Bytes(row.key.id.to_vec()),
            wrapped: row.key.wrapped.map(Bytes),
        }));
    }
}

pub(crate) fn put_subject_keys(
    meta: &dyn MetaStore,
    keys: &[KeptSubjectKey],
) -> Result<(), LedgerError> {
    for page in keys.chunks(PAGE) {
        let rows: Result<Vec<_>, LedgerError> = page.iter().map(KeptSubjectKey::row).collect();
        meta.insert_subject_keys(&rows?)?;
    }
    Ok(())
}

impl KeptSubjectKey {
    fn row(&self) -> Result<SubjectKeyRow, LedgerError> {
        let id = fixed(&self.id, "a subject key's id")?;
        Ok(SubjectKeyRow {
            scope: self.scope.clone(),
            subject: self.subject.clone(),
            key: SubjectKey {
                id,
                wrapped: self.wrapped.as_ref().map(|wrapped| wrapped.0.clone()),
            },
        })
    }
}

pub(crate) fn tokens(meta: &dyn MetaStore) -> Result<Vec<KeptToken>, LedgerError> {
    let rows = meta.list_tokens()?.into_iter();
    let kept = rows.map(|row| KeptToken {
        id: row.id,
        name: row.name,
        role: row.role,
        hash: Bytes(row.hash.to_vec()),
        created: row.created,
        expires: row.expires,
        revoked: row.revoked,
    });
    Ok(kept.collect())
}

pub(crate) fn put_tokens(meta: &dyn MetaStore, tokens: &[KeptToken]) -> Result<(), LedgerError> {
    let known = meta.list_tokens()?;
    for token in tokens {
        let row = TokenRow {
            id: token.id.clone(),
            name: token.name.clone(),
            role: token.role.clone(),
            hash: fixed(&token.hash, "a token's hash")?,
            created: token.created,
            expires: token.expires,
            revoked: token.revoked,
        };
        // A restoration that was interrupted has it already.
        if !known.contains(&row) {
            meta.insert_token(&row)?;
        }
    }
    Ok(())
}

fn fixed<const N: usize>(bytes: &Bytes, what: &str) -> Result<[u8; N], LedgerError> {
    let wrong = || LedgerError::corrupt(what, format!("it has {} bytes, not {N}", bytes.0.len()));
    bytes.0.as_slice().try_into().map_err(|_| wrong())
}

/// Who started which run and opened which stream, where that is known.
pub(crate) fn principals(
    meta: &dyn MetaStore,
) -> Result<(Vec<KeptRun>, Vec<KeptStream>), LedgerError> {
    let (mut runs, mut after) = (Vec::new(), None::<String>);
    let mut streams = of_scope(meta, &record::Scope::Ledger.to_string())?;
    loop {
        let page = meta.list_runs(after.as_deref(), PAGE)?;
        let Some(last) = page.last() else {
            return Ok((runs, streams));
        };
        after = Some(last.run.clone());
        for row in page {
            streams.extend(of_scope(meta, &row.run)?);
            runs.push(KeptRun {
                run: row.run,
                principal: row.principal,
            });
        }
    }
}

fn of_scope(meta: &dyn MetaStore, scope: &str) -> Result<Vec<KeptStream>, LedgerError> {
    let mut streams = Vec::new();
    for row in meta.streams(scope)? {
        let (_, notes) = read_stream_row(&row)?;
        if !notes.principal.is_empty() {
            streams.push(KeptStream {
                scope: row.scope,
                stream: row.stream,
                principal: notes.principal.to_string(),
            });
        }
    }
    Ok(streams)
}

/// Jobs that are queued, running or to be tried again. Whoever takes them over begins them anew.
pub(crate) fn open_jobs(jobs: &(impl JobStore + ?Sized)) -> Result<Vec<KeptJob>, LedgerError> {
    let mut open = Vec::new();
    for state in [JobState::Queued, JobState::Running, JobState::Retrying] {
        let mut before = None::<String>;
        loop {
            let filter = JobFilter {
                state: Some(state),
                before: before.as_deref(),
                limit: PAGE,
                ..JobFilter::default()
            };
            let page = jobs.list_jobs(&filter)?;
            let Some(last) = page.last() else { break };
            before = Some(last.id.clone());
            open.extend(page.into_iter().map(|row| KeptJob {
                id: row.id,
                kind: row.kind,
                key: row.key,
                parent: row.parent,
                payload: row.payload,
                tries: row.tries.saturating_sub(row.attempt).max(1),
            }));
        }
    }
    // The oldest first, as they would have been taken.
    open.sort_by(|one, other| one.id.cmp(&other.id));
    open.dedup_by(|one, other| one.id == other.id);
    Ok(open)
}

/// Adds them, unless they are there; gives how many were added.
pub(crate) fn put_jobs(
    store: &(impl JobStore + ?Sized),
    jobs: &[KeptJob],
) -> Result<u64, LedgerError> {
    let mut added = 0;
    for job in jobs {
        let new = NewJob {
            id: job.id.clone(),
            kind: job.kind.clone(),
            key: job.key.clone(),
            once: false,
            parent: job.parent.clone(),
            payload: job.payload.clone(),
            tries: job.tries,
            delay: 0,
        };
        if store.job(&new.id)?.is_none() {
            added += u64::from(store.add_job(&new)?);
        }
    }
    Ok(added)
}
