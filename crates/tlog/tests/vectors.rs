//! The proofs of transparency-dev/merkle, good and bad. Skipped, saying so, where they are absent.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use tlog::proof::{
    verify_consistency, verify_inclusion, verify_subtree_consistency, verify_subtree_inclusion,
};
use tlog::{Hash, HashError, LeafIndex, TreeSize, leaf_hash};

/// A hash of a vector.
///
/// Some are no hashes but short texts ("don't care 1"), even in proofs that are good. A hash made of
/// the text stands in for it: equal texts stay equal, different ones different, and a bad proof is
/// refused for what is wrong with it and not for its length. The empty text is another matter: that
/// a missing hash is refused, even where it equals another missing one, is what some vectors test.
fn hash(value: &Value) -> Result<Hash, HashError> {
    let bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    Hash::try_from(&bytes[..]).or_else(|error| match bytes.len() {
        0 => Err(error),
        _ => Ok(leaf_hash(&bytes)),
    })
}

fn proof(vector: &Value) -> Result<Vec<Hash>, HashError> {
    match &vector["proof"] {
        Value::Null => Ok(Vec::new()),
        list => list.as_array().unwrap().iter().map(hash).collect(),
    }
}

fn index(vector: &Value, member: &str) -> LeafIndex {
    LeafIndex(
        vector[member]
            .as_u64()
            .unwrap_or_else(|| panic!("{member} in {vector}")),
    )
}

fn size(vector: &Value, member: &str) -> TreeSize {
    TreeSize(index(vector, member).0)
}

/// Runs `check` on every vector of a kind; gives the numbers of good and bad ones.
fn run(kind: &str, check: impl Fn(&Value) -> Result<(), Box<dyn Error>>) -> Option<(usize, usize)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/merkle-proof-vectors")
        .join(kind);
    if !root.is_dir() {
        eprintln!("skipped: {} is absent", root.display());
        return None;
    }
    let mut counts = (0, 0);
    for path in files(&root) {
        let text = fs::read_to_string(&path).unwrap();
        let vector: Value = serde_json::from_str(&text).unwrap();
        let result = check(&vector);
        let refused = vector["wantErr"].as_bool().unwrap();
        assert_eq!(result.is_err(), refused, "{}: {result:?}", path.display());
        if refused {
            counts.1 += 1;
        } else {
            counts.0 += 1;
        }
    }
    Some(counts)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            found.push(path);
        }
    }
    found
}

fn expect_both(counts: Option<(usize, usize)>) {
    if let Some((good, bad)) = counts {
        assert!(good > 0 && bad > 0, "{good} good and {bad} bad vectors");
    }
}

#[test]
fn inclusion() {
    expect_both(run("inclusion", |v| {
        let (leaf, root) = (hash(&v["leafHash"])?, hash(&v["root"])?);
        Ok(verify_inclusion(
            index(v, "leafIdx"),
            size(v, "treeSize"),
            &leaf,
            &root,
            &proof(v)?,
        )?)
    }));
}

#[test]
fn consistency() {
    expect_both(run("consistency", |v| {
        let (old, new) = (hash(&v["root1"])?, hash(&v["root2"])?);
        Ok(verify_consistency(
            size(v, "size1"),
            size(v, "size2"),
            &old,
            &new,
            &proof(v)?,
        )?)
    }));
}

#[test]
fn subtree_inclusion() {
    expect_both(run("subtreeinclusion", |v| {
        let (leaf, root) = (hash(&v["leafHash"])?, hash(&v["root"])?);
        let (start, end) = (index(v, "start"), index(v, "end"));
        Ok(verify_subtree_inclusion(
            index(v, "leafIdx"),
            start,
            end,
            &leaf,
            &root,
            &proof(v)?,
        )?)
    }));
}

#[test]
fn subtree_consistency() {
    expect_both(run("subtreeconsistency", |v| {
        let (subtree, root) = (hash(&v["root1"])?, hash(&v["root2"])?);
        let (start, end) = (index(v, "start"), index(v, "end"));
        Ok(verify_subtree_consistency(
            start,
            end,
            size(v, "size"),
            &subtree,
            &root,
            &proof(v)?,
        )?)
    }));
}
