//! The verification algorithms of RFC 9162 as they stand there, against which ours are held. They walk
//! the bits of two counters; ours recurses over ranges.

use tlog::{Hash, node_hash};

/// Section 2.1.3.2: the root to which an inclusion proof leads.
pub(crate) fn inclusion(index: u64, size: u64, leaf: Hash, proof: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut fn_, mut sn, mut root) = (index, size - 1, leaf);
    for hash in proof {
        if sn == 0 {
            return None;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            root = node_hash(hash, &root);
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            root = node_hash(&root, hash);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    (sn == 0).then_some(root)
}

/// Section 2.1.4.2: the old and the new root to which a consistency proof leads, for 0 < `old` < `new`.
pub(crate) fn consistency(old: u64, new: u64, root: Hash, proof: &[Hash]) -> Option<(Hash, Hash)> {
    if proof.is_empty() {
        return None;
    }
    let own = [root];
    let own = if old.is_power_of_two() { &own[..] } else { &[] };
    let mut path = own.iter().chain(proof);
    let (mut fn_, mut sn) = (old - 1, new - 1);
    while fn_ & 1 == 1 {
        fn_ >>= 1;
        sn >>= 1;
    }
    let first = *path.next()?;
    let (mut fr, mut sr) = (first, first);
    for hash in path {
        if sn == 0 {
            return None;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            fr = node_hash(hash, &fr);
            sr = node_hash(hash, &sr);
            while fn_ & 1 == 0 && fn_ != 0 {
                fn_ >>= 1;
                sn >>= 1;
            }
        } else {
            sr = node_hash(&sr, hash);
        }
        fn_ >>= 1;
        sn >>= 1;
    }
    (sn == 0).then_some((fr, sr))
}
