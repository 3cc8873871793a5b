//! Reading the tile files of a log (C2SP tlog-tiles), and how much of a tile a log has.

use tlog::{TileId, TreeSize};

use crate::VerifyError;
use crate::source::Source;

/// How many hashes or entries a log of `size` entries has for the tile in this place, at most 256.
pub(crate) fn available(tile: TileId, size: u64) -> u16 {
    TileId::in_tree(tile.level(), tile.index(), TreeSize(size)).map_or(0, TileId::width)
}

/// Reads a tile. A partial one that is gone because it became full meanwhile is read as the prefix
/// of the full one (C2SP tlog-tiles, "Partial Tiles"). False if there is neither.
pub(crate) fn read(
    source: &Source,
    tile: TileId,
    limit: usize,
    into: &mut Vec<u8>,
) -> Result<bool, VerifyError> {
    if source.read(&tile.path(), limit, into)? {
        return Ok(true);
    }
    if !tile.is_partial() || !source.read(&tile.full().path(), limit, into)? {
        return Ok(false);
    }
    match tile.level() {
        tlog::TileLevel::Hashes(_) => into.truncate(usize::from(tile.width()) * 32),
        tlog::TileLevel::Entries => {
            if let Some(length) = prefix_length(into, tile.width()) {
                into.truncate(length);
            }
        }
    }
    Ok(true)
}

/// The bytes that the first `width` entries of a bundle take; `None` if it has fewer.
pub(crate) fn prefix_length(bundle: &[u8], width: u16) -> Option<usize> {
    let mut at = 0;
    for _ in 0..width {
        let length = bundle.get(at..at + 2)?;
        at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
    }
    (at <= bundle.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_bundles() {
        let bundle = b"\0\x01a\0\0\0\x02bc";
        assert_eq!(prefix_length(bundle, 1), Some(3));
        assert_eq!(prefix_length(bundle, 2), Some(5));
        assert_eq!(prefix_length(bundle, 3), Some(9));
        assert_eq!(prefix_length(bundle, 4), None);
        assert_eq!(prefix_length(&bundle[..8], 3), None);
    }
}
