//! Names for streams that nobody else has.

use std::collections::BTreeSet;

use record::{Entropy, Scope, StreamName};

use super::core::Core;

/// Which names a scope has at the server.
pub(super) enum Taken {
    Known(BTreeSet<StreamName>),
    /// It did not answer.
    Unknown,
}

/// `wanted` if nobody has it, or `wanted.2` and so on; with a random end where nobody can be asked.
pub(super) fn free_name(
    core: &Core,
    scope: Scope,
    wanted: StreamName,
    taken: &Taken,
) -> StreamName {
    let Taken::Known(taken) = taken else {
        return random_name(&*core.options.entropy, wanted);
    };
    let free =
        |name: &StreamName| !taken.contains(name) && !core.layout.stream(scope, *name).exists();
    if free(&wanted) {
        return wanted;
    }
    let numbered = (2..10_000).map(|number: u32| with_end(wanted, &number.to_string()));
    numbered
        .into_iter()
        .find(free)
        .unwrap_or_else(|| random_name(&*core.options.entropy, wanted))
}

/// `wanted.` and six random characters.
pub(super) fn random_name(entropy: &dyn Entropy, wanted: StreamName) -> StreamName {
    const CHARACTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0; 6];
    entropy.fill(&mut random);
    let end: String = random
        .iter()
        .map(|byte| char::from(CHARACTERS[usize::from(byte % 32)]))
        .collect();
    with_end(wanted, &end)
}

fn with_end(wanted: StreamName, end: &str) -> StreamName {
    const LONGEST: usize = 64;
    let wanted_text = wanted.as_str();
    let kept = wanted_text.len().min(LONGEST - 1 - end.len());
    StreamName::parse(&format!("{}.{end}", &wanted_text[..kept])).unwrap_or(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;

    impl Entropy for Ones {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(1);
        }
    }

    #[test]
    fn a_name_stays_one_however_long_it_was() {
        let short = StreamName::parse("rank0").unwrap();
        assert_eq!(random_name(&Ones, short).as_str(), "rank0.bbbbbb");
        assert_eq!(with_end(short, "2").as_str(), "rank0.2");
        let long = StreamName::parse(&"a".repeat(64)).unwrap();
        let name = random_name(&Ones, long);
        assert_eq!(name.as_str().len(), 64);
        assert!(name.as_str().ends_with("a.bbbbbb"));
    }
}
