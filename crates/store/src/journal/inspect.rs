//! Looking at a journal without touching it: what `fsck` reads.

use std::path::Path;

use super::Group;
use super::frame::Bad;
use super::recovery::SegmentReader;
use super::segment::Segment;
use crate::error::{Result, StoreError};

/// What a journal's files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inspection {
    /// The index of the first group that is there; `None` for an empty journal.
    pub first_index: Option<u64>,
    /// The index after the last good group.
    pub next_index: u64,
    /// How many good groups there are.
    pub groups: u64,
    /// How many bytes of a torn last group there are: what the next start cuts off.
    pub torn_bytes: u64,
}

/// Shows every group in the segments of `dir`, also those that are published and could be forgotten. Nothing is
/// changed, cut off or removed. A directory that is not there is an empty journal.
///
/// # Errors
/// As [`FileJournal::open`](super::FileJournal::open), and the visitor's own errors. What was shown before was good.
pub fn inspect(dir: &Path, visit: &mut dyn FnMut(Group<'_>) -> Result<()>) -> Result<Inspection> {
    let mut found = Inspection::default();
    if !dir.exists() {
        return Ok(found);
    }
    let segments = Segment::list(dir).map_err(|source| StoreError::io("list", dir, source))?;
    for (position, segment) in segments.iter().enumerate() {
        let mut reader = SegmentReader::open(segment, None)?;
        if position == 0 {
            found.first_index = Some(segment.first_index);
        } else if segment.first_index != found.next_index {
            reader.next_index = found.next_index;
            return Err(
                reader.corrupt("the segment before this one is missing or cut short".to_owned())
            );
        }
        loop {
            match reader.next()? {
                Ok(Some(group)) => visit(group)?,
                Ok(None) => break,
                Err(Bad::Torn(reason)) if position + 1 == segments.len() => {
                    found.torn_bytes = reader.judge(&reason)?;
                    break;
                }
                Err(Bad::Torn(reason) | Bad::Foreign(reason)) => {
                    return Err(reader.corrupt(reason));
                }
            }
        }
        found.groups += reader.groups;
        found.next_index = reader.next_index;
    }
    Ok(found)
}
