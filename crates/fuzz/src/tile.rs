//! Tiles of hashes, bundles of entries, and the paths of both.

use tlog::tile::{encode_entry_bundle, push_entry};
use tlog::{EntryBundle, HashTile, TileId};

use crate::bytes::Bytes;

/// A path, or a width and then a tile.
pub fn tile(data: &[u8]) {
    if let Some(id) = std::str::from_utf8(data)
        .ok()
        .and_then(|path| TileId::parse_path(path).ok())
    {
        assert_eq!(id.path().as_bytes(), data, "a path is written as read");
        let again = TileId::new(id.level(), id.index(), id.width());
        assert_eq!(again, Ok(id), "a path names only tiles that can be");
        let _ = (id.full(), id.first_leaf());
    }
    let mut bytes = Bytes(data);
    // Widths in range most of the time, and every other one too.
    let width = match bytes.u16() {
        wide if wide & 0xf000 == 0xf000 => wide & 0x0fff,
        narrow => (narrow & 0xff) + 1,
    };
    let data = bytes.0;
    if let Ok(tile) = HashTile::parse(data, width) {
        assert_eq!(tile.to_bytes(), data, "a tile is written as read");
        assert_eq!(
            (tile.width(), tile.hashes().len()),
            (width, usize::from(width))
        );
        let _ = tile.root();
    }
    if let Ok(entries) = EntryBundle::parse(data, width) {
        assert_eq!(entries.len(), usize::from(width));
        let again = encode_entry_bundle(&entries).expect("entries as long as they were");
        assert_eq!(again, data, "a bundle is written as read");
    }
    // What comes before an error is what stands there.
    let mut before = Vec::new();
    for entry in EntryBundle::new(data, width)
        .into_iter()
        .flatten()
        .flatten()
    {
        push_entry(&mut before, entry).expect("an entry as long as it was");
    }
    assert!(data.starts_with(&before));
}
