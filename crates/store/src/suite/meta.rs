//! The contracts of [`CheckpointStore`], [`SubjectKeyStore`], [`TokenStore`] and [`SettingStore`].

use std::thread;
use std::time::{Duration, Instant};

use tlog::Hash;

use crate::{
    CheckpointStore, LeaseStore, SettingStore, StoreError, StoredCheckpoint, SubjectKey,
    SubjectKeyRow, SubjectKeyStore, TokenRow, TokenStore,
};

fn checkpoint(size: u64, root: u8) -> StoredCheckpoint {
    StoredCheckpoint {
        size,
        root: Hash::from([root; 32]),
        note: vec![root; 300],
    }
}

/// The latest checkpoint moves forward, by compare-and-swap alone.
pub fn checkpoints<P, S: CheckpointStore>(new: impl Fn() -> (P, S)) {
    let (_place, store) = new();
    let (empty, first, second) = (checkpoint(0, 9), checkpoint(5, 1), checkpoint(7, 2));
    assert_eq!(store.latest_checkpoint().unwrap(), None);
    let before = store.swap_checkpoint(Some((0, empty.root)), &first);
    assert!(
        matches!(before, Err(StoreError::CheckpointMoved { found: None })),
        "{before:?}"
    );
    store.swap_checkpoint(None, &empty).unwrap();
    store
        .swap_checkpoint(Some((0, empty.root)), &first)
        .unwrap();
    for stale in [
        None,
        Some((0, empty.root)),
        Some((5, second.root)),
        Some((7, first.root)),
    ] {
        match store.swap_checkpoint(stale, &second) {
            Err(StoreError::CheckpointMoved { found: Some(found) }) => assert_eq!(*found, first),
            other => panic!("{stale:?} is not what is stored: {other:?}"),
        }
    }
    store
        .swap_checkpoint(Some((5, first.root)), &second)
        .unwrap();
    for backwards in [first, checkpoint(7, 3)] {
        let refused = store.swap_checkpoint(Some((7, second.root)), &backwards);
        assert!(
            matches!(
                refused,
                Err(StoreError::CheckpointBackwards { latest: 7, .. })
            ),
            "{refused:?}"
        );
    }
    assert_eq!(store.latest_checkpoint().unwrap(), Some(second.clone()));
    // The same tree, signed again.
    let signed = StoredCheckpoint {
        note: b"more signatures".to_vec(),
        ..second.clone()
    };
    store
        .swap_checkpoint(Some((7, second.root)), &signed)
        .unwrap();
    assert_eq!(store.latest_checkpoint().unwrap(), Some(signed));
    one_of_many_wins(&store);
}

fn one_of_many_wins(store: &impl CheckpointStore) {
    let latest = store.latest_checkpoint().unwrap().unwrap();
    let winners: usize = thread::scope(|scope| {
        let swap =
            |root| store.swap_checkpoint(Some((latest.size, latest.root)), &checkpoint(100, root));
        let racers: Vec<_> = (10..18)
            .map(|root| scope.spawn(move || swap(root).is_ok()))
            .collect();
        racers
            .into_iter()
            .map(|racer| usize::from(racer.join().unwrap()))
            .sum()
    });
    assert_eq!(winners, 1);
    assert_eq!(store.latest_checkpoint().unwrap().unwrap().size, 100);
}

fn subject_key(scope: &str, subject: &str, id: u8) -> SubjectKeyRow {
    let key = SubjectKey {
        id: [id; 16],
        wrapped: Some(vec![id; 60]),
    };
    SubjectKeyRow {
        scope: scope.to_owned(),
        subject: subject.to_owned(),
        key,
    }
}

/// A subject has one key, for ever; destroyed, it stays destroyed.
pub fn subject_keys<P, S: SubjectKeyStore>(new: impl Fn() -> (P, S)) {
    let (_place, store) = new();
    let rows = [
        subject_key("R1", "p-a", 1),
        subject_key("R1", "run", 2),
        subject_key("R2", "p-a", 3),
    ];
    assert_eq!(store.subject_key("R1", "p-a").unwrap(), None);
    store.insert_subject_keys(&rows).unwrap();
    store.insert_subject_keys(&rows[1..]).unwrap();
    for row in &rows {
        assert_eq!(
            store
                .subject_key(&row.scope, &row.subject)
                .unwrap()
                .as_ref(),
            Some(&row.key)
        );
        assert_eq!(
            store.subject_key_by_id(&row.key.id).unwrap().as_ref(),
            Some(row)
        );
    }
    for bad in [subject_key("R1", "p-a", 9), subject_key("R9", "p-z", 1)] {
        let refused = store.insert_subject_keys(&[subject_key("R3", "p-b", 4), bad]);
        assert!(
            matches!(refused, Err(StoreError::Conflict { .. })),
            "{refused:?}"
        );
        assert_eq!(store.subject_key("R3", "p-b").unwrap(), None, "all or none");
    }
    let rewrapped = SubjectKey {
        wrapped: Some(vec![0xee; 60]),
        ..rows[1].key.clone()
    };
    let strange = subject_key("R8", "p-q", 8).key;
    store
        .rewrap_subject_keys(&[rewrapped.clone(), strange])
        .unwrap();
    let found = store.subject_key_by_id(&rewrapped.id).unwrap().unwrap();
    assert_eq!((found.scope.as_str(), &found.key), ("R1", &rewrapped));
    assert_eq!(store.subject_key_by_id(&[8; 16]).unwrap(), None);
    assert_eq!(
        store.subject_key("R1", "p-a").unwrap().as_ref(),
        Some(&rows[0].key)
    );
    store.rewrap_subject_keys(&[rows[1].key.clone()]).unwrap();
    let page = store.list_subject_keys(None, 2).unwrap();
    assert_eq!(page, rows[..2]);
    let page = store.list_subject_keys(Some(&page[1].key.id), 2).unwrap();
    assert_eq!(page, rows[2..]);
    assert!(store.destroy_subject_key(&[1; 16]).unwrap());
    store.rewrap_subject_keys(&[rows[0].key.clone()]).unwrap();
    let destroyed = store.list_subject_keys(None, 1).unwrap();
    assert_eq!(
        (destroyed[0].key.id, &destroyed[0].key.wrapped),
        ([1; 16], &None)
    );
    assert!(!store.destroy_subject_key(&[1; 16]).unwrap());
    assert!(!store.destroy_subject_key(&[77; 16]).unwrap());
    let tombstone = SubjectKey {
        id: [1; 16],
        wrapped: None,
    };
    assert_eq!(
        store.subject_key("R1", "p-a").unwrap(),
        Some(tombstone.clone())
    );
    assert_eq!(
        store.subject_key_by_id(&[1; 16]).unwrap().unwrap().key,
        tombstone
    );
    assert!(
        store.insert_subject_keys(&rows).is_err(),
        "a destroyed key came back"
    );
    assert_eq!(
        store.subject_key("R2", "p-a").unwrap().as_ref(),
        Some(&rows[2].key)
    );
}

