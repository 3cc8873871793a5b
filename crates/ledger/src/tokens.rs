//! Bearer tokens. Of a token only the SHA-256 of its secret is kept; the secret is shown once.
//!
//! What only some tokens have (a reach, a quota, whom it succeeds) and when a token was last used are settings
//! beside its row.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use record::kinds::ReadPart;
use record::{RunId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{MetaStore, TokenRow};
use zeroize::Zeroizing;

use crate::ledger::Ledger;
use crate::principal::{Principal, Quota, Reach, Role};
use crate::{LedgerError, keys};

/// What every token begins with, so that one is recognised where it does not belong.
const PREFIX: &str = "rat_";
const SECRET_CHARS: usize = 43;
/// What the settings begin with that say more of a token.
const TERMS: &str = "token/";
/// And those that say when it was last used.
const USED: &str = "token-used/";

/// A token as it is listed: everything but its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id: what the log knows its holder by.
    pub id: String,
    /// What it is for, in the operator's words.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends, if it does.
    pub expires: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked: Option<Timestamp>,
    /// When it last let somebody in, to the minute; not known of tokens of before there was this.
    pub last_used: Option<Timestamp>,
    /// What an auditor may read.
    pub reach: Option<Reach>,
    /// How much a producer may append.
    pub quota: Option<Quota>,
    /// The token whose holder this one's is.
    pub succeeds: Option<String>,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What it is for, in the operator's words.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When it is to end.
    pub expires: Option<Timestamp>,
    /// What an auditor may read; without it, nothing.
    pub reach: Option<Reach>,
    /// How much a producer may append.
    pub quota: Option<Quota>,
    /// A token of the same role whose holder gets this one: its runs can be gone on with.
    pub succeeds: Option<String>,
}

impl NewToken {
    /// A token of this role, without an end, a reach or a quota.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        Self {
            name: name.into(),
            role,
            expires: None,
            reach: None,
            quota: None,
            succeeds: None,
        }
    }
}

/// What a setting says of a token.
#[derive(Default, PartialEq, Serialize, Deserialize)]
struct Terms {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<BTreeSet<ReadPart>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runs: Option<BTreeSet<RunId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    records: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    succeeds: Option<String>,
}

impl Terms {
    fn reach(&self) -> Option<Reach> {
        self.parts.as_ref().map(|parts| Reach {
            runs: self.runs.clone(),
            parts: parts.clone(),
        })
    }

    fn quota(&self) -> Option<Quota> {
        let quota = Quota {
            records: self.records,
            bytes: self.bytes,
        };
        (quota != Quota::default()).then_some(quota)
    }
}

