//! Where the records of one row of `ranges` are, packed.
//!
//! Streams that are written at once interleave in the log, so a round's records of one stream are many short spans. A
//! row each would be a row a record; so they are one blob: for each span, the gap since the end of the one before it
//! and its length, both as LEB128. The first span's gap is left out, as the row says where it starts.

use crate::meta::{RangeRow, Span};
use crate::rows::Damaged;

/// How many spans a row may have, so that finding one record stays cheap.
const MAX_SPANS: usize = 1024;

/// Packs spans, ascending and not empty.
fn pack(spans: &[Span]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(spans.len() * 2);
    let mut end = spans.first().map_or(0, |span| span.first_index);
    for (position, span) in spans.iter().enumerate() {
        if position > 0 {
            number(&mut bytes, span.first_index - end);
        }
        number(&mut bytes, span.count);
        end = span.first_index + span.count;
    }
    bytes
}

/// Unpacks the spans of a row: a blob, or nothing for a single span.
pub(crate) fn unpack(
    first_index: u64,
    count: u64,
    packed: Option<&[u8]>,
) -> Result<Vec<Span>, Damaged> {
    let Some(mut bytes) = packed else {
        return Ok(vec![Span { first_index, count }]);
    };
    let damaged = || {
        Damaged(format!(
            "the spans of the range at index {first_index} cannot be read"
        ))
    };
    let mut spans = Vec::new();
    let mut start = first_index;
    let mut total = 0_u64;
    loop {
        let length = take(&mut bytes).ok_or_else(damaged)?;
        spans.push(Span {
            first_index: start,
            count: length,
        });
        total = total.checked_add(length).ok_or_else(damaged)?;
        if bytes.is_empty() {
            break;
        }
        let gap = take(&mut bytes).ok_or_else(damaged)?;
        start = start
            .checked_add(length)
            .and_then(|end| end.checked_add(gap))
            .ok_or_else(damaged)?;
    }
    if total == count {
        Ok(spans)
    } else {
        Err(damaged())
    }
}

/// A row of `ranges`: records of one stream whose seqs follow one another, within one round.
#[derive(Debug)]
pub(crate) struct StreamSpans<'a> {
    pub(crate) scope: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) first_seq: u64,
    pub(crate) count: u64,
    /// Ascending, at most [`MAX_SPANS`], at least one.
    pub(crate) spans: Vec<Span>,
}

impl StreamSpans<'_> {
    pub(crate) fn first_index(&self) -> u64 {
        self.spans.first().map_or(0, |span| span.first_index)
    }

    pub(crate) fn last_index(&self) -> u64 {
        self.spans
            .last()
            .map_or(0, |span| span.first_index + span.count - 1)
    }

    /// The spans as a row keeps them: nothing for a single one.
    pub(crate) fn packed(&self) -> Option<Vec<u8>> {
        (self.spans.len() > 1).then(|| pack(&self.spans))
    }
}

/// Makes the rows of one round. A row ends at a gap in the seqs, or when it is full; so only the first row of a stream
/// may continue one that is stored.
pub(crate) fn rows(ranges: &[RangeRow]) -> Vec<StreamSpans<'_>> {
    let mut sorted: Vec<&RangeRow> = ranges.iter().collect();
    sorted.sort_by_key(|range| (&range.scope, &range.stream));
    let mut rows: Vec<StreamSpans<'_>> = Vec::new();
    for range in sorted {
        let span = Span {
            first_index: range.first_index,
            count: range.count,
        };
        match rows.last_mut() {
            Some(row)
                if row.scope == range.scope
                    && row.stream == range.stream
                    && row.first_seq + row.count == range.first_seq
                    && row.last_index() < range.first_index
                    && (row.spans.len() < MAX_SPANS
                        || row.last_index() + 1 == range.first_index) =>
            {
                row.count += range.count;
                push(&mut row.spans, span);
            }
            _ => rows.push(StreamSpans {
                scope: &range.scope,
                stream: &range.stream,
                first_seq: range.first_seq,
                count: range.count,
                spans: vec![span],
            }),
        }
    }
    rows
}

/// Collects the spans of a scope from rows in the order of their rounds. Rounds do not overlap in the log, but the rows
/// of one round do: so whole rounds are taken, and sorted.
pub(crate) struct Collector {
    from: u64,
    limit: usize,
    found: Vec<Span>,
    round: Vec<Span>,
    current: Option<i64>,
}

impl Collector {
    pub(crate) fn new(from: u64, limit: usize) -> Self {
        Self {
            from,
            limit,
            found: Vec::new(),
            round: Vec::new(),
            current: None,
        }
    }

    /// Adds a row; says whether more are wanted.
    pub(crate) fn add(&mut self, round: i64, spans: Vec<Span>) -> bool {
        if self.current != Some(round) {
            self.current = Some(round);
            merge(&mut self.found, &mut self.round);
            if self.found.len() > self.limit {
                return false;
            }
        }
        for span in spans {
            let end = span.first_index + span.count;
            if end > self.from {
                let first_index = span.first_index.max(self.from);
                self.round.push(Span {
                    first_index,
                    count: end - first_index,
                });
            }
        }
        true
    }

    pub(crate) fn finish(mut self) -> Vec<Span> {
        merge(&mut self.found, &mut self.round);
        self.found.truncate(self.limit);
        self.found
    }
}

/// Appends a span, as part of the last one where it continues it.
fn push(spans: &mut Vec<Span>, span: Span) {
    match spans.last_mut() {
        Some(last) if last.first_index + last.count == span.first_index => last.count += span.count,
        _ => spans.push(span),
    }
}

/// Moves spans in the order of their indices.
fn merge(found: &mut Vec<Span>, more: &mut Vec<Span>) {
    more.sort_unstable_by_key(|span| span.first_index);
    more.drain(..).for_each(|span| push(found, span));
}

fn number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..63).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_survive_packing() {
        let spans = [
            (7, 1),
            (8 + 127, 300),
            (1 << 40, 1),
            ((1 << 40) + 2, 1 << 20),
        ];
        let spans = spans.map(|(first_index, count)| Span { first_index, count });
        let count = spans.iter().map(|span| span.count).sum();
        assert_eq!(unpack(7, count, Some(&pack(&spans))).unwrap(), spans);
        assert_eq!(
            unpack(7, 3, None).unwrap(),
            [Span {
                first_index: 7,
                count: 3
            }]
        );
    }

    #[test]
    fn damaged_spans_are_refused() {
        for bytes in [&[][..], &[0x80], &[1, 1], &[2], &[0xff; 20]] {
            assert!(unpack(0, 1, Some(bytes)).is_err(), "{bytes:?}");
        }
    }
}
