//! Whether the published log hashes to its signed root, a range at a time.
//!
//! A range is 65,536 entries: what one tile of level 1 stands for. Its entries are held against the tiles of level 0, those
//! against the tile of level 1, and that against its hash in level 2 ([`range`]). The levels from 2 up, and with the right
//! edge the root, are held against each other and the checkpoint ([`above`]). Each is true of any one size of the log, so
//! ranges can be checked at different times, by different workers, while the log grows.
//!
//! Where a range's tiles and entries agree, its sealed values are opened too, or were erased ([`Ledger::unopened`]).
//!
//! `verify --hashes` asks the same of the same files in another way, so that only what both are made of is shared: formats,
//! hashes and the root are `tlog`'s. That one goes through a whole log once, in order, keeps what it has computed so far, and is
//! given a log that stands still; here each range stands by itself, between hashes that are read, in a log that grows.
//!
//! Not here: what records mean and who signed them (`rlhf-audit verify`), repair (`fsck`).

use ledger::Ledger;
use serde::{Deserialize, Serialize};
use tlog::{
    EntryBundle, Hash, HashReader, HashTile, TileId, TileLevel, TreeSize, leaf_hash, tile_root,
};

use crate::attempt::Attempt;
use crate::error::Fault;

/// Entries of a range.
pub(crate) const RANGE: u64 = 65_536;
const BUNDLE: u64 = 256;
/// Faults that are told of a range; the rest are counted.
const MOST_FAULTS: usize = 64;
/// How often the log may have grown between two looks before the check rests.
const MOVES: usize = 10;
const FOLLOW: std::time::Duration = std::time::Duration::from_secs(2);

/// The setting in which it is remembered how far the log is checked.
const SETTING: &str = "jobs.integrity";

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Broken {
    /// What, as a short word: `entries-12`, `tile-0-12`, `root`.
    pub(crate) what: String,
    /// In words, with the file's path.
    pub(crate) detail: String,
    /// The range it lies in; none above level 1.
    pub(crate) range: Option<u64>,
}

/// What was found before and still stands, and how far the log is known to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// So many entries, whole ranges, hold.
    pub verified: u64,
    /// The size of the log when it was last checked to its end.
    pub size: u64,
    /// How much was found not to hold since the ledger was made, what is mended by now included.
    #[serde(default)]
    pub found: u64,
    /// What does not hold, and the indices of the incidents that say so.
    pub(crate) broken: Vec<(Broken, u64)>,
}

impl Standing {
    /// How things stood after the last check.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn of(store: &dyn store::WorkStore) -> Result<Self, store::StoreError> {
        let stored = store.kv_get(SETTING)?;
        // What cannot be read is checked again.
        Ok(stored
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default())
    }

    pub(crate) fn keep(&self, store: &dyn store::WorkStore) -> Result<(), Fault> {
        let bytes = serde_json::to_vec(self).map_err(|error| Fault::Dead(error.to_string()))?;
        Ok(store.kv_put(SETTING, &bytes)?)
    }

    /// How many things do not hold.
    pub fn faults(&self) -> u64 {
        self.broken.len() as u64
    }
}

/// Why a look at the log came to nothing.
enum Miss {
    /// It has grown: what was looked for is replaced by something wider.
    Moved,
    Fault(Fault),
}

impl<E: Into<Fault>> From<E> for Miss {
    fn from(error: E) -> Self {
        Self::Fault(error.into())
    }
}

/// Looks at the log as it is published, again and again while it grows under the eyes.
fn looked<T>(
    ledger: &Ledger,
    look: impl Fn(&View<'_>) -> Result<T, Miss>,
) -> Result<(T, u64), Fault> {
    for _ in 0..MOVES {
        let size = ledger.latest().map_or(0, |at| at.checkpoint.size.0);
        match look(&View { ledger, size }) {
            Ok(value) => return Ok((value, size)),
            Err(Miss::Moved) => {
                let size = ledger.latest_size()?;
                ledger.wait_published(size, FOLLOW);
            }
            Err(Miss::Fault(fault)) => return Err(fault),
        }
    }
    Err(Fault::Retry(
        "the log grows faster than it can be looked at".to_owned(),
    ))
}

/// The log at some size.
struct View<'a> {
    ledger: &'a Ledger,
    size: u64,
}

