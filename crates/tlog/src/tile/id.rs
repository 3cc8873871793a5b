//! Names of tiles: level, index, width, and the path they are served under.

use super::{FULL_WIDTH, TileError};
use crate::encoding::decimal;
use crate::tree::TreeSize;
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileLevel {
    /// The entries themselves (`tile/entries/…`).
    Entries,
    /// Hashes of subtrees of 256^level leaves (`tile/<level>/…`), level 0 to 63.
    Hashes(u8),
}

impl TileLevel {
    /// Which power of 256 leaves one item of this level stands for; entries are like level 0.
    const fn height(self) -> u8 {
        match self {
            Self::Entries => 0,
            Self::Hashes(level) => level,
        }
    }

    /// The number of items of this level in a tree of `size` leaves.
    pub fn items(self, size: TreeSize) -> u64 {
        // From level 8 on, one hash would stand for more leaves than there can be.
        size.0
            .checked_shr(8 * u32::from(self.height()))
            .unwrap_or(0)
    }
}

/// Name of a tile or entry bundle, full or partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    level: TileLevel,
    index: u64,
    width: u16,
}

impl TileId {
    /// The tile at `index` of `level` that holds `width` items, 1 to 256.
    ///
    /// # Errors
    /// [`TileError::Level`] above level 63, [`TileError::Width`] for another width.
    pub fn new(level: TileLevel, index: u64, width: u16) -> Result<Self, TileError> {
        if let TileLevel::Hashes(seen @ 64..) = level {
            return Err(TileError::Level { seen });
        }
        if width == 0 || width > FULL_WIDTH {
            return Err(TileError::Width { seen: width.into() });
        }
        Ok(Self {
            level,
            index,
            width,
        })
    }

    /// The tile at `index` of `level` in a tree of `size` leaves, as wide as that tree makes it.
    ///
    /// `None` where the tree has no such tile.
    pub fn in_tree(level: TileLevel, index: u64, size: TreeSize) -> Option<Self> {
        let first = index.checked_mul(FULL_WIDTH.into())?;
        let items = level.items(size).checked_sub(first)?;
        Self::new(level, index, items.min(FULL_WIDTH.into()) as u16).ok()
    }

    /// The entry bundle at `index` in a tree of `size` leaves; `None` where it has none.
    pub fn entries(index: u64, size: TreeSize) -> Option<Self> {
        Self::in_tree(TileLevel::Entries, index, size)
    }

    /// What the tile holds.
    pub const fn level(self) -> TileLevel {
        self.level
    }

    /// Zero-based index within the level.
    pub const fn index(self) -> u64 {
        self.index
    }

    /// The number of hashes or entries, 1 to 256.
    pub const fn width(self) -> u16 {
        self.width
    }

    /// Whether fewer than 256 items are in it.
    pub const fn is_partial(self) -> bool {
        self.width < FULL_WIDTH
    }

    /// The full tile in the same place: it replaces the partial one once the tree has grown.
    #[must_use]
    pub const fn full(self) -> Self {
        Self {
            width: FULL_WIDTH,
            ..self
        }
    }

    /// Index of the first leaf under this tile; saturates where no tree reaches.
    pub fn first_leaf(self) -> u64 {
        let span = 1u64
            .checked_shl(8 * (u32::from(self.level.height()) + 1))
            .unwrap_or(u64::MAX);
        self.index.saturating_mul(span)
    }

    /// The path under the log's prefix, such as `tile/0/x001/x234/067.p/17`.
    pub fn path(self) -> String {
        let mut path = String::with_capacity(32);
        // Writing to a string cannot fail.
        let _ = match self.level {
            TileLevel::Entries => write!(path, "tile/entries/"),
            TileLevel::Hashes(level) => write!(path, "tile/{level}/"),
        };
        let mut unit = 1u64;
        while self.index / unit >= 1000 {
            unit *= 1000;
        }
        while unit > 1 {
            let _ = write!(path, "x{:03}/", self.index / unit % 1000);
            unit /= 1000;
        }
        let _ = write!(path, "{:03}", self.index % 1000);
        if self.is_partial() {
            let _ = write!(path, ".p/{}", self.width);
        }
        path
    }

    /// Reads a path as [`TileId::path`] writes it.
    ///
    /// # Errors
    /// [`TileError::Path`] for every other spelling: leading zeros, a needless `x000`, a width
    /// outside 1 to 255, a level above 63.
    pub fn parse_path(path: &str) -> Result<Self, TileError> {
        let refuse = || TileError::Path {
            seen: path.chars().take(80).collect(),
        };
        let id = parse(path).ok_or_else(refuse)?;
        // One resource, one spelling: whatever is not written that way is not accepted.
        if id.path() == path {
            Ok(id)
        } else {
            Err(refuse())
        }
    }
}

fn parse(path: &str) -> Option<TileId> {
    let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let level = match level {
        "entries" => TileLevel::Entries,
        number => TileLevel::Hashes(decimal(number)?.try_into().ok()?),
    };
    let (digits, width) = match rest.split_once(".p/") {
        Some((digits, width)) => (digits, decimal(width)?),
        None => (rest, FULL_WIDTH.into()),
    };
    let mut index = 0u64;
    for group in digits.split('/') {
        let group = group.strip_prefix('x').unwrap_or(group);
        if group.len() != 3 || !group.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        index = index.checked_mul(1000)?.checked_add(group.parse().ok()?)?;
    }
    TileId::new(level, index, width.try_into().ok()?).ok()
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.path())
    }
}

