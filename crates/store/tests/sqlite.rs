//! What the SQLite file promises beyond the traits' suites: it survives its process, and it does not lie about erasure.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use store::{
    CheckpointStore, IndexStore, IndexUpdate, RangeRow, SettingStore, SqliteMeta, StoreError,
    StoredCheckpoint, StreamRow, SubjectKey, SubjectKeyRow, SubjectKeyStore,
};
use tempfile::tempdir;
use tlog::Hash;

#[test]
fn what_was_written_is_there_after_opening_again() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let checkpoint = StoredCheckpoint {
        size: 3,
        root: Hash::from([1; 32]),
        note: b"note".to_vec(),
    };
    SqliteMeta::open(&path)
        .unwrap()
        .swap_checkpoint(None, &checkpoint)
        .unwrap();
    let meta = SqliteMeta::open(&path).unwrap();
    assert_eq!(meta.latest_checkpoint().unwrap(), Some(checkpoint.clone()));
    // Two at once, as two processes would be: the loser is told.
    let other = SqliteMeta::open(&path).unwrap();
    let next = |size| StoredCheckpoint {
        size,
        ..checkpoint.clone()
    };
    meta.swap_checkpoint(Some((3, checkpoint.root)), &next(4))
        .unwrap();
    let lost = other.swap_checkpoint(Some((3, checkpoint.root)), &next(5));
    assert!(
        matches!(lost, Err(StoreError::CheckpointMoved { .. })),
        "{lost:?}"
    );
}

#[test]
fn a_newer_schema_is_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    drop(SqliteMeta::open(&path).unwrap());
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.pragma_update(None, "user_version", 99).unwrap();
    drop(raw);
    let error = SqliteMeta::open(&path).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::NewerSchema {
                found: 99,
                known: 4,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .contains("start the version that made it or a newer one"),
        "{error}"
    );
}

#[test]
fn what_is_no_database_is_named() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    fs::write(
        &path,
        "no database at all, but long enough to look at. ".repeat(100),
    )
    .unwrap();
    let error = SqliteMeta::open(&path).unwrap_err();
    assert!(
        matches!(error, StoreError::CorruptDatabase { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("ledger.sqlite"), "{error}");
    let error = SqliteMeta::open(&dir.path().join("missing/ledger.sqlite")).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

fn holds(dir: &Path, secret: &[u8]) -> bool {
    let mut files = dir
        .read_dir()
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap());
    files.any(|bytes| bytes.windows(secret.len()).any(|window| window == secret))
}

#[test]
fn a_destroyed_key_is_in_no_file() {
    let dir = tempdir().unwrap();
    let meta = SqliteMeta::open(&dir.path().join("ledger.sqlite")).unwrap();
    let secret = |number: u8| [b"wrapped-key-", &[number; 48][..]].concat();
    for entry in dir.path().read_dir().unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others may read the keys");
    }
    let rows: Vec<_> = (0..100_u8)
        .map(|number| SubjectKeyRow {
            scope: "ledger".to_owned(),
            subject: format!("p-{number}"),
            key: SubjectKey {
                id: [number; 16],
                wrapped: Some(secret(number)),
            },
        })
        .collect();
    meta.insert_subject_keys(&rows).unwrap();
    assert!(
        holds(dir.path(), &secret(42)),
        "the test looks in the wrong place"
    );
    assert!(meta.destroy_subject_key(&[42; 16]).unwrap());
    assert!(!holds(dir.path(), &secret(42)));
    assert!(holds(dir.path(), &secret(43)));
}

#[test]
fn an_interleaved_round_is_one_row_a_stream() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let meta = SqliteMeta::open(&path).unwrap();
    let (streams, records) = (64, 6400);
    let stream = |number: u64| format!("rank{number}");
    let update = IndexUpdate {
        from: 0,
        to: records,
        streams: (0..streams)
            .map(|number| StreamRow {
                scope: "R".to_owned(),
                stream: stream(number),
                next_seq: records / streams,
                head: Hash::from([0; 32]),
                key: Vec::new(),
                state: Vec::new(),
            })
            .collect(),
        ranges: (0..records)
            .map(|index| RangeRow {
                scope: "R".to_owned(),
                stream: stream(index % streams),
                first_seq: index / streams,
                count: 1,
                first_index: index,
            })
            .collect(),
        ..IndexUpdate::default()
    };
    meta.apply(&update).unwrap();
    assert_eq!(meta.find("R", "rank63", 99).unwrap(), Some(records - 1));
    assert_eq!(meta.spans("R", 0, 10).unwrap().len(), 1);
    let raw = rusqlite::Connection::open(&path).unwrap();
    let rows: i64 = raw
        .query_row("SELECT count(*) FROM ranges", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 64);
}

#[test]
fn readers_do_not_wait_for_a_writer_of_another_process() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("ledger.sqlite");
    let meta = SqliteMeta::open(&path).unwrap();
    meta.kv_put("name", b"value").unwrap();
    let writer = rusqlite::Connection::open(&path).unwrap();
    writer
        .execute_batch("BEGIN IMMEDIATE; DELETE FROM settings;")
        .unwrap();
    assert_eq!(meta.kv_get("name").unwrap().as_deref(), Some(&b"value"[..]));
    writer.execute_batch("ROLLBACK").unwrap();
}
