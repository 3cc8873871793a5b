//! The contract of [`ObjectStore`].

use std::io::{self, Read};
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
    keeps_what_is_read_to_its_end(&store);
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

/// Bytes that no two places have in common.
fn large(bytes: usize) -> Vec<u8> {
    let words = (0..bytes.div_ceil(4) as u32).flat_map(|word| (word * 7).to_le_bytes());
    words.take(bytes).collect()
}

/// A source that fails after some bytes.
struct Broken(usize);

impl Read for Broken {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = out.len().min(self.0);
        self.0 -= read;
        if read == 0 {
            return Err(io::Error::other("it broke"));
        }
        out[..read].fill(7);
        Ok(read)
    }
}

fn keeps_what_is_read_to_its_end(store: &impl ObjectStore) {
    // One short, one of several parts and a bit, one of whole parts, none at all.
    for bytes in [5, (20 << 20) + 3, 16 << 20, 0] {
        let (key, expected) = (format!("from/{bytes}"), large(bytes));
        assert_eq!(store.confirm(&key).unwrap(), None);
        assert!(store.open_object(&key).unwrap().is_none());
        for _ in 0..2 {
            let written = store.put_from(&key, &mut expected.as_slice()).unwrap();
            assert_eq!(written, bytes as u64);
        }
        assert_eq!(store.confirm(&key).unwrap(), Some(bytes as u64));
        let mut object = store.open_object(&key).unwrap().unwrap();
        let mut found = Vec::new();
        object.reader.read_to_end(&mut found).unwrap();
        assert_eq!(object.bytes, bytes as u64);
        assert!(found == expected, "{bytes} bytes");
        assert!(store.get(&key).unwrap().unwrap() == expected);
    }
    // What was damaged is mended by the same bytes.
    store.replace("from/5", b"other").unwrap();
    store.put_from("from/5", &mut large(5).as_slice()).unwrap();
    assert_eq!(store.get("from/5").unwrap(), Some(large(5)));
    // A source that fails leaves nothing, and what was there as it was.
    for after in [0, 100, 20 << 20] {
        for key in ["from/5", "from/nothing"] {
            let failed = store.put_from(key, &mut Broken(after));
            assert!(matches!(failed, Err(StoreError::Source(_))), "{failed:?}");
        }
    }
    assert_eq!(store.get("from/5").unwrap(), Some(large(5)));
    assert_eq!(store.confirm("from/nothing").unwrap(), None);
    // A directory is no object.
    assert_eq!(store.confirm("from").unwrap(), None);
    assert_eq!(store.list("from").unwrap().len(), 4);
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
            store.put_from(key, &mut &b"x"[..]).err(),
            store.open_object(key).err(),
            store.confirm(key).err(),
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
