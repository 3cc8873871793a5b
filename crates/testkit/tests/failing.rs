//! The failing stores are ordinary stores until a fault strikes, and then leave behind what they say.

use store::{
    CheckpointStore, DirObjects, FileJournal, Journal, JournalEntry, JournalOptions, ObjectStore,
    SqliteMeta, StoreError, StoredCheckpoint, suite,
};
use tempfile::{TempDir, tempdir};
use testkit::failing::{Failing, Faults, Left, Step};
use tlog::Hash;

fn meta() -> (TempDir, Failing<Box<SqliteMeta>>) {
    let dir = tempdir().expect("a directory");
    let meta = SqliteMeta::open(&dir.path().join("ledger.sqlite")).expect("a database");
    (dir, Failing::new(Box::new(meta), &Faults::default()))
}

fn objects(faults: &Faults) -> (TempDir, Failing<Box<DirObjects>>) {
    let dir = tempdir().expect("a directory");
    let objects =
        DirObjects::open(&dir.path().join("log"), &dir.path().join("tmp")).expect("a store");
    (dir, Failing::new(Box::new(objects), faults))
}

fn journal(dir: &TempDir, start: u64, faults: &Faults) -> Failing<Box<FileJournal>> {
    let opened = FileJournal::open(dir.path(), start, JournalOptions::default());
    Failing::new(Box::new(opened.expect("a journal").0), faults)
}

#[test]
fn without_faults_they_keep_every_contract() {
    suite::checkpoints(meta);
    suite::index(meta);
    suite::subject_keys(meta);
    suite::tokens(meta);
    suite::settings(meta);
    suite::objects(|| objects(&Faults::default()));
    suite::journal(
        || tempdir().expect("a directory"),
        |dir, start| journal(dir, start, &Faults::default()),
    );
}

#[test]
fn objects_are_left_as_planned() {
    let all: [(&str, &[u8]); 3] = [("a", b"1"), ("b", b"2"), ("c", b"3")];
    for (left, expected) in [
        (Left::Nothing, &[][..]),
        (Left::Part, &["a", "c"]),
        (Left::All, &["a", "b", "c"]),
    ] {
        let faults = Faults::default();
        let (_dir, store) = objects(&faults);
        faults.after(Step::Put, 1, left);
        store.put_many(&[]).expect("the call before");
        assert!(matches!(
            store.put_many(&all),
            Err(StoreError::Injected { .. })
        ));
        assert_eq!(store.list("").expect("a list"), expected, "{left:?}");
        assert_eq!(faults.pending(), 0);
        store.put_many(&all).expect("the call after");
        assert_eq!(faults.calls(), [Step::Put; 3]);
    }
}

#[test]
fn a_checkpoint_is_left_as_planned() {
    let faults = Faults::default();
    let dir = tempdir().expect("a directory");
    let store = SqliteMeta::open(&dir.path().join("ledger.sqlite")).expect("a database");
    let store = Failing::new(Box::new(store), &faults);
    let checkpoint = StoredCheckpoint {
        size: 1,
        root: Hash::from([1; 32]),
        note: Vec::new(),
    };
    for (left, kept) in [(Left::Nothing, false), (Left::All, true)] {
        faults.next(Step::Swap, left);
        assert!(store.swap_checkpoint(None, &checkpoint).is_err());
        assert_eq!(store.latest_checkpoint().expect("it reads").is_some(), kept);
    }
}

#[test]
fn a_journal_goes_on_after_a_full_disk_and_not_after_a_failed_sync() {
    let dir = tempdir().expect("a directory");
    let faults = Faults::default();
    let mut store = journal(&dir, 0, &faults);
    let entry = [JournalEntry {
        record: b"{}",
        sealed: b"",
        principal: b"",
    }];
    faults.next(Step::Append, Left::Nothing);
    assert!(matches!(
        store.append_group(0, &entry),
        Err(StoreError::Full { .. })
    ));
    store.append_group(0, &entry).expect("there is space again");
    faults.next(Step::Append, Left::All);
    assert!(matches!(
        store.append_group(1, &entry),
        Err(StoreError::SyncFailed { .. })
    ));
    assert!(matches!(
        store.append_group(2, &entry),
        Err(StoreError::Poisoned { .. })
    ));
    drop(store);
    assert_eq!(journal(&dir, 0, &faults).next_index(), 2);
}
