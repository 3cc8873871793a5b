//! Changes of a log's keys, which a log's server hands to whoever knows the old ones.

use std::sync::LazyLock;

use verify::rotation::Rotation;

/// The only change of keys that the keys in it have signed. Nobody keeps them.
const EXAMPLE: &[u8] = include_bytes!("../../../fuzz/corpus/rotation/example");

static SIGNED: LazyLock<Rotation> =
    LazyLock::new(|| Rotation::parse(EXAMPLE).expect("the corpus's change of keys"));

/// A file `rotations/<n>`.
pub fn rotation(data: &[u8]) {
    let Ok(rotation) = Rotation::parse(data) else {
        return;
    };
    assert!(rotation.to_string().as_bytes() == data, "written as read");
    if rotation.check(1).is_ok() {
        let said = (&rotation.old, &rotation.new, &rotation.record);
        assert!(
            said == (&SIGNED.old, &SIGNED.new, &SIGNED.record),
            "accepted, and never signed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else the target would watch for what never comes.
    #[test]
    fn the_change_of_the_corpus_is_accepted() {
        let step = SIGNED.check(1).unwrap();
        assert_eq!((step.index, step.size), (9, 10));
        rotation(EXAMPLE);
    }

    /// A finding of this target.
    #[test]
    fn a_change_of_keys_has_one_spelling() {
        let text = std::str::from_utf8(EXAMPLE).unwrap();
        let (head, proof) = text.split_once("\n\n").unwrap();
        let mut lines: Vec<_> = head.lines().collect();
        lines.swap(2, 3);
        let swapped = format!("{}\n\n{proof}", lines.join("\n"));
        let returns = format!("{}\n\n{proof}", head.replace('\n', "\r\n"));
        for other in [swapped, returns] {
            assert!(Rotation::parse(other.as_bytes()).is_err());
        }
    }
}
