//! The log's two keys. The latest checkpoint, which covers the record that names the new ones, is
//! signed by old and new alike, and kept with that record and its proof (`log/rotations/<n>`): who
//! knows the old keys can follow.

use record::kinds::{KeyPurpose, KeyRotated};
use record::{PublicKey, Sha256};
use store::{MetaStore, ObjectStore, StoredCheckpoint};
use tlog::{Checkpoint, SignedNote, TlogProof, VerifierKey};
use verify::rotation::Rotation as File;

use super::{Rotated, Session};
use crate::LedgerError;
use crate::keys;
use crate::ledger::Ledger;
use crate::publish::Signers;

const PLACE: &str = "log/rotations";
const CHECKPOINT: &str = "log/checkpoint";
/// The latest note with a quorum of witnesses, as a setting and as a file.
const COSIGNED: &str = "log.cosigned";
const COSIGNED_FILE: &str = "log/checkpoint.cosigned";

pub(super) fn rotate(session: &Session<'_>) -> Result<Rotated, LedgerError> {
    if keys::waiting(session.dir()) == [keys::LOG_ML_DSA_44] {
        return finish(session);
    }
    let ledger = session.open(None)?;
    let origin = ledger.origin().to_owned();
    let (ed25519, ml_dsa_44) = (keys::LOG_ED25519, keys::LOG_ML_DSA_44);
    let old = Signers::new(&origin, &session.load(ed25519)?, &session.load(ml_dsa_44)?)?;
    // In this order: where only the second waits, the first has taken its place.
    let first = session.next(ed25519)?;
    let new = Signers::new(&origin, &first, &session.next(ml_dsa_44)?)?;
    let body = body(&old, &new)?;
    let index = session.record(&ledger, body)?;
    Session::close(&ledger, index)?;

    let note = sign_latest(&ledger, &new)?;
    let shared = ledger.shared();
    let objects = &*shared.reader.objects;
    let mut proof = shared.reader.proof(index)?;
    proof.checkpoint =
        String::from_utf8(note.clone()).map_err(|e| LedgerError::corrupt(PLACE, e))?;
    keep(objects, &ledger, index, proof, &old, &new)?;
    objects.replace(CHECKPOINT, &note)?;
    sign_cosigned(&*shared.meta, objects, &new, seconds(&ledger))?;
    write_policy(&ledger, &old, &new)?;
    drop(ledger);
    keys::take_place(session.dir(), ed25519)?;
    keys::take_place(session.dir(), ml_dsa_44)?;
    Ok(session.rotated(index, texts(&old), texts(&new)))
}

/// An earlier try has done everything but the last step.
fn finish(session: &Session<'_>) -> Result<Rotated, LedgerError> {
    let (stores, lock) = session.location.stores()?;
    let last = files(&*stores.objects)?.pop();
    drop(stores);
    keys::take_place(session.dir(), keys::LOG_ML_DSA_44)?;
    drop(lock);
    let (_, last) = last.ok_or_else(|| LedgerError::corrupt(PLACE, "no rotation is kept there"))?;
    let texts = |keys: &[VerifierKey]| keys.iter().map(ToString::to_string).collect();
    let (old, new) = (texts(&last.old), texts(&last.new));
    Ok(session.rotated(last.proof.index.get(), old, new))
}

fn body(old: &Signers, new: &Signers) -> Result<KeyRotated, LedgerError> {
    let ed25519 = |signers: &Signers| {
        let key = signers.ed25519.verifier_key().public_key();
        let key: Result<[u8; 32], _> = key.try_into();
        key.map(PublicKey)
            .map_err(|_| LedgerError::corrupt("keys/log.ed25519", "its length"))
    };
    let ml_dsa_44 = |signers: &Signers| {
        let key = signers.ml_dsa_44.verifier_key().public_key();
        Some(Sha256(tlog::sha256(&key)))
    };
    let mut body = KeyRotated::new(ed25519(new)?, ed25519(old)?, KeyPurpose::Log);
    body.old_ml_dsa_44 = ml_dsa_44(old);
    body.new_ml_dsa_44 = ml_dsa_44(new);
    Ok(body)
}

/// The latest checkpoint with the new keys' signatures beside the old ones', stored.
fn sign_latest(ledger: &Ledger, new: &Signers) -> Result<Vec<u8>, LedgerError> {
    let shared = ledger.shared();
    let stored = shared
        .meta
        .latest_checkpoint()?
        .ok_or_else(|| LedgerError::corrupt("the database", "it holds no checkpoint"))?;
    let note = sign_too(&stored.note, new, seconds(ledger))?;
    if note != stored.note {
        let at = (stored.size, stored.root);
        let signed = StoredCheckpoint {
            note: note.clone(),
            ..stored
        };
        shared.meta.swap_checkpoint(Some(at), &signed)?;
    }
    Ok(note)
}