impl View<'_> {
    fn id(&self, level: TileLevel, index: u64) -> Result<TileId, Miss> {
        TileId::in_tree(level, index, TreeSize(self.size))
            .ok_or_else(|| Miss::Fault(Fault::Dead(format!("the log has no tile {index} there"))))
    }

    /// A file's bytes and the width they are of: a partial one may have become full.
    fn bytes(&self, id: TileId) -> Result<Option<(Vec<u8>, u16)>, Miss> {
        if let Some(bytes) = self.ledger.tile(id)? {
            return Ok(Some((bytes, id.width())));
        }
        if id.is_partial() {
            if let Some(bytes) = self.ledger.tile(id.full())? {
                return Ok(Some((bytes, id.full().width())));
            }
            if self.ledger.latest_size()? > self.size {
                return Err(Miss::Moved);
            }
        }
        Ok(None)
    }

    /// A tile's hashes, or what is wrong with it.
    fn tile(&self, level: u8, index: u64) -> Result<Result<Vec<Hash>, String>, Miss> {
        let id = self.id(TileLevel::Hashes(level), index)?;
        let Some((bytes, width)) = self.bytes(id)? else {
            return Ok(Err(format!("{}: it is not there", id.path())));
        };
        Ok(match HashTile::parse(&bytes, width) {
            Ok(tile) => Ok(tile.hashes()[..usize::from(id.width())].to_vec()),
            Err(error) => Err(format!("{}: {error}", id.path())),
        })
    }

    /// A bundle's entries and what they hash to, or what is wrong with it.
    fn bundle(&self, index: u64) -> Result<Result<Bundle, String>, Miss> {
        let id = self.id(TileLevel::Entries, index)?;
        let Some((bytes, width)) = self.bytes(id)? else {
            return Ok(Err(format!("{}: it is not there", id.path())));
        };
        let hashes = match EntryBundle::parse(&bytes, width) {
            Ok(entries) => {
                let entries = entries.iter().take(usize::from(id.width()));
                entries.map(|entry| leaf_hash(entry)).collect()
            }
            Err(error) => return Ok(Err(format!("{}: {error}", id.path()))),
        };
        Ok(Ok(Bundle {
            id,
            bytes,
            width,
            hashes,
        }))
    }

    /// What is wrong with the values that are sealed beside a bundle, if anything is. None of them is told.
    fn sealed(&self, bundle: &Bundle) -> Result<Option<String>, Miss> {
        let Ok(mut entries) = EntryBundle::parse(&bundle.bytes, bundle.width) else {
            return Ok(None);
        };
        entries.truncate(usize::from(bundle.id.width()));
        let Some(unopened) = self.ledger.unopened(bundle.id, &entries)? else {
            if bundle.id.is_partial() && self.ledger.latest_size()? > self.size {
                return Err(Miss::Moved);
            }
            return Ok(Some(
                "the file is not there, and values were sealed in it".to_owned(),
            ));
        };
        Ok(unopened.first().map(|first| {
            format!(
                "{} sealed values cannot be opened; the first is `{}` of record {}: {}",
                unopened.len(),
                first.field,
                first.index,
                first.why
            )
        }))
    }
}

/// A bundle as it was read.
struct Bundle {
    id: TileId,
    bytes: Vec<u8>,
    width: u16,
    hashes: Vec<Hash>,
}

/// What was found of a range: what does not hold, and up to which index it was looked at.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RangeFound {
    pub(crate) range: u64,
    pub(crate) to: u64,
    pub(crate) broken: Vec<Broken>,
    /// How many more there are.
    pub(crate) more: u64,
}

