//! Changes of the log's keys: how whoever knows the old ones comes to the new ones.
//!
//! At each change the ledger publishes one checkpoint that old and new keys have signed, over a tree
//! that holds the `key.rotated` record in which the new ones are named. That note, the record and
//! the proof that it is in the tree make up a file, `rotations/<n>` beside the log's checkpoint
//! (`docs/spec/log.md`). The old keys vouch for the tree, the tree holds the record, the record names
//! the new keys: nobody without the old keys can make one.

use std::fmt;
use std::str::FromStr;

use record::kinds::{KeyPurpose, KeyRotated};
use record::{Record, Scope, StreamName};
use tlog::{
    Checkpoint, Hash, Policy, PolicyError, SignatureType, SignedNote, TlogProof, VerifierKey,
    leaf_hash,
};

use crate::VerifyError;
use crate::source::Source;

/// A file of this kind is far smaller, with a hundred cosignatures too.
pub(crate) const MAX_BYTES: usize = 1 << 20;
/// More changes of keys than a log will see; an endless supply of files ends here.
const MAX_ROTATIONS: u64 = 1_000;

const HEADER: &str = "rlhf-audit-rotation/v1";

/// One change of the log's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The keys that signed up to here, Ed25519 and ML-DSA-44.
    pub old: Vec<VerifierKey>,
    /// The keys that sign from here on, in the same order.
    pub new: Vec<VerifierKey>,
    /// The bytes of the `key.rotated` record.
    pub record: Vec<u8>,
    /// That it is in the log, under a checkpoint that all of these keys have signed.
    pub proof: TlogProof,
}

/// Why a file does not lead from some keys to others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotationError {
    /// Not of its form.
    #[error("it is no {HEADER}: {0}")]
    Form(String),
    /// The checkpoint is not signed by all the keys, or does not cover the record.
    #[error("{0}")]
    Unproven(String),
    /// The record says something else.
    #[error("its record is not the change of these keys: {0}")]
    Record(String),
}

/// What a change of keys that was followed says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which file.
    pub number: u64,
    /// The log index of the `key.rotated` record.
    pub index: u64,
    /// The size of the tree that old and new keys have signed.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The keys it leads from.
    pub old: Vec<VerifierKey>,
    /// The keys it leads to.
    pub new: Vec<VerifierKey>,
}

impl Rotation {
    /// Reads a file.
    ///
    /// # Errors
    /// [`RotationError::Form`].
    pub fn parse(bytes: &[u8]) -> Result<Self, RotationError> {
        let form = |what: &str| RotationError::Form(what.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|_| form("it is not UTF-8"))?;
        let (head, proof) = text
            .split_once("\n\n")
            .ok_or_else(|| form("the empty line before the proof is missing"))?;
        let mut lines = head.lines();
        if lines.next() != Some(HEADER) {
            return Err(form("the first line is another"));
        }
        let (mut old, mut new, mut record) = (Vec::new(), Vec::new(), None);
        for line in lines {
            let key =
                |text: &str| VerifierKey::from_str(text).map_err(|error| form(&error.to_string()));
            match line.split_once(' ') {
                Some(("old", text)) => old.push(key(text)?),
                Some(("new", text)) => new.push(key(text)?),
                Some(("record", text)) if record.is_none() => record = Some(text.into()),
                _ => return Err(form("a line is none of old, new and record")),
            }
        }
        let types = |keys: &[VerifierKey]| keys.iter().map(VerifierKey::signature_type).collect();
        let (before, after): (Vec<_>, Vec<_>) = (types(&old), types(&new));
        if before != after || before != [SignatureType::Ed25519, SignatureType::MlDsa44Cosignature]
        {
            return Err(form(
                "it takes an Ed25519 and an ML-DSA-44 key, old and new",
            ));
        }
        let rotation = Self {
            old,
            new,
            record: record.ok_or_else(|| form("the record is missing"))?,
            proof: TlogProof::parse(proof.as_bytes()).map_err(|error| form(&error.to_string()))?,
        };
        // Lines in another order or ended otherwise say the same, but one change has one file.
        if rotation.to_string() != text {
            return Err(form("its lines are not old, new and record, in this order"));
        }
        Ok(rotation)
    }

    /// Checks that the log of these keys changed them so. Old and new keys have to have signed, all
    /// four, and the record has to be in the tree.
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn check(&self, number: u64) -> Result<Step, RotationError> {
        let unproven = |error: &dyn fmt::Display| RotationError::Unproven(error.to_string());
        let note = SignedNote::parse(self.proof.checkpoint.as_bytes()).map_err(|e| unproven(&e))?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(|e| unproven(&e))?;
        for key in self.old.iter().chain(&self.new) {
            let by = format!("{} key {}", key.signature_type(), key.id());
            if key.name() != checkpoint.origin {
                let reason = format!("the {by} is not of the log {}", checkpoint.origin);
                return Err(RotationError::Unproven(reason));
            }
            if note.verify_by(key).map_err(|e| unproven(&e))?.is_none() {
                return Err(RotationError::Unproven(format!(
                    "the {by} has not signed it"
                )));
            }
        }
        let leaf = leaf_hash(&self.record);
        tlog::proof::verify_inclusion(
            self.proof.index,
            checkpoint.size,
            &leaf,
            &checkpoint.root,
            &self.proof.hashes,
        )
        .map_err(|e| unproven(&e))?;
        self.check_record()?;
        Ok(Step {
            number,
            index: self.proof.index.get(),
            size: checkpoint.size.get(),
            root: checkpoint.root,
            old: self.old.clone(),
            new: self.new.clone(),
        })
    }

