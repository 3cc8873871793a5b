//! For `crates/fuzz`: what reads the ledger's own files. Not for anything else, and in no build of the binary.

use crate::sealing::file;

/// Takes a bundle of sealed values apart and writes it again.
///
/// # Errors
/// It is no bundle of so many entries.
pub fn sealed_values(bundle: &[u8], entries: usize) -> Result<Vec<u8>, String> {
    let mut again = Vec::with_capacity(bundle.len());
    for entry in file::split(bundle, entries)? {
        file::write(&mut again, &file::read(entry)?);
    }
    Ok(again)
}
