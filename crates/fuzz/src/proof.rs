//! Proofs: of one leaf, of an older tree, of many leaves, and the file that hands one over.

use tlog::multiproof;
use tlog::proof::{inclusion_root, verify_consistency, verify_inclusion};
use tlog::{Hash, LeafIndex, MemoryTree, TlogProof, TreeSize, leaf_hash};

use crate::bytes::Bytes;
use crate::example::{ENTRIES, POLICY_OF, SIGNED};
use crate::rfc9162;

/// The leaves of a tree for multiproofs: one full tile and a part of the next.
const MOST_LEAVES: u16 = 300;

/// A tlog-proof file; or a kind of proof, its numbers and its hashes.
pub fn proof(data: &[u8]) {
    file(data);
    let mut bytes = Bytes(data);
    match bytes.u8() % 3 {
        0 => inclusion(&mut bytes),
        1 => consistency(&mut bytes),
        _ => many(&mut bytes),
    }
}

fn file(data: &[u8]) {
    let Ok(proof) = TlogProof::parse(data) else {
        return;
    };
    assert_eq!(proof.to_string().as_bytes(), data, "written as read");
    for (at, entry) in (0..).zip(ENTRIES.iter()) {
        if let Ok(verified) = proof.verify(&leaf_hash(entry), &POLICY_OF) {
            assert_eq!(verified.checkpoint, *SIGNED, "accepted, and never signed");
            assert_eq!(proof.index, LeafIndex(at), "a leaf that is not there");
        }
    }
}

/// Ours and RFC 9162's agree on every proof, of trees of any size.
fn inclusion(bytes: &mut Bytes<'_>) {
    let (index, size, leaf) = (number(bytes), number(bytes), Hash::new(bytes.array()));
    let hashes = bytes.hashes(80);
    let expected = rfc9162::inclusion(index, size, leaf, &hashes);
    let (index, size) = (LeafIndex(index), TreeSize(size));
    let found = inclusion_root(index, size, &leaf, &hashes).ok();
    assert_eq!(
        found,
        expected,
        "leaf {index:?} of {size:?}, {} hashes",
        hashes.len()
    );
    assert!(
        verify_inclusion(index, size, &leaf, &leaf, &hashes).is_err() || expected == Some(leaf),
        "a root to which the proof does not lead"
    );
}

fn consistency(bytes: &mut Bytes<'_>) {
    let (old, new, root) = (number(bytes), number(bytes), Hash::new(bytes.array()));
    let hashes = bytes.hashes(80);
    let ours = |old_root, new_root| {
        verify_consistency(TreeSize(old), TreeSize(new), &old_root, &new_root, &hashes)
    };
    if old == 0 || old > new {
        assert!(ours(root, root).is_err());
    } else if old == new {
        assert_eq!(ours(root, root).is_ok(), hashes.is_empty());
    } else if let Some((old_root, new_root)) = rfc9162::consistency(old, new, root, &hashes) {
        assert_eq!(ours(old_root, new_root), Ok(()), "{old} to {new}");
        let other = leaf_hash(b"another");
        assert!(ours(old_root, other).is_err() && ours(other, new_root).is_err());
    } else {
        assert!(
            ours(root, root).is_err(),
            "{old} to {new}, {} hashes",
            hashes.len()
        );
    }
}

/// A multiproof leads to the root; a hash more, a hash fewer or another hash does not.
fn many(bytes: &mut Bytes<'_>) {
    let size = bytes.u16() % (MOST_LEAVES + 1);
    let tree: MemoryTree = (0..size).map(|at| leaf_hash(&at.to_be_bytes())).collect();
    let (change, at, seed) = (bytes.u8() % 4, usize::from(bytes.u8()), bytes.u8());
    let mask = bytes.0;
    let chosen = |leaf: u16| {
        let byte = mask.get(usize::from(leaf / 8)).copied().unwrap_or_default();
        byte >> (leaf % 8) & 1 == 1
    };
    let leaves: Vec<_> = (0..size)
        .filter(|leaf| chosen(*leaf))
        .map(|leaf| (LeafIndex(leaf.into()), leaf_hash(&leaf.to_be_bytes())))
        .collect();
    let indices = leaves.iter().map(|(index, _)| *index);
    let mut proof = multiproof::create(&tree, tree.size(), indices).expect("leaves of the tree");
    let root = |proof: &[Hash]| {
        multiproof::root(tree.size(), leaves.iter().copied(), proof.iter().copied())
    };
    assert_eq!(root(&proof), Ok(tree.root()));
    let other = leaf_hash(&[seed]);
    match change {
        0 => proof.insert(at % (proof.len() + 1), other),
        1 if !proof.is_empty() => drop(proof.remove(at % proof.len())),
        2 if !proof.is_empty() => {
            let at = at % proof.len();
            proof[at] = node(&proof[at]);
        }
        _ => return,
    }
    assert_ne!(root(&proof), Ok(tree.root()), "another proof of the same");
}

fn node(hash: &Hash) -> Hash {
    tlog::node_hash(hash, hash)
}

/// Small numbers and those around powers of two as often as any.
fn number(bytes: &mut Bytes<'_>) -> u64 {
    let form = bytes.u8();
    match form % 4 {
        0 => u64::from(bytes.u8()),
        1 => (1 << (bytes.u8() % 64)) - 1,
        2 => (1 << (bytes.u8() % 64)) + u64::from(form / 4),
        _ => bytes.u64(),
    }
}
