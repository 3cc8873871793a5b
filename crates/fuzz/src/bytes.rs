//! Input taken apart into the numbers and hashes that a target works with.

use tlog::Hash;

/// What is left of the input. Where it ends, zeros follow.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Bytes<'_> {
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let (head, rest) = self.0.split_at(self.0.len().min(N));
        array[..head.len()].copy_from_slice(head);
        self.0 = rest;
        array
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_be_bytes(self.array())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// All hashes that are left; of the last one the bytes that are there.
    pub(crate) fn hashes(&mut self, most: usize) -> Vec<Hash> {
        let mut hashes = Vec::new();
        while !self.0.is_empty() && hashes.len() < most {
            hashes.push(Hash::new(self.array()));
        }
        hashes
    }
}
