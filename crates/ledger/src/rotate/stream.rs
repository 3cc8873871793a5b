//! Keys that sign streams: the server's own, and the command line's.

use record::kinds::{KeyPurpose, KeyRotated};
use record::{PublicKey, SigningKey};

use super::{Rotated, Session, refused};
use crate::LedgerError;
use crate::keys;

/// The server's own stream goes on under the new key, from the record that the old one signed.
pub(super) fn rotate_operator(session: &Session<'_>) -> Result<Rotated, LedgerError> {
    let name = keys::OPERATOR_ED25519;
    let old = SigningKey::from_bytes(&*session.load(name)?);
    let ledger = session.open(Some(PublicKey::from(&old)))?;
    // The writer of the stream has it already.
    let new = SigningKey::from_bytes(&*session.next(name)?);
    let body = KeyRotated::signed(KeyPurpose::Operator, None, &old, PublicKey::from(&new));
    let index = session.record(&ledger, body)?;
    Session::close(&ledger, index)?;
    keys::take_place(session.dir(), name)?;
    Ok(session.rotated(index, public(&old), public(&new)))
}

/// New streams of the producer are under the new key. The old one signs that it is followed, so that
/// who has pinned it can go on.
pub(super) fn rotate_producer(session: &Session<'_>) -> Result<Rotated, LedgerError> {
    let name = keys::PRODUCER_ED25519;
    let producer = session
        .rotation
        .producer
        .clone()
        .ok_or_else(|| refused("the producer has no name"))?;
    let old = SigningKey::from_bytes(&*session.load(name)?);
    let ledger = session.open(Some(PublicKey::from(&old)))?;
    let new = SigningKey::from_bytes(&*session.next(name)?);
    let body = KeyRotated::signed(
        KeyPurpose::Producer,
        Some(producer),
        &old,
        PublicKey::from(&new),
    );
    let index = session.record(&ledger, body)?;
    Session::close(&ledger, index)?;
    keys::take_place(session.dir(), name)?;
    Ok(session.rotated(index, public(&old), public(&new)))
}

fn public(key: &SigningKey) -> Vec<String> {
    vec![PublicKey::from(key).to_string()]
}
