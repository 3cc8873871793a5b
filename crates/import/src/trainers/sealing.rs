//! Sealing what people and models wrote, where it fits.

use record::{Draft, MAX_SEALED_BYTES, SealedValue, Subject};
use serde_json::Value;

use super::Entry;

/// Seals `value`, or reports that it cannot be.
pub(super) fn seal(
    draft: Draft,
    field: &'static str,
    value: &Value,
    entry: &mut Entry,
    place: &str,
) -> Draft {
    // A text of a sixth of the limit fits, whatever has to be escaped.
    let surely = value
        .as_str()
        .is_some_and(|text| 6 * text.len() + 2 <= MAX_SEALED_BYTES);
    if surely {
        return draft.seal(field, value, Subject::Run);
    }
    match SealedValue::from_json(value) {
        Ok(_) => draft.seal(field, value, Subject::Run),
        Err(error) => {
            let what = format!("{place}: the {field} is not recorded: {error}");
            entry.incident("value-not-sealed", Some(field), &what);
            draft
        }
    }
}
