//! One process at a time has a data directory, and nobody's other directory is taken for one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use store::{DataDir, StoreError};
use tempfile::tempdir;

fn made(path: &Path) -> DataDir {
    let dir = DataDir::create(path).unwrap();
    dir.write("ledger.json", b"{}", 0o644).unwrap();
    dir
}

#[test]
fn a_second_opener_is_told_who_has_it() {
    let place = tempdir().unwrap();
    let first = made(place.path());
    for refused in [DataDir::open(place.path()), DataDir::open(place.path())] {
        let error = refused.unwrap_err();
        assert!(
            matches!(error, StoreError::Locked { pid, .. } if pid == Some(std::process::id())),
            "{error:?}"
        );
        let text = error.to_string();
        assert!(
            text.contains(&format!("(pid {})", std::process::id())) && text.contains("--server"),
            "{text}"
        );
    }
    drop(first);
    drop(DataDir::open(place.path()).unwrap());
    DataDir::open(place.path()).unwrap();
}

#[test]
fn only_new_and_empty_directories_become_ledgers() {
    let place = tempdir().unwrap();
    let path = place.path().join("a/b");
    assert!(matches!(
        DataDir::open(&path),
        Err(StoreError::NoLedger { .. })
    ));
    assert!(!path.exists(), "looking for a ledger made something");
    // An interrupted creation goes on.
    drop(DataDir::create(&path).unwrap());
    assert!(matches!(
        DataDir::open(&path),
        Err(StoreError::NoLedger { .. })
    ));
    drop(made(&path));
    assert!(matches!(
        DataDir::create(&path),
        Err(StoreError::LedgerExists { .. })
    ));
    let home = place.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("thesis.tex"), "").unwrap();
    let error = DataDir::create(&home).unwrap_err();
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    assert_eq!(
        home.read_dir().unwrap().count(),
        1,
        "a refused directory was changed"
    );
}

#[test]
fn secrets_are_for_their_owner_and_leftovers_go() {
    let place = tempdir().unwrap();
    let dir = made(place.path());
    dir.write("keys/log.ed25519", b"seed", 0o600).unwrap();
    dir.write("keys/log.ed25519", b"other seed", 0o600).unwrap();
    assert_eq!(
        fs::read(dir.keys().join("log.ed25519")).unwrap(),
        b"other seed"
    );
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.keys()), 0o700);
    assert_eq!(mode(dir.keys().join("log.ed25519")), 0o600);
    fs::write(dir.tmp().join("1-1"), "half").unwrap();
    drop(dir);
    let dir = DataDir::open(place.path()).unwrap();
    assert_eq!(dir.tmp().read_dir().unwrap().count(), 0);
}