impl FromStr for TileId {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, TileError> {
        Self::parse_path(path)
    }
}

/// All resources of a tree of `size` leaves: entry bundles, then hash tiles from level 0 up, each
/// level from left to right and with its partial tile last.
pub fn tiles_for_size(size: TreeSize) -> impl Iterator<Item = TileId> {
    tiles_between(TreeSize(0), size)
}

/// The resources that a tree of `new` leaves has and the same tree at `old` leaves did not have,
/// in the order of [`tiles_for_size`]. None, where `new` is not above `old`.
///
/// The first tile of a level may take the place of a narrower partial tile of the old tree.
pub fn tiles_between(old: TreeSize, new: TreeSize) -> impl Iterator<Item = TileId> {
    let width = u64::from(FULL_WIDTH);
    let levels = [TileLevel::Entries]
        .into_iter()
        .chain((0..8).map(TileLevel::Hashes));
    levels.flat_map(move |level| {
        let (before, after) = (level.items(old), level.items(new));
        let tiles = if after > before {
            before / width..after.div_ceil(width)
        } else {
            0..0
        };
        tiles.filter_map(move |index| TileId::in_tree(level, index, new))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn id(level: TileLevel, index: u64, width: u16) -> TileId {
        TileId::new(level, index, width).unwrap()
    }

    #[test]
    fn spells_paths_as_the_specification_does() {
        let cases = [
            (
                id(TileLevel::Hashes(0), 1_234_067, 256),
                "tile/0/x001/x234/067",
            ),
            (id(TileLevel::Hashes(0), 1234, 17), "tile/0/x001/234.p/17"),
            (id(TileLevel::Entries, 0, 256), "tile/entries/000"),
            (id(TileLevel::Entries, 999, 255), "tile/entries/999.p/255"),
            (id(TileLevel::Hashes(63), 1000, 1), "tile/63/x001/000.p/1"),
            (
                id(TileLevel::Hashes(1), u64::MAX, 256),
                "tile/1/x018/x446/x744/x073/x709/x551/615",
            ),
        ];
        for (tile, path) in cases {
            assert_eq!(tile.path(), path);
            assert_eq!(TileId::parse_path(path), Ok(tile));
        }
    }

    #[test]
    fn refuses_every_other_spelling() {
        for path in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/+1/000",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/x001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p/1/",
            "/tile/0/000",
            "tile/0/000 ",
            "tile/entries/x001",
            "tile/Entries/000",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/..",
            "tile/0/000.p/1.p/1",
            "tile/256/000",
        ] {
            assert!(TileId::parse_path(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn lists_the_tiles_of_the_specifications_example() {
        let tiles: Vec<TileId> = tiles_for_size(TreeSize(70_000)).collect();
        let of = |level| tiles.iter().copied().filter(move |t| t.level() == level);
        for level in [TileLevel::Hashes(0), TileLevel::Entries] {
            assert_eq!(of(level).filter(|t| !t.is_partial()).count(), 273);
            assert_eq!(
                of(level).filter(|t| t.is_partial()).collect::<Vec<_>>(),
                [id(level, 273, 112)]
            );
        }
        let upper: Vec<TileId> = tiles
            .iter()
            .copied()
            .filter(|t| t.level.height() > 0)
            .collect();
        assert_eq!(
            upper,
            [
                id(TileLevel::Hashes(1), 0, 256),
                id(TileLevel::Hashes(1), 1, 17),
                id(TileLevel::Hashes(2), 0, 1),
            ]
        );
        let small: Vec<String> = tiles_for_size(TreeSize(256)).map(TileId::path).collect();
        assert_eq!(small, ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(tiles_for_size(TreeSize(0)).count(), 0);
    }

    #[test]
    fn new_tiles_are_those_the_old_tree_lacked() {
        for (old, new) in [
            (0, 1),
            (5, 5),
            (5, 6),
            (250, 256),
            (256, 257),
            (255, 70_000),
            (7, 3),
        ] {
            let before: BTreeSet<TileId> = tiles_for_size(TreeSize(old)).collect();
            let after: BTreeSet<TileId> = tiles_for_size(TreeSize(new)).collect();
            let added: BTreeSet<TileId> = tiles_between(TreeSize(old), TreeSize(new)).collect();
            let expected = if new > old {
                &after - &before
            } else {
                BTreeSet::new()
            };
            assert_eq!(added, expected, "from {old} to {new}");
        }
    }

    #[test]
    fn knows_which_leaves_a_tile_covers() {
        assert_eq!(id(TileLevel::Entries, 3, 256).first_leaf(), 768);
        assert_eq!(id(TileLevel::Hashes(1), 1, 17).first_leaf(), 65_536);
        assert_eq!(id(TileLevel::Hashes(63), 0, 1).first_leaf(), 0);
        assert_eq!(TileId::entries(1, TreeSize(256)), None);
        assert_eq!(TileId::entries(u64::MAX, TreeSize(256)), None);
    }
}