/// Tokens are found by their hash, revoked once, and never lost.
pub fn tokens<P, S: TokenStore>(new: impl Fn() -> (P, S)) {
    let (_place, store) = new();
    let token = |id: &str, hash, created| TokenRow {
        id: id.to_owned(),
        name: format!("token {id}"),
        role: "producer".to_owned(),
        hash: [hash; 32],
        created,
        expires: (hash == 2).then_some(99),
        revoked: None,
    };
    let (first, second) = (token("t1", 1, 20), token("t2", 2, 10));
    store.insert_token(&first).unwrap();
    store.insert_token(&second).unwrap();
    store.insert_token(&second).unwrap();
    for bad in [token("t1", 3, 20), token("t3", 1, 20)] {
        let refused = store.insert_token(&bad);
        assert!(
            matches!(refused, Err(StoreError::Conflict { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(store.token_by_hash(&[1; 32]).unwrap(), Some(first.clone()));
    assert_eq!(store.token_by_hash(&[3; 32]).unwrap(), None);
    assert_eq!(
        store.list_tokens().unwrap(),
        [second.clone(), first.clone()]
    );
    assert!(store.revoke_token("t1", 50).unwrap());
    assert!(store.revoke_token("t1", 60).unwrap());
    assert!(!store.revoke_token("t9", 60).unwrap());
    let revoked = TokenRow {
        revoked: Some(50),
        ..first
    };
    assert_eq!(
        store.token_by_hash(&[1; 32]).unwrap(),
        Some(revoked.clone())
    );
    assert_eq!(store.list_tokens().unwrap(), [second, revoked]);
}

/// Settings are what was last put.
pub fn settings<P, S: SettingStore>(new: impl Fn() -> (P, S)) {
    let (_place, store) = new();
    assert_eq!(store.kv_get("origin").unwrap(), None);
    for value in [&b"first"[..], b"", b"\0\xff"] {
        store.kv_put("origin", value).unwrap();
        assert_eq!(store.kv_get("origin").unwrap().as_deref(), Some(value));
    }
    assert_eq!(store.kv_get("origin ").unwrap(), None);
    for name in ["z", "Z", "a"] {
        store.kv_put(name, b"1").unwrap();
    }
    assert_eq!(store.kv_names().unwrap(), ["Z", "a", "origin", "z"]);
}

/// One holder at a time, until it lets go or time has run out.
pub fn leases<P, S: LeaseStore>(new: impl Fn() -> (P, S)) {
    let (_place, store) = new();
    let hour = 3_600_000;
    assert!(store.take_lease("publisher", "a", hour).unwrap());
    assert!(
        store.take_lease("publisher", "a", hour).unwrap(),
        "prolonged"
    );
    assert!(!store.take_lease("publisher", "b", hour).unwrap());
    assert!(store.take_lease("other", "b", hour).unwrap());
    store.release_lease("publisher", "b").unwrap();
    assert!(!store.take_lease("publisher", "b", hour).unwrap());
    store.release_lease("publisher", "a").unwrap();
    assert!(store.take_lease("publisher", "b", 1).unwrap());
    let deadline = Instant::now() + Duration::from_secs(10);
    while !store.take_lease("publisher", "a", hour).unwrap() {
        assert!(
            Instant::now() < deadline,
            "a lease of a millisecond never ran out"
        );
        thread::yield_now();
    }
    assert!(!store.take_lease("publisher", "b", hour).unwrap());
    let taken: usize = thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|n| {
                let store = &store;
                scope.spawn(move || store.take_lease("race", &n.to_string(), hour).unwrap())
            })
            .collect();
        asking
            .into_iter()
            .map(|thread| usize::from(thread.join().unwrap()))
            .sum()
    });
    assert_eq!(taken, 1);
}