fn seconds(ledger: &Ledger) -> u64 {
    u64::try_from(ledger.shared().clock.now().0 / 1_000_000).unwrap_or(0)
}

/// A note with the signatures of both keys behind those it has; as it is, if it has them.
fn sign_too(note: &[u8], signers: &Signers, seconds: u64) -> Result<Vec<u8>, LedgerError> {
    let corrupt = |e: &dyn std::fmt::Display| LedgerError::corrupt("a checkpoint's note", e);
    let mut note = SignedNote::parse(note).map_err(|e| corrupt(&e))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|e| corrupt(&e))?;
    let signed = |note: &SignedNote, key: &VerifierKey| {
        note.signatures()
            .iter()
            .any(|signature| signature.is_by(key))
    };
    if !signed(&note, signers.ed25519.verifier_key()) {
        let signature = signers.ed25519.sign(note.text());
        note.add(signature).map_err(|e| corrupt(&e))?;
    }
    if !signed(&note, signers.ml_dsa_44.verifier_key()) {
        let signature = signers
            .ml_dsa_44
            .sign(&checkpoint, seconds)
            .map_err(|e| corrupt(&e))?;
        note.add(signature).map_err(|e| corrupt(&e))?;
    }
    Ok(note.to_string().into_bytes())
}

/// What witnesses have cosigned stays the evidence it was, under the log's new keys too.
fn sign_cosigned(
    meta: &dyn MetaStore,
    objects: &dyn ObjectStore,
    new: &Signers,
    seconds: u64,
) -> Result<(), LedgerError> {
    let Some(note) = meta.kv_get(COSIGNED)? else {
        return Ok(());
    };
    let signed = sign_too(&note, new, seconds)?;
    if signed != note {
        meta.kv_put(COSIGNED, &signed)?;
    }
    if objects.get(COSIGNED_FILE)?.as_deref() != Some(&*signed) {
        objects.replace(COSIGNED_FILE, &signed)?;
    }
    Ok(())
}

/// Keeps the file by which others follow, under the next number.
fn keep(
    objects: &dyn ObjectStore,
    ledger: &Ledger,
    index: u64,
    proof: TlogProof,
    old: &Signers,
    new: &Signers,
) -> Result<(), LedgerError> {
    let file = File {
        old: verifiers(old),
        new: verifiers(new),
        record: ledger.read(index)?,
        proof,
    };
    // A file nobody could follow is worse than none: better to stop here, with the old keys.
    file.check(0)
        .map_err(|e| LedgerError::corrupt("the rotation", e))?;
    let kept = files(objects)?;
    let number = match kept.iter().find(|(_, known)| known.new == file.new) {
        Some((number, _)) => *number,
        None => kept.last().map_or(1, |(number, _)| number + 1),
    };
    let key = format!("{PLACE}/{number}");
    Ok(objects.replace(&key, file.to_string().as_bytes())?)
}

/// The files that are kept, by number.
fn files(objects: &dyn ObjectStore) -> Result<Vec<(u64, File)>, LedgerError> {
    let mut files = Vec::new();
    for number in 1_u64.. {
        let key = format!("{PLACE}/{number}");
        let Some(bytes) = objects.get(&key)? else {
            break;
        };
        let file = File::parse(&bytes).map_err(|e| LedgerError::corrupt(key, e))?;
        files.push((number, file));
    }
    Ok(files)
}

/// The policy that auditors get from now on: the same with the new keys in it, whatever else it says.
fn write_policy(ledger: &Ledger, old: &Signers, new: &Signers) -> Result<(), LedgerError> {
    let mut policy = ledger.policy().to_owned();
    for (old, new) in verifiers(old).iter().zip(verifiers(new)) {
        policy = policy.replace(&old.to_string(), &new.to_string());
    }
    match &ledger.0.dir {
        Some(data) => Ok(data.write("policy", policy.as_bytes(), 0o644)?),
        None => Ok(ledger.shared().meta.kv_put("policy", policy.as_bytes())?),
    }
}

fn verifiers(signers: &Signers) -> Vec<VerifierKey> {
    vec![
        signers.ed25519.verifier_key().clone(),
        signers.ml_dsa_44.verifier_key().clone(),
    ]
}

fn texts(signers: &Signers) -> Vec<String> {
    verifiers(signers).iter().map(ToString::to_string).collect()
}
