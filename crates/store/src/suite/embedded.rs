//! The embedded implementations, held to the contracts of their traits.

use crate::{DirObjects, FileJournal, JournalOptions, SqliteMeta, suite};
use tempfile::TempDir;

fn sqlite() -> (TempDir, SqliteMeta) {
    let dir = tempfile::tempdir().unwrap();
    let meta = SqliteMeta::open(&dir.path().join("ledger.sqlite")).unwrap();
    (dir, meta)
}

#[test]
fn file_journal() {
    let open = |dir: &TempDir, start| {
        FileJournal::open(dir.path(), start, JournalOptions::default())
            .unwrap()
            .0
    };
    suite::journal(|| tempfile::tempdir().unwrap(), open);
}

#[test]
fn file_journal_in_short_segments() {
    for segment_bytes in [0, 300, 4096] {
        let options = JournalOptions { segment_bytes };
        let open = |dir: &TempDir, start| FileJournal::open(dir.path(), start, options).unwrap().0;
        suite::journal(|| tempfile::tempdir().unwrap(), open);
    }
}

#[test]
fn dir_objects() {
    suite::objects(|| {
        let dir = tempfile::tempdir().unwrap();
        let objects = DirObjects::open(&dir.path().join("log"), &dir.path().join("tmp")).unwrap();
        (dir, objects)
    });
}

#[test]
fn sqlite_checkpoints() {
    suite::checkpoints(sqlite);
}

#[test]
fn sqlite_index() {
    suite::index(sqlite);
}

#[test]
fn sqlite_subject_keys() {
    suite::subject_keys(sqlite);
}

#[test]
fn sqlite_tokens() {
    suite::tokens(sqlite);
}

#[test]
fn sqlite_settings() {
    suite::settings(sqlite);
}

#[test]
fn sqlite_leases() {
    suite::leases(sqlite);
}

#[test]
fn sqlite_jobs() {
    suite::jobs(sqlite);
}