/// Checks the range `range`.
pub(crate) fn range(attempt: &Attempt<'_>, range: u64) -> Result<RangeFound, Fault> {
    let look = |view: &View<'_>| check(view, range, attempt);
    let (mut broken, size) = looked(&attempt.tools.ledger, look)?;
    let more = broken.len().saturating_sub(MOST_FAULTS) as u64;
    broken.truncate(MOST_FAULTS);
    Ok(RangeFound {
        range,
        to: size.min((range + 1) * RANGE),
        broken,
        more,
    })
}

fn check(view: &View<'_>, range: u64, attempt: &Attempt<'_>) -> Result<Vec<Broken>, Miss> {
    let (first, end) = (range * RANGE, view.size.min((range + 1) * RANGE));
    let mut wrong = Wrong {
        range: Some(range),
        found: Vec::new(),
    };
    let full = end.saturating_sub(first) / BUNDLE;
    let upper = match full {
        0 => Some(Vec::new()),
        _ => wrong.or(format!("tile-1-{range}"), view.tile(1, range)?),
    };
    let mut upper_differs = upper.as_ref().is_some_and(|u| u.len() as u64 != full);
    for bundle in first / BUNDLE..end.div_ceil(BUNDLE) {
        attempt.progress(bundle * BUNDLE - first, end.saturating_sub(first))?;
        let above = upper.as_ref().and_then(|upper| {
            let at = usize::try_from(bundle - first / BUNDLE).ok()?;
            upper.get(at).copied()
        });
        upper_differs |= !check_bundle(view, bundle, above, &mut wrong)?;
    }
    if upper_differs {
        let path = view.id(TileLevel::Hashes(1), range)?.path();
        wrong.is(
            format!("tile-1-{range}"),
            format!("{path}: it holds other hashes than the tiles below it have"),
        );
    }
    // What a tile that is wrong itself hashes to says nothing of the one above.
    if let Some(upper) = upper.filter(|_| full == BUNDLE && !upper_differs) {
        let above = range / BUNDLE;
        if let Some(hashes) = wrong.or(format!("tile-2-{above}"), view.tile(2, above)?)
            && hashes.get((range % BUNDLE) as usize) != Some(&tile_root(&upper))
        {
            let path = view.id(TileLevel::Hashes(2), above)?.path();
            wrong.is(
                format!("tile-2-{above}"),
                format!("{path}: it holds another hash than tile {range} of level 1 has"),
            );
        }
    }
    Ok(wrong.found)
}

/// One bundle and its tile, against each other and the hash above, if there is one: that says which of two that differ is
/// wrong. Says whether the hash above fits what is right below.
fn check_bundle(
    view: &View<'_>,
    bundle: u64,
    above: Option<Hash>,
    wrong: &mut Wrong,
) -> Result<bool, Miss> {
    let (entries, tile) = (format!("entries-{bundle}"), format!("tile-0-{bundle}"));
    let read = wrong.or(entries.clone(), view.bundle(bundle)?);
    let stored = wrong.or(tile.clone(), view.tile(0, bundle)?);
    let fits = |hashes: &Vec<Hash>| above.is_none_or(|above| tile_root(hashes) == above);
    let (read, stored) = match (read, stored) {
        (Some(read), Some(stored)) => (read, stored),
        (read, stored) => {
            let hashes = read.map(|read| read.hashes).or(stored);
            return Ok(hashes.is_none_or(|hashes| fits(&hashes)));
        }
    };
    if read.hashes == stored {
        // Values are bound to their record: of one that was changed, none would open.
        if let Some(why) = view.sealed(&read)? {
            wrong.is(
                format!("sealed-{bundle}"),
                format!("sealed values beside {}: {why}", read.id.path()),
            );
        }
        return Ok(fits(&stored));
    }
    let computed = read.hashes;
    if above.is_some() && fits(&stored) {
        let path = view.id(TileLevel::Entries, bundle)?.path();
        wrong.is(
            entries,
            format!("{path}: its entries are not those that were published"),
        );
        return Ok(true);
    }
    let path = view.id(TileLevel::Hashes(0), bundle)?.path();
    wrong.is(
        tile,
        format!("{path}: it holds other hashes than its entries have"),
    );
    Ok(fits(&computed))
}

