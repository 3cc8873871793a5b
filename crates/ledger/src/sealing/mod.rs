//! Sealed values: encrypted under their subject's key before the record is sequenced, opened for
//! whoever holds the deployment's key.
//!
//! AES-256-GCM-SIV (RFC 8452) throughout. A value's plaintext is the commitment's key (32 bytes) and
//! the canonical JSON of the value; its associated data is the record's leaf hash and the field's
//! name, so that no value can be moved to another record or field. Subject keys are random and
//! wrapped by the deployment's key, with the key's id as associated data.

pub(crate) mod file;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use record::{Entropy, Opening, Scope, Subject};
use store::{MetaStore, StoreError, SubjectKey, SubjectKeyRow};
use tlog::Hash;
use verify::{SealedField, SealedState};
use zeroize::Zeroizing;

use crate::LedgerError;
use file::{KeyId, Sealed};

const NONCE_BYTES: usize = 12;
const COMMITMENT_KEY_BYTES: usize = 32;
/// Most subjects whose keys are kept in memory; a run has some hundred annotators.
const MAX_CACHED: usize = 16_384;

type Cipher = Arc<Aes256GcmSiv>;

/// Encrypts and decrypts. One per ledger, shared by all threads.
pub(crate) struct Sealing {
    deployment: Aes256GcmSiv,
    meta: Arc<dyn MetaStore>,
    entropy: Arc<dyn Entropy>,
    by_subject: RwLock<HashMap<(Scope, Subject), (KeyId, Cipher)>>,
    by_id: RwLock<HashMap<KeyId, Option<Cipher>>>,
    /// Held while keys are made, so that a subject never gets two.
    making: Mutex<()>,
    /// What is in the database is unknown since a sync failed: why.
    lost: OnceLock<String>,
}