    fn check_record(&self) -> Result<(), RotationError> {
        let wrong = |error: &dyn fmt::Display| RotationError::Record(error.to_string());
        let record = Record::parse(&self.record).map_err(|e| wrong(&e))?;
        let body: KeyRotated = record.decode().map_err(|e| wrong(&e))?;
        if record.scope() != Scope::Ledger || *record.stream() != StreamName::SERVER {
            return Err(wrong(&"it does not stand in ledger/server"));
        }
        if record.version() < KeyRotated::IN_FORCE || body.purpose != KeyPurpose::Log {
            return Err(wrong(&"it is about another key"));
        }
        let names = |keys: &[VerifierKey], ed25519: [u8; 32], ml_dsa_44: Option<[u8; 32]>| {
            keys[0].public_key() == ed25519
                && Some(tlog::sha256(&keys[1].public_key())) == ml_dsa_44
        };
        let old = names(&self.old, body.old.0, body.old_ml_dsa_44.map(|hash| hash.0));
        let new = names(&self.new, body.new.0, body.new_ml_dsa_44.map(|hash| hash.0));
        if old && new {
            Ok(())
        } else {
            Err(wrong(&"it names other keys"))
        }
    }
}

impl fmt::Display for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        self.old
            .iter()
            .try_for_each(|key| writeln!(f, "old {key}"))?;
        self.new
            .iter()
            .try_for_each(|key| writeln!(f, "new {key}"))?;
        // Canonical JSON is one line of UTF-8.
        let record = String::from_utf8_lossy(&self.record);
        write!(f, "record {record}\n\n{}", self.proof)
    }
}

/// Where the changes of keys lead from a policy.
#[derive(Clone, Debug, Default)]
pub struct Path {
    /// The changes, in their order.
    pub steps: Vec<Step>,
    /// The policy after each of them.
    pub policies: Vec<Policy>,
    /// The file that should have led on and does not, and why.
    pub broken: Option<(u64, RotationError)>,
}

impl Path {
    /// The text of a policy file with the new keys in it; whatever else it says stays.
    pub fn exchange(&self, policy: &str) -> String {
        let mut text = policy.to_owned();
        for step in &self.steps {
            for (old, new) in step.old.iter().zip(&step.new) {
                text = text.replace(&old.to_string(), &new.to_string());
            }
        }
        text
    }
}

/// The policy in which the log's keys are exchanged, if all of them are among `from`.
fn exchange(policy: &Policy, from: &[VerifierKey], to: &[VerifierKey]) -> Option<Policy> {
    let origin = from.first()?.name();
    let mut own = policy.keys_named(origin).peekable();
    own.peek()?;
    if !own.all(|key| from.contains(key)) {
        return None;
    }
    let other = |key: &VerifierKey| {
        let at = from.iter().position(|one| one == key)?;
        to.get(at).cloned()
    };
    Some(policy.with_keys(other))
}

/// Follows the changes of the log's keys onwards from `policy`, as the files of `source` have them,
/// for as long as `wanted` does not hold of the policy. Files about other keys are passed over.
///
/// # Errors
/// [`VerifyError`] if a file is there and cannot be read.
pub fn forwards(
    policy: &Policy,
    source: &Source,
    wanted: impl Fn(&Policy) -> bool,
) -> Result<Path, VerifyError> {
    follow(policy, |number| bytes(source, number), wanted)
}

/// As [`forwards`], with files from anywhere: `fetch` gives that of a number, from 1 on.
///
/// # Errors
/// Those of `fetch`.
pub fn follow<E>(
    policy: &Policy,
    mut fetch: impl FnMut(u64) -> Result<Option<Vec<u8>>, E>,
    wanted: impl Fn(&Policy) -> bool,
) -> Result<Path, E> {
    let mut path = Path::default();
    let mut now = policy.clone();
    for number in 1..=MAX_ROTATIONS {
        if wanted(&now) {
            break;
        }
        let Some(bytes) = fetch(number)? else {
            break;
        };
        let Ok(rotation) = Rotation::parse(&bytes) else {
            continue;
        };
        let Some(next) = exchange(&now, &rotation.old, &rotation.new) else {
            continue;
        };
        match rotation.check(number) {
            Ok(step) => path.steps.push(step),
            Err(error) => {
                path.broken = Some((number, error));
                break;
            }
        }
        path.policies.push(next.clone());
        now = next;
    }
    Ok(path)
}

/// The policies of earlier times, the latest first: for notes that were kept since then. The changes
/// are checked as onwards; what stands in a file that does not hold is passed over.
///
/// # Errors
/// As [`forwards`].
pub fn backwards(policy: &Policy, source: &Source) -> Result<Path, VerifyError> {
    let mut all = Vec::new();
    for number in 1..=MAX_ROTATIONS {
        let Some(bytes) = bytes(source, number)? else {
            break;
        };
        all.extend(Rotation::parse(&bytes).map(|rotation| (number, rotation)));
    }
    let mut path = Path::default();
    let mut now = policy.clone();
    for (number, rotation) in all.into_iter().rev() {
        let Some(before) = exchange(&now, &rotation.new, &rotation.old) else {
            continue;
        };
        let Ok(step) = rotation.check(number) else {
            continue;
        };
        path.steps.push(step);
        path.policies.push(before.clone());
        now = before;
    }
    Ok(path)
}

/// Whether a note is refused for the want of a signature by the log's key that the policy knows,
/// which a change of keys explains.
pub fn signed_by_others(policy: &Policy, note: &[u8]) -> bool {
    matches!(policy.check(note), Err(PolicyError::NotSignedByLog { .. }))
}

fn bytes(source: &Source, number: u64) -> Result<Option<Vec<u8>>, VerifyError> {
    let mut bytes = Vec::new();
    let found = source.read(&format!("rotations/{number}"), MAX_BYTES, &mut bytes)?;
    Ok(found.then_some(bytes))
}
