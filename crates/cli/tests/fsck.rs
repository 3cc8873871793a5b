//! Damage of every kind is found; what follows from the rest is made again, and the rest is never touched (I17).

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use common::{Desk, text};
use serde_json::Value;
use store::{
    CheckpointStore as _, FileJournal, IndexRow, IndexStore as _, IndexUpdate, Journal as _,
    JournalEntry, JournalOptions, SqliteMeta,
};

/// A ledger of some 700 records, so with full and partial tiles of two levels; every seventh seals values.
static RECORDED: LazyLock<Desk> = LazyLock::new(|| {
    let desk = Desk::with_ledger();
    fs::create_dir(desk.path("before")).unwrap();
    copy(&desk.path("audit-data"), &desk.path("before"));
    desk.ok(&["run", "start", "--name", "first"]);
    let events: String = (0..700)
        .map(|n| {
            if n % 7 == 0 {
                format!("{{\"kind\":\"annotation.preference\",\"body\":{{\"choice\":\"a\"}},\"sealed\":{{\"response_a\":\"x{n}\",\"response_b\":\"y\"}}}}\n")
            } else {
                format!("{{\"kind\":\"metric.logged\",\"body\":{{\"metrics\":{{\"loss\":{n}}}}}}}\n")
            }
        })
        .collect();
    let output = desk.run_with(&["append", "--run", "first"], events.as_bytes());
    assert!(
        output.status.success(),
        "{}",
        text(&output.stdout, &output.stderr)
    );
    desk
});

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn recorded() -> Desk {
    let desk = Desk::new();
    copy(&RECORDED.path("audit-data"), &desk.path("audit-data"));
    copy(&RECORDED.path("before"), &desk.path("before"));
    desk
}

