//! Trees and proofs against a second implementation, ct-merkle, and against themselves.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::prelude::*;
use sha2::Sha256;
use std::cell::RefCell;
use tlog::proof::{
    verify_consistency, verify_inclusion, verify_subtree_consistency, verify_subtree_inclusion,
};
use tlog::reader::{subtree_consistency_proof, subtree_root};
use tlog::{
    Frontier, Hash, HashReader, HashTile, LeafIndex, MemoryTree, ProofError, ReadError, TileError,
    TileId, TileLevel, TreeSize, consistency_proof, inclusion_proof, leaf_hash, root,
};

const LEAVES: usize = 5000;

fn entry(i: usize) -> Vec<u8> {
    format!("entry {i}").into_bytes()
}

fn ours(size: usize) -> MemoryTree {
    (0..size).map(|i| leaf_hash(&entry(i))).collect()
}

fn theirs(size: usize) -> MemoryBackedTree<Sha256, Vec<u8>> {
    let mut tree = MemoryBackedTree::new();
    (0..size).for_each(|i| tree.push(entry(i)));
    tree
}

fn their_root(root: Hash, size: usize) -> RootHash<Sha256> {
    RootHash::new((*root.as_bytes()).into(), size as u64)
}

fn bytes(proof: &[Hash]) -> Vec<u8> {
    proof.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Some index, size or bit to spoil.
fn altered(hash: &Hash, bit: usize) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Hash::new(bytes)
}

