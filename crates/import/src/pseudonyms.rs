//! Pseudonyms that are the same for the same person each time a file is read, and look random to
//! everybody who does not hold the seed.

use record::{CommitmentKey, Entropy, Pseudonym, SealedValue, commit};
use serde_json::Value;

/// Draws the pseudonyms of a file's annotators.
///
/// Whoever imports keeps the seed until the file is recorded to its end, so that an interrupted import
/// goes on with the same pseudonyms, and destroys it then: what is left is as random as the seed was.
#[derive(Clone, PartialEq, Eq)]
pub struct Pseudonyms(CommitmentKey);

impl Pseudonyms {
    /// From 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(CommitmentKey(seed))
    }

    /// The pseudonym of who has this id at the platform.
    pub fn of(&self, id: &Value) -> Pseudonym {
        // An id is a number or a short text, which can always be sealed; if not, it is nobody's.
        let id = SealedValue::from_json(id).or_else(|_| SealedValue::from_json(&Value::Null));
        let bytes = id.map_or([0; 32], |id| commit(&self.0, "annotator", &id).0);
        Pseudonym::generate(&Given(bytes))
    }
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms(…)")
    }
}

/// The first of these bytes, where random ones are asked for.
struct Given([u8; 32]);

impl Entropy for Given {
    fn fill(&self, bytes: &mut [u8]) {
        for (byte, given) in bytes.iter_mut().zip(self.0.iter().cycle()) {
            *byte = *given;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_person_has_the_same_pseudonym_under_one_seed_only() {
        let (one, other) = (
            Pseudonyms::from_seed([1; 32]),
            Pseudonyms::from_seed([2; 32]),
        );
        assert_eq!(one.of(&json!(7)), one.of(&json!(7)));
        assert_ne!(one.of(&json!(7)), one.of(&json!("7")));
        assert_ne!(one.of(&json!(7)), one.of(&json!(8)));
        assert_ne!(one.of(&json!(7)), other.of(&json!(7)));
    }
}
