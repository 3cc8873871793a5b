//! *Cosigned*: what witnesses have signed of the published checkpoints, kept and shown.
//!
//! The latest checkpoint that satisfies the witness policy is never lost to a later one that does
//! not: it is in the database, and in the file `log/checkpoint.cosigned`. What is shown as *the*
//! checkpoint, at `log/checkpoint`, is
//!
//! | | `log/checkpoint` | `log/checkpoint.cosigned` | `log/checkpoint.published` |
//! |---|---|---|---|
//! | as a rule | the latest published, with what cosignatures it has so far | the latest with a quorum | |
//! | with `require_quorum` | the latest with a quorum | the same | the latest published |
//!
//! Proofs and bundles carry the checkpoint with a quorum wherever it covers what they are about.
//!
//! Not here: talking to witnesses, which is HTTP and the server's. Whoever does brings a note.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use store::{MetaStore, ObjectStore, StoreError, StoredCheckpoint};
use tlog::{Hash, Policy, SignedNote};

use crate::LedgerError;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::publish::Signers;
use crate::read::{Published, Reader};
use crate::recover;

const CHECKPOINT: &str = "log/checkpoint";
const COSIGNED: &str = "log/checkpoint.cosigned";
const PUBLISHED: &str = "log/checkpoint.published";
/// The setting that holds the latest note with a quorum.
const SETTING: &str = "log.cosigned";

/// Whose cosignatures the published checkpoints are to get.
#[derive(Clone, Debug)]
pub struct Witnessing {
    /// The witnesses, and the quorum of them that convinces. Where it lists no log, this one is meant.
    pub policy: Policy,
    /// Whether to show only checkpoints that have the quorum. Records are acknowledged when they
    /// are durable all the same.
    pub require_quorum: bool,
}

/// What is known of cosignatures.
#[derive(Default)]
pub(crate) struct Cosigning {
    witnessing: Option<Witnessing>,
    /// The latest checkpoint with a quorum.
    best: RwLock<Option<Published>>,
    /// Held while one note is brought in: two at once could each find themselves the latest.
    merging: Mutex<()>,
}

impl Cosigning {
    pub(crate) fn open(
        options: &Options,
        signers: &Signers,
        objects: &dyn ObjectStore,
        meta: &dyn MetaStore,
    ) -> Result<Self, LedgerError> {
        let key = signers.ed25519.verifier_key();
        let witnessing = options.witnesses.clone().map(|witnessing| Witnessing {
            policy: witnessing.policy.or_log(key),
            ..witnessing
        });
        let lists = |witnessing: &Witnessing| {
            let mut logs = witnessing.policy.logs().iter();
            logs.any(|log| log.key == *key)
        };
        if witnessing.as_ref().is_some_and(|w| !lists(w)) {
            return Err(LedgerError::WitnessPolicy {
                reason: format!("it lists logs, and this one, {key}, is not among them"),
            });
        }
        let best = match meta.kv_get(SETTING)? {
            Some(note) => kept(&note, witnessing.as_ref(), key)?,
            None => None,
        };
        let cosigning = Self {
            witnessing,
            best: RwLock::new(best),
            merging: Mutex::default(),
        };
        cosigning.write(objects)?;
        if !cosigning.requires_quorum() {
            if objects.get(PUBLISHED)?.is_some() {
                objects.delete(PUBLISHED)?;
            }
        } else if cosigning.best().is_none() {
            // Nothing has a quorum yet, so nothing is shown.
            objects.delete(CHECKPOINT)?;
        }
        Ok(cosigning)
    }

    /// Writes the files that show the latest checkpoint with a quorum, where they do not.
    fn write(&self, objects: &dyn ObjectStore) -> Result<(), LedgerError> {
        let Some(best) = self.best() else {
            return Ok(());
        };
        let keys: &[&str] = if self.requires_quorum() {
            &[COSIGNED, CHECKPOINT]
        } else {
            &[COSIGNED]
        };
        for key in keys {
            if objects.get(key)?.as_deref() != Some(&*best.note) {
                objects.replace(key, &best.note)?;
            }
        }
        Ok(())
    }

