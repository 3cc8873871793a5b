//! The passphrase under which key files are encrypted: where it comes from, and what it comes to.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

/// The fewest characters of a passphrase under which anything is newly encrypted.
pub const MIN_PASSPHRASE_CHARS: usize = 12;

type Secret = Zeroizing<[u8; 32]>;
type Ask = dyn Fn() -> Result<Zeroizing<String>, String> + Send + Sync;

/// Gives the passphrase when one is first needed, and remembers it.
pub struct Passphrase {
    ask: Box<Ask>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    text: Option<Zeroizing<String>>,
    /// What was derived: the files of a ledger share salt and cost, and deriving is slow on purpose.
    derived: Vec<(Cost, [u8; 16], Secret)>,
}

/// How hard it is to try a passphrase: Argon2id (RFC 9106).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Memory, in KiB.
    pub(crate) memory: u32,
    /// Passes over it.
    pub(crate) passes: u32,
    /// Lanes.
    pub(crate) lanes: u32,
}

impl Cost {
    /// The second recommendation of RFC 9106, section 4: 64 MiB.
    pub(crate) const USUAL: Self = Self {
        memory: 64 << 10,
        passes: 3,
        lanes: 4,
    };

    /// Whether a file may ask for so much: 1 GiB, and minutes, are more than anybody chose.
    pub(crate) fn is_bearable(self) -> bool {
        (1..=16).contains(&self.lanes)
            && (1..=16).contains(&self.passes)
            && (8 * self.lanes..=1 << 20).contains(&self.memory)
    }
}

impl Passphrase {
    /// This one.
    pub fn new(text: Zeroizing<String>) -> Self {
        Self::ask(move || Ok(text.clone()))
    }

    /// There is none: files that need one cannot be read.
    pub fn none() -> Self {
        Self::ask(|| Err("no passphrase was given".to_owned()))
    }

    /// Asked for at the first need. An error says why there is none, and what to do.
    pub fn ask(
        ask: impl Fn() -> Result<Zeroizing<String>, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            ask: Box::new(ask),
            known: Mutex::default(),
        }
    }

    /// The passphrase itself.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn text(&self) -> Result<Zeroizing<String>, String> {
        Self::text_of(&self.ask, &mut self.lock())
    }

    /// The key that follows from it.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn derive(&self, cost: Cost, salt: &[u8; 16]) -> Result<Secret, String> {
        // Held while deriving, so that threads that come for the same key wait for it.
        let mut known = self.lock();
        let found = known
            .derived
            .iter()
            .find(|(c, s, _)| (c, s) == (&cost, salt));
        if let Some((_, _, secret)) = found {
            return Ok(secret.clone());
        }
        let text = Self::text_of(&self.ask, &mut known)?;
        let cannot = |error: argon2::Error| format!("the passphrase cannot be used: {error}");
        let params = Params::new(cost.memory, cost.passes, cost.lanes, Some(32)).map_err(cannot)?;
        let mut secret = Secret::default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(text.as_bytes(), salt, secret.as_mut_slice())
            .map_err(cannot)?;
        known.derived.push((cost, *salt, secret.clone()));
        Ok(secret)
    }

    fn text_of(ask: &Ask, known: &mut Known) -> Result<Zeroizing<String>, String> {
        if let Some(text) = &known.text {
            return Ok(text.clone());
        }
        let text = ask()?;
        known.text = Some(text.clone());
        Ok(text)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}
