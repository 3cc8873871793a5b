//! The contract of [`ObjectStore`].

use std::thread;

use crate::{ObjectStore, StoreError};

/// Runs all of it on stores that `new` makes.
pub fn objects<P, O: ObjectStore>(new: impl Fn() -> (P, O)) {
    let (_place, store) = new();
    reads_what_it_wrote(&store);
    let (_place, store) = new();
    never_changes_an_object(&store);
    let (_place, store) = new();
    replaces(&store);
    let (_place, store) = new();
    lists_and_deletes(&store);
    let (_place, store) = new();
    refuses_bad_keys(&store);
    let (_place, store) = new();
    serves_several_threads(&store);
}

fn reads_what_it_wrote(store: &impl ObjectStore) {
    assert_eq!(store.get("tile/0/000").unwrap(), None);
    store.put("tile/0/000", b"first").unwrap();
    assert_eq!(
        store.get("tile/0/000").unwrap().as_deref(),
        Some(&b"first"[..])
    );
    // A key and what lies below it are different objects; a directory is none.
    assert_eq!(store.get("tile/0").unwrap(), None);
    assert_eq!(store.get("tile/0/000/1").unwrap(), None);
    store.put("empty", b"").unwrap();
    assert_eq!(store.get("empty").unwrap().as_deref(), Some(&b""[..]));
    store.put_many(&[]).unwrap();
    let bytes: Vec<_> = (0..300_u32)
        .map(|number| number.to_be_bytes().repeat(100))
        .collect();
    let keys: Vec<_> = (0..300)
        .map(|number| format!("tile/1/x{:03}/{number:03}", number / 7))
        .collect();
    let objects: Vec<_> = keys
        .iter()
        .map(String::as_str)
        .zip(bytes.iter().map(Vec::as_slice))
        .collect();
    store.put_many(&objects).unwrap();
    for (key, bytes) in objects {
        assert_eq!(store.get(key).unwrap().as_deref(), Some(bytes), "{key}");
    }
}

fn never_changes_an_object(store: &impl ObjectStore) {
    store.put_many(&[("a/1", b"one"), ("a/2", b"two")]).unwrap();
    store.put("a/1", b"one").unwrap();
    store
        .put_many(&[("a/2", b"two"), ("a/3", b"three")])
        .unwrap();
    for other in [&b"ONE"[..], b"", b"one more"] {
        let refused = store.put("a/1", other);
        assert!(
            matches!(&refused, Err(StoreError::Conflict { what }) if what.contains("a/1")),
            "{refused:?}"
        );
        let refused = store.put_many(&[("a/4", b"four"), ("a/1", other)]);
        assert!(
            matches!(refused, Err(StoreError::Conflict { .. })),
            "{refused:?}"
        );
    }
    assert!(
        store.put_many(&[("b", b"x"), ("b", b"y")]).is_err(),
        "one key with two contents"
    );
    assert_eq!(store.get("a/1").unwrap().as_deref(), Some(&b"one"[..]));
    store.put("a/4", b"four").unwrap();
}

fn replaces(store: &impl ObjectStore) {
    for text in [&b"first"[..], b"a longer second", b"3"] {
        store.replace("checkpoint", text).unwrap();
        assert_eq!(store.get("checkpoint").unwrap().as_deref(), Some(text));
    }
}

fn lists_and_deletes(store: &impl ObjectStore) {
    assert!(store.list("").unwrap().is_empty());
    store
        .put_many(&[
            ("tile/0/001", b"b"),
            ("tile/0/000.p/3", b"a"),
            ("tile/0/000", b"c"),
            ("tile/01", b"d"),
            ("x", b"e"),
        ])
        .unwrap();
    assert_eq!(
        store.list("tile/0").unwrap(),
        ["tile/0/000", "tile/0/000.p/3", "tile/0/001"]
    );
    assert_eq!(store.list("").unwrap().len(), 5);
    assert!(store.list("tile/2").unwrap().is_empty());
    store.delete("tile/0/000.p/3").unwrap();
    store.delete("tile/0/000.p/3").unwrap();
    assert_eq!(store.get("tile/0/000.p/3").unwrap(), None);
    assert_eq!(
        store.list("tile").unwrap(),
        ["tile/0/000", "tile/0/001", "tile/01"]
    );
    // The name is free again.
    store.put("tile/0/000.p/3", b"other").unwrap();
    assert_eq!(
        store.get("tile/0/000.p/3").unwrap().as_deref(),
        Some(&b"other"[..])
    );
}

fn refuses_bad_keys(store: &impl ObjectStore) {
    let long = "k".repeat(513);
    for key in [
        "", "/etc/x", "a//b", "a/", "..", "a/../b", "a/./b", ".hidden", "a\0b", "a b", "ä", "a\\b",
        &long,
    ] {
        let outcomes = [
            store.put(key, b"x").err(),
            store.put_many(&[("fine", b"x"), (key, b"x")]).err(),
            store.replace(key, b"x").err(),
            store.get(key).err(),
            store.delete(key).err(),
        ];
        for outcome in outcomes {
            assert!(
                matches!(outcome, Some(StoreError::BadKey { .. })),
                "{key:?}: {outcome:?}"
            );
        }
    }
    assert!(store.list("../").is_err());
}

fn serves_several_threads(store: &impl ObjectStore) {
    // All write the same objects, one of them with other bytes under one key: exactly one content wins, whole.
    let outcomes: Vec<_> = thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u8)
            .map(|writer| {
                scope.spawn(move || {
                    let contested = [writer; 1000];
                    let shared = (0..40)
                        .map(|number| format!("same/{number}"))
                        .collect::<Vec<_>>();
                    let mut objects: Vec<(&str, &[u8])> = shared
                        .iter()
                        .map(|key| (key.as_str(), &b"the same"[..]))
                        .collect();
                    objects.push(("contested", &contested));
                    let outcome = store.put_many(&objects);
                    store.delete(&format!("gone/{writer}")).unwrap();
                    outcome
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    });
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        1,
        "{outcomes:?}"
    );
    let contested = store.get("contested").unwrap().unwrap();
    assert!(contested.len() == 1000 && contested.iter().all(|byte| *byte == contested[0]));
    assert!(
        outcomes[usize::from(contested[0])].is_ok(),
        "the content of a writer that was refused"
    );
}
