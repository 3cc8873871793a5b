//! The bytes of a tile: concatenated hashes, or length-prefixed entries.

use super::{FULL_WIDTH, TileError};
use crate::hash::{Hash, tile_root};
use std::sync::Arc;

/// The longest entry an entry bundle can hold, in bytes.
pub const MAX_ENTRY_BYTES: usize = 65_535;

/// The hashes of a tile, 1 to 256 of them. Cloning shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashTile {
    hashes: Arc<[Hash]>,
}

impl HashTile {
    /// A tile of these hashes.
    ///
    /// # Errors
    /// [`TileError::Width`] for none or more than 256.
    pub fn new(hashes: &[Hash]) -> Result<Self, TileError> {
        if hashes.is_empty() || hashes.len() > FULL_WIDTH.into() {
            return Err(TileError::Width {
                seen: hashes.len() as u64,
            });
        }
        Ok(Self {
            hashes: hashes.into(),
        })
    }

    /// Reads a tile of `width` hashes, 1 to 256.
    ///
    /// # Errors
    /// [`TileError::Width`] for another width; [`TileError::TileLength`] unless there are exactly
    /// 32 bytes a hash.
    pub fn parse(bytes: &[u8], width: u16) -> Result<Self, TileError> {
        if width == 0 || width > FULL_WIDTH {
            return Err(TileError::Width { seen: width.into() });
        }
        let expected = usize::from(width) * 32;
        if bytes.len() != expected {
            return Err(TileError::TileLength {
                width,
                expected,
                seen: bytes.len(),
            });
        }
        Ok(Self {
            hashes: bytes
                .as_chunks::<32>()
                .0
                .iter()
                .map(|hash| Hash::new(*hash))
                .collect(),
        })
    }

    /// The hashes, left to right.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The number of hashes, 1 to 256.
    pub fn width(&self) -> u16 {
        self.hashes.len() as u16
    }

    /// The tile as it is served.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes
            .iter()
            .flat_map(Hash::as_bytes)
            .copied()
            .collect()
    }

    /// The Merkle tree hash over the tile; for a full tile, the hash in the tile above.
    pub fn root(&self) -> Hash {
        tile_root(&self.hashes)
    }
}

/// The entries of an entry bundle, without copying: an iterator over `width` entries.
///
/// It yields entries until the first error and then ends; after the last entry it yields
/// [`TileError::Trailing`] if bytes are left. Whoever has seen all items without an error has seen
/// exactly the bundle.
#[derive(Clone, Debug)]
pub struct EntryBundle<'a> {
    bytes: &'a [u8],
    offset: usize,
    next: u16,
    width: u16,
    done: bool,
}

impl<'a> EntryBundle<'a> {
    /// Reads `bytes` as a bundle of `width` entries, 1 to 256.
    ///
    /// # Errors
    /// [`TileError::Width`] for another width. What is wrong with the bytes comes from the
    /// iterator.
    pub fn new(bytes: &'a [u8], width: u16) -> Result<Self, TileError> {
        if width == 0 || width > FULL_WIDTH {
            return Err(TileError::Width { seen: width.into() });
        }
        Ok(Self {
            bytes,
            offset: 0,
            next: 0,
            width,
            done: false,
        })
    }

    /// All entries at once.
    ///
    /// # Errors
    /// The first error of the iterator.
    pub fn parse(bytes: &'a [u8], width: u16) -> Result<Vec<&'a [u8]>, TileError> {
        Self::new(bytes, width)?.collect()
    }

    fn take(&mut self, needed: usize) -> Result<&'a [u8], TileError> {
        let rest = &self.bytes[self.offset..];
        let Some(part) = rest.get(..needed) else {
            return Err(TileError::Truncated {
                entry: self.next,
                width: self.width,
                offset: self.offset,
                needed,
                seen: rest.len(),
            });
        };
        self.offset += needed;
        Ok(part)
    }

    fn entry(&mut self) -> Result<&'a [u8], TileError> {
        let length = self
            .take(2)?
            .iter()
            .fold(0, |n, byte| n << 8 | usize::from(*byte));
        let entry = self.take(length)?;
        self.next += 1;
        Ok(entry)
    }
}