    /// Takes over what another server of this log brought in, if that is later, or says again what
    /// it wrote over.
    fn take_over(
        &self,
        objects: &dyn ObjectStore,
        meta: &dyn MetaStore,
    ) -> Result<(), LedgerError> {
        let Some(witnessing) = &self.witnessing else {
            return Ok(());
        };
        let Some(note) = meta.kv_get(SETTING)? else {
            return Ok(());
        };
        let best = self.best();
        if best.as_ref().is_some_and(|best| *best.note == *note) {
            return Ok(());
        }
        let Ok(verified) = witnessing.policy.check(&note) else {
            return Ok(());
        };
        match best {
            Some(best) if best.checkpoint.size > verified.checkpoint.size => {
                meta.kv_put(SETTING, &best.note)?;
            }
            _ => self.set_best(Published {
                checkpoint: verified.checkpoint,
                note: note.into(),
            }),
        }
        self.write(objects)
    }

    fn set_best(&self, best: Published) {
        *self.best.write().unwrap_or_else(PoisonError::into_inner) = Some(best);
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.merging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn requires_quorum(&self) -> bool {
        self.witnessing.as_ref().is_some_and(|w| w.require_quorum)
    }

    fn best(&self) -> Option<Published> {
        self.best
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The note that was kept, unless the policy is another by now.
fn kept(
    note: &[u8],
    witnessing: Option<&Witnessing>,
    key: &tlog::VerifierKey,
) -> Result<Option<Published>, LedgerError> {
    let checked = match witnessing {
        Some(witnessing) => witnessing.policy.check(note),
        // Nobody says which witnesses count; that the log signed is what can be checked.
        None => Policy::from_vkeys(std::slice::from_ref(key)).and_then(|policy| policy.check(note)),
    };
    match checked {
        Ok(verified) => Ok(Some(Published {
            checkpoint: verified.checkpoint,
            note: note.into(),
        })),
        Err(error) if witnessing.is_some() => {
            tracing::warn!(%error, "the cosigned checkpoint that was kept does not satisfy the witness policy of today");
            Ok(None)
        }
        Err(error) => Err(LedgerError::corrupt("the setting log.cosigned", error)),
    }
}

impl Reader {
    /// What is shown as the log's checkpoint.
    pub(crate) fn shown(&self) -> Option<Published> {
        if self.cosigning.requires_quorum() {
            self.cosigning.best()
        } else {
            self.published()
        }
    }

    /// The best evidence for the first `size` records: the checkpoint with a quorum if it covers
    /// them, else `shown`, if that does.
    pub(crate) fn best_for(&self, size: u64, shown: Published) -> Option<Published> {
        self.cosigning
            .best()
            .into_iter()
            .chain([shown])
            .find(|published| size <= published.checkpoint.size.0)
    }

    /// The file that the publisher writes.
    pub(crate) fn published_key(&self) -> &'static str {
        if self.cosigning.requires_quorum() {
            PUBLISHED
        } else {
            CHECKPOINT
        }
    }
}

impl Ledger {
    /// The policy under which cosignatures are collected, if they are.
    pub fn witness_policy(&self) -> Option<&Policy> {
        let cosigning = &self.shared().reader.cosigning;
        cosigning.witnessing.as_ref().map(|w| &w.policy)
    }

    /// The latest published checkpoint, cosigned or not: what witnesses are asked about.
    pub fn latest(&self) -> Option<Published> {
        self.shared().reader.published()
    }

    /// The latest checkpoint that a quorum of witnesses has cosigned.
    pub fn cosigned(&self) -> Option<Published> {
        self.shared().reader.cosigning.best()
    }

    /// Whether only checkpoints with a quorum are shown.
    pub fn requires_quorum(&self) -> bool {
        self.shared().reader.cosigning.requires_quorum()
    }

    /// The proof that the log of `old` records is the beginning of that of `new`.
    ///
    /// # Errors
    /// `old` is above `new`, or a tile cannot be read.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, LedgerError> {
        self.shared().reader.consistency(old, new)
    }

    /// Takes in what other servers of this log have brought in.
    ///
    /// # Errors
    /// The stores did not answer.
    pub fn follow_cosigned(&self) -> Result<(), LedgerError> {
        let shared = self.shared();
        let cosigning = &shared.reader.cosigning;
        let _merging = cosigning.lock();
        cosigning.take_over(&*shared.reader.objects, &*shared.meta)?;
        shared.shown();
        Ok(())
    }

    /// The size of the latest checkpoint in the database, which another server may have put there
    /// a moment ago.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn latest_size(&self) -> Result<u64, LedgerError> {
        let stored = self.shared().meta.latest_checkpoint()?;
        Ok(stored.map_or(0, |stored| stored.size))
    }

