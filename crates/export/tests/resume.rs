//! An export that is interrupted, anywhere, comes to the same as one that is not.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are not seen as tests themselves"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use export::{Export, ExportError, Format, Manifest, Row, Setup};
use record::kinds::{MetricLogged, PolicyUpdated};
use record::{
    Clock, Draft, Entropy, Kind, ProducerName, Record, RunId, Scope, SigningKey, StreamName,
    StreamWriter, Timestamp,
};

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_795_420_800_000_000)
    }
}

impl Entropy for Still {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

const TABLES: [Kind; 2] = [Kind::PolicyUpdated, Kind::MetricLogged];

fn run() -> Scope {
    RunId::parse("01KAQZB9G0VXA1ZD3Q4RW7M2PN").unwrap().into()
}

/// Updates and metrics in turns, with their indices.
fn records() -> Vec<(u64, Vec<u8>)> {
    let mut writer = StreamWriter::open(
        run(),
        StreamName::parse("rank0").unwrap(),
        ProducerName::parse("tests").unwrap(),
        SigningKey::from_bytes(&[1; 32]),
        Arc::new(Still),
        Arc::new(Still),
    );
    let mut written = Vec::new();
    for step in 0..35 {
        let mut update = PolicyUpdated::new(step);
        update.kl = (step % 3 != 0).then_some(0.125);
        written.extend(writer.write(Draft::new(update)).unwrap());
        let metrics = [("loss".to_owned(), 0.5), ("a, \"b\"".to_owned(), -1.0)].into();
        let logged = Draft::new(MetricLogged::new(metrics));
        written.extend(writer.write(logged).unwrap());
    }
    (0..)
        .zip(written.into_iter().map(|one| one.record))
        .collect()
}

fn setup(format: Format) -> Setup {
    Setup {
        format,
        openings: false,
        run: None,
        records_per_file: 10,
    }
}

/// Exports until so many records were added; the manifest where that was all.
fn export(dir: &Path, format: Format, most: usize) -> Option<Manifest> {
    let mut export = Export::begin(dir, setup(format), b"a checkpoint\n").unwrap();
    assert_eq!(export.checkpoint(), b"a checkpoint\n");
    let (all, mut added, opened) = (records(), 0, BTreeMap::new());
    for kind in TABLES {
        let after = export.table(run(), kind).unwrap();
        for (index, bytes) in &all {
            let of_kind = Record::parse(bytes).unwrap().is(kind);
            if !of_kind || after.is_some_and(|after| *index <= after) {
                continue;
            }
            if added == most {
                return None;
            }
            added += 1;
            let (index, opened) = (*index, &opened);
            export
                .add(&Row {
                    index,
                    bytes,
                    opened,
                })
                .unwrap();
        }
    }
    Some(export.finish("example.org/log", 99).unwrap())
}

/// Every file by its path.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(path).unwrap());
            }
        }
    }
    files
}

#[test]
fn wherever_it_is_interrupted_it_comes_to_the_same_files() {
    for format in [Format::Parquet, Format::Csv, Format::JsonLines] {
        let straight = tempfile::tempdir().unwrap();
        let manifest = export(straight.path(), format, usize::MAX).unwrap();
        assert_eq!(manifest.records, 70);
        assert_eq!(manifest.files.len(), 8);
        let expected = files(straight.path());
        // The manifest, the checkpoint and the files of the manifest, and nothing else.
        assert_eq!(expected.len(), 10, "{:?}", expected.keys());
        for most in [0, 5, 10, 11, 34, 35, 36, 69] {
            let dir = tempfile::tempdir().unwrap();
            assert!(export(dir.path(), format, most).is_none());
            let begun = Export::begin(dir.path(), setup(format), b"a later one\n").unwrap();
            // Files of ten; the fourth of the first table has five.
            let whole = if most < 35 {
                most / 10
            } else {
                4 + (most - 35) / 10
            };
            assert_eq!(begun.kept().0, whole, "{format} {most}");
            drop(begun);
            assert_eq!(export(dir.path(), format, usize::MAX).unwrap(), manifest);
            assert_eq!(files(dir.path()), expected, "{format} {most}");
        }
    }
}

#[test]
fn a_file_that_was_damaged_meanwhile_is_written_again() {
    let straight = tempfile::tempdir().unwrap();
    let manifest = export(straight.path(), Format::Csv, usize::MAX).unwrap();
    let dir = tempfile::tempdir().unwrap();
    assert!(export(dir.path(), Format::Csv, 25).is_none());
    fs::write(
        dir.path().join(&manifest.files[1].path),
        b"not what was written",
    )
    .unwrap();
    let again = export(dir.path(), Format::Csv, usize::MAX).unwrap();
    assert_eq!(again, manifest);
    assert_eq!(files(dir.path()), files(straight.path()));
}

#[test]
fn a_directory_that_holds_anything_else_is_refused() {
    let refused = |dir: &Path, format| {
        let error = Export::begin(dir, setup(format), b"a checkpoint\n").unwrap_err();
        assert!(matches!(error, ExportError::Occupied { .. }), "{error}");
    };
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), b"my own").unwrap();
    refused(dir.path(), Format::Csv);
    let dir = tempfile::tempdir().unwrap();
    assert!(export(dir.path(), Format::Csv, 25).is_none());
    refused(dir.path(), Format::Parquet);
    let under_way = Export::begin(dir.path(), setup(Format::Csv), b"").unwrap();
    refused(dir.path(), Format::Csv);
    drop(under_way);
    assert!(export(dir.path(), Format::Csv, usize::MAX).is_some());
    refused(dir.path(), Format::Csv);
}
