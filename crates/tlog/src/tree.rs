//! Positions in a tree: its size, a leaf's index, and where RFC 6962 splits a range of leaves.

use std::fmt;

/// Number of leaves of a tree, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeSize(pub u64);

/// Zero-based index of a leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafIndex(pub u64);

impl TreeSize {
    /// The number of leaves.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether a tree of this size has a leaf at `index`.
    pub const fn contains(self, index: LeafIndex) -> bool {
        index.0 < self.0
    }
}

impl LeafIndex {
    /// The zero-based index.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for TreeSize {
    fn from(size: u64) -> Self {
        Self(size)
    }
}

impl From<u64> for LeafIndex {
    fn from(index: u64) -> Self {
        Self(index)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The largest power of two below `n`, where RFC 6962 splits a tree of `n` leaves.
///
/// `n` must be at least 2; a smaller tree has nothing to split.
pub(crate) const fn split(n: u64) -> u64 {
    debug_assert!(n >= 2);
    1 << (n - 1).ilog2()
}

/// Whether `[start, end)` is a subtree in the sense of draft-ietf-plants-merkle-tree-certs: not
/// empty, and starting at a multiple of the smallest power of two that is not below its length.
pub(crate) fn is_subtree(start: u64, end: u64) -> bool {
    start < end
        && match (end - start).checked_next_power_of_two() {
            Some(span) => start.is_multiple_of(span),
            None => start == 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_largest_power_of_two_below() {
        let cases = [
            (2, 1),
            (3, 2),
            (4, 2),
            (5, 4),
            (8, 4),
            (9, 8),
            (u64::MAX, 1 << 63),
        ];
        for (n, k) in cases {
            assert_eq!(split(n), k, "n = {n}");
        }
    }

    #[test]
    fn knows_a_subtree_from_any_other_range() {
        for (start, end) in [
            (0, 1),
            (0, 7),
            (4, 7),
            (4, 8),
            (6, 7),
            (0, u64::MAX),
            (8, 13),
        ] {
            assert!(is_subtree(start, end), "[{start}, {end})");
        }
        for (start, end) in [
            (0, 0),
            (3, 3),
            (2, 1),
            (1, 3),
            (2, 6),
            (4, 9),
            (1, u64::MAX),
        ] {
            assert!(!is_subtree(start, end), "[{start}, {end})");
        }
    }
}
