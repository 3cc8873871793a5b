//! What a producer sends, and the openings that a bundle holds.

use record::{OpeningError, SealedValue, Submission, parse_bundle_openings, to_bundle_openings};

/// A line, a record's openings, or a sealed value.
pub fn submission(data: &[u8]) {
    if let Ok(submission) = Submission::parse_line(data) {
        let accepted = submission.check().is_ok();
        if accepted || !submission.openings.is_empty() {
            assert_eq!(submission.to_line(), data, "a line is written as read");
        }
    }
    if let Ok(openings) = parse_bundle_openings(data) {
        let parts = openings
            .iter()
            .map(|(field, key, value)| (field.as_str(), key, value.as_bytes()));
        assert_eq!(
            to_bundle_openings(parts),
            data,
            "openings are written as read"
        );
    }
    if let Ok(value) = SealedValue::from_canonical(data) {
        assert_eq!(value.as_bytes(), data);
        // A whole number beyond 2^53 may be canonical, as the digits of a double, and yet none that a producer may seal.
        let again = SealedValue::from_json(&value.to_json());
        assert!(
            again == Ok(value) || again == Err(OpeningError::Inexact),
            "a value is itself"
        );
    }
}
