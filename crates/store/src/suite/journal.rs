//! The contract of [`Journal`].

use crate::{Journal, JournalEntry, StoreError};

/// An entry as the suite keeps it: record, sealed values, principal.
type Owned = (Vec<u8>, Vec<u8>, Vec<u8>);

/// Runs all of it. `place` makes a new place to keep a journal in, `open` opens what is there, of which everything
/// before the given index is published; it is called again on the same place after the journal was dropped.
pub fn journal<P, J: Journal>(place: impl Fn() -> P, open: impl Fn(&P, u64) -> J) {
    keeps_what_it_acknowledged(&place(), &open);
    refuses_what_does_not_continue(&place(), &open);
    refuses_what_is_too_large(&place(), &open);
    forgets_no_more_than_it_may(&place(), &open);
    starts_anywhere(&place(), &open);
}

fn entry(index: u64) -> Owned {
    let record = format!("{{\"record\":{index}}}").into_bytes();
    // Lengths from nothing to more than a page, and every byte value.
    let sealed = (0..index * 7 % 5000).map(|byte| byte as u8).collect();
    (record, sealed, vec![b'p'; (index % 256) as usize])
}

fn append(journal: &mut impl Journal, first_index: u64, count: u64) {
    let entries: Vec<_> = (first_index..first_index + count).map(entry).collect();
    let entries: Vec<_> = entries
        .iter()
        .map(|(record, sealed, principal)| JournalEntry {
            record,
            sealed,
            principal,
        })
        .collect();
    journal.append_group(first_index, &entries).unwrap();
}

/// Everything from `from` on, by index, groups as they are.
fn replayed(journal: &impl Journal, from: u64) -> Vec<(u64, Owned)> {
    let mut found = Vec::new();
    journal
        .replay(from, &mut |group| {
            let entries: Vec<_> = group.entries().collect();
            assert_eq!(entries.len(), group.count as usize);
            for (position, entry) in entries.iter().enumerate() {
                let owned = (
                    entry.record.to_vec(),
                    entry.sealed.to_vec(),
                    entry.principal.to_vec(),
                );
                found.push((group.first_index + position as u64, owned));
            }
            Ok(())
        })
        .unwrap();
    found
}

fn expected(from: u64, to: u64) -> Vec<(u64, Owned)> {
    (from..to).map(|index| (index, entry(index))).collect()
}

fn keeps_what_it_acknowledged<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let mut journal = open(place, 0);
    assert_eq!(journal.next_index(), 0);
    assert_eq!(replayed(&journal, 0), []);
    append(&mut journal, 0, 1);
    append(&mut journal, 1, 300);
    assert_eq!(replayed(&journal, 0), expected(0, 301));
    drop(journal);
    let mut journal = open(place, 0);
    assert_eq!(journal.next_index(), 301);
    append(&mut journal, 301, 3);
    journal.append_group(304, &[]).unwrap();
    assert_eq!(journal.next_index(), 304);
    assert_eq!(replayed(&journal, 0), expected(0, 304));
    // A group that holds `from` is shown whole, one that ends before it is not.
    assert_eq!(replayed(&journal, 1), expected(1, 304));
    assert_eq!(replayed(&journal, 300), expected(1, 304));
    assert_eq!(replayed(&journal, 302), expected(301, 304));
    assert_eq!(replayed(&journal, 304), []);
}

fn refuses_what_does_not_continue<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let mut journal = open(place, 0);
    append(&mut journal, 0, 2);
    let again = JournalEntry {
        record: b"{}",
        sealed: b"",
        principal: b"",
    };
    for first_index in [0, 1, 3] {
        match journal.append_group(first_index, &[again]) {
            Err(StoreError::NotNext { expected: 2, found }) => assert_eq!(found, first_index),
            other => panic!("a group at {first_index} after two records: {other:?}"),
        }
    }
    assert!(matches!(
        journal.replay(3, &mut |_| Ok(())),
        Err(StoreError::NotNext {
            expected: 2,
            found: 3
        })
    ));
    append(&mut journal, 2, 1);
    assert_eq!(replayed(&journal, 0), expected(0, 3));
}

fn refuses_what_is_too_large<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let mut journal = open(place, 0);
    let (long, longer, sealed) = (vec![b'x'; 65_535], vec![b'x'; 65_536], vec![0; 17 << 20]);
    let whole = JournalEntry {
        record: &long,
        sealed: b"",
        principal: &long[..255],
    };
    for bad in [
        JournalEntry {
            record: &longer,
            ..whole
        },
        JournalEntry {
            principal: &long[..256],
            ..whole
        },
        JournalEntry {
            sealed: &sealed,
            ..whole
        },
    ] {
        let refused = journal.append_group(0, &[whole, bad]);
        assert!(
            matches!(refused, Err(StoreError::TooLarge { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(journal.next_index(), 0);
    journal.append_group(0, &[whole]).unwrap();
    assert_eq!(
        replayed(&journal, 0),
        [(0, (long.clone(), Vec::new(), long[..255].to_vec()))]
    );
}

fn forgets_no_more_than_it_may<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let mut journal = open(place, 0);
    for index in 0..50 {
        append(&mut journal, index, 1);
    }
    journal.discard_before(20).unwrap();
    assert_eq!(replayed(&journal, 20), expected(20, 50));
    journal.discard_before(50).unwrap();
    append(&mut journal, 50, 2);
    assert_eq!(replayed(&journal, 50), expected(50, 52));
    drop(journal);
    let journal = open(place, 50);
    assert_eq!(replayed(&journal, 50), expected(50, 52));
}

fn starts_anywhere<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let mut journal = open(place, 1000);
    assert_eq!(journal.next_index(), 1000);
    append(&mut journal, 1000, 2);
    drop(journal);
    // More is published than the journal has: it goes on from there.
    let mut journal = open(place, 2000);
    assert_eq!(journal.next_index(), 2000);
    append(&mut journal, 2000, 1);
    drop(journal);
    let journal = open(place, 2000);
    assert_eq!(replayed(&journal, 2000), expected(2000, 2001));
}