impl Sealing {
    pub(crate) fn new(
        deployment: &[u8; 32],
        meta: Arc<dyn MetaStore>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            deployment: Aes256GcmSiv::new(&(*deployment).into()),
            meta,
            entropy,
            by_subject: RwLock::default(),
            by_id: RwLock::default(),
            making: Mutex::default(),
            lost: OnceLock::new(),
        }
    }

    /// Makes sure that every one of `subjects` has a key, durably; new ones in one write.
    ///
    /// # Errors
    /// The keys cannot be read or written, or one of them was destroyed.
    pub(crate) fn prepare(&self, subjects: &[(Scope, Subject)]) -> Result<(), LedgerError> {
        let known = |cache: &HashMap<_, _>| subjects.iter().all(|s| cache.contains_key(s));
        if known(
            &self
                .by_subject
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        ) {
            return Ok(());
        }
        match self.make_missing(subjects) {
            // Another server made one of them at the same moment.
            Err(LedgerError::Store(StoreError::Conflict { .. })) => self.make_missing(subjects),
            made => made,
        }
    }

    fn make_missing(&self, subjects: &[(Scope, Subject)]) -> Result<(), LedgerError> {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ready = Vec::new();
        let mut rows = Vec::new();
        for &(scope, subject) in subjects {
            let key = (scope, subject);
            if ready.iter().any(|(k, _, _)| *k == key)
                || self
                    .by_subject
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .contains_key(&key)
            {
                continue;
            }
            let name = subject.to_string();
            if let Some(stored) = self.meta.subject_key(scope.as_str(), &name)? {
                let cipher = self.unwrap(&stored)?.ok_or_else(|| LedgerError::Erased {
                    subject: name,
                    scope: scope.to_string(),
                })?;
                ready.push((key, stored.id, cipher));
            } else {
                let (stored, cipher) = self.make();
                ready.push((key, stored.id, cipher));
                rows.push(SubjectKeyRow {
                    scope: scope.to_string(),
                    subject: name,
                    key: stored,
                });
            }
        }
        if !rows.is_empty() {
            self.meta.insert_subject_keys(&rows).inspect_err(|error| {
                if error.is_fatal() {
                    let _ = self.lost.set(error.to_string());
                }
            })?;
        }
        let mut cache = self
            .by_subject
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if cache.len() + ready.len() > MAX_CACHED {
            cache.clear();
        }
        for (key, id, cipher) in ready {
            cache.insert(key, (id, cipher));
        }
        drop(making);
        Ok(())
    }

    /// Why the process has to stop, if it has.
    pub(crate) fn lost(&self) -> Option<&str> {
        self.lost.get().map(String::as_str)
    }

    /// A record's entry in the file of sealed values. The openings are in field order.
    ///
    /// # Errors
    /// As [`Sealing::prepare`].
    pub(crate) fn seal(
        &self,
        scope: Scope,
        leaf: &Hash,
        openings: &[(String, Opening)],
    ) -> Result<Vec<u8>, LedgerError> {
        let mut ciphertexts = Vec::with_capacity(openings.len());
        for (field, opening) in openings {
            let (id, cipher) = self.key(scope, opening.subject)?;
            let mut nonce = [0; NONCE_BYTES];
            self.entropy.fill(&mut nonce);
            let value = opening.value.as_bytes();
            let mut plain = Zeroizing::new(Vec::with_capacity(COMMITMENT_KEY_BYTES + value.len()));
            plain.extend_from_slice(&opening.key.0);
            plain.extend_from_slice(value);
            let payload = Payload {
                msg: &plain,
                aad: &associated(leaf, field),
            };
            let ciphertext = cipher
                .encrypt(&Nonce::from(nonce), payload)
                .map_err(|_| LedgerError::corrupt("a sealed value", "it is too long to encrypt"))?;
            ciphertexts.push((field, id, nonce, ciphertext));
        }
        let values: Vec<Sealed<'_>> = ciphertexts
            .iter()
            .map(|(field, key_id, nonce, ciphertext)| Sealed {
                field,
                key_id: *key_id,
                nonce: *nonce,
                ciphertext,
            })
            .collect();
        let mut out = Vec::new();
        file::write(&mut out, &values);
        Ok(out)
    }

    /// Opens one entry of a file of sealed values.
    ///
    /// # Errors
    /// A sentence, if the entry is malformed or keys cannot be read.
    pub(crate) fn open(&self, leaf: &Hash, entry: &[u8]) -> Result<Vec<SealedField>, String> {
        file::read(entry)?
            .into_iter()
            .map(|sealed| {
                let state = self.open_value(leaf, &sealed)?;
                Ok(SealedField {
                    field: sealed.field.to_owned(),
                    state,
                })
            })
            .collect()
    }

    /// Opens one value.
    ///
    /// # Errors
    /// A sentence, if its key cannot be read.
    pub(crate) fn open_value(
        &self,
        leaf: &Hash,
        sealed: &Sealed<'_>,
    ) -> Result<SealedState, String> {
        let Some(cipher) = self.key_by_id(&sealed.key_id)? else {
            return Ok(SealedState::Erased);
        };
        let payload = Payload {
            msg: sealed.ciphertext,
            aad: &associated(leaf, sealed.field),
        };
        let Ok(plain) = cipher.decrypt(&Nonce::from(sealed.nonce), payload) else {
            return Ok(SealedState::Broken(
                "it does not decrypt under its subject's key: changed, or moved from another \
                 record or field"
                    .to_owned(),
            ));
        };
        let plain = Zeroizing::new(plain);
        Ok(match plain.split_first_chunk() {
            Some((key, value)) => SealedState::Opened {
                key: *key,
                value: value.to_vec(),
            },
            None => SealedState::Broken("it is shorter than a commitment's key".to_owned()),
        })
    }

    fn key(&self, scope: Scope, subject: Subject) -> Result<(KeyId, Cipher), LedgerError> {
        let cached = |s: &Self| {
            let cache = s.by_subject.read().unwrap_or_else(PoisonError::into_inner);
            cache.get(&(scope, subject)).cloned()
        };
        if let Some(found) = cached(self) {
            return Ok(found);
        }
        // Another thread emptied the cache between `prepare` and here.
        self.prepare(&[(scope, subject)])?;
        cached(self).ok_or_else(|| LedgerError::corrupt("the key cache", "it lost a key"))
    }

    fn key_by_id(&self, id: &KeyId) -> Result<Option<Cipher>, String> {
        if let Some(found) = self
            .by_id
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
        {
            return Ok(found.clone());
        }
        let row = self.meta.subject_key_by_id(id).map_err(|e| e.to_string())?;
        let row = row.ok_or("its subject's key is not in this ledger's database")?;
        let cipher = self.unwrap(&row.key).map_err(|e| e.to_string())?;
        let mut cache = self.by_id.write().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(*id, cipher.clone());
        Ok(cipher)
    }

    /// A wrapped key as the deployment key `next` wraps it; `None` if that wraps it already.
    ///
    /// # Errors
    /// Neither key has wrapped it.
    pub(crate) fn rewrap(
        &self,
        next: &Self,
        stored: &SubjectKey,
    ) -> Result<Option<SubjectKey>, LedgerError> {
        let Some(wrapped) = &stored.wrapped else {
            return Ok(None);
        };
        if next.secret(&stored.id, wrapped).is_ok() {
            return Ok(None);
        }
        let secret = self.secret(&stored.id, wrapped)?;
        Ok(Some(SubjectKey {
            id: stored.id,
            wrapped: Some(next.wrap(&stored.id, &secret)),
        }))
    }

    fn make(&self) -> (SubjectKey, Cipher) {
        let mut id = [0; 16];
        let mut secret = Zeroizing::new([0; 32]);
        self.entropy.fill(&mut id);
        self.entropy.fill(secret.as_mut_slice());
        let wrapped = self.wrap(&id, &secret);
        let cipher = Arc::new(Aes256GcmSiv::new(&(*secret).into()));
        (
            SubjectKey {
                id,
                wrapped: Some(wrapped),
            },
            cipher,
        )
    }

    fn wrap(&self, id: &KeyId, secret: &[u8; 32]) -> Vec<u8> {
        self.wrap_bytes(id, secret.as_slice())
    }

    /// A few bytes that only who has the deployment's key reads again, under the name `aad`.
    pub(crate) fn wrap_bytes(&self, aad: &[u8], secret: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        self.entropy.fill(&mut nonce);
        let mut wrapped = nonce.to_vec();
        let payload = Payload { msg: secret, aad };
        // A few bytes are never too long.
        wrapped.extend(
            self.deployment
                .encrypt(&Nonce::from(nonce), payload)
                .unwrap_or_default(),
        );
        wrapped
    }

    /// `None` for a key that was destroyed.
    fn unwrap(&self, stored: &SubjectKey) -> Result<Option<Cipher>, LedgerError> {
        let Some(wrapped) = &stored.wrapped else {
            return Ok(None);
        };
        let key = self.secret(&stored.id, wrapped)?;
        Ok(Some(Arc::new(Aes256GcmSiv::new(&(*key).into()))))
    }

    fn secret(&self, id: &KeyId, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, LedgerError> {
        let secret = self.unwrap_bytes(id, wrapped)?;
        let key: Option<[u8; 32]> = secret.as_slice().try_into().ok();
        Ok(Zeroizing::new(key.ok_or(LedgerError::WrongDeploymentKey)?))
    }

    /// What [`Sealing::wrap_bytes`] wrapped under the same name.
    ///
    /// # Errors
    /// [`LedgerError::WrongDeploymentKey`]: another key wrapped it, or it was changed.
    pub(crate) fn unwrap_bytes(
        &self,
        aad: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, LedgerError> {
        let (nonce, msg) = wrapped
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(LedgerError::WrongDeploymentKey)?;
        let plain = self
            .deployment
            .decrypt(&Nonce::from(*nonce), Payload { msg, aad });
        plain
            .map(Zeroizing::new)
            .map_err(|_| LedgerError::WrongDeploymentKey)
    }
}

fn associated(leaf: &Hash, field: &str) -> Vec<u8> {
    let mut data = leaf.as_bytes().to_vec();
    data.extend_from_slice(field.as_bytes());
    data
}