/// What does not hold, so far.
struct Wrong {
    range: Option<u64>,
    found: Vec<Broken>,
}

impl Wrong {
    fn is(&mut self, what: String, detail: String) {
        self.found.push(Broken {
            what,
            detail,
            range: self.range,
        });
    }

    /// What was read, or nothing, and why not is noted.
    fn or<T>(&mut self, what: String, read: Result<T, String>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(detail) => {
                self.is(what, detail);
                None
            }
        }
    }
}

/// Checks the levels from 2 up, and the root. Gives what does not hold, and the size at which.
pub(crate) fn above(ledger: &Ledger) -> Result<(Vec<Broken>, u64), Fault> {
    looked(ledger, |view| {
        let mut wrong = Wrong {
            range: None,
            found: Vec::new(),
        };
        // Full tiles of level 2 and more have their hash in the level above.
        let mut level = 2_u8;
        while full_tiles(view.size, level) > 0 {
            for index in 0..full_tiles(view.size, level) {
                let (tile, above) = (format!("tile-{level}-{index}"), index / BUNDLE);
                let lower = wrong.or(tile.clone(), view.tile(level, index)?);
                let upper = view.tile(level + 1, above)?;
                let upper = wrong.or(format!("tile-{}-{above}", level + 1), upper);
                if let (Some(lower), Some(upper)) = (lower, upper)
                    && upper.get((index % BUNDLE) as usize) != Some(&tile_root(&lower))
                {
                    wrong.is(tile, "it is not what the level above says".to_owned());
                }
            }
            level += 1;
        }
        root(view, &mut wrong)?;
        Ok(wrong.found)
    })
}

fn full_tiles(size: u64, level: u8) -> u64 {
    size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0)
}

fn root(view: &View<'_>, wrong: &mut Wrong) -> Result<(), Miss> {
    let Some(published) = view.ledger.latest() else {
        return Ok(());
    };
    if published.checkpoint.size.0 != view.size {
        return Err(Miss::Moved);
    }
    match tlog::root(&Tiles(view), TreeSize(view.size)) {
        Ok(root) if root == published.checkpoint.root => {}
        Ok(root) => wrong.is(
            "root".to_owned(),
            format!(
                "the tiles hash to {root}, the checkpoint of {} entries says {}",
                view.size, published.checkpoint.root
            ),
        ),
        Err(tlog::ReadError::Reader {
            cause: Unread::Miss(miss),
            ..
        }) => return Err(miss),
        Err(error) => wrong.is("root".to_owned(), format!("it cannot be computed: {error}")),
    }
    Ok(())
}

/// The tiles of a view for `tlog`.
struct Tiles<'a>(&'a View<'a>);

/// Why a tile was not given.
enum Unread {
    Miss(Miss),
    Wrong(String),
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Miss(_) => f.write_str("the log has grown meanwhile"),
            Self::Wrong(detail) => f.write_str(detail),
        }
    }
}

impl HashReader for Tiles<'_> {
    type Error = Unread;

    fn read_tile(&self, id: TileId) -> Result<HashTile, Unread> {
        let TileLevel::Hashes(level) = id.level() else {
            return Err(Unread::Wrong("no hash tile".to_owned()));
        };
        let hashes = self.0.tile(level, id.index()).map_err(Unread::Miss)?;
        let hashes = hashes.map_err(Unread::Wrong)?;
        HashTile::new(&hashes).map_err(|error| Unread::Wrong(error.to_string()))
    }
}