#[test]
fn roots_are_those_of_ct_merkle() {
    let tree = ours(LEAVES);
    let mut other = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for size in 1..=LEAVES {
        other.push(entry(size - 1));
        if size < 600 || size % 97 == 0 || size == LEAVES {
            let ours = root(&tree, TreeSize(size as u64)).unwrap();
            assert_eq!(
                ours.as_bytes()[..],
                other.root().as_bytes()[..],
                "size {size}"
            );
        }
    }
    assert_eq!(tree.root(), root(&tree, tree.size()).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn inclusion_proofs_are_those_of_ct_merkle(size in 1..LEAVES, at: prop::sample::Index) {
        let index = at.index(size);
        let (tree, other) = (ours(size), theirs(size));
        let proof = inclusion_proof(&tree, LeafIndex(index as u64), tree.size()).unwrap();
        let their_proof = other.prove_inclusion(index);
        prop_assert_eq!(&bytes(&proof)[..], their_proof.as_bytes());

        let leaf = leaf_hash(&entry(index));
        verify_inclusion(LeafIndex(index as u64), tree.size(), &leaf, &tree.root(), &proof).unwrap();
        let root = their_root(tree.root(), size);
        let parsed = InclusionProof::try_from_bytes(bytes(&proof)).unwrap();
        prop_assert!(root.verify_inclusion(&entry(index), index as u64, &parsed).is_ok());
    }

    #[test]
    fn consistency_proofs_are_those_of_ct_merkle(new in 1..LEAVES, at: prop::sample::Index) {
        let old = at.index(new) + 1;
        let (tree, other) = (ours(new), theirs(new));
        let old_size = TreeSize(old as u64);
        let proof = consistency_proof(&tree, old_size, tree.size()).unwrap();
        let old_root = root(&tree, old_size).unwrap();
        verify_consistency(old_size, tree.size(), &old_root, &tree.root(), &proof).unwrap();
        let their_proof = other.prove_consistency(new - old);
        prop_assert_eq!(&bytes(&proof)[..], their_proof.as_bytes());
        let parsed = ConsistencyProof::try_from_bytes(bytes(&proof)).unwrap();
        let (old_root, new_root) = (their_root(old_root, old), their_root(tree.root(), new));
        prop_assert!(new_root.verify_consistency(&old_root, &parsed).is_ok());
    }

    #[test]
    fn a_spoilt_inclusion_proof_fails(size in 2..2000usize, at: prop::sample::Index, bit: usize) {
        let index = LeafIndex(at.index(size) as u64);
        let tree = ours(size);
        let (size, root, leaf) = (tree.size(), tree.root(), leaf_hash(&entry(index.0 as usize)));
        let proof = inclusion_proof(&tree, index, size).unwrap();
        let check = |leaf: &Hash, root: &Hash, proof: &[Hash]| {
            verify_inclusion(index, size, leaf, root, proof)
        };
        prop_assert!(check(&leaf, &root, &proof).is_ok());
        prop_assert!(check(&altered(&leaf, bit), &root, &proof).is_err());
        prop_assert!(check(&leaf, &altered(&root, bit), &proof).is_err());
        for i in 0..proof.len() {
            let mut spoilt = proof.clone();
            spoilt[i] = altered(&spoilt[i], bit);
            prop_assert!(check(&leaf, &root, &spoilt).is_err());
            spoilt.remove(i);
            prop_assert_eq!(
                check(&leaf, &root, &spoilt),
                Err(ProofError::TooShort { seen: proof.len() - 1 })
            );
            spoilt = proof.clone();
            spoilt.insert(i, leaf);
            prop_assert_eq!(
                check(&leaf, &root, &spoilt),
                Err(ProofError::TooLong { seen: proof.len() + 1, expected: proof.len() })
            );
        }
        let other = LeafIndex((index.0 + 1) % size.0);
        prop_assert!(verify_inclusion(other, size, &leaf, &root, &proof).is_err());
    }

    #[test]
    fn a_spoilt_consistency_proof_fails(new in 2..2000usize, at: prop::sample::Index, bit: usize) {
        let old = TreeSize(at.index(new - 1) as u64 + 1);
        let tree = ours(new);
        let (old_root, new_root) = (root(&tree, old).unwrap(), tree.root());
        let proof = consistency_proof(&tree, old, tree.size()).unwrap();
        let check = |old_root: &Hash, new_root: &Hash, proof: &[Hash]| {
            verify_consistency(old, tree.size(), old_root, new_root, proof)
        };
        prop_assert!(check(&old_root, &new_root, &proof).is_ok());
        prop_assert!(check(&altered(&old_root, bit), &new_root, &proof).is_err());
        prop_assert!(check(&old_root, &altered(&new_root, bit), &proof).is_err());
        for i in 0..proof.len() {
            let mut spoilt = proof.clone();
            spoilt[i] = altered(&spoilt[i], bit);
            prop_assert!(check(&old_root, &new_root, &spoilt).is_err());
            spoilt.remove(i);
            prop_assert!(check(&old_root, &new_root, &spoilt).is_err());
            spoilt = proof.clone();
            spoilt.insert(i, new_root);
            prop_assert!(check(&old_root, &new_root, &spoilt).is_err());
        }
    }

    #[test]
    fn a_subtree_is_proved_within_its_tree(
        size in 1..1500u64,
        height in 0..11u32,
        at: prop::sample::Index,
        cut: prop::sample::Index,
        bit: usize,
    ) {
        // Any subtree: aligned to its span, and cut short by up to half of it or by the tree's end.
        let span = 1u64 << height;
        let start = at.index(size.div_ceil(span) as usize) as u64 * span;
        let end = (start + span - cut.index(span as usize / 2 + 1) as u64).min(size);
        let tree = ours(size as usize);
        let (first, after, size) = (LeafIndex(start), LeafIndex(end), TreeSize(size));
        let proof = subtree_consistency_proof(&tree, first, after, size).unwrap();
        let subtree = subtree_root(&tree, first, after, size).unwrap();
        let own: MemoryTree = (start..end).map(|i| leaf_hash(&entry(i as usize))).collect();
        prop_assert_eq!(subtree, own.root());
        let check = |subtree: &Hash, root: &Hash, proof: &[Hash]| {
            verify_subtree_consistency(first, after, size, subtree, root, proof)
        };
        prop_assert_eq!(check(&subtree, &tree.root(), &proof), Ok(()));
        prop_assert!(check(&altered(&subtree, bit), &tree.root(), &proof).is_err());
        prop_assert!(check(&subtree, &altered(&tree.root(), bit), &proof).is_err());
        for i in 0..proof.len() {
            let mut spoilt = proof.clone();
            spoilt[i] = altered(&spoilt[i], bit);
            prop_assert!(check(&subtree, &tree.root(), &spoilt).is_err());
        }
        let inner = inclusion_proof(&own, LeafIndex(0), own.size()).unwrap();
        let leaf = leaf_hash(&entry(start as usize));
        prop_assert!(verify_subtree_inclusion(first, first, after, &leaf, &subtree, &inner).is_ok());
    }
}

/// A tree of ten million leaves, all alike, so that every tile is known without storing it.
struct TenMillion {
    /// The hash in every tile of a level.
    levels: Vec<Hash>,
    read: RefCell<Vec<TileId>>,
}

const TEN_MILLION: TreeSize = TreeSize(10_000_000);

impl TenMillion {
    fn new() -> Self {
        let mut levels = vec![leaf_hash(b"same")];
        for level in 0..2 {
            levels.push(tlog::tile_root(&[levels[level]; 256]));
        }
        Self {
            levels,
            read: RefCell::default(),
        }
    }
}

impl HashReader for TenMillion {
    type Error = TileError;

    fn read_tile(&self, id: TileId) -> Result<HashTile, TileError> {
        self.read.borrow_mut().push(id);
        let TileLevel::Hashes(level) = id.level() else {
            return Err(TileError::Missing { id });
        };
        assert_eq!(
            Some(id),
            TileId::in_tree(id.level(), id.index(), TEN_MILLION)
        );
        HashTile::new(&vec![self.levels[usize::from(level)]; id.width().into()])
    }
}

#[test]
fn a_proof_in_a_large_tree_reads_at_most_six_tiles() {
    let tree = TenMillion::new();
    let size = TEN_MILLION;
    let root = root(&tree, size).unwrap();
    for index in [
        0, 1, 255, 256, 65_535, 65_536, 5_000_000, 8_388_608, 9_999_744, 9_999_999,
    ] {
        tree.read.borrow_mut().clear();
        let proof = inclusion_proof(&tree, LeafIndex(index), size).unwrap();
        let read = tree.read.borrow();
        assert!(read.len() <= 6, "index {index} read {read:?}");
        verify_inclusion(LeafIndex(index), size, &leaf_hash(b"same"), &root, &proof).unwrap();
    }
    let mut frontier = Frontier::from_tiles(&tree, size).unwrap();
    assert_eq!(frontier.root(), root);
    frontier.push(leaf_hash(b"more")).unwrap();
    assert_ne!(frontier.root(), root);
}

#[test]
fn what_the_tree_does_not_have_is_refused() {
    let tree = ours(10);
    let size = tree.size();
    let out = ProofError::IndexOutOfRange {
        index: 10,
        size: 10,
    };
    assert_eq!(
        inclusion_proof(&tree, LeafIndex(10), size),
        Err(ReadError::Range(out))
    );
    let shrunk = ProofError::Shrunk { old: 11, new: 10 };
    assert_eq!(
        consistency_proof(&tree, TreeSize(11), size),
        Err(ReadError::Range(shrunk))
    );
    assert_eq!(consistency_proof(&tree, TreeSize(0), size), Ok(vec![]));
    assert!(matches!(
        root(&tree, TreeSize(11)),
        Err(ReadError::Reader { .. })
    ));
    assert!(subtree_root(&tree, LeafIndex(1), LeafIndex(3), size).is_err());
}

struct Narrow;

impl HashReader for Narrow {
    type Error = TileError;

    fn read_tile(&self, _: TileId) -> Result<HashTile, TileError> {
        HashTile::new(&[leaf_hash(b"only")])
    }
}

#[test]
fn a_tile_too_narrow_is_an_error_and_no_panic() {
    assert!(matches!(
        root(&Narrow, TreeSize(2)),
        Err(ReadError::Narrow { seen: 1, .. })
    ));
    assert!(Frontier::from_tiles(&Narrow, TreeSize(u64::MAX)).is_err());
    assert!(inclusion_proof(&Narrow, LeafIndex(u64::MAX - 1), TreeSize(u64::MAX)).is_err());
}