impl Ledger {
    /// Makes a token of a role. The first half of the result is the secret: `rat_` and 43 characters of
    /// base64url; it cannot be had again.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn create_token(
        &self,
        name: &str,
        role: Role,
        expires: Option<Timestamp>,
    ) -> Result<(String, Token), LedgerError> {
        self.issue_token(&NewToken {
            expires,
            ..NewToken::new(name, role)
        })
    }

    /// Makes a token with all that one can have; gives the secret first, as [`Ledger::create_token`].
    ///
    /// # Errors
    /// [`LedgerError::Token`] where its parts do not fit together; the database cannot be written.
    pub fn issue_token(&self, new: &NewToken) -> Result<(String, Token), LedgerError> {
        let mut random = keys::Seed::default();
        self.shared().entropy.fill(random.as_mut_slice());
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random.as_slice()));
        let token = self.keep_token(&secret, new)?;
        Ok((secret, token))
    }

    /// Lets in a token whose secret was made elsewhere; one that is there already is left as it is.
    ///
    /// # Errors
    /// The secret is not `rat_` and 43 characters of base64url, or the database cannot be written.
    pub fn add_token(
        &self,
        secret: &str,
        name: &str,
        role: Role,
        expires: Option<Timestamp>,
    ) -> Result<Token, LedgerError> {
        let new = NewToken {
            expires,
            ..NewToken::new(name, role)
        };
        self.keep_token(secret, &new)
    }

    fn keep_token(&self, secret: &str, new: &NewToken) -> Result<Token, LedgerError> {
        let hash = hash(secret).ok_or(LedgerError::TokenFormat)?;
        let shared = self.shared();
        if let Some(row) = shared.meta.token_by_hash(&hash)? {
            return token(&*shared.meta, &row);
        }
        let terms = self.terms(new)?;
        let id = RunId::generate(&*shared.clock, &*shared.entropy);
        let row = TokenRow {
            id: format!("t-{}", id.as_str().to_ascii_lowercase()),
            name: new.name.clone(),
            role: new.role.name().to_owned(),
            hash,
            created: shared.clock.now().0,
            expires: new.expires.map(|at| at.0),
            revoked: None,
        };
        // First what limits it: a token is never there without.
        if terms != Terms::default() {
            let value = serde_json::to_vec(&terms).unwrap_or_default();
            let written = shared.meta.kv_put(&format!("{TERMS}{}", row.id), &value);
            shared.judge("a token", written)?;
        }
        shared.judge("a token", shared.meta.insert_token(&row))?;
        described(&row, &terms, None)
    }

    /// What is to be kept of a token beside its row.
    fn terms(&self, new: &NewToken) -> Result<Terms, LedgerError> {
        let refused = |reason: &str| LedgerError::Token {
            reason: reason.to_owned(),
        };
        let (reach, quota) = (new.reach.as_ref(), new.quota.unwrap_or_default());
        if reach.is_some() && new.role != Role::Auditor {
            return Err(refused(
                "runs and parts limit what an auditor reads; other roles have none",
            ));
        }
        if new.quota.is_some() && new.role != Role::Producer {
            return Err(refused(
                "a quota limits what a producer appends; other roles have none",
            ));
        }
        if reach.is_some_and(|reach| reach.runs.as_ref().is_some_and(BTreeSet::is_empty)) {
            return Err(refused(
                "no run is named; leave the runs away for all of them",
            ));
        }
        if [quota.records, quota.bytes].contains(&Some(0)) {
            return Err(refused(
                "a quota is at least 1; revoke the token of a producer that may append nothing",
            ));
        }
        let holder = new
            .succeeds
            .as_deref()
            .map(|id| self.holder_of(id, new.role))
            .transpose()?;
        Ok(Terms {
            parts: reach.map(|reach| reach.parts.clone()),
            runs: reach.and_then(|reach| reach.runs.clone()),
            records: quota.records,
            bytes: quota.bytes,
            holder,
            succeeds: new.succeeds.clone(),
        })
    }

    /// The id under which a token's holder is known.
    fn holder_of(&self, id: &str, role: Role) -> Result<String, LedgerError> {
        let meta = &*self.shared().meta;
        let rows = meta.list_tokens()?;
        let row = rows.iter().find(|row| row.id == id);
        let row = row.ok_or_else(|| LedgerError::NotFound {
            what: "token",
            seen: id.to_owned(),
        })?;
        if row.role != role.name() {
            return Err(LedgerError::Token {
                reason: format!(
                    "{id} is a token of the role {}; it is succeeded by one of that role",
                    row.role
                ),
            });
        }
        Ok(terms(meta, id)?.holder.unwrap_or_else(|| id.to_owned()))
    }

    /// All tokens, revoked and expired ones too, in the order they were made.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn tokens(&self) -> Result<Vec<Token>, LedgerError> {
        let meta = &*self.shared().meta;
        let rows = meta.list_tokens()?;
        rows.iter().map(|row| token(meta, row)).collect()
    }

    /// One token.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], or the database cannot be read.
    pub fn token(&self, id: &str) -> Result<Token, LedgerError> {
        let meta = &*self.shared().meta;
        let rows = meta.list_tokens()?;
        let row = rows.iter().find(|row| row.id == id);
        let missing = || LedgerError::NotFound {
            what: "token",
            seen: id.to_owned(),
        };
        token(meta, row.ok_or_else(missing)?)
    }

    /// Ends a token at once; false if there is none with this id.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn revoke_token(&self, id: &str) -> Result<bool, LedgerError> {
        let shared = self.shared();
        let revoked = shared.meta.revoke_token(id, shared.clock.now().0);
        Ok(shared.judge("a token", revoked)?)
    }

    /// Remembers when tokens last let somebody in.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn note_token_uses(&self, uses: &[(String, Timestamp)]) -> Result<(), LedgerError> {
        let shared = self.shared();
        for (id, at) in uses {
            let written = shared
                .meta
                .kv_put(&format!("{USED}{id}"), at.0.to_string().as_bytes());
            shared.judge("a token's last use", written)?;
        }
        Ok(())
    }

    /// Who holds this secret; `None` for one that is unknown, expired or revoked.
    ///
    /// The secret is found by its hash, so that the time a look-up takes says nothing of it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn authenticate(&self, secret: &str) -> Result<Option<Principal>, LedgerError> {
        Ok(self
            .authenticate_token(secret)?
            .map(|(_, principal)| principal))
    }

    /// As [`Ledger::authenticate`], with the id of the token itself: of one that succeeds another it
    /// is not the principal's.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn authenticate_token(
        &self,
        secret: &str,
    ) -> Result<Option<(String, Principal)>, LedgerError> {
        let Some(hash) = hash(secret) else {
            return Ok(None);
        };
        let shared = self.shared();
        let Some(row) = shared.meta.token_by_hash(&hash)? else {
            return Ok(None);
        };
        let ended = row.revoked.is_some()
            || row
                .expires
                .is_some_and(|expires| expires <= shared.clock.now().0);
        if ended {
            return Ok(None);
        }
        let terms = terms(&*shared.meta, &row.id)?;
        let principal = Principal {
            reach: terms.reach().map(Arc::new),
            quota: terms.quota(),
            ..Principal::new(
                terms.holder.unwrap_or_else(|| row.id.clone()),
                row.role.parse()?,
            )
        };
        Ok(Some((row.id, principal)))
    }
}

fn hash(secret: &str) -> Option<[u8; 32]> {
    let random = secret.strip_prefix(PREFIX)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let good = random.len() == SECRET_CHARS && random.bytes().all(plain);
    good.then(|| tlog::sha256(Zeroizing::new(secret.to_owned()).as_bytes()))
}

fn terms(meta: &dyn MetaStore, id: &str) -> Result<Terms, LedgerError> {
    let setting = format!("{TERMS}{id}");
    match meta.kv_get(&setting)? {
        None => Ok(Terms::default()),
        Some(value) => serde_json::from_slice(&value)
            .map_err(|error| LedgerError::corrupt(format!("the setting {setting}"), error)),
    }
}

fn token(meta: &dyn MetaStore, row: &TokenRow) -> Result<Token, LedgerError> {
    let terms = terms(meta, &row.id)?;
    let used = meta.kv_get(&format!("{USED}{}", row.id))?;
    let used = used.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok());
    described(row, &terms, used.map(Timestamp))
}

fn described(
    row: &TokenRow,
    terms: &Terms,
    last_used: Option<Timestamp>,
) -> Result<Token, LedgerError> {
    Ok(Token {
        id: row.id.clone(),
        name: row.name.clone(),
        role: row.role.parse()?,
        created: Timestamp(row.created),
        expires: row.expires.map(Timestamp),
        revoked: row.revoked.map(Timestamp),
        last_used,
        reach: terms.reach(),
        quota: terms.quota(),
        succeeds: terms.succeeds.clone(),
    })
}
