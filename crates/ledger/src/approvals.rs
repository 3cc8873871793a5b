//! What one admin asks for and another has to approve of: another admin's token, a change of a key.
//!
//! A request is a setting. It is decided once, by somebody else than who asked, and good for one use within a week.
//! Not here: whether approval is needed for a token (the server is told), and what is then done.

use record::kinds::KeyPurpose;
use record::{RunId, Timestamp};
use serde::{Deserialize, Serialize};
use store::MetaStore;

use crate::LedgerError;
use crate::ledger::Ledger;

/// What the settings begin with.
const PREFIX: &str = "approval/";
/// Says whether changes of keys need approval, for a command that has no server to ask.
const REQUIRED: &str = "approvals-required";
/// How long a request is good for.
const GOOD_MICROS: i64 = 7 * 24 * 3_600 * 1_000_000;
/// Held while a request is decided or used, so that neither happens twice.
const LEASE_MILLIS: u64 = 10_000;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// A token of the role admin.
    AdminToken {
        /// What it is for, in the words of who asks.
        name: String,
        /// When it is to end, in microseconds since 1970-01-01T00:00:00Z.
        expires: Option<i64>,
    },
    /// A new key in the place of one of the ledger's.
    KeyRotation {
        /// Which.
        purpose: KeyPurpose,
    },
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalState {
    /// Nobody has decided.
    Pending,
    /// Another admin agreed, and it can be done.
    Approved,
    /// Another admin refused.
    Rejected,
    /// It was agreed to and done.
    Used,
    /// A week went by.
    Expired,
}

impl ApprovalState {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Used => "used",
            Self::Expired => "expired",
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Its id.
    pub id: String,
    /// What is asked for.
    pub wanted: Wanted,
    /// Who asks: a token's id, or `local`.
    pub by: String,
    /// When.
    pub asked: Timestamp,
    /// How far it is.
    pub state: ApprovalState,
    /// Who decided.
    pub decided_by: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    wanted: Wanted,
    by: String,
    asked: i64,
    state: ApprovalState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided_by: Option<String>,
}

impl Kept {
    fn read(meta: &dyn MetaStore, id: &str) -> Result<Option<Self>, LedgerError> {
        let setting = format!("{PREFIX}{id}");
        let Some(value) = meta.kv_get(&setting)? else {
            return Ok(None);
        };
        let kept = serde_json::from_slice(&value);
        kept.map(Some)
            .map_err(|error| LedgerError::corrupt(format!("the setting {setting}"), error))
    }

    fn approval(self, id: &str, now: Timestamp) -> Approval {
        let over = now.0.saturating_sub(self.asked) > GOOD_MICROS;
        let open = matches!(self.state, ApprovalState::Pending | ApprovalState::Approved);
        Approval {
            id: id.to_owned(),
            wanted: self.wanted,
            by: self.by,
            asked: Timestamp(self.asked),
            state: if over && open {
                ApprovalState::Expired
            } else {
                self.state
            },
            decided_by: self.decided_by,
        }
    }
}

