//! A model that is still being written is no model yet.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Once;

use weights::{Options, Source, WeightsError};

use crate::models::{always, safetensors, tensor, write};

/// Hashes a folder in which something happens once the first bytes were hashed.
fn meanwhile(happens: impl Fn(&Path) + Sync) -> Result<weights::Manifest, WeightsError> {
    let dir = tempfile::tempdir().unwrap();
    let large: Vec<_> = (0..4)
        .map(|n| tensor(&format!("t{n}"), &[500, 500], n))
        .collect();
    write(dir.path(), "model.safetensors", &safetensors(&large));
    write(dir.path(), "config.json", b"{}");
    let once = Once::new();
    let progress = |_, _| once.call_once(|| happens(dir.path()));
    let options = Options {
        progress: Some(&progress),
        ..always()
    };
    let source = Source::open(dir.path()).unwrap();
    let outcome = weights::manifest(&source, &options);
    assert!(once.is_completed());
    outcome
}

#[track_caller]
fn changes(name: &str, says: &str, happens: impl Fn(&Path) + Sync) {
    match meanwhile(happens) {
        Err(WeightsError::Changed { name: found, what }) => {
            assert_eq!(found, name);
            assert!(what.contains(says), "{what}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_happens() {
    meanwhile(|_| {}).unwrap();
}

#[test]
fn a_file_that_changes_while_it_is_hashed_is_named() {
    let model = "model.safetensors";
    changes(model, "written to", |dir| {
        let file = OpenOptions::new()
            .write(true)
            .open(dir.join(model))
            .unwrap();
        file.write_all_at(b"x", 2_000_000).unwrap();
    });
    changes(model, "bytes", |dir| {
        let mut file = OpenOptions::new()
            .append(true)
            .open(dir.join(model))
            .unwrap();
        file.write_all(b"more").unwrap();
    });
    changes(model, "bytes", |dir| {
        let file = OpenOptions::new()
            .write(true)
            .open(dir.join(model))
            .unwrap();
        file.set_len(1_000_000).unwrap();
    });
    // The same bytes in another file: what was read is not what is there.
    changes(model, "replaced", |dir| {
        fs::copy(dir.join(model), dir.join("new")).unwrap();
        fs::rename(dir.join("new"), dir.join(model)).unwrap();
    });
    changes(model, "not there any more", |dir| {
        fs::remove_file(dir.join(model)).unwrap();
    });
}

#[test]
fn a_folder_that_changes_while_it_is_hashed_is_noticed() {
    changes("new.json", "not there before", |dir| {
        fs::write(dir.join("new.json"), b"{}").unwrap();
    });
    // Whether it was hashed before it went or is looked for afterwards, it is missed.
    changes("config.json", "", |dir| {
        fs::remove_file(dir.join("config.json")).unwrap();
    });
}
