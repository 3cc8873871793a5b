//! Tiles and entry bundles: where they lie and what is in them (<https://c2sp.org/tlog-tiles>).
//!
//! [`TileId`] names a resource and spells its path, [`HashTile`] and [`EntryBundle`] read its
//! bytes, [`tiles_between`] says which resources a growing log has to write. Nothing here fetches
//! or stores.

mod bundle;
mod id;

pub use bundle::{EntryBundle, HashTile, MAX_ENTRY_BYTES, encode_entry_bundle, push_entry};
pub use id::{TileId, TileLevel, tiles_between, tiles_for_size};

/// The number of hashes or entries in a full tile (tree height 8).
pub const FULL_WIDTH: u16 = 256;

/// A tile's name or its bytes are not what tlog-tiles says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// A level above 63.
    #[error("tile level {seen} is above 63")]
    Level {
        /// The level asked for.
        seen: u8,
    },
    /// A width that is not within 1 to 256.
    #[error("tile width {seen} is not within 1 to 256")]
    Width {
        /// The width asked for.
        seen: u64,
    },
    /// A path that is no tile's, or not the one spelling of it.
    #[error("{seen:?} is no tile path such as tile/0/x001/234.p/17 or tile/entries/000")]
    Path {
        /// The path as given, shortened.
        seen: String,
    },
    /// A hash tile of the wrong length.
    #[error("a hash tile of width {width} has {expected} bytes, not {seen}")]
    TileLength {
        /// The width expected.
        width: u16,
        /// 32 times the width.
        expected: usize,
        /// The number of bytes seen.
        seen: usize,
    },
    /// The bundle ends inside an entry or before all entries are there.
    #[error(
        "entry bundle ends in entry {entry} of {width}: {needed} bytes expected at offset \
         {offset}, {seen} are there"
    )]
    Truncated {
        /// Position of the entry in the bundle, from 0.
        entry: u16,
        /// Number of entries the bundle should hold.
        width: u16,
        /// Offset of the missing part.
        offset: usize,
        /// Bytes expected from that offset.
        needed: usize,
        /// Bytes that are there.
        seen: usize,
    },
    /// Bytes after the last entry.
    #[error("entry bundle has {seen} bytes after its {width} entries")]
    Trailing {
        /// Number of entries the bundle should hold.
        width: u16,
        /// The number of bytes left over.
        seen: usize,
    },
    /// An entry that does not fit its 16-bit length.
    #[error("an entry has at most 65535 bytes, not {seen}")]
    EntryTooLong {
        /// The number of bytes seen.
        seen: usize,
    },
    /// More entries than a bundle holds, or none.
    #[error("an entry bundle holds 1 to 256 entries, not {seen}")]
    EntryCount {
        /// The number of entries seen.
        seen: usize,
    },
    /// A tile that the tree at hand does not have.
    #[error("there is no tile {id}")]
    Missing {
        /// The tile asked for.
        id: TileId,
    },
}
