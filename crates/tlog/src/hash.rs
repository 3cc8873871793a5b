//! Merkle tree hashes as in RFC 6962, section 2.1: leaves, nodes and small subtrees.

use crate::encoding::{digest_from_base64, digest_to_base64};
use crate::sha256::{prefixed, prefixed_each, prefixed_pair, prefixed_pairs, sha256};
use crate::tree::split;
use std::fmt;
use std::str::FromStr;

/// A SHA-256 digest in a tree: of a leaf, a node or a whole tree.
///
/// Written as standard base64, 44 characters.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

/// A hash could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// Not the standard base64 of 32 bytes.
    #[error("a hash is 44 characters of standard base64 (32 bytes), not {seen:?}")]
    NotBase64 {
        /// What stood there, shortened.
        seen: String,
    },
    /// Raw bytes of another length than 32.
    #[error("a hash has 32 bytes, not {seen}")]
    Length {
        /// The number of bytes seen.
        seen: usize,
    },
}

impl Hash {
    /// A digest computed or stored elsewhere.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads standard base64 of 32 bytes.
    ///
    /// # Errors
    /// [`HashError::NotBase64`] for anything else: another length or alphabet, missing padding,
    /// spare bits that are not zero.
    pub fn from_base64(text: &[u8]) -> Result<Self, HashError> {
        digest_from_base64(text)
            .map(Self)
            .ok_or_else(|| HashError::NotBase64 {
                seen: String::from_utf8_lossy(&text[..text.len().min(48)]).into_owned(),
            })
    }
}

impl From<[u8; 32]> for Hash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<Hash> for [u8; 32] {
    fn from(hash: Hash) -> Self {
        hash.0
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Hash {
    type Error = HashError;

    fn try_from(bytes: &[u8]) -> Result<Self, HashError> {
        let digest = bytes
            .try_into()
            .map_err(|_| HashError::Length { seen: bytes.len() })?;
        Ok(Self(digest))
    }
}

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, HashError> {
        Self::from_base64(text.as_bytes())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = digest_to_base64(&self.0);
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// The hash of a leaf: SHA-256 of `0x00` and the entry (RFC 6962, section 2.1).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(prefixed(0, entry))
}

/// Puts the [`leaf_hash`] of each entry behind what `hashes` holds, in order: sooner than one by one.
pub fn leaf_hashes(entries: &[&[u8]], hashes: &mut Vec<Hash>) {
    hashes.reserve(entries.len());
    prefixed_each(0, entries, |hash| hashes.push(hash));
}

/// The hash of a node: SHA-256 of `0x01` and both children (RFC 6962, section 2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash(prefixed_pair(1, &left.0, &right.0))
}

/// The root of the tree without leaves: SHA-256 of nothing (RFC 6962, section 2.1).
pub fn empty_root() -> Hash {
    Hash(sha256(&[]))
}

/// The Merkle tree hash over `hashes`, consecutive hashes of one height, in order.
///
/// For the 256 hashes of a full tile this is the hash in the tile above; for all leaf hashes of a
/// tree, its root. Nothing is allocated.
pub fn tile_root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => empty_root(),
        [only] => *only,
        few if few.len() <= 256 => {
            // Level by level, not depth first: neighbouring nodes do not wait for each other's
            // result, so the processor overlaps them.
            let (mut below, mut above) = ([Hash::default(); 128], [Hash::default(); 128]);
            let mut width = level(few, &mut below);
            while width > 1 {
                width = level(&below[..width], &mut above);
                std::mem::swap(&mut below, &mut above);
            }
            below[0]
        }
        many => {
            let (left, right) = many.split_at(split(many.len() as u64) as usize);
            node_hash(&tile_root(left), &tile_root(right))
        }
    }
}

/// The parents of `children`, at least one and at most 256; the odd one out is its own parent.
/// Gives how many there are.
fn level(children: &[Hash], parents: &mut [Hash; 128]) -> usize {
    let (pairs, odd) = children.as_chunks::<2>();
    prefixed_pairs(1, pairs.as_flattened(), &mut parents[..pairs.len()]);
    if let [odd] = odd {
        parents[pairs.len()] = *odd;
    }
    children.len().div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962, section 2.1, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => empty_root(),
            1 => leaves[0],
            n => {
                let k = n.next_power_of_two() / 2;
                node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
            }
        }
    }

    #[test]
    fn root_of_a_tile_is_the_merkle_tree_hash() {
        let leaves: Vec<Hash> = (0..1300u32).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        for n in (0..=300).chain([511, 512, 513, 1023, 1024, 1025, 1300]) {
            assert_eq!(tile_root(&leaves[..n]), mth(&leaves[..n]), "{n} leaves");
        }
    }

    #[test]
    fn a_hash_is_read_back_as_written_and_nothing_else_is() {
        let hash = leaf_hash(b"x");
        let text = hash.to_string();
        assert_eq!(text.len(), 44);
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(
            empty_root().to_string(),
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
        for wrong in [
            "",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            &text[1..],
        ] {
            assert!(wrong.parse::<Hash>().is_err(), "{wrong:?}");
        }
        // The same 32 bytes with a spare bit set, 33 bytes, 31 bytes.
        for wrong in [
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUA",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuA==",
        ] {
            assert!(Hash::from_base64(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert_eq!(
            Hash::try_from(&[0u8; 31][..]),
            Err(HashError::Length { seen: 31 })
        );
    }
}
