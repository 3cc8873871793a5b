//! What [`Journal`] promises of several handles.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::{Journal, JournalEntry, StoreError};

/// Runs all of it. `place` makes a new place to keep a journal in, `open` makes another handle on it, of a journal that
/// forgets what it may forget at once.
pub fn shared_journal<P: Sync, J: Journal>(
    place: impl Fn() -> P,
    open: impl Fn(&P, u64) -> J + Sync,
) {
    shows_what_others_appended(&place(), &open);
    follows_without_a_turn(&place(), &open);
    refuses_a_lost_race(&place(), &open);
    waits_for_its_turn(&place(), &open);
    ends_a_dropped_turn(&place(), &open);
    ends_a_frozen_turn(&place(), &open);
    ends_a_turn_that_is_refused(&place(), &open);
    names_what_was_discarded(&place(), &open);
    starts_over_where_it_is_told(&place(), &open);
    takes_turns_under_load(&place(), &open);
}

/// Appends `count` records that name their index.
fn append(journal: &mut impl Journal, count: u64) -> Result<(), StoreError> {
    let first_index = journal.next_index();
    let records: Vec<_> = (first_index..first_index + count)
        .map(|index| index.to_string())
        .collect();
    let entries: Vec<_> = records
        .iter()
        .map(|record| JournalEntry {
            record: record.as_bytes(),
            sealed: b"sealed",
            principal: b"p",
        })
        .collect();
    journal.append_group(first_index, &entries)
}

/// Takes the turn; first index and count of each group that is shown, whose records have to name their indices.
fn begin(journal: &mut impl Journal) -> Result<Vec<(u64, u32)>, StoreError> {
    let mut shown = Vec::new();
    journal.begin(&mut |group| {
        for (index, entry) in (group.first_index..).zip(group.entries()) {
            assert_eq!(entry.record, index.to_string().as_bytes());
        }
        shown.push((group.first_index, group.count));
        Ok(())
    })?;
    Ok(shown)
}

fn shows_what_others_appended<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let (mut a, mut b) = (open(place, 0), open(place, 0));
    assert!(a.is_shared() && b.is_shared());
    assert_eq!(begin(&mut a).unwrap(), []);
    append(&mut a, 2).unwrap();
    assert_eq!(begin(&mut a).unwrap(), [], "its own group");
    append(&mut a, 1).unwrap();
    assert_eq!(b.next_index(), 0);
    assert_eq!(begin(&mut b).unwrap(), [(0, 2), (2, 1)]);
    assert_eq!(b.next_index(), 3);
    b.release();
    b.release();
    assert_eq!(begin(&mut b).unwrap(), []);
    append(&mut b, 4).unwrap();
    // A group without entries ends the turn too.
    assert_eq!(begin(&mut a).unwrap(), [(3, 4)]);
    a.append_group(7, &[]).unwrap();
    // More than is read at once.
    for _ in 0..1200 {
        append(&mut b, 1).unwrap();
    }
    let large = vec![7; 15 << 20];
    for index in [1207_u64, 1208] {
        let record = index.to_string();
        let entry = JournalEntry {
            record: record.as_bytes(),
            sealed: &large,
            principal: b"",
        };
        b.append_group(index, &[entry]).unwrap();
    }
    let expected: Vec<_> = (7..1209).map(|index| (index, 1)).collect();
    assert_eq!(begin(&mut a).unwrap(), expected);
    a.release();
    // A handle that is made now knows the end; what it holds can be read.
    let c = open(place, 0);
    assert_eq!(c.next_index(), 1209);
    let mut indices = 0;
    c.replay(5, &mut |group| {
        indices = group.first_index + u64::from(group.count);
        Ok(())
    })
    .unwrap();
    assert_eq!(indices, 1209);
}

fn follows_without_a_turn<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let (mut a, mut b) = (open(place, 0), open(place, 0));
    let follow = |journal: &mut J| {
        let mut shown = Vec::new();
        let followed = journal.follow(&mut |group| {
            shown.push((group.first_index, group.count));
            Ok(())
        });
        followed.map(|()| shown)
    };
    assert_eq!(follow(&mut b).unwrap(), []);
    append(&mut a, 2).unwrap();
    // While somebody else has the turn, and of what he appends only what is kept.
    begin(&mut a).unwrap();
    assert_eq!(follow(&mut b).unwrap(), [(0, 2)]);
    assert_eq!((b.next_index(), follow(&mut b).unwrap()), (2, vec![]));
    append(&mut a, 3).unwrap();
    append(&mut a, 1).unwrap();
    assert_eq!(follow(&mut b).unwrap(), [(2, 3), (5, 1)]);
    // And the turn after that begins where it came to.
    assert_eq!(begin(&mut b).unwrap(), []);
    append(&mut b, 1).unwrap();
    assert_eq!(follow(&mut a).unwrap(), [(6, 1)]);
    // What the visitor refuses is shown again.
    append(&mut b, 1).unwrap();
    let refused = a.follow(&mut |_| {
        Err(StoreError::NotNext {
            expected: 0,
            found: 0,
        })
    });
    assert!(refused.is_err());
    assert_eq!((a.next_index(), follow(&mut a).unwrap()), (7, vec![(7, 1)]));
}

fn refuses_a_lost_race<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let (mut a, mut b) = (open(place, 0), open(place, 0));
    append(&mut a, 2).unwrap();
    let lost = append(&mut b, 1);
    assert!(
        matches!(
            lost,
            Err(StoreError::NotNext {
                expected: 2,
                found: 0
            })
        ),
        "{lost:?}"
    );
    assert_eq!(b.next_index(), 0);
    assert_eq!(begin(&mut b).unwrap(), [(0, 2)]);
    append(&mut b, 1).unwrap();
    assert_eq!(begin(&mut a).unwrap(), [(2, 1)]);
}

