//! Manifests of models.

use weights::Manifest;

/// A manifest is written as it was read, and is the same as itself.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data) else {
        return;
    };
    assert!(manifest.to_bytes() == data, "a manifest is written as read");
    assert!(manifest.compare(&manifest).is_same());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_of_the_corpus_are_read() {
        for bytes in [
            &include_bytes!("../../../fuzz/corpus/manifest/model")[..],
            include_bytes!("../../../fuzz/corpus/manifest/file"),
        ] {
            Manifest::parse(bytes).unwrap();
        }
    }
}
