//! Bearer tokens. Of a token only the SHA-256 of its secret is kept; the secret is shown once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use record::{RunId, Timestamp};
use store::TokenRow;
use zeroize::Zeroizing;

use crate::ledger::Ledger;
use crate::principal::{Principal, Role};
use crate::{LedgerError, keys};

/// What every token begins with, so that one is recognised where it does not belong.
const PREFIX: &str = "rat_";
const SECRET_CHARS: usize = 43;

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
}

impl Ledger {
    /// Makes a token. The first half of the result is the secret: `rat_` and 43 characters of
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
        let mut random = keys::Seed::default();
        self.shared().entropy.fill(random.as_mut_slice());
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random.as_slice()));
        let token = self.add_token(&secret, name, role, expires)?;
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
        let hash = hash(secret).ok_or(LedgerError::TokenFormat)?;
        let shared = self.shared();
        if let Some(row) = shared.meta.token_by_hash(&hash)? {
            return token(&row);
        }
        let id = RunId::generate(&*shared.clock, &*shared.entropy);
        let row = TokenRow {
            id: format!("t-{}", id.as_str().to_ascii_lowercase()),
            name: name.to_owned(),
            role: role.name().to_owned(),
            hash,
            created: shared.clock.now().0,
            expires: expires.map(|at| at.0),
            revoked: None,
        };
        shared.judge("a token", shared.meta.insert_token(&row))?;
        token(&row)
    }

    /// All tokens, revoked and expired ones too, in the order they were made.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn tokens(&self) -> Result<Vec<Token>, LedgerError> {
        self.shared()
            .meta
            .list_tokens()?
            .iter()
            .map(token)
            .collect()
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

    /// Who holds this secret; `None` for one that is unknown, expired or revoked.
    ///
    /// The secret is found by its hash, so that the time a look-up takes says nothing of it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn authenticate(&self, secret: &str) -> Result<Option<Principal>, LedgerError> {
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
            Ok(None)
        } else {
            Ok(Some(Principal {
                role: token(&row)?.role,
                id: row.id,
            }))
        }
    }
}

fn hash(secret: &str) -> Option<[u8; 32]> {
    let random = secret.strip_prefix(PREFIX)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let good = random.len() == SECRET_CHARS && random.bytes().all(plain);
    good.then(|| tlog::sha256(Zeroizing::new(secret.to_owned()).as_bytes()))
}

fn token(row: &TokenRow) -> Result<Token, LedgerError> {
    Ok(Token {
        id: row.id.clone(),
        name: row.name.clone(),
        role: row.role.parse()?,
        created: Timestamp(row.created),
        expires: row.expires.map(Timestamp),
        revoked: row.revoked.map(Timestamp),
    })
}
