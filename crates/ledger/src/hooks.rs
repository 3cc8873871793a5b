//! Where annotation platforms may deliver what they have to say: a name, a run or an experiment, and a
//! secret that both sides know. The secret has to be known again to check a signature, so it is kept
//! encrypted under the deployment's key, unlike a token, of which a hash is enough.
//!
//! Not here: what a delivery says, and whether its signature is right.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use record::{RunId, StreamName, Timestamp};
use serde::{Deserialize, Serialize};
use store::MetaStore;
use zeroize::Zeroizing;

use crate::LedgerError;
use crate::ledger::Ledger;
use crate::sealing::Sealing;

/// What its settings begin with.
const PREFIX: &str = "hook/";
/// The most bytes of a name: in a stream's there has to be room for `hook-` and for a number.
const MAX_NAME_BYTES: usize = 48;
/// The most bytes of a secret.
const MAX_SECRET_BYTES: usize = 1_024;

/// A hook, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Its name; `hook-` and this is the name of the stream it writes.
    pub name: String,
    /// Which platform delivers; opaque here.
    pub platform: String,
    /// Where its records go.
    pub target: HookTarget,
    /// When it was made.
    pub created: Timestamp,
}

/// What only both sides know.
pub type HookSecret = Zeroizing<Vec<u8>>;

/// Where a hook's records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookTarget {
    /// Into this run.
    Run(RunId),
    /// Into a run of this experiment that the hook starts.
    Experiment(String),
}

/// As it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    platform: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    experiment: Option<String>,
    created: i64,
    secret: String,
}

impl Hook {
    /// The stream it writes, in a run or in the scope `ledger`; `None` where the name is no hook's.
    pub fn stream_of(name: &str) -> Option<StreamName> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let good = (1..=MAX_NAME_BYTES).contains(&name.len())
            && name.bytes().next().is_some_and(letter)
            && name
                .bytes()
                .all(|byte| letter(byte) || matches!(byte, b'-' | b'_'));
        StreamName::parse(&format!("hook-{name}")).filter(|_| good)
    }
}

impl Ledger {
    /// Adds a hook. `false`: one of this name is there, and left as it is.
    ///
    /// # Errors
    /// The name is no stream's or the secret too long ([`LedgerError::Hook`]), or the database cannot
    /// be written.
    pub fn add_hook(&self, hook: &Hook, secret: &[u8]) -> Result<bool, LedgerError> {
        if Hook::stream_of(&hook.name).is_none() {
            return Err(LedgerError::Hook {
                reason: format!(
                    "the name is `{}`, expected 1 to {MAX_NAME_BYTES} of a-z, 0-9, `_` and `-`, the first \
                     a letter or digit",
                    hook.name
                ),
            });
        }
        if secret.is_empty() || secret.len() > MAX_SECRET_BYTES {
            return Err(LedgerError::Hook {
                reason: format!(
                    "the secret has {} bytes, expected 1 to {MAX_SECRET_BYTES}",
                    secret.len()
                ),
            });
        }
        if self.hook(&hook.name)?.is_some() {
            return Ok(false);
        }
        let shared = self.shared();
        let setting = setting(&hook.name);
        let (run, experiment) = match &hook.target {
            HookTarget::Run(run) => (Some(*run), None),
            HookTarget::Experiment(name) => (None, Some(name.clone())),
        };
        let kept = Kept {
            platform: hook.platform.clone(),
            run,
            experiment,
            created: hook.created.0,
            secret: STANDARD.encode(shared.sealing.wrap_bytes(setting.as_bytes(), secret)),
        };
        let written = shared.meta.kv_put(&setting, &kept.to_bytes());
        shared.judge("a hook", written)?;
        Ok(true)
    }

    /// The hook of this name, with its secret.
    ///
    /// # Errors
    /// The database cannot be read, or another key wrapped the secret.
    pub fn hook(&self, name: &str) -> Result<Option<(Hook, HookSecret)>, LedgerError> {
        let shared = self.shared();
        let setting = setting(name);
        let Some(kept) = kept(&*shared.meta, &setting)? else {
            return Ok(None);
        };
        let secret = kept.secret(&shared.sealing, &setting)?;
        Ok(Some((kept.hook(name)?, secret)))
    }

    /// All hooks, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn hooks(&self) -> Result<Vec<Hook>, LedgerError> {
        let meta = &*self.shared().meta;
        let mut hooks = Vec::new();
        for setting in settings(meta)? {
            if let (Some(name), Some(kept)) = (setting.strip_prefix(PREFIX), kept(meta, &setting)?)
            {
                hooks.push(kept.hook(name)?);
            }
        }
        Ok(hooks)
    }

    /// Removes a hook: nothing is delivered there any more, and its secret is gone. Says whether there
    /// was one.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn remove_hook(&self, name: &str) -> Result<bool, LedgerError> {
        let shared = self.shared();
        let setting = setting(name);
        if kept(&*shared.meta, &setting)?.is_none() {
            return Ok(false);
        }
        // A setting cannot be taken away; an empty one is none.
        let written = shared.meta.kv_put(&setting, b"");
        shared.judge("a hook", written)?;
        Ok(true)
    }
}

/// Wraps every secret anew: the deployment's key is another.
///
/// # Errors
/// The database cannot be read or written, or neither key has wrapped one of them.
pub(crate) fn rewrap(
    meta: &dyn MetaStore,
    old: &Sealing,
    new: &Sealing,
) -> Result<(), LedgerError> {
    for setting in settings(meta)? {
        let Some(mut kept) = kept(meta, &setting)? else {
            continue;
        };
        if kept.secret(new, &setting).is_ok() {
            continue;
        }
        let secret = kept.secret(old, &setting)?;
        kept.secret = STANDARD.encode(new.wrap_bytes(setting.as_bytes(), &secret));
        meta.kv_put(&setting, &kept.to_bytes())?;
    }
    Ok(())
}

fn setting(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn settings(meta: &dyn MetaStore) -> Result<Vec<String>, LedgerError> {
    let mut names = meta.kv_names()?;
    names.retain(|name| name.starts_with(PREFIX));
    Ok(names)
}

fn kept(meta: &dyn MetaStore, setting: &str) -> Result<Option<Kept>, LedgerError> {
    match meta.kv_get(setting)? {
        None => Ok(None),
        Some(bytes) if bytes.is_empty() => Ok(None),
        Some(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| LedgerError::corrupt(format!("the setting {setting}"), error)),
    }
}

impl Kept {
    fn to_bytes(&self) -> Vec<u8> {
        // Texts and a number always serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn hook(self, name: &str) -> Result<Hook, LedgerError> {
        let target = match (self.run, self.experiment) {
            (Some(run), None) => HookTarget::Run(run),
            (None, Some(experiment)) => HookTarget::Experiment(experiment),
            _ => {
                let what = format!("the setting {}", setting(name));
                return Err(LedgerError::corrupt(what, "it names no target, or two"));
            }
        };
        Ok(Hook {
            name: name.to_owned(),
            platform: self.platform,
            target,
            created: Timestamp(self.created),
        })
    }

    fn secret(&self, sealing: &Sealing, setting: &str) -> Result<HookSecret, LedgerError> {
        let wrapped = STANDARD
            .decode(&self.secret)
            .map_err(|error| LedgerError::corrupt(format!("the setting {setting}"), error))?;
        sealing.unwrap_bytes(setting.as_bytes(), &wrapped)
    }
}
