//! Where in the log a number is from.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};
use tlog::LeafIndex;

/// As many ranges are written out in text; of more, only where they begin and end.
const WRITTEN_RANGES: usize = 3;

/// The indices of the records behind a statement, as ascending ranges without gaps between.
///
/// Its text is what `rlhf-audit prove` takes: `[#7]`, `[#1204–#1310]`. As JSON it is
/// `{"records": 107, "ranges": [[1204, 1310]]}`, both ends included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    ranges: Vec<(u64, u64)>,
}

impl Evidence {
    /// One record.
    pub fn at(index: LeafIndex) -> Self {
        Self {
            ranges: vec![(index.get(), index.get())],
        }
    }

    /// Adds a record; records come in ascending order nearly always, and any order is right.
    pub fn add(&mut self, index: LeafIndex) {
        let index = index.get();
        match self.ranges.last_mut() {
            Some((_, last)) if index == *last + 1 => *last = index,
            Some((_, last)) if index <= *last => self.insert(index),
            _ => self.ranges.push((index, index)),
        }
    }

    fn insert(&mut self, index: u64) {
        let at = self.ranges.partition_point(|(_, last)| *last < index);
        if self
            .ranges
            .get(at)
            .is_some_and(|(first, _)| *first <= index)
        {
            return;
        }
        self.ranges.insert(at, (index, index));
        if self
            .ranges
            .get(at + 1)
            .is_some_and(|(first, _)| *first == index + 1)
        {
            self.ranges[at].1 = self.ranges.remove(at + 1).1;
        }
        if at > 0 && self.ranges[at - 1].1 + 1 == index {
            self.ranges[at - 1].1 = self.ranges.remove(at).1;
        }
    }

    /// Adds all of another's records.
    pub fn extend(&mut self, other: &Self) {
        for (first, last) in &other.ranges {
            for index in *first..=*last {
                self.add(LeafIndex(index));
            }
        }
    }

    /// The ranges, ascending, both ends included.
    pub fn ranges(&self) -> impl Iterator<Item = (LeafIndex, LeafIndex)> + '_ {
        self.ranges
            .iter()
            .map(|(first, last)| (LeafIndex(*first), LeafIndex(*last)))
    }

    /// How many records there are.
    pub fn records(&self) -> u64 {
        self.ranges
            .iter()
            .map(|(first, last)| last - first + 1)
            .sum()
    }

    /// There is no record: the statement is that something is *not* in the log.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The first record.
    pub fn first(&self) -> Option<LeafIndex> {
        self.ranges.first().map(|(first, _)| LeafIndex(*first))
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some((first, _)), Some((_, last))) = (self.ranges.first(), self.ranges.last()) else {
            return f.write_str("[no record]");
        };
        f.write_str("[")?;
        if self.ranges.len() > WRITTEN_RANGES {
            write!(f, "#{first}–#{last}, {} records in it", self.records())?;
        } else {
            for (i, (first, last)) in self.ranges.iter().enumerate() {
                f.write_str(if i == 0 { "" } else { ", " })?;
                if first == last {
                    write!(f, "#{first}")?;
                } else {
                    write!(f, "#{first}–#{last}")?;
                }
            }
        }
        f.write_str("]")
    }
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Evidence", 2)?;
        object.serialize_field("records", &self.records())?;
        object.serialize_field("ranges", &self.ranges)?;
        object.end()
    }
}

/// A value and the records it was taken or counted from.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Cited<T> {
    /// The value.
    pub value: T,
    /// Where it is from.
    pub evidence: Evidence,
}

impl<T> Cited<T> {
    /// A value that one record says.
    pub fn at(value: T, index: LeafIndex) -> Self {
        Self {
            value,
            evidence: Evidence::at(index),
        }
    }
}

impl Cited<u64> {
    /// Counts one record more.
    pub(crate) fn count(&mut self, index: LeafIndex) {
        self.evidence.add(index);
        self.value = self.evidence.records();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(indices: &[u64]) -> Evidence {
        let mut evidence = Evidence::default();
        for index in indices {
            evidence.add(LeafIndex(*index));
        }
        evidence
    }

    #[test]
    fn ranges_grow_and_join_in_any_order() {
        assert_eq!(of(&[3, 4, 5, 9]).to_string(), "[#3–#5, #9]");
        assert_eq!(of(&[9, 5, 3, 4, 4]), of(&[3, 4, 5, 9]));
        assert_eq!(of(&[1, 3, 2]).to_string(), "[#1–#3]");
        assert_eq!(of(&[]).to_string(), "[no record]");
        assert_eq!(of(&[1, 3, 5, 7, 8]).to_string(), "[#1–#8, 5 records in it]");
    }

    #[test]
    fn every_order_of_adding_says_the_same() {
        let whole = of(&[2, 3, 5, 6, 7]);
        let mut indices = [2, 3, 5, 6, 7];
        // All rotations of all adjacent swaps: enough to meet each branch of `insert`.
        for swap in 0..4 {
            indices.swap(swap, swap + 1);
            for turn in 0..5 {
                indices.rotate_left(turn);
                assert_eq!(of(&indices), whole, "{indices:?}");
            }
        }
    }
}