impl<'a> Iterator for EntryBundle<'a> {
    type Item = Result<&'a [u8], TileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.next == self.width {
            self.done = true;
            let seen = self.bytes.len() - self.offset;
            return (seen > 0).then_some(Err(TileError::Trailing {
                width: self.width,
                seen,
            }));
        }
        let entry = self.entry();
        self.done = entry.is_err();
        Some(entry)
    }
}

/// Appends one entry and its length to a bundle.
///
/// # Errors
/// [`TileError::EntryTooLong`] above [`MAX_ENTRY_BYTES`]; the bundle is then as before.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), TileError> {
    let length =
        u16::try_from(entry.len()).map_err(|_| TileError::EntryTooLong { seen: entry.len() })?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The bundle of 1 to 256 entries: each with its length as a big-endian `u16` before it.
///
/// # Errors
/// [`TileError::EntryTooLong`], [`TileError::EntryCount`].
pub fn encode_entry_bundle<T: AsRef<[u8]>>(entries: &[T]) -> Result<Vec<u8>, TileError> {
    if entries.is_empty() || entries.len() > FULL_WIDTH.into() {
        return Err(TileError::EntryCount {
            seen: entries.len(),
        });
    }
    let mut bundle = Vec::with_capacity(entries.iter().map(|e| e.as_ref().len() + 2).sum());
    for entry in entries {
        push_entry(&mut bundle, entry.as_ref())?;
    }
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;

    #[test]
    fn a_bundle_is_read_back_as_written() {
        let long = vec![7; MAX_ENTRY_BYTES];
        let entries: [&[u8]; 4] = [b"one", b"", &long, b"last"];
        let bytes = encode_entry_bundle(&entries).unwrap();
        assert_eq!(&bytes[..7], b"\0\x03one\0\0");
        assert_eq!(EntryBundle::parse(&bytes, 4).unwrap(), entries);
    }

    #[test]
    fn a_bundle_ends_where_it_should() {
        let bytes = encode_entry_bundle(&["abc", "de"]).unwrap();
        let truncated = |entry, offset, needed, seen| TileError::Truncated {
            entry,
            width: 2,
            offset,
            needed,
            seen,
        };
        let errors = [
            (0, truncated(0, 0, 2, 0)),
            (1, truncated(0, 0, 2, 1)),
            (4, truncated(0, 2, 3, 2)),
            (5, truncated(1, 5, 2, 0)),
            (8, truncated(1, 7, 2, 1)),
        ];
        for (length, error) in errors {
            let items: Vec<_> = EntryBundle::new(&bytes[..length], 2).unwrap().collect();
            assert_eq!(items.last(), Some(&Err(error)), "{length} bytes");
            assert!(items.len() <= 2);
        }
        let trailing = TileError::Trailing { width: 1, seen: 4 };
        assert_eq!(EntryBundle::parse(&bytes, 1), Err(trailing));
        assert_eq!(
            EntryBundle::parse(&bytes, 0),
            Err(TileError::Width { seen: 0 })
        );
        assert_eq!(
            EntryBundle::parse(&bytes, 257),
            Err(TileError::Width { seen: 257 })
        );
    }

    #[test]
    fn a_bundle_takes_no_more_than_it_can_hold() {
        let long = vec![0; MAX_ENTRY_BYTES + 1];
        let error = TileError::EntryTooLong {
            seen: MAX_ENTRY_BYTES + 1,
        };
        assert_eq!(encode_entry_bundle(&[&long]), Err(error));
        assert_eq!(
            encode_entry_bundle(&[""; 257]),
            Err(TileError::EntryCount { seen: 257 })
        );
        assert_eq!(
            encode_entry_bundle::<&str>(&[]),
            Err(TileError::EntryCount { seen: 0 })
        );
    }

    #[test]
    fn a_hash_tile_has_its_exact_length() {
        let hashes: Vec<Hash> = (0..3u8).map(|i| leaf_hash(&[i])).collect();
        let tile = HashTile::new(&hashes).unwrap();
        let bytes = tile.to_bytes();
        assert_eq!(HashTile::parse(&bytes, 3), Ok(tile));
        for width in [1, 2, 4, 256] {
            assert!(matches!(
                HashTile::parse(&bytes, width),
                Err(TileError::TileLength { .. })
            ));
        }
        assert!(HashTile::parse(&[], 0).is_err());
        assert!(HashTile::new(&[Hash::default(); 257]).is_err());
    }
}
