//! Lines of a followed file, some at a time, each with what it makes.

use import::follow::{FollowError, Follower, Line, MAX_LINE_BYTES, Position};
use import::trainers::{Entry, Unreadable};

/// So many lines at most are one call of the spool.
const MOST_LINES: usize = 256;
/// A call gets no further line once they have so many bytes.
const ENOUGH_BYTES: u64 = 4 << 20;

/// A line.
pub(crate) struct Item {
    pub(crate) line: u64,
    /// The file's position behind it.
    pub(crate) behind: Position,
    /// Its records, or what is wrong with it.
    pub(crate) made: Result<Entry, String>,
}

/// The next lines, as far as `to` (a byte of the file); with `all`, a last one without its end too.
pub(crate) fn read(
    follower: &mut Follower,
    to: u64,
    all: bool,
    mut reader: impl FnMut(u64, &[u8]) -> Result<Entry, Unreadable>,
) -> Result<Vec<Item>, FollowError> {
    let mut items = Vec::new();
    let from = follower.position().offset;
    while items.len() < MOST_LINES {
        let at = follower.position().offset;
        if at >= to || at.saturating_sub(from) >= ENOUGH_BYTES {
            break;
        }
        let Some(line) = follower.next(all)? else {
            break;
        };
        let made = made(&line, &mut reader);
        items.push(Item {
            line: line.number,
            behind: follower.position().clone(),
            made,
        });
    }
    Ok(items)
}

fn made(
    line: &Line,
    make: &mut impl FnMut(u64, &[u8]) -> Result<Entry, Unreadable>,
) -> Result<Entry, String> {
    match &line.bytes {
        None => Err(format!(
            "expected at most {MAX_LINE_BYTES} bytes, found a longer line"
        )),
        Some(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => Ok(Entry::default()),
        Some(bytes) => make(line.number, bytes).map_err(|error| error.to_string()),
    }
}
