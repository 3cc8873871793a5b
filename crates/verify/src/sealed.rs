//! Sealed values, opened by whoever can: the deployment's keys are no business of this crate.

use std::fmt;

use tlog::Hash;

/// Opens the sealed values of a log, given by the caller to [`crate::Options::openings`].
///
/// Called from several threads at once, once per entry bundle.
pub trait OpenSealed: Sync {
    /// The sealed values of the entries of bundle `bundle` (256 entries; entry `i` has index
    /// `256 × bundle + i`), one list per entry, in the order of `leaves`: the entries' leaf hashes,
    /// to which the encryption binds each value.
    ///
    /// # Errors
    ///
    /// A sentence, if the bundle's sealed values are missing or broken; it becomes a failure.
    fn open(&self, bundle: u64, leaves: &[Hash]) -> Result<Vec<Vec<SealedField>>, String>;
}

/// One sealed value of one entry.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedField {
    /// The field it belongs to.
    pub field: String,
    /// What became of it.
    pub state: SealedState,
}

/// What a sealed value was found to be.
#[derive(Clone, PartialEq, Eq)]
pub enum SealedState {
    /// Decrypted; whether it opens the commitment is for the verifier to say.
    Opened {
        /// The commitment's key.
        key: [u8; 32],
        /// Canonical JSON of the value.
        value: Vec<u8>,
    },
    /// Its subject's key was destroyed.
    Erased,
    /// It does not decrypt, and why.
    Broken(String),
}

// Values are personal: they do not go into logs by way of `{:?}`.
impl fmt::Debug for SealedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedField")
            .field("field", &self.field)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SealedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opened { .. } => "Opened",
            Self::Erased => "Erased",
            Self::Broken(_) => "Broken",
        })
    }
}
