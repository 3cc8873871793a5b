//! One proof for many leaves: round trips, and everything that must make it fail.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use proptest::collection::btree_set;
use proptest::prelude::*;
use std::collections::BTreeSet;
use tlog::multiproof::{MultiproofError, create, root, try_root};
use tlog::{Hash, LeafIndex, MemoryTree, ReadError, TreeSize, inclusion_proof, leaf_hash};

fn leaf(i: u64) -> Hash {
    leaf_hash(&i.to_be_bytes())
}

fn tree(size: u64) -> MemoryTree {
    (0..size).map(leaf).collect()
}

fn leaves(indices: &BTreeSet<u64>) -> Vec<(LeafIndex, Hash)> {
    indices.iter().map(|i| (LeafIndex(*i), leaf(*i))).collect()
}

fn prove(tree: &MemoryTree, indices: &BTreeSet<u64>) -> Vec<Hash> {
    create(tree, tree.size(), indices.iter().map(|i| LeafIndex(*i))).unwrap()
}

fn altered(hash: Hash) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[31] ^= 0x80;
    Hash::new(bytes)
}

/// A size, and some leaves: scattered ones, and a stretch as a run leaves behind.
fn some_leaves() -> impl Strategy<Value = (u64, BTreeSet<u64>)> {
    (1..1500u64).prop_flat_map(|size| {
        let scattered = btree_set(0..size, 0..12);
        let stretch = (0..size, 0..size.min(400));
        (Just(size), scattered, stretch).prop_map(|(size, mut set, (start, length))| {
            set.extend(start..(start + length).min(size));
            (size, set)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn leads_to_the_root((size, indices) in some_leaves()) {
        let tree = tree(size);
        let proof = prove(&tree, &indices);
        prop_assert_eq!(root(tree.size(), leaves(&indices), proof), Ok(tree.root()));
    }

    #[test]
    fn any_change_to_leaves_or_proof_fails(
        (size, indices) in some_leaves(),
        at: prop::sample::Index,
    ) {
        let tree = tree(size);
        let (size, expected) = (tree.size(), tree.root());
        let proof = prove(&tree, &indices);
        let good = leaves(&indices);
        let fails = |leaves: &[(LeafIndex, Hash)], proof: &[Hash]| {
            root(size, leaves.iter().copied(), proof.iter().copied()) != Ok(expected)
        };
        if !proof.is_empty() {
            let i = at.index(proof.len());
            let mut spoilt = proof.clone();
            spoilt[i] = altered(spoilt[i]);
            prop_assert!(fails(&good, &spoilt), "altered hash {i}");
            spoilt.remove(i);
            prop_assert!(fails(&good, &spoilt), "removed hash {i}");
            let mut spoilt = proof.clone();
            spoilt.insert(i, leaf(0));
            prop_assert!(fails(&good, &spoilt), "added hash {i}");
        }
        let mut spoilt = proof.clone();
        spoilt.push(leaf(0));
        let error = MultiproofError::TooLong { expected: proof.len() as u64 };
        prop_assert_eq!(root(size, good.clone(), spoilt), Err(error));
        if !good.is_empty() {
            let i = at.index(good.len());
            let mut spoilt = good.clone();
            spoilt[i].1 = altered(spoilt[i].1);
            prop_assert!(fails(&spoilt, &proof), "altered leaf {i}");
            spoilt.remove(i);
            prop_assert!(fails(&spoilt, &proof), "removed leaf {i}");
            let mut spoilt = good.clone();
            spoilt.insert(i, spoilt[i]);
            prop_assert!(fails(&spoilt, &proof), "doubled leaf {i}");
        }
        // A leaf of the tree that the proof is not about.
        let missing: Vec<u64> = (0..size.0).filter(|i| !indices.contains(i)).collect();
        if !missing.is_empty() {
            let mut more = indices.clone();
            more.insert(missing[at.index(missing.len())]);
            prop_assert!(fails(&leaves(&more), &proof));
        }
        let mut beyond = good.clone();
        beyond.push((LeafIndex(size.0), leaf(size.0)));
        let error = MultiproofError::IndexOutOfRange { index: size.0, size: size.0 };
        prop_assert_eq!(root(size, beyond, proof), Err(error));
    }

    #[test]
    fn of_one_leaf_holds_the_hashes_of_its_inclusion_proof(size in 1..900u64, at: prop::sample::Index) {
        let tree = tree(size);
        let index = at.index(size as usize) as u64;
        let mut single = inclusion_proof(&tree, LeafIndex(index), tree.size()).unwrap();
        let mut multi = prove(&tree, &BTreeSet::from([index]));
        single.sort();
        multi.sort();
        prop_assert_eq!(single, multi);
    }
}

#[test]
fn its_ends_are_as_defined() {
    let seven = tree(7);
    assert_eq!(prove(&seven, &BTreeSet::new()), [seven.root()]);
    assert_eq!(prove(&seven, &(0..7).collect()), []);
    let empty = tree(0);
    assert_eq!(prove(&empty, &BTreeSet::new()), []);
    assert_eq!(root(TreeSize(0), [], []), Ok(empty.root()));
    assert_eq!(
        root(TreeSize(0), [], [leaf(0)]),
        Err(MultiproofError::TooLong { expected: 0 })
    );
    assert_eq!(
        root(TreeSize(2), [], []),
        Err(MultiproofError::TooShort { seen: 0 })
    );
}

/// The layout, spelt out once: leaves 2 and 5 of 7 need 3, [0,2), 4 and 6, from left to right.
#[test]
fn hashes_stand_in_order_of_the_tree() {
    let tree = tree(7);
    let proof = prove(&tree, &BTreeSet::from([2, 5]));
    let pair = tlog::node_hash(&leaf(0), &leaf(1));
    assert_eq!(proof, [pair, leaf(3), leaf(4), leaf(6)]);
}

#[test]
fn indices_must_rise_and_be_in_the_tree() {
    let tree = tree(7);
    let create =
        |indices: &[u64]| create(&tree, tree.size(), indices.iter().map(|i| LeafIndex(*i)));
    for (indices, before, seen) in [([3, 3], 3, 3), ([4, 2], 4, 2)] {
        let error = MultiproofError::Unsorted { before, seen };
        assert_eq!(create(&indices), Err(ReadError::Indices(error.clone())));
        let leaves = indices.map(|i| (LeafIndex(i), leaf(i)));
        assert_eq!(root(TreeSize(7), leaves, [leaf(0); 9]), Err(error));
    }
    let error = MultiproofError::IndexOutOfRange { index: 7, size: 7 };
    assert_eq!(create(&[7]), Err(ReadError::Indices(error)));
}

#[test]
fn a_failing_source_ends_it_with_its_own_error() {
    #[derive(Debug, PartialEq)]
    enum Failure {
        Disk,
        Proof(MultiproofError),
    }
    impl From<MultiproofError> for Failure {
        fn from(error: MultiproofError) -> Self {
            Self::Proof(error)
        }
    }
    let leaves = || [Ok((LeafIndex(0), leaf(0))), Err(Failure::Disk)];
    assert_eq!(try_root(TreeSize(4), leaves(), []), Err(Failure::Disk));
    let proof = [Ok(leaf(1)), Err(Failure::Disk)];
    assert_eq!(
        try_root(TreeSize(4), [Ok((LeafIndex(0), leaf(0)))], proof),
        Err(Failure::Disk)
    );
    let short = Failure::Proof(MultiproofError::TooShort { seen: 0 });
    assert_eq!(
        try_root(TreeSize(4), [Ok((LeafIndex(0), leaf(0)))], []),
        Err(short)
    );
}