/// Every file below the directory, by its path.
fn files(dir: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

/// What repair must never touch.
fn originals(desk: &Desk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for part in ["log/tile/entries", "sealed", "journal", "keys"] {
        let dir = desk.path("audit-data").join(part);
        if dir.exists() {
            files(&dir, &mut found);
        }
    }
    found
}

fn change(desk: &Desk, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = desk.path("audit-data").join(file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
}

fn flip(desk: &Desk, file: &str, at: usize) {
    change(desk, file, |bytes| bytes[at] ^= 1);
}

fn put(desk: &Desk, file: &str, bytes: &[u8]) {
    let path = desk.path("audit-data").join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn remove(desk: &Desk, file: &str) {
    fs::remove_file(desk.path("audit-data").join(file)).unwrap();
}

/// The one file in a directory of partial tiles.
fn partial(desk: &Desk, dir: &str) -> String {
    let mut entries = fs::read_dir(desk.path("audit-data").join(dir)).unwrap();
    let name = entries.next().unwrap().unwrap().file_name();
    format!("{dir}/{}", name.to_str().unwrap())
}

fn meta(desk: &Desk) -> SqliteMeta {
    SqliteMeta::open(&desk.path("audit-data/ledger.sqlite")).unwrap()
}

/// Rewrites the index with `edit` between.
fn reindexed(desk: &Desk, edit: impl FnOnce(&mut IndexUpdate)) {
    let meta = meta(desk);
    let mut update = IndexUpdate {
        to: meta.indexed_size().unwrap(),
        ..IndexUpdate::default()
    };
    meta.index_rows(&mut |row| {
        match row {
            IndexRow::Stream(row) => update.streams.push(row),
            IndexRow::Range(row) => update.ranges.push(row),
            IndexRow::Kind(row) => update.kinds.push(row),
            IndexRow::Run(row) => update.runs.push(row),
        }
        Ok(())
    })
    .unwrap();
    meta.clear_index().unwrap();
    edit(&mut update);
    meta.apply(&update).unwrap();
}

fn fsck(desk: &Desk, code: i32, repair: bool) -> Value {
    let mut args = vec!["fsck", "--json"];
    if repair {
        args.push("--repair");
    }
    let output = desk.run(&args);
    let out = text(&output.stdout, &output.stderr);
    assert_eq!(output.status.code(), Some(code), "{out}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["sound"], code == 0, "{report}");
    report
}

/// The kinds of damage that a report names, each once.
fn faults(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap();
    let mut faults: Vec<String> = findings
        .iter()
        .map(|finding| finding["fault"].as_str().unwrap().to_owned())
        .collect();
    faults.sort();
    faults.dedup();
    faults
}

/// Damage that repair sees to: found, made again with nothing else touched, and the log verifies as before.
fn repaired(expected: &[&str], damage: impl FnOnce(&Desk)) {
    let desk = recorded();
    damage(&desk);
    let report = fsck(&desk, 1, false);
    assert_eq!(faults(&report), expected, "{report}");
    let before = originals(&desk);
    let report = fsck(&desk, 0, true);
    assert_eq!(faults(&report), expected, "{report}");
    assert!(originals(&desk) == before, "repair touched an original");
    let lost = report["lost_and_found"].as_str().unwrap();
    assert!(
        desk.path("audit-data")
            .join(lost)
            .join("report.json")
            .exists()
    );
    assert_eq!(faults(&fsck(&desk, 0, false)), [""; 0]);
    let report = desk.verified();
    assert_eq!(report["counts"]["opened"], 200, "{report}");
    let shown = desk.json(&["run", "show", "first"]);
    assert_eq!(shown["run"]["records"], 705, "{shown}");
}

/// Damage that nothing can undo: named, with what to do, and left as it is.
fn named(expected: &[&str], advice: &str, damage: impl FnOnce(&Desk)) {
    let desk = recorded();
    damage(&desk);
    let mut before = BTreeMap::new();
    files(&desk.path("audit-data"), &mut before);
    let report = fsck(&desk, 1, true);
    assert_eq!(faults(&report), expected, "{report}");
    let said = report["findings"].to_string();
    assert!(said.contains(advice), "{said}");
    let mut after = BTreeMap::new();
    files(&desk.path("audit-data"), &mut after);
    for (path, bytes) in before {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // The lock names the process, and SQLite keeps house.
        if !name.starts_with("ledger.sqlite") && name != "lock" {
            assert!(
                after.get(&path) == Some(&bytes),
                "{} was touched",
                path.display()
            );
        }
    }
    let out = desk.fails(1, &["fsck"]);
    assert!(out.contains("WRONG") && out.contains(advice), "{out}");
}

#[test]
fn a_sound_ledger_is_found_sound() {
    let desk = recorded();
    let report = fsck(&desk, 0, true);
    assert_eq!(faults(&report), [""; 0]);
    assert_eq!(report["bundles"], 3);
    assert_eq!(report["sealed_values"], 200);
    assert_eq!(
        report["lost_and_found"],
        Value::Null,
        "nothing was to be done"
    );
    assert!(desk.ok(&["fsck"]).contains("Nothing is wrong"));
}

#[test]
fn hash_tiles_are_made_again() {
    repaired(&["tile-missing"], |desk| {
        fs::remove_dir_all(desk.path("audit-data/log/tile/0")).unwrap();
        fs::remove_dir_all(desk.path("audit-data/log/tile/1")).unwrap();
    });
    repaired(&["tile-short"], |desk| {
        change(desk, "log/tile/0/001", |bytes| bytes.truncate(100));
        let last = partial(desk, "log/tile/1/000.p");
        change(desk, &last, Vec::clear);
    });
    repaired(&["tile-flipped"], |desk| {
        flip(desk, "log/tile/0/000", 77);
        let tail = partial(desk, "log/tile/0/002.p");
        flip(desk, &tail, 0);
        let above = partial(desk, "log/tile/1/000.p");
        flip(desk, &above, 40);
    });
}

#[test]
fn surplus_files_are_put_aside_and_kept() {
    repaired(&["surplus"], |desk| {
        put(desk, "log/tile/0/005", &[7; 8192]);
        put(desk, "log/tile/3/000.p/1", &[7; 32]);
        put(desk, "log/tile/notes.txt", b"what is this?");
        // A partial tile of other hashes than what replaced it.
        put(desk, "log/tile/0/000.p/2", &[7; 64]);
    });
    let desk = recorded();
    put(&desk, "log/tile/notes.txt", b"what is this?");
    let report = fsck(&desk, 0, true);
    let lost = report["lost_and_found"].as_str().unwrap();
    let kept = desk
        .path("audit-data")
        .join(lost)
        .join("log/tile/notes.txt");
    assert_eq!(fs::read(kept).unwrap(), b"what is this?");
}

#[test]
fn the_served_checkpoint_is_brought_up() {
    repaired(&["checkpoint-object"], |desk| {
        remove(desk, "log/checkpoint");
    });
    repaired(&["checkpoint-object"], |desk| {
        flip(desk, "log/checkpoint", 30);
    });
    repaired(&["checkpoint-object"], |desk| {
        let earlier = desk.path("before/log/checkpoint");
        fs::copy(earlier, desk.path("audit-data/log/checkpoint")).unwrap();
    });
}

#[test]
fn an_index_that_disagrees_is_built_again() {
    repaired(&["index"], |desk| meta(desk).clear_index().unwrap());
    repaired(&["index"], |desk| {
        reindexed(desk, |update| update.streams[0].next_seq += 1);
    });
    repaired(&["index"], |desk| {
        reindexed(desk, |update| {
            let long = update.ranges.iter_mut().max_by_key(|range| range.count);
            long.unwrap().first_index += 1;
        });
    });
    repaired(&["index"], |desk| {
        reindexed(desk, |update| {
            update.kinds.pop();
        });
    });
    repaired(&["index"], |desk| {
        reindexed(desk, |update| {
            update.runs[0].name = "second".to_owned();
        });
    });
    repaired(&["index"], |desk| {
        reindexed(desk, |update| {
            let mut other = update.runs[0].clone();
            other.run = "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned();
            update.runs.push(other);
        });
    });
}

#[test]
fn entries_are_never_made_up() {
    named(
        &["entries-missing"],
        "restore this file from a backup",
        |desk| {
            remove(desk, "log/tile/entries/001");
        },
    );
    named(
        &["entries-damaged"],
        "restore this file from a backup",
        |desk| {
            change(desk, "log/tile/entries/000", |bytes| bytes.truncate(5_000));
        },
    );
    named(
        &["entries-damaged"],
        "restore this file from a backup",
        |desk| {
            flip(desk, "log/tile/entries/001", 300);
        },
    );
    named(
        &["entries-damaged"],
        "restore this file from a backup",
        |desk| {
            let last = partial(desk, "log/tile/entries/002.p");
            flip(desk, &last, 300);
        },
    );
    named(&["entries-surplus"], "older database", |desk| {
        put(desk, "log/tile/entries/003.p/1", b"\x00\x02{}");
    });
    // Bundle and tile alike: whoever did this knew how, and is caught by the signature.
    named(&["root"], "signed checkpoint", |desk| {
        let last = partial(desk, "log/tile/entries/002.p");
        flip(desk, &last, 300);
        let tail = partial(desk, "log/tile/0/002.p");
        let width: u16 = tail.rsplit('/').next().unwrap().parse().unwrap();
        let bytes = fs::read(desk.path("audit-data").join(&last)).unwrap();
        let entries = tlog::EntryBundle::parse(&bytes, width).unwrap();
        let hashes = entries
            .iter()
            .flat_map(|entry| *tlog::leaf_hash(entry).as_bytes());
        put(desk, &tail, &hashes.collect::<Vec<u8>>());
    });
}

#[test]
fn a_damaged_bundle_does_not_keep_tiles_from_being_made_again() {
    let desk = recorded();
    remove(&desk, "log/tile/entries/001");
    flip(&desk, "log/tile/0/000", 5);
    let report = fsck(&desk, 1, true);
    assert_eq!(faults(&report), ["entries-missing", "tile-flipped"]);
    let bundle = fs::read(RECORDED.path("audit-data/log/tile/entries/001")).unwrap();
    put(&desk, "log/tile/entries/001", &bundle);
    fsck(&desk, 0, false);
    desk.verified();
}

#[test]
fn sealed_values_are_held_against_their_records() {
    let sealed = "sealed/001";
    named(&["sealed-missing"], "restore this file", |desk| {
        remove(desk, sealed);
    });
    named(&["sealed-damaged"], "restore this file", |desk| {
        change(desk, sealed, |bytes| bytes.truncate(400));
    });
    // The first record's values are gone: none are left of two.
    named(&["sealed-missing"], "restore this file", |desk| {
        change(desk, sealed, |bytes| {
            let first = bytes.windows(10).position(|w| w == b"response_a").unwrap() - 3;
            // Count, then two values: length, name, key id, nonce, length, ciphertext.
            let mut end = first + 2;
            for _ in 0..2 {
                end += 1 + usize::from(bytes[end]) + 28;
                let length = u32::from_be_bytes(bytes[end..end + 4].try_into().unwrap());
                end += 4 + length as usize;
            }
            bytes.splice(first..end, [0, 0]);
        });
    });
    // Another field's name on a value is a value without record and a record without value.
    named(
        &["sealed-missing", "sealed-surplus"],
        "no published record",
        |desk| {
            change(desk, sealed, |bytes| {
                let at = bytes.windows(10).position(|w| w == b"response_a").unwrap();
                bytes[at + 9] = b'c';
            });
        },
    );
    named(&["sealed-surplus"], "no published record", |desk| {
        put(desk, "sealed/007", &[0; 512]);
    });
    named(&["subject-key-missing"], "restore ledger.sqlite", |desk| {
        change(desk, sealed, |bytes| {
            let at = bytes.windows(10).position(|w| w == b"response_a").unwrap();
            bytes[at + 10] ^= 1;
        });
    });
}

/// The path of the attachment with these bytes.
fn attachment(bytes: &[u8]) -> String {
    let name = record::Sha256(tlog::sha256(bytes)).to_string();
    format!("attachments/{}/{name}", &name[..2])
}

/// The ledger of [`RECORDED`], with a record that names two attachments.
fn attached() -> Desk {
    let desk = recorded();
    let named: Vec<String> = [&b"one"[..], b"another"]
        .into_iter()
        .map(|bytes| {
            put(&desk, &attachment(bytes), bytes);
            let sha256 = record::Sha256(tlog::sha256(bytes));
            format!(r#"{{"bytes":{},"sha256":"{sha256}"}}"#, bytes.len())
        })
        .collect();
    let event = format!(
        r#"{{"kind":"metric.logged","body":{{"metrics":{{"loss":1}}}},"attachments":{{"a":{},"b":{}}}}}"#,
        named[0], named[1]
    );
    let output = desk.run_with(&["append", "--run", "first"], event.as_bytes());
    assert!(
        output.status.success(),
        "{}",
        text(&output.stdout, &output.stderr)
    );
    desk
}

#[test]
fn attachments_are_held_against_their_names_and_the_records() {
    let desk = attached();
    let report = fsck(&desk, 0, false);
    assert_eq!(report["attachments"], 2, "{report}");
    // One that no record names is no damage: its producer may still be about to.
    put(&desk, &attachment(b"unnamed"), b"unnamed");
    let report = fsck(&desk, 0, false);
    assert!(
        report["notes"].to_string().contains("named by no record"),
        "{report}"
    );
    desk.verified();

    let damage = |expected: &[&str], says: &str, damage: &dyn Fn(&Desk)| {
        let desk = attached();
        damage(&desk);
        let report = fsck(&desk, 1, false);
        assert_eq!(faults(&report), expected, "{report}");
        assert!(report.to_string().contains(says), "{report}");
        desk
    };
    let desk = damage(&["attachment-missing"], "put them again", &|desk| {
        remove(desk, &attachment(b"one"));
    });
    // `verify` counts it and says so; the records are as they were.
    let report = desk.verified();
    assert_eq!(report["absent_attachments"]["total"], 1, "{report}");

    let desk = damage(&["attachment-damaged"], "which replaces it", &|desk| {
        flip(desk, &attachment(b"another"), 3);
    });
    desk.fails(
        1,
        &["verify", "audit-data", "--policy", "audit-data/policy"],
    );
    // As the advice has it: the same bytes once more.
    let server = common::Server::start(&desk);
    let client = common::load::client(&server.url);
    let mut again = std::io::Cursor::new(b"another");
    client.put_attachment(&mut again).unwrap();
    server.stop();
    fsck(&desk, 0, false);

    damage(&["attachment-damaged"], "SHA-256", &|desk| {
        change(desk, &attachment(b"one"), Vec::clear);
    });
    let desk = damage(&["surplus"], "no attachment has", &|desk| {
        put(desk, "attachments/ab/notes.txt", b"x");
        put(
            desk,
            &attachment(b"one").replacen("attachments/", "attachments/0", 1),
            b"one",
        );
    });
    fsck(&desk, 0, true);
    assert_eq!(fsck(&desk, 0, false)["attachments"], 2);
}

#[test]
fn a_journal_that_disagrees_is_evidence() {
    let append = |desk: &Desk, first: u64| {
        let dir = desk.path("audit-data/journal");
        fs::remove_dir_all(&dir).unwrap();
        let (mut journal, _) = FileJournal::open(&dir, first, JournalOptions::default()).unwrap();
        let entry = JournalEntry {
            record: b"{}",
            sealed: b"",
            principal: b"",
        };
        journal.append_group(first, &[entry]).unwrap();
    };
    named(&["journal-disagrees"], "keep both as evidence", |desk| {
        append(desk, 5);
    });
    named(&["journal-damaged"], "acknowledged records", |desk| {
        append(desk, 5_000);
    });
    named(&["journal-damaged"], "restore its segments", |desk| {
        let segment = fs::read_dir(desk.path("audit-data/journal"))
            .unwrap()
            .next();
        let name = segment.unwrap().unwrap().file_name();
        flip(desk, &format!("journal/{}", name.to_str().unwrap()), 60);
    });
}

#[test]
fn an_older_database_is_not_taken_for_the_truth() {
    named(
        &["checkpoint-fork", "entries-surplus", "sealed-surplus"],
        "newest ledger.sqlite",
        |desk| {
            // As a restore of the database alone would do, and a tidy-up of the journal.
            for part in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
                let to = desk.path("audit-data").join(part);
                let _ = fs::remove_file(&to);
                let _ = fs::copy(desk.path("before").join(part), to);
            }
            fs::remove_dir_all(desk.path("audit-data/journal")).unwrap();
            fs::remove_dir_all(desk.path("audit-data/log/tile/0")).unwrap();
            fs::remove_dir_all(desk.path("audit-data/log/tile/1")).unwrap();
        },
    );
    named(&["checkpoint"], "restore ledger.sqlite", |desk| {
        let meta = meta(desk);
        let mut stored = meta.latest_checkpoint().unwrap().unwrap();
        let expected = (stored.size, stored.root);
        stored.size += 1;
        meta.swap_checkpoint(Some(expected), &stored).unwrap();
    });
    named(&["checkpoint"], "restore ledger.sqlite", |desk| {
        remove(desk, "ledger.sqlite");
    });
    named(&["key-missing"], "from its backup", |desk| {
        remove(desk, "keys/deployment");
    });
}

#[test]
fn reindex_and_fsck_take_a_stopped_ledger() {
    let desk = recorded();
    meta(&desk).clear_index().unwrap();
    let records = desk.json(&["reindex"])["records"].clone();
    assert_eq!(fsck(&desk, 0, false)["size"], records);
    let server = common::Server::start(&desk);
    for command in ["fsck", "reindex"] {
        let out = desk.fails(3, &[command]);
        assert!(out.contains("another process"), "{out}");
    }
    drop(server);
    desk.fails(3, &["fsck", "--data-dir", "nothing-here"]);
    desk.fails(2, &["fsck", "--mend"]);
}