    /// Brings in a published checkpoint with cosignatures. True if they are a quorum.
    ///
    /// # Errors
    /// No witnesses are configured, a signature does not hold, or it could not be kept.
    pub fn add_cosigned(&self, note: &[u8]) -> Result<bool, LedgerError> {
        let shared = self.shared();
        let cosigning = &shared.reader.cosigning;
        let refused = |reason: &dyn std::fmt::Display| LedgerError::WitnessPolicy {
            reason: reason.to_string(),
        };
        let policy = self
            .witness_policy()
            .ok_or_else(|| refused(&"no witnesses are configured"))?;
        let verified = policy.check_log(note).map_err(|e| refused(&e))?;
        let offered = Published {
            checkpoint: verified.checkpoint,
            note: note.into(),
        };
        let _merging = cosigning.lock();
        self.add_to_latest(&offered)?;
        if policy.check(note).is_err() {
            return Ok(false);
        }
        let news = cosigning.best().is_none_or(|best| {
            let (before, now) = (best.checkpoint.size, offered.checkpoint.size);
            now > before || (now == before && best.note != offered.note)
        });
        if news {
            // Kept before it is shown.
            shared.meta.kv_put(SETTING, &offered.note)?;
            cosigning.set_best(offered);
            cosigning.write(&*shared.reader.objects)?;
            shared.shown();
        }
        Ok(true)
    }

    /// Puts the cosignatures under the latest published checkpoint, if that is the one they are of.
    fn add_to_latest(&self, offered: &Published) -> Result<(), LedgerError> {
        let shared = self.shared();
        let at = (offered.checkpoint.size.0, offered.checkpoint.root);
        let Some(stored) = shared.meta.latest_checkpoint()? else {
            return Ok(());
        };
        if (stored.size, stored.root) != at || stored.note == *offered.note {
            return Ok(());
        }
        let note: Arc<[u8]> = united(&stored.note, &offered.note)?.into();
        let united = StoredCheckpoint {
            note: note.to_vec(),
            ..stored
        };
        match shared.meta.swap_checkpoint(Some(at), &united) {
            Ok(()) => {}
            // Something newer is published: these cosignatures came late for this one.
            Err(StoreError::CheckpointMoved { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let published = Published {
            checkpoint: offered.checkpoint.clone(),
            note,
        };
        if !shared.reader.note_published(&published) {
            return Ok(());
        }
        // Whoever publishes writes this file too, after having moved the database on.
        let (objects, key) = (&*shared.reader.objects, shared.reader.published_key());
        recover::replace_checkpoint(objects, &*shared.meta, key, &united.note)
    }
}

/// The first note with the signatures that only the second has; of one key, the second's.
fn united(first: &[u8], second: &[u8]) -> Result<Vec<u8>, LedgerError> {
    let parse = |note: &[u8]| {
        SignedNote::parse(note).map_err(|e| LedgerError::corrupt("the latest checkpoint", e))
    };
    let (first, second) = (parse(first)?, parse(second)?);
    let newer = second.signatures();
    let kept = first.signatures().iter().filter(|line| {
        !newer
            .iter()
            .any(|other| other.name() == line.name() && other.id() == line.id())
    });
    let mut lines: Vec<_> = newer.to_vec();
    lines.extend(kept.cloned());
    let note = SignedNote::new(first.text().to_owned(), lines)
        .map_err(|e| LedgerError::corrupt("the latest checkpoint", e))?;
    Ok(note.to_string().into_bytes())
}
