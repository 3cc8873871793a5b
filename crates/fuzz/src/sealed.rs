//! The files of sealed values.

use crate::bytes::Bytes;

/// A number of entries, and a bundle of so many.
pub fn sealed(data: &[u8]) {
    let mut bytes = Bytes(data);
    let entries = usize::from(bytes.u8()) + 1;
    if let Ok(again) = ledger::fuzzing::sealed_values(bytes.0, entries) {
        assert!(again == bytes.0, "sealed values are written as read");
    }
}