fn waits_for_its_turn<P: Sync, J: Journal>(place: &P, open: &(impl Fn(&P, u64) -> J + Sync)) {
    let (mut a, mut b) = (open(place, 0), open(place, 0));
    begin(&mut a).unwrap();
    thread::scope(|scope| {
        // Whenever it asks, it gets the turn after the group, and is shown it.
        let waiting = scope.spawn(|| begin(&mut b).unwrap());
        append(&mut a, 3).unwrap();
        assert_eq!(waiting.join().unwrap(), [(0, 3)]);
    });
    append(&mut b, 1).unwrap();
}

fn ends_a_dropped_turn<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let (mut a, mut b) = (open(place, 0), open(place, 0));
    begin(&mut a).unwrap();
    drop(a);
    assert_eq!(begin(&mut b).unwrap(), []);
    append(&mut b, 1).unwrap();
}

fn ends_a_frozen_turn<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let (mut frozen, mut b) = (open(place, 0), open(place, 0));
    begin(&mut frozen).unwrap();
    // Nobody ends that turn; this waits until it is taken away.
    assert_eq!(begin(&mut b).unwrap(), []);
    let late = append(&mut frozen, 1);
    assert!(
        matches!(late, Err(StoreError::Unavailable { .. })),
        "{late:?}"
    );
    assert_eq!(frozen.next_index(), 0);
    append(&mut b, 2).unwrap();
    assert_eq!(begin(&mut b).unwrap(), [], "nothing of the late one came");
    b.release();
    assert_eq!(begin(&mut frozen).unwrap(), [(0, 2)]);
    append(&mut frozen, 1).unwrap();
}

fn ends_a_turn_that_is_refused<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let (mut a, mut b) = (open(place, 0), open(place, 0));
    append(&mut b, 2).unwrap();
    let refused = a.begin(&mut |_| {
        Err(StoreError::Injected {
            what: "the visitor".to_owned(),
        })
    });
    assert!(matches!(refused, Err(StoreError::Injected { .. })));
    assert_eq!(a.next_index(), 0);
    assert_eq!(begin(&mut b).unwrap(), []);
    let long = vec![b'x'; 65_536];
    let entry = JournalEntry {
        record: &long,
        sealed: b"",
        principal: b"",
    };
    assert!(matches!(
        b.append_group(2, &[entry]),
        Err(StoreError::TooLarge { .. })
    ));
    assert_eq!(begin(&mut a).unwrap(), [(0, 2)]);
    assert!(matches!(
        a.append_group(7, &[]),
        Err(StoreError::NotNext { .. })
    ));
    begin(&mut b).unwrap();
    append(&mut b, 1).unwrap();
}

fn names_what_was_discarded<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let (mut a, mut b, mut c) = (open(place, 0), open(place, 0), open(place, 0));
    for _ in 0..3 {
        append(&mut a, 2).unwrap();
    }
    a.discard_before(4).unwrap();
    for _ in 0..2 {
        let gone = begin(&mut b);
        assert!(
            matches!(gone, Err(StoreError::NotNext { found: 0, .. })),
            "{gone:?}"
        );
        assert_eq!(b.next_index(), 0);
    }
    assert!(matches!(
        a.replay(0, &mut |_| Ok(())),
        Err(StoreError::NotNext { found: 0, .. })
    ));
    b.restart(4);
    assert_eq!(begin(&mut b).unwrap(), [(4, 2)]);
    append(&mut b, 1).unwrap();
    // All that there is.
    a.discard_before(7).unwrap();
    assert!(matches!(begin(&mut c), Err(StoreError::NotNext { .. })));
    c.restart(7);
    assert_eq!(begin(&mut c).unwrap(), []);
    append(&mut c, 1).unwrap();
}

fn starts_over_where_it_is_told<P, J: Journal>(place: &P, open: &impl Fn(&P, u64) -> J) {
    let (mut a, mut b) = (open(place, 0), open(place, 0));
    append(&mut a, 2).unwrap();
    append(&mut a, 2).unwrap();
    begin(&mut b).unwrap();
    b.restart(2);
    assert_eq!(b.next_index(), 2);
    assert_eq!(begin(&mut b).unwrap(), [(2, 2)]);
    b.release();
    // In the middle of a group, that is shown whole.
    b.restart(3);
    assert_eq!(begin(&mut b).unwrap(), [(2, 2)]);
    assert_eq!(b.next_index(), 4);
    b.release();
    // Nobody could know of more than the journal has ever had, unless it lost some.
    b.restart(9);
    let lost = begin(&mut b);
    assert!(
        matches!(
            lost,
            Err(StoreError::LostWrites {
                expected: 9,
                found: 4,
                ..
            })
        ),
        "{lost:?}"
    );
    assert_eq!(begin(&mut a).unwrap(), []);
}

fn takes_turns_under_load<P: Sync, J: Journal>(place: &P, open: &(impl Fn(&P, u64) -> J + Sync)) {
    let records = AtomicU64::new(0);
    thread::scope(|scope| {
        for writer in 1..=4 {
            let records = &records;
            scope.spawn(move || {
                let mut journal = open(place, 0);
                for _ in 0..50 {
                    begin(&mut journal).unwrap();
                    append(&mut journal, writer).unwrap();
                    records.fetch_add(writer, Ordering::Relaxed);
                }
            });
        }
    });
    let mut journal = open(place, 0);
    journal.restart(0);
    let shown = begin(&mut journal).unwrap();
    let mut next = 0;
    for (first_index, count) in shown {
        assert_eq!(first_index, next, "a gap or an overlap");
        next += u64::from(count);
    }
    assert_eq!(next, records.into_inner());
}