impl Ledger {
    /// Asks for another admin's approval.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn ask_approval(&self, wanted: Wanted, by: &str) -> Result<Approval, LedgerError> {
        let shared = self.shared();
        let id = RunId::generate(&*shared.clock, &*shared.entropy);
        let approval = Approval {
            id: format!("r-{}", id.as_str().to_ascii_lowercase()),
            wanted,
            by: by.to_owned(),
            asked: shared.clock.now(),
            state: ApprovalState::Pending,
            decided_by: None,
        };
        self.keep(&approval)?;
        Ok(approval)
    }

    /// All requests, in the order they were made.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn approvals(&self) -> Result<Vec<Approval>, LedgerError> {
        let shared = self.shared();
        let now = shared.clock.now();
        let mut found = Vec::new();
        for setting in shared.meta.kv_names()? {
            if let Some(id) = setting.strip_prefix(PREFIX)
                && let Some(kept) = Kept::read(&*shared.meta, id)?
            {
                found.push(kept.approval(id, now));
            }
        }
        found.sort_by(|one: &Approval, other| (one.asked, &one.id).cmp(&(other.asked, &other.id)));
        Ok(found)
    }

    /// Agrees to a request, or refuses it.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`], [`LedgerError::Approval`] where it is decided already, or `by` asked for it.
    pub fn decide_approval(
        &self,
        id: &str,
        by: &str,
        approve: bool,
    ) -> Result<Approval, LedgerError> {
        self.alone_with(id, |mut approval| {
            if approval.state != ApprovalState::Pending {
                return Err(refused(format!(
                    "{id} is {} already",
                    approval.state.as_str()
                )));
            }
            if approval.by == by {
                return Err(refused(format!(
                    "{id} was asked for with the same token; another admin has to decide it"
                )));
            }
            approval.state = if approve {
                ApprovalState::Approved
            } else {
                ApprovalState::Rejected
            };
            approval.decided_by = Some(by.to_owned());
            Ok(approval)
        })
    }

    /// Uses an approval that `by` asked for: it cannot be used again.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`]; [`LedgerError::Approval`] where it is not approved, somebody else's, or for something
    /// else.
    pub fn use_approval(
        &self,
        id: &str,
        by: &str,
        wanted: &Wanted,
    ) -> Result<Approval, LedgerError> {
        self.alone_with(id, |mut approval| {
            if approval.by != by {
                return Err(refused(format!("{id} was asked for with another token")));
            }
            if approval.wanted != *wanted {
                return Err(refused(format!("{id} is for something else")));
            }
            if approval.state != ApprovalState::Approved {
                let state = approval.state.as_str();
                return Err(refused(format!(
                    "{id} is {state}; another admin has to approve it"
                )));
            }
            approval.state = ApprovalState::Used;
            Ok(approval)
        })
    }

    /// Says whether changes of keys need approval from now on.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub fn require_approvals(&self, required: bool) -> Result<(), LedgerError> {
        let shared = self.shared();
        if self.requires_approvals()? == required {
            return Ok(());
        }
        let value: &[u8] = if required { b"yes" } else { b"no" };
        Ok(shared.judge(
            "whether approvals are required",
            shared.meta.kv_put(REQUIRED, value),
        )?)
    }

    /// Whether changes of keys need approval.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn requires_approvals(&self) -> Result<bool, LedgerError> {
        let value = self.shared().meta.kv_get(REQUIRED)?;
        Ok(value.as_deref() == Some(b"yes"))
    }

    /// Uses an approval of a change of this key, where one is needed; whoever asked for it.
    pub(crate) fn approved_rotation(&self, purpose: KeyPurpose) -> Result<(), LedgerError> {
        if !self.requires_approvals()? {
            return Ok(());
        }
        let wanted = Wanted::KeyRotation { purpose };
        let approvals = self.approvals()?;
        let approved = approvals
            .iter()
            .find(|it| it.wanted == wanted && it.state == ApprovalState::Approved);
        let Some(approved) = approved else {
            return Err(refused(format!(
                "a change of the {purpose} key needs the approval of a second admin: `rlhf-audit approval request \
                 --rotate {purpose}` at the server, and `rlhf-audit approval approve` by another"
            )));
        };
        self.use_approval(&approved.id, &approved.by, &wanted)
            .map(drop)
    }

    /// Changes a request, with nobody else at it.
    fn alone_with(
        &self,
        id: &str,
        change: impl FnOnce(Approval) -> Result<Approval, LedgerError>,
    ) -> Result<Approval, LedgerError> {
        let shared = self.shared();
        let holder = RunId::generate(&*shared.clock, &*shared.entropy);
        let lease = format!("{PREFIX}{id}");
        if !shared
            .meta
            .take_lease(&lease, holder.as_str(), LEASE_MILLIS)?
        {
            return Err(refused(format!(
                "{id} is being decided; look again in some seconds"
            )));
        }
        let changed = Kept::read(&*shared.meta, id)
            .and_then(|kept| {
                kept.ok_or_else(|| LedgerError::NotFound {
                    what: "request",
                    seen: id.to_owned(),
                })
            })
            .and_then(|kept| change(kept.approval(id, shared.clock.now())))
            .and_then(|approval| self.keep(&approval).map(|()| approval));
        // It runs out by itself.
        let _ = shared.meta.release_lease(&lease, holder.as_str());
        changed
    }

    fn keep(&self, approval: &Approval) -> Result<(), LedgerError> {
        let kept = Kept {
            wanted: approval.wanted.clone(),
            by: approval.by.clone(),
            asked: approval.asked.0,
            state: approval.state,
            decided_by: approval.decided_by.clone(),
        };
        let value = serde_json::to_vec(&kept).unwrap_or_default();
        let shared = self.shared();
        let written = shared
            .meta
            .kv_put(&format!("{PREFIX}{}", approval.id), &value);
        Ok(shared.judge("a request for approval", written)?)
    }
}

fn refused(reason: String) -> LedgerError {
    LedgerError::Approval { reason }
}
