//! The corpus through its targets, and some thousand mutations of it: seconds, on any toolchain. Guards what the targets
//! themselves say; `make fuzz` searches on with coverage as a guide.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fuzz_targets::{TARGETS, Target};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt as _, SeedableRng as _};

/// Mutations of each target's corpus. A bundle's and a journal's take longest, some tenths of a millisecond.
const MUTATIONS: usize = 5000;

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The files in a directory of `fuzz/`.
fn files(dir: &str) -> Vec<PathBuf> {
    let dir = fuzz_dir().join(dir);
    let files = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    files
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = files(&format!("corpus/{target}"));
    assert!(!files.is_empty(), "{target} has no corpus");
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("a file of the corpus");
        (path, bytes)
    };
    files.into_iter().map(read).collect()
}

fn names(dir: &str) -> BTreeSet<String> {
    let stem = |path: PathBuf| {
        path.file_stem()
            .map(|name| name.to_string_lossy().into_owned())
    };
    files(dir).into_iter().filter_map(stem).collect()
}

#[test]
fn every_target_has_a_corpus_and_a_binary() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len());
    assert_eq!(names("corpus"), targets);
    assert_eq!(names("fuzz_targets"), targets);
    let manifest = fs::read_to_string(fuzz_dir().join("Cargo.toml")).unwrap();
    for target in targets {
        assert!(
            manifest.contains(&format!("fuzz_targets/{target}.rs")),
            "{target} is not built"
        );
    }
}

#[test]
fn the_corpus_has_no_finding() {
    for (name, run) in TARGETS {
        for (path, input) in corpus(name) {
            let outcome = catch_unwind(|| run(&input));
            assert!(
                outcome.is_ok(),
                "{name} fails on {}: see above",
                path.display()
            );
        }
    }
}

#[test]
fn mutations_of_the_corpus_have_no_finding() {
    for target in TARGETS {
        mutate_all(target);
    }
}

/// The same seed, so that whoever sees a failure sees the next one's too.
fn mutate_all((name, run): &Target) {
    let corpus: Vec<_> = corpus(name).into_iter().map(|(_, input)| input).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for _ in 0..MUTATIONS {
        let mut input = corpus[rng.random_range(0..corpus.len())].clone();
        for _ in 0..rng.random_range(1..4) {
            mutate(&mut input, &corpus, &mut rng);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&input)));
        assert!(
            outcome.is_ok(),
            "{name} fails (see above) on the bytes {}",
            hex(&input)
        );
    }
}

fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut ChaCha8Rng) {
    let at = rng.random_range(0..=input.len());
    let end = (at + rng.random_range(0..9)).min(input.len());
    match rng.random_range(0..7) {
        0 => input.insert(at, rng.random()),
        1 => drop(input.drain(at..end)),
        2 => input.truncate(at),
        3 => input[at..end]
            .iter_mut()
            .for_each(|byte| *byte = rng.random()),
        4 => {
            let again = input[at..end].to_vec();
            drop(input.splice(at..at, again));
        }
        5 => {
            let other = &corpus[rng.random_range(0..corpus.len())];
            let from = rng.random_range(0..=other.len());
            let to = (from + rng.random_range(0..65)).min(other.len());
            drop(input.splice(at..end, other[from..to].iter().copied()));
        }
        _ if at < end => input[at] ^= 1 << rng.random_range(0..8),
        _ => {}
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
